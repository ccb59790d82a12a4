/* check_source: PostgreSQL: whether it can be read; its tables, their keys and cursors. */
#include "ask/check_internal.h"
#include "base/stop.h"
#include "pg/pg_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- SQL ---- */

PGresult *check_query(struct check *c, const struct check_sql *q)
{
    struct err e;
    PGresult *res = NULL;
    int n = q->parameters[0] ? q->parameters[1] ? 2 : 1 : 0;
    if (pg_query(c->pg, q->sql, n, q->parameters, &res, &e) &&
        pg_expect(c->pg, &res, -1, q->columns, &e))
        return res;
    if (!check_add_denied(c, 0, &e))
        check_add(c, e.kind == ERR_FINAL ? CHECK_NOTE : CHECK_ERROR, q->name, 0,
                  "could not be checked: %s", e.text);
    return NULL;
}

/* The name in `permission denied for table NAME`, and its kind. */
static bool find_denied(const char *text, char kind[30], char name[200])
{
    static const char BEGIN[] = "permission denied for ";
    const char *at = strstr(text, BEGIN);
    if (!at)
        return false;
    at += sizeof BEGIN - 1;
    size_t len = strcspn(at, " ");
    snprintf(kind, 30, "%.*s", (int)len, at);
    at += len + (at[len] == ' ');
    at += strncmp(at, "view ", 5) == 0 ? 5 : 0; /* materialized view */
    snprintf(name, 200, "%.*s", (int)strcspn(at, " ;:("), at);
    return *name != '\0';
}

static const char denied_sql[] =
    "SELECT pg_catalog.quote_ident(current_user),"
    " (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
    "   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    "  WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    "   AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')"
    "  ORDER BY pg_catalog.strpos($2, n.nspname) = 0 LIMIT 1),"
    " pg_catalog.quote_ident($1)";

bool check_add_denied(struct check *c, int line, const struct err *e)
{
    char kind[30], name[200];
    struct err ignored;
    PGresult *res = NULL;
    if (!find_denied(e->text, kind, name))
        return false;
    const char *denied = strstr(e->text, "permission denied");
    if (check_has(c, "privilege", denied))
        return true;
    check_add(c, CHECK_ERROR, "privilege", line, "%s", denied);
    const char *const parameters[] = {name, c->user.pipeline.source.query};
    if (c->pg && pg_query(c->pg, denied_sql, 2, parameters, &res, &ignored) &&
        pg_expect(c->pg, &res, 1, 3, &ignored)) {
        const char *role = PQgetvalue(res, 0, 0);
        bool found = !PQgetisnull(res, 0, 1);
        if (strcmp(kind, "schema") == 0)
            check_remedy(c, "GRANT USAGE ON SCHEMA %s TO %s", PQgetvalue(res, 0, 2), role);
        else if (strcmp(kind, "function") == 0)
            check_remedy(c, "GRANT EXECUTE ON FUNCTION %s TO %s", name, role);
        else
            check_remedy(c, "GRANT SELECT ON %s TO %s", PQgetvalue(res, 0, found ? 1 : 2), role);
    }
    PQclear(res);
    return true;
}

/* ---- the server ---- */

static bool open_connection(struct check *c)
{
    struct err e;
    c->pg = pg_acquire(&c->servers.pool, &e);
    if (c->pg)
        return true;
    char variable[100];
    const struct pipeline *p = &c->user.pipeline;
    check_add_err(c, "postgres", p->source.url_line, &e);
    if (pipeline_variable(&c->user.text, p->source.url_line, variable, sizeof variable))
        check_remedy(c, "source.url comes from the variable %s", variable);
    else
        check_remedy(c, "url = \"postgresql://user:password@host:5432/database\" in source");
    return false;
}

/* Behind a pooler, the session that answers is none of ours: pg does not list it. */
static void check_pooler(struct check *c)
{
    struct buf pids, began;
    buf_init(&pids, 1 << 16);
    buf_init(&began, 1 << 16);
    pg_add_own_sessions(&c->servers.pg, &pids, &began);
    const char *list = buf_cstr(&pids);
    bool pooled = list && strcmp(list, "{}") == 0;
    if (pooled && c->user.pipeline.source.wal) {
        check_add(c, CHECK_ERROR, "pooler", c->user.pipeline.source.url_line,
                  "the connection goes through a pooler: the log cannot be received through it");
        check_remedy(c, "url = \"...\" in source: the server's own address");
    } else if (pooled) {
        check_add(c, CHECK_NOTE, "pooler", c->user.pipeline.source.url_line,
                  "the connection goes through a pooler: it needs a session for each worker, and "
                  "twice as many if document() uses etl.pg");
        check_remedy(c, "default_pool_size = 5 or more in the pooler's settings");
    }
    buf_free(&pids);
    buf_free(&began);
}

static void check_server(struct check *c)
{
    PGresult *res = check_query(
        c, &(struct check_sql){
               "server",
               "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.quote_ident(current_user),"
               " (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)"
               "  OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')",
               3,
               {NULL}});
    const struct pipeline *p = &c->user.pipeline;
    if (res && PQntuples(res) == 1 && pg_bool(res, 0, 0) && !p->source.wal && p->source.cursor) {
        check_add(c, CHECK_NOTE, "standby", p->source.url_line,
                  "the server is a standby: lookback must cover the time by which it is behind");
        check_remedy(c, "lookback = %g in source, or the primary's address",
                     p->source.lookback > 60 ? p->source.lookback : 60);
    }
    if (res && PQntuples(res) == 1 && !pg_bool(res, 0, 2) && !p->source.wal && p->source.cursor) {
        check_add(c, CHECK_NOTE, "stats", 0,
                  "the log cannot name a session of another user whose open transaction delays "
                  "polls");
        check_remedy(c, "GRANT pg_read_all_stats TO %s", PQgetvalue(res, 0, 1));
    }
    PQclear(res);
}

/* The query's rows, of no key: what describing it does not find, such as privileges. */
static void check_query_runs(struct check *c)
{
    struct err e;
    struct source_reader root = source_reader(&c->user.source, 0, c->pg);
    if (source_probe(&root, &e))
        return;
    int line = c->user.pipeline.source.query_line;
    if (!check_add_denied(c, line, &e))
        check_add_err(c, "query", line, &e);
}

void check_source(struct check *c)
{
    struct err e;
    if (!open_connection(c))
        return;
    check_divert(c, NULL);
    check_pooler(c);
    check_server(c);
    c->bound = source_open(&c->user.source, &c->user.pipeline, c->pg, &e);
    if (!c->bound) {
        if (!check_add_denied(c, 0, &e))
            check_add_err(c, "source", 0, &e);
        return;
    }
    if (!script_check(c->user.script, &c->user.source.columns, &e))
        check_add_err(c, "column", 0, &e);
    check_query_runs(c);
    check_divert(c, "query");
    if (!source_warn(&c->user.source, c->pg, &e) && !check_add_denied(c, 0, &e))
        check_add_err(c, "query", 0, &e);
    check_divert(c, NULL);
    c->whole = check_has(c, "query", "PostgreSQL runs the whole query") ||
               check_has(c, "query", "the query has a LIMIT");
}

/* ---- a table's cursor ---- */

struct cursor {
    struct check *check;
    struct source_reader reader;
    const struct source_table *table;
    const char *column; /* unquoted */
    int line;
};

static void add_failure(struct check *c, const char *name, int line, const struct err *e)
{
    if (!check_add_denied(c, line, e))
        check_add_err(c, name, line, e);
}

static void check_cursor_index(const struct cursor *k)
{
    struct check *c = k->check;
    struct buf sql;
    struct err e;
    bool has;
    buf_init(&sql, 1 << 16);
    if (!source_has_index(&k->reader, &has, &sql, &e)) {
        add_failure(c, "cursor_index", k->line, &e);
    } else if (!has) {
        check_add(c, CHECK_WARNING, "cursor_index", k->line,
                  "no index begins with the cursor of '%s': every poll reads the whole table",
                  k->table->label);
        check_remedy(c, "%s", buf_cstr(&sql) ? buf_cstr(&sql) : "");
    }
    buf_free(&sql);
}

static void add_null_remedy(struct check *c, const struct source_table *t)
{
    if (t->cursor_is_time)
        check_remedy(c,
                     "UPDATE %s SET %s = now() WHERE %s IS NULL OR NOT isfinite(%s); ALTER TABLE "
                     "%s ALTER COLUMN %s SET NOT NULL",
                     t->name, t->cursor, t->cursor, t->cursor, t->name, t->cursor);
    else
        check_remedy(c,
                     "UPDATE %s SET %s = 0 WHERE %s IS NULL; ALTER TABLE %s ALTER COLUMN %s SET "
                     "NOT NULL",
                     t->name, t->cursor, t->cursor, t->name, t->cursor);
}

static void check_cursor_nulls(const struct cursor *k)
{
    struct check *c = k->check;
    struct err e;
    bool some;
    if (!source_has_unseen(&k->reader, &some, &e)) {
        add_failure(c, "cursor_null", k->line, &e);
    } else if (some) {
        check_add(c, CHECK_WARNING, "cursor_null", k->line,
                  "'%s' has rows whose cursor is NULL%s: polls do not see them", k->table->label,
                  k->table->cursor_is_time ? " or infinite" : "");
        add_null_remedy(c, k->table);
    }
}

/* A time without a zone may be a local one. */
static void check_cursor_future(const struct cursor *k)
{
    struct check *c = k->check;
    const struct source_table *t = k->table;
    const char *margin = t->cursor_is_instant ? "1 minute" : "1 day";
    char *sql;
    if (!t->cursor_is_time)
        return;
    if (asprintf(&sql,
                 "SELECT count(*), max(m)::text FROM (SELECT %s AS m FROM %s WHERE %s > "
                 "clock_timestamp() + interval '%s' AND isfinite(%s) LIMIT 1000) f",
                 t->cursor, t->name, t->cursor, margin, t->cursor) < 0) {
        c->failed = true;
        return;
    }
    PGresult *res = check_query(c, &(struct check_sql){"cursor_future", sql, 2, {NULL}});
    int64_t n = res && PQntuples(res) == 1 ? pg_int(res, 0, 0) : 0;
    if (n > 0) {
        check_add(c, CHECK_WARNING, "cursor_future", k->line,
                  "the cursor of %s%lld row%s of '%s' lies in the future, up to %s",
                  n == 1000 ? "at least " : "", (long long)n, n == 1 ? "" : "s", t->label,
                  PQgetvalue(res, 0, 1));
        check_remedy(c, "UPDATE %s SET %s = now() WHERE %s > now()", t->name, t->cursor, t->cursor);
    }
    PQclear(res);
    free(sql);
}

/* Whether the database itself sets the column: a default, a trigger before rows, an identity. */
static const char clock_sql[] =
    "SELECT c.relkind NOT IN ('r', 'p') OR a.atthasdef OR a.attidentity <> '' OR EXISTS ("
    "  SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal"
    "   AND t.tgenabled <> 'D' AND t.tgtype & 3 = 3 AND t.tgtype & 20 > 0)"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a"
    "  ON a.attrelid = c.oid AND a.attname = $2 WHERE c.oid = $1::pg_catalog.regclass";

static void check_cursor_clock(const struct cursor *k)
{
    struct check *c = k->check;
    const struct source_table *t = k->table;
    PGresult *res =
        check_query(c, &(struct check_sql){"cursor_clock", clock_sql, 1, {t->name, k->column}});
    if (res && PQntuples(res) == 1 && !pg_bool(res, 0, 0)) {
        struct watermark_rule rule = source_rule(&c->user.source, 0, false);
        check_add(c, CHECK_WARNING, "cursor_clock", k->line,
                  "the cursor of '%s' has no default, and no trigger sets it: an application's "
                  "clock does, and polls miss a change if that is more than %g s behind others",
                  t->label, (double)rule.lookback_us / 1e6);
        check_remedy(c,
                     "ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s, and a trigger BEFORE UPDATE "
                     "that sets it",
                     t->name, t->cursor, t->cursor_is_time ? "now()" : "nextval('...')");
    }
    PQclear(res);
}

static void check_cursor(struct check *c, size_t table)
{
    const struct pipeline *p = &c->user.pipeline;
    const struct source_table *t = &c->user.source.tables[table];
    struct cursor k = {.check = c,
                       .reader = source_reader(&c->user.source, table, c->pg),
                       .table = t,
                       .column = t->related ? t->related->cursor : p->source.cursor,
                       .line = t->related ? t->related->cursor_line : p->source.cursor_line};
    if (!t->cursor)
        return;
    check_cursor_index(&k);
    check_cursor_nulls(&k);
    check_cursor_future(&k);
    check_cursor_clock(&k);
}

/* ---- a table ---- */

static void check_rows(struct check *c, size_t table)
{
    const struct pipeline *p = &c->user.pipeline;
    const struct source_table *t = &c->user.source.tables[table];
    struct source_reader r = source_reader(&c->user.source, table, c->pg);
    int line = t->related ? t->related->table_line : p->source.table_line;
    struct err e;
    bool any = true;
    if (!source_has_rows(&r, &any, &e)) {
        add_failure(c, "table", line, &e);
    } else if (t->row_security && !any) {
        check_add(c, CHECK_WARNING, "row_security", line,
                  "no row of '%s' is visible: its row security is active for this user", t->label);
        check_remedy(c, "CREATE POLICY ... ON %s FOR SELECT, or ALTER ROLE ... BYPASSRLS", t->name);
    } else if (t->row_security) {
        check_add(c, CHECK_NOTE, "row_security", line,
                  "row security is active in '%s': rows that its policies hide are not indexed",
                  t->label);
    }
}

static void check_appearance(struct check *c, size_t table)
{
    const struct source_table *t = &c->user.source.tables[table];
    int line = t->related ? t->related->cursor_line : c->user.pipeline.source.cursor_line;
    if (!t->cursor || t->commits_here)
        return;
    check_add(c, CHECK_NOTE, "appearance", line,
              "rows of '%s' are not written by transactions of this server (a view, a foreign "
              "table, a subscription): lookback must cover the delay with which they appear",
              t->label);
}

void check_tables(struct check *c)
{
    for (size_t i = 0; i < c->user.source.n_tables && !stop_asked(); i++) {
        check_rows(c, i);
        check_appearance(c, i);
        check_cursor(c, i);
    }
}
