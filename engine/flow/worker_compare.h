/* worker_compare: asks the index for the documents of a worker's items: those that would change
 * nothing are dropped; or each one is shown to a comparer, next to what the script makes.
 *
 * Uses     worker, bulk, index, stale_copies, retry.
 * Threads  the worker's.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* Drops from the worker's bulk the deletes of documents that do not exist and (unless deletes_only)
 * the documents that the index holds byte for byte; these are counted as unchanged. */
bool worker_drop_unchanged(struct worker *w, bool deletes_only, struct err *e);

/* For WORKER_COMPARE: shows each item of the worker's bulk, which is then empty, to the comparer.
 * Waits while the search server cannot answer. */
bool worker_compare(struct worker *w, struct err *e);
/* Tells the comparer that a try has ended. ok: whether it has succeeded, and *e is why not; returns
 * whether it still has. */
bool worker_end_compare(struct worker *w, bool ok, struct err *e);
