/* worker_compare: which items of a bulk request would change nothing: the index is asked, and they
 * are dropped.
 *
 * Uses     worker, bulk, index, stale_copies.
 * Threads  the worker's.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* Drops from the worker's bulk the deletes of documents that do not exist and (unless deletes_only)
 * the documents that the index holds byte for byte; these are counted as unchanged. */
bool worker_drop_unchanged(struct worker *w, bool deletes_only, struct err *e);
