/* worker_rows: one try at a batch: its rows are read, their documents sent, compared or printed,
 * and those of keys without a row deleted.
 *
 * Uses     worker, worker_document, worker_send, worker_compare, worker_print, source, versions.
 * Threads  the worker's.
 * Promise  a request is judged, and if need be repeated, before the next document is made: so what
 *          is acknowledged, and in which order, does not depend on how fast either server is.
 *
 * PostgreSQL need not wait for the search server: while a request is under way, rows that arrive
 * are taken from the socket into memory, as bytes that nobody looks at before the answer has been
 * judged. They are at most a part of a request's size, so that a search server that stands still
 * stops PostgreSQL, too. A first, small request gives the search server work while PostgreSQL has
 * only begun. A chunk has several requests (run_workers.c), so that the end of one, where
 * PostgreSQL has nothing to do, is rare.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* False: nothing of it is counted; what was sent may be sent again. */
bool worker_try(struct worker *w, struct err *e);
