#include "flow/ledger.h"

#include "base/clock.h"
#include "model/batch.h"

#include <string.h>

enum { SECOND_US = 1000 * 1000, MINUTE_US = 60 * SECOND_US };

const double ledger_bounds[LEDGER_BUCKETS - 1] = {0.1, 0.25, 0.5, 1,   2.5, 5,   10,
                                                  30,  60,   120, 300, 900, 3600};

struct ledger_time ledger_now(void)
{
    return (struct ledger_time){clock_mono_us(), clock_wall_us()};
}

void ledger_init(struct ledger *l, struct ledger_time now)
{
    *l = (struct ledger){.delays.last_us = -1, .first_minute = now.wall_us / MINUTE_US};
    pthread_mutex_init(&l->mutex, NULL);
}

void ledger_destroy(struct ledger *l)
{
    pthread_mutex_destroy(&l->mutex);
}

uint64_t ledger_done(const struct counts *c)
{
    return c->indexed + c->deleted + c->superseded + c->unchanged + c->rejected + c->dropped;
}

/* ---- adding ---- */

/* A ring's place may hold what was long ago. */
static uint64_t *second_of(struct ledger *l, int64_t second)
{
    size_t i = (size_t)(second % (LEDGER_SECONDS + 1));
    if (l->seconds[i].second != second) {
        l->seconds[i].second = second;
        l->seconds[i].documents = 0;
    }
    return &l->seconds[i].documents;
}

static struct ledger_minute *minute_of(struct ledger *l, int64_t minute)
{
    struct ledger_minute *m = &l->minutes[minute % LEDGER_MINUTES];
    if (m->minute != minute)
        *m = (struct ledger_minute){.minute = minute, .delay_us = -1};
    return m;
}

/* Raises what is shown; returns by how much. */
static uint64_t raise(uint64_t *shown, uint64_t real)
{
    uint64_t more = (int64_t)(real - *shown) > 0 ? real - *shown : 0;
    *shown += more;
    return more;
}

void ledger_count(struct ledger *l, const struct counts *delta, struct ledger_time now)
{
    pthread_mutex_lock(&l->mutex);
    struct counts *c = &l->counts, *s = &l->shown;
    counts_add(c, delta);
    uint64_t written = raise(&s->indexed, c->indexed) + raise(&s->deleted, c->deleted);
    uint64_t rejected = raise(&s->rejected, c->rejected);
    uint64_t others = raise(&s->superseded, c->superseded) + raise(&s->unchanged, c->unchanged) +
                      raise(&s->dropped, c->dropped);
    raise(&s->bytes, c->bytes);
    raise(&s->requests, c->requests);
    raise(&s->retried_items, c->retried_items);
    raise(&s->repeated, c->repeated);
    if (!l->began_us)
        l->began_us = now.mono_us;
    *second_of(l, now.mono_us / SECOND_US) += written + rejected + others;
    struct ledger_minute *m = minute_of(l, now.wall_us / MINUTE_US);
    m->documents += written;
    m->rejected += rejected;
    pthread_mutex_unlock(&l->mutex);
}

static size_t bucket_of(double seconds)
{
    size_t i = 0;
    while (i < LEDGER_BUCKETS - 1 && seconds > ledger_bounds[i])
        i++;
    return i;
}

static int64_t since(int64_t then_us, struct ledger_time now)
{
    return now.mono_us > then_us ? now.mono_us - then_us : 0;
}

void ledger_deliver(struct ledger *l, const struct change_times *changed, size_t n,
                    struct ledger_time now)
{
    if (!changed->oldest_us || n == 0)
        return;
    int64_t delay = since(changed->oldest_us, now);
    double seconds = (double)delay / SECOND_US;
    pthread_mutex_lock(&l->mutex);
    l->delays.buckets[bucket_of(seconds)] += n;
    l->delays.sum_s += seconds * (double)n;
    l->delays.last_us = since(changed->newest_us, now);
    struct ledger_minute *m = minute_of(l, now.wall_us / MINUTE_US);
    if (delay > m->delay_us)
        m->delay_us = delay;
    pthread_mutex_unlock(&l->mutex);
}

/* ---- reading ---- */

/* Of the last ten seconds; of a pipeline that has begun since, of the time since then. */
static double rate(const struct ledger *l, int64_t now_us)
{
    int64_t second = now_us / SECOND_US, first = second - LEDGER_SECONDS + 1;
    int64_t from_us = first * SECOND_US;
    uint64_t n = 0;
    for (size_t i = 0; i <= LEDGER_SECONDS; i++)
        if (l->seconds[i].second >= first && l->seconds[i].second <= second)
            n += l->seconds[i].documents;
    if (l->began_us > from_us)
        from_us = l->began_us;
    int64_t passed = now_us - from_us;
    return n ? (double)n * SECOND_US / (double)(passed > SECOND_US ? passed : SECOND_US) : 0;
}

static size_t list_minutes(const struct ledger *l, int64_t now, struct ledger_minute *out)
{
    int64_t first = now - LEDGER_MINUTES + 1;
    size_t n = 0;
    if (first < l->first_minute)
        first = l->first_minute;
    for (int64_t minute = first; minute <= now; minute++) {
        const struct ledger_minute *m = &l->minutes[minute % LEDGER_MINUTES];
        out[n++] = m->minute == minute ? *m : (struct ledger_minute){minute, 0, 0, -1};
    }
    return n;
}

void ledger_view(struct ledger *l, struct ledger_time now, struct ledger_view *out)
{
    pthread_mutex_lock(&l->mutex);
    out->counts = l->shown;
    out->delays = l->delays;
    out->documents_per_second = rate(l, now.mono_us);
    out->n_minutes = list_minutes(l, now.wall_us / MINUTE_US, out->minutes);
    pthread_mutex_unlock(&l->mutex);
}
