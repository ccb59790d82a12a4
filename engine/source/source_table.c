/* source_table: a table, its key and its cursor, looked up in PostgreSQL's catalog. */
#include "base/err.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the script's mistakes ---- */

bool source_blame(const struct source_opening *o, int line, const char *field, struct err *e)
{
    if (e->kind != ERR_FINAL)
        return false;
    const struct pipeline *p = o->source->pipeline;
    const struct pipeline_related *related = o->table->related;
    struct err cause = *e;
    /* a privilege that is missing is no mistake of the script's */
    enum err_kind kind = cause.fault == ERR_FAULT_DENIED ? ERR_FINAL : ERR_USAGE;
    if (related)
        err_set(e, kind, "cannot use source.related[%d].%s: %s",
                (int)(related - p->source.related) + 1, field, cause.text);
    else
        err_set(e, kind, "cannot use source.%s: %s", field, cause.text);
    err_hint(e, "%s", cause.hint);
    return line > 0 ? err_wrap(e, "%s:%d", p->script, line) : err_wrap(e, "%s", p->script);
}

/* ---- hints: names that differ in case ---- */

/* The statement returns a name, or no row. Its failure is no news: it is about a hint alone. */
static bool find_name(struct pg *pg, struct source_statement *st, char *out, size_t size)
{
    struct err ignored;
    PGresult *res = NULL;
    bool found = source_run(pg, st, &res, &ignored) && PQntuples(res) == 1;
    if (found)
        snprintf(out, size, "%s", PQgetvalue(res, 0, 0));
    PQclear(res);
    return found;
}

static const char relation_sql[] =
    "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN pg_catalog.quote_ident(relname)"
    "  ELSE pg_catalog.format('%I.%I', nspname, relname) END"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace"
    " WHERE lower(relname::text) = lower($1::text) AND relkind IN ('r', 'p', 'v', 'm', 'f')"
    "  AND nspname NOT LIKE 'pg\\_%'"
    " ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, 1 LIMIT 1";

/* The server says 'relation "filmwork" does not exist', but "FilmWork" does, and lacked its quotes;
 * or the table is in a schema that is not searched. */
void source_hint_relation(struct pg *pg, struct err *e)
{
    static const char BEGIN[] = "relation \"";
    char name[200], found[300];
    const char *at = strstr(e->text, BEGIN), *dot;
    struct source_statement st;
    if (e->kind != ERR_FINAL || *e->hint || !at)
        return;
    at += sizeof BEGIN - 1;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "\""), at);
    dot = strrchr(name, '.');
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql, relation_sql);
    source_bind(&st, dot ? dot + 1 : name);
    if (!find_name(pg, &st, found, sizeof found))
        return;
    if (strchr(found, '"'))
        err_hint(e, "did you mean %s? A name with capital letters needs its quotes: table = '%s'",
                 found, found);
    else
        err_hint(e, "did you mean %s?", found);
}

static const char column_sql[] =
    "SELECT attname FROM pg_catalog.pg_attribute a"
    " WHERE attrelid = $1::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped"
    "  AND lower(attname::text) = lower(btrim($2::text, '\"'))"
    "  AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute b"
    "                   WHERE b.attrelid = a.attrelid AND b.attname::text = $2::text) LIMIT 1";

void source_hint_column(const struct source_opening *o, const struct pipeline_names *names,
                        struct err *e)
{
    char found[100];
    for (size_t i = 0; i < names->n && e->kind == ERR_FINAL; i++) {
        struct source_statement st;
        source_statement_init(&st, SOURCE_ANY_ROWS, 1);
        buf_adds(&st.sql, column_sql);
        source_bind(&st, o->table->name);
        source_bind(&st, names->list[i]);
        if (find_name(o->pg, &st, found, sizeof found)) {
            err_hint(e,
                     "did you mean '%s'? Column names are case-sensitive, and written without "
                     "quotes",
                     found);
            return;
        }
    }
}

/* ---- the table ---- */

/* Row security is asked of the table, what its rows are like of its partitions, too. (Before
 * PostgreSQL 14 catalogs have no primary keys, and so GROUP BY takes each column by name.) */
static const char table_sql[] =
    "WITH RECURSIVE parts (oid) AS ("
    "  SELECT $1::pg_catalog.regclass::pg_catalog.oid"
    "  UNION SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent = parts.oid)"
    " SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),"
    "  c.relkind IN ('r', 'p', 'v', 'm', 'f'),"
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
    " WHERE c.oid = $1::pg_catalog.regclass GROUP BY c.oid, c.relname, c.relkind, n.nspname";

enum table_column {
    TABLE_NAME,
    TABLE_IS_TABLE,
    TABLE_HAS_XMIN, /* and we may read it */
    TABLE_COMMITS_HERE,
    TABLE_READABLE, /* its columns that we may read */
    TABLE_ROW_SECURITY,
    TABLE_COLUMNS
};

/* xmin, or where rows have none, a hash of all that we may read of the row. */
static char *version_of(const struct source_table *t, const char *columns)
{
    char *sql;
    if (t->has_xmin)
        return strdup("xmin");
    return asprintf(&sql, "pg_catalog.md5(ROW(%s)::pg_catalog.text)", columns) < 0 ? NULL : sql;
}

static bool read_table(struct source_table *t, const PGresult *res, struct err *e)
{
    t->name = strdup(PQgetvalue(res, 0, TABLE_NAME));
    t->has_xmin = pg_bool(res, 0, TABLE_HAS_XMIN);
    t->commits_here = pg_bool(res, 0, TABLE_COMMITS_HERE);
    t->version = version_of(t, PQgetvalue(res, 0, TABLE_READABLE));
    t->row_security = pg_bool(res, 0, TABLE_ROW_SECURITY);
    return (t->name && t->version) || err_memory(e);
}

static bool find_table(const struct source_opening *o, struct err *e)
{
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, TABLE_COLUMNS);
    buf_adds(&st.sql, table_sql);
    source_bind(&st, o->table->label);
    if (!source_run(o->pg, &st, &res, e)) {
        source_hint_relation(o->pg, e);
        return source_blame(o, o->table_line, "table", e);
    }
    bool is_table = PQntuples(res) == 1 && pg_bool(res, 0, TABLE_IS_TABLE);
    bool ok = is_table && read_table(o->table, res, e);
    PQclear(res);
    if (is_table)
        return ok;
    err_set(e, ERR_FINAL, "'%s' is not a table or view", o->table->label);
    return source_blame(o, o->table_line, "table", e);
}

/* ---- columns ---- */

static char *quoted(const char *name, struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    pg_add_identifier(&b, name);
    return source_finish(&b, e);
}

/* SELECT id, modified FROM content.film_work: described, to learn the columns' types. */
static bool find_columns(const struct source_opening *o, const struct pipeline_names *names,
                         struct pg_columns *out, struct err *e)
{
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "SELECT ");
    for (size_t i = 0; i < names->n; i++) {
        buf_adds(&sql, i ? ", " : "");
        pg_add_identifier(&sql, names->list[i]);
    }
    buf_addf(&sql, " FROM %s", o->table->name);
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_describe(o->pg, text, out, e) : err_memory(e);
    buf_free(&sql);
    if (!ok)
        source_hint_column(o, names, e);
    if (!ok || out->n == names->n)
        return ok;
    size_t got = out->n;
    pg_columns_free(out);
    return err_set(e, ERR_PASSING,
                   "could not look up the columns of '%s': asked for %zu of them, got %zu",
                   o->table->label, names->n, got);
}

/* ---- the key ---- */

static bool add_key_column(const struct source_opening *o, const char *name,
                           const struct pg_column *c, struct err *e)
{
    struct source_key *k = &o->table->key;
    size_t i = k->n++;
    k->oids[i] = c->oid;
    k->types[i] = strdup(c->type);
    k->names[i] = quoted(name, e);
    if (!k->types[i] || !k->names[i])
        return err_memory(e);
    if (!c->array)
        return true;
    err_set(e, ERR_FINAL, "column '%s' is an array (%s), and cannot be a key", name, c->type);
    return source_blame(o, o->key_line, "key", e);
}

static bool make_key_sql(struct source_key *k, struct err *e)
{
    struct buf columns, aliases;
    buf_init(&columns, SOURCE_SQL_MAX);
    buf_init(&aliases, SOURCE_SQL_MAX);
    source_add_columns(&columns, k, "");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&aliases, "%sk%zu", i ? ", " : "", i);
    k->columns = source_finish(&columns, e);
    k->aliases = source_finish(&aliases, e);
    return k->columns && k->aliases;
}

static bool find_key(const struct source_opening *o, struct err *e)
{
    struct pg_columns c = {0};
    bool ok = true;
    if (!find_columns(o, o->key, &c, e))
        return source_blame(o, o->key_line, "key", e);
    for (size_t i = 0; ok && i < o->key->n; i++)
        ok = add_key_column(o, o->key->list[i], &c.list[i], e);
    pg_columns_free(&c);
    return ok && make_key_sql(&o->table->key, e);
}

/* Whether the table allows rows without a key, as any view does. */
static bool find_nullable(const struct source_opening *o, struct err *e)
{
    struct source_statement st;
    struct buf names;
    PGresult *res;
    source_statement_init(&st, 1, 1);
    buf_adds(&st.sql, "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute"
                      " WHERE attrelid = $1::pg_catalog.regclass AND attname = ANY($2)"
                      "  AND NOT attnotnull)");
    source_bind(&st, o->table->name);
    buf_init(&names, SOURCE_SQL_MAX);
    pg_add_array(&names, (const char *const *)o->key->list, o->key->n);
    source_bind_taken(&st, source_finish(&names, e));
    if (!source_run(o->pg, &st, &res, e))
        return false;
    o->table->key.nullable = pg_bool(res, 0, 0);
    PQclear(res);
    return true;
}

/* ---- the cursor ---- */

/* The lowest number of a type: slack that is subtracted from a cursor must not fall below it. */
static const char *lowest_of(const char *type)
{
    static const char *const lowest[][2] = {{"smallint", "-32768"},
                                            {"integer", "-2147483648"},
                                            {"bigint", "-9223372036854775808"},
                                            {"oid", "0"}};
    for (size_t i = 0; i < sizeof lowest / sizeof lowest[0]; i++)
        if (strcmp(lowest[i][0], type) == 0)
            return lowest[i][1];
    return NULL;
}

/* The cursor's type with its precision: a timestamp(0) is rounded, and so must be what it is
 * compared with. */
static bool find_cursor_type(const struct source_opening *o, struct err *e)
{
    struct source_table *t = o->table;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql,
             "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
             " WHERE attrelid = $1::pg_catalog.regclass AND attname = $2");
    source_bind(&st, t->name);
    source_bind(&st, o->cursor);
    if (!source_run(o->pg, &st, &res, e))
        return false;
    bool found = PQntuples(res) == 1;
    t->cursor_type = found ? strdup(PQgetvalue(res, 0, 0)) : NULL;
    PQclear(res);
    if (!found)
        return err_set(e, ERR_PASSING, "could not find column '%s': it was dropped a moment ago",
                       o->cursor);
    t->cursor_lowest = t->cursor_type ? lowest_of(t->cursor_type) : NULL;
    return t->cursor_type || err_memory(e);
}

/* cursor_us:     (extract(epoch FROM modified) * 1000000)::bigint   of a time, else NULL::bigint
 * has_position:  isfinite(modified) AND id IS NOT NULL              of a time
 *                number IS NOT NULL AND id IS NOT NULL              of a number
 *
 * No position follows an infinite time. A view may have rows without a key. */
static bool make_cursor_sql(struct source_table *t, struct err *e)
{
    struct buf us, has;
    buf_init(&us, SOURCE_SQL_MAX);
    buf_init(&has, SOURCE_SQL_MAX);
    if (t->cursor_is_time)
        buf_addf(&us, "(extract(epoch FROM %s) * 1000000)::bigint", t->cursor);
    else
        buf_adds(&us, "NULL::bigint");
    buf_addf(&has, t->cursor_is_time ? "isfinite(%s)" : "%s IS NOT NULL", t->cursor);
    for (size_t i = 0; i < t->key.n; i++)
        buf_addf(&has, " AND %s IS NOT NULL", t->key.names[i]);
    t->cursor_us = source_finish(&us, e);
    t->has_position = source_finish(&has, e);
    return t->cursor_us && t->has_position;
}

static bool find_cursor(const struct source_opening *o, struct err *e)
{
    struct source_table *t = o->table;
    char *name = o->cursor;
    struct pg_columns c = {0};
    if (!name)
        return true;
    if (!find_columns(o, &(struct pipeline_names){&name, 1}, &c, e))
        return source_blame(o, o->cursor_line, "cursor", e);
    enum pg_kind kind = c.list[0].kind;
    bool array = c.list[0].array;
    pg_columns_free(&c);
    t->cursor = quoted(name, e);
    if (!t->cursor || !find_cursor_type(o, e))
        return false;
    t->cursor_is_instant = kind == PG_TIMESTAMPTZ;
    t->cursor_is_time = kind == PG_TIMESTAMPTZ || kind == PG_TIMESTAMP || kind == PG_DATE;
    if (!array && (t->cursor_is_time || kind == PG_INT || kind == PG_NUMERIC))
        return make_cursor_sql(t, e);
    err_set(e, ERR_FINAL,
            "column '%s' has type %s, but a cursor must be a time or a number that grows with each "
            "change",
            name, t->cursor_type);
    return source_blame(o, o->cursor_line, "cursor", e);
}

/* ---- all of it ---- */

bool source_open_table(const struct source_opening *o, struct err *e)
{
    return find_table(o, e) && find_key(o, e) && (o->table->related || find_nullable(o, e)) &&
           find_cursor(o, e);
}

void source_table_free(struct source_table *t)
{
    for (size_t i = 0; i < t->key.n; i++) {
        free(t->key.names[i]);
        free(t->key.types[i]);
    }
    free(t->key.columns);
    free(t->key.aliases);
    free(t->name);
    free(t->state_name);
    free(t->version);
    free(t->cursor);
    free(t->cursor_type);
    free(t->cursor_us);
    free(t->has_position);
    free(t->affected);
    *t = (struct source_table){0};
}
