#include "run/run_load.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "feed/feed.h"
#include "index/index.h"
#include "index/routed.h"
#include "model/batch.h"
#include "run/run.h"
#include "run/run_capture.h"
#include "run/run_chosen.h"
#include "run/run_feeds.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_meta.h"
#include "run/run_state.h"
#include "run/run_warn.h"
#include "run/vitals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- feeds ---- */

bool run_drain_scan(struct run *r, struct feed *f, struct err *e)
{
    if (!f)
        return false;
    coordinator_set_feed(&r->work.coordinator, run_scan_lane(r), f);
    bool ok = coordinator_drain(&r->work.coordinator, e);
    coordinator_set_feed(&r->work.coordinator, run_scan_lane(r), NULL);
    feed_free(f);
    return ok;
}

static bool drain_snapshot(struct run *r, struct err *e)
{
    struct feed_origin origin = run_feed_origin(r);
    /* of a load that goes on nobody knows how much is left */
    progress_begin(&r->work.progress, "loading", !run_is_partial(r) && !r->state.data.after);
    struct feed *f = feed_snapshot(&origin, r->state.data.after, r->work.chunk, e);
    return run_drain_scan(r, f, e);
}

bool run_changes(struct run *r, struct err *e)
{
    progress_begin(&r->work.progress, "reading changes", false);
    if (r->capture)
        return run_catch_up_capture(r, e);
    struct run_feeds f;
    bool ok = run_feeds_open(&f, r, true, e) && coordinator_drain(&r->work.coordinator, e);
    run_feeds_close(&f, r);
    return ok;
}

/* ---- the first load ---- */

/* Chooses where to follow the table's changes from. */
static bool begin_table(struct run *r, size_t table, const struct feed_poll_start *start,
                        struct err *e)
{
    const struct source_report *report = &start->report;
    struct watermark_rule rule = source_rule(&r->user.source, table, report->standby);
    bool known =
        !report->standby && !report->hidden && (rule.is_time || report->watermark.oldest_us == 0);
    return watermark_begin(&rule, &report->watermark, &start->last, known,
                           &r->state.data.tables[table].checkpoint) ||
           err_memory(e);
}

static bool bind_state(struct run *r, struct err *e)
{
    return run_bind_state(r, e) && run_bind_capture(r, e);
}

/* A load sends what the rows are now. Of the documents that the index has already, those whose rows
 * are gone are found by a sweep alone. */
static bool owe_sweep(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    bool any;
    if (!run_has_documents(r, &any, e))
        return false;
    if (!any)
        return true;
    run_state_owe_sweep(&r->state);
    if (p->source.wal || (r->options.follow && p->sweep > 0))
        log_info_with(LOG_FIELDS(log_text("index", p->sink.index)),
                      "%s: '%s' has documents already: a sweep follows the load, and deletes those "
                      "whose rows are gone",
                      p->name, p->sink.index);
    return true;
}

/* Before anything is read: saves where the changes are to be followed from. */
static bool begin_snapshot(struct run *r, struct err *e)
{
    run_state_begin_load(&r->state);
    if (!owe_sweep(r, e))
        return false;
    if (!bind_state(r, e) || !run_begin_capture(r, e))
        return false;
    for (size_t i = 0; i < r->user.source.n_tables; i++) {
        struct feed_poll_start start = {0};
        if (!r->user.source.tables[i].cursor)
            continue;
        struct feed_origin origin = run_feed_origin(r);
        bool ok = feed_poll_start_read(&origin, i, &start, e);
        ok = ok && run_bind_server(r, start.server, e) && begin_table(r, i, &start, e) &&
             run_report_table(&r->user.source, &r->servers.pool, i, start.report.standby, e);
        feed_poll_start_free(&start);
        if (!ok)
            return false;
    }
    return true;
}

static bool begin_load(struct run *r, const char *why, struct err *e)
{
    run_warn_lost_state(r);
    log_info("%s: loading everything: %s", r->user.pipeline.name, why);
    if (!r->user.pipeline.source.cursor && !r->capture)
        log_info("%s: source has no cursor, so each run compares every row", r->user.pipeline.name);
    if (!run_patiently(r, begin_snapshot, e) || !coordinator_save(&r->work.coordinator, e))
        return false;
    run_index_is_loading(r);
    run_forget_chosen(r);
    return true;
}

static bool resume_load(struct run *r, struct err *e)
{
    const char *after = r->state.data.after;
    if (after) {
        log_info_with(LOG_FIELDS(log_text("key", after)), "%s: resuming the load after key '%s'",
                      r->user.pipeline.name, after);
        run_warn_script(r);
    } else {
        log_info("%s: resuming the load: no chunk of it was complete yet", r->user.pipeline.name);
    }
    return bind_state(r, e);
}

static bool check_fields(struct run *r, struct err *e)
{
    return run_check_fields(r, &r->user, true, e);
}

/* An ingest pipeline may set `_routing` for some documents, which no answer tells: a sweep then
 * ends the run, or puts right what was there before. */
static bool look_for_routed(struct run *r, struct err *e)
{
    struct es *es = r->servers.es;
    struct routed_search search = {r->user.pipeline.sink.index, run_index_to_search(r),
                                   "a sweep follows the load, and writes them again without it"};
    struct index_scan *scan = NULL;
    if (r->user.pipeline.sink.multi_index)
        return true;
    bool ok = (index_refresh(es, search.index, e) || e->kind == ERR_FINAL) &&
              routed_open(es, &search, &scan, e);
    r->index.routed = scan;
    index_scan_close(scan);
    return ok;
}

/* why: NULL: a load that was interrupted goes on. */
static bool load_everything(struct run *r, const char *why, struct err *e)
{
    if (!(why ? begin_load(r, why, e) : resume_load(r, e)))
        return false;
    vitals_load(r->vitals, r->work.progress.expected);
    if (!drain_snapshot(r, e))
        return false;
    vitals_loaded(r->vitals);
    run_state_end_load(&r->state);
    /* the changes until then were mostly loaded, and must not be counted twice */
    r->work.coordinator.just_loaded = true;
    /* the guard counted the index while it was empty */
    return coordinator_save(&r->work.coordinator, e) && run_patiently(r, run_guard, e) &&
           run_reject_keyless(r, true, e) && run_patiently(r, look_for_routed, e) &&
           run_patiently(r, check_fields, e) && run_patiently(r, run_warn_nothing_made, e);
}

/* ---- a sweep ---- */

/* From the first row, even if one was interrupted: rows before its last key may have changed
 * since. */
bool run_sweep(struct run *r, struct err *e)
{
    if (!run_report_hidden(r, false, e) || !run_reject_keyless(r, false, e))
        return false;
    log_info("%s: sweeping", r->user.pipeline.name);
    progress_begin(&r->work.progress, "sweeping", true);
    vitals_phase(r->vitals, VITALS_SWEEPING, NULL, -1);
    struct feed_origin origin = run_feed_origin(r);
    struct feed_sweep_config config = {
        .index = run_index_to_search(r), .dead = r->state.dead, .chunk = r->work.chunk};
    struct feed *f = feed_sweep(&origin, &config, e);
    run_state_set_sweeping(&r->state, true);
    if (!run_drain_scan(r, f, e))
        return false;
    run_state_swept(&r->state);
    vitals_swept(r->vitals, clock_wall_us());
    run_set_meta_script(r, false);
    return run_chosen_swept(r, e) && coordinator_save(&r->work.coordinator, e);
}

/* ---- --since ---- */

/* loaded: all changes before the state's checkpoints are in the index. */
static bool since_table(struct run *r, struct pg *pg, size_t table, bool loaded, struct err *e)
{
    const struct source_table *t = &r->user.source.tables[table];
    struct position since = {0};
    bool covered = false;
    if (!t->cursor || (table > 0 && !t->cursor_is_time))
        return true; /* a time says nothing about a cursor that is a number */
    struct source_reader reader = source_reader(&r->user.source, table, pg);
    bool ok = source_since(&reader, r->options.since, &since, e);
    if (ok && since.has_us && clock_is_ahead(since.us))
        ok = err_set(e, ERR_USAGE,
                     "cannot read changes since '%s', which is in the future: there are none; give "
                     "a time in the past",
                     r->options.since);
    if (ok && table == 0 && loaded)
        ok = source_not_above(&reader, &since, &r->state.data.tables[0].checkpoint.at, &covered, e);
    if (ok && table == 0 && !covered && r->state.file) {
        log_info_with(LOG_FIELDS(log_text("since", r->options.since)),
                      "the state stays as it is: changes before %s may not be in the index",
                      r->options.since);
        run_state_freeze(r);
    }
    ok = ok && (checkpoint_begin(&r->state.data.tables[table].checkpoint, &since) || err_memory(e));
    position_free(&since);
    return ok;
}

static bool begin_since(struct run *r, struct err *e)
{
    bool loaded = !r->options.dry_run && r->state.data.phase == STATE_FOLLOWING && !run_why_full(r);
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    bool ok = pg && run_bind_state(r, e);
    for (size_t i = 0; ok && i < r->user.source.n_tables; i++)
        ok = since_table(r, pg, i, loaded, e);
    pg_release(&r->servers.pool, pg);
    if (ok)
        r->state.data.phase = STATE_FOLLOWING;
    return ok;
}

static bool run_since(struct run *r, struct err *e)
{
    if (r->user.pipeline.source.wal)
        return err_set(e, ERR_USAGE,
                       "option --since reads cursors, but source.capture is \"wal\": "
                       "to compare every row, --sweep");
    if (!r->user.pipeline.source.cursor)
        return err_set(e, ERR_USAGE, "option --since needs a cursor, but source has none");
    return run_patiently(r, begin_since, e) && run_changes(r, e);
}

/* ---- the whole ---- */

static bool catch_up(struct run *r, struct err *e)
{
    if (!bind_state(r, e))
        return false;
    coordinator_must_save(&r->work.coordinator); /* a file without JSON gets it */
    return run_changes(r, e);
}

/* Each table is followed from its own checkpoint; the root's is the one that is logged. */
static void report_changes(const struct run *r)
{
    const struct position *at =
        r->state.data.n_tables ? &r->state.data.tables[0].checkpoint.at : &r->state.data.mtime;
    size_t related = r->user.source.n_tables - 1;
    char tables[PROGRESS_TEXT], others[2 * PROGRESS_TEXT] = "";
    if (related > 0)
        snprintf(others, sizeof others, "; in %s since its own last change",
                 progress_count(related, "related table", tables));
    if (related > 1)
        snprintf(others, sizeof others, "; in %s since their own last changes",
                 progress_count(related, "related table", tables));
    if (r->capture)
        log_info_with(LOG_FIELDS(log_text("slot", r->user.pipeline.source.slot)),
                      "%s: reading changes from slot '%s'", r->user.pipeline.name,
                      r->user.pipeline.source.slot);
    else if (r->user.pipeline.source.cursor)
        log_info_with(LOG_FIELDS(log_text("since", at->cursor),
                                 log_int("related_tables", (long long)related)),
                      "%s: reading changes since %s%s", r->user.pipeline.name,
                      at->cursor ? at->cursor : "the beginning", others);
    else
        log_info("%s: comparing every row: source has no cursor", r->user.pipeline.name);
    run_warn_script(r);
}

/* A root without a cursor is up to date once it has been loaded from its first row into an empty
 * index, or swept; run_follow sweeps it while it polls the other tables. The log has all changes,
 * but for those that a sweep is owed for. */
static bool needs_sweep(struct run *r, bool loaded)
{
    bool swept = r->state.data.swept_us != 0;
    bool up_to_date = r->capture ? swept : r->user.pipeline.source.cursor || (loaded && swept);
    up_to_date = up_to_date && !r->index.routed;
    if (r->options.follow && !up_to_date)
        r->state.data.swept_us = 0; /* due at once: --follow begins up to date */
    return r->options.sweep || ((!up_to_date || run_lacks_chosen(r)) && !r->options.follow);
}

bool run_load(struct run *r, struct err *e)
{
    vitals_phase(r->vitals, VITALS_LOADING, NULL, -1);
    if (!run_report_hidden(r, true, e))
        return false;
    if (r->keys) {
        const char *const *keys = (const char *const *)r->keys->keys;
        struct feed_origin origin = run_feed_origin(r);
        progress_begin(&r->work.progress, "reading keys", false);
        return run_drain_scan(r, feed_list(&origin, keys, r->keys->n, e), e);
    }
    if (r->options.since)
        return run_since(r, e);
    if (run_is_partial(r) || r->options.dry_run) {
        free(r->state.data.after); /* from the first key, whatever the state says */
        r->state.data.after = NULL;
        return drain_snapshot(r, e);
    }
    const char *why = run_why_full(r);
    bool whole = why || r->state.data.phase == STATE_SNAPSHOT;
    if (!whole && !run_patiently(r, run_check_chosen, e))
        return false;
    if (!whole)
        report_changes(r);
    else if (!load_everything(r, why, e))
        return false;
    bool ok = catch_up(r, e);
    r->work.coordinator.just_loaded = false;
    ok = ok && run_patiently(r, run_check_chosen, e);
    return ok && (!needs_sweep(r, why) || run_sweep(r, e));
}
