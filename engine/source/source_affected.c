/* source_affected: the root's keys that a related table's rows affect: the script's `affects` as a
 * query, checked against the root's key, converted to its types, and asked.
 *
 * The examples show the table content.genre, whose `affects` is a query with the genres' ids in $1,
 * and which returns film ids. */
#include "base/err.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_NAME = 200 }; /* bytes: two names of 63 bytes, quoted, and numbers */

/* How one column that `affects` returns becomes a column of the root's key. */
struct conversion {
    size_t column;
    const struct pg_column *from;
    Oid to;
    bool needed;
    bool of_text;         /* from a text, which may hold anything */
    char type[TYPE_NAME]; /* with its length or scale, which show in a key's text */
};

/* ---- describing ---- */

static bool find_arrays(const struct source_opening *o, struct err *e)
{
    struct source_table *t = o->table;
    for (size_t i = 0; i < t->key.n; i++) {
        struct source_statement st;
        PGresult *res;
        source_statement_init(&st, 1, 1);
        buf_adds(&st.sql, "SELECT ($1 || '[]')::pg_catalog.regtype::pg_catalog.oid");
        source_bind(&st, t->key.types[i]);
        if (!source_run(o->pg, &st, &res, e))
            return false;
        t->arrays[i] = (Oid)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
        PQclear(res);
    }
    return true;
}

/* The server infers the parameters' types from where they stand (`id::text = ANY($1)`). Where it
 * cannot, as in unnest($1), they are declared as arrays of the key's types. */
static bool describe(const struct source_opening *o, struct pg_columns *c, struct err *e)
{
    struct source_table *t = o->table;
    struct pg_statement with_arrays = {.sql = t->affected, .n = (int)t->key.n, .types = t->arrays};
    if (!pg_describe(o->pg, t->affected, c, e) &&
        (e->kind != ERR_FINAL || !find_arrays(o, e) ||
         !pg_describe_statement(o->pg, &with_arrays, c, e)))
        return false;
    t->parameters = (size_t)c->parameters;
    if (t->parameters > 0 && t->parameters <= t->key.n)
        return true;
    pg_columns_free(c);
    if (t->parameters > t->key.n)
        return err_set(e, ERR_FINAL, "it has $%zu, but the key of this table has %zu column%s",
                       t->parameters, t->key.n, t->key.n == 1 ? "" : "s");
    return err_set(e, ERR_FINAL, "it lacks $1: the changed keys are $1%s, an array for each column",
                   t->key.n == 1 ? "" : " and so on");
}

/* ---- conversions: from what `affects` returns to the root's key ---- */

/* The column of the root's key, with its length or scale: char(5) is padded, numeric(8,2) has two
 * decimals. */
static bool find_full_type(const struct source_opening *o, struct conversion *c, struct err *e)
{
    const struct source_table *root = &o->source->tables[0];
    struct source_statement st;
    PGresult *res;
    snprintf(c->type, sizeof c->type, "%s", root->key.types[c->column]);
    if (c->to != SOURCE_BPCHAR && c->to != SOURCE_NUMERIC)
        return true;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql,
             "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
             " WHERE attrelid = $1::pg_catalog.regclass AND attname = $2 AND atttypmod >= 0");
    source_bind(&st, root->name);
    source_bind(&st, o->source->pipeline->source.key.list[c->column]);
    if (!source_run(o->pg, &st, &res, e))
        return false;
    if (PQntuples(res) == 1) {
        c->needed = true;
        snprintf(c->type, sizeof c->type, "%s", PQgetvalue(res, 0, 0));
    }
    PQclear(res);
    return true;
}

static const char convertible_sql[] =
    "SELECT f.typcategory = 'S', t.typcategory = 'S' OR EXISTS (SELECT FROM pg_catalog.pg_cast"
    "  WHERE castsource = f.oid AND casttarget = t.oid AND castcontext <> 'e')"
    " FROM pg_catalog.pg_type f, pg_catalog.pg_type t"
    " WHERE f.oid = $1::pg_catalog.oid AND t.oid = $2::pg_catalog.oid";

/* Whether an INSERT would convert it, or one of both is a text. */
static bool is_convertible(struct pg *pg, struct conversion *c, bool *yes, struct err *e)
{
    char from[20], to[20];
    struct source_statement st;
    PGresult *res;
    snprintf(from, sizeof from, "%u", c->from->oid);
    snprintf(to, sizeof to, "%u", c->to);
    source_statement_init(&st, SOURCE_ANY_ROWS, 2);
    buf_adds(&st.sql, convertible_sql);
    source_bind(&st, from);
    source_bind(&st, to);
    if (!source_run(pg, &st, &res, e))
        return false;
    bool found = PQntuples(res) == 1, text = found && pg_bool(res, 0, 0);
    *yes = found && !c->from->array && c->from->kind != PG_JSON && (text || pg_bool(res, 0, 1));
    c->of_text = text && c->to != SOURCE_TEXT && c->to != SOURCE_VARCHAR && c->to != SOURCE_BPCHAR;
    PQclear(res);
    return true;
}

static bool find_conversion(const struct source_opening *o, struct conversion *c, struct err *e)
{
    bool possible = true;
    if (!find_full_type(o, c, e))
        return false;
    if (c->from->oid == c->to)
        return true;
    c->needed = true;
    return is_convertible(o->pg, c, &possible, e) &&
           (possible ||
            err_set(e, ERR_FINAL,
                    "column '%s' has type %s, but the root's key is %s, and PostgreSQL "
                    "does not convert one to the other",
                    c->from->name, c->from->type, o->source->tables[0].key.types[c->column]));
}

/* To a whole number, where one that is out of its range is no key:
 *
 * CASE WHEN k0::text::numeric BETWEEN -32768 AND 32767 THEN k0::smallint END
 *
 * The same from a text, which need not be a number:
 *
 * CASE WHEN k0::text !~ '^\s*[-+]?[0-9]{1,30}\s*$' THEN NULL
 *      WHEN k0::text::numeric BETWEEN -32768 AND 32767 THEN k0::text::smallint END */
static bool add_whole_number(struct buf *b, const struct conversion *c)
{
    static const struct {
        Oid oid;
        const char *lowest, *highest;
    } ranges[] = {{SOURCE_INT2, "-32768", "32767"},
                  {SOURCE_INT4, "-2147483648", "2147483647"},
                  {SOURCE_INT8, "-9223372036854775808", "9223372036854775807"}};
    enum pg_kind kind = c->from->kind;
    if (!c->of_text && kind != PG_INT && kind != PG_NUMERIC && kind != PG_FLOAT)
        return false;
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++)
        if (ranges[r].oid == c->to) {
            buf_adds(b, "CASE ");
            if (c->of_text)
                buf_addf(b, "WHEN k%zu::text !~ '^\\s*[-+]?[0-9]{1,30}\\s*$' THEN NULL ",
                         c->column);
            buf_addf(b, "WHEN k%zu::text::numeric BETWEEN %s AND %s THEN k%zu%s::%s END", c->column,
                     ranges[r].lowest, ranges[r].highest, c->column, c->of_text ? "::text" : "",
                     c->type);
            return true;
        }
    return false;
}

/* A value that does not fit into the key's type is no key, and must not stop those that are. A text
 * to a uuid:
 *
 * CASE WHEN k0::text ~ '^\{?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}\}?$' THEN k0::uuid END
 *
 * Any other conversion is a cast: k0::numeric(8,2) */
static void add_conversion(struct buf *b, const struct conversion *c)
{
    if (add_whole_number(b, c))
        return;
    if (c->of_text && c->to == SOURCE_UUID)
        buf_addf(b,
                 "CASE WHEN k%zu::text ~ '^\\{?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}\\}?$' THEN "
                 "k%zu::%s END",
                 c->column, c->column, c->type);
    else
        buf_addf(b, "k%zu::%s", c->column, c->type);
}

/* " FROM (SELECT * FROM ( <affects> ) a(k0, k1) OFFSET 0) a"
 *
 * OFFSET 0 keeps PostgreSQL from converting before the conditions of `affects` have chosen: it may
 * be they that leave only texts that are keys. */
static void add_from_affected(struct buf *b, const struct source_opening *o)
{
    buf_addf(b, " FROM (SELECT * FROM ( %s\n) a(%s) OFFSET 0) a", o->table->affected,
             o->source->tables[0].key.aliases);
}

/* SELECT <k0 converted>, k1 FROM (SELECT * FROM ( <affects> ) a(k0, k1) OFFSET 0) a */
static char *convert_affected(const struct source_opening *o, const struct conversion *c,
                              struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    buf_adds(&b, "SELECT ");
    for (size_t i = 0; i < o->source->tables[0].key.n; i++) {
        buf_adds(&b, i ? ", " : "");
        if (c[i].needed)
            add_conversion(&b, &c[i]);
        else
            buf_addf(&b, "k%zu", i);
    }
    add_from_affected(&b, o);
    return source_finish(&b, e);
}

/* ---- trying the conversion of a text ---- */

/* SELECT id FROM content.genre LIMIT 100 */
static bool find_first_keys(const struct source_opening *o, struct keylist *keys, struct err *e)
{
    const struct source_table *t = o->table;
    struct source_reader reader = {o->source, t, o->pg};
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, t->key.n);
    buf_addf(&st.sql, "SELECT %s FROM %s LIMIT 100", t->key.columns, t->name);
    return source_read(&reader, &st, &res, e) && source_take_keys(res, t->key.n, keys, e);
}

/* Binds the keys to the parameters of `affects`, which may have fewer than the key has columns. */
static bool bind_affected(struct source_statement *st, const struct source_table *t,
                          const char *const *keys, size_t n, struct err *e)
{
    struct source_statement all;
    source_statement_init(&all, SOURCE_ANY_ROWS, 0);
    if (!source_bind_keys(&all, &t->key, keys, n, e)) {
        source_statement_free(st);
        return false;
    }
    for (size_t i = 0; i < t->parameters; i++) {
        st->types[st->n] = t->arrays[i];
        source_bind_taken(st, all.parameters[i]);
        all.parameters[i] = NULL;
    }
    source_statement_free(&all);
    return true;
}

/* SELECT bool_or((<k0 converted>) IS NOT NULL), min(k0::text)
 *   FROM (SELECT * FROM ( <affects> ) a(k0) OFFSET 0) a WHERE k0 IS NOT NULL
 *
 * $1: the first keys of the table. */
static bool try_conversion(const struct source_opening *o, const struct conversion *c,
                           PGresult **res, struct err *e)
{
    struct source_statement st;
    struct keylist keys = {0};
    source_statement_init(&st, 1, 2);
    buf_adds(&st.sql, "SELECT bool_or((");
    add_conversion(&st.sql, c);
    buf_addf(&st.sql, ") IS NOT NULL), min(k%zu::text)", c->column);
    add_from_affected(&st.sql, o);
    buf_addf(&st.sql, " WHERE k%zu IS NOT NULL", c->column);
    bool ok = find_first_keys(o, &keys, e) &&
              bind_affected(&st, o->table, (const char *const *)keys.keys, keys.n, e) &&
              source_run(o->pg, &st, res, e);
    keylist_free(&keys);
    source_statement_free(&st);
    return ok;
}

/* A text that is no key is passed over; but if no text is one, it is the wrong column. */
static bool check_texts(const struct source_opening *o, const struct conversion *c, struct err *e)
{
    const char *root_type = o->source->tables[0].key.types[c->column];
    PGresult *res;
    if (!try_conversion(o, c, &res, e))
        return e->kind == ERR_FINAL &&
               err_wrap(e, "column '%s' has type %s, but the root's key is %s", c->from->name,
                        c->from->type, root_type);
    bool ok = PQgetvalue(res, 0, 0)[0] != 'f';
    if (!ok)
        err_set(e, ERR_FINAL,
                "column '%s' has type %s, but the root's key is %s, and '%.100s' is not one",
                c->from->name, c->from->type, root_type, PQgetvalue(res, 0, 1));
    PQclear(res);
    return ok;
}

/* ---- checking ---- */

static bool describe_converted(const struct source_opening *o, char *sql, struct err *e)
{
    struct source_table *t = o->table;
    struct pg_columns converted = {0};
    free(t->affected);
    t->affected = sql;
    struct pg_statement statement = {.sql = sql, .n = (int)t->parameters, .types = t->arrays};
    bool ok = pg_describe_statement(o->pg, &statement, &converted, e);
    pg_columns_free(&converted);
    return ok;
}

/* Whether a column of the table has the type of the root's key, with its length or scale. */
static bool has_full_type(const struct source_opening *o, const struct conversion *c, bool *same,
                          struct err *e)
{
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql, "SELECT pg_catalog.format_type(atttypid, atttypmod) = $3"
                      " FROM pg_catalog.pg_attribute"
                      " WHERE attrelid = $1::pg_catalog.regclass AND attname = $2");
    source_bind(&st, o->table->name);
    source_bind(&st, o->table->related->affects.list[c->column]);
    source_bind(&st, c->type);
    if (!source_run(o->pg, &st, &res, e))
        return false;
    *same = PQntuples(res) == 1 && pg_bool(res, 0, 0);
    PQclear(res);
    return true;
}

/* Whether every value of a column has the text that the root's key has for it, and is in its
 * range. */
static bool has_same_text(const struct source_opening *o, const struct conversion *c, bool *same,
                          struct err *e)
{
    Oid from = c->from->oid, to = c->to;
    bool texts = (from == SOURCE_TEXT || from == SOURCE_VARCHAR) &&
                 (to == SOURCE_TEXT || to == SOURCE_VARCHAR),
         widened = (from == SOURCE_INT2 && (to == SOURCE_INT4 || to == SOURCE_INT8)) ||
                   (from == SOURCE_INT4 && to == SOURCE_INT8);
    *same = !c->needed || texts || widened;
    return *same || from != to || has_full_type(o, c, same, e);
}

/* `affects` returns the columns of the root's key, in their order: of their types, or of types that
 * the server converts to them. */
static bool fit(const struct source_opening *o, const struct pg_columns *columns, struct err *e)
{
    const struct source_key *root = &o->source->tables[0].key;
    struct conversion c[SOURCE_KEY_MAX];
    bool needed = false, as_is = !o->table->related->affects_query, same = false;
    if (columns->n != root->n)
        return err_set(e, ERR_FINAL, "it returns %zu columns, but the root's key has %zu",
                       columns->n, root->n);
    for (size_t i = 0; i < root->n; i++) {
        c[i] = (struct conversion){.column = i, .from = &columns->list[i], .to = root->oids[i]};
        if (!find_conversion(o, &c[i], e) || (c[i].of_text && !check_texts(o, &c[i], e)))
            return false;
        needed |= c[i].needed;
        if (as_is && !has_same_text(o, &c[i], &same, e))
            return false;
        as_is &= same;
    }
    o->table->affects_as_is = as_is;
    if (!needed)
        return true;
    char *sql = convert_affected(o, c, e);
    return sql && describe_converted(o, sql, e);
}

static bool check_affected(const struct source_opening *o, struct err *e)
{
    const struct pipeline_related *related = o->table->related;
    struct pg_columns c = {0};
    bool ok = describe(o, &c, e);
    if (!ok) {
        source_hint_relation(o->pg, e);
        source_hint_column(o, &related->affects, e);
    }
    ok = ok && fit(o, &c, e);
    pg_columns_free(&c);
    return ok || source_blame(o, related->affects_line, "affects", e);
}

/* SELECT FROM ( <affects> ) q LIMIT 0, with empty arrays as its parameters
 *
 * `id = $1` is described like `id = ANY($1)`, but fails when it runs. A missing privilege is not
 * the script's mistake. */
static bool check_arrays(const struct source_opening *o, struct err *e)
{
    const struct source_table *t = o->table;
    const struct pipeline *p = o->source->pipeline;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, 0, 0);
    buf_addf(&st.sql, "SELECT FROM ( %s\n) q LIMIT 0", t->affected);
    for (size_t i = 0; i < t->parameters; i++) {
        st.types[i] = t->arrays[i];
        source_bind(&st, "{}");
    }
    bool ok = source_run(o->pg, &st, &res, e);
    PQclear(res);
    if (ok)
        return true;
    if (e->kind == ERR_FINAL && e->fault == ERR_FAULT_ROW) {
        err_hint(e, "$1 is an array of keys: write = ANY($1) instead of = $1");
        return source_blame(o, t->related->affects_line, "affects", e);
    }
    return err_wrap(e, "%s:%d: source.related[%d].affects", p->script, t->related->affects_line,
                    (int)(t->related - p->source.related) + 1);
}

/* The script's query as it is; or for columns of the table:
 *
 * SELECT film_id FROM content.genre_film_work WHERE id = ANY($1::uuid[]) */
bool source_open_affected(const struct source_opening *o, struct err *e)
{
    struct source_table *t = o->table;
    const struct pipeline_related *r = t->related;
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    if (r->affects_query) {
        buf_adds(&b, r->affects_query);
    } else {
        buf_adds(&b, "SELECT ");
        for (size_t i = 0; i < r->affects.n; i++) {
            buf_adds(&b, i ? ", " : "");
            pg_add_identifier(&b, r->affects.list[i]);
        }
        buf_addf(&b, " FROM %s WHERE ", t->name);
        source_add_choice(&b, &t->key, "");
    }
    t->affected = source_finish(&b, e);
    return t->affected && check_affected(o, e) && check_arrays(o, e);
}

/* ---- asking ---- */

/* SELECT DISTINCT * FROM ( <affects> ) q(k0, k1)
 *  WHERE k0 IS NOT NULL AND k1 IS NOT NULL [AND (k0, k1) > ($2::uuid, $3::integer)]
 *  ORDER BY k0, k1 LIMIT 10000 */
static bool add_affected(struct source_statement *st, const struct source_reader *r,
                         const struct source_changed *changed, struct err *e)
{
    const struct source_key *root = &r->source->tables[0].key;
    buf_addf(&st->sql, "SELECT DISTINCT * FROM ( %s\n) q(%s) WHERE ", r->table->affected,
             root->aliases);
    for (size_t i = 0; i < root->n; i++)
        buf_addf(&st->sql, "%sk%zu IS NOT NULL", i ? " AND " : "", i);
    if (!bind_affected(st, r->table, changed->keys, changed->n, e))
        return false;
    if (changed->after) {
        buf_addf(&st->sql, " AND (%s) > (", root->aliases);
        source_add_parameters(&st->sql, root, st->n + 1);
        buf_adds(&st->sql, ")");
        if (!source_bind_key(st, root, changed->after, e))
            return false;
    }
    buf_addf(&st->sql, " ORDER BY %s LIMIT %lld", root->aliases, (long long)changed->rows);
    return true;
}

bool source_affected(const struct source_reader *r, const struct source_changed *changed,
                     struct keylist *out, struct err *e)
{
    size_t n = r->source->tables[0].key.n;
    struct source_statement st;
    PGresult *res;
    assert(r->table->related && r->table->affected);
    source_statement_init(&st, SOURCE_ANY_ROWS, n);
    return add_affected(&st, r, changed, e) && source_read(r, &st, &res, e) &&
           source_take_keys(res, n, out, e);
}
