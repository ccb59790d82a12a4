/* run_chosen: the indexes that documents choose (sink.indices): whether those that were there still
 * are.
 *
 * Uses     run, run_state, index, keyset.
 * Threads  one, the main thread.
 *
 * The rule. The state lists the indexes that sink.indices names, each with its uuid. If one of them
 * is gone, or another one has its name, its documents are missing, and only a sweep finds that: it
 * is owed, and the state keeps the old list until a sweep that began later has ended, so that a
 * crash forgets nothing. An index that the list lacks is new, and costs no sweep.
 *
 * sink.index is not in the list: run_check_index looks after it. A state without a list is of an
 * older release, or of a load that has just begun: what is there is listed. An index that a crash
 * has kept off the list, and that is deleted before the next run, is taken for a new one.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;

/* Compares the list with the server's; owes a sweep, with a warning, if one is gone, and else lists
 * those that are new. */
bool run_check_chosen(struct run *r, struct err *e);
/* Whether a sweep is owed because of that. */
bool run_lacks_chosen(const struct run *r);
/* A load begins: it brings the documents of all. */
void run_forget_chosen(struct run *r);
/* A sweep has ended. */
bool run_chosen_swept(struct run *r, struct err *e);
