#include "flow/dead_keys.h"

#include "base/err.h"
#include "base/keyset.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_BYTES = 64 << 20 }; /* max_rejected ends a run long before */

struct dead_keys {
    pthread_mutex_t mutex;
    struct keyset *keys; /* owned; made at the first key */
    atomic_size_t n;
};

struct dead_keys *dead_keys_new(struct err *e)
{
    struct dead_keys *d = calloc(1, sizeof *d);
    if (!d) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&d->mutex, NULL);
    return d;
}

void dead_keys_free(struct dead_keys *d)
{
    if (!d)
        return;
    keyset_free(d->keys);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}

void dead_keys_set(struct dead_keys *d, const char *key, bool dead)
{
    pthread_mutex_lock(&d->mutex);
    if (!d->keys)
        d->keys = keyset_new(MAX_BYTES);
    if (d->keys && dead)
        keyset_put(d->keys, key, NULL, 0);
    else if (d->keys)
        keyset_remove(d->keys, key);
    atomic_store(&d->n, d->keys ? keyset_count(d->keys) : 0);
    pthread_mutex_unlock(&d->mutex);
}

bool dead_keys_has(struct dead_keys *d, const char *key)
{
    /* the usual case, asked for each document: without the mutex */
    if (atomic_load(&d->n) == 0)
        return false;
    pthread_mutex_lock(&d->mutex);
    bool dead = keyset_has(d->keys, key);
    pthread_mutex_unlock(&d->mutex);
    return dead;
}
