#include "ask/wait.h"

#include "ask/arrival.h"
#include "ask/ask.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "index/index.h"
#include "run/run_index.h"
#include "store/deadletter.h"

enum { SLICE_US = 1000 * 1000 }; /* between two looks whether a process follows */

struct waiting {
    const struct wait_options *options;
    struct ask ask;
    struct arrival moment;
    bool warned; /* that nobody follows */
};

static const char *name_of(const struct waiting *w)
{
    return w->ask.run.user.pipeline.name;
}

static void warn_alone(struct waiting *w)
{
    if (w->warned || arrival_is_followed(&w->ask))
        return;
    w->warned = true;
    log_warn("%s: no process follows: waiting for a run that delivers what was committed",
             name_of(w));
}

static bool time_is_up(struct waiting *w, struct err *e)
{
    err_set(e, ERR_FINAL, "%s: waited for %lld s: %s", name_of(w), w->options->timeout,
            w->moment.why);
    return err_hint(e, arrival_is_followed(&w->ask) ? "a process follows; its log may say more"
                                                    : "no process follows");
}

static bool wait_for_arrival(struct waiting *w, struct err *e)
{
    int64_t end = clock_mono_us() + w->options->timeout * 1000000LL;
    bool arrived = false;
    for (;;) {
        int64_t left = end - clock_mono_us();
        int64_t slice = w->options->timeout == 0 || left > SLICE_US ? SLICE_US
                        : left > 0                                  ? left
                                                                    : 1;
        if (!arrival_wait(&w->moment, slice, &arrived, e))
            return false;
        if (arrived)
            return true;
        if (w->options->timeout > 0 && clock_mono_us() >= end)
            return time_is_up(w, e);
        warn_alone(w);
    }
}

static bool refresh(struct run *r, struct err *e)
{
    if (index_refresh(r->servers.es, run_index_to_search(r), e))
        return true;
    if (e->kind != ERR_FINAL)
        return false;
    log_warn_with(LOG_FIELDS(LOG_ERR(e)),
                  "%s: %s; documents are found after the index's next refresh",
                  r->user.pipeline.name, e->text);
    return true;
}

static void report(struct waiting *w)
{
    struct run *r = &w->ask.run;
    char took[CLOCK_TEXT], n[PROGRESS_TEXT];
    int64_t us = clock_mono_us() - r->started_us;
    log_info_with(LOG_FIELDS(log_text("index", r->user.pipeline.sink.index),
                             log_real("seconds", (double)us / 1e6)),
                  "%s: all that was committed before is in index '%s', after %s", name_of(w),
                  r->user.pipeline.sink.index, clock_duration(us, took));
    if (deadletters_count(w->ask.dead) > 0)
        log_warn_with(LOG_FIELDS(log_int("dead_letters", (long long)deadletters_count(w->ask.dead)),
                                 log_text("path", deadletters_path(w->ask.dead))),
                      "%s: but for %s in '%s'", name_of(w),
                      progress_count(deadletters_count(w->ask.dead), "dead letter", n),
                      deadletters_path(w->ask.dead));
}

bool wait_for_index(const struct wait_options *o, const char *script, struct err *e)
{
    struct waiting w = {.options = o};
    /* a server that is away is not waited for longer, either */
    long long patience = o->give_up_after > 0 ? o->give_up_after : o->timeout;
    const struct ask_options ask = {.workers = 1, .give_up_after = patience};
    bool ok = ask_open(&w.ask, &ask, script, false, e) &&
              arrival_begin(&w.moment, &w.ask, o->sweep, e) && wait_for_arrival(&w, e) &&
              run_patiently(&w.ask.run, refresh, e) && ask_read_letters(&w.ask, e);
    if (ok)
        report(&w);
    arrival_end(&w.moment);
    ask_close(&w.ask);
    return ok;
}
