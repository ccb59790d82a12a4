/* worker_request: a worker's bulk requests: sent when the throttle allows, and again after a
 * passing error.
 *
 * Uses     worker, bulk, presence, throttle, versions, retry.
 * Threads  the worker's.
 */
#pragma once
#include <stdbool.h>

struct counts;
struct err;
struct worker;

/* Sends all items of the worker's bulk, which is then empty. *counts: what the answers say is added
 * to it, also before an error. Passing errors are those for which the batch has to be read again:
 * the rows are too old, or another run is writing to the index; or the time to retry is over. */
bool worker_request(struct worker *w, struct counts *counts, struct err *e);
