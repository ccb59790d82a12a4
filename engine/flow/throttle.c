#include "flow/throttle.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    /* how often a wait looks again: little against a request that the server puts off */
    LOOK_MS = 20,
    LEAST_PART = 64, /* a request weighs at least this part of the most: of 5 MB, 80 KB */
    BYTE_STEPS = 32, /* requests taken, from nothing to the most that one may weigh */
};
static const double PLACE_STEPS = 16; /* requests taken, until one more may be under way */

struct throttle {
    pthread_mutex_t lock;
    size_t most_bytes, bytes;
    double most_places, places; /* the whole part of it may be under way */
    int under_way;
    unsigned round; /* how often they were halved */
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

/* With a rate, a second's worth at most: an even flow rather than bursts. */
bool throttle_is_full(struct throttle *t, size_t bytes, size_t items)
{
    return bytes >= throttle_bytes(t) || (t->max_rate > 0 && (double)items >= t->max_rate);
}

/* 0: it may begin, and has. Else: how many milliseconds to wait before asking again. */
static int64_t try_to_enter(struct throttle *t, size_t items, struct throttle_turn *turn)
{
    int64_t now = clock_mono_us(), wait = 0;
    pthread_mutex_lock(&t->lock);
    if (t->under_way >= (int)t->places) {
        wait = LOOK_MS;
    } else if (t->max_rate > 0 && now < t->due_us) {
        wait = (t->due_us - now + 999) / 1000;
    } else {
        t->under_way++;
        turn->round = t->round;
        if (t->max_rate > 0)
            t->due_us = now + (int64_t)ceil((double)items / t->max_rate * 1e6);
    }
    pthread_mutex_unlock(&t->lock);
    return wait;
}

bool throttle_enter(struct throttle *t, size_t items, bool (*over)(void *arg), void *arg,
                    struct throttle_turn *turn, struct err *e)
{
    for (int64_t wait; (wait = try_to_enter(t, items, turn)) > 0;)
        if ((over && over(arg)) || !stop_sleep(wait < LOOK_MS ? wait : LOOK_MS))
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

void throttle_leave(struct throttle *t, const struct throttle_turn *turn,
                    enum throttle_outcome outcome)
{
    pthread_mutex_lock(&t->lock);
    t->under_way--;
    size_t before = t->bytes;
    if (outcome == THROTTLE_TAKEN)
        rise(t);
    else if (outcome == THROTTLE_OVERLOADED && turn->round == t->round)
        fall(t);
    size_t bytes = t->bytes;
    int places = (int)t->places;
    pthread_mutex_unlock(&t->lock);
    if (bytes < before)
        log_info("the search server is overloaded: now %d request%s at a time, of %zu KB at most",
                 places, places == 1 ? "" : "s", bytes >> 10);
}
