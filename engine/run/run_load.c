#include "run/run.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/text.h"
#include "flow/queue.h"
#include "store/deadletter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool run_is_partial(const struct run *r)
{
    return r->keys || r->o.limit > 0;
}

size_t run_scan_lane(const struct run *r)
{
    return r->user.source.n_tables;
}

/* ---- the state ---- */

/* A table that the state does not know begins where the file was touched to, or at its very first
 * row. */
static bool begin_table(const struct run *r, const struct source_table *t, struct checkpoint *m,
                        struct err *e)
{
    if (!r->data.mtime.cursor || !t->cursor_is_time)
        return true;
    return checkpoint_begin(m, &r->data.mtime) || err_memory(e);
}

/* "id, kind": owned by the caller; NULL: no memory. */
static char *join(char *const *texts, size_t n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        buf_adds(&b, i ? ", " : "");
        buf_adds(&b, texts[i]);
    }
    char *text = buf_cstr(&b) ? strdup(b.data) : NULL;
    buf_free(&b);
    return text;
}

/* What a mark of that table is of, by the script and the database as they are now. */
static bool name_columns(const struct run *r, size_t table, struct state_table *t, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    const struct source_key *k = &r->user.source.tables[table].key;
    const struct pipeline_names *key =
        table == 0 ? &p->source.key : &p->source.related[table - 1].key;
    const char *cursor = table == 0 ? p->source.cursor : p->source.related[table - 1].cursor;
    t->key = join(key->list, key->n);
    t->types = join(k->types, k->n);
    t->cursor = cursor ? strdup(cursor) : NULL;
    return (t->key && t->types && (!cursor || t->cursor)) || err_memory(e);
}

static bool differ(const char *noted, const char *now)
{
    return noted && now && strcmp(noted, now) != 0;
}

/* What a mark says, it says of its columns: for others the table begins anew. */
static bool sign_table(struct run *r, size_t table, struct state_table *t, struct state_table *old,
                       struct err *e)
{
    bool same = old && !differ(old->key, t->key) && !differ(old->cursor, t->cursor) &&
                (table == 0 || !differ(old->types, t->types)); /* of the root's: run_check_key */
    if (same) {
        checkpoint_move(&t->checkpoint, &old->checkpoint);
        return true;
    }
    if (old && old->checkpoint.at.cursor)
        log_info(
            "%s: reading '%s' from its first row on: the script has another key or cursor for it",
            r->user.pipeline.name, r->user.source.tables[table].label);
    return begin_table(r, &r->user.source.tables[table], &t->checkpoint, e);
}

/* Whether the last key that the state holds can be one, now that the column's type is another. An
 * int that has become a bigint makes no difference. */
static bool key_still_fits(struct run *r, const struct state_table *t, bool *fits, struct err *e)
{
    const char *last = r->data.after ? r->data.after : t->checkpoint.at.key;
    struct keylist list = {0};
    struct pg *pg = last ? pg_acquire(&r->pool, e) : NULL;
    *fits = !last || (pg && source_canonical(&r->user.source, pg, &last, 1, &list, e) &&
                      list.n == 1 && strcmp(list.keys[0], last) == 0);
    bool ok = *fits || !pg || list.n > 0 || e->kind == ERR_USAGE;
    keylist_free(&list);
    pg_release(&r->pool, pg);
    return (pg || !last) && ok;
}

static bool other_key(const struct run *r, const struct state_table *noted,
                      const struct state_table *now, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    err_set(e, ERR_USAGE,
            "source.key is '%s' (%s), but what index '%s' holds was made with '%s' (%s): its "
            "documents have "
            "other ids",
            now->key, now->types, r->data.index ? r->data.index : p->sink.index, noted->key,
            noted->types ? noted->types : "?");
    pipeline_at_line(e, p, p->source.key_line);
    return err_hint(e,
                    "'etl-engine reindex %s' makes a new index; or --full --sweep: loads "
                    "everything, then deletes "
                    "the documents of the key before",
                    p->script);
}

bool run_check_key(struct run *r, struct err *e)
{
    const struct state_table *noted = r->data.n_tables ? &r->data.tables[0] : NULL;
    struct state_data now = {0};
    if (!noted || r->o.full || strcmp(noted->name, r->user.source.tables[0].name) != 0)
        return true;
    struct state_table *t = state_table(&now, noted->name);
    bool ok = (t || err_memory(e)) && name_columns(r, 0, t, e), fits = true;
    if (ok && !differ(noted->key, t->key) && differ(noted->types, t->types))
        ok = key_still_fits(r, noted, &fits, e);
    if (ok && (differ(noted->key, t->key) || !fits))
        ok = other_key(r, noted, t, e);
    state_data_free(&now);
    return ok;
}

static bool sign_tables(struct run *r, struct err *e)
{
    const struct source *s = &r->user.source;
    struct state_data old = {.tables = r->data.tables, .n_tables = r->data.n_tables};
    r->data.tables = NULL;
    r->data.n_tables = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < s->n_tables; i++) {
        struct state_table *t = state_table(&r->data, s->tables[i].state_name);
        size_t k = 0;
        while (k < old.n_tables && strcmp(old.tables[k].name, s->tables[i].state_name) != 0)
            k++;
        ok = (t || err_memory(e)) && name_columns(r, i, t, e) &&
             sign_table(r, i, t, k < old.n_tables ? &old.tables[k] : NULL, e);
    }
    state_data_free(&old);
    return ok;
}

bool run_bind_state(struct run *r, struct err *e)
{
    r->data.bare = false;
    if (!text_set(&r->data.pipeline, r->user.pipeline.name) ||
        !text_set(&r->data.index, r->user.pipeline.sink.index) ||
        (!r->o.dry_run && !text_set(&r->data.index_uuid, r->index.uuid)))
        return err_memory(e);
    return sign_tables(r, e);
}

/* Why everything has to be read, or NULL. */
static const char *why_full(const struct run *r)
{
    const struct state_data *d = &r->data;
    if (r->o.full)
        return "asked to";
    if (d->phase == STATE_NEW)
        return "there is no state yet";
    if (r->index_created)
        return "the index did not exist, though the state says it was loaded";
    if (!d->bare && strcmp(d->index_uuid, r->index.uuid) != 0)
        return "the index is not the one that was loaded";
    if (d->bare && r->user.pipeline.source.cursor && !r->user.source.tables[0].cursor_is_time)
        return "the state file holds a time alone, and the cursor is a number";
    if (d->n_tables > 0 && strcmp(d->tables[0].name, r->user.source.tables[0].name) != 0)
        return "the state is that of another table";
    if (d->n_tables > 0 && differ(d->tables[0].cursor, r->user.pipeline.source.cursor))
        return "the script has another cursor";
    return NULL;
}

/* ---- what holds a poll back, and what it cannot see ---- */

void run_tell_horizon(const struct run *r, const struct source_report *report)
{
    struct watermark_rule rule = source_rule(&r->user.source, 0, report->standby);
    if (watermark_is_over_limit(&rule, &report->mark))
        log_warn("%s: the transaction of %s has been open for %lld s, longer than horizon_limit: "
                 "what it has "
                 "written is read once it has ended",
                 r->user.pipeline.name, report->who,
                 (long long)((report->mark.clock_us - report->mark.oldest_us) / 1000000));
}

static bool look_for_rows(struct run *r, size_t table, bool *any, struct err *e)
{
    struct pg *pg = pg_acquire(&r->pool, e);
    bool ok = pg && source_has_rows(&r->user.source, pg, table, any, e);
    pg_release(&r->pool, pg);
    return ok;
}

static bool has_rows(struct run *r, size_t table, bool *any, struct err *e)
{
    struct retry retry;
    retry_start(&retry, r->give_up_after);
    while (!look_for_rows(r, table, any, e))
        if (!retry_again(&retry, e))
            return false;
    retry_done(&retry);
    return true;
}

bool run_tell_hidden(struct run *r, bool at_start, struct err *e)
{
    const struct source *s = &r->user.source;
    bool told = r->hidden_told, any = false;
    for (size_t i = 0; i < s->n_tables; i++) {
        if (!s->tables[i].row_security)
            continue;
        if (!has_rows(r, i, &any, e))
            return false;
        if (any && at_start)
            log_info(
                "row security is active in '%s' for this user: rows that its policies hide are not "
                "there for us",
                s->tables[i].label);
        if (!any && !told) {
            log_warn("no row of '%s' can be seen: its row security is active for this user; a "
                     "policy for "
                     "that user, "
                     "or ALTER ROLE ... BYPASSRLS, shows what there is",
                     s->tables[i].label);
            r->hidden_told = true;
        }
    }
    return true;
}

static bool tell_table(struct run *r, size_t table, bool standby, struct err *e)
{
    const struct source *s = &r->user.source;
    struct watermark_rule rule = source_rule(s, table, standby);
    const char *label = s->tables[table].label;
    struct buf sql;
    bool unseen, indexed;
    struct pg *pg = pg_acquire(&r->pool, e);
    buf_init(&sql, 1 << 16);
    bool ok = pg && source_has_index(s, pg, table, &indexed, &sql, e) &&
              source_unseen(s, pg, table, &unseen, e);
    pg_release(&r->pool, pg);
    if (ok && !indexed && buf_cstr(&sql))
        log_info("no index begins with the cursor of '%s', so each look for changes reads the "
                 "whole table: %s",
                 label, buf_cstr(&sql));
    if (ok && unseen)
        log_info("rows of '%s' whose cursor is NULL or infinite are not seen when they change: "
                 "only a sweep "
                 "finds them",
                 label);
    if (ok && !rule.is_ruled)
        log_info("rows of '%s' do not appear by this server's own transactions (it is a standby, "
                 "or this is a "
                 "view, a materialized view, a foreign table or a subscription): one that appears "
                 "more than "
                 "%g s after it got its cursor may only be found by a sweep (source.lookback)",
                 label, (double)rule.lookback_us / 1e6);
    buf_free(&sql);
    return ok;
}

/* What was just loaded counts. Where we may not refresh, the server's own refreshes have to do. */
static bool count_documents(struct run *r, int64_t *count, struct err *e)
{
    const char *index = run_reads(r);
    return (index_refresh(r->es, index, e) || e->kind == ERR_FINAL) &&
           index_count(r->es, index, count, e);
}

bool run_guard(struct run *r, struct err *e)
{
    int64_t count;
    if (r->o.dry_run || r->o.allow_deletes)
        return true;
    if (!run_check_index(r, e) || !count_documents(r, &count, e))
        return false;
    if (r->data.documents == 0 || !r->data.index_uuid ||
        strcmp(r->data.index_uuid, r->index.uuid) != 0)
        r->data.documents = count;
    int64_t whole = r->data.documents > count ? r->data.documents : count, gone = whole - count;
    int64_t most = whole / 2 > RUN_FREE_DELETES ? whole / 2 : RUN_FREE_DELETES;
    queue_allow_deletes(r->queue, most > gone ? most - gone : 0);
    return true;
}

bool run_count(struct run *r, struct err *e)
{
    return count_documents(r, &r->data.documents, e);
}

/* ---- carrying ---- */

/* One feed over the whole. */
static bool carry(struct run *r, struct feed *f, struct err *e)
{
    if (!f)
        return false;
    coordinator_set(&r->coordinator, run_scan_lane(r), f);
    bool ok = coordinator_drain(&r->coordinator, e);
    coordinator_set(&r->coordinator, run_scan_lane(r), NULL);
    feed_free(f);
    return ok;
}

static bool carry_snapshot(struct run *r, struct err *e)
{
    return carry(r, feed_snapshot(&r->user.source, &r->pool, r->data.after, r->chunk, e), e);
}

static bool read_poll_start(struct run *r, size_t table, struct feed_poll_start *start,
                            struct err *e)
{
    struct retry retry;
    retry_start(&retry, r->give_up_after);
    while (!feed_poll_start_read(&r->user.source, &r->pool, table, start, e))
        if (!retry_again(&retry, e))
            return false;
    retry_done(&retry);
    return true;
}

/* The ids of transactions that the state holds are of one server; another one's mean something
 * else. */
static bool note_server(struct run *r, const char *server, struct err *e)
{
    struct state_data *d = &r->data;
    if (!server || (d->server && strcmp(d->server, server) == 0))
        return true;
    if (d->server)
        log_info(
            "%s: another PostgreSQL server than before answers: reading the last changes again",
            r->user.pipeline.name);
    for (size_t i = 0; d->server && i < d->n_tables; i++)
        watermark_forget_xids(&d->tables[i].checkpoint);
    return text_set(&d->server, server) || err_memory(e);
}

struct feed *run_poll_table(struct run *r, size_t table, bool to_the_limit, struct err *e)
{
    struct feed_poll_start start = {0};
    struct feed *f = NULL;
    if (read_poll_start(r, table, &start, e) && note_server(r, start.server, e)) {
        if (table == 0 && to_the_limit) /* who follows tells it now and then */
            run_tell_horizon(r, &start.report);
        f = feed_poll(&r->user.source, &r->pool, r->es, table, &r->data.tables[table].checkpoint,
                      &start, to_the_limit, e);
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
        coordinator_set(&r->coordinator, i, feeds[i]);
        if (ok && r->o.dry_run) /* one after the other: the output has an order */
            ok = coordinator_drain(&r->coordinator, e);
    }
    r->progress.expected = 0;
    ok = ok && coordinator_drain(&r->coordinator, e);
    for (size_t i = 0; feeds && i < n; i++) {
        coordinator_set(&r->coordinator, i, NULL);
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
                           &r->data.tables[table].checkpoint) ||
           err_memory(e);
}

/* Notes the positions to follow the changes from, before anything is read. */
static bool begin_snapshot(struct run *r, struct err *e)
{
    struct state_data *d = &r->data;
    for (size_t i = 0; i < d->n_tables; i++)
        checkpoint_free(&d->tables[i].checkpoint);
    position_free(&d->mtime);
    free(d->after);
    free(d->sweep_after);
    d->after = d->sweep_after = NULL;
    d->phase = STATE_SNAPSHOT;
    if (!run_bind_state(r, e))
        return false;
    for (size_t i = 0; i < r->user.source.n_tables; i++) {
        struct feed_poll_start start = {0};
        if (!r->user.source.tables[i].cursor)
            continue;
        bool ok = feed_poll_start_read(&r->user.source, &r->pool, i, &start, e);
        ok = ok && note_server(r, start.server, e) && begin_mark(r, i, &start, e) &&
             tell_table(r, i, start.report.standby, e);
        feed_poll_start_free(&start);
        if (!ok)
            return false;
    }
    return true;
}

void run_note_swept(struct run *r)
{
    r->data.swept_us = clock_wall_us();
    free(r->data.sweep_after);
    r->data.sweep_after = NULL;
}

static void end_snapshot(struct run *r)
{
    r->data.phase = STATE_FOLLOWING;
    free(r->data.after);
    r->data.after = NULL;
    run_note_swept(r); /* it saw every row */
}

/* A relative path is found from the current folder: from another one the state seems not to be
 * there. */
static void tell_lost_state(const struct run *r)
{
    const char *state = r->user.pipeline.state;
    bool relative = state[0] != '/', loaded = r->noted.known && !r->index_created;
    struct err ignored;
    int64_t count = 0;
    if (r->data.phase != STATE_NEW || !loaded || strcmp(r->noted.pipeline, r->meta.pipeline) != 0 ||
        /* made, but never filled */
        (index_count(r->es, r->index.name, &count, &ignored) && count == 0))
        return;
    char *folder = relative ? getcwd(NULL, 0) : NULL;
    log_warn(
        "%s: there is no state at '%s%s%s', but index '%s' was loaded by this pipeline before: %s",
        r->user.pipeline.name, folder ? folder : "", folder ? "/" : "", state, r->index.name,
        relative ? "is this the right folder? A relative state is found from the one where "
                   "etl-engine is "
                   "started"
                 : "was it moved, or removed?");
    free(folder);
}

static bool check_fields(struct run *r, struct err *e)
{
    return run_check_fields(r, &r->user, true, e);
}

/* A document() that lost its return value in some branch makes nothing, and says nothing. */
static bool tell_nothing_made(struct run *r, struct err *e)
{
    struct bulk_sums sums = queue_sums(r->queue);
    bool any = false;
    if (sums.indexed + sums.rejected + sums.unchanged + sums.same > 0)
        return true;
    if (!look_for_rows(r, 0, &any, e))
        return false;
    if (any)
        log_warn("%s: '%s' has rows, but none of them became a document: document() gave nil for "
                 "each, or the "
                 "query leaves them all out",
                 r->user.pipeline.name, r->user.source.tables[0].label);
    return true;
}

static bool load_everything(struct run *r, const char *why, struct err *e)
{
    if (why) {
        tell_lost_state(r);
        log_info("%s: loading everything: %s", r->user.pipeline.name, why);
        if (!r->user.pipeline.source.cursor)
            log_info("%s: the script names no cursor, so each run compares every row",
                     r->user.pipeline.name);
        if (!run_patiently(r, begin_snapshot, e) || !coordinator_save(&r->coordinator, e))
            return false;
        r->index_created = false; /* from now on the load is under way, and may be resumed */
        run_note_script(r, true);
        run_note(r);
    } else {
        if (r->data.after)
            log_info("%s: resuming the load after key '%s'", r->user.pipeline.name, r->data.after);
        else
            log_info("%s: resuming the load: no chunk of it was complete yet",
                     r->user.pipeline.name);
        if (r->data.after)
            run_tell_script(r);
        if (!run_bind_state(r, e))
            return false;
    }
    if (!carry_snapshot(r, e))
        return false;
    end_snapshot(r);
    r->coordinator.again =
        true; /* what follows was loaded for the most part, and shall not count twice */
    /* the index was empty before */
    return coordinator_save(&r->coordinator, e) && run_patiently(r, run_guard, e) &&
           run_patiently(r, check_fields, e) && run_patiently(r, tell_nothing_made, e);
}

/* All of it: one that was broken off, perhaps long ago, has not seen what has changed since then
 * before the key that it came to. */
bool run_sweep(struct run *r, struct err *e)
{
    if (!run_tell_hidden(r, false, e))
        return false;
    log_info("%s: sweeping", r->user.pipeline.name);
    if (!carry(
            r,
            feed_sweep(&r->user.source, &r->pool, r->es, run_reads(r), r->dead, r->chunk, NULL, e),
            e))
        return false;
    run_note_swept(r);
    run_note_script(r, false);
    return coordinator_save(&r->coordinator, e);
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
    bool ok = source_since(&r->user.source, pg, table, r->o.since, &since, e);
    if (ok && table == 0 && loaded)
        ok = source_not_above(&r->user.source, pg, &since, &r->data.tables[0].checkpoint.at,
                              &covered, e);
    if (ok && table == 0 && !covered && r->state) {
        log_info("the state stays as it is: what changed before %s may not be in the index",
                 r->o.since);
        r->state_stays = true;
        r->coordinator.state = NULL;
    }
    ok = ok && (checkpoint_begin(&r->data.tables[table].checkpoint, &since) || err_memory(e));
    position_free(&since);
    return ok;
}

static bool begin_since(struct run *r, struct err *e)
{
    bool loaded = !r->o.dry_run && r->data.phase == STATE_FOLLOWING && !why_full(r);
    struct pg *pg = pg_acquire(&r->pool, e);
    bool ok = pg && run_bind_state(r, e);
    for (size_t i = 0; ok && i < r->user.source.n_tables; i++)
        ok = since_table(r, pg, i, loaded, e);
    pg_release(&r->pool, pg);
    if (ok)
        r->data.phase = STATE_FOLLOWING;
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
    r->coordinator.unsaved = true; /* a bare file becomes a full one */
    return run_changes(r, e);
}

/* Each table is followed from a mark of its own; the root's stands for them. */
static void tell_changes(const struct run *r)
{
    const struct position *at =
        r->data.n_tables ? &r->data.tables[0].checkpoint.at : &r->data.mtime;
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
    run_tell_script(r);
}

/* A root without a cursor is up to date once it has been loaded, from the first row on, or swept;
 * who follows sweeps it beside what else changes. */
static bool needs_sweep(struct run *r, bool loaded)
{
    bool looks = r->user.pipeline.source.cursor || loaded;
    if (r->o.follow && !looks)
        r->data.swept_us = 0; /* due at once: --follow begins up to date */
    return r->o.sweep || (!looks && !r->o.follow);
}

bool run_load(struct run *r, struct err *e)
{
    if (!run_tell_hidden(r, true, e))
        return false;
    if (r->keys) {
        const char *const *keys = (const char *const *)r->keys->keys;
        return carry(r, feed_list(&r->user.source, &r->pool, keys, r->keys->n, e), e);
    }
    if (r->o.since)
        return run_since(r, e);
    if (run_is_partial(r) || r->o.dry_run) {
        free(r->data.after); /* from the first key, wherever the state stands */
        r->data.after = NULL;
        return carry_snapshot(r, e);
    }
    const char *why = why_full(r);
    bool whole = why || r->data.phase == STATE_SNAPSHOT;
    if (!whole)
        tell_changes(r);
    else if (!load_everything(r, why, e))
        return false;
    bool ok = catch_up(r, e);
    r->coordinator.again = false;
    return ok && (!needs_sweep(r, why) || run_sweep(r, e));
}
