/* throttle: how much is sent to the search server at a time: no more than it can take, and no
 * faster than the user wants.
 *
 * Uses     stop, clock, alike, err.
 * Threads  any: one throttle for all workers of a pipeline. One mutex, never held while waiting.
 *
 * A request that the server rejects because it is overloaded halves both the number of requests
 * under way and the size of a request; each request that succeeds raises both by a small step.
 * Requests that were under way together halve them once.
 *
 *     struct throttle_request r = {.items = n, .over = is_over, .arg = arg};
 *     if (!throttle_enter(t, &r, e))
 *         return false;
 *     ... one request, of throttle_bytes(t) at most
 *     throttle_leave(t, &r, THROTTLE_TAKEN);
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct throttle;

/* requests: how many may be under way, bytes: the size of one, while the server is not overloaded.
 * max_rate: items a second; 0: any number. NULL: no memory. */
struct throttle *throttle_new(int requests, size_t bytes, double max_rate, struct err *e);
void throttle_free(struct throttle *t); /* no request is under way; NULL is fine */

/* The size that one request may have now, in bytes. */
size_t throttle_bytes(struct throttle *t);
/* Whether what has been collected is enough for a request now. */
bool throttle_is_full(struct throttle *t, size_t bytes, size_t items);

struct throttle_request {
    size_t items;
    bool (*over)(void *arg); /* true: nobody wants the request any more; NULL: never */
    void *arg;               /* borrowed */
    unsigned round;          /* the throttle's own */
};

/* Waits until the request may begin. False: it is over, or a stop was asked; ERR_STOPPED. */
bool throttle_enter(struct throttle *t, struct throttle_request *r, struct err *e);

enum throttle_outcome {
    THROTTLE_TAKEN,
    THROTTLE_OVERLOADED,
    THROTTLE_FAILED, /* in another way, which says nothing about the load */
};
/* The request has ended. Exactly once after each throttle_enter that was true. */
void throttle_leave(struct throttle *t, const struct throttle_request *r,
                    enum throttle_outcome outcome);
