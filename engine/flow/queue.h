/* queue: batches of keys on their way from the feeds to the workers, and their acknowledgements
 * back.
 *
 * Uses     batch, errand, err, stop. No Lua, no network.
 * Owns     a batch, from queue_put until queue_get hands it to a worker, and again from queue_ack
 *          on.
 * Threads  any. One mutex, never held while calling out.
 * Promise  queue_low_water never passes a batch that is not acknowledged.
 *
 * Each feed has a lane of its own: an ordered sub-queue. Workers take from the lanes in turn, so
 * that the change of one row does not wait for another one that affects a million. A lane has a
 * window: the number of its batches that may be waiting, in work, or acknowledged after one that is
 * not. So the workers can get only so far ahead of one slow batch.
 */
#pragma once
#include "model/batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct queue;

/* windows: of each of n lanes, in batches. NULL: no memory. */
struct queue *queue_new(const size_t *windows, size_t n, struct err *e);
void queue_free(struct queue *q); /* with the batches that it still has; NULL is fine */

/* ---- the feeds' side, one thread ---- */

/* Whether the lane has room for one more batch, and the queue has not ended. */
bool queue_room(struct queue *q, size_t lane);
void queue_put(struct queue *q, size_t lane, struct batch *b); /* taken; after queue_room */
/* Called by queue_put, on its thread, when more batches wait than workers do. NULL: no longer. */
void queue_on_work(struct queue *q, void (*call)(void *arg), void *arg);
/* Whether all batches of the lane are acknowledged. */
bool queue_idle(struct queue *q, size_t lane);
/* Waits until a batch is acknowledged or the queue has ended, timeout_ms at most. An event since
 * the last call counts, too. False: there was none. */
bool queue_wait(struct queue *q, int64_t timeout_ms);
/* Ends a queue_wait, as an acknowledgement would: a feed has more. Any thread. */
void queue_wake(struct queue *q);
/* No more batches will come: queue_get returns NULL once the queue is empty. NULL is fine. */
void queue_close(struct queue *q);
/* The low-water mark of the lane: moves to *done (freed first) the checkpoint of its last batch
 * before which all are acknowledged. False: it has not advanced since the last call. */
bool queue_low_water(struct queue *q, size_t lane, struct checkpoint *done);
/* What the batches acknowledged since the last call reported; owned by the caller. */
struct rejections queue_rejections(struct queue *q);

struct queue_load {
    size_t batches;    /* that are not acknowledged */
    int64_t oldest_us; /* of their changes, see struct change_times; 0: none */
};
struct queue_load queue_load(struct queue *q); /* any thread */

/* ---- the workers' side ---- */

struct batch *queue_get(struct queue *q); /* waits; owned; NULL: there is no more work */
/* Waits until queue_get would not wait, timeout_ms at most. False: it still would. */
bool queue_ready(struct queue *q, int64_t timeout_ms);
/* The same without waiting; NULL: there is no work now. *over: and there will be none. */
struct batch *queue_get_now(struct queue *q, bool *over);
void queue_ack(struct queue *q, struct batch *b); /* taken; as queue_get returned it */
/* For output in order: waits until all batches before b in its lane are acknowledged, timeout_ms at
 * most. False: they are not yet, or the queue has ended. */
bool queue_turn(struct queue *q, const struct batch *b, int64_t timeout_ms);

/* ---- either side: the end ---- */

/* Ends the queue with an error, and so everybody's waits. The first error stays. NULL is fine. */
void queue_fail(struct queue *q, const struct err *e);
/* Ends the queue without an error: nobody needs more (a limit is reached, a pipe was closed). */
void queue_enough(struct queue *q);
/* Whether it has ended, by either. Cheap: it takes no mutex. */
bool queue_ended(struct queue *q);
bool queue_is_over(void *queue); /* the same, for struct retry */
/* True: it has failed, and *e is the error. NULL is fine: it has not. */
bool queue_error(struct queue *q, struct err *e);
