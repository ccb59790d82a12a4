/* source_trace: the rows of a table that lead to one document: its `affects`, the other way round.
 *
 * The examples show the table content.person, with a query as its `affects`:
 *
 *     SELECT film_work_id FROM content.person_film_work WHERE person_id = ANY($1)
 */
#include "base/err.h"
#include "pg/sqltext.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <string.h>

void source_trace_free(struct source_trace *t)
{
    keylist_free(&t->keys);
    keylist_free(&t->cursors);
}

/* In all of it the row is called etl_row: an `affects` may have aliases of its own. */

/* "etl_row.id, etl_row.modified::text", or without a cursor "etl_row.id, ''" */
static void add_columns(struct buf *b, const struct source_table *t)
{
    source_add_columns(b, &t->key, "etl_row.");
    if (t->cursor)
        buf_addf(b, ", etl_row.%s::text", t->cursor);
    else
        buf_adds(b, ", ''");
}

/* "etl_row.film_work_id = $1::uuid AND ..." */
static void add_columns_match(struct buf *b, const struct source_table *t,
                              const struct source_key *root)
{
    for (size_t i = 0; i < root->n; i++) {
        buf_adds(b, i ? " AND etl_row." : "etl_row.");
        if (t->related)
            pg_add_identifier(b, t->related->affects.list[i]);
        else
            buf_adds(b, root->names[i]);
        buf_addf(b, " = $%zu::%s", i + 1, root->types[i]);
    }
}

/* The query for one row: its parameters become arrays of that row's key. */
static void add_query_of_row(struct buf *b, const struct source_table *t)
{
    const char *sql = t->affected;
    struct sqltext_parameter p = {0};
    size_t len = strlen(sql), done = 0;
    while (sqltext_next_parameter(&p, sql, len)) {
        buf_add(b, sql + done, p.from - done);
        if (p.n >= 1 && (size_t)p.n <= t->key.n)
            buf_addf(b, "ARRAY[etl_row.%s]", t->key.names[p.n - 1]);
        done = p.to;
    }
    buf_adds(b, sql + done);
}

/* "EXISTS (SELECT FROM ( SELECT film_work_id ... WHERE person_id = ANY(ARRAY[etl_row.id]) ) a(k0)
 *   WHERE a.k0 = $1::uuid)" */
static void add_query_match(struct buf *b, const struct source_table *t,
                            const struct source_key *root)
{
    buf_adds(b, "EXISTS (SELECT FROM ( ");
    add_query_of_row(b, t);
    buf_addf(b, "\n) a(%s) WHERE ", root->aliases);
    for (size_t i = 0; i < root->n; i++)
        buf_addf(b, "%sa.k%zu = $%zu::%s", i ? " AND " : "", i, i + 1, root->types[i]);
    buf_adds(b, ")");
}

/* OFFSET 0 keeps PostgreSQL from walking along the key, instead of looking for the few rows that
 * match. */
static void add_trace(struct buf *b, const struct source_reader *r, int64_t limit)
{
    const struct source_table *t = r->table;
    const struct source_key *root = &r->source->tables[0].key;
    bool query = t->related && t->related->affects_query;
    buf_adds(b, "SELECT * FROM (SELECT ");
    add_columns(b, t);
    if (query)
        buf_addf(b, " FROM (SELECT * FROM %s LIMIT %d) etl_row WHERE ", t->name, SOURCE_TRACE_ROWS);
    else
        buf_addf(b, " FROM %s etl_row WHERE ", t->name);
    (query ? add_query_match : add_columns_match)(b, t, root);
    buf_adds(b, " OFFSET 0) etl_row ORDER BY ");
    source_add_columns(b, &t->key, "etl_row.");
    buf_addf(b, " LIMIT %lld", (long long)limit);
}

static bool take_rows(const PGresult *res, size_t n, struct source_trace *out)
{
    struct buf text;
    bool ok = true;
    buf_init(&text, SOURCE_SQL_MAX);
    for (int row = 0; ok && row < PQntuples(res); row++) {
        const char *key = source_row_key(res, row, n, &text);
        ok = !text.failed && keylist_add(&out->keys, key ? key : "") &&
             keylist_add(&out->cursors, PQgetvalue(res, row, (int)n));
    }
    buf_free(&text);
    return ok;
}

bool source_trace(const struct source_reader *r, const char *key, int64_t limit,
                  struct source_trace *out, struct err *e)
{
    const struct source_table *t = r->table;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, t->key.n + 1);
    add_trace(&st.sql, r, limit);
    if (!source_bind_key(&st, &r->source->tables[0].key, key, e) || !source_read(r, &st, &res, e))
        return false;
    bool ok = take_rows(res, t->key.n, out);
    PQclear(res);
    return ok || err_memory(e);
}
