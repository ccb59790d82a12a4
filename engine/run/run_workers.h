/* run_workers: the queue, the workers, and the coordinator between them: started and stopped.
 *
 * Uses     run, flow, workers, coordinator, chunk_size.
 * Threads  one, the main thread, starts and stops them.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;

/* Starts the workers. False: e says why; run_close frees what there is. */
bool run_start_workers(struct run *r, struct err *e);
/* Ends them: waits until each has finished its batch, or dropped it (after queue_fail). */
void run_stop_workers(struct run *r);
