#include "flow/workers.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/log.h"
#include "base/watchdog.h"
#include "base/witness.h"
#include "flow/errand.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/shares.h"
#include "flow/tally.h"
#include "flow/throttle.h"
#include "flow/worker.h"
#include "flow/worker_parts.h"
#include "script/pipeline.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { IDLE_MS = 10000 }; /* without work, until a worker's thread ends */

/* A thread ends when there is no work for a while, and another one is started for the next batch:
 * an idle pipeline has none. FREE to RUNNING and LEAVING to FREE are the main thread's doing, who
 * is also the one that puts batches into the queue. A worker that wants to leave says so, and looks
 * again: either it sees the batch that was put meanwhile, or the main thread has seen it leave. */
enum phase { FREE, RUNNING, LEAVING };

struct worker_thread {
    struct worker worker;
    struct watchdog_task task; /* while it has a batch */
    pthread_t thread;
    _Atomic enum phase phase;
    const struct witness *witness; /* borrowed; NULL: none */
    struct alike *alike;           /* borrowed: that of the thread that starts it */
    char name[16];                 /* in the log */
};

struct workers {
    struct worker_config config;
    struct worker_shared shared;
    struct throttle *throttle;     /* owned */
    struct worker_thread *threads; /* owned */
    int n;
    struct share_group group;
};

/* ---- a worker's thread ---- */

/* A batch that was put meanwhile keeps it, unless the main thread has taken the leave for one. */
static bool leaves(struct worker_thread *t)
{
    enum phase phase = LEAVING;
    atomic_store(&t->phase, LEAVING);
    return !queue_ready(t->worker.flow->queue, 0) ||
           !atomic_compare_exchange_strong(&t->phase, &phase, RUNNING);
}

/* NULL: there is no more work, or none for now: the thread ends. */
static struct batch *next_batch(struct worker_thread *t)
{
    struct worker *w = &t->worker;
    struct batch *b = NULL;
    bool over = false;
    while (!b && !over) {
        if (!queue_ready(w->flow->queue, IDLE_MS)) {
            if (leaves(t))
                return NULL;
            continue;
        }
        shares_take(&w->share);
        if (!(b = queue_get_now(w->flow->queue, &over)))
            shares_give(&w->share);
    }
    return b;
}

/* An errand that fails for good has a mistake of its own: a key that cannot be read, too many
 * deletes. What is wrong with the script, or the tables, the run's own batches meet, too. */
static bool load(struct worker *w, struct err *e)
{
    struct errand *x = w->batch->errand;
    if (x && errand_error(x, NULL))
        return true;
    bool ok = worker_load(w, e);
    if (ok || !x || e->fault == ERR_FAULT_SCHEMA || (e->kind != ERR_FINAL && e->kind != ERR_USAGE))
        return ok;
    errand_fail(x, e);
    return true;
}

/* Acknowledges the batch, or drops it. */
static void finish(struct worker *w, bool ok)
{
    struct queue *queue = w->flow->queue;
    if (ok && !queue_ended(queue)) {
        tally_deliver(w->flow->tally, &w->batch->changed, w->batch->n);
        queue_ack(queue, w->batch);
        return;
    }
    if (w->batch->errand)
        errand_leave(w->batch->errand);
    batch_free(w->batch);
}

/* What the worker had is needed again only for much work. One at a time: where another allocator
 * takes the place of the C library's, the first call sets that one up. */
static void trim_memory(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    malloc_trim(0);
    pthread_mutex_unlock(&mutex);
}

static void *work(void *arg)
{
    struct worker_thread *t = arg;
    struct worker *w = &t->worker;
    struct queue *queue = w->flow->queue;
    struct err e = {0};
    witness_set(t->witness);
    log_thread(t->name);
    log_pipeline(w->config->pipeline->name);
    alike_use(t->alike);
    bool ok = worker_open(w, &e);
    while (ok && (w->batch = next_batch(t))) {
        watchdog_begin(&t->task, t->name);
        ok = load(w, &e);
        watchdog_end(&t->task);
        finish(w, ok);
        shares_give(&w->share);
    }
    if (!ok && !queue_ended(queue))
        queue_fail(queue, &e);
    pg_pool_rest(&w->pool);
    worker_close(w);
    trim_memory();
    witness_set(NULL);
    return NULL;
}

/* ---- all of them ---- */

static bool start(struct workers *w, int i)
{
    struct worker_thread *t = &w->threads[i];
    t->worker = (struct worker){.config = &w->config,
                                .flow = w->config.flow,
                                .throttle = w->throttle,
                                .number = i,
                                .share = {.group = &w->group},
                                .shared = &w->shared};
    t->witness = witness_get();
    t->alike = alike_used();
    snprintf(t->name, sizeof t->name, "w%d", i + 1);
    atomic_store(&t->phase, RUNNING);
    if (pthread_create(&t->thread, NULL, work, t) == 0)
        return true;
    atomic_store(&t->phase, FREE);
    return false;
}

/* Whether the thread is gone; waits for the last of it. */
static bool is_free(struct worker_thread *t)
{
    enum phase phase = LEAVING;
    if (atomic_compare_exchange_strong(&t->phase, &phase, FREE))
        pthread_join(t->thread, NULL);
    return atomic_load(&t->phase) == FREE;
}

/* More batches wait than workers do. */
static void start_another(void *workers)
{
    struct workers *w = workers;
    bool some = false;
    struct err e;
    for (int i = 0; i < w->n; i++) {
        if (is_free(&w->threads[i]) && start(w, i))
            return;
        some |= atomic_load(&w->threads[i].phase) != FREE;
    }
    if (some)
        return;
    err_set(&e, ERR_PASSING, "could not start a worker's thread");
    queue_fail(w->config.flow->queue, &e);
}

static bool prepare(struct workers *w, struct err *e)
{
    const struct pipeline *p = w->config.pipeline;
    size_t bytes = (size_t)p->sink.batch_bytes;
    w->throttle = throttle_new(w->n, bytes, p->sink.max_rate, e);
    w->threads = calloc((size_t)w->n, sizeof *w->threads);
    return (w->throttle && w->threads) || err_memory(e);
}

struct workers *workers_start(const struct worker_config *config, int n, struct err *e)
{
    struct workers *w = calloc(1, sizeof *w);
    if (!w) {
        err_memory(e);
        return NULL;
    }
    w->config = *config;
    w->n = n;
    if (prepare(w, e)) {
        queue_on_work(config->flow->queue, start_another, w);
        return w;
    }
    workers_join(w);
    return NULL;
}

void workers_join(struct workers *w)
{
    if (!w)
        return;
    watchdog_rest();
    queue_on_work(w->config.flow->queue, NULL, NULL);
    shares_end(&w->group);
    for (int i = 0; w->threads && i < w->n; i++)
        if (atomic_load(&w->threads[i].phase) != FREE)
            pthread_join(w->threads[i].thread, NULL);
    throttle_free(w->throttle);
    free(w->threads);
    free(w);
}
