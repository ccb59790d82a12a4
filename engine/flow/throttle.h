/* throttle: how much is sent to the search server at a time: no more than it takes, and no faster
 * than the user wants.
 *
 * Uses     stop, clock, log, err.
 * Threads  any: one for all workers. One mutex, never held while waiting.
 *
 * A request that the server puts off because it is overloaded halves both the number of requests
 * under way and what one may weigh; each one that it takes lets both rise again by a small step.
 * Requests that were under way together count as one.
 *
 *     if (!throttle_enter(t, items, over, arg, &turn, e))
 *         return false;
 *     ... one request, of throttle_bytes(t) at most
 *     throttle_leave(t, &turn, THROTTLE_TAKEN);
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct throttle;

/* requests: how many may be under way, bytes: what one may weigh, when all is well. max_rate: items
 * a second; 0: any number. NULL: no memory. */
struct throttle *throttle_new(int requests, size_t bytes, double max_rate, struct err *e);
void throttle_free(struct throttle *t); /* NULL is fine */

/* What one request may weigh now, in bytes. */
size_t throttle_bytes(struct throttle *t);
/* What has been collected is enough for a request now. */
bool throttle_is_full(struct throttle *t, size_t bytes, size_t items);

struct throttle_turn {
    unsigned round;
};

/* Waits until a request of so many items may begin. False: over(arg) became true, or a stop was
 * asked; ERR_STOPPED. over may be NULL. */
bool throttle_enter(struct throttle *t, size_t items, bool (*over)(void *arg), void *arg,
                    struct throttle_turn *turn, struct err *e);

enum throttle_outcome {
    THROTTLE_TAKEN,
    THROTTLE_OVERLOADED,
    THROTTLE_FAILED, /* in another way, which says nothing about the load */
};
/* It has ended. Exactly once after each throttle_enter that was true. */
void throttle_leave(struct throttle *t, const struct throttle_turn *turn,
                    enum throttle_outcome outcome);
