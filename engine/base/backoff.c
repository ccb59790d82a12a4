#include "base/backoff.h"

#include "base/clock.h"
#include "base/err.h"

#include <assert.h>
#include <limits.h>
#include <math.h>

/* The longest wait without a limit, in seconds: 30 years, whose milliseconds are still exact. */
static const double LONGEST = 1e9;

void backoff_start(struct backoff *b, const struct backoff_policy *policy, uint64_t seed)
{
    *b = (struct backoff){.policy = policy, .started_us = clock_mono_us(), .random = seed};
}

/* b->a is the exponent. */
static double next_expo(struct backoff *b, double limit)
{
    double base = b->policy->base != 0 ? b->policy->base : 2;
    double factor = b->policy->factor != 0 ? b->policy->factor : 1;
    double value = factor * pow(base, b->a);
    if (!(value < limit)) /* also if it is infinite */
        return limit;
    b->a++;
    return value;
}

/* b->a and b->b are this value and the next one, less one: so they start as zeros. */
static double next_fibo(struct backoff *b, double limit)
{
    double value = b->a + 1;
    if (value >= limit)
        return limit;
    b->a = b->b;
    b->b += value;
    return value;
}

double backoff_next(struct backoff *b)
{
    double limit =
        b->policy->max_value > 0 && b->policy->max_value < LONGEST ? b->policy->max_value : LONGEST;
    switch (b->policy->generator) {
    case BACKOFF_EXPO:
        return next_expo(b, limit);
    case BACKOFF_FIBO:
        return next_fibo(b, limit);
    case BACKOFF_CONSTANT:
        break;
    }
    return b->policy->interval != 0 ? b->policy->interval : 1;
}

/* Uniform in [0, 1), by splitmix64: it is small and takes any seed, even 0 or consecutive ones. */
static double next_random(struct backoff *b)
{
    uint64_t z = b->random += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static double with_jitter(struct backoff *b, double wait)
{
    switch (b->policy->jitter) {
    case BACKOFF_FULL:
        return wait * next_random(b);
    case BACKOFF_RANDOM:
        return wait + next_random(b);
    case BACKOFF_NO_JITTER:
        break;
    }
    return wait;
}

static double elapsed(const struct backoff *b)
{
    return b->started_us < 0 ? 0 : (double)(clock_mono_us() - b->started_us) / 1e6;
}

static bool used_up(const struct backoff *b, double seconds)
{
    const struct backoff_policy *p = b->policy;
    return (p->max_tries > 0 && b->tries >= p->max_tries) ||
           (p->max_time > 0 && seconds >= p->max_time);
}

static bool is_final(const struct backoff_policy *p, const struct err *error)
{
    return p->giveup ? p->giveup(error, p->arg) : error->kind != ERR_PASSING;
}

static double give_up(const struct backoff_policy *p, const struct backoff_details *d)
{
    if (p->on_giveup)
        p->on_giveup(d, p->arg);
    return -1;
}

double backoff_failed(struct backoff *b, const struct err *error)
{
    const struct backoff_policy *p = b->policy;
    if (b->started_us < 0)
        b->started_us = clock_mono_us();
    if (b->tries < INT_MAX)
        b->tries++;
    if (error && error->kind == ERR_STOPPED)
        return -1;
    struct backoff_details d = {.tries = b->tries, .elapsed = elapsed(b), .error = error};
    if ((error && is_final(p, error)) || used_up(b, d.elapsed))
        return give_up(p, &d);

    double wait = with_jitter(b, backoff_next(b));
    if (error && wait < (double)error->retry_after_ms / 1000)
        wait = (double)error->retry_after_ms / 1000;
    if (p->max_time > 0 && wait > p->max_time - d.elapsed)
        wait = p->max_time - d.elapsed;
    d.wait = wait > 0 ? fmin(wait, LONGEST) : 0;
    assert(d.wait >= 0 && d.wait <= LONGEST);
    if (p->on_backoff)
        p->on_backoff(&d, p->arg);
    return d.wait;
}

void backoff_done(struct backoff *b)
{
    const struct backoff_policy *p = b->policy;
    struct backoff_details d = {.tries = b->tries < INT_MAX ? b->tries + 1 : b->tries,
                                .elapsed = elapsed(b)};
    if (p->on_success)
        p->on_success(&d, p->arg);
    *b = (struct backoff){.policy = p, .started_us = -1, .random = b->random};
}
