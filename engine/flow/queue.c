#include "flow/queue.h"

#include "base/err.h"
#include "base/stop.h"
#include "flow/errand.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* slots is a ring: the batch with number seq has slot seq % window. Asserted by check():
 *
 *     low <= next_get <= next_put     the numbers
 *     low .. next_get                 handed out; acknowledged ones wait for those before them
 *     next_get .. next_put            waiting
 *     next_put - low <= window        so no two of them share a slot
 */
struct slot {
    struct batch *batch; /* owned while waiting */
    bool acked;
    int64_t oldest_us; /* of the batch's changes; 0: it has none */
    struct checkpoint done;
};

struct lane {
    struct slot *slots; /* owned */
    size_t window;
    uint64_t low, next_get, next_put;
    struct checkpoint done; /* of batch low - 1, unless queue_low_water has returned it */
    bool news;              /* it has not */
};

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t work; /* for the workers: a batch was put, a turn has come, the end */
    /* for the feeds, whose wait a signal ends, too: a batch was acknowledged, the end. Written to
     * while they wait. */
    int event;
    bool feeds_wait;
    struct lane *lanes;   /* owned */
    size_t n_lanes, turn; /* turn: the lane that queue_get tries first */
    size_t waiting;       /* workers */
    bool closed;
    bool happened; /* a batch was acknowledged since queue_wait last returned */
    /* changed under the mutex, but read without it for each document: see queue_ended */
    atomic_bool enough, failed;
    struct err error; /* if failed */
    struct rejections rejections;
    /* of the feeds' thread */
    void (*on_work)(void *arg);
    void *arg;
};

static void init_condition(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

static bool make_lanes(struct queue *q, const size_t *windows, size_t n)
{
    q->lanes = calloc(n, sizeof *q->lanes);
    if (!q->lanes)
        return false;
    q->n_lanes = n;
    for (size_t i = 0; i < n; i++) {
        q->lanes[i].window = windows[i];
        q->lanes[i].slots = calloc(windows[i], sizeof *q->lanes[i].slots);
        if (!q->lanes[i].slots)
            return false;
    }
    return true;
}

struct queue *queue_new(const size_t *windows, size_t n, struct err *e)
{
    struct queue *q = calloc(1, sizeof *q);
    if (!q) {
        err_memory(e);
        return NULL;
    }
    init_condition(&q->work);
    pthread_mutex_init(&q->mutex, NULL);
    q->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->event < 0)
        err_set(e, ERR_PASSING, "could not set up a queue: %s", strerror(errno));
    else if (make_lanes(q, windows, n))
        return q;
    else
        err_memory(e);
    queue_free(q);
    return NULL;
}

static void free_lane(struct lane *l)
{
    for (size_t i = 0; l->slots && i < l->window; i++) {
        batch_free(l->slots[i].batch);
        checkpoint_free(&l->slots[i].done);
    }
    free(l->slots);
    checkpoint_free(&l->done);
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->n_lanes; i++)
        free_lane(&q->lanes[i]);
    free(q->lanes);
    rejections_free(&q->rejections);
    pthread_cond_destroy(&q->work);
    if (q->event >= 0)
        close(q->event);
    pthread_mutex_destroy(&q->mutex);
    free(q);
}

/* The ring's invariants, whenever the mutex is taken or released. */
static void check(const struct queue *q)
{
    for (size_t i = 0; i < q->n_lanes; i++) {
        const struct lane *l = &q->lanes[i];
        assert(l->low <= l->next_get && l->next_get <= l->next_put);
        assert(l->next_put - l->low <= l->window);
    }
}

static void lock(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    check(q);
}

static void unlock(struct queue *q)
{
    check(q);
    pthread_mutex_unlock(&q->mutex);
}

static struct lane *lane_at(struct queue *q, size_t lane)
{
    assert(lane < q->n_lanes);
    return &q->lanes[lane];
}

static struct slot *slot_of(struct lane *l, uint64_t seq)
{
    return &l->slots[seq % l->window];
}

static bool ended(const struct queue *q)
{
    return q->failed || q->enough;
}

static void wake_feeds(struct queue *q)
{
    if (q->feeds_wait)
        eventfd_write(q->event, 1);
}

static void wake_all(struct queue *q)
{
    pthread_cond_broadcast(&q->work);
    wake_feeds(q);
}

static void fail(struct queue *q, const struct err *e)
{
    if (q->failed)
        return;
    q->failed = true;
    q->error = *e;
    wake_all(q);
}

/* A signal handler must not signal a condition variable. At least one thread is always running, or
 * blocked where the signal wakes it, and it calls this next. */
static void check_stop(struct queue *q)
{
    struct err e;
    if (stop_asked()) {
        stop_err(&e);
        fail(q, &e);
    }
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

bool queue_room(struct queue *q, size_t lane)
{
    const struct lane *l = lane_at(q, lane);
    lock(q);
    check_stop(q);
    bool room = !ended(q) && l->next_put - l->low < l->window;
    unlock(q);
    return room;
}

/* Batches that no worker has. */
static uint64_t pending(const struct queue *q)
{
    uint64_t n = 0;
    for (size_t i = 0; i < q->n_lanes; i++)
        n += q->lanes[i].next_put - q->lanes[i].next_get;
    return n;
}

void queue_put(struct queue *q, size_t lane, struct batch *b)
{
    struct lane *l = lane_at(q, lane);
    lock(q);
    assert(l->next_put - l->low < l->window);
    b->lane = lane;
    b->seq = l->next_put++;
    struct slot *slot = slot_of(l, b->seq);
    assert(!slot->batch && !slot->acked);
    slot->batch = b;
    slot->oldest_us = b->changed.oldest_us;
    pthread_cond_broadcast(&q->work);
    bool more = pending(q) > q->waiting;
    unlock(q);
    if (more && q->on_work)
        q->on_work(q->arg);
}

void queue_on_work(struct queue *q, void (*call)(void *arg), void *arg)
{
    q->on_work = call;
    q->arg = arg;
}

bool queue_idle(struct queue *q, size_t lane)
{
    const struct lane *l = lane_at(q, lane);
    lock(q);
    bool idle = l->low == l->next_put;
    unlock(q);
    return idle;
}

static bool has_happened(const struct queue *q)
{
    return ended(q) || q->happened;
}

bool queue_wait(struct queue *q, int64_t timeout_ms)
{
    eventfd_t count;
    lock(q);
    check_stop(q);
    q->feeds_wait = !has_happened(q);
    bool waits = q->feeds_wait;
    unlock(q);
    if (waits)
        stop_wait_fd(q->event, POLLIN, timeout_ms);
    lock(q);
    check_stop(q);
    q->feeds_wait = false;
    if (waits)
        eventfd_read(q->event, &count); /* or the next wait would end at once */
    bool happened = has_happened(q);
    q->happened = false;
    unlock(q);
    return happened;
}

void queue_wake(struct queue *q)
{
    lock(q);
    q->happened = true;
    wake_feeds(q);
    unlock(q);
}

void queue_close(struct queue *q)
{
    if (!q)
        return;
    lock(q);
    q->closed = true;
    pthread_cond_broadcast(&q->work);
    unlock(q);
}

bool queue_low_water(struct queue *q, size_t lane, struct checkpoint *done)
{
    struct lane *l = lane_at(q, lane);
    lock(q);
    bool news = l->news;
    if (news)
        checkpoint_move(done, &l->done);
    l->news = false;
    unlock(q);
    return news;
}

struct rejections queue_rejections(struct queue *q)
{
    lock(q);
    struct rejections reports = q->rejections;
    q->rejections = (struct rejections){0};
    unlock(q);
    return reports;
}

static void add_load(struct lane *l, struct queue_load *load)
{
    for (uint64_t seq = l->low; seq < l->next_put; seq++) {
        const struct slot *slot = slot_of(l, seq);
        if (slot->acked)
            continue;
        load->batches++;
        if (slot->oldest_us && (!load->oldest_us || slot->oldest_us < load->oldest_us))
            load->oldest_us = slot->oldest_us;
    }
}

struct queue_load queue_load(struct queue *q)
{
    struct queue_load load = {0};
    lock(q);
    for (size_t i = 0; i < q->n_lanes; i++)
        add_load(&q->lanes[i], &load);
    unlock(q);
    return load;
}

/* The next waiting batch, of the lanes in turn; NULL: none. */
static struct batch *take_next(struct queue *q)
{
    for (size_t i = 0; i < q->n_lanes; i++) {
        struct lane *l = &q->lanes[(q->turn + i) % q->n_lanes];
        if (l->next_get == l->next_put)
            continue;
        q->turn = (q->turn + i + 1) % q->n_lanes;
        struct slot *slot = slot_of(l, l->next_get++);
        struct batch *b = slot->batch;
        assert(b);
        slot->batch = NULL;
        return b;
    }
    return NULL;
}

static bool nothing_yet(const struct queue *q)
{
    return pending(q) == 0 && !ended(q) && !q->closed;
}

bool queue_ready(struct queue *q, int64_t timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    lock(q);
    check_stop(q);
    q->waiting++;
    while (nothing_yet(q) && pthread_cond_timedwait(&q->work, &q->mutex, &deadline) == 0)
        ;
    q->waiting--;
    bool ready = !nothing_yet(q);
    unlock(q);
    return ready;
}

struct batch *queue_get(struct queue *q)
{
    lock(q);
    check_stop(q);
    q->waiting++;
    while (nothing_yet(q))
        pthread_cond_wait(&q->work, &q->mutex);
    q->waiting--;
    struct batch *b = ended(q) ? NULL : take_next(q);
    unlock(q);
    return b;
}

struct batch *queue_get_now(struct queue *q, bool *over)
{
    lock(q);
    check_stop(q);
    struct batch *b = ended(q) ? NULL : take_next(q);
    *over = !b && !nothing_yet(q);
    unlock(q);
    return b;
}

static void advance(struct lane *l)
{
    for (struct slot *slot; (slot = slot_of(l, l->low))->acked; l->low++) {
        checkpoint_move(&l->done, &slot->done);
        l->news = true;
        *slot = (struct slot){0};
    }
}

void queue_ack(struct queue *q, struct batch *b)
{
    struct lane *l = lane_at(q, b->lane);
    struct err e;
    lock(q);
    struct slot *slot = slot_of(l, b->seq);
    assert(b->seq >= l->low && b->seq < l->next_get && !slot->batch && !slot->acked);
    /* Without memory the report would be lost: then nothing may pass the batch. */
    if (rejections_move(&q->rejections, &b->rejections)) {
        slot->acked = true;
        checkpoint_move(&slot->done, &b->done);
        advance(l);
    } else {
        err_memory(&e);
        fail(q, &e);
    }
    if (b->errand) /* its reports are here by now */
        errand_leave(b->errand);
    q->happened = true;
    wake_all(q);
    unlock(q);
    batch_free(b);
}

bool queue_turn(struct queue *q, const struct batch *b, int64_t timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    lock(q);
    check_stop(q);
    while (!ended(q) && q->lanes[b->lane].low < b->seq &&
           pthread_cond_timedwait(&q->work, &q->mutex, &deadline) == 0)
        ;
    bool turn = !ended(q) && q->lanes[b->lane].low >= b->seq;
    unlock(q);
    return turn;
}

void queue_fail(struct queue *q, const struct err *e)
{
    if (!q)
        return;
    lock(q);
    fail(q, e);
    unlock(q);
}

void queue_enough(struct queue *q)
{
    lock(q);
    q->enough = true;
    wake_all(q);
    unlock(q);
}

bool queue_ended(struct queue *q)
{
    return ended(q);
}

bool queue_is_over(void *queue)
{
    return queue_ended(queue);
}

bool queue_error(struct queue *q, struct err *e)
{
    if (!q)
        return false;
    lock(q);
    bool failed = q->failed;
    if (failed)
        *e = q->error;
    unlock(q);
    return failed;
}
