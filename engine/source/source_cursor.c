/* source_cursor: a table's cursor: its values, an index for it, rows that it does not show. */
#include "base/err.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <stdlib.h>
#include <string.h>

struct watermark_rule source_rule(const struct source *s, size_t table, bool standby)
{
    static const double DEFAULT_LOOKBACK = 60; /* seconds */
    const struct pipeline *p = s->pipeline;
    const struct source_table *t = &s->tables[table];
    double lookback = p->source.lookback >= 0 ? p->source.lookback : DEFAULT_LOOKBACK;
    return (struct watermark_rule){.is_time = t->cursor_is_time,
                                   .is_instant = t->cursor_is_instant,
                                   .commits_here = t->commits_here && !standby,
                                   .lookback_us = (int64_t)(lookback * 1e6),
                                   .limit_us = (int64_t)(p->source.horizon_limit * 1e6)};
}

/* ---- rows ---- */

bool source_has_rows(const struct source_reader *r, bool *any, struct err *e)
{
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_addf(&st.sql, "SELECT 1 FROM %s LIMIT 1", r->table->name);
    if (!source_read(r, &st, &res, e))
        return false;
    *any = PQntuples(res) > 0;
    PQclear(res);
    return true;
}

/* SELECT EXISTS (SELECT FROM content.genre
 *                 WHERE modified IS NULL OR modified IN ('infinity', '-infinity')) */
bool source_has_unseen(const struct source_reader *r, bool *some, struct err *e)
{
    const struct source_table *t = r->table;
    struct source_statement st;
    source_statement_init(&st, 1, 1);
    buf_addf(&st.sql, "SELECT EXISTS (SELECT FROM %s WHERE %s IS NULL", t->name, t->cursor);
    if (t->cursor_is_time)
        buf_addf(&st.sql, " OR %s IN ('infinity', '-infinity')", t->cursor);
    buf_adds(&st.sql, ")");
    return source_read_bool(r, &st, some, e);
}

/* Views and foreign tables have no indexes. */
static const char has_index_sql[] =
    "SELECT c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (SELECT FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = c.oid AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL)"
    " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass";

bool source_has_index(const struct source_reader *r, bool *has, struct buf *sql, struct err *e)
{
    const struct source_table *t = r->table;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql, has_index_sql);
    source_bind(&st, t->name);
    source_bind(&st, t->related ? t->related->cursor : r->source->pipeline->source.cursor);
    if (!source_read(r, &st, &res, e))
        return false;
    *has = PQntuples(res) == 0 || pg_bool(res, 0, 0);
    PQclear(res);
    if (!*has)
        buf_addf(sql, "CREATE INDEX ON %s (%s, %s)", t->name, t->cursor, t->key.columns);
    return true;
}

/* ---- values ---- */

/* For a time:   SELECT $1::timestamp, (extract(epoch FROM $1::timestamp) * 1000000)::bigint
 * For a number: SELECT $1::bigint, NULL::bigint */
static void add_value(struct buf *sql, const struct source_table *t)
{
    buf_addf(sql, "SELECT $1::%s, ", t->cursor_type);
    if (t->cursor_is_time)
        buf_addf(sql, "(extract(epoch FROM $1::%s) * 1000000)::bigint", t->cursor_type);
    else
        buf_adds(sql, "NULL::bigint");
}

bool source_since(const struct source_reader *r, const char *text, struct position *out,
                  struct err *e)
{
    const struct source_table *t = r->table;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, 1, 2);
    add_value(&st.sql, t);
    source_bind(&st, text);
    if (!source_read(r, &st, &res, e))
        return e->kind == ERR_FINAL
                   ? err_set(e, ERR_USAGE, "cannot read '%s' as a value of the cursor of '%s' (%s)",
                             text, t->label, t->cursor_type)
                   : false;
    position_free(out);
    out->cursor = strdup(PQgetvalue(res, 0, 0));
    out->has_us = !PQgetisnull(res, 0, 1);
    out->us = pg_int(res, 0, 1);
    PQclear(res);
    return out->cursor || err_memory(e);
}

/* SELECT $1::timestamp <= $2::timestamp */
bool source_not_above(const struct source_reader *r, const struct position *a,
                      const struct position *b, bool *out, struct err *e)
{
    const char *type = r->table->cursor_type;
    struct source_statement st;
    *out = !a->cursor;
    if (!a->cursor || !b->cursor)
        return true;
    source_statement_init(&st, 1, 1);
    buf_addf(&st.sql, "SELECT $1::%s <= $2::%s", type, type);
    source_bind(&st, a->cursor);
    source_bind(&st, b->cursor);
    return source_read_bool(r, &st, out, e);
}
