/* run_open: opens and closes a run: the script, both servers, the state, the index.
 *
 * Uses     run, run_script, run_state, run_index, run_vitals, pg, es, source.
 * Threads  one, the main thread; the workers have ended before run_close.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;

/* Opens everything but the workers; waits for servers that are down. On failure, too, run_close
 * frees what there is. */
bool run_open(struct run *r, const char *path, struct err *e);
/* The second half of it: r->user is read, and r->servers are open. */
bool run_open_rest(struct run *r, struct err *e);
void run_close(struct run *r); /* safe on a zeroed struct */
