#include "run/run_follow.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "feed/feed.h"
#include "flow/queue.h"
#include "run/run.h"
#include "run/run_alter.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_load.h"
#include "run/run_meta.h"
#include "run/run_reload.h"
#include "run/run_state.h"
#include "run/run_warn.h"
#include "run/sweep_due.h"
#include "store/quiesce.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* how often signals and the time are looked at while nothing else happens */
    TICK_MS = 250,
    TELL_US = 60 * 1000 * 1000, /* between two warnings of one kind */
    CHECK_US = 5 * 1000 * 1000, /* between two looks whether the index is still the same */
    /* within which max_rejected documents end us: a script or mapping that is wrong shows in the
     * first sweep; a few bad rows may stay for ever */
    WINDOW_US = 3600LL * 1000 * 1000,
    GUARD_US = 10 * 60 * 1000 * 1000, /* what may be deleted is renewed so often */
};

struct following {
    struct run *run;
    struct feed **feeds; /* owned, each; NULL for a table without a cursor */
    struct feed *sweep;  /* owned; NULL: none is under way */
    bool sweep_is_whole; /* and was begun by this script */
    struct sweep_due due;
    int64_t look_us, told_us, checked_us, guarded_us,
        window_us; /* clock_mono_us: when to look again, when these were last done */
};

static const struct source *source_of(const struct following *f)
{
    return &f->run->user.source;
}

/* ---- looking ---- */

static void free_feeds(struct following *f)
{
    struct run *r = f->run;
    for (size_t i = 0; i < r->work.coordinator.n_lanes && r->work.coordinator.lanes; i++)
        coordinator_set(&r->work.coordinator, i, NULL);
    for (size_t i = 0; f->feeds && i < source_of(f)->n_tables; i++)
        feed_free(f->feeds[i]);
    free(f->feeds);
    f->feeds = NULL;
    feed_free(f->sweep);
    f->sweep = NULL;
}

static bool open_feeds(struct following *f, struct err *e)
{
    struct run *r = f->run;
    f->feeds = calloc(source_of(f)->n_tables, sizeof *f->feeds);
    if (!f->feeds)
        return err_memory(e);
    for (size_t i = 0; i < source_of(f)->n_tables; i++) {
        if (!source_of(f)->tables[i].cursor)
            continue;
        f->feeds[i] = run_poll_table(r, i, false, e);
        if (!f->feeds[i])
            return false;
        coordinator_set(&r->work.coordinator, i, f->feeds[i]);
    }
    return true;
}

static void poll_again(struct following *f)
{
    struct run *r = f->run;
    for (size_t i = 0; i < source_of(f)->n_tables; i++) {
        if (!f->feeds[i] || !r->work.coordinator.lanes[i].over)
            continue;
        feed_poll_again(f->feeds[i]);
        r->work.coordinator.lanes[i].over = false;
    }
}

static void tell(struct following *f, int64_t now)
{
    if (now - f->told_us < TELL_US)
        return;
    f->told_us = now;
    run_warn_repeated(f->run);
    for (size_t i = 0; i < source_of(f)->n_tables; i++)
        if (f->feeds[i]) {
            run_warn_horizon(f->run, feed_poll_report(f->feeds[i]));
            return; /* the sessions are the same for all tables */
        }
}

/* ---- sweeping ---- */

static void look_when_due(struct following *f)
{
    const struct state_data *d = &f->run->state.data;
    f->due = sweep_due_after(d->swept_us, d->sweep_after, clock_wall_us(), clock_mono_us());
}

/* How soon changes are seen where no look sees them. */
static void report_sweeps(const struct run *r)
{
    const struct source *s = &r->user.source;
    double every = r->user.pipeline.sweep;
    for (size_t i = 0; i < s->n_tables; i++) {
        if (s->tables[i].cursor)
            continue;
        if (every > 0)
            log_info("%s: '%s' has no cursor: its changes are seen by the next sweep, one every %g "
                     "s (sweep)",
                     r->user.pipeline.name, s->tables[i].label, every);
        else
            log_warn("%s: '%s' has no cursor, and nothing is swept (sweep = 0): its changes are "
                     "not seen",
                     r->user.pipeline.name, s->tables[i].label);
    }
}

static bool advance_sweep(struct following *f, struct err *e)
{
    struct run *r = f->run;
    size_t lane = run_scan_lane(r);
    if (f->sweep && coordinator_done(&r->work.coordinator, lane)) {
        /* its last mark: noted later, it would stand for a sweep under way */
        if (!coordinator_note(&r->work.coordinator, e))
            return false;
        coordinator_set(&r->work.coordinator, lane, NULL);
        feed_free(f->sweep);
        f->sweep = NULL;
        run_state_swept(&r->state);
        f->due = sweep_due_swept(clock_mono_us());
        if (f->sweep_is_whole)
            run_set_meta_script(r, false);
        run_save_meta(r);
        coordinator_must_save(&r->work.coordinator);
        log_info("%s: swept", r->user.pipeline.name);
    }
    if (f->sweep || !sweep_is_due(&f->due, r->user.pipeline.sweep, clock_mono_us()))
        return true;
    if (!run_report_hidden(r, false, e))
        return false;
    f->sweep_is_whole = !r->state.data.sweep_after;
    f->sweep = feed_sweep(source_of(f), &r->servers.pool, r->servers.es, run_index_to_search(r),
                          r->state.dead, r->work.chunk, r->state.data.sweep_after, e);
    coordinator_set(&r->work.coordinator, lane, f->sweep);
    if (f->sweep)
        log_info("%s: sweeping", r->user.pipeline.name);
    return f->sweep != NULL;
}

/* ---- reloading the script ---- */

/* All others follow from where the state stands, and everything is due to be swept. */
static bool go_on(struct following *f, bool reloaded, struct err *e)
{
    struct run *r = f->run;
    coordinator_must_save(&r->work.coordinator); /* or a crash forgets the sweep */
    look_when_due(f);
    if (reloaded) {
        log_info("%s: reloaded '%s'", r->user.pipeline.name, r->user.text.path);
        report_sweeps(r);
        if (r->user.pipeline.sweep == 0) /* else one makes all documents anew */
            run_warn_script(r);
    }
    return open_feeds(f, e);
}

/* Goes on with another script (or none: with the same), or in another index (run_check_index).
 * Everything that was fetched before is acknowledged first. */
static bool restart(struct following *f, struct run_script *fresh, struct err *e)
{
    struct run *r = f->run;
    bool reloaded = fresh;
    for (size_t i = 0; i < r->work.coordinator.n_lanes; i++)
        coordinator_set(&r->work.coordinator, i, NULL);
    if (!coordinator_drain(&r->work.coordinator, e))
        return false;
    free_feeds(f);
    run_state_want_sweep(
        &r->state); /* documents are made differently, or the index is another one */
    return run_restart(r, fresh, e) && go_on(f, reloaded, e);
}

/* After a failure: a table that was altered ends nothing that the script still fits. */
static bool anew(struct following *f, struct err *e)
{
    free_feeds(f);
    if (!run_recover_altered(f->run, e))
        return false;
    run_state_want_sweep(&f->run->state);
    return go_on(f, true, e);
}

/* A reindex was made by the script as it is now, so that is read then, too. */
static bool reload(struct following *f, struct err *e)
{
    struct run_script fresh = {0};
    struct err why;
    bool ok =
        run_open_script(&fresh, f->run->user.text.path, &why) &&
        run_check_reload(f->run, &fresh, &why) &&
        run_bind_script(&fresh, &f->run->servers.pool, &f->run->work.progress.expected, &why) &&
        (f->run->index.replaced || run_fit_index(f->run, &fresh, &why));
    if (!ok)
        log_error("script not reloaded, the old one goes on: %s", why.text);
    if (ok || f->run->index.replaced)
        ok = restart(f, ok ? &fresh : NULL, e);
    else
        ok = true;
    run_close_script(&fresh);
    return ok;
}

/* Nothing is under way while a reindex swaps: no request that the old index gets alone, no search
 * that misses what the old one had. */
static bool hold_still(struct following *f, struct err *e)
{
    bool ok = coordinator_settle(&f->run->work.coordinator, e);
    f->checked_us = 0; /* the index may be another one afterwards */
    return ok && (quiesce_pause(f->run->state.file) || stop_err(e));
}

/* ---- the loop ---- */

static int64_t wait_ms(const struct following *f)
{
    int64_t left = (f->look_us - clock_mono_us() + 999) / 1000;
    return left < 0 ? 0 : left < TICK_MS ? left : TICK_MS;
}

static bool round_of(struct following *f, struct err *e)
{
    struct run *r = f->run;
    bool moved;
    int64_t now = clock_mono_us();
    if (quiesce_is_asked(r->state.file) && !hold_still(f, e))
        return false;
    if (now >= f->look_us) {
        f->look_us = now + (int64_t)(r->user.pipeline.poll_interval * 1e6);
        poll_again(f);
    }
    if (now - f->checked_us >= CHECK_US) {
        f->checked_us = now;
        if (!run_check_index(r, e) && e->kind != ERR_PASSING)
            return false;
        if (r->index.replaced && !reload(f, e))
            return false;
    }
    /* a sweep has to get by with what it began with */
    if (now - f->guarded_us >= GUARD_US && !f->sweep) {
        f->guarded_us = now;
        coordinator_must_save(&r->work.coordinator);
        if (!run_patiently(r, run_count_documents, e) || !run_patiently(r, run_guard, e))
            return false;
    }
    if (now - f->window_us >= WINDOW_US) {
        f->window_us = now;
        coordinator_begin_window(&r->work.coordinator);
    }
    if (!advance_sweep(f, e) || (stop_reload_asked() && !reload(f, e)) ||
        !coordinator_round(&r->work.coordinator, &moved, e))
        return false;
    tell(f, now);
    if (!moved)
        queue_wait(r->work.flow.queue, wait_ms(f));
    return true;
}

bool run_follow(struct run *r, struct err *e)
{
    struct following f = {.run = r, .guarded_us = clock_mono_us(), .window_us = clock_mono_us()};
    coordinator_begin_window(
        &r->work.coordinator); /* what the load rejected is told, and on disk */
    log_info("%s: following, every %g s", r->user.pipeline.name, r->user.pipeline.poll_interval);
    run_warn_repeated(r); /* of the load */
    r->work.progress.terminal = false;
    quiesce_allow(r->state.file);
    report_sweeps(r);
    look_when_due(&f);
    bool ok = open_feeds(&f, e);
    do
        while (ok)
            ok = round_of(&f, e);
    while ((ok = anew(&f, e)));
    free_feeds(&f);
    struct err why = *e;
    if (e->kind != ERR_NONE)
        queue_fail(r->work.flow.queue, e);
    coordinator_keep(&r->work.coordinator, e);
    /* what does not fit any more says more than what failed because of it */
    if (why.kind == ERR_USAGE)
        *e = why;
    return false;
}
