/* backoff: how long to wait before the next try, and when to give up.
 *
 * Uses     clock, err.
 * Threads  a policy is read-only and may be shared; a struct backoff belongs to one thread.
 *
 * Every feature of Python's backoff 1.11.1 has its counterpart: the generators expo, fibo and
 * constant; max_tries, max_time; full, random or no jitter; the give-up test; the handlers
 * on_backoff, on_success, on_giveup.
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

/* What a handler is told; borrowed, for the time of the call. */
struct backoff_details {
    int tries;               /* so far, from 1 */
    double elapsed;          /* seconds since the first try began */
    double wait;             /* seconds until the next try; only for on_backoff */
    const struct err *error; /* NULL for on_success, and for a predicate's retry */
};

struct backoff_policy {
    enum backoff_generator generator;
    double base;   /* expo: the nth wait is factor * base^n, n from 0; 0 means 2 */
    double factor; /* expo; seconds; 0 means 1 */
    /* expo, fibo: no wait before jitter is above it; seconds; 0: no limit */
    double max_value;
    double interval; /* constant: seconds; 0 means 1 */
    /* full: uniform in [0, wait]; random: wait + uniform in [0, 1) seconds */
    enum backoff_jitter jitter;
    int max_tries; /* 0: no limit */
    /* seconds since the first try began; the last wait is shortened to it; 0: no limit */
    double max_time;
    /* true: this error is not worth another try; NULL: ERR_PASSING is retried, all else not */
    bool (*giveup)(const struct err *error, void *arg);
    void (*on_backoff)(const struct backoff_details *, void *arg);
    void (*on_success)(const struct backoff_details *, void *arg);
    void (*on_giveup)(const struct backoff_details *, void *arg);
    void *arg; /* borrowed: handed to giveup and the handlers */
};

struct backoff {
    const struct backoff_policy *policy; /* borrowed */
    int tries;
    /* clock_mono_us; -1: at the next failure, nothing having failed since a success */
    int64_t started_us;
    double a, b; /* the generator's state */
    uint64_t random;
};

/* The first try begins now. seed: any number; the same seed gives the same jitter. */
void backoff_start(struct backoff *b, const struct backoff_policy *policy, uint64_t seed);

/* The generator's next value, without jitter, in seconds. */
double backoff_next(struct backoff *b);

/* After a failed try: how long to wait, in seconds, jitter and the server's own word
 * (error->retry_after_ms, if longer) included; negative: give up. error NULL: a predicate asks for
 * the retry. Calls giveup, on_backoff and on_giveup; does not sleep. A shared seed is a shared
 * jitter: give each thread its own. An ERR_STOPPED is never tried again, and is no giving up: no
 * handler hears of it. */
double backoff_failed(struct backoff *b, const struct err *error);

/* The try succeeded: calls on_success, and starts afresh. The time then runs from the next failure
 * on (or from backoff_start), so that an hour of success does not use up max_time. */
void backoff_done(struct backoff *b);
