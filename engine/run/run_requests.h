/* run_requests: does what other processes ask for (desk), in a run that follows.
 *
 * Uses     run, desk, errand, feed, coordinator, run_guard, state_move.
 * Threads  one, the main thread.
 * Promise  a request that fails does not fail the run. Nobody is told that something is done before
 *          its dead letters are on disk.
 */
#pragma once
#include <stdbool.h>

struct err;
struct errand;
struct feed;
struct run;

/* Opens the desk of a run that follows and has the lock. If that is impossible, the run goes on
 * without it, and says so. */
void run_open_desk(struct run *r);
/* e: why the run has ended; NULL: it is done. The workers have ended. */
void run_close_desk(struct run *r, const struct err *e);

struct run_requests {  /* zeroed: not open */
    struct feed *keys; /* owned */
    bool recount;      /* the index has documents more, or fewer: the limit for deletes is due */
};

/* From now on requests are served, on a lane of their own. Also after a pause. */
bool run_requests_open(struct run_requests *q, struct run *r, struct err *e);
/* No batch of a request is under way. why: what those that wait are told; static. */
void run_requests_pause(struct run *r, const char *why);
/* The workers have ended before they were done: requests that were under way fail. */
void run_requests_break(struct run_requests *q, struct run *r, const struct err *why);
void run_requests_close(struct run_requests *q); /* safe on a zeroed struct */
/* In each round of the run: takes keys that have come, and tells of requests that are done. */
void run_requests_serve(struct run_requests *q, struct run *r);

/* A sweep (inner: taken; NULL: e says why) whose batches are those of an errand, and whose errors,
 * too. */
struct feed *run_requests_sweep(struct run *r, struct feed *inner, struct errand *x, struct err *e);

/* Moves the state to a time, which was asked for, and tells so. No feed is open. */
void run_requests_set(struct run *r, const char *time);
