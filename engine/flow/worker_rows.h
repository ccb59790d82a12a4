/* worker_rows: one try at a batch: its rows are read, their documents sent, compared or printed,
 * and those of keys without a row deleted.
 *
 * Uses     worker, worker_document, worker_send, worker_compare, worker_print, source, versions.
 * Threads  the worker's.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* False: nothing of it is counted; what was sent may be sent again. */
bool worker_try(struct worker *w, struct err *e);
