#include "queue.h"

#include "err.h"
#include "stop.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* slots is a ring; batch seq stands at seq % window:
 *
 *   low .. next_get   handed out; acknowledged ones (batch == NULL, acked) wait for those before them
 *   next_get .. next_put   waiting
 *   next_put - low <= window
 */
struct slot {
    struct batch *batch; /* owned while waiting */
    bool acked;
    struct position done;
};

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct slot *slots;
    size_t window;
    uint64_t low, next_get, next_put;
    bool closed, enough, failed;
    struct err error;
    struct position done; /* of batch low - 1 */
    bool news;
    int64_t issued;
    struct bulk_sums sums;
};

/* ---- batches ---- */

struct batch *batch_range(const char *from, const char *to)
{
    struct batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->is_range = true;
    b->from = from ? strdup(from) : NULL;
    b->to = to ? strdup(to) : NULL;
    b->done.key = to ? strdup(to) : NULL;
    if ((from && !b->from) || (to && (!b->to || !b->done.key))) {
        batch_free(b);
        return NULL;
    }
    return b;
}

bool batch_add_key(struct batch *b, const char *key)
{
    bool full = (b->n & (b->n - 1)) == 0; /* room is made in powers of two */
    char **keys = full ? realloc(b->keys, (b->n ? b->n * 2 : 1) * sizeof *keys) : b->keys;
    if (!keys)
        return false;
    b->keys = keys;
    keys[b->n] = strdup(key);
    if (!keys[b->n])
        return false;
    b->n++;
    return true;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n; i++)
        free(b->keys[i]);
    free(b->keys);
    free(b->from);
    free(b->to);
    position_free(&b->done);
    free(b);
}

/* ---- the queue ---- */

struct queue *queue_new(size_t window, int64_t issued, struct err *e)
{
    struct queue *q = calloc(1, sizeof *q);
    struct slot *slots = calloc(window, sizeof *slots);
    if (!q || !slots) {
        free(q);
        free(slots);
        err_memory(e);
        return NULL;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&q->mutex, NULL);
    q->slots = slots;
    q->window = window;
    q->issued = issued;
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->window; i++) {
        batch_free(q->slots[i].batch);
        position_free(&q->slots[i].done);
    }
    position_free(&q->done);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->mutex);
    free(q->slots);
    free(q);
}

static bool ended(const struct queue *q)
{
    return q->failed || q->enough;
}

static void fail(struct queue *q, const struct err *e)
{
    if (q->failed)
        return;
    q->failed = true;
    q->error = *e;
    pthread_cond_broadcast(&q->changed);
}

/* The signal handler cannot wake a condition variable; but some thread always works or waits where a signal
 * wakes it, and comes by here next. */
static void heed_stop(struct queue *q)
{
    struct err e;
    if (stop_asked()) {
        stop_err(&e);
        fail(q, &e);
    }
}

/* Waits for a change until deadline; false: it has passed. */
static bool wait_until(struct queue *q, const struct timespec *deadline)
{
    return pthread_cond_timedwait(&q->changed, &q->mutex, deadline) == 0;
}

static struct timespec deadline_in(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

bool queue_room(struct queue *q, int64_t timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&q->mutex);
    heed_stop(q);
    while (!ended(q) && q->next_put - q->low >= q->window && wait_until(q, &deadline))
        ;
    bool room = !ended(q) && q->next_put - q->low < q->window;
    pthread_mutex_unlock(&q->mutex);
    return room;
}

void queue_put(struct queue *q, struct batch *b)
{
    pthread_mutex_lock(&q->mutex);
    b->seq = q->next_put++;
    q->slots[b->seq % q->window].batch = b;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

bool queue_idle(struct queue *q, int64_t timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&q->mutex);
    heed_stop(q);
    while (!ended(q) && q->low < q->next_put && wait_until(q, &deadline))
        ;
    bool idle = ended(q) || q->low == q->next_put;
    pthread_mutex_unlock(&q->mutex);
    return idle;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

bool queue_low_water(struct queue *q, struct position *done)
{
    pthread_mutex_lock(&q->mutex);
    bool news = q->news;
    if (news) {
        position_free(done);
        *done = q->done;
        q->done = (struct position){0};
        q->news = false;
    }
    pthread_mutex_unlock(&q->mutex);
    return news;
}

static bool nothing_yet(const struct queue *q)
{
    return !ended(q) && !q->closed && q->next_get == q->next_put;
}

bool queue_ready(struct queue *q, int64_t timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&q->mutex);
    heed_stop(q);
    while (nothing_yet(q) && wait_until(q, &deadline))
        ;
    bool ready = !nothing_yet(q);
    pthread_mutex_unlock(&q->mutex);
    return ready;
}

struct batch *queue_get(struct queue *q)
{
    struct batch *b = NULL;
    pthread_mutex_lock(&q->mutex);
    heed_stop(q);
    while (nothing_yet(q))
        pthread_cond_wait(&q->changed, &q->mutex);
    if (!ended(q) && q->next_get < q->next_put) {
        struct slot *slot = &q->slots[q->next_get++ % q->window];
        b = slot->batch;
        slot->batch = NULL;
    }
    pthread_mutex_unlock(&q->mutex);
    return b;
}

static void advance(struct queue *q)
{
    for (struct slot *slot; (slot = &q->slots[q->low % q->window])->acked; q->low++) {
        position_free(&q->done);
        q->done = slot->done;
        q->news = true;
        *slot = (struct slot){0};
    }
}

void queue_ack(struct queue *q, struct batch *b)
{
    pthread_mutex_lock(&q->mutex);
    struct slot *slot = &q->slots[b->seq % q->window];
    slot->acked = true;
    slot->done = b->done;
    b->done = (struct position){0};
    advance(q);
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
    batch_free(b);
}

bool queue_turn(struct queue *q, const struct batch *b)
{
    pthread_mutex_lock(&q->mutex);
    heed_stop(q);
    while (!ended(q) && q->low < b->seq)
        pthread_cond_wait(&q->changed, &q->mutex);
    bool turn = !ended(q);
    pthread_mutex_unlock(&q->mutex);
    return turn;
}

int64_t queue_issue(struct queue *q, int64_t clock, int64_t floor)
{
    pthread_mutex_lock(&q->mutex);
    int64_t version = clock > floor ? clock : floor + 1;
    if (version > q->issued)
        q->issued = version;
    pthread_mutex_unlock(&q->mutex);
    return version;
}

int64_t queue_issued(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    int64_t issued = q->issued;
    pthread_mutex_unlock(&q->mutex);
    return issued;
}

void queue_add_sums(struct queue *q, const struct bulk_sums *delta)
{
    pthread_mutex_lock(&q->mutex);
    q->sums.indexed += delta->indexed;
    q->sums.deleted += delta->deleted;
    q->sums.unchanged += delta->unchanged;
    q->sums.rejected += delta->rejected;
    q->sums.bytes += delta->bytes;
    q->sums.requests += delta->requests;
    q->sums.retried_items += delta->retried_items;
    pthread_mutex_unlock(&q->mutex);
}

struct bulk_sums queue_sums(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    struct bulk_sums sums = q->sums;
    pthread_mutex_unlock(&q->mutex);
    return sums;
}

void queue_fail(struct queue *q, const struct err *e)
{
    pthread_mutex_lock(&q->mutex);
    fail(q, e);
    pthread_mutex_unlock(&q->mutex);
}

void queue_enough(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->enough = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

bool queue_ended(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    bool result = ended(q);
    pthread_mutex_unlock(&q->mutex);
    return result;
}

bool queue_is_over(void *queue)
{
    return queue_ended(queue);
}

bool queue_error(struct queue *q, struct err *e)
{
    pthread_mutex_lock(&q->mutex);
    bool failed = q->failed;
    if (failed)
        *e = q->error;
    pthread_mutex_unlock(&q->mutex);
    return failed;
}
