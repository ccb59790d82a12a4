/* worker_send: a worker's documents and deletes, on their way to the index.
 *
 * Uses     worker, worker_compare, worker_request, delete_budget, stale_copies, echo.
 * Threads  the worker's.
 * Promise  no more documents are deleted than the delete budget allows.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* Sends what the worker has collected, until all of it is acknowledged or reported as rejected. The
 * collection is empty after that, or after an error. */
bool worker_send(struct worker *w, struct err *e);
