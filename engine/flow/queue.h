/* queue: batches of keys on their way from the feeds to the workers, and their acknowledgements
 * back.
 *
 * Uses     batch, counts, err, stop, keyset. No Lua, no network.
 * Owns     a batch, from queue_put until queue_get hands it to a worker, and again from queue_ack
 *          on.
 * Threads  any. The engine's one mutex; never held while calling out.
 * Promise  queue_low_water never passes a batch that is not acknowledged.
 *
 * Each feed has a lane of its own. Workers take from the lanes in turn, so that a change of one row
 * does not wait behind another one that affects a million. However far they get ahead of one slow
 * batch, no more than `window` batches of a lane are known at a time.
 */
#pragma once
#include "model/batch.h"
#include "model/counts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct queue;

/* windows: for each of n lanes, how many batches may be under way or waiting. issued: the highest
 * version that an earlier run issued. */
struct queue *queue_new(const size_t *windows, size_t n, int64_t issued, struct err *e);
void queue_free(struct queue *q); /* with whatever is left in it; NULL is fine */

/* ---- the feeds' side, one thread ---- */

/* there is room for one batch, and the queue has not ended */
bool queue_room(struct queue *q, size_t lane);
void queue_put(struct queue *q, size_t lane, struct batch *b); /* taken; after queue_room */
bool queue_idle(struct queue *q, size_t lane); /* all that was put into the lane is acknowledged */
/* Waits until a batch is acknowledged, or the queue has ended, timeout_ms at most. What happened
 * since the last call counts: false: nothing did. */
bool queue_wait(struct queue *q, int64_t timeout_ms);
void queue_close(struct queue *q); /* the workers' queue_get ends once the queue is empty */
/* The `done` of the lane's last batch before which all are acknowledged, moved to *done (freed
 * first). False: no news since the last call. */
bool queue_low_water(struct queue *q, size_t lane, struct checkpoint *done);
/* Hands over what the acknowledged batches reported since the last call: *list, owned by the caller
 * (rejections_free). */
size_t queue_rejections(struct queue *q, struct rejection **list);

/* ---- the workers' side ---- */

struct batch *queue_get(struct queue *q); /* waits; NULL: the work is over */
/* Waits until queue_get would not, timeout_ms at most. False: it still would. */
bool queue_ready(struct queue *q, int64_t timeout_ms);
void queue_ack(struct queue *q, struct batch *b); /* taken */
/* For output in order: waits until all batches before b in its lane are acknowledged. False: the
 * queue has ended. */
bool queue_turn(struct queue *q, const struct batch *b);

/* The version for a fetch whose clock reading was `clock`: that, or, where the clock went back,
 * what was reserved before the reading was asked for: above everything issued before, and nobody
 * else's. Two fetches of one key with equal versions would overwrite each other in any order. */
int64_t queue_reserve(struct queue *q);
int64_t queue_issue(struct queue *q, int64_t clock, int64_t reserved);
int64_t queue_issued(struct queue *q); /* the highest version so far */
/* From now on versions are above this one, too. */
void queue_raise(struct queue *q, int64_t version);
/* How far a clock reading was behind the versions of earlier runs, in microseconds; 0: it was not.
 * Only the first call since that was met tells it. */
int64_t queue_clock_behind(struct queue *q);

void queue_add_sums(struct queue *q, const struct counts *delta);
struct counts queue_sums(struct queue *q);

/* A key whose document was rejected. False: it is told again, within this window. A key counts once
 * in the sums, and once in each window: where one row comes by again and again, it is still one. */
bool queue_reject(struct queue *q, const char *key);
/* How many since the window began; rejected rows without a key (queue_add_sums) are among them. */
uint64_t queue_rejected_lately(struct queue *q);
void queue_begin_window(struct queue *q); /* the first one begins with the queue */
/* A key for which the query has several rows, as an example: the first one stays. */
void queue_note_repeated(struct queue *q, const char *key);
void queue_repeated(struct queue *q, char *out, size_t size); /* "": none */

/* The guard against mass deletion: how many more documents may be deleted. Negative: any number. */
void queue_allow_deletes(struct queue *q, int64_t n);
/* false: that many are not allowed, and none is taken */
bool queue_take_deletes(struct queue *q, int64_t n);
void queue_give_deletes(struct queue *q, int64_t n); /* back: they deleted nothing */

/* Keys that are dead letters, so that a worker can tell when one succeeds. */
void queue_set_dead(struct queue *q, const char *key, bool dead);
bool queue_is_dead(struct queue *q, const char *key);

/* ---- either side: the end. NULL is fine, here and for queue_close and queue_sums: none has begun
 * ---- */

/* the first error stays; everybody's waits end */
void queue_fail(struct queue *q, const struct err *e);
/* nobody wants more (a limit, a closed pipe): ends without an error */
void queue_enough(struct queue *q);
bool queue_ended(struct queue *q);                /* (not NULL) failed, or enough */
bool queue_is_over(void *queue);                  /* the same, for struct retry */
bool queue_error(struct queue *q, struct err *e); /* true: it failed; *e is the error */
