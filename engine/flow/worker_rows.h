/* worker_rows: one try at a batch: its rows are read, made into documents, and sent or printed.
 *
 * Uses     worker, worker_send, worker_print, source, script, index.
 * Threads  the worker's.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* False: nothing of it is counted; what was sent may be sent again. */
bool worker_try(struct worker *w, struct err *e);
