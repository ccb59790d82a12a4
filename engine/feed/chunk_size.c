#include "feed/chunk_size.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* Keys: large rows must not make a large chunk, and the fewer come first, the sooner it is known
 * what the query costs without them. */
static const double FIRST = 100;
static const double STEP = 8;  /* times larger or smaller than the last one, at most */
static const double WORTH = 5; /* times as long as the query takes until its first row */
/* No key counts for less: query or script may leave out nearly all of them. */
static const double KEY_BYTES = 16;
static const double SHARE = 2; /* of what is left, each worker's part in so many chunks */
/* the last ones have no fewer keys than this part, nor than the first */
static const double LAST = 8;
/* of a ceiling: by this part of it, with each chunk that comes near it */
static const double RISE = 10;

enum { TELL_US = 60 * 1000 * 1000 };

struct chunk_size {
    pthread_mutex_t lock;
    double bytes, most, keys;
    double left, workers;
    int64_t begin_us; /* the least time to a first row; -1: none is known */
    double key_us;    /* what a key of the last one took */
    int64_t told_us;  /* when somebody was told of it; 0: never */
    double ceiling;   /* keys: what is left of `most` where the server had too many at once */
};

struct chunk_size *chunk_size_new(const struct chunk_size_config *config, struct err *e)
{
    struct chunk_size *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->bytes = (double)config->bytes;
    s->most = (double)config->most;
    s->left = (double)config->expected;
    s->workers = config->workers;
    s->keys = fmin(s->most, FIRST);
    s->ceiling = HUGE_VAL;
    s->begin_us = -1;
    return s;
}

void chunk_size_free(struct chunk_size *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static double worth(const struct chunk_size *s)
{
    return s->begin_us > 0 && s->key_us > 0 ? fmin((double)s->begin_us * WORTH / s->key_us, s->most)
                                            : 0;
}

int64_t chunk_size_least(struct chunk_size *s)
{
    pthread_mutex_lock(&s->lock);
    int64_t keys = (int64_t)fmin(worth(s), s->ceiling);
    pthread_mutex_unlock(&s->lock);
    return keys;
}

/* A share of what is left, unless that would be too few to be worth a query. */
static double share(const struct chunk_size *s)
{
    double least = fmax(fmax(s->keys / LAST, FIRST), worth(s));
    return fmin(s->keys, fmax(s->left / (s->workers * SHARE), least));
}

int64_t chunk_size_next(struct chunk_size *s)
{
    pthread_mutex_lock(&s->lock);
    /* What was expected is an estimate. Where more come, nothing is known any more. */
    double keys = fmax(floor(fmin(s->left > 0 ? share(s) : s->keys, s->ceiling)), 1);
    s->left -= keys;
    pthread_mutex_unlock(&s->lock);
    return (int64_t)keys;
}

/* How many keys would have been right, by one chunk. */
static double fitting(const struct chunk_size *s, const struct chunk_time *t)
{
    double keys = (double)t->keys, bytes = fmax((double)t->bytes, keys * KEY_BYTES);
    double by_bytes = s->bytes / bytes,
           by_time = (double)s->begin_us * WORTH / (double)(t->all_us + 1);
    double fit = keys * fmax(by_bytes, by_time);
    return fmin(fmax(fmin(fit, s->keys * STEP), s->keys / STEP), s->most);
}

void chunk_size_report(struct chunk_size *s, const struct chunk_time *t)
{
    pthread_mutex_lock(&s->lock);
    if (t->rows > 0 && (s->begin_us < 0 || t->first_us < s->begin_us))
        s->begin_us = t->first_us;
    s->key_us = (double)t->all_us / (double)t->keys;
    double fit = fmax(fitting(s, t), 1);
    /* one that was small takes longer for each key */
    if (fit > s->keys || (double)t->keys * 2 > s->keys)
        s->keys = fit;
    if ((double)t->keys * 2 > s->ceiling)
        s->ceiling += s->ceiling / RISE;
    long long keys = (long long)s->keys;
    pthread_mutex_unlock(&s->lock);
    log_debug("%lld keys, %lld rows, %zu KB: %lld ms, and %lld ms until the first one; next "
              "chunk: %lld keys",
              (long long)t->keys, (long long)t->rows, t->bytes >> 10, (long long)t->all_us / 1000,
              (long long)t->first_us / 1000, keys);
}

bool chunk_size_too_large(struct chunk_size *s, int64_t keys)
{
    int64_t now = clock_mono_us();
    pthread_mutex_lock(&s->lock);
    bool tell = s->told_us == 0 || now - s->told_us > TELL_US;
    if (tell)
        s->told_us = now;
    s->ceiling = fmin(s->ceiling, fmax((double)keys / 2, 1));
    pthread_mutex_unlock(&s->lock);
    return tell;
}

bool chunk_size_fits(struct chunk_size *s, int64_t keys)
{
    pthread_mutex_lock(&s->lock);
    bool fits = (double)keys <= s->ceiling * 1.5; /* half of an odd number is a little more */
    pthread_mutex_unlock(&s->lock);
    return fits;
}
