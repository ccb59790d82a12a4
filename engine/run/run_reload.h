/* run_reload: another version of the script, or another index, in a run that goes on.
 *
 * Uses     run, run_script, run_index, run_state, run_guard, run_workers.
 * Threads  one, the main thread.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;
struct run_script;

/* Checks that a script may take the place of r->user: the servers, the names and the key cannot
 * change while a run lasts. If not, ERR_USAGE. The credentials that it has are used from now on. */
bool run_check_reload(struct run *r, const struct run_script *fresh, struct err *e);
/* Stops the workers and starts them again, with another script (taken over) or, NULL, the same one.
 * The feeds are the caller's. Batches that were not acknowledged are dropped. */
bool run_restart(struct run *r, struct run_script *fresh, struct err *e);
