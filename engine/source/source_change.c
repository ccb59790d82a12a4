#include "source/source_internal.h"

#include "base/err.h"
#include "script/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the report ---- */

/* The clock is read before the sessions are looked at, and these before the page's snapshot: a
 * transaction that begins in between is seen by the next report, and has a later start. pg_locks is
 * looked at only when asked ($3): it costs more than the rest. Transactions of other databases
 * write no row of ours. */
static const char report_sql[] =
    "WITH sessions AS ("
    "  SELECT pid, datid, usesysid, application_name, state, backend_type, xact_start, "
    "backend_start,"
    "         backend_xid::text::bigint AS xid FROM pg_catalog.pg_stat_activity"
    "   WHERE pid <> pg_catalog.pg_backend_pid()),"
    " own AS (SELECT oid FROM pg_catalog.pg_database WHERE datname = "
    "pg_catalog.current_database()),"
    " others AS ("
    "  SELECT * FROM sessions a WHERE datid = (SELECT oid FROM own) AND usesysid IS NOT NULL"
    "     AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', "
    "'walsender')"
    "     AND NOT EXISTS (SELECT FROM unnest($1::int[], $2::bigint[]) own (pid, began) WHERE "
    "own.pid = a.pid"
    "                        AND own.began = (extract(epoch FROM a.backend_start) * "
    "1000000)::bigint)),"
    " prepared AS ("
    "  SELECT transaction::text::bigint AS xid, database = pg_catalog.current_database() AS ours"
    "    FROM pg_catalog.pg_prepared_xacts),"
    " elsewhere AS ("
    "  SELECT xid FROM sessions WHERE datid <> (SELECT oid FROM own) AND xid IS NOT NULL"
    "  UNION ALL SELECT xid FROM prepared WHERE NOT ours),"
    " snapshot AS (SELECT pg_catalog.txid_current_snapshot() AS s)"
    " SELECT (extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::bigint,"
    "  (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM others),"
    "  (SELECT 'process ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') FROM "
    "others"
    "    WHERE xact_start IS NOT NULL ORDER BY xact_start LIMIT 1),"
    "  coalesce((SELECT bool_or(backend_type IS NULL OR state = 'disabled') FROM others), false)"
    "   OR EXISTS (SELECT FROM prepared WHERE ours),"
    "  pg_catalog.pg_is_in_recovery(),"
    "  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.txid_snapshot_xmin(s)"
    "       ELSE coalesce((SELECT min(x) FROM pg_catalog.txid_snapshot_xip(s) x"
    "                       WHERE x % 4294967296 NOT IN (SELECT xid FROM elsewhere)),"
    "                     pg_catalog.txid_snapshot_xmax(s)) END,"
    "  pg_catalog.txid_snapshot_xmax(s),"
    "  CASE WHEN $3::bool THEN coalesce("
    "   (SELECT string_agg(virtualtransaction || ' ', '') FROM pg_catalog.pg_locks JOIN others "
    "USING (pid)"
    "     WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND granted), '') ||"
    "   coalesce((SELECT string_agg('p' || xid || ' ', '') FROM prepared WHERE ours), '') END"
    " FROM snapshot";

static bool read_report(const PGresult *res, struct source_report *r)
{
    source_report_free(r);
    *r = (struct source_report){
        .mark = {.clock_us = pg_int(res, 0, 0),
                 .oldest_us = pg_int(res, 0, 1),
                 .xid = (uint64_t)pg_int(res, 0, 5),
                 .xmax = (uint64_t)pg_int(res, 0, 6)},
        .hidden = pg_bool(res, 0, 3),
        .standby = pg_bool(res, 0, 4),
    };
    snprintf(r->who, sizeof r->who, "%s", PQgetvalue(res, 0, 2));
    if (PQgetisnull(res, 0, 7))
        return true;
    r->mark.sessions = r->sessions = strdup(PQgetvalue(res, 0, 7));
    return r->sessions != NULL;
}

void source_report_free(struct source_report *r)
{
    free(r->sessions);
    *r = (struct source_report){0};
}

struct watermark_rule source_rule(const struct source *s, size_t table, bool standby)
{
    static const double DEFAULT_LOOKBACK = 60; /* seconds */
    const struct pipeline *p = s->pipeline;
    const struct source_table *t = &s->tables[table];
    double lookback = p->source.lookback >= 0 ? p->source.lookback : DEFAULT_LOOKBACK;
    return (struct watermark_rule){.is_time = t->cursor_is_time,
                                   .is_instant = t->cursor_is_instant,
                                   .is_ruled = t->is_ruled && !standby,
                                   .lookback_us = (int64_t)(lookback * 1e6),
                                   .limit_us = (int64_t)(p->source.horizon_limit * 1e6)};
}

/* The report, and then sql, which is freed, in one round trip. */
static bool query_with_report(struct pg *pg, const char *label, struct buf *sql, int n,
                              const char *const *params, size_t columns, bool sessions,
                              struct source_report *report, PGresult **out, struct err *e)
{
    struct buf pids, began;
    PGresult *res[2] = {NULL, NULL};
    buf_init(&pids, SOURCE_SQL_MAX);
    buf_init(&began, SOURCE_SQL_MAX);
    pg_add_own_sessions(pg_server_of(pg), &pids, &began);
    const char *text = buf_cstr(sql);
    const char *const about[] = {buf_cstr(&pids), buf_cstr(&began), sessions ? "t" : "f"};
    struct pg_statement statements[2] = {{.sql = report_sql, .n = 3, .params = about},
                                         {.sql = text, .n = n, .params = params}};
    bool ok = about[0] && about[1] && text ? pg_query_pair(pg, statements, res, e) : err_memory(e);
    buf_free(&pids);
    buf_free(&began);
    buf_free(sql);
    ok = ok && pg_expect(pg, &res[0], 1, 8, e) && pg_expect(pg, &res[1], -1, columns, e) &&
         (read_report(res[0], report) || err_memory(e));
    PQclear(res[0]);
    if (!ok) {
        PQclear(res[1]);
        return err_wrap(e, "could not read '%s'", label);
    }
    *out = res[1];
    return true;
}

char *source_server(const struct source *s, struct pg *pg, struct err *e)
{
    static const char text[] =
        "SELECT (pg_catalog.pg_control_system()).system_identifier || '-' ||"
        " CASE WHEN pg_catalog.pg_is_in_recovery() THEN "
        "(pg_catalog.pg_control_checkpoint()).timeline_id::text"
        " ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, "
        "8) END ||"
        " '-' || oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
    struct buf sql;
    PGresult *res;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, text);
    if (!source_query(pg, s->tables[0].label, &sql, 0, NULL, &res, e) ||
        !pg_expect(pg, &res, 1, 1, e))
        return NULL;
    char *server = strdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    if (!server)
        err_memory(e);
    return server;
}

/* ---- positions ---- */

/* SQL for a cursor's value as microseconds since the epoch. */
static void add_us(struct buf *sql, const struct source_table *t, const char *value)
{
    if (t->cursor_is_time)
        buf_addf(sql, "(extract(epoch FROM %s) * 1000000)::bigint", value);
    else
        buf_adds(sql, "NULL::bigint");
}

/* Infinities are times that nothing comes after, or before: no place to continue from. */
static void add_finite(struct buf *sql, const struct source_table *t)
{
    if (t->cursor_is_time)
        buf_addf(sql, "isfinite(%s)", t->cursor);
    else
        buf_addf(sql, "%s IS NOT NULL", t->cursor);
    for (size_t i = 0; i < t->key.n; i++) /* a view may have rows without a key */
        buf_addf(sql, " AND %s IS NOT NULL", t->key.names[i]);
}

bool source_page_position(const struct source *s, size_t table, const PGresult *page, int row,
                          struct position *out)
{
    int n = (int)s->tables[table].key.n;
    struct buf text;
    position_free(out);
    buf_init(&text, SOURCE_SQL_MAX);
    const char *key = source_join_key(page, row, NULL, 0, (size_t)n, &text);
    out->cursor = strdup(PQgetvalue(page, row, n));
    out->key = key ? strdup(key) : NULL;
    out->has_us = !PQgetisnull(page, row, n + 1);
    out->us = pg_int(page, row, n + 1);
    buf_free(&text);
    return out->cursor && out->key;
}

/* The columns of a page behind its key: the cursor, its microseconds, and these. */
enum { PAGE_ABOVE = 2, PAGE_VERSION, PAGE_XID, PAGE_COLUMNS };

static int page_column(const struct source *s, size_t table, int column)
{
    return (int)s->tables[table].key.n + column;
}

bool source_page_above(const struct source *s, size_t table, const PGresult *page, int row)
{
    return pg_bool(page, row, page_column(s, table, PAGE_ABOVE));
}

const char *source_page_version(const struct source *s, size_t table, const PGresult *page, int row)
{
    return PQgetvalue(page, row, page_column(s, table, PAGE_VERSION));
}

uint64_t source_page_xid(const struct source *s, size_t table, const PGresult *page)
{
    return (uint64_t)pg_int(page, 0, page_column(s, table, PAGE_XID));
}

/* A row bears the lower 32 bits of its transaction's id; those that live are less than 2^31
 * apart. */
bool source_page_returns(const struct source *s, size_t table, const PGresult *page, int row,
                         const struct watermark_report *began)
{
    if (!s->tables[table].has_xmin)
        return true;
    uint32_t xmin = (uint32_t)pg_int(page, row, page_column(s, table, PAGE_VERSION));
    return xmin - (uint32_t)began->xid < (uint32_t)1 << 31 ||
           pg_int(page, row, page_column(s, table, 1)) > began->clock_us;
}

/* "(xmin::text::bigint - 4711 ...": the same as an SQL condition. Ids 1 and 2 are not of any
 * time. */
static void add_not_done(struct buf *sql, uint64_t xid)
{
    static const long long ids = 1LL << 32;
    buf_addf(sql, "xmin::text::bigint > 2 AND (xmin::text::bigint + %lld) %% %lld < %lld",
             ids - (long long)(xid % (uint64_t)ids), ids, ids / 2);
}

enum { PAGE_POSITIONS = 5 }; /* what was seen comes three times */

struct position_parameters {
    const char *list[PAGE_POSITIONS * (SOURCE_KEY_MAX + 1)];
    int n;
    struct source_parameters keys[PAGE_POSITIONS];
    int n_keys;
};

/* Adds "(cursor, key) above `p`", or "not above `p`". */
static bool add_position(struct buf *sql, const struct source_table *t, const struct position *p,
                         bool above, struct position_parameters *params, struct err *e)
{
    params->list[params->n++] = p->cursor;
    if (!p->key) {
        buf_addf(sql, "%s %s $%d::%s", t->cursor, above ? ">=" : "<", params->n, t->cursor_type);
        return true;
    }
    struct source_parameters *key = &params->keys[params->n_keys++];
    if (!source_one_key(key, &t->key, p->key, e))
        return false;
    buf_addf(sql, "(%s, ", t->cursor);
    source_add_columns(sql, &t->key, "");
    buf_addf(sql, ") %s ($%d::%s, ", above ? ">" : "<=", params->n, t->cursor_type);
    source_add_parameters(sql, &t->key, params->n + 1);
    buf_adds(sql, ")");
    memcpy(params->list + params->n, key->list, t->key.n * sizeof *params->list);
    params->n += (int)t->key.n;
    return true;
}

/* Adds "cursor >= <p, less slack>". */
static void add_lower(struct buf *sql, const struct source_table *t, const struct position *p,
                      int64_t slack, struct position_parameters *params)
{
    params->list[params->n++] = p->cursor;
    buf_addf(sql, "%s >= ", t->cursor);
    if (t->cursor_is_time)
        buf_addf(sql, "$%d::%s - interval '%lld microseconds'", params->n, t->cursor_type,
                 (long long)slack);
    else if (t->cursor_floor)
        buf_addf(sql, "greatest($%d::numeric - %lld, %s)::%s", params->n, (long long)slack,
                 t->cursor_floor, t->cursor_type);
    else
        buf_addf(sql, "$%d::numeric - %lld", params->n, (long long)slack);
}

static void add_page_columns(struct buf *sql, const struct source_table *t)
{
    buf_adds(sql, "SELECT ");
    source_add_columns(sql, &t->key, "");
    buf_addf(sql, ", %s, ", t->cursor);
    add_us(sql, t, t->cursor);
}

static void add_from(struct buf *sql, const struct source_table *t)
{
    buf_addf(sql, " FROM %s WHERE ", t->name);
    add_finite(sql, t);
}

static void add_order(struct buf *sql, const struct source_table *t, const char *direction)
{
    buf_addf(sql, " ORDER BY %s%s", t->cursor, direction);
    for (size_t i = 0; i < t->key.n; i++)
        buf_addf(sql, ", %s%s", t->key.names[i], direction);
}

/* A window's lower end that has a key is one whose cursor cannot come again: the rows that have it
 * are done, whatever their keys. An index on the cursor alone finds that there is nothing above. */
static void add_above(struct buf *sql, const struct source_table *t, const struct position *p,
                      struct position_parameters *params)
{
    params->list[params->n++] = p->cursor;
    buf_addf(sql, "%s > $%d::%s", t->cursor, params->n, t->cursor_type);
}

/* Adds "AND ..." for each of what the look says. */
static bool add_look(struct buf *sql, const struct source_table *t,
                     const struct source_page_request *look, struct position_parameters *params,
                     struct err *e)
{
    bool ok = true;
    if (look->behind->cursor || look->from->cursor)
        buf_adds(sql, " AND ");
    if (look->behind->cursor)
        ok = add_position(sql, t, look->behind, true, params, e);
    else if (look->from->cursor && look->slack > 0)
        add_lower(sql, t, look->from, look->slack, params);
    else if (look->from->cursor && look->from->key && look->xid != 0 && look->from != look->seen)
        add_above(sql, t, look->from, params);
    else if (look->from->cursor)
        ok = add_position(sql, t, look->from, true, params, e);
    if (ok && t->has_xmin && look->xid > WATERMARK_ANY && look->seen->cursor) {
        buf_adds(sql, " AND (");
        ok = add_position(sql, t, look->seen, true, params, e);
        buf_adds(sql, " OR ");
        add_not_done(sql, look->xid);
        buf_adds(sql, ")");
    }
    if (ok && look->to->cursor) {
        buf_adds(sql, " AND (");
        ok = add_position(sql, t, look->to, false, params, e);
        if (ok && look->seen->cursor) {
            buf_adds(sql, " OR ");
            ok = add_position(sql, t, look->seen, false, params, e);
        }
        buf_adds(sql, ")");
    }
    return ok;
}

bool source_page(const struct source *s, struct pg *pg, size_t table,
                 const struct source_page_request *look, int64_t rows, struct source_report *report,
                 PGresult **out, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct position_parameters params = {0};
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    add_page_columns(&sql, t);
    buf_adds(&sql, look->seen->cursor ? ", " : ", true");
    bool ok = !look->seen->cursor || add_position(&sql, t, look->seen, true, &params, e);
    buf_addf(&sql, ", %s, pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())",
             look->no_versions ? "''" : t->version);
    add_from(&sql, t);
    ok = ok && add_look(&sql, t, look, &params, e);
    add_order(&sql, t, "");
    buf_addf(&sql, " LIMIT %lld", (long long)rows);
    if (ok)
        ok = query_with_report(pg, t->label, &sql, params.n, params.list, t->key.n + PAGE_COLUMNS,
                               look->sessions, report, out, e);
    else
        buf_free(&sql);
    for (int i = 0; i < params.n_keys; i++)
        source_parameters_free(&params.keys[i], &t->key);
    return ok;
}

static bool is_key_column(const struct source_table *t, const char *name)
{
    for (size_t i = 0; i < t->key.n; i++)
        if (strcmp(t->key.names[i], name) == 0)
            return true;
    return false;
}

bool source_last(const struct source *s, struct pg *pg, size_t table, struct position *last,
                 struct source_report *report, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    buf_init(&sql, SOURCE_SQL_MAX);
    /* of the last row alone: beside ORDER BY, they would be computed for each */
    add_page_columns(&sql, t);
    buf_adds(&sql, " FROM (SELECT ");
    source_add_columns(&sql, &t->key, "");
    if (!is_key_column(t, t->cursor))
        buf_addf(&sql, ", %s", t->cursor);
    add_from(&sql, t);
    add_order(&sql, t, " DESC");
    buf_adds(&sql, " LIMIT 1) last");
    if (!query_with_report(pg, t->label, &sql, 0, NULL, t->key.n + 2, true, report, &res, e))
        return false;
    position_free(last);
    bool ok = PQntuples(res) == 0 || source_page_position(s, table, res, 0, last);
    PQclear(res);
    return ok || err_memory(e);
}

/* SELECT value, its microseconds: as a position without a key. */
static bool value_position(const struct source_table *t, struct pg *pg, const char *value,
                           const char *param, struct position *out, struct err *e)
{
    struct buf sql;
    PGresult *res;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "SELECT %s, ", value);
    add_us(&sql, t, value);
    if (!source_query(pg, t->label, &sql, 1, &param, &res, e) || !pg_expect(pg, &res, 1, 2, e))
        return false;
    position_free(out);
    out->cursor = strdup(PQgetvalue(res, 0, 0));
    out->has_us = !PQgetisnull(res, 0, 1);
    out->us = pg_int(res, 0, 1);
    PQclear(res);
    return out->cursor || err_memory(e);
}

bool source_since(const struct source *s, struct pg *pg, size_t table, const char *text,
                  struct position *out, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    char value[300];
    snprintf(value, sizeof value, "$1::%s", t->cursor_type);
    if (value_position(t, pg, value, text, out, e))
        return true;
    if (e->kind == ERR_FINAL)
        err_set(e, ERR_USAGE, "cannot read '%s' as a value of the cursor of '%s' (%s)", text,
                t->label, t->cursor_type);
    return false;
}

bool source_not_above(const struct source *s, struct pg *pg, const struct position *a,
                      const struct position *b, bool *out, struct err *e)
{
    const struct source_table *t = &s->tables[0];
    *out = !a->cursor;
    if (!a->cursor || !b->cursor)
        return true;
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "SELECT $1::%s <= $2::%s", t->cursor_type, t->cursor_type);
    PGresult *res;
    const char *params[] = {a->cursor, b->cursor};
    if (!source_query(pg, t->label, &sql, 2, params, &res, e) || !pg_expect(pg, &res, 1, 1, e))
        return false;
    *out = pg_bool(res, 0, 0);
    PQclear(res);
    return true;
}

/* ---- what changes affect, and what a poll cannot see ---- */

/* SELECT DISTINCT * FROM ( <affects> ) q(k0, k1) WHERE [(k0, k1) > after] ORDER BY k0, k1 LIMIT
 * rows */
static void add_affected(struct buf *sql, const struct source_table *t,
                         const struct source_key *root, bool after, int64_t rows)
{
    buf_addf(sql, "SELECT DISTINCT * FROM ( %s\n) q(", t->affected);
    source_add_aliases(sql, root);
    buf_adds(sql, ") WHERE ");
    for (size_t i = 0; i < root->n; i++)
        buf_addf(sql, "%sk%zu IS NOT NULL", i ? " AND " : "", i);
    if (after) {
        buf_adds(sql, " AND (");
        source_add_aliases(sql, root);
        buf_adds(sql, ") > (");
        source_add_parameters(sql, root, (int)t->parameters + 1);
        buf_adds(sql, ")");
    }
    buf_adds(sql, " ORDER BY ");
    source_add_aliases(sql, root);
    buf_addf(sql, " LIMIT %lld", (long long)rows);
}

bool source_affected(const struct source *s, struct pg *pg, size_t table, const char *const *keys,
                     size_t n, const char *after, int64_t rows, struct keylist *out, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    const struct source_key *root = &s->tables[0].key;
    struct source_parameters p, a = {0};
    const char *params[2 * SOURCE_KEY_MAX];
    Oid types[2 * SOURCE_KEY_MAX] = {0};
    struct buf sql;
    PGresult *res = NULL;
    buf_init(&sql, SOURCE_SQL_MAX);
    add_affected(&sql, t, root, after != NULL, rows);
    bool ok =
        source_many_keys(&p, &t->key, keys, n, e) && (!after || source_one_key(&a, root, after, e));
    memcpy(params, p.list, t->parameters * sizeof *params);
    memcpy(params + t->parameters, a.list, root->n * sizeof *params);
    memcpy(types, t->arrays, t->parameters * sizeof *types);
    if (ok) {
        const char *text = buf_cstr(&sql);
        int n_params = (int)(t->parameters + (after ? root->n : 0));
        ok = text ? pg_query_statement(
                        pg,
                        &(struct pg_statement){
                            .sql = text, .n = n_params, .params = params, .types = types},
                        &res, e)
                  : err_memory(e);
        ok = (ok || err_wrap(e, "could not read '%s'", t->label)) &&
             source_take_list(pg, &res, root->n, out, e);
    }
    buf_free(&sql);
    PQclear(res);
    source_parameters_free(&p, &t->key);
    source_parameters_free(&a, root);
    return ok;
}

bool source_unseen(const struct source *s, struct pg *pg, size_t table, bool *some, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "SELECT EXISTS (SELECT FROM %s WHERE %s IS NULL", t->name, t->cursor);
    if (t->cursor_is_time)
        buf_addf(&sql, " OR %s IN ('infinity', '-infinity')", t->cursor);
    buf_adds(&sql, ")");
    if (!source_query(pg, t->label, &sql, 0, NULL, &res, e) || !pg_expect(pg, &res, 1, 1, e))
        return false;
    *some = pg_bool(res, 0, 0);
    PQclear(res);
    return true;
}

bool source_has_index(const struct source *s, struct pg *pg, size_t table, bool *has,
                      struct buf *out, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    const char *params[] = {t->name, t->related ? t->related->cursor : s->pipeline->source.cursor};
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql,
             "SELECT c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (SELECT FROM pg_catalog.pg_index i"
             " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
             " WHERE i.indrelid = c.oid AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL)"
             " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass");
    if (!source_query(pg, t->label, &sql, 2, params, &res, e) || !pg_expect(pg, &res, -1, 1, e))
        return false;
    *has = PQntuples(res) == 0 || pg_bool(res, 0, 0);
    PQclear(res);
    if (!*has) {
        buf_addf(out, "CREATE INDEX ON %s (%s, ", t->name, t->cursor);
        source_add_columns(out, &t->key, "");
        buf_adds(out, ")");
    }
    return true;
}
