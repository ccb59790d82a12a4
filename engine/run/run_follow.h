/* run_follow: keeps the index in sync: polls, sweeps when due, reloads the script.
 *
 * Uses     run, run_feeds, run_alter, run_reload, coordinator, vitals, sweep_due, quiesce, stop.
 * Threads  one, the main thread.
 * Promise  while a reindex swaps the alias, no request of ours is under way.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;

/* Until a stop is asked for, or an error is final. Always false. */
bool run_follow(struct run *r, struct err *e);
