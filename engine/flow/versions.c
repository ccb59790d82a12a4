#include "flow/versions.h"

#include "base/err.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct versions {
    pthread_mutex_t mutex;
    int64_t last;  /* the highest issued or reserved */
    int64_t floor; /* of earlier runs; last >= floor */
    int64_t behind;
    bool behind_reported;
};

struct versions *versions_new(int64_t floor, struct err *e)
{
    struct versions *v = calloc(1, sizeof *v);
    if (!v) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&v->mutex, NULL);
    v->last = v->floor = floor;
    return v;
}

void versions_free(struct versions *v)
{
    if (!v)
        return;
    pthread_mutex_destroy(&v->mutex);
    free(v);
}

static void raise_last(struct versions *v, int64_t version)
{
    if (version > v->last)
        v->last = version;
    assert(v->last >= v->floor);
}

int64_t versions_reserve(struct versions *v)
{
    pthread_mutex_lock(&v->mutex);
    int64_t reserved = ++v->last;
    pthread_mutex_unlock(&v->mutex);
    return reserved;
}

int64_t versions_issue(struct versions *v, int64_t clock, int64_t reserved)
{
    pthread_mutex_lock(&v->mutex);
    assert(reserved > v->floor && reserved <= v->last);
    int64_t version = clock > reserved ? clock : reserved;
    if (clock < v->floor)
        v->behind = v->floor - clock;
    raise_last(v, version);
    pthread_mutex_unlock(&v->mutex);
    return version;
}

int64_t versions_last(struct versions *v)
{
    pthread_mutex_lock(&v->mutex);
    int64_t last = v->last;
    pthread_mutex_unlock(&v->mutex);
    return last;
}

void versions_raise(struct versions *v, int64_t version)
{
    pthread_mutex_lock(&v->mutex);
    raise_last(v, version);
    pthread_mutex_unlock(&v->mutex);
}

int64_t versions_clock_behind(struct versions *v)
{
    pthread_mutex_lock(&v->mutex);
    int64_t behind = v->behind_reported ? 0 : v->behind;
    v->behind_reported |= behind != 0;
    pthread_mutex_unlock(&v->mutex);
    return behind;
}
