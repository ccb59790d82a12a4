/* workers: the threads that take batches from the queue: keys to rows to documents to bulk
 * requests, acknowledged.
 *
 * Uses     worker, worker_parts, queue, shares, tally, throttle, watchdog, witness, alike.
 * Threads  each worker is one, while there is work for it, with its own lua_State and HTTP
 *          connection. They share the flow, the throttle, and what is read-only.
 * Promise  a batch is acknowledged only when each of its keys is indexed, deleted, superseded, or
 *          reported as rejected. A passing error is waited out; the batch is then read again, under
 *          a new version.
 */
#pragma once
#include "flow/worker_config.h"

struct err;
struct workers;

/* From now on batches that are put into the queue are worked on, by n threads at most. NULL: e says
 * why. */
struct workers *workers_start(const struct worker_config *config, int n, struct err *e);
/* Waits until they have ended (after queue_close, queue_fail or queue_enough), and frees. NULL is
 * fine. */
void workers_join(struct workers *w);
