/* run_load: until the index is up to date: the first load, what changed, a sweep, given keys.
 *
 * Uses     run, run_state, run_index, run_guard, run_warn, run_feeds, coordinator, vitals.
 * Threads  one, the main thread.
 * Promise  a load that was interrupted continues after the last chunk that was complete.
 */
#pragma once
#include <stdbool.h>

struct err;
struct feed;
struct run;

/* Handles all that a feed over the whole table brings (taken; NULL: e says why). */
bool run_drain_scan(struct run *r, struct feed *f, struct err *e);
/* Brings everything up to date, as the options and the state say. False: e says why. */
bool run_load(struct run *r, struct err *e);
/* Indexes what changed in any table, up to this moment. */
bool run_changes(struct run *r, struct err *e);
/* Compares every row with the index. */
bool run_sweep(struct run *r, struct err *e);
