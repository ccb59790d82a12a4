#include "source/source_internal.h"

#include "base/err.h"
#include "model/batch.h"
#include "script/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- building SQL ---- */

/* "(a, b) > ($1::uuid, $2::text)" */
static void add_comparison(struct buf *b, const struct source_key *k, const char *prefix,
                           const char *operator, int first)
{
    buf_adds(b, "(");
    source_add_columns(b, k, prefix);
    buf_addf(b, ") %s (", operator);
    source_add_parameters(b, k, first);
    buf_adds(b, ")");
}

/* "unnest($1::text[], $2::text[]) u(k0, k1)": the keys' parts as texts. */
static void add_texts(struct buf *b, const struct source_key *k, int first)
{
    buf_adds(b, "unnest(");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%d::text[]", i ? ", " : "", first + (int)i);
    buf_adds(b, ") u(");
    source_add_aliases(b, k);
    buf_adds(b, ")");
}

/* ---- fetching ---- */

static bool stream(struct pg *pg, struct buf *sql, int n, const char *const *params,
                   int64_t *clock_us, struct err *e)
{
    const char *text = buf_cstr(sql);
    return text ? pg_stream(pg, &(struct pg_statement){.sql = text, .n = n, .params = params},
                            clock_us, e)
                : err_memory(e);
}

static bool fetch_range(const struct source *s, struct pg *pg, const struct batch *b,
                        struct buf *sql, bool ordered, int64_t *clock_us, struct err *e)
{
    const struct source_key *k = &s->tables[0].key;
    struct source_parameters from = {0}, to = {0};
    const char *params[2 * SOURCE_KEY_MAX];
    int n = 0;
    bool ok = (!b->from || source_one_key(&from, k, b->from, e)) &&
              (!b->to || source_one_key(&to, k, b->to, e));
    if (ok && b->from) {
        add_comparison(sql, k, "q.", ">", 1);
        memcpy(params, from.list, k->n * sizeof *params);
        n += (int)k->n;
    }
    /* the last one: NULL is above no key, and to be rejected */
    if (ok && b->from && !b->to && k->nullable)
        for (size_t i = 0; i < k->n; i++)
            buf_addf(sql, " OR q.%s IS NULL", k->names[i]);
    if (ok && b->to) {
        buf_adds(sql, n ? " AND " : "");
        add_comparison(sql, k, "q.", "<=", n + 1);
        memcpy(params + n, to.list, k->n * sizeof *params);
        n += (int)k->n;
    }
    buf_adds(sql, n ? "" : "true");
    if (ordered) {
        buf_adds(sql, " ORDER BY ");
        source_add_columns(sql, k, "q.");
    }
    ok = ok && stream(pg, sql, n, params, clock_us, e);
    source_parameters_free(&from, k);
    source_parameters_free(&to, k);
    return ok;
}

static bool fetch_keys(const struct source *s, struct pg *pg, const struct batch *b,
                       struct buf *sql, bool ordered, int64_t *clock_us, struct err *e)
{
    const struct source_key *k = &s->tables[0].key;
    struct source_parameters p;
    source_add_choice(sql, k, "q.", 1);
    if (ordered) {
        buf_adds(sql, " ORDER BY ");
        source_add_columns(sql, k, "q.");
    }
    bool ok = source_many_keys(&p, k, (const char *const *)b->keys, b->no_rows ? 0 : b->n, e) &&
              stream(pg, sql, (int)k->n, p.list, clock_us, e);
    source_parameters_free(&p, k);
    return ok;
}

bool source_fetch(const struct source *s, struct pg *pg, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e)
{
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, s->select);
    bool ok = (b->is_range ? fetch_range : fetch_keys)(s, pg, b, &sql, ordered, clock_us, e);
    buf_free(&sql);
    return ok || err_wrap(e, "could not read '%s'", s->pipeline->source.table);
}

bool source_probe(const struct source *s, struct pg *pg, struct err *e)
{
    struct batch none = {.no_rows = true};
    const PGresult *row;
    int64_t clock;
    if (!source_fetch(s, pg, &none, false, &clock, e))
        return false;
    do
        if (!pg_next(pg, &row, e))
            return err_wrap(e, "could not read '%s'", s->pipeline->source.table);
    while (row);
    return true;
}

/* ---- walking the root table ---- */

bool source_estimate(const struct source *s, struct pg *pg, int64_t *rows, struct err *e)
{
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = "
                   "$1::pg_catalog.regclass");
    const char *param = s->tables[0].name;
    PGresult *res;
    if (!source_query(pg, s->tables[0].label, &sql, 1, &param, &res, e) ||
        !pg_expect(pg, &res, -1, 1, e))
        return false;
    *rows = PQntuples(res) ? pg_int(res, 0, 0) : 0;
    PQclear(res);
    return true;
}

/* SELECT <key> FROM <root> [WHERE key > after] ORDER BY key <tail> */
static bool walk(const struct source *s, struct pg *pg, const char *after, const char *tail,
                 PGresult **res, struct err *e)
{
    const struct source_table *t = &s->tables[0];
    struct source_parameters p = {0};
    struct buf sql;
    if (after && !source_one_key(&p, &t->key, after, e)) {
        source_parameters_free(&p, &t->key);
        return false;
    }
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "SELECT ");
    source_add_columns(&sql, &t->key, "");
    buf_addf(&sql, " FROM %s", t->name);
    if (after) {
        buf_adds(&sql, " WHERE ");
        add_comparison(&sql, &t->key, "", ">", 1);
    }
    buf_adds(&sql, " ORDER BY ");
    source_add_columns(&sql, &t->key, "");
    buf_adds(&sql, tail);
    bool ok = source_query(pg, t->label, &sql, after ? (int)t->key.n : 0, p.list, res, e) &&
              pg_expect(pg, res, -1, t->key.n, e);
    source_parameters_free(&p, &t->key);
    return ok;
}

bool source_chunk_end(const struct source *s, struct pg *pg, const char *after, int64_t rows,
                      char **to, struct err *e)
{
    char tail[60];
    PGresult *res;
    struct buf text;
    snprintf(tail, sizeof tail, " OFFSET %lld LIMIT 1", (long long)rows - 1);
    if (!walk(s, pg, after, tail, &res, e))
        return false;
    buf_init(&text, SOURCE_SQL_MAX);
    /* NULLs are ordered last: no key follows. */
    const char *key =
        PQntuples(res) ? source_join_key(res, 0, NULL, 0, s->tables[0].key.n, &text) : NULL;
    *to = key ? strdup(key) : NULL;
    bool ok = !text.failed && (!key || *to);
    buf_free(&text);
    PQclear(res);
    return ok || err_memory(e);
}

bool source_walk(const struct source *s, struct pg *pg, const char *after, int64_t rows,
                 struct keylist *out, struct err *e)
{
    char tail[60];
    PGresult *res;
    snprintf(tail, sizeof tail, " LIMIT %lld", (long long)rows);
    if (!walk(s, pg, after, tail, &res, e))
        return false;
    bool ok = source_take_list(pg, &res, s->tables[0].key.n, out, e);
    PQclear(res);
    return ok;
}

/* Runs sql, which is freed, with the keys as its parameters: the list of keys that it gives. */
static bool list_for_keys(const struct source_key *k, struct pg *pg, struct buf *sql,
                          const char *const *keys, size_t n, struct keylist *out, struct err *e)
{
    struct source_parameters p;
    PGresult *res = NULL;
    const char *text = buf_cstr(sql);
    bool ok = source_many_keys(&p, k, keys, n, e) &&
              (text ? pg_query(pg, text, (int)k->n, p.list, &res, e) : err_memory(e)) &&
              source_take_list(pg, &res, k->n, out, e);
    PQclear(res);
    source_parameters_free(&p, k);
    buf_free(sql);
    return ok;
}

static bool cast_keys(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                      struct keylist *out, struct err *e)
{
    const struct source_key *k = &s->tables[0].key;
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "SELECT DISTINCT ");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&sql, "%sk%zu::%s", i ? ", " : "", i, k->types[i]);
    buf_adds(&sql, " FROM ");
    add_texts(&sql, k, 1);
    return list_for_keys(k, pg, &sql, keys, n, out, e);
}

bool source_canonical(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                      struct keylist *out, struct err *e)
{
    if (cast_keys(s, pg, keys, n, out, e))
        return true;
    if (e->kind == ERR_FINAL) {
        err_wrap(e, "cannot use the given keys");
        e->kind = ERR_USAGE;
    }
    return false;
}

static bool find_missing(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                         struct keylist *absent, struct err *e)
{
    const struct source_table *t = &s->tables[0];
    const struct source_key *k = &t->key;
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    /* The very text matters, not the value: "7" and "007" are one number, but two documents. */
    buf_adds(&sql, "SELECT ");
    source_add_aliases(&sql, k);
    buf_adds(&sql, " FROM ");
    add_texts(&sql, k, 1);
    buf_addf(&sql, " WHERE NOT EXISTS (SELECT FROM %s t WHERE ", t->name);
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&sql, "%st.%s = k%zu::%s AND pg_catalog.format('%%s', t.%s) = k%zu",
                 i ? " AND " : "", k->names[i], i, k->types[i], k->names[i], i);
    buf_adds(&sql, ")");
    return list_for_keys(k, pg, &sql, keys, n, absent, e);
}

/* One text that is no key makes the server refuse them all: halves find it. */
bool source_missing(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                    struct keylist *absent, struct keylist *malformed, struct err *e)
{
    if (n == 0 || find_missing(s, pg, keys, n, absent, e))
        return true;
    if (e->kind != ERR_FINAL)
        return err_wrap(e, "could not read '%s'", s->tables[0].label);
    struct keylist probe = {0};
    if (n == 1) {
        bool castable = cast_keys(s, pg, keys, n, &probe, e);
        keylist_free(&probe);
        if (castable || e->kind != ERR_FINAL)
            /* it was not the key's fault */
            return err_wrap(e, "could not read '%s'", s->tables[0].label);
        return keylist_add(malformed, keys[0]) || err_memory(e);
    }
    return source_missing(s, pg, keys, n / 2, absent, malformed, e) &&
           source_missing(s, pg, keys + n / 2, n - n / 2, absent, malformed, e);
}
