/* queue: batches of keys on their way from the feed to the workers, and their acknowledgements back.
 *
 * Uses     err, stop, state (positions), bulk (sums). No Lua, no network.
 * Owns     a batch, from queue_put until queue_get hands it to a worker, and again from queue_ack on.
 * Threads  any. The engine's one mutex; never held while calling out.
 * Promise  queue_low_water never passes a batch that is not acknowledged. However far the workers get ahead
 * of one slow batch, no more than `window` batches are known at a time.
 */
#pragma once
#include "bulk.h"
#include "state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct batch {
    uint64_t seq; /* from 0, in the order of queue_put; the queue's own */
    bool is_range;
    char *from, *to; /* a stretch: keys above `from`, up to `to`; NULL: no bound. Owned */
    char **keys;     /* else: these keys. Owned, each */
    size_t n;
    struct position done; /* what the state may say once this batch and all before it are acknowledged; for a
                             stretch, key */
};
struct batch *batch_range(const char *from, const char *to); /* copies; NULL: no memory */
bool batch_add_key(struct batch *b, const char *key);        /* copies; false: no memory */
void batch_free(struct batch *b);                            /* NULL is fine */

struct queue;

/* window: how many batches may be under way or waiting. issued: the highest version that an earlier run
 * issued. */
struct queue *queue_new(size_t window, int64_t issued, struct err *e);
void queue_free(struct queue *q); /* with whatever is left in it; NULL is fine */

/* ---- the feed's side, one thread ---- */

/* Waits for room, timeout_ms at most. True: there is room for one batch. False: not yet, or the queue has
 * ended. */
bool queue_room(struct queue *q, int64_t timeout_ms);
void queue_put(struct queue *q, struct batch *b); /* taken; after queue_room */
/* Waits until all that was put is acknowledged, timeout_ms at most. True: it is (or the queue has ended). */
bool queue_idle(struct queue *q, int64_t timeout_ms);
void queue_close(struct queue *q); /* the workers' queue_get ends once the queue is empty */
/* The `done` of the last batch before which all are acknowledged, moved to *done (freed first). False: no
 * news since the last call. */
bool queue_low_water(struct queue *q, struct position *done);

/* ---- the workers' side ---- */

struct batch *queue_get(struct queue *q); /* waits; NULL: the work is over */
/* Waits until queue_get would not, timeout_ms at most. False: it still would. */
bool queue_ready(struct queue *q, int64_t timeout_ms);
void queue_ack(struct queue *q, struct batch *b); /* taken */
/* For output in order: waits until all batches before b are acknowledged. False: the queue has ended. */
bool queue_turn(struct queue *q, const struct batch *b);

/* The version for a fetch whose clock reading was `clock`: above everything issued before that reading was
 * asked for (floor: queue_issued, called before), so that a clock that went back orders nothing wrongly. */
int64_t queue_issue(struct queue *q, int64_t clock, int64_t floor);
int64_t queue_issued(struct queue *q); /* the highest version so far */

void queue_add_sums(struct queue *q, const struct bulk_sums *delta);
struct bulk_sums queue_sums(struct queue *q);

/* ---- either side: the end ---- */

void queue_fail(struct queue *q, const struct err *e); /* the first error stays; everybody's waits end */
void queue_enough(struct queue *q); /* nobody wants more (a limit, a closed pipe): ends without an error */
bool queue_ended(struct queue *q);  /* failed, or enough */
bool queue_is_over(void *queue);    /* the same, for struct retry */
bool queue_error(struct queue *q, struct err *e); /* true: it failed; *e is the error */
