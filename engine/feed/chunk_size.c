#include "feed/chunk_size.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* Keys of the first chunk. Rows may be large; and the smaller the chunk is, the sooner the query's
 * own cost is known. */
static const double FIRST = 100;
static const double STEP = 8;  /* a chunk is at most 8 times larger or smaller than the last one */
static const double WORTH = 5; /* a chunk takes 5 times as long as the query up to its first row */
/* The least bytes that a key counts for: query or script may leave out nearly all rows. */
static const double KEY_BYTES = 16;
static const double SHARE = 2; /* each worker does its part of the rest in that many chunks */
static const double LAST =
    8; /* the last chunks have at least 1/8 of the present size, and FIRST keys */
static const double RISE = 10; /* each chunk near the ceiling raises it by 1/10 */

enum { WARN_US = 60 * 1000 * 1000 };

struct chunk_size {
    pthread_mutex_t lock;
    double bytes, most; /* of the configuration */
    double workers;
    double keys;       /* of a chunk, at present */
    double left;       /* keys that are expected, and in no chunk yet; negative: more have come */
    int64_t begin_us;  /* the shortest time to a first row; -1: none is known */
    double key_us;     /* the time for a key of the last chunk */
    int64_t warned_us; /* when the last warning was due; 0: never */
    double ceiling;    /* keys; lowered where the server had too many at once */
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

/* A worker's share of the rest, unless that is too small to be worth a query. */
static double share(const struct chunk_size *s)
{
    if (s->workers == 1) /* who need not end together with others */
        return s->keys;
    double least = fmax(fmax(s->keys / LAST, FIRST), worth(s));
    return fmin(s->keys, fmax(s->left / (s->workers * SHARE), least));
}

int64_t chunk_size_next(struct chunk_size *s)
{
    pthread_mutex_lock(&s->lock);
    /* The expected number is an estimate: if more keys come, nothing is known about the rest. */
    double keys = fmax(floor(fmin(s->left > 0 ? share(s) : s->keys, s->ceiling)), 1);
    s->left -= keys;
    pthread_mutex_unlock(&s->lock);
    return (int64_t)keys;
}

/* How many keys would have been right, by what one chunk took. */
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
    /* a small chunk takes longer for each key: it says little about larger ones */
    if (fit > s->keys || (double)t->keys * 2 > s->keys)
        s->keys = fit;
    if ((double)t->keys * 2 > s->ceiling)
        s->ceiling += s->ceiling / RISE;
    long long keys = (long long)s->keys;
    pthread_mutex_unlock(&s->lock);
    log_debug_with(LOG_FIELDS(log_int("keys", t->keys), log_int("rows", t->rows),
                              log_int("bytes", (long long)t->bytes),
                              log_real("seconds", (double)t->all_us / 1e6),
                              log_int("next_keys", keys)),
                   "%lld keys, %lld rows, %zu KB: %lld ms, and %lld ms until the first one; next "
                   "chunk: %lld keys",
                   (long long)t->keys, (long long)t->rows, t->bytes >> 10,
                   (long long)t->all_us / 1000, (long long)t->first_us / 1000, keys);
}

bool chunk_size_too_large(struct chunk_size *s, int64_t keys)
{
    int64_t now = clock_mono_us();
    pthread_mutex_lock(&s->lock);
    bool warn = s->warned_us == 0 || now - s->warned_us > WARN_US;
    if (warn)
        s->warned_us = now;
    s->ceiling = fmin(s->ceiling, fmax((double)keys / 2, 1));
    pthread_mutex_unlock(&s->lock);
    return warn;
}

bool chunk_size_fits(struct chunk_size *s, int64_t keys)
{
    pthread_mutex_lock(&s->lock);
    bool fits = (double)keys <= s->ceiling * 1.5; /* half of an odd number is a little more */
    pthread_mutex_unlock(&s->lock);
    return fits;
}
