#include "run/run_warn.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "flow/tally.h"
#include "run/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what delays a poll, and what it cannot see ---- */

void run_warn_horizon(const struct run_script *s, const struct source_report *report)
{
    struct watermark_rule rule = source_rule(&s->source, 0, report->standby);
    int64_t us = report->watermark.clock_us - report->watermark.oldest_us;
    if (watermark_is_over_limit(&rule, &report->watermark))
        log_warn_with(
            LOG_FIELDS(log_text("held_by", report->who),
                       log_real("horizon_seconds", (double)us / 1e6)),
            "%s: the transaction of %s has been open for %lld s, longer than horizon_limit: "
            "its changes are read after it ends",
            s->pipeline.name, report->who, (long long)(us / 1000000));
}

struct rows_query {
    struct run *run;
    size_t table;
    bool any; /* the answer */
};

static bool look_for_rows(void *arg, struct err *e)
{
    struct rows_query *q = arg;
    struct pg_pool *pool = &q->run->servers.pool;
    struct pg *pg = pg_acquire(pool, e);
    struct source_reader reader = source_reader(&q->run->user.source, q->table, pg);
    bool ok = pg && source_has_rows(&reader, &q->any, e);
    pg_release(pool, pg);
    return ok;
}

static void report_hidden_table(const char *label, bool all, bool warned_before)
{
    if (!all)
        log_info_with(
            LOG_FIELDS(log_text("table", label)),
            "row security is active in '%s' for this user: rows that its policies hide are "
            "not indexed",
            label);
    else if (!warned_before)
        log_warn_with(
            LOG_FIELDS(log_text("table", label)),
            "cannot see any row of '%s': its row security is active for this user; give the "
            "user a policy, or ALTER ROLE ... BYPASSRLS",
            label);
}

bool run_report_hidden(struct run *r, bool at_start, struct err *e)
{
    const struct source *s = &r->user.source;
    bool warned_before = r->warned.hidden;
    for (size_t i = 0; i < s->n_tables; i++) {
        struct rows_query q = {.run = r, .table = i};
        if (!s->tables[i].row_security)
            continue;
        if (!retry_until(r->servers.give_up_after, look_for_rows, &q, e))
            return false;
        r->warned.hidden |= !q.any;
        if (!q.any || at_start)
            report_hidden_table(s->tables[i].label, !q.any, warned_before);
    }
    return true;
}

struct keyless_query {
    struct run *run;
    int64_t rows; /* the answer */
};

static bool count_keyless(void *arg, struct err *e)
{
    struct keyless_query *q = arg;
    struct pg_pool *pool = &q->run->servers.pool;
    struct pg *pg = pg_acquire(pool, e);
    struct source_reader reader = source_reader(&q->run->user.source, 0, pg);
    bool ok = pg && source_count_keyless(&reader, &q->rows, e);
    pg_release(pool, pg);
    return ok;
}

bool run_reject_keyless(struct run *r, bool loaded, struct err *e)
{
    struct keyless_query q = {.run = r};
    const struct source_table *t = &r->user.source.tables[0];
    if (!t->key.nullable)
        return true;
    if (!retry_until(r->servers.give_up_after, count_keyless, &q, e))
        return false;
    int64_t more = q.rows - r->warned.keyless;
    r->warned.keyless = q.rows;
    if (loaded || more <= 0)
        return true;
    log_warn_with(LOG_FIELDS(log_text("table", t->label), log_int("rejected", more)),
                  "%" PRId64 " row%s of table '%s' rejected: the key is NULL", more,
                  more == 1 ? "" : "s", t->label);
    tally_add(r->work.flow.tally, &(struct counts){.rejected = (uint64_t)more});
    return true;
}

bool run_report_table(const struct source *s, struct pg_pool *pool, size_t table, bool standby,
                      struct err *e)
{
    struct watermark_rule rule = source_rule(s, table, standby);
    const char *label = s->tables[table].label;
    struct buf sql;
    bool unseen, indexed;
    struct pg *pg = pg_acquire(pool, e);
    buf_init(&sql, 1 << 16);
    struct source_reader reader = source_reader(s, table, pg);
    bool ok = pg && source_has_index(&reader, &indexed, &sql, e) &&
              source_has_unseen(&reader, &unseen, e);
    pg_release(pool, pg);
    if (ok && !indexed && buf_cstr(&sql))
        log_info_with(LOG_FIELDS(log_text("table", label)),
                      "table '%s' has no index on its cursor: every poll scans the whole table; "
                      "consider: %s",
                      label, buf_cstr(&sql));
    if (ok && unseen)
        log_info_with(
            LOG_FIELDS(log_text("table", label)),
            "table '%s' has rows whose cursor is NULL or infinite: only a sweep sees when "
            "they change",
            label);
    if (ok && !rule.commits_here)
        log_info_with(
            LOG_FIELDS(log_text("table", label),
                       log_real("lookback_seconds", (double)rule.lookback_us / 1e6)),
            "rows of '%s' are not written by transactions of this server (it is a standby, or "
            "this is a view, a materialized view, a foreign table or a subscription): a row "
            "that appears more than %g s after the time of its cursor may be found only by a "
            "sweep (source.lookback)",
            label, (double)rule.lookback_us / 1e6);
    buf_free(&sql);
    return ok;
}

/* ---- documents that are missing or out of date ---- */

static bool was_loaded_before(const struct run *r)
{
    const struct index_meta *saved = &r->index.saved_meta;
    struct err ignored;
    int64_t count = 0;
    if (!saved->known || !*saved->fingerprint || r->index.is_new ||
        strcmp(saved->pipeline, r->index.meta.pipeline) != 0)
        return false;
    /* created, but never filled */
    return !index_count(r->servers.es, r->index.info.name, &count, &ignored) || count > 0;
}

void run_warn_lost_state(const struct run *r)
{
    const char *state = r->user.pipeline.state;
    bool relative = state[0] != '/';
    if (r->state.data.phase != STATE_NEW || !was_loaded_before(r))
        return;
    char *folder = relative ? getcwd(NULL, 0) : NULL;
    log_warn_with(
        LOG_FIELDS(log_text("index", r->index.info.name)),
        "%s: there is no state at '%s%s%s', but index '%s' has documents of this pipeline, by a "
        "run with --limit or --keys, or with another state: %s",
        r->user.pipeline.name, folder ? folder : "", folder ? "/" : "", state, r->index.info.name,
        relative ? "is this the right folder? a relative path begins at the folder where "
                   "etl-engine is started"
                 : "was it moved, or removed?");
    free(folder);
}

/* A document() that lost its return value in some branch fails silently. */
bool run_warn_nothing_made(struct run *r, struct err *e)
{
    struct counts sums = tally_counts(r->work.flow.tally);
    struct rows_query q = {.run = r};
    if (sums.indexed + sums.rejected + sums.superseded + sums.unchanged + sums.dropped > 0)
        return true;
    if (!look_for_rows(&q, e))
        return false;
    if (q.any)
        log_warn_with(
            LOG_FIELDS(log_text("table", r->user.source.tables[0].label)),
            "%s: '%s' has rows, but none of them became a document: document() returned nil "
            "for each, or the query excludes them all",
            r->user.pipeline.name, r->user.source.tables[0].label);
    return true;
}

void run_warn_script(const struct run *r)
{
    if (!*r->index.meta.fingerprint || strcmp(r->index.meta.fingerprint, r->user.fingerprint) == 0)
        return;
    log_warn_with(
        LOG_FIELDS(log_text("index", r->index.info.name)),
        "%s: the script has changed since index '%s' was loaded: a document stays as it is "
        "until its row changes; to rebuild all documents: --full, or 'etl-engine reindex %s'",
        r->user.pipeline.name, r->index.info.name, r->user.text.ref);
}

void run_warn_repeated(struct run *r)
{
    char key[200], rows[PROGRESS_TEXT];
    const struct pipeline *p = &r->user.pipeline;
    struct counts sums = tally_counts(r->work.flow.tally);
    if (r->warned.repeated || sums.repeated == 0)
        return;
    tally_repeated(r->work.flow.tally, key, sizeof key);
    if (!*key) /* it was another tally's, before a restart */
        return;
    r->warned.repeated = true;
    log_warn_with(
        LOG_FIELDS(LOG_PLACE(p->script, p->source.query_line), log_text("key", key),
                   log_int("repeated", (long long)sums.repeated)),
        "%s:%d: the query has several rows for one key, for '%s' for example: %s too many; "
        "any one of them becomes the document: GROUP BY the key, or aggregate the joined rows",
        p->script, p->source.query_line, key, progress_count(sums.repeated, "row", rows));
}
