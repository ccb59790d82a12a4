#include "ask/story.h"

#include "ask/arrival.h"
#include "base/err.h"
#include "base/retry.h"
#include "index/index.h"
#include "model/batch.h"
#include "script/script.h"
#include "store/deadletter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DOCUMENT_MAX = 256 << 20,      /* bytes */
    FOLLOWER_US = 5 * 1000 * 1000, /* for the process that follows to deliver what is committed */
};

static bool keep_why(const struct err *e, char out[STORY_WHY])
{
    snprintf(out, STORY_WHY, "%s", e->text);
    return true;
}

/* ---- the key ---- */

static bool find_key(struct story *s, struct pg *pg, const char *key, struct err *e)
{
    struct source_reader root = source_reader(&s->ask.run.user.source, 0, pg);
    struct keylist list = {0};
    bool ok = source_canonical(&root, &key, 1, &list, e);
    s->is_malformed = (!ok && e->kind == ERR_USAGE) || (ok && list.n == 0);
    free(s->key);
    s->key = strdup(ok && list.n > 0 ? list.keys[0] : key);
    keylist_free(&list);
    return (ok || s->is_malformed) && (s->key || err_memory(e));
}

/* ---- the row and its document ---- */

static void free_columns(struct story *s)
{
    for (size_t i = 0; i < s->n_columns; i++)
        free(s->columns[i].value);
    free(s->columns);
    s->columns = NULL;
    s->n_columns = 0;
}

static bool keep_columns(struct story *s, const PGresult *row)
{
    const struct pg_columns *c = &s->ask.run.user.source.columns;
    free_columns(s);
    if (!(s->columns = calloc(c->n + 1, sizeof *s->columns)))
        return false;
    for (; s->n_columns < c->n; s->n_columns++) {
        struct story_column *column = &s->columns[s->n_columns];
        int i = (int)s->n_columns;
        column->name = c->list[i].name;
        if (!PQgetisnull(row, 0, i) && !(column->value = strdup(PQgetvalue(row, 0, i))))
            return false;
    }
    return true;
}

static bool make_document(struct story *s, const PGresult *row, struct err *e)
{
    struct run *r = &s->ask.run;
    struct script_made made;
    const struct script_row from = {&r->user.source.columns, row, 0, s->key};
    buf_clear(&s->made);
    if (script_document(r->user.script, &from, &s->made, &made, e))
        s->is_made = made.present;
    else if (e->kind == ERR_FINAL)
        keep_why(e, s->why_not);
    else
        return false;
    return true;
}

static bool take_row(struct story *s, const PGresult *row, struct err *e)
{
    if (s->rows++ > 0)
        return true;
    if (!pg_columns_fit(&s->ask.run.user.source.columns, row))
        return err_set(e, ERR_FINAL, "the columns of the query have changed: ask again");
    return (keep_columns(s, row) || err_memory(e)) && make_document(s, row, e);
}

static bool fetch(struct story *s, struct pg *pg, struct err *e)
{
    struct batch *b = batch_new();
    struct source_reader root = source_reader(&s->ask.run.user.source, 0, pg);
    const PGresult *row = NULL;
    bool ok = b && batch_add_key(b, s->key);
    if (!ok)
        err_memory(e);
    s->rows = 0;
    s->is_made = false;
    ok = ok && source_fetch(&root, b, true, &s->clock_us, e);
    while (ok && (ok = pg_next(pg, &row, e)) && row)
        ok = take_row(s, row, e);
    batch_free(b);
    return ok || (e->kind == ERR_FINAL && e->fault == ERR_FAULT_ROW && keep_why(e, s->why_not));
}

static bool read_row(void *arg, struct err *e)
{
    struct story *s = arg;
    struct pg_pool *pool = &s->ask.run.servers.pool;
    struct pg *pg = pg_acquire(pool, e);
    bool ok = pg && (s->is_malformed || fetch(s, pg, e));
    pg_release(pool, pg);
    return ok;
}

/* ---- the index ---- */

static bool take_held(const struct index_document *d, void *arg, struct err *e)
{
    struct story *s = arg;
    s->found = d->found;
    s->held_version = d->version;
    s->copies = d->found && s->copies == 0 ? 1 : s->copies;
    return !d->source || buf_add(&s->held, d->source, d->source_len) || err_memory(e);
}

struct newest {
    struct story *story;
    char *routing; /* owned */
};

static bool take_copy(const struct index_copy *c, void *arg, struct err *e)
{
    struct newest *n = arg;
    struct story *s = n->story;
    if (s->copies++ > 0 && c->version <= s->held_version)
        return true;
    free(s->held_index);
    free(n->routing);
    s->held_version = c->version;
    s->held_index = strdup(c->index);
    n->routing = c->routing ? strdup(c->routing) : NULL;
    return (s->held_index && (!c->routing || n->routing)) || err_memory(e);
}

static bool get(struct story *s, const struct doc_location *at, struct err *e)
{
    const struct run *r = &s->ask.run;
    const char *keys[] = {s->key};
    struct index_lookup lookup = {
        .keys = keys, .locations = at, .n = 1, .with_source = true, .visit = take_held, .arg = s};
    buf_clear(&s->held);
    return index_get_documents(r->servers.es, r->user.pipeline.sink.index, &lookup, e);
}

static bool find_copies(struct story *s, struct err *e)
{
    const struct run *r = &s->ask.run;
    struct newest n = {.story = s};
    const char *keys[] = {s->key};
    s->copies = 0;
    s->held_version = 0;
    bool ok = index_find(r->servers.es, r->user.pipeline.sink.indices,
                         &(struct index_search){keys, 1, take_copy, &n}, e);
    struct doc_location at = {s->held_index, n.routing};
    ok = ok && (s->copies == 0 || get(s, &at, e));
    free(n.routing);
    return ok;
}

static bool read_index(void *arg, struct err *e)
{
    struct story *s = arg;
    return s->ask.run.user.pipeline.sink.multi_index ? find_copies(s, e) : get(s, NULL, e);
}

/* ---- what leads to it, and what holds it back ---- */

static bool trace_table(struct story *s, size_t table, struct pg *pg, struct err *e)
{
    struct source_reader r = source_reader(&s->ask.run.user.source, table, pg);
    struct story_table *t = &s->tables[table];
    source_trace_free(&t->trace);
    return source_trace(&r, s->key, STORY_ROWS, &t->trace, e) ||
           (e->kind == ERR_FINAL && keep_why(e, t->why));
}

static bool trace(struct story *s, struct pg *pg, struct err *e)
{
    size_t n = s->ask.run.user.source.n_tables;
    if (!s->tables && !(s->tables = calloc(n, sizeof *s->tables)))
        return err_memory(e);
    for (size_t i = 0; i < n && !s->is_malformed; i++)
        if (!trace_table(s, i, pg, e))
            return false;
    return true;
}

static bool read_surroundings(void *arg, struct err *e)
{
    struct story *s = arg;
    struct run *r = &s->ask.run;
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    struct source_reader root = source_reader(&r->user.source, 0, pg);
    bool ok = pg && trace(s, pg, e) &&
              (source_read_report(&root, &s->report, e) ||
               (e->kind == ERR_FINAL && keep_why(e, s->no_report))) &&
              (!r->user.pipeline.source.wal ||
               source_capture_find_slot(pg, r->user.pipeline.source.slot, &s->slot, e));
    pg_release(&r->servers.pool, pg);
    return ok;
}

/* ---- the whole ---- */

static bool judge(struct story *s, struct err *e)
{
    const char *made = s->is_made ? buf_cstr(&s->made) : NULL;
    const struct worker_pair pair = {.key = s->key,
                                     .made = made,
                                     .made_len = s->made.len,
                                     .made_version = s->clock_us ? s->clock_us : INT64_MAX,
                                     .found = s->found,
                                     .held = s->held.len ? s->held.data : NULL,
                                     .held_len = s->held.len,
                                     .held_version = s->held_version,
                                     .copies = s->copies,
                                     .no_rows = s->is_malformed,
                                     .failed = *s->why_not ? s->why_not : NULL};
    s->explain = ask_explain(&s->ask, arrival_is_followed(&s->ask));
    s->explain.behind = s->is_behind;
    s->letter = deadletters_find(s->ask.dead, s->key);
    findings_init(&s->findings, 1);
    if (!findings_judge(&pair, &s->kind, e))
        return false;
    s->reason = explain_reason(&s->explain, s->kind, &pair);
    return findings_add(&s->findings, &s->explain, s->kind, &pair, e);
}

struct wanted {
    struct story *story;
    const char *key;
};

static bool read_key(void *arg, struct err *e)
{
    struct wanted *w = arg;
    struct pg_pool *pool = &w->story->ask.run.servers.pool;
    struct pg *pg = pg_acquire(pool, e);
    bool ok = pg && find_key(w->story, pg, w->key, e);
    pg_release(pool, pg);
    return ok;
}

/* What is committed by now should be delivered before the index is read, if a process follows. */
static bool wait_for_follower(struct story *s, struct err *e)
{
    struct arrival moment;
    bool arrived = true;
    if (!arrival_is_followed(&s->ask) || !arrival_has_feeds(&s->ask))
        return true;
    bool ok = arrival_begin(&moment, &s->ask, false, e) &&
              arrival_wait(&moment, FOLLOWER_US, &arrived, e);
    s->is_behind = ok && !arrived;
    arrival_end(&moment);
    return ok;
}

bool story_read(struct story *s, const char *script, const char *key, long long give_up_after,
                struct err *e)
{
    const struct ask_options o = {.workers = 1, .give_up_after = give_up_after};
    struct run *r = &s->ask.run;
    struct wanted w = {s, key};
    double wait = (double)give_up_after;
    *s = (struct story){0};
    buf_init(&s->made, DOCUMENT_MAX);
    buf_init(&s->held, DOCUMENT_MAX);
    if (!ask_open(&s->ask, &o, script, false, e))
        return false;
    script_serve(r->user.script, &(struct sandbox_services){&r->servers.pool, r->servers.es,
                                                            r->user.pipeline.state});
    return retry_until(wait, read_key, &w, e) && wait_for_follower(s, e) &&
           retry_until(wait, read_row, s, e) && retry_until(wait, read_index, s, e) &&
           retry_until(wait, read_surroundings, s, e) && judge(s, e);
}

void story_free(struct story *s)
{
    size_t n = s->tables ? s->ask.run.user.source.n_tables : 0;
    for (size_t i = 0; i < n; i++)
        source_trace_free(&s->tables[i].trace);
    free(s->tables);
    free_columns(s);
    free(s->key);
    free(s->held_index);
    buf_free(&s->made);
    buf_free(&s->held);
    findings_free(&s->findings);
    source_report_free(&s->report);
    ask_close(&s->ask);
}
