#include "run/run_follow.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/stop.h"
#include "feed/feed.h"
#include "flow/errand.h"
#include "flow/queue.h"
#include "run/desk.h"
#include "run/run.h"
#include "run/run_alter.h"
#include "run/run_chosen.h"
#include "run/run_feeds.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_load.h"
#include "run/run_meta.h"
#include "run/run_reload.h"
#include "run/run_requests.h"
#include "run/run_state.h"
#include "run/run_vitals.h"
#include "run/run_warn.h"
#include "run/sweep_due.h"
#include "run/vitals.h"
#include "store/quiesce.h"

#include <stdlib.h>
#include <string.h>

enum {
    TICK_MS = 1000,   /* how often SIGHUP and the clock are looked at while nothing else happens */
    VISIBLE_MS = 250, /* with capture: whether held keys are visible by now */
    WARN_US = 60 * 1000 * 1000, /* between two warnings of one kind */
    CHECK_US = 5 * 1000 * 1000, /* between two checks that the index is still the same */
    /* within which max_rejected documents end the run: a wrong script or mapping shows in the first
     * sweep; a few bad rows may stay for ever */
    WINDOW_US = 3600LL * 1000 * 1000,
    GUARD_US = 10 * 60 * 1000 * 1000, /* between two renewals of how much may be deleted */
};

struct following {
    struct run *run;
    struct run_feeds feeds;
    struct run_requests requests;
    struct feed *sweep;    /* owned; NULL: none is running */
    struct errand *errand; /* borrowed: the sweep's, if others have asked for it; NULL */
    bool sweep_is_whole;   /* it began at the first row, and by this script */
    struct sweep_due due;
    unsigned moved;                                       /* see run_feeds_moved */
    int64_t poll_at_us;                                   /* clock_mono_us: when to poll next */
    int64_t warned_us, checked_us, guarded_us, window_us; /* when each was done last */
};

/* ---- polling ---- */

static void close_feeds(struct following *f)
{
    run_feeds_close(&f->feeds, f->run);
    run_requests_pause(f->run, "it is about to read the changes again");
    feed_free(f->sweep);
    f->sweep = NULL;
    run_state_set_sweeping(&f->run->state, false);
    vitals_phase(f->run->vitals, VITALS_FOLLOWING, NULL, -1);
}

static void warn_regularly(struct following *f, int64_t now)
{
    const struct source_report *report = run_feeds_report(&f->feeds);
    if (now - f->warned_us < WARN_US)
        return;
    f->warned_us = now;
    run_warn_repeated(f->run);
    if (report)
        run_warn_horizon(&f->run->user, report);
}

static void note_report(const struct following *f)
{
    const struct source_report *report = run_feeds_report(&f->feeds);
    if (report)
        run_note_report(f->run, report);
}

/* ---- sweeping ---- */

static void schedule_sweep(struct following *f)
{
    const struct state_data *d = &f->run->state.data;
    f->due = sweep_due_after(d->swept_us, d->sweep_after, clock_wall_us(), clock_mono_us());
}

/* A standby that has taken over may lack rows that were read of the old primary: polls never meet
 * these again. */
static void note_server(struct following *f)
{
    struct run *r = f->run;
    unsigned before = f->moved;
    f->moved = run_feeds_moved(&f->feeds);
    if (f->moved <= before)
        return;
    log_warn("%s: another PostgreSQL server answers, which may lack changes that were read before: "
             "%s",
             r->user.pipeline.name,
             r->user.pipeline.sweep > 0 ? "a sweep finds them"
                                        : "only a sweep finds them (sweep = 0)");
    run_state_owe_sweep(&r->state);
    coordinator_must_save(&r->work.coordinator);
    schedule_sweep(f);
}

/* How soon changes are seen in tables that no poll reads. */
static void report_sweeps(const struct run *r)
{
    const struct source *s = &r->user.source;
    const char *name = r->user.pipeline.name;
    double every = r->user.pipeline.sweep;
    for (size_t i = 0; i < s->n_tables; i++) {
        if (s->tables[i].cursor || r->capture)
            continue;
        if (every > 0)
            log_info_with(
                LOG_FIELDS(log_text("table", s->tables[i].label),
                           log_real("interval_seconds", every)),
                "%s: '%s' has no cursor: its changes are seen by a sweep, every %g s (sweep)", name,
                s->tables[i].label, every);
        else
            log_warn_with(
                LOG_FIELDS(log_text("table", s->tables[i].label)),
                "%s: '%s' has no cursor, and sweeps are off (sweep = 0): its changes are not "
                "seen",
                name, s->tables[i].label);
    }
}

/* Those who have asked for the sweep are told how it went. */
static void end_errand(struct following *f)
{
    struct err e;
    if (!f->errand)
        return;
    f->errand = NULL;
    f->requests.recount = true;
    desk_end_sweep(f->run->desk, coordinator_save_now(&f->run->work.coordinator, &e) ? NULL : &e);
}

/* The errand has failed: the next sweep begins when it would have without it. */
static void drop_sweep(struct following *f, const struct err *why)
{
    log_warn_with(LOG_FIELDS(LOG_ERR(why)), "%s: the sweep that was asked for has failed: %s",
                  f->run->user.pipeline.name, why->text);
    run_state_drop_sweep(&f->run->state);
    end_errand(f);
}

static bool end_sweep(struct following *f, struct err *e)
{
    struct run *r = f->run;
    struct err why;
    /* the sweep's last checkpoint: taken later, it would stand for a sweep that is running */
    if (!coordinator_collect(&r->work.coordinator, e))
        return false;
    coordinator_set_feed(&r->work.coordinator, run_scan_lane(r), NULL);
    feed_free(f->sweep);
    f->sweep = NULL;
    if (f->errand && errand_error(f->errand, &why)) {
        drop_sweep(f, &why);
        return true;
    }
    run_state_swept(&r->state);
    vitals_swept(r->vitals, clock_wall_us());
    vitals_phase(r->vitals, VITALS_FOLLOWING, NULL, -1);
    f->due = sweep_due_swept(clock_mono_us());
    f->due.at_once = r->state.data.swept_us == 0; /* another one is owed */
    if (f->sweep_is_whole)
        run_set_meta_script(r, false);
    run_save_meta(r);
    coordinator_must_save(&r->work.coordinator);
    log_info("%s: swept", r->user.pipeline.name);
    end_errand(f);
    return run_chosen_swept(r, e);
}

static bool begin_sweep(struct following *f, struct err *e)
{
    struct run *r = f->run;
    if (!run_report_hidden(r, false, e) || !run_reject_keyless(r, false, e))
        return false;
    f->errand = desk_begin_sweep(r->desk);
    if (f->errand) /* from the first row */
        run_state_drop_sweep(&r->state);
    f->sweep_is_whole = !r->state.data.sweep_after;
    struct feed_origin origin = run_feed_origin(r);
    struct feed_sweep_config config = {.index = run_index_to_search(r),
                                       .dead = r->state.dead,
                                       .chunk = r->work.chunk,
                                       .after = r->state.data.sweep_after};
    f->sweep = feed_sweep(&origin, &config, e);
    if (f->errand)
        f->sweep = run_requests_sweep(r, f->sweep, f->errand, e);
    run_state_set_sweeping(&r->state, true);
    coordinator_set_feed(&r->work.coordinator, run_scan_lane(r), f->sweep);
    if (!f->sweep)
        return false;
    log_info("%s: sweeping", r->user.pipeline.name);
    vitals_phase(r->vitals, VITALS_SWEEPING, NULL, -1);
    return true;
}

/* With capture from the log, what it does not tell is found at once, whatever the interval. */
static bool is_sweep_due(const struct following *f)
{
    const struct run *r = f->run;
    bool lacks = r->capture || run_lacks_chosen(r);
    return (lacks && r->state.data.swept_us == 0) || desk_wants_sweep(r->desk) ||
           sweep_is_due(&f->due, r->user.pipeline.sweep, clock_mono_us());
}

static bool advance_sweep(struct following *f, struct err *e)
{
    struct run *r = f->run;
    if (f->sweep && coordinator_lane_is_done(&r->work.coordinator, run_scan_lane(r)) &&
        !end_sweep(f, e))
        return false;
    return f->sweep || !is_sweep_due(f) || begin_sweep(f, e);
}

/* ---- another script, table or index ---- */

/* The workers run again: polls from the state's checkpoints, and a sweep from the first row. */
static bool resume(struct following *f, bool reloaded, struct err *e)
{
    struct run *r = f->run;
    coordinator_must_save(&r->work.coordinator); /* or a crash forgets the sweep */
    schedule_sweep(f);
    if (reloaded) {
        vitals_reload(r->vitals, NULL);
        log_info("%s: reloaded '%s'", r->user.pipeline.name, r->user.text.ref);
        report_sweeps(r);
        if (r->user.pipeline.sweep == 0 && !r->capture) /* else a sweep compares all documents */
            run_warn_script(r);
    }
    return run_feeds_open(&f->feeds, r, false, e) && run_requests_open(&f->requests, r, e);
}

/* Everything that was read before is acknowledged. A sweep that was asked for begins again
 * later. */
static bool settle(struct following *f, struct err *e)
{
    struct run *r = f->run;
    coordinator_clear(&r->work.coordinator);
    if (!coordinator_drain(&r->work.coordinator, e))
        return false;
    close_feeds(f);
    if (f->errand)
        desk_want_sweep_again(r->desk);
    f->errand = NULL;
    return true;
}

/* Continues with another script (NULL: with the same one) or in another index (run_check_index). */
static bool restart(struct following *f, struct run_script *fresh, struct err *e)
{
    struct run *r = f->run;
    bool reloaded = fresh;
    if (!settle(f, e))
        return false;
    run_state_want_sweep(&r->state);
    return run_restart(r, fresh, e) && resume(f, reloaded, e);
}

/* After a failure: if a table was altered, and the script still fits it, the run goes on. */
static bool recover(struct following *f, struct err *e)
{
    struct err why = *e;
    close_feeds(f);
    if (!run_recover_altered(f->run, e))
        return false;
    err_wrap(&why, "the process that follows began again");
    run_requests_break(&f->requests, f->run, &why);
    f->errand = NULL;
    run_state_want_sweep(&f->run->state);
    return resume(f, true, e);
}

static void report_not_reloaded(const struct run *r, const struct err *why)
{
    vitals_reload(r->vitals, why->text);
    log_error_with(LOG_FIELDS(LOG_ERR(why)),
                   "could not reload the script, still running the previous version: %s",
                   why->text);
    notify_status("could not reload the script, still running the previous version: %s", why->text);
}

/* For SIGHUP; also after a reindex, which used the script as it is now. */
static bool reload(struct following *f, struct err *e)
{
    struct run *r = f->run;
    struct run_script fresh = {0};
    struct err why;
    notify_reloading();
    bool ok = run_open_script(&fresh, r->user.text.ref, &why) &&
              run_check_reload(r, &fresh, &why) &&
              run_bind_script(&fresh, &r->servers.pool, &r->work.progress.expected, &why) &&
              (r->index.replaced || run_fit_index(r, &fresh, &why));
    if (ok)
        progress_follow(&r->work.progress); /* its status replaces that of an earlier failure */
    else
        report_not_reloaded(r, &why);
    if (ok || r->index.replaced)
        ok = restart(f, ok ? &fresh : NULL, e);
    else
        ok = true;
    run_close_script(&fresh);
    if (ok)
        notify_ready();
    return ok;
}

/* While a reindex swaps the alias nothing is in progress: no request that reaches the old index
 * alone, no search that misses what the old one had. */
static bool pause_for_reindex(struct following *f, struct err *e)
{
    bool ok = coordinator_settle(&f->run->work.coordinator, e);
    vitals_heard(f->run->vitals, 0);
    f->checked_us = 0; /* the index may be another one afterwards */
    return ok && (quiesce_pause(f->run->state.file) || stop_err(e));
}

/* ---- the loop ---- */

static int64_t wait_ms(const struct following *f)
{
    if (f->run->capture) /* it wakes the queue */
        return VISIBLE_MS;
    int64_t left = (f->poll_at_us - clock_mono_us() + 999) / 1000;
    return left < 0 ? 0 : left < TICK_MS ? left : TICK_MS;
}

static bool is_due(int64_t *last_us, int64_t every_us, int64_t now)
{
    if (now - *last_us < every_us)
        return false;
    *last_us = now;
    return true;
}

/* What is done now and then. */
static bool run_checks(struct following *f, int64_t now, struct err *e)
{
    struct run *r = f->run;
    if (is_due(&f->checked_us, CHECK_US, now)) {
        vitals_asks(r->vitals, "the search server");
        bool ok = run_check_index(r, e) && run_check_chosen(r, e);
        vitals_asks(r->vitals, NULL);
        if (!ok && e->kind != ERR_PASSING)
            return false;
        vitals_away(r->vitals, ok ? NULL : e->text);
        if (r->index.replaced && !reload(f, e))
            return false;
    }
    /* a sweep keeps the limit that it began with */
    if (!f->sweep && (is_due(&f->guarded_us, GUARD_US, now) || f->requests.recount)) {
        f->requests.recount = false;
        coordinator_must_save(&r->work.coordinator);
        if (!run_patiently(r, run_count_documents, e) || !run_patiently(r, run_guard, e))
            return false;
    }
    if (is_due(&f->window_us, WINDOW_US, now))
        coordinator_begin_window(&r->work.coordinator);
    return true;
}

/* Other processes may ask for another position. */
static bool set_position(struct following *f, struct err *e)
{
    struct run *r = f->run;
    char *time;
    if (!desk_begin_set(r->desk, &time))
        return true;
    bool ok = settle(f, e);
    if (ok)
        run_requests_set(r, time);
    free(time);
    return ok && resume(f, false, e);
}

/* Also by a signal that came during the load. */
static bool is_reload_asked(struct run *r)
{
    unsigned reloads = stop_reloads();
    bool asked = reloads != r->reloads;
    r->reloads = reloads;
    return asked;
}

static bool take_round(struct following *f, struct err *e)
{
    struct run *r = f->run;
    bool moved;
    int64_t now = clock_mono_us();
    if (quiesce_is_asked(r->state.file) && !pause_for_reindex(f, e))
        return false;
    if (now >= f->poll_at_us || r->capture) {
        f->poll_at_us = now + (int64_t)(r->user.pipeline.poll_interval * 1e6);
        run_feeds_poll_again(&f->feeds, r);
    }
    if (!run_checks(f, now, e) || !advance_sweep(f, e) || (is_reload_asked(r) && !reload(f, e)) ||
        !set_position(f, e) || !coordinator_round(&r->work.coordinator, &moved, e))
        return false;
    run_requests_serve(&f->requests, r);
    warn_regularly(f, now);
    note_report(f);
    note_server(f);
    if (!moved)
        queue_wait(r->work.flow.queue, wait_ms(f));
    return true;
}

/* Keeps what was acknowledged before the error in e. */
static void end(struct run *r, struct err *e)
{
    struct err why = *e;
    if (e->kind != ERR_NONE)
        queue_fail(r->work.flow.queue, e);
    coordinator_abort(&r->work.coordinator, e);
    /* that the script no longer fits, or that the user has stopped the run, says more than what had
     * failed before */
    if (why.kind == ERR_USAGE || why.kind == ERR_STOPPED)
        *e = why;
}

static double lag_of(void *arg)
{
    const struct run *r = arg;
    struct vitals_snapshot s = {.lag_seconds = -1};
    if (r->vitals)
        vitals_snapshot(r->vitals, &s);
    return s.lag_seconds;
}

bool run_follow(struct run *r, struct err *e)
{
    int64_t now = clock_mono_us();
    struct following f = {.run = r, .guarded_us = now, .window_us = now};
    /* what the load rejected is counted, and on disk */
    coordinator_begin_window(&r->work.coordinator);
    if (r->capture)
        log_info_with(LOG_FIELDS(log_text("slot", r->user.pipeline.source.slot)),
                      "%s: following slot '%s'", r->user.pipeline.name,
                      r->user.pipeline.source.slot);
    else
        log_info_with(LOG_FIELDS(log_real("interval_seconds", r->user.pipeline.poll_interval)),
                      "%s: following, every %g s", r->user.pipeline.name,
                      r->user.pipeline.poll_interval);
    run_warn_repeated(r); /* of the load */
    r->work.progress.lag = lag_of;
    r->work.progress.arg = r;
    progress_follow(&r->work.progress);
    vitals_phase(r->vitals, VITALS_FOLLOWING, NULL, -1);
    vitals_swept(r->vitals, r->state.data.swept_us);
    quiesce_allow(r->state.file);
    report_sweeps(r);
    bool ok = run_feeds_open(&f.feeds, r, false, e) && run_requests_open(&f.requests, r, e);
    schedule_sweep(&f); /* once it is known whether the server is the same */
    do
        while (ok)
            ok = take_round(&f, e);
    while ((ok = recover(&f, e)));
    close_feeds(&f);
    run_requests_close(&f.requests);
    end(r, e);
    return false;
}
