/* backoff: how long to wait before the next try, and when to give up.
 *
 * Uses     clock, err.
 * Threads  a policy is read-only and may be shared; a struct backoff belongs to one thread.
 *
 * It has the features of Python's backoff 1.11.1: the generators expo, fibo and constant;
 * max_tries, max_time; full, random or no jitter; the give-up test; the handlers on_backoff,
 * on_success, on_giveup.
 *
 *     struct backoff b;
 *     backoff_start(&b, &policy, seed);
 *     while (!try_it(&e)) {
 *         double wait = backoff_failed(&b, &e);
 *         if (wait < 0) // the error is final, or tries or time are used up
 *             return false;
 *         if (!stop_sleep((int64_t)ceil(wait * 1000)))
 *             return stop_err(&e);
 *     }
 *     backoff_done(&b);
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;

enum backoff_generator { BACKOFF_EXPO, BACKOFF_FIBO, BACKOFF_CONSTANT };
enum backoff_jitter { BACKOFF_FULL, BACKOFF_RANDOM, BACKOFF_NO_JITTER };

/* The argument of a handler; borrowed, for the time of the call. */
struct backoff_details {
    int tries;               /* made so far, from 1 */
    double elapsed;          /* seconds since the first try began */
    double wait;             /* seconds until the next try; only for on_backoff */
    const struct err *error; /* NULL for on_success, and if a predicate asked for the retry */
};

struct backoff_policy {
    enum backoff_generator generator;
    double base;   /* expo: the nth wait is factor * base^n, n from 0; 0 means 2 */
    double factor; /* expo: seconds; 0 means 1 */
    /* expo, fibo: the longest wait before jitter, in seconds; 0: no limit */
    double max_value;
    double interval; /* constant: seconds; 0 means 1 */
    /* full: uniform in [0, wait]; random: wait + uniform in [0, 1) seconds */
    enum backoff_jitter jitter;
    int max_tries; /* 0: no limit */
    /* seconds since the first try began; the last wait is shortened to end then; 0: no limit */
    double max_time;
    /* true: do not retry after this error; NULL: only ERR_PASSING is retried */
    bool (*giveup)(const struct err *error, void *arg);
    void (*on_backoff)(const struct backoff_details *, void *arg);
    void (*on_success)(const struct backoff_details *, void *arg);
    void (*on_giveup)(const struct backoff_details *, void *arg);
    void *arg; /* borrowed: handed to giveup and the handlers */
};

struct backoff {
    const struct backoff_policy *policy; /* borrowed */
    int tries;
    /* when the first try began, monotonic; -1: the next failure counts as its begin */
    int64_t started_us;
    double a, b;     /* the generator's state */
    uint64_t random; /* the jitter's state */
};

/* The first try begins now. seed: any number; each thread needs another one, since the same seed
 * gives the same jitter. */
void backoff_start(struct backoff *b, const struct backoff_policy *policy, uint64_t seed);

/* The generator's next value, without jitter, in seconds. */
double backoff_next(struct backoff *b);

/* After a failed try: the seconds to wait, with jitter, and at least error->retry_after_ms;
 * negative: give up. error NULL: a predicate asks for the retry. Calls giveup, on_backoff and
 * on_giveup; does not sleep. ERR_STOPPED is never retried, and no handler is called for it. */
double backoff_failed(struct backoff *b, const struct err *error);

/* After a try that succeeded: calls on_success, and resets everything except the jitter. The time
 * then runs from the next failure, so that an hour of success does not use up max_time. */
void backoff_done(struct backoff *b);
