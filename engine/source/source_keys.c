/* source_keys: keys of the root table: chunks and walks in the key's order, keys without a row. */
#include "base/err.h"
#include "source/source_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- walking ---- */

bool source_estimate(const struct source_reader *root, int64_t *rows, struct err *e)
{
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql, "SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class"
                      " WHERE oid = $1::pg_catalog.regclass");
    source_bind(&st, root->table->name);
    if (!source_read(root, &st, &res, e))
        return false;
    *rows = PQntuples(res) ? pg_int(res, 0, 0) : 0;
    PQclear(res);
    return true;
}

/* SELECT id FROM content.film_work [WHERE (id) > ($1::uuid)] ORDER BY id <tail> */
static bool walk(const struct source_reader *root, const char *after, const char *tail,
                 PGresult **res, struct err *e)
{
    const struct source_table *t = root->table;
    struct source_statement st;
    assert(!t->related);
    source_statement_init(&st, SOURCE_ANY_ROWS, t->key.n);
    buf_addf(&st.sql, "SELECT %s FROM %s", t->key.columns, t->name);
    if (after) {
        buf_adds(&st.sql, " WHERE ");
        source_add_comparison(&st.sql, &t->key, "", ">", 1);
        if (!source_bind_key(&st, &t->key, after, e))
            return false;
    }
    buf_addf(&st.sql, " ORDER BY %s%s", t->key.columns, tail);
    return source_read(root, &st, res, e);
}

bool source_chunk_end(const struct source_reader *root, const char *after, int64_t rows, char **to,
                      struct err *e)
{
    char tail[60];
    PGresult *res;
    struct buf text;
    assert(rows > 0);
    snprintf(tail, sizeof tail, " OFFSET %lld LIMIT 1", (long long)rows - 1);
    if (!walk(root, after, tail, &res, e))
        return false;
    buf_init(&text, SOURCE_SQL_MAX);
    /* NULLs are ordered last: no key follows them. */
    const char *key = PQntuples(res) ? source_row_key(res, 0, root->table->key.n, &text) : NULL;
    *to = key ? strdup(key) : NULL;
    bool ok = !text.failed && (!key || *to);
    buf_free(&text);
    PQclear(res);
    return ok || err_memory(e);
}

bool source_walk(const struct source_reader *root, const char *after, int64_t rows,
                 struct keylist *out, struct err *e)
{
    char tail[60];
    PGresult *res;
    snprintf(tail, sizeof tail, " LIMIT %lld", (long long)rows);
    return walk(root, after, tail, &res, e) && source_take_keys(res, root->table->key.n, out, e);
}

/* SELECT count(*) FROM content.film_work WHERE id IS NULL */
bool source_count_keyless(const struct source_reader *root, int64_t *rows, struct err *e)
{
    const struct source_key *k = &root->table->key;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, 1, 1);
    buf_addf(&st.sql, "SELECT count(*) FROM %s WHERE ", root->table->name);
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&st.sql, "%s%s IS NULL", i ? " OR " : "", k->names[i]);
    if (!source_read(root, &st, &res, e))
        return false;
    *rows = pg_int(res, 0, 0);
    PQclear(res);
    return true;
}

/* SELECT id FROM content.film_work ORDER BY random() LIMIT 100 */
bool source_sample(const struct source_reader *root, int64_t n, struct keylist *out, struct err *e)
{
    const struct source_table *t = root->table;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, t->key.n);
    buf_addf(&st.sql, "SELECT %s FROM %s ORDER BY pg_catalog.random() LIMIT %lld", t->key.columns,
             t->name, (long long)n);
    return source_read(root, &st, &res, e) && source_take_keys(res, t->key.n, out, e);
}

/* ---- keys given as texts ---- */

/* "unnest($1::text[], $2::text[]) u(k0, k1)": the keys' parts as texts. */
static void add_texts(struct buf *b, const struct source_key *k)
{
    buf_adds(b, "unnest(");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%zu::text[]", i ? ", " : "", i + 1);
    buf_addf(b, ") u(%s)", k->aliases);
}

/* Runs a statement, which is freed; adds the keys that it returns. */
static bool run_for_keys(const struct source_reader *root, struct source_statement *st,
                         struct keylist *out, struct err *e)
{
    size_t n = root->table->key.n;
    PGresult *res;
    assert(!root->table->related);
    return source_run(root->pg, st, &res, e) && source_take_keys(res, n, out, e);
}

/* SELECT DISTINCT k0::uuid, k1::integer FROM unnest($1::text[], $2::text[]) u(k0, k1) */
static bool cast_keys(const struct source_reader *root, const char *const *keys, size_t n,
                      struct keylist *out, struct err *e)
{
    const struct source_key *k = &root->table->key;
    struct source_statement st;
    source_statement_init(&st, SOURCE_ANY_ROWS, k->n);
    buf_adds(&st.sql, "SELECT DISTINCT ");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&st.sql, "%sk%zu::%s", i ? ", " : "", i, k->types[i]);
    buf_adds(&st.sql, " FROM ");
    add_texts(&st.sql, k);
    return source_bind_keys(&st, k, keys, n, e) && run_for_keys(root, &st, out, e);
}

bool source_canonical(const struct source_reader *root, const char *const *keys, size_t n,
                      struct keylist *out, struct err *e)
{
    if (cast_keys(root, keys, n, out, e))
        return true;
    if (e->kind == ERR_FINAL) {
        err_wrap(e, "cannot use the given keys");
        e->kind = ERR_USAGE;
    }
    return false;
}

/* SELECT k0 FROM unnest($1::text[]) u(k0)
 *  WHERE NOT EXISTS (SELECT FROM content.film_work t
 *                     WHERE t.id = u.k0::uuid AND pg_catalog.format('%s', t.id) = u.k0)
 *
 * The text is compared, and not only the value: "7" and "007" are one number, but two documents. A
 * column of the table may be called k0: without "u." it would be compared with itself. */
static bool find_missing(const struct source_reader *root, const char *const *keys, size_t n,
                         struct keylist *missing, struct err *e)
{
    const struct source_key *k = &root->table->key;
    struct source_statement st;
    source_statement_init(&st, SOURCE_ANY_ROWS, k->n);
    buf_addf(&st.sql, "SELECT %s FROM ", k->aliases);
    add_texts(&st.sql, k);
    buf_addf(&st.sql, " WHERE NOT EXISTS (SELECT FROM %s t WHERE ", root->table->name);
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&st.sql, "%st.%s = u.k%zu::%s AND pg_catalog.format('%%s', t.%s) = u.k%zu",
                 i ? " AND " : "", k->names[i], i, k->types[i], k->names[i], i);
    buf_adds(&st.sql, ")");
    return source_bind_keys(&st, k, keys, n, e) && run_for_keys(root, &st, missing, e);
}

/* Whether the server refuses the key itself. If so, e has been handled. */
static bool is_malformed(const struct source_reader *root, const char *key, struct err *e)
{
    struct keylist ignored = {0};
    bool castable = cast_keys(root, &key, 1, &ignored, e);
    keylist_free(&ignored);
    return !castable && e->kind == ERR_FINAL;
}

/* One text that cannot be a key makes the server refuse the whole statement: halving finds it. */
bool source_find_rowless(const struct source_reader *root, const char *const *keys, size_t n,
                         struct source_rowless *out, struct err *e)
{
    if (n == 0 || find_missing(root, keys, n, &out->missing, e))
        return true;
    if (e->kind == ERR_FINAL && n > 1)
        return source_find_rowless(root, keys, n / 2, out, e) &&
               source_find_rowless(root, keys + n / 2, n - n / 2, out, e);
    if (e->kind == ERR_FINAL && is_malformed(root, keys[0], e))
        return keylist_add(&out->malformed, keys[0]) || err_memory(e);
    return err_wrap(e, "could not read '%s'", root->table->label);
}

void source_rowless_free(struct source_rowless *r)
{
    keylist_free(&r->missing);
    keylist_free(&r->malformed);
}
