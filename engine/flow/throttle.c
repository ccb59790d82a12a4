#include "flow/throttle.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    CHECK_MS = 20,   /* how often a wait checks again: short compared with a rejected request */
    LEAST_PART = 64, /* a request may always have this part of the full size: of 5 MB, 80 KB */
    BYTE_STEPS = 32, /* successful requests, from the least size to the full size */
};
static const double PLACE_STEPS = 16; /* successful requests, until one more may be under way */

struct throttle {
    pthread_mutex_t lock;
    size_t most_bytes, bytes;   /* of a request; 0 < bytes <= most_bytes */
    double most_places, places; /* the whole part of places may be under way; at least 1 */
    int under_way;
    unsigned round; /* how often both were halved */
    double max_rate;
    int64_t due_us; /* when max_rate lets the next request begin */
};

struct throttle *throttle_new(int requests, size_t bytes, double max_rate, struct err *e)
{
    struct throttle *t = calloc(1, sizeof *t);
    if (!t) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    t->most_bytes = t->bytes = bytes;
    t->most_places = t->places = requests;
    t->max_rate = max_rate;
    return t;
}

void throttle_free(struct throttle *t)
{
    if (!t)
        return;
    assert(t->under_way == 0);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

size_t throttle_bytes(struct throttle *t)
{
    pthread_mutex_lock(&t->lock);
    size_t bytes = t->bytes;
    pthread_mutex_unlock(&t->lock);
    return bytes;
}

/* With a rate, one second's items at most: an even flow rather than bursts. */
bool throttle_is_full(struct throttle *t, size_t bytes, size_t items)
{
    return bytes >= throttle_bytes(t) || (t->max_rate > 0 && (double)items >= t->max_rate);
}

/* 0: the request has begun. Else: how many milliseconds to wait before the next try. */
static int64_t try_to_enter(struct throttle *t, struct throttle_request *r)
{
    int64_t now = clock_mono_us(), wait = 0;
    pthread_mutex_lock(&t->lock);
    if (t->under_way >= (int)t->places) {
        wait = CHECK_MS;
    } else if (t->max_rate > 0 && now < t->due_us) {
        wait = (t->due_us - now + 999) / 1000;
    } else {
        t->under_way++;
        r->round = t->round;
        if (t->max_rate > 0)
            t->due_us = now + (int64_t)ceil((double)r->items / t->max_rate * 1e6);
    }
    pthread_mutex_unlock(&t->lock);
    return wait;
}

bool throttle_enter(struct throttle *t, struct throttle_request *r, struct err *e)
{
    for (int64_t wait; (wait = try_to_enter(t, r)) > 0;)
        if ((r->over && r->over(r->arg)) || !stop_sleep(wait < CHECK_MS ? wait : CHECK_MS))
            return stop_err(e);
    return true;
}

static void fall(struct throttle *t)
{
    size_t least = t->most_bytes / LEAST_PART + 1;
    t->round++;
    t->places = t->places / 2 > 1 ? floor(t->places / 2) : 1;
    t->bytes = t->bytes / 2 > least ? t->bytes / 2 : least;
}

static void rise(struct throttle *t)
{
    size_t step = t->most_bytes / BYTE_STEPS + 1;
    t->bytes = t->most_bytes - t->bytes > step ? t->bytes + step : t->most_bytes;
    t->places = fmin(t->places + 1 / PLACE_STEPS, t->most_places);
}

void throttle_leave(struct throttle *t, const struct throttle_request *r,
                    enum throttle_outcome outcome)
{
    pthread_mutex_lock(&t->lock);
    assert(t->under_way > 0);
    t->under_way--;
    size_t before = t->bytes;
    if (outcome == THROTTLE_TAKEN)
        rise(t);
    else if (outcome == THROTTLE_OVERLOADED && r->round == t->round)
        fall(t);
    assert(t->bytes > 0 && t->bytes <= t->most_bytes);
    assert(t->places >= 1 && t->places <= t->most_places);
    size_t bytes = t->bytes;
    int places = (int)t->places;
    pthread_mutex_unlock(&t->lock);
    if (bytes < before)
        alike_info(NULL,
                   LOG_FIELDS(log_int("requests_at_once", places),
                              log_int("request_bytes_most", (long long)bytes)),
                   "the search server is overloaded: now %d request%s at a time, of %zu KB at most",
                   places, places == 1 ? "" : "s", bytes >> 10);
}
