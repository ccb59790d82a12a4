#include "source_internal.h"

#include "err.h"
#include "pipeline.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the horizon ---- */

/* A row whose transaction began before another one ended may become visible later with an earlier cursor:
 * nothing at or above the oldest open transaction's start is passed. statement_timestamp() is read before the
 * sessions are looked at: a transaction that begins in between is above it. */
static const char horizon_sql[] =
    "WITH others AS MATERIALIZED ("
    "  SELECT pid, application_name, state, backend_type, xact_start FROM pg_catalog.pg_stat_activity a"
    "   WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()"
    "     AND NOT EXISTS (SELECT FROM unnest($1::int[], $3::bigint[]) own (pid, began) WHERE own.pid = a.pid"
    "                        AND own.began = (extract(epoch FROM a.backend_start) * 1000000)::bigint)"
    "     AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', 'walsender'))"
    " SELECT (extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::bigint,"
    "  (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM others),"
    "  (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM others"
    "    WHERE xact_start >= pg_catalog.statement_timestamp() - $2::float8 * interval '1 second'),"
    "  (SELECT 'process ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') FROM others"
    "    WHERE xact_start IS NOT NULL ORDER BY xact_start LIMIT 1),"
    "  coalesce((SELECT bool_or(backend_type IS NULL OR state = 'disabled') FROM others), false) OR "
    "pg_catalog.pg_is_in_recovery()"
    "   OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database())";

static const double DEFAULT_LOOKBACK = 60; /* seconds */

static void read_horizon(const struct source *s, const PGresult *res, struct source_horizon *h)
{
    const struct pipeline *p = s->pipeline;
    *h = (struct source_horizon){.clock_us = pg_number(res, 0, 0)};
    h->oldest_us = pg_number(res, 0, 1);
    int64_t counts_us = pg_number(res, 0, 2);
    snprintf(h->who, sizeof h->who, "%s", PQgetvalue(res, 0, 3));
    h->hidden = PQgetvalue(res, 0, 4)[0] == 't';
    h->over_limit = h->oldest_us != counts_us;
    bool given = p->source.lookback >= 0;
    double lookback = given ? p->source.lookback : DEFAULT_LOOKBACK;
    h->horizon_us = h->clock_us;
    if (counts_us != 0 && counts_us < h->horizon_us)
        h->horizon_us = counts_us;
    int64_t back = h->clock_us - (int64_t)(lookback * 1e6);
    if ((given || h->hidden || h->over_limit) && back < h->horizon_us)
        h->horizon_us = back;
}

/* The horizon, and then sql, which is freed, in one round trip. */
static bool query_with_horizon(const struct source *s, struct pg *pg, const char *label, struct buf *sql,
                               int n, const char *const *params, size_t columns,
                               struct source_horizon *horizon, PGresult **out, struct err *e)
{
    struct buf pids, began;
    PGresult *res[2] = {NULL, NULL};
    buf_init(&pids, SOURCE_SQL_MAX);
    buf_init(&began, SOURCE_SQL_MAX);
    pg_add_own_sessions(pg_server_of(pg), &pids, &began);
    const char *text = buf_cstr(sql);
    char limit[40];
    snprintf(limit, sizeof limit, "%.6f", s->pipeline->source.horizon_limit);
    const char *const about[] = {buf_cstr(&pids), limit, buf_cstr(&began)};
    struct pg_statement statements[2] = {{horizon_sql, 3, about}, {text, n, params}};
    bool ok = about[0] && about[2] && text ? pg_query_pair(pg, statements, res, e) : err_memory(e);
    buf_free(&pids);
    buf_free(&began);
    buf_free(sql);
    ok = ok && pg_expect(pg, &res[0], 1, 5, e) && pg_expect(pg, &res[1], -1, columns, e);
    if (!ok) {
        PQclear(res[0]);
        PQclear(res[1]);
        return err_wrap(e, "could not read '%s'", label);
    }
    read_horizon(s, res[0], horizon);
    PQclear(res[0]);
    *out = res[1];
    return true;
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
    out->us = pg_number(page, row, n + 1);
    buf_free(&text);
    return out->cursor && out->key;
}

bool source_page_below(const struct source *s, size_t table, const PGresult *page, int row)
{
    return PQgetvalue(page, row, (int)s->tables[table].key.n + 2)[0] == 't';
}

const char *source_page_version(const struct source *s, size_t table, const PGresult *page, int row)
{
    int column = (int)s->tables[table].key.n + 3;
    return PQgetisnull(page, row, column) ? NULL : PQgetvalue(page, row, column);
}

struct position_parameters {
    const char *list[3 * (SOURCE_KEY_MAX + 1)];
    int n;
    struct source_parameters keys[3];
};

/* Adds "(cursor, key) above `p`", or "not above `p`". which: 0 to 2, whose keys are kept there. */
static bool add_position(struct buf *sql, const struct source_table *t, const struct position *p, bool above,
                         struct position_parameters *params, int which, struct err *e)
{
    params->list[params->n++] = p->cursor;
    if (!p->key) {
        buf_addf(sql, "%s %s $%d::%s", t->cursor, above ? ">=" : "<", params->n, t->cursor_type);
        return true;
    }
    if (!source_one_key(&params->keys[which], &t->key, p->key, e))
        return false;
    buf_addf(sql, "(%s, ", t->cursor);
    source_add_columns(sql, &t->key, "");
    buf_addf(sql, ") %s ($%d::%s, ", above ? ">" : "<=", params->n, t->cursor_type);
    source_add_parameters(sql, &t->key, params->n + 1);
    buf_adds(sql, ")");
    memcpy(params->list + params->n, params->keys[which].list, t->key.n * sizeof *params->list);
    params->n += (int)t->key.n;
    return true;
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

bool source_page(const struct source *s, struct pg *pg, size_t table, const struct position *from,
                 const struct position *to, const struct position *bound, int64_t rows,
                 struct source_horizon *horizon, PGresult **out, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct position_parameters params = {0};
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    add_page_columns(&sql, t);
    buf_adds(&sql, bound->cursor ? ", " : ", false");
    bool ok = !bound->cursor || add_position(&sql, t, bound, false, &params, 0, e);
    buf_adds(&sql, t->has_xmin ? ", xmin" : ", NULL");
    add_from(&sql, t);
    if (ok && from->cursor) {
        buf_adds(&sql, " AND ");
        ok = add_position(&sql, t, from, true, &params, 1, e);
    }
    if (ok && to->cursor) {
        buf_adds(&sql, " AND ");
        ok = add_position(&sql, t, to, false, &params, 2, e);
    }
    add_order(&sql, t, "");
    buf_addf(&sql, " LIMIT %lld", (long long)rows);
    if (ok)
        ok = query_with_horizon(s, pg, t->label, &sql, params.n, params.list, t->key.n + 4, horizon, out, e);
    else
        buf_free(&sql);
    source_parameters_free(&params.keys[0], &t->key);
    source_parameters_free(&params.keys[1], &t->key);
    source_parameters_free(&params.keys[2], &t->key);
    return ok;
}

bool source_last(const struct source *s, struct pg *pg, size_t table, struct position *last,
                 struct source_horizon *horizon, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    buf_init(&sql, SOURCE_SQL_MAX);
    add_page_columns(&sql, t); /* of the last row alone: beside ORDER BY, they would be computed for each */
    buf_adds(&sql, " FROM (SELECT *");
    add_from(&sql, t);
    add_order(&sql, t, " DESC");
    buf_adds(&sql, " LIMIT 1) last");
    if (!query_with_horizon(s, pg, t->label, &sql, 0, NULL, t->key.n + 2, horizon, &res, e))
        return false;
    position_free(last);
    bool ok = PQntuples(res) == 0 || source_page_position(s, table, res, 0, last);
    PQclear(res);
    return ok || err_memory(e);
}

/* Of the latest rows: whether their times are all whole seconds, minutes, hours, days; whether a number is
 * there twice. A few distinct ones are no evidence: a bulk change has but one. */
static void add_grain(struct buf *sql, const struct source_table *t)
{
    static const char *const units[] = {"second", "minute", "hour", "day"};
    enum { LATEST = 1000, EVIDENCE = 10 };
    buf_addf(sql, "SELECT count(DISTINCT c) >= %d", EVIDENCE);
    for (size_t i = 0; t->cursor_is_time && i < sizeof units / sizeof *units; i++)
        buf_addf(sql, ", bool_and(c = date_trunc('%s', c))", units[i]);
    if (!t->cursor_is_time)
        buf_adds(sql, ", count(DISTINCT c) < count(*)");
    buf_addf(sql, " FROM (SELECT %s AS c", t->cursor);
    add_from(sql, t);
    buf_addf(sql, " ORDER BY %s DESC LIMIT %d) latest", t->cursor, LATEST);
}

bool source_grain(const struct source *s, struct pg *pg, size_t table, struct source_grain *g, struct err *e)
{
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    *g = (struct source_grain){.coarse = t->cursor_is_rounded};
    if (t->cursor_is_rounded && t->cursor_is_time)
        g->step_us = seconds[0] * 1000 * 1000;
    buf_init(&sql, SOURCE_SQL_MAX);
    add_grain(&sql, t);
    if (!source_query(pg, t->label, &sql, 0, NULL, &res, e) ||
        !pg_expect(pg, &res, 1, t->cursor_is_time ? 5 : 2, e))
        return false;
    for (int i = 1; PQgetvalue(res, 0, 0)[0] == 't' && i < PQnfields(res); i++)
        if (PQgetvalue(res, 0, i)[0] == 't') {
            g->coarse = true;
            g->step_us = t->cursor_is_time ? seconds[i - 1] * 1000 * 1000 : 0;
        }
    PQclear(res);
    return true;
}

/* SELECT value, its microseconds: as a position without a key. */
static bool value_position(const struct source_table *t, struct pg *pg, const char *value, const char *param,
                           struct position *out, struct err *e)
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
    out->us = pg_number(res, 0, 1);
    PQclear(res);
    return out->cursor || err_memory(e);
}

bool source_since(const struct source *s, struct pg *pg, size_t table, const char *text, struct position *out,
                  struct err *e)
{
    const struct source_table *t = &s->tables[table];
    char value[300];
    snprintf(value, sizeof value, "$1::%s", t->cursor_type);
    if (value_position(t, pg, value, text, out, e))
        return true;
    if (e->kind == ERR_FINAL)
        err_set(e, ERR_USAGE, "cannot read '%s' as a value of the cursor of '%s' (%s)", text, t->label,
                t->cursor_type);
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
    *out = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    return true;
}

/* ---- what changes affect, and what a poll cannot see ---- */

/* SELECT DISTINCT * FROM ( <affects> ) q(k0, k1) WHERE [(k0, k1) > after] ORDER BY k0, k1 LIMIT rows */
static void add_affected(struct buf *sql, const struct source_table *t, const struct source_key *root,
                         bool after, int64_t rows)
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

bool source_affected(const struct source *s, struct pg *pg, size_t table, const char *const *keys, size_t n,
                     const char *after, int64_t rows, struct source_list *out, struct err *e)
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
    bool ok = source_many_keys(&p, &t->key, keys, n, e) && (!after || source_one_key(&a, root, after, e));
    memcpy(params, p.list, t->parameters * sizeof *params);
    memcpy(params + t->parameters, a.list, root->n * sizeof *params);
    memcpy(types, t->arrays, t->parameters * sizeof *types);
    if (ok) {
        const char *text = buf_cstr(&sql);
        int n_params = (int)(t->parameters + (after ? root->n : 0));
        ok = text ? pg_query_typed(pg, text, n_params, types, params, &res, e) : err_memory(e);
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
    *some = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    return true;
}

bool source_has_index(const struct source *s, struct pg *pg, size_t table, bool *has, struct buf *out,
                      struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    const char *params[] = {t->name, t->related ? t->related->cursor : s->pipeline->source.cursor};
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "SELECT c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (SELECT FROM pg_catalog.pg_index i"
                   " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
                   " WHERE i.indrelid = c.oid AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL)"
                   " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass");
    if (!source_query(pg, t->label, &sql, 2, params, &res, e) || !pg_expect(pg, &res, -1, 1, e))
        return false;
    *has = PQntuples(res) == 0 || PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    if (!*has) {
        buf_addf(out, "CREATE INDEX ON %s (%s, ", t->name, t->cursor);
        source_add_columns(out, &t->key, "");
        buf_adds(out, ")");
    }
    return true;
}
