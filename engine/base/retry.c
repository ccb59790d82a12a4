#include "base/retry.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/stop.h"
#include "base/text.h"
#include "base/witness.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* In seconds: short enough to notice a restarted server at once, long enough not to burden a server
 * that is overloaded. */
static const double first_wait = 0.1, longest_wait = 10;

enum { CHECK_MS = 250 }; /* how often a wait calls over() */

static bool is_told(struct retry *r, const char *text)
{
    if (r->once && strcmp(r->told, text) == 0)
        return true;
    text_cut(r->told, sizeof r->told, text, strlen(text));
    return false;
}

static void log_wait(const struct backoff_details *d, void *arg)
{
    struct retry *r = arg;
    if (is_told(r, d->error->text))
        return;
    bool hint = d->tries == 1 || r->once; /* logged once, not with every try */
    alike_warn(d->error->text,
               LOG_FIELDS(log_int("attempt", d->tries), log_real("wait_seconds", d->wait),
                          log_kind(d->error), log_if(hint, log_hint(d->error))),
               "%s; trying again in %.1f s", d->error->text, d->wait);
    notify_status("%s; trying again", d->error->text);
}

static void log_success(const struct backoff_details *d, void *arg)
{
    const struct retry *r = arg;
    if (d->tries > ALIKE_WHOLE)
        alike_flush(); /* first how often it failed */
    if (d->tries > 1)
        alike_info(NULL, LOG_FIELDS(log_int("attempt", d->tries)), "succeeded after %d tries%s%s",
                   d->tries, *r->told ? "; what failed before: " : "", r->told);
}

void retry_start(struct retry *r, double give_up_after)
{
    *r = (struct retry){0};
    r->policy = (struct backoff_policy){
        .generator = BACKOFF_EXPO,
        .factor = first_wait,
        .max_value = longest_wait,
        .jitter = BACKOFF_FULL,
        .max_time = give_up_after,
        .on_backoff = log_wait,
        .on_success = log_success,
        .arg = r,
    };
    backoff_start(&r->backoff, &r->policy, (uint64_t)clock_mono_us() ^ (uint64_t)(uintptr_t)r);
    r->backoff.started_us = -1; /* a try may run for hours before it fails */
}

/* False: over() ended the wait, or a stop was asked. */
static bool sleep_for(struct retry *r, double wait, struct err *e)
{
    for (int64_t left = (int64_t)ceil(wait * 1000), nap; left > 0; left -= nap) {
        if (r->over && r->over(r->arg))
            return false;
        nap = r->over && left > CHECK_MS ? CHECK_MS : left;
        if (!stop_sleep(nap))
            return stop_err(e);
    }
    return true;
}

bool retry_again(struct retry *r, struct err *e)
{
    assert(r->backoff.policy == &r->policy); /* r has not moved */
    double wait = backoff_failed(&r->backoff, e);
    if (wait >= 0)
        witness_wait(e, wait);
    bool again = wait >= 0 && sleep_for(r, wait, e);
    if (!again)
        witness_resume();
    return again;
}

void retry_moved(struct retry *r)
{
    r->told[0] = '\0';
    r->backoff.started_us = -1;
    witness_resume();
}

void retry_done(struct retry *r)
{
    backoff_done(&r->backoff);
    witness_resume();
}

bool retry_until(double give_up_after, bool (*step)(void *arg, struct err *e), void *arg,
                 struct err *e)
{
    struct retry r;
    retry_start(&r, give_up_after);
    while (!step(arg, e))
        if (!retry_again(&r, e))
            return false;
    retry_done(&r);
    return true;
}
