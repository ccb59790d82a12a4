#include "flow/queue.h"

#include "base/err.h"
#include "base/keyset.h"
#include "base/stop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* slots is a ring; batch seq stands at seq % window:
 *
 *   low .. next_get        handed out; acknowledged ones wait for those before them
 *   next_get .. next_put   waiting
 *   next_put - low <= window
 */
struct slot {
    struct batch *batch; /* owned while waiting */
    bool acked;
    struct checkpoint done;
};

struct lane {
    struct slot *slots; /* owned */
    size_t window;
    uint64_t low, next_get, next_put;
    struct checkpoint done; /* of batch low - 1 */
    bool news;
};

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* for the workers: a batch was put, a turn has come, the end */
    pthread_cond_t acked; /* for the feeds: something was acknowledged, the end */
    struct lane *lanes;   /* owned */
    size_t n_lanes, turn; /* turn: the lane to look at first */
    bool closed, happened;
    atomic_bool enough,
        failed; /* changed under the mutex, too, but asked for each document: see queue_ended */
    struct err error;
    int64_t issued, earlier; /* earlier: by other runs */
    int64_t behind;
    bool behind_told;
    struct counts sums;
    char repeated[200]; /* a key, cut where it is long; "": none */
    int64_t deletes;    /* allowed; negative: any number */
    struct rejection *rejections;
    size_t n_rejections;
    struct keyset *dead; /* made at the first key, as are these: */
    struct keyset *rejected, *rejected_lately;
    uint64_t lately; /* rejections within the window: of those keys, and of rows without one */
    atomic_size_t n_dead;
};

enum { MAX_DEAD = 64 << 20 }; /* bytes; max_rejected ends a run long before */

/* ---- the queue ---- */

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

struct queue *queue_new(const size_t *windows, size_t n, int64_t issued, struct err *e)
{
    struct queue *q = calloc(1, sizeof *q);
    if (!q) {
        err_memory(e);
        return NULL;
    }
    init_condition(&q->work);
    init_condition(&q->acked);
    pthread_mutex_init(&q->mutex, NULL);
    q->issued = q->earlier = issued;
    q->deletes = -1;
    if (make_lanes(q, windows, n))
        return q;
    queue_free(q);
    err_memory(e);
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
    rejections_free(q->rejections, q->n_rejections);
    keyset_free(q->dead);
    keyset_free(q->rejected);
    keyset_free(q->rejected_lately);
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->acked);
    pthread_mutex_destroy(&q->mutex);
    free(q);
}

static bool ended(const struct queue *q)
{
    return q->failed || q->enough;
}

static void wake_all(struct queue *q)
{
    pthread_cond_broadcast(&q->work);
    pthread_cond_broadcast(&q->acked);
}

static void fail(struct queue *q, const struct err *e)
{
    if (q->failed)
        return;
    q->failed = true;
    q->error = *e;
    wake_all(q);
}

/* The signal handler cannot wake a condition variable; but some thread always works or waits where
 * a signal wakes it, and comes by here next. */
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
    const struct lane *l = &q->lanes[lane];
    pthread_mutex_lock(&q->mutex);
    check_stop(q);
    bool room = !ended(q) && l->next_put - l->low < l->window;
    pthread_mutex_unlock(&q->mutex);
    return room;
}

void queue_put(struct queue *q, size_t lane, struct batch *b)
{
    struct lane *l = &q->lanes[lane];
    pthread_mutex_lock(&q->mutex);
    b->lane = lane;
    b->seq = l->next_put++;
    l->slots[b->seq % l->window].batch = b;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->mutex);
}

bool queue_idle(struct queue *q, size_t lane)
{
    const struct lane *l = &q->lanes[lane];
    pthread_mutex_lock(&q->mutex);
    bool idle = l->low == l->next_put;
    pthread_mutex_unlock(&q->mutex);
    return idle;
}

bool queue_wait(struct queue *q, int64_t timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&q->mutex);
    check_stop(q);
    while (!ended(q) && !q->happened &&
           pthread_cond_timedwait(&q->acked, &q->mutex, &deadline) == 0)
        ;
    bool happened = ended(q) || q->happened;
    q->happened = false;
    pthread_mutex_unlock(&q->mutex);
    return happened;
}

void queue_close(struct queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->mutex);
}

bool queue_low_water(struct queue *q, size_t lane, struct checkpoint *done)
{
    struct lane *l = &q->lanes[lane];
    pthread_mutex_lock(&q->mutex);
    bool news = l->news;
    if (news)
        checkpoint_move(done, &l->done);
    l->news = false;
    pthread_mutex_unlock(&q->mutex);
    return news;
}

size_t queue_rejections(struct queue *q, struct rejection **list)
{
    pthread_mutex_lock(&q->mutex);
    size_t n = q->n_rejections;
    *list = q->rejections;
    q->rejections = NULL;
    q->n_rejections = 0;
    pthread_mutex_unlock(&q->mutex);
    return n;
}

/* The next waiting batch, of the lanes in turn; NULL: none. */
static struct batch *take_next(struct queue *q)
{
    for (size_t i = 0; i < q->n_lanes; i++) {
        struct lane *l = &q->lanes[(q->turn + i) % q->n_lanes];
        if (l->next_get == l->next_put)
            continue;
        q->turn = (q->turn + i + 1) % q->n_lanes;
        struct slot *slot = &l->slots[l->next_get++ % l->window];
        struct batch *b = slot->batch;
        slot->batch = NULL;
        return b;
    }
    return NULL;
}

static bool nothing_yet(const struct queue *q)
{
    for (size_t i = 0; i < q->n_lanes; i++)
        if (q->lanes[i].next_get != q->lanes[i].next_put)
            return false;
    return !ended(q) && !q->closed;
}

bool queue_ready(struct queue *q, int64_t timeout_ms)
{
    struct timespec deadline = deadline_in(timeout_ms);
    pthread_mutex_lock(&q->mutex);
    check_stop(q);
    while (nothing_yet(q) && pthread_cond_timedwait(&q->work, &q->mutex, &deadline) == 0)
        ;
    bool ready = !nothing_yet(q);
    pthread_mutex_unlock(&q->mutex);
    return ready;
}

struct batch *queue_get(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    check_stop(q);
    while (nothing_yet(q))
        pthread_cond_wait(&q->work, &q->mutex);
    struct batch *b = ended(q) ? NULL : take_next(q);
    pthread_mutex_unlock(&q->mutex);
    return b;
}

static void advance(struct lane *l)
{
    for (struct slot *slot; (slot = &l->slots[l->low % l->window])->acked; l->low++) {
        checkpoint_move(&l->done, &slot->done);
        l->news = true;
        *slot = (struct slot){0};
    }
}

/* Out of memory here would lose a report: the batch then keeps the mark from passing. */
static bool take_rejections(struct queue *q, struct batch *b)
{
    if (b->n_rejections == 0)
        return true;
    struct rejection *list =
        realloc(q->rejections, (q->n_rejections + b->n_rejections) * sizeof *list);
    if (!list)
        return false;
    memcpy(list + q->n_rejections, b->rejections, b->n_rejections * sizeof *list);
    q->rejections = list;
    q->n_rejections += b->n_rejections;
    free(b->rejections);
    b->rejections = NULL;
    b->n_rejections = 0;
    return true;
}

void queue_ack(struct queue *q, struct batch *b)
{
    struct lane *l = &q->lanes[b->lane];
    struct err e;
    pthread_mutex_lock(&q->mutex);
    if (take_rejections(q, b)) {
        struct slot *slot = &l->slots[b->seq % l->window];
        slot->acked = true;
        checkpoint_move(&slot->done, &b->done);
        advance(l);
    } else {
        err_memory(&e);
        fail(q, &e);
    }
    q->happened = true;
    wake_all(q);
    pthread_mutex_unlock(&q->mutex);
    batch_free(b);
}

bool queue_turn(struct queue *q, const struct batch *b)
{
    pthread_mutex_lock(&q->mutex);
    check_stop(q);
    while (!ended(q) && q->lanes[b->lane].low < b->seq)
        pthread_cond_wait(&q->work, &q->mutex);
    bool turn = !ended(q);
    pthread_mutex_unlock(&q->mutex);
    return turn;
}

int64_t queue_reserve(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    int64_t reserved = ++q->issued;
    pthread_mutex_unlock(&q->mutex);
    return reserved;
}

int64_t queue_issue(struct queue *q, int64_t clock, int64_t reserved)
{
    pthread_mutex_lock(&q->mutex);
    int64_t version = clock > reserved ? clock : reserved;
    if (clock < q->earlier)
        q->behind = q->earlier - clock;
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

void queue_raise(struct queue *q, int64_t version)
{
    pthread_mutex_lock(&q->mutex);
    if (version > q->issued)
        q->issued = version;
    pthread_mutex_unlock(&q->mutex);
}

int64_t queue_clock_behind(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    int64_t behind = q->behind_told ? 0 : q->behind;
    q->behind_told |= behind != 0;
    pthread_mutex_unlock(&q->mutex);
    return behind;
}

void queue_add_sums(struct queue *q, const struct counts *delta)
{
    pthread_mutex_lock(&q->mutex);
    counts_add(&q->sums, delta);
    q->lately += delta->rejected;
    pthread_mutex_unlock(&q->mutex);
}

struct counts queue_sums(struct queue *q)
{
    if (!q)
        return (struct counts){0};
    pthread_mutex_lock(&q->mutex);
    struct counts sums = q->sums;
    pthread_mutex_unlock(&q->mutex);
    return sums;
}

/* Whether it was not there yet. What does not fit into memory is new each time. */
static bool add_new(struct keyset **set, const char *key)
{
    if (!*set)
        *set = keyset_new(MAX_DEAD);
    if (*set && keyset_has(*set, key))
        return false;
    if (*set)
        keyset_put(*set, key, NULL, 0);
    return true;
}

bool queue_reject(struct queue *q, const char *key)
{
    pthread_mutex_lock(&q->mutex);
    q->sums.rejected += add_new(&q->rejected, key);
    bool news = add_new(&q->rejected_lately, key);
    q->lately += news;
    pthread_mutex_unlock(&q->mutex);
    return news;
}

uint64_t queue_rejected_lately(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    uint64_t n = q->lately;
    pthread_mutex_unlock(&q->mutex);
    return n;
}

void queue_begin_window(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->lately = 0;
    keyset_free(q->rejected_lately);
    q->rejected_lately = NULL;
    pthread_mutex_unlock(&q->mutex);
}

void queue_note_repeated(struct queue *q, const char *key)
{
    pthread_mutex_lock(&q->mutex);
    if (!q->repeated[0])
        snprintf(q->repeated, sizeof q->repeated, "%s", key);
    pthread_mutex_unlock(&q->mutex);
}

void queue_repeated(struct queue *q, char *out, size_t size)
{
    pthread_mutex_lock(&q->mutex);
    snprintf(out, size, "%s", q->repeated);
    pthread_mutex_unlock(&q->mutex);
}

void queue_allow_deletes(struct queue *q, int64_t n)
{
    pthread_mutex_lock(&q->mutex);
    q->deletes = n;
    pthread_mutex_unlock(&q->mutex);
}

bool queue_take_deletes(struct queue *q, int64_t n)
{
    pthread_mutex_lock(&q->mutex);
    bool ok = q->deletes < 0 || n <= q->deletes;
    if (ok && q->deletes >= 0)
        q->deletes -= n;
    pthread_mutex_unlock(&q->mutex);
    return ok;
}

void queue_give_deletes(struct queue *q, int64_t n)
{
    pthread_mutex_lock(&q->mutex);
    if (q->deletes >= 0)
        q->deletes += n;
    pthread_mutex_unlock(&q->mutex);
}

void queue_set_dead(struct queue *q, const char *key, bool dead)
{
    pthread_mutex_lock(&q->mutex);
    if (!q->dead)
        q->dead = keyset_new(MAX_DEAD);
    if (q->dead && dead)
        keyset_put(q->dead, key, NULL, 0);
    else if (q->dead)
        keyset_remove(q->dead, key);
    atomic_store(&q->n_dead, q->dead ? keyset_count(q->dead) : 0);
    pthread_mutex_unlock(&q->mutex);
}

bool queue_is_dead(struct queue *q, const char *key)
{
    /* the usual case, asked for each document: without the mutex */
    if (atomic_load(&q->n_dead) == 0)
        return false;
    pthread_mutex_lock(&q->mutex);
    bool dead = keyset_has(q->dead, key);
    pthread_mutex_unlock(&q->mutex);
    return dead;
}

void queue_fail(struct queue *q, const struct err *e)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->mutex);
    fail(q, e);
    pthread_mutex_unlock(&q->mutex);
}

void queue_enough(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->enough = true;
    wake_all(q);
    pthread_mutex_unlock(&q->mutex);
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
    pthread_mutex_lock(&q->mutex);
    bool failed = q->failed;
    if (failed)
        *e = q->error;
    pthread_mutex_unlock(&q->mutex);
    return failed;
}
