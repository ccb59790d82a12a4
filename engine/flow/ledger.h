/* ledger: what a pipeline has delivered, over all of its runs: how much, how fast, how late.
 *
 * Uses     counts, clock.
 * Threads  any. One mutex, never held while calling out.
 * Promise  what it shows never falls: a batch that is read again after a failure counts once, and
 *          what its first try has counted stays until then. Some 3 KB, and no timer: what has
 *          passed is worked out when it is asked for.
 *
 * A delay is the time from a change's commit until its document was acknowledged. All changes of a
 * batch count with the delay of its oldest one: the true ones are not longer.
 */
#pragma once
#include "model/counts.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct change_times;

enum {
    LEDGER_SECONDS = 10, /* of which the rate is told */
    LEDGER_MINUTES = 60, /* of history */
    LEDGER_BUCKETS = 14, /* of delays */
};
/* The upper bounds of the buckets, in seconds; the last one has none. */
extern const double ledger_bounds[LEDGER_BUCKETS - 1];

struct ledger_time {
    int64_t mono_us; /* clock_mono_us */
    int64_t wall_us; /* since 1970 */
};
struct ledger_time ledger_now(void);

struct ledger_minute {
    int64_t minute; /* since 1970 */
    uint64_t documents, rejected;
    int64_t delay_us; /* the longest one; -1: no change was acknowledged */
};

struct ledger_delays {
    uint64_t buckets[LEDGER_BUCKETS]; /* changes; each in one bucket */
    double sum_s;
    int64_t last_us; /* of the newest change that was acknowledged last; -1: there was none */
};

struct ledger {
    pthread_mutex_t mutex;
    struct counts counts; /* as they were added; retries are taken back */
    struct counts shown;  /* the highest that each one has been */
    struct ledger_delays delays;
    int64_t began_us; /* clock_mono_us: the first count; 0: none yet */
    struct {
        int64_t second;
        uint64_t documents;
    } seconds[LEDGER_SECONDS + 1];                /* a ring */
    struct ledger_minute minutes[LEDGER_MINUTES]; /* likewise */
    int64_t first_minute;                         /* since which there is a history */
};

void ledger_init(struct ledger *l, struct ledger_time now);
void ledger_destroy(struct ledger *l);

/* delta: may be negative, see counts.h. */
void ledger_count(struct ledger *l, const struct counts *delta, struct ledger_time now);
/* n documents of changes of these times were acknowledged. */
void ledger_deliver(struct ledger *l, const struct change_times *changed, size_t n,
                    struct ledger_time now);

struct ledger_view {
    struct counts counts;
    struct ledger_delays delays;
    double documents_per_second;
    size_t n_minutes;
    struct ledger_minute minutes[LEDGER_MINUTES]; /* the oldest first; the last one is under way */
};
void ledger_view(struct ledger *l, struct ledger_time now, struct ledger_view *out);

/* Documents of which it is known what became of them. */
uint64_t ledger_done(const struct counts *c);
