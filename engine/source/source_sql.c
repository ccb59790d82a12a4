/* source_sql: statements, their parameters, and keys in results. */
#include "base/err.h"
#include "model/key.h"
#include "source/source_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- building SQL ---- */

char *source_finish(struct buf *b, struct err *e)
{
    if (!buf_cstr(b)) {
        buf_free(b);
        err_memory(e);
        return NULL;
    }
    return b->data; /* owned by the caller now */
}

void source_add_columns(struct buf *b, const struct source_key *k, const char *prefix)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s%s%s", i ? ", " : "", prefix, k->names[i]);
}

void source_add_parameters(struct buf *b, const struct source_key *k, int first)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%d::%s", i ? ", " : "", first + (int)i, k->types[i]);
}

void source_add_comparison(struct buf *b, const struct source_key *k, const char *prefix,
                           const char *operator, int first)
{
    buf_adds(b, "(");
    source_add_columns(b, k, prefix);
    buf_addf(b, ") %s (", operator);
    source_add_parameters(b, k, first);
    buf_adds(b, ")");
}

/* Of a composite key, each column is first compared by itself: PostgreSQL can push that down into
 * the query and look it up in an index. The pairs then choose among the few rows that pass. */
void source_add_choice(struct buf *b, const struct source_key *k, const char *prefix)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s%s%s = ANY($%zu::%s[])", i ? " AND " : "", prefix, k->names[i], i + 1,
                 k->types[i]);
    if (k->n == 1)
        return;
    buf_adds(b, " AND (");
    source_add_columns(b, k, prefix);
    buf_adds(b, ") IN (SELECT * FROM unnest(");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%zu::%s[]", i ? ", " : "", i + 1, k->types[i]);
    buf_adds(b, "))");
}

/* ---- statements ---- */

void source_statement_init(struct source_statement *st, int rows, size_t columns)
{
    *st = (struct source_statement){.rows = rows, .columns = columns};
    buf_init(&st->sql, SOURCE_SQL_MAX);
}

void source_statement_free(struct source_statement *st)
{
    for (int i = 0; i < st->n; i++)
        free(st->parameters[i]);
    st->n = 0;
    buf_free(&st->sql);
}

void source_bind_taken(struct source_statement *st, char *value)
{
    assert(st->n < SOURCE_PARAMETERS_MAX);
    st->parameters[st->n++] = value;
    st->sql.failed |= !value;
}

void source_bind(struct source_statement *st, const char *value)
{
    source_bind_taken(st, strdup(value));
}

static bool bind_array(struct source_statement *st, const char *const *texts, size_t n,
                       struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    pg_add_array(&b, texts, n);
    char *array = source_finish(&b, e);
    source_bind_taken(st, array);
    return array != NULL;
}

static bool split_key(const struct source_key *k, const char *key, struct buf *block,
                      const char **parts, struct err *e)
{
    if (key_split(key, k->n, block, parts))
        return true;
    if (block->failed)
        return err_memory(e);
    return err_set(e, ERR_FINAL, "'%.200s' is not a key of this table: it does not have %zu part%s",
                   key, k->n, k->n == 1 ? "" : "s");
}

bool source_bind_key(struct source_statement *st, const struct source_key *k, const char *key,
                     struct err *e)
{
    const char *parts[SOURCE_KEY_MAX];
    struct buf block;
    buf_init(&block, SOURCE_SQL_MAX);
    bool ok = split_key(k, key, &block, parts, e);
    for (size_t i = 0; ok && i < k->n; i++)
        source_bind(st, parts[i]);
    buf_free(&block);
    if (!ok)
        source_statement_free(st);
    return ok;
}

/* Of a composite key: an array for each column. */
static bool bind_columns(struct source_statement *st, const struct source_key *k,
                         const char *const *keys, size_t n, struct err *e)
{
    const char **texts = malloc((n * k->n + 1) * sizeof *texts), *parts[SOURCE_KEY_MAX];
    struct buf *blocks = calloc(n + 1, sizeof *blocks);
    bool ok = (texts && blocks) || err_memory(e);
    for (size_t i = 0; ok && i < n; i++) {
        buf_init(&blocks[i], SOURCE_SQL_MAX);
        ok = split_key(k, keys[i], &blocks[i], parts, e);
        for (size_t column = 0; ok && column < k->n; column++)
            texts[column * n + i] = parts[column];
    }
    for (size_t column = 0; ok && column < k->n; column++)
        ok = bind_array(st, texts + column * n, n, e);
    for (size_t i = 0; blocks && i < n; i++)
        buf_free(&blocks[i]);
    free(blocks);
    free(texts);
    return ok;
}

bool source_bind_keys(struct source_statement *st, const struct source_key *k,
                      const char *const *keys, size_t n, struct err *e)
{
    bool ok = k->n == 1 ? bind_array(st, keys, n, e) /* the usual case: a key is its own text */
                        : bind_columns(st, k, keys, n, e);
    if (!ok)
        source_statement_free(st);
    return ok;
}

bool source_statement(struct source_statement *st, struct pg_statement *out, struct err *e)
{
    *out = (struct pg_statement){.sql = buf_cstr(&st->sql),
                                 .n = st->n,
                                 .params = (const char *const *)st->parameters,
                                 .types = st->types};
    return out->sql || err_memory(e);
}

static bool execute(struct pg *pg, struct source_statement *st, PGresult **out, struct err *e)
{
    struct pg_statement statement;
    bool ok = source_statement(st, &statement, e) && pg_query_statement(pg, &statement, out, e);
    source_statement_free(st);
    return ok;
}

bool source_run(struct pg *pg, struct source_statement *st, PGresult **out, struct err *e)
{
    *out = NULL;
    return execute(pg, st, out, e) && pg_expect(pg, out, st->rows, st->columns, e);
}

bool source_read(const struct source_reader *r, struct source_statement *st, PGresult **out,
                 struct err *e)
{
    *out = NULL;
    if (!execute(r->pg, st, out, e))
        return err_wrap(e, "could not read '%s'", r->table->label);
    return pg_expect(r->pg, out, st->rows, st->columns, e);
}

bool source_read_bool(const struct source_reader *r, struct source_statement *st, bool *out,
                      struct err *e)
{
    PGresult *res;
    assert(st->rows == 1 && st->columns == 1);
    if (!source_read(r, st, &res, e))
        return false;
    *out = pg_bool(res, 0, 0);
    PQclear(res);
    return true;
}

/* ---- keys in results ---- */

const char *source_row_key(const PGresult *res, int row, size_t n, struct buf *text)
{
    const char *parts[SOURCE_KEY_MAX];
    buf_clear(text);
    for (size_t i = 0; i < n; i++) {
        if (PQgetisnull(res, row, (int)i))
            return NULL;
        parts[i] = PQgetvalue(res, row, (int)i);
    }
    return key_join(text, parts, n) ? buf_cstr(text) : NULL;
}

const char *source_key(const struct source *s, const PGresult *row, struct buf *text)
{
    const char *parts[SOURCE_KEY_MAX];
    buf_clear(text);
    for (size_t i = 0; i < s->tables[0].key.n; i++) {
        if (PQgetisnull(row, 0, s->key[i]))
            return NULL;
        parts[i] = PQgetvalue(row, 0, s->key[i]);
    }
    return key_join(text, parts, s->tables[0].key.n) ? buf_cstr(text) : NULL;
}

bool source_take_keys(PGresult *res, size_t n, struct keylist *out, struct err *e)
{
    struct buf text;
    bool ok = true;
    buf_init(&text, SOURCE_SQL_MAX);
    for (int row = 0; ok && row < PQntuples(res); row++) {
        const char *key = source_row_key(res, row, n, &text);
        ok = key ? keylist_add(out, key) : !text.failed;
    }
    buf_free(&text);
    PQclear(res);
    return ok || err_memory(e);
}

bool source_ask_row(struct pg *pg, const char *sql, size_t columns, PGresult **out, struct err *e)
{
    struct source_statement st;
    source_statement_init(&st, 1, columns);
    buf_adds(&st.sql, sql);
    return source_run(pg, &st, out, e);
}
