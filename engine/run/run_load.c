#include "run/run_load.h"

#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "feed/feed.h"
#include "model/batch.h"
#include "run/run.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_meta.h"
#include "run/run_state.h"
#include "run/run_warn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the state ---- */

/* ---- what holds a poll back, and what it cannot see ---- */

/* ---- carrying ---- */

/* One feed over the whole. */
static bool carry(struct run *r, struct feed *f, struct err *e)
{
    if (!f)
        return false;
    coordinator_set(&r->work.coordinator, run_scan_lane(r), f);
    bool ok = coordinator_drain(&r->work.coordinator, e);
    coordinator_set(&r->work.coordinator, run_scan_lane(r), NULL);
    feed_free(f);
    return ok;
}

static bool carry_snapshot(struct run *r, struct err *e)
{
    return carry(
        r, feed_snapshot(&r->user.source, &r->servers.pool, r->state.data.after, r->work.chunk, e),
        e);
}

struct start_query {
    struct run *run;
    size_t table;
    struct feed_poll_start *start;
};

static bool read_poll_start(void *arg, struct err *e)
{
    struct start_query *q = arg;
    struct run *r = q->run;
    return feed_poll_start_read(&r->user.source, &r->servers.pool, q->table, q->start, e);
}

struct feed *run_poll_table(struct run *r, size_t table, bool to_the_limit, struct err *e)
{
    struct feed_poll_start start = {0};
    struct feed *f = NULL;
    struct start_query q = {r, table, &start};
    if (retry_until(r->servers.give_up_after, read_poll_start, &q, e) &&
        run_bind_server(r, start.server, e)) {
        if (table == 0 && to_the_limit) /* who follows tells it now and then */
            run_warn_horizon(r, &start.report);
        f = feed_poll(&r->user.source, &r->servers.pool, r->servers.es, table,
                      &r->state.data.tables[table].checkpoint, &start, to_the_limit, e);
    }
    feed_poll_start_free(&start);
    return f;
}

bool run_changes(struct run *r, struct err *e)
{
    size_t n = r->user.source.n_tables;
    struct feed **feeds = calloc(n, sizeof *feeds);
    bool ok = feeds || err_memory(e);
    for (size_t i = 0; ok && i < n; i++) {
        if (!r->user.source.tables[i].cursor)
            continue;
        ok = (feeds[i] = run_poll_table(r, i, true, e));
        coordinator_set(&r->work.coordinator, i, feeds[i]);
        if (ok && r->options.dry_run) /* one after the other: the output has an order */
            ok = coordinator_drain(&r->work.coordinator, e);
    }
    r->work.progress.expected = 0;
    ok = ok && coordinator_drain(&r->work.coordinator, e);
    for (size_t i = 0; feeds && i < n; i++) {
        coordinator_set(&r->work.coordinator, i, NULL);
        feed_free(feeds[i]);
    }
    free(feeds);
    return ok;
}

/* Where to follow the table's changes from. */
static bool begin_mark(struct run *r, size_t table, const struct feed_poll_start *start,
                       struct err *e)
{
    const struct source_report *report = &start->report;
    struct watermark_rule rule = source_rule(&r->user.source, table, report->standby);
    bool known =
        !report->standby && !report->hidden && (rule.is_time || report->mark.oldest_us == 0);
    return watermark_begin(&rule, &report->mark, &start->last, known,
                           &r->state.data.tables[table].checkpoint) ||
           err_memory(e);
}

/* Notes the positions to follow the changes from, before anything is read. */
static bool begin_snapshot(struct run *r, struct err *e)
{
    run_state_begin_load(&r->state);
    if (!run_bind_state(r, e))
        return false;
    for (size_t i = 0; i < r->user.source.n_tables; i++) {
        struct feed_poll_start start = {0};
        if (!r->user.source.tables[i].cursor)
            continue;
        bool ok = feed_poll_start_read(&r->user.source, &r->servers.pool, i, &start, e);
        ok = ok && run_bind_server(r, start.server, e) && begin_mark(r, i, &start, e) &&
             run_report_table(r, i, start.report.standby, e);
        feed_poll_start_free(&start);
        if (!ok)
            return false;
    }
    return true;
}

static bool check_fields(struct run *r, struct err *e)
{
    return run_check_fields(r, &r->user, true, e);
}

static bool load_everything(struct run *r, const char *why, struct err *e)
{
    if (why) {
        run_warn_lost_state(r);
        log_info("%s: loading everything: %s", r->user.pipeline.name, why);
        if (!r->user.pipeline.source.cursor)
            log_info("%s: the script names no cursor, so each run compares every row",
                     r->user.pipeline.name);
        if (!run_patiently(r, begin_snapshot, e) || !coordinator_save(&r->work.coordinator, e))
            return false;
        r->index.is_new = false; /* from now on the load is under way, and may be resumed */
        run_set_meta_script(r, true);
        run_save_meta(r);
    } else {
        if (r->state.data.after)
            log_info("%s: resuming the load after key '%s'", r->user.pipeline.name,
                     r->state.data.after);
        else
            log_info("%s: resuming the load: no chunk of it was complete yet",
                     r->user.pipeline.name);
        if (r->state.data.after)
            run_warn_script(r);
        if (!run_bind_state(r, e))
            return false;
    }
    if (!carry_snapshot(r, e))
        return false;
    run_state_end_load(&r->state);
    r->work.coordinator.again =
        true; /* what follows was loaded for the most part, and shall not count twice */
    /* the index was empty before */
    return coordinator_save(&r->work.coordinator, e) && run_patiently(r, run_guard, e) &&
           run_patiently(r, check_fields, e) && run_patiently(r, run_warn_nothing_made, e);
}

/* All of it: one that was broken off, perhaps long ago, has not seen what has changed since then
 * before the key that it came to. */
bool run_sweep(struct run *r, struct err *e)
{
    if (!run_report_hidden(r, false, e))
        return false;
    log_info("%s: sweeping", r->user.pipeline.name);
    if (!carry(r,
               feed_sweep(&r->user.source, &r->servers.pool, r->servers.es, run_index_to_search(r),
                          r->state.dead, r->work.chunk, NULL, e),
               e))
        return false;
    run_state_swept(&r->state);
    run_set_meta_script(r, false);
    return coordinator_save(&r->work.coordinator, e);
}

/* ---- --since ---- */

/* loaded: what lies before the state's marks is in the index. */
static bool since_table(struct run *r, struct pg *pg, size_t table, bool loaded, struct err *e)
{
    const struct source_table *t = &r->user.source.tables[table];
    struct position since = {0};
    bool covered = false;
    if (!t->cursor || (table > 0 && !t->cursor_is_time))
        return true; /* a number's place is not known by a time */
    bool ok = source_since(&r->user.source, pg, table, r->options.since, &since, e);
    if (ok && table == 0 && loaded)
        ok = source_not_above(&r->user.source, pg, &since, &r->state.data.tables[0].checkpoint.at,
                              &covered, e);
    if (ok && table == 0 && !covered && r->state.file) {
        log_info("the state stays as it is: what changed before %s may not be in the index",
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
    if (!r->user.pipeline.source.cursor)
        return err_set(e, ERR_USAGE,
                       "option --since needs a cursor: the script names none in source");
    return run_patiently(r, begin_since, e) && run_changes(r, e);
}

/* ---- the whole ---- */

static bool catch_up(struct run *r, struct err *e)
{
    if (!run_bind_state(r, e))
        return false;
    coordinator_must_save(&r->work.coordinator); /* a bare file becomes a full one */
    return run_changes(r, e);
}

/* Each table is followed from a mark of its own; the root's stands for them. */
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
    if (r->user.pipeline.source.cursor)
        log_info("%s: reading what changed since %s%s", r->user.pipeline.name,
                 at->cursor ? at->cursor : "the beginning", others);
    else
        log_info("%s: comparing every row: the script names no cursor", r->user.pipeline.name);
    run_warn_script(r);
}

/* A root without a cursor is up to date once it has been loaded, from the first row on, or swept;
 * who follows sweeps it beside what else changes. */
static bool needs_sweep(struct run *r, bool loaded)
{
    bool looks = r->user.pipeline.source.cursor || loaded;
    if (r->options.follow && !looks)
        r->state.data.swept_us = 0; /* due at once: --follow begins up to date */
    return r->options.sweep || (!looks && !r->options.follow);
}

bool run_load(struct run *r, struct err *e)
{
    if (!run_report_hidden(r, true, e))
        return false;
    if (r->keys) {
        const char *const *keys = (const char *const *)r->keys->keys;
        return carry(r, feed_list(&r->user.source, &r->servers.pool, keys, r->keys->n, e), e);
    }
    if (r->options.since)
        return run_since(r, e);
    if (run_is_partial(r) || r->options.dry_run) {
        free(r->state.data.after); /* from the first key, wherever the state stands */
        r->state.data.after = NULL;
        return carry_snapshot(r, e);
    }
    const char *why = run_why_full(r);
    bool whole = why || r->state.data.phase == STATE_SNAPSHOT;
    if (!whole)
        report_changes(r);
    else if (!load_everything(r, why, e))
        return false;
    bool ok = catch_up(r, e);
    r->work.coordinator.again = false;
    return ok && (!needs_sweep(r, why) || run_sweep(r, e));
}
