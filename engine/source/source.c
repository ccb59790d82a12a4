#include "source/source_internal.h"

#include "base/err.h"
#include "model/key.h"
#include "script/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The oids of types, which PostgreSQL fixed for ever. */
enum {
    INT8 = 20,
    INT2 = 21,
    INT4 = 23,
    TEXT = 25,
    BPCHAR = 1042,
    VARCHAR = 1043,
    NUMERIC = 1700,
    UUID = 2950
};

enum { TYPE_NAME = 200 }; /* bytes: two names of 63 bytes, quoted, and numbers */

/* ---- the script's mistakes ---- */

/* The server's "no" to a script's text is the script's mistake; a lost connection is not. t: NULL:
 * the query. */
static bool blame_script(struct err *e, const struct pipeline *p, int line,
                         const struct source_table *t, const char *field)
{
    if (e->kind != ERR_FINAL)
        return false;
    struct err cause = *e;
    if (t && t->related)
        err_set(e, ERR_USAGE, "cannot use source.related[%d].%s: %s",
                (int)(t->related - p->source.related) + 1, field, cause.text);
    else
        err_set(e, ERR_USAGE, "cannot use source.%s: %s", field, cause.text);
    err_hint(e, "%s", cause.hint);
    return line > 0 ? err_wrap(e, "%s:%d", p->script, line) : err_wrap(e, "%s", p->script);
}

/* ---- building SQL ---- */

static char *finish(struct buf *b, struct err *e)
{
    if (!buf_cstr(b)) {
        buf_free(b);
        err_memory(e);
        return NULL;
    }
    return b->data; /* owned by the caller now */
}

static char *quoted(const char *name, struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    pg_add_identifier(&b, name);
    return finish(&b, e);
}

static char *wrap_query(const char *query, struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    buf_adds(&b, "SELECT * FROM ( "); /* the query's lines keep their numbers, for messages */
    buf_adds(&b, query);
    buf_adds(&b, "\n) q WHERE "); /* on a line of its own: the query may end in a comment */
    return finish(&b, e);
}

void source_add_columns(struct buf *b, const struct source_key *k, const char *prefix)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s%s%s", i ? ", " : "", prefix, k->names[i]);
}

void source_add_aliases(struct buf *b, const struct source_key *k)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%sk%zu", i ? ", " : "", i);
}

void source_add_parameters(struct buf *b, const struct source_key *k, int first)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%d::%s", i ? ", " : "", first + (int)i, k->types[i]);
}

/* Of a composite key, each column is first compared by itself: that is what PostgreSQL can push
 * down into the query and look up in an index; the pairs then choose among the few rows that
 * pass. */
void source_add_choice(struct buf *b, const struct source_key *k, const char *prefix, int first)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s%s%s = ANY($%d::%s[])", i ? " AND " : "", prefix, k->names[i],
                 first + (int)i, k->types[i]);
    if (k->n == 1)
        return;
    buf_adds(b, " AND (");
    source_add_columns(b, k, prefix);
    buf_adds(b, ") IN (SELECT * FROM unnest(");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%d::%s[]", i ? ", " : "", first + (int)i, k->types[i]);
    buf_adds(b, "))");
}

/* ---- keys as parameters ---- */

void source_parameters_free(struct source_parameters *p, const struct source_key *k)
{
    for (size_t i = 0; i < k->n; i++)
        buf_free(&p->text[i]);
}

static bool malformed_key(const char *key, struct err *e)
{
    return err_set(e, ERR_FINAL,
                   "'%.200s' is not a key of this table: it has another number of parts", key);
}

static bool split_key(const struct source_key *k, const char *key, struct buf *block,
                      const char **parts, struct err *e)
{
    if (key_split(key, k->n, block, parts))
        return true;
    return block->failed ? err_memory(e) : malformed_key(key, e);
}

bool source_one_key(struct source_parameters *p, const struct source_key *k, const char *key,
                    struct err *e)
{
    const char *parts[SOURCE_KEY_MAX];
    struct buf block;
    *p = (struct source_parameters){0};
    buf_init(&block, SOURCE_SQL_MAX);
    bool ok = split_key(k, key, &block, parts, e);
    for (size_t i = 0; ok && i < k->n; i++) {
        buf_init(&p->text[i], SOURCE_SQL_MAX);
        buf_adds(&p->text[i], parts[i]);
        p->list[i] = buf_cstr(&p->text[i]);
        ok = p->list[i] || err_memory(e);
    }
    buf_free(&block);
    return ok;
}

static bool add_parts(struct source_parameters *p, const struct source_key *k,
                      const char *const *keys, size_t n, size_t column, struct err *e)
{
    const char **texts = malloc((n ? n : 1) * sizeof *texts), *parts[SOURCE_KEY_MAX];
    struct buf *blocks = calloc(n ? n : 1, sizeof *blocks);
    bool ok = (texts && blocks) || err_memory(e);
    for (size_t i = 0; ok && i < n; i++) {
        buf_init(&blocks[i], SOURCE_SQL_MAX);
        ok = split_key(k, keys[i], &blocks[i], parts, e);
        texts[i] = parts[column];
    }
    if (ok)
        pg_add_array(&p->text[column], texts, n);
    for (size_t i = 0; blocks && i < n; i++)
        buf_free(&blocks[i]);
    free(blocks);
    free(texts);
    return ok;
}

bool source_many_keys(struct source_parameters *p, const struct source_key *k,
                      const char *const *keys, size_t n, struct err *e)
{
    bool ok = true;
    *p = (struct source_parameters){0};
    for (size_t i = 0; ok && i < k->n; i++) {
        buf_init(&p->text[i], SOURCE_SQL_MAX);
        if (k->n == 1)
            pg_add_array(&p->text[i], keys, n); /* the usual case: a key is its own text */
        else
            ok = add_parts(p, k, keys, n, i, e);
        p->list[i] = buf_cstr(&p->text[i]);
        ok = ok && (p->list[i] || err_memory(e));
    }
    return ok;
}

/* ---- keys from results ---- */

const char *source_join_key(const PGresult *res, int row, const int *columns, int first, size_t n,
                            struct buf *text)
{
    const char *parts[SOURCE_KEY_MAX];
    buf_clear(text);
    for (size_t i = 0; i < n; i++) {
        int column = columns ? columns[i] : first + (int)i;
        if (PQgetisnull(res, row, column))
            return NULL;
        parts[i] = PQgetvalue(res, row, column);
    }
    return key_join(text, parts, n) ? buf_cstr(text) : NULL;
}

const char *source_key(const struct source *s, const PGresult *row, struct buf *text)
{
    return source_join_key(row, 0, s->key, 0, s->tables[0].key.n, text);
}

bool source_take_list(struct pg *pg, PGresult **res, size_t n, struct keylist *out, struct err *e)
{
    struct buf text;
    if (!pg_expect(pg, res, -1, n, e))
        return false;
    buf_init(&text, SOURCE_SQL_MAX);
    bool ok = true;
    for (int i = 0; ok && i < PQntuples(*res); i++) {
        const char *key = source_join_key(*res, i, NULL, 0, n, &text);
        ok = key ? keylist_add(out, key) : !text.failed;
    }
    buf_free(&text);
    return ok || err_memory(e);
}

/* ---- asking ---- */

bool source_query(struct pg *pg, const char *label, struct buf *sql, int n,
                  const char *const *params, PGresult **out, struct err *e)
{
    const char *text = buf_cstr(sql);
    bool ok = text ? pg_query(pg, text, n, params, out, e) : err_memory(e);
    buf_free(sql);
    return ok || err_wrap(e, "could not read '%s'", label);
}

/* ---- names that differ in case ---- */

/* One row of one column, or none; what fails gives none: it is about a hint alone. */
static bool ask_name(struct pg *pg, const char *sql, int n, const char *const *params, char *out,
                     size_t size)
{
    struct err ignored;
    PGresult *res = NULL;
    bool found = pg_query(pg, sql, n, params, &res, &ignored) &&
                 pg_expect(pg, &res, -1, 1, &ignored) && PQntuples(res) == 1;
    if (found)
        snprintf(out, size, "%s", PQgetvalue(res, 0, 0));
    PQclear(res);
    return found;
}

/* 'relation "filmwork" does not exist', but "FilmWork" does: its quotes were left out. Or it is in
 * a schema that is not searched. */
static void hint_relation(struct pg *pg, struct err *e)
{
    char name[200], found[300];
    const char *begins = strstr(e->text, "relation \""), *param = name;
    if (e->kind != ERR_FINAL || *e->hint || !begins)
        return;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(begins + 10, "\""), begins + 10);
    if (strrchr(name, '.'))
        param = strrchr(name, '.') + 1;
    if (!ask_name(
            pg,
            "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN "
            "pg_catalog.quote_ident(relname)"
            " ELSE pg_catalog.format('%I.%I', nspname, relname) END FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace"
            " WHERE lower(relname::text) = lower($1::text) AND relkind IN ('r', 'p', 'v', 'm', 'f')"
            " AND nspname NOT LIKE 'pg\\_%' ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, 1 "
            "LIMIT 1",
            1, &param, found, sizeof found))
        return;
    if (strchr(found, '"'))
        err_hint(
            e,
            "did you mean %s? A name with capital letters is written with its quotes: table = '%s'",
            found, found);
    else
        err_hint(e, "did you mean %s?", found);
}

/* Columns are given by their names as they are; "ID" or '"id"' for id is none. */
static void hint_column(const struct source_table *t, struct pg *pg, char *const *names, size_t n,
                        struct err *e)
{
    char found[100];
    for (size_t i = 0; i < n && e->kind == ERR_FINAL; i++) {
        const char *params[] = {t->name, names[i]};
        if (ask_name(pg,
                     "SELECT attname FROM pg_catalog.pg_attribute a WHERE attrelid = "
                     "$1::pg_catalog.regclass"
                     " AND attnum > 0 AND NOT attisdropped AND lower(attname::text) = "
                     "lower(btrim($2::text, '\"'))"
                     " AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute b WHERE b.attrelid = "
                     "a.attrelid"
                     " AND b.attname::text = $2::text) LIMIT 1",
                     2, params, found, sizeof found)) {
            err_hint(e,
                     "did you mean '%s'? Columns are named as they are, capital letters too, "
                     "without quotes",
                     found);
            return;
        }
    }
}

/* ---- opening ---- */

/* Of a table: its name; whether it is one; whether its rows have an xmin that tells their versions
 * apart, and that we may read; whether they appear by commits on this server; and its columns, as
 * far as we may read them, for where there is no such xmin. */
static const char table_sql[] =
    "WITH RECURSIVE parts (oid) AS ("
    "  SELECT $1::pg_catalog.regclass::pg_catalog.oid"
    "  UNION SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent = parts.oid)"
    " SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind IN ('r', 'p', 'v', 'm', "
    "'f'),"
    "  pg_catalog.bool_and(part.relkind IN ('r', 'p', 'm'))"
    "   AND pg_catalog.has_column_privilege(c.oid, 'xmin', 'SELECT'),"
    "  pg_catalog.bool_and(part.relkind IN ('r', 'p') AND NOT EXISTS"
    "   (SELECT FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid = part.oid)),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attnum)"
    "    FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped"
    "     AND pg_catalog.has_column_privilege(attrelid, attnum, 'SELECT')),"
    "  pg_catalog.row_security_active(c.oid)"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    "  CROSS JOIN parts JOIN pg_catalog.pg_class part ON part.oid = parts.oid"
    " WHERE c.oid = $1::pg_catalog.regclass GROUP BY c.oid, n.nspname";

/* What changes whenever the row does. */
static char *version_of(const struct source_table *t, const char *columns)
{
    char *sql;
    if (t->has_xmin)
        return strdup("xmin");
    return asprintf(&sql, "pg_catalog.md5(ROW(%s)::pg_catalog.text)", columns) < 0 ? NULL : sql;
}

static bool find_table(struct source_table *t, const struct pipeline *p, int line, struct pg *pg,
                       struct err *e)
{
    PGresult *res;
    bool ok = pg_query(pg, table_sql, 1, &t->label, &res, e);
    if (!ok || !pg_expect(pg, &res, -1, 6, e)) {
        hint_relation(pg, e);
        return blame_script(e, p, line, t, "table");
    }
    if (PQntuples(res) != 1 || !pg_bool(res, 0, 1)) {
        err_set(e, ERR_FINAL, "'%s' is not a table or view", t->label);
        ok = blame_script(e, p, line, t, "table");
    } else {
        t->name = strdup(PQgetvalue(res, 0, 0));
        t->has_xmin = pg_bool(res, 0, 2);
        t->is_ruled = pg_bool(res, 0, 3);
        t->version = version_of(t, PQgetvalue(res, 0, 4));
        t->row_security = pg_bool(res, 0, 5);
        ok = (t->name && t->version) || err_memory(e);
    }
    PQclear(res);
    return ok;
}

/* Columns of a table: their types, by asking for them. */
static bool find_columns(const struct source_table *t, struct pg *pg, char *const *names, size_t n,
                         struct pg_columns *out, struct err *e)
{
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "SELECT ");
    for (size_t i = 0; i < n; i++) {
        buf_adds(&sql, i ? ", " : "");
        pg_add_identifier(&sql, names[i]);
    }
    buf_addf(&sql, " FROM %s", t->name);
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_describe(pg, text, out, e) : err_memory(e);
    buf_free(&sql);
    if (!ok)
        hint_column(t, pg, names, n, e);
    if (!ok || out->n == n)
        return ok;
    size_t got = out->n;
    pg_columns_free(out);
    return err_set(e, ERR_PASSING,
                   "could not look up the columns of '%s': %zu were asked for, %zu came", t->label,
                   n, got);
}

static bool find_key(struct source_table *t, const struct pipeline *p,
                     const struct pipeline_names *names, int line, struct pg *pg, struct err *e)
{
    struct pg_columns c = {0};
    if (!find_columns(t, pg, names->list, names->n, &c, e))
        return blame_script(e, p, line, t, "key");
    bool ok = true;
    for (size_t i = 0; ok && i < names->n; i++) {
        t->key.n = i + 1;
        t->key.oids[i] = c.list[i].oid;
        t->key.types[i] = strdup(c.list[i].type);
        t->key.names[i] = quoted(names->list[i], e);
        ok = (t->key.types[i] && t->key.names[i]) || err_memory(e);
        if (ok && c.list[i].array) {
            err_set(e, ERR_FINAL, "column '%s' is an array (%s), and cannot be a key",
                    names->list[i], c.list[i].type);
            ok = blame_script(e, p, line, t, "key");
        }
    }
    pg_columns_free(&c);
    return ok;
}

/* Whether the table lets a row be without a key. (So does any view.) */
static bool find_nullable(struct source_table *t, const struct pipeline_names *names, struct pg *pg,
                          struct err *e)
{
    struct buf list;
    PGresult *res;
    buf_init(&list, SOURCE_SQL_MAX);
    pg_add_array(&list, (const char *const *)names->list, names->n);
    const char *params[] = {t->name, buf_cstr(&list)};
    bool ok = params[1]
                  ? pg_query(pg,
                             "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid ="
                             " $1::pg_catalog.regclass AND attname = ANY($2) AND NOT attnotnull)",
                             2, params, &res, e)
                  : err_memory(e);
    buf_free(&list);
    if (!ok || !pg_expect(pg, &res, 1, 1, e))
        return false;
    t->key.nullable = pg_bool(res, 0, 0);
    PQclear(res);
    return true;
}

/* The least numbers of the types that have one: what is subtracted from a cursor must not fall
 * below. */
static const char *floor_of(const char *type)
{
    static const char *const floors[][2] = {{"smallint", "-32768"},
                                            {"integer", "-2147483648"},
                                            {"bigint", "-9223372036854775808"},
                                            {"oid", "0"}};
    for (size_t i = 0; i < sizeof floors / sizeof floors[0]; i++)
        if (strcmp(floors[i][0], type) == 0)
            return floors[i][1];
    return NULL;
}

/* The cursor's type with its precision: a timestamp(0) is rounded, and so has to be what it is
 * compared with. */
static bool find_cursor_type(struct source_table *t, const char *name, struct pg *pg, struct err *e)
{
    const char *params[] = {t->name, name};
    PGresult *res;
    if (!pg_query(pg,
                  "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
                  " WHERE attrelid = $1::pg_catalog.regclass AND attname = $2",
                  2, params, &res, e) ||
        !pg_expect(pg, &res, -1, 1, e))
        return false;
    bool found = PQntuples(res) == 1;
    t->cursor_type = found ? strdup(PQgetvalue(res, 0, 0)) : NULL;
    PQclear(res);
    if (!found)
        return err_set(e, ERR_PASSING, "column '%s' is gone again", name);
    t->cursor_floor = t->cursor_type ? floor_of(t->cursor_type) : NULL;
    return t->cursor_type || err_memory(e);
}

static bool find_cursor(struct source_table *t, const struct pipeline *p, char *name, int line,
                        struct pg *pg, struct err *e)
{
    if (!name)
        return true;
    struct pg_columns c = {0};
    if (!find_columns(t, pg, &name, 1, &c, e))
        return blame_script(e, p, line, t, "cursor");
    enum pg_kind kind = c.list[0].kind;
    bool array = c.list[0].array;
    pg_columns_free(&c);
    t->cursor = quoted(name, e);
    if (!t->cursor || !find_cursor_type(t, name, pg, e))
        return false;
    t->cursor_is_instant = kind == PG_TIMESTAMPTZ;
    t->cursor_is_time = kind == PG_TIMESTAMPTZ || kind == PG_TIMESTAMP || kind == PG_DATE;
    if (!array && (t->cursor_is_time || kind == PG_INT || kind == PG_NUMERIC))
        return true;
    err_set(e, ERR_FINAL,
            "column '%s' has type %s, and has to be a time or a number that grows with each change",
            name, t->cursor_type);
    return blame_script(e, p, line, t, "cursor");
}

static bool blame_query(const struct source *s, struct err *e)
{
    return blame_script(e, s->pipeline, s->pipeline->source.query_line, NULL, "query");
}

/* A DELETE ... RETURNING returns rows, but not to a SELECT around it. */
static bool check_wrapped(const struct source *s, struct pg *pg, struct err *e)
{
    struct buf sql;
    struct pg_columns c = {0};
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "%strue", s->select);
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_describe(pg, text, &c, e) : err_memory(e);
    pg_columns_free(&c);
    buf_free(&sql);
    return ok || blame_query(s, e);
}

/* Whether a value of the one type has the same text in the other, and can be compared with it. */
static bool same_text(Oid a, Oid b)
{
    bool whole = (a == INT2 || a == INT4 || a == INT8) && (b == INT2 || b == INT4 || b == INT8);
    bool text = (a == TEXT || a == VARCHAR) && (b == TEXT || b == VARCHAR);
    return a == b || whole || text;
}

static bool check_query(struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    const struct source_key *key = &s->tables[0].key;
    if (!pg_describe(pg, p->source.query, &s->columns, e)) {
        hint_relation(pg, e);
        return blame_query(s, e);
    }
    if (s->columns.parameters > 0) {
        err_set(e, ERR_FINAL, "it has a placeholder, $%d, and nothing to put there",
                s->columns.parameters);
        return blame_query(s, e);
    }
    for (size_t i = 0; i < key->n; i++) {
        const char *name = p->source.key.list[i];
        s->key[i] = pg_column(&s->columns, name);
        if (s->key[i] < 0) {
            err_set(e, ERR_FINAL, "it does not return the key column '%s'", name);
            return blame_query(s, e);
        }
        if (!same_text(s->columns.list[s->key[i]].oid, key->oids[i])) {
            err_set(e, ERR_FINAL,
                    "its column '%s' has type %s, but in table '%s' that is %s; return it as it is",
                    name, s->columns.list[s->key[i]].type, p->source.table, key->types[i]);
            return blame_query(s, e);
        }
    }
    for (size_t i = 0; i < s->columns.n; i++)
        if (pg_column(&s->columns, s->columns.list[i].name) != (int)i) {
            err_set(e, ERR_FINAL, "it returns column '%s' twice", s->columns.list[i].name);
            return blame_query(s, e);
        }
    s->select = wrap_query(p->source.query, e);
    return s->select && check_wrapped(s, pg, e);
}

/* ---- which documents a related row affects ---- */

static bool find_arrays(struct source_table *t, struct pg *pg, struct err *e)
{
    for (size_t i = 0; i < t->key.n; i++) {
        PGresult *res;
        const char *type = t->key.types[i];
        if (!pg_query(pg, "SELECT ($1 || '[]')::pg_catalog.regtype::pg_catalog.oid", 1, &type, &res,
                      e) ||
            !pg_expect(pg, &res, 1, 1, e))
            return false;
        t->arrays[i] = (Oid)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
        PQclear(res);
    }
    return true;
}

/* The server guesses the parameters' types from where they stand (`id::text = ANY($1)`); where it
 * cannot, as in unnest($1), it is told that they are arrays of the key's. */
static bool describe_affected(struct source_table *t, struct pg *pg, struct pg_columns *c,
                              struct err *e)
{
    if (!pg_describe(pg, t->affected, c, e) &&
        (e->kind != ERR_FINAL || !find_arrays(t, pg, e) ||
         !pg_describe_statement(
             pg, &(struct pg_statement){.sql = t->affected, .n = (int)t->key.n, .types = t->arrays},
             c, e)))
        return false;
    t->parameters = (size_t)c->parameters;
    if (t->parameters > 0 && t->parameters <= t->key.n)
        return true;
    pg_columns_free(c);
    if (t->parameters > t->key.n)
        return err_set(e, ERR_FINAL, "it has $%zu, but the key of this table has %zu column%s",
                       t->parameters, t->key.n, t->key.n == 1 ? "" : "s");
    return err_set(
        e, ERR_FINAL,
        "it lacks $1: the keys that changed are $1%s, an array for each column of the key",
        t->key.n == 1 ? "" : " and so on");
}

/* How a column that `affects` gives becomes a column of the root's key. */
struct conversion {
    bool needed;
    bool of_text;         /* from a text, which may hold anything */
    char type[TYPE_NAME]; /* with its length or scale: they show in a key's text */
};

/* That column of the root's key, with its length or scale: char(5) is padded, numeric(8,2) has two
 * decimals. */
static bool find_full_type(const struct source *s, size_t i, struct pg *pg, struct conversion *c,
                           struct err *e)
{
    const struct source_table *root = &s->tables[0];
    const char *params[] = {root->name, s->pipeline->source.key.list[i]};
    PGresult *res;
    snprintf(c->type, sizeof c->type, "%s", root->key.types[i]);
    if (root->key.oids[i] != BPCHAR && root->key.oids[i] != NUMERIC)
        return true;
    if (!pg_query(pg,
                  "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
                  " WHERE attrelid = $1::pg_catalog.regclass AND attname = $2 AND atttypmod >= 0",
                  2, params, &res, e) ||
        !pg_expect(pg, &res, -1, 1, e))
        return false;
    if (PQntuples(res) == 1) {
        c->needed = true;
        snprintf(c->type, sizeof c->type, "%s", PQgetvalue(res, 0, 0));
    }
    PQclear(res);
    return true;
}

/* What an INSERT would convert, and what is, or becomes, a text. */
static bool is_convertible(struct pg *pg, const struct pg_column *from, Oid to, bool *yes,
                           bool *of_text, struct err *e)
{
    char a[20], b[20];
    const char *params[] = {a, b};
    PGresult *res;
    snprintf(a, sizeof a, "%u", from->oid);
    snprintf(b, sizeof b, "%u", to);
    if (!pg_query(
            pg,
            "SELECT f.typcategory = 'S', t.typcategory = 'S' OR EXISTS (SELECT FROM "
            "pg_catalog.pg_cast"
            "  WHERE castsource = f.oid AND casttarget = t.oid AND castcontext <> 'e')"
            " FROM pg_catalog.pg_type f, pg_catalog.pg_type t WHERE f.oid = $1::pg_catalog.oid"
            " AND t.oid = $2::pg_catalog.oid",
            2, params, &res, e) ||
        !pg_expect(pg, &res, -1, 2, e))
        return false;
    bool found = PQntuples(res) == 1, text = found && pg_bool(res, 0, 0);
    *yes = found && !from->array && from->kind != PG_JSON && (text || pg_bool(res, 0, 1));
    *of_text = text && to != TEXT && to != VARCHAR && to != BPCHAR;
    PQclear(res);
    return true;
}

static bool find_conversion(const struct source *s, size_t i, const struct pg_column *from,
                            struct pg *pg, struct conversion *c, struct err *e)
{
    const struct source_key *root = &s->tables[0].key;
    bool possible = true;
    *c = (struct conversion){0};
    if (!find_full_type(s, i, pg, c, e))
        return false;
    if (from->oid == root->oids[i])
        return true;
    c->needed = true;
    return is_convertible(pg, from, root->oids[i], &possible, &c->of_text, e) &&
           (possible ||
            err_set(e, ERR_FINAL,
                    "column '%s' has type %s, but the root's key is %s, and the one does not "
                    "become the other by itself",
                    from->name, from->type, root->types[i]));
}

/* A value that does not fit into the key's type is no key, and must not stop those that are. */
static void add_conversion(struct buf *b, const struct conversion *c, size_t i,
                           const struct pg_column *from, Oid to)
{
    static const struct {
        Oid oid;
        const char *least, *most;
    } ranges[] = {{INT2, "-32768", "32767"},
                  {INT4, "-2147483648", "2147483647"},
                  {INT8, "-9223372036854775808", "9223372036854775807"}};
    bool number =
        c->of_text || from->kind == PG_INT || from->kind == PG_NUMERIC || from->kind == PG_FLOAT;
    for (size_t r = 0; number && r < sizeof ranges / sizeof *ranges; r++)
        if (ranges[r].oid == to) {
            buf_adds(b, "CASE ");
            if (c->of_text)
                buf_addf(b, "WHEN k%zu::text !~ '^\\s*[-+]?[0-9]{1,30}\\s*$' THEN NULL ", i);
            buf_addf(b, "WHEN k%zu::text::numeric BETWEEN %s AND %s THEN k%zu%s::%s END", i,
                     ranges[r].least, ranges[r].most, i, c->of_text ? "::text" : "", c->type);
            return;
        }
    if (c->of_text && to == UUID)
        buf_addf(b,
                 "CASE WHEN k%zu::text ~ '^\\{?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}\\}?$' THEN "
                 "k%zu::%s END",
                 i, i, c->type);
    else
        buf_addf(b, "k%zu::%s", i, c->type);
}

/* " FROM (SELECT * FROM ( <affects> ) a(k0, k1) OFFSET 0) a": a conversion comes behind what the
 * query chooses by, which may be what makes its texts keys. */
static void add_fence(struct buf *b, const struct source_table *t, const struct source_key *root)
{
    buf_addf(b, " FROM (SELECT * FROM ( %s\n) a(", t->affected);
    source_add_aliases(b, root);
    buf_adds(b, ") OFFSET 0) a");
}

static char *convert_affected(const struct source_table *t, const struct source_key *root,
                              const struct conversion *c, const struct pg_columns *columns,
                              struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    buf_adds(&b, "SELECT ");
    for (size_t i = 0; i < root->n; i++) {
        buf_adds(&b, i ? ", " : "");
        if (c[i].needed)
            add_conversion(&b, &c[i], i, &columns->list[i], root->oids[i]);
        else
            buf_addf(&b, "k%zu", i);
    }
    add_fence(&b, t, root);
    return finish(&b, e);
}

/* sql, which is freed, with the first rows' keys as its parameters. */
static bool ask_for_first(const struct source_table *t, struct pg *pg, struct buf *sql,
                          PGresult **out, struct err *e)
{
    struct source_parameters p = {0};
    struct keylist keys = {0};
    struct buf first;
    PGresult *res = NULL;
    const char *text = buf_cstr(sql);
    buf_init(&first, SOURCE_SQL_MAX);
    buf_adds(&first, "SELECT ");
    source_add_columns(&first, &t->key, "");
    buf_addf(&first, " FROM %s LIMIT 100", t->name);
    bool ok = source_query(pg, t->label, &first, 0, NULL, &res, e) &&
              source_take_list(pg, &res, t->key.n, &keys, e);
    PQclear(res);
    ok =
        ok && source_many_keys(&p, &t->key, (const char *const *)keys.keys, keys.n, e) &&
        (text ? pg_query_statement(
                    pg,
                    &(struct pg_statement){
                        .sql = text, .n = (int)t->parameters, .params = p.list, .types = t->arrays},
                    out, e)
              : err_memory(e));
    source_parameters_free(&p, &t->key);
    keylist_free(&keys);
    buf_free(sql);
    return ok;
}

/* A text that is no key is passed over; but where none is one, it is the wrong column. */
static bool check_texts(const struct source_table *t, const struct source_key *root, size_t i,
                        const struct conversion *c, const struct pg_column *from, struct pg *pg,
                        struct err *e)
{
    struct buf b;
    PGresult *res = NULL;
    buf_init(&b, SOURCE_SQL_MAX);
    buf_adds(&b, "SELECT bool_or((");
    add_conversion(&b, c, i, from, root->oids[i]);
    buf_addf(&b, ") IS NOT NULL), min(k%zu::text)", i);
    add_fence(&b, t, root);
    buf_addf(&b, " WHERE k%zu IS NOT NULL", i);
    if (!ask_for_first(t, pg, &b, &res, e) || !pg_expect(pg, &res, 1, 2, e))
        return e->kind == ERR_FINAL &&
               err_wrap(e, "column '%s' has type %s, but the root's key is %s", from->name,
                        from->type, root->types[i]);
    bool ok = PQgetvalue(res, 0, 0)[0] != 'f';
    if (!ok)
        err_set(e, ERR_FINAL,
                "column '%s' has type %s, but the root's key is %s, and '%.100s' is none",
                from->name, from->type, root->types[i], PQgetvalue(res, 0, 1));
    PQclear(res);
    return ok;
}

/* What a related table's `affects` gives has to be keys of the root, in the same order: of their
 * types, or such that the server makes them so. */
static bool fit_affected(const struct source *s, struct source_table *t,
                         const struct pg_columns *columns, struct pg *pg, struct err *e)
{
    const struct source_key *root = &s->tables[0].key;
    struct conversion c[SOURCE_KEY_MAX];
    bool needed = false, ok = true;
    if (columns->n != root->n)
        return err_set(e, ERR_FINAL, "it gives %zu columns, but the root's key has %zu", columns->n,
                       root->n);
    for (size_t i = 0; ok && i < root->n; i++) {
        ok = find_conversion(s, i, &columns->list[i], pg, &c[i], e);
        ok = ok && (!c[i].of_text || check_texts(t, root, i, &c[i], &columns->list[i], pg, e));
        needed |= ok && c[i].needed;
    }
    if (!ok || !needed)
        return ok;
    struct pg_columns converted = {0};
    char *sql = convert_affected(t, root, c, columns, e);
    if (!sql)
        return false;
    free(t->affected);
    t->affected = sql;
    ok = pg_describe_statement(
        pg, &(struct pg_statement){.sql = sql, .n = (int)t->parameters, .types = t->arrays},
        &converted, e);
    pg_columns_free(&converted);
    return ok;
}

static bool check_affected(const struct source *s, struct source_table *t, struct pg *pg,
                           struct err *e)
{
    struct pg_columns c = {0};
    bool ok = describe_affected(t, pg, &c, e);
    if (!ok) {
        hint_relation(pg, e);
        hint_column(t, pg, t->related->affects.list, t->related->affects.n, e);
    }
    ok = ok && fit_affected(s, t, &c, pg, e);
    pg_columns_free(&c);
    return ok || blame_script(e, s->pipeline, t->related->affects_line, t, "affects");
}

/* `id = $1` is described like `id = ANY($1)`; only an array does it. A privilege that is missing is
 * none of the script's mistakes. */
static bool takes_arrays(const struct source *s, const struct source_table *t, struct pg *pg,
                         struct err *e)
{
    const char *none[SOURCE_KEY_MAX];
    struct buf sql;
    PGresult *res = NULL;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "SELECT FROM ( %s\n) q LIMIT 0", t->affected);
    for (size_t i = 0; i < t->parameters; i++)
        none[i] = "{}";
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_query_statement(pg,
                                        &(struct pg_statement){.sql = text,
                                                               .n = (int)t->parameters,
                                                               .params = none,
                                                               .types = t->arrays},
                                        &res, e)
                   : err_memory(e);
    buf_free(&sql);
    PQclear(res);
    if (ok)
        return true;
    if (e->kind == ERR_FINAL && e->fault == ERR_FAULT_ROW) {
        err_hint(e, "$1 is an array of keys: write = ANY($1) instead of = $1");
        return blame_script(e, s->pipeline, t->related->affects_line, t, "affects");
    }
    return err_wrap(e, "%s:%d: source.related[%d].affects", s->pipeline->script,
                    t->related->affects_line, (int)(t->related - s->pipeline->source.related) + 1);
}

static bool make_affected(const struct source *s, struct source_table *t, struct pg *pg,
                          struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    const struct pipeline_related *r = t->related;
    if (r->affects_query) {
        buf_adds(&b, r->affects_query);
    } else {
        buf_adds(&b, "SELECT ");
        for (size_t i = 0; i < r->affects.n; i++) {
            buf_adds(&b, i ? ", " : "");
            pg_add_identifier(&b, r->affects.list[i]);
        }
        buf_addf(&b, " FROM %s WHERE ", t->name);
        source_add_choice(&b, &t->key, "", 1);
    }
    t->affected = finish(&b, e);
    return t->affected && check_affected(s, t, pg, e) && takes_arrays(s, t, pg, e);
}

static bool open_related(struct source *s, struct source_table *t, const struct pipeline_related *r,
                         struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    t->related = r;
    t->label = r->table;
    return find_table(t, p, r->table_line, pg, e) && find_key(t, p, &r->key, r->key_line, pg, e) &&
           find_cursor(t, p, r->cursor, r->cursor_line, pg, e) && make_affected(s, t, pg, e);
}

static bool open_root(struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    struct source_table *t = &s->tables[0];
    t->label = p->source.table;
    return find_table(t, p, p->source.table_line, pg, e) &&
           find_key(t, p, &p->source.key, p->source.key_line, pg, e) &&
           find_nullable(t, &p->source.key, pg, e) &&
           find_cursor(t, p, p->source.cursor, p->source.cursor_line, pg, e) &&
           check_query(s, pg, e);
}

/* A table may stand in the script more than once: with two foreign keys to it, or as the root that
 * refers to itself. Each entry has a place of its own. */
static bool name_mark(struct source *s, size_t table, struct err *e)
{
    struct source_table *t = &s->tables[table];
    size_t same = 1;
    for (size_t i = 0; i < table; i++)
        same += strcmp(s->tables[i].name, t->name) == 0;
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    buf_adds(&b, t->name);
    if (same > 1)
        buf_addf(&b, "#%zu", same);
    t->state_name = finish(&b, e);
    return t->state_name != NULL;
}

bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e)
{
    *s = (struct source){.pipeline = p};
    s->tables = calloc(1 + p->source.n_related, sizeof *s->tables);
    s->n_tables = s->tables ? 1 + p->source.n_related : 0;
    bool ok = s->tables ? open_root(s, pg, e) : err_memory(e);
    for (size_t i = 0; ok && i < p->source.n_related; i++)
        ok = open_related(s, &s->tables[i + 1], &p->source.related[i], pg, e);
    for (size_t i = 0; ok && i < s->n_tables; i++)
        ok = name_mark(s, i, e);
    if (!ok)
        source_free(s);
    return ok;
}

static void free_table(struct source_table *t)
{
    for (size_t i = 0; i < t->key.n; i++) {
        free(t->key.names[i]);
        free(t->key.types[i]);
    }
    free(t->name);
    free(t->state_name);
    free(t->version);
    free(t->cursor);
    free(t->cursor_type);
    free(t->affected);
}

void source_free(struct source *s)
{
    pg_columns_free(&s->columns);
    for (size_t i = 0; i < s->n_tables; i++)
        free_table(&s->tables[i]);
    free(s->tables);
    free(s->select);
    *s = (struct source){0};
}

bool source_has_rows(const struct source *s, struct pg *pg, size_t table, bool *any, struct err *e)
{
    struct buf sql;
    PGresult *res;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "SELECT 1 FROM %s LIMIT 1", s->tables[table].name);
    if (!source_query(pg, s->tables[table].label, &sql, 0, NULL, &res, e) ||
        !pg_expect(pg, &res, -1, 1, e))
        return false;
    *any = PQntuples(res) > 0;
    PQclear(res);
    return true;
}
