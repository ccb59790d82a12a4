#include "flow/workers.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/log.h"
#include "base/watchdog.h"
#include "base/witness.h"
#include "flow/errand.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/throttle.h"
#include "flow/worker.h"
#include "flow/worker_parts.h"
#include "script/pipeline.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { IDLE_MS = 2000 }; /* without work, until a worker gives up its connection */

struct worker_thread {
    struct worker worker;
    struct watchdog_task task; /* while it has a batch */
    pthread_t thread;
    const struct witness *witness; /* borrowed; NULL: none */
    struct alike *alike;           /* borrowed: that of the thread that starts it */
    char name[16];                 /* in the log */
};

struct workers {
    struct worker_config config;
    struct worker_shared shared;
    struct throttle *throttle;     /* owned */
    struct worker_thread *threads; /* owned */
    int started;
};

static struct batch *next_batch(struct worker *w)
{
    if (!queue_ready(w->flow->queue, IDLE_MS))
        pg_pool_free(&w->pool); /* a worker with a batch may be waiting for it */
    return queue_get(w->flow->queue);
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
    while (ok && (w->batch = next_batch(w))) {
        watchdog_begin(&t->task, t->name);
        ok = load(w, &e);
        watchdog_end(&t->task);
        finish(w, ok);
    }
    if (!ok && !queue_ended(queue))
        queue_fail(queue, &e);
    worker_close(w);
    witness_set(NULL);
    return NULL;
}

static bool start_one(struct workers *w, struct err *e)
{
    struct worker_thread *t = &w->threads[w->started];
    t->worker = (struct worker){.config = &w->config,
                                .flow = w->config.flow,
                                .throttle = w->throttle,
                                .number = w->started,
                                .shared = &w->shared};
    t->witness = witness_get();
    t->alike = alike_used();
    snprintf(t->name, sizeof t->name, "w%d", w->started + 1);
    if (pthread_create(&t->thread, NULL, work, t) != 0)
        return err_set(e, ERR_FINAL, "cannot start worker %d", w->started + 1);
    w->started++;
    return true;
}

static bool prepare(struct workers *w, int n, struct err *e)
{
    const struct pipeline *p = w->config.pipeline;
    w->throttle = throttle_new(n, (size_t)p->sink.batch_bytes, p->sink.max_rate, e);
    w->threads = calloc((size_t)n, sizeof *w->threads);
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
    bool ok = prepare(w, n, e);
    while (ok && w->started < n)
        ok = start_one(w, e);
    if (ok)
        return w;
    queue_fail(config->flow->queue, e); /* ends those that have started */
    workers_join(w);
    return NULL;
}

void workers_join(struct workers *w)
{
    if (!w)
        return;
    watchdog_rest();
    for (int i = 0; i < w->started; i++)
        pthread_join(w->threads[i].thread, NULL);
    throttle_free(w->throttle);
    free(w->threads);
    free(w);
}
