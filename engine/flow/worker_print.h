/* worker_print: a worker's documents, or the body of its bulk request, on standard output.
 *
 * Uses     worker, queue (turns), tally, stop.
 * Threads  the worker's.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* Waits for the turn of the worker's batch, then prints what the worker has collected. A reader
 * that has closed the pipe ends the queue without an error. */
bool worker_print(struct worker *w, struct err *e);
