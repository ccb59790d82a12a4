#include "flow/errand.h"

#include "base/err.h"
#include "flow/delete_budget.h"
#include "flow/tally.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_REPORTS = 4000 };

struct errand {
    struct tally *tally;           /* owned */
    struct delete_budget *deletes; /* owned */
    pthread_mutex_t mutex;
    atomic_bool failed, limited;
    /* under the mutex: */
    struct err error;
    size_t under_way;    /* batches */
    struct batch report; /* no keys: only its rejections are used */
};

struct errand *errand_new(struct err *e)
{
    struct errand *x = calloc(1, sizeof *x);
    if (!x) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&x->mutex, NULL);
    if ((x->tally = tally_new(e)) && (x->deletes = delete_budget_new(e)))
        return x;
    errand_free(x);
    return NULL;
}

void errand_free(struct errand *x)
{
    if (!x)
        return;
    assert(x->under_way == 0);
    tally_free(x->tally);
    delete_budget_free(x->deletes);
    rejections_free(&x->report.rejections);
    pthread_mutex_destroy(&x->mutex);
    free(x);
}

struct tally *errand_tally(const struct errand *x)
{
    return x->tally;
}

struct delete_budget *errand_deletes(const struct errand *x)
{
    return x->deletes;
}

void errand_limit(struct errand *x, int64_t n)
{
    delete_budget_set(x->deletes, n);
    x->limited = true;
}

bool errand_is_limited(const struct errand *x)
{
    return x->limited;
}

/* ---- its batches ---- */

static void add(struct errand *x, int n)
{
    pthread_mutex_lock(&x->mutex);
    assert(n > 0 || x->under_way > 0);
    x->under_way += (size_t)n;
    pthread_mutex_unlock(&x->mutex);
}

void errand_enter(struct errand *x)
{
    add(x, 1);
}

void errand_leave(struct errand *x)
{
    add(x, -1);
}

bool errand_is_idle(struct errand *x)
{
    pthread_mutex_lock(&x->mutex);
    bool idle = x->under_way == 0;
    pthread_mutex_unlock(&x->mutex);
    return idle;
}

void errand_reset(struct errand *x)
{
    pthread_mutex_lock(&x->mutex);
    x->under_way = 0;
    pthread_mutex_unlock(&x->mutex);
}

/* ---- its end ---- */

void errand_fail(struct errand *x, const struct err *e)
{
    pthread_mutex_lock(&x->mutex);
    if (!x->failed)
        x->error = *e;
    x->failed = true;
    pthread_mutex_unlock(&x->mutex);
}

bool errand_error(struct errand *x, struct err *e)
{
    if (!x->failed)
        return false;
    pthread_mutex_lock(&x->mutex);
    if (e)
        *e = x->error;
    pthread_mutex_unlock(&x->mutex);
    return true;
}

/* ---- rejected documents ---- */

void errand_report(struct errand *x, const char *key, int status, const char *reason)
{
    pthread_mutex_lock(&x->mutex);
    if (x->report.rejections.n < MAX_REPORTS)
        batch_reject(&x->report, key, status, reason); /* without memory, the tally has it */
    pthread_mutex_unlock(&x->mutex);
}

struct rejections errand_reports(struct errand *x)
{
    pthread_mutex_lock(&x->mutex);
    struct rejections reports = x->report.rejections;
    x->report.rejections = (struct rejections){0};
    pthread_mutex_unlock(&x->mutex);
    return reports;
}
