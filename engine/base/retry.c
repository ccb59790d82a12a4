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

enum {
    CHECK_MS = 250, /* how often a wait calls over() */
    LASTS_S = 10,   /* from then on a line says how long it has failed */
};
static const int64_t AGAIN_US = (int64_t)60 * 1000000;

/* Whether the same was logged as a warning a short while ago, by this retry. */
static bool is_told(struct retry *r, const char *text, int64_t now_us)
{
    uint64_t kind = alike_kind(text);
    bool told = r->once ? strcmp(r->told, text) == 0
                        : r->told_kind == kind && now_us - r->told_us < AGAIN_US;
    text_cut(r->told, sizeof r->told, text, strlen(text));
    r->told_kind = kind;
    if (!told)
        r->told_us = now_us;
    return told;
}

/* One cause is one warning, however often it is tried and by how many threads; it comes again once
 * a minute. The other tries are details. */
static void log_wait(const struct backoff_details *d, void *arg)
{
    struct retry *r = arg;
    const char *text = d->error->text;
    bool told = is_told(r, text, clock_mono_us()), lasts = d->elapsed >= LASTS_S;
    char since[60] = "";
    if (lasts)
        snprintf(since, sizeof since, " (it has failed for %.0f s)", d->elapsed);
    log_line_with(told ? LOG_DEBUG : alike_level(text),
                  LOG_FIELDS(log_int("attempt", d->tries), log_real("wait_seconds", d->wait),
                             log_if(lasts, log_real("seconds", d->elapsed)), LOG_ERR(d->error)),
                  "%s; trying again in %.1f s%s", text, d->wait, since);
    notify_status("%s; trying again", text);
}

static void log_success(const struct backoff_details *d, void *arg)
{
    const struct retry *r = arg;
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
