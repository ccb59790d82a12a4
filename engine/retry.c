#include "retry.h"

#include "clock.h"
#include "err.h"
#include "log.h"

/* Seconds: quick enough that a restarted server is noticed at once, slow enough not to burden one that is
 * struggling. */
static const double first_wait = 0.1, longest_wait = 10;

static void log_wait(const struct backoff_details *d, void *arg)
{
    (void)arg;
    log_warn("%s; trying again in %.1f s", d->error->text, d->wait);
}

static void log_success(const struct backoff_details *d, void *arg)
{
    (void)arg;
    if (d->tries > 1)
        log_info("going on after %d tries", d->tries);
}

void retry_start(struct retry *r, double give_up_after)
{
    r->policy = (struct backoff_policy){
        .generator = BACKOFF_EXPO,
        .factor = first_wait,
        .max_value = longest_wait,
        .jitter = BACKOFF_FULL,
        .max_time = give_up_after,
        .on_backoff = log_wait,
        .on_success = log_success,
    };
    backoff_start(&r->backoff, &r->policy, (uint64_t)clock_mono_us() ^ (uint64_t)(uintptr_t)r);
}

bool retry_again(struct retry *r, struct err *e)
{
    return backoff_wait(&r->backoff, e);
}

void retry_done(struct retry *r)
{
    backoff_done(&r->backoff);
}
