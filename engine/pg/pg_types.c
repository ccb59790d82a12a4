/* pg_types: the columns of a query, and how each column's text becomes a value. */
#include "pg/pg_internal.h"

#include <stdlib.h>
#include <string.h>

/* The types that are more than text, by OID, which PostgreSQL never changes. Every other type is
 * text. */
static const struct {
    const char *name;
    Oid oid;
    enum pg_kind kind;
} kinds[] = {
    {"bool", 16, PG_BOOL},
    {"bytea", 17, PG_BYTEA},
    {"int8", 20, PG_INT},
    {"int2", 21, PG_INT},
    {"int4", 23, PG_INT},
    {"oid", 26, PG_INT},
    {"json", 114, PG_JSON},
    {"float4", 700, PG_FLOAT},
    {"float8", 701, PG_FLOAT},
    {"date", 1082, PG_DATE},
    {"timestamp", 1114, PG_TIMESTAMP},
    {"timestamptz", 1184, PG_TIMESTAMPTZ},
    {"numeric", 1700, PG_NUMERIC},
    {"jsonb", 3802, PG_JSON},
};

/* For each type: its name as a cast takes it ("character" would mean character(1), so -1 makes it
 * bpchar), and the type that it comes down to: from a domain to its base type, from an array to its
 * element, and so on. Only what array_in reads is an array: int2vector and point have elements,
 * too, but another text form. */
static const char types_sql[] =
    "WITH RECURSIVE walk(i, oid, arrays, delimiter, depth) AS (\n"
    "  SELECT i, o, 0, ','::pg_catalog.text, 0\n"
    "  FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY u(o, i)\n"
    "  UNION ALL\n"
    "  SELECT w.i, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,\n"
    "         w.arrays + CASE t.typtype WHEN 'd' THEN 0 ELSE 1 END,\n"
    "         CASE WHEN t.typtype = 'd' OR w.arrays > 0 THEN w.delimiter ELSE "
    "t.typdelim::pg_catalog.text "
    "END,\n"
    "         w.depth + 1\n"
    "  FROM walk w JOIN pg_catalog.pg_type t ON t.oid = w.oid\n"
    "  WHERE t.typtype = 'd' OR t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc)\n"
    "SELECT DISTINCT ON (i) pg_catalog.format_type(($1::pg_catalog.oid[])[i], -1), oid, arrays, "
    "delimiter\n"
    "FROM walk ORDER BY i, depth DESC";

static enum pg_kind kind_of(Oid oid)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].oid == oid)
            return kinds[i].kind;
    return PG_TEXT;
}

/* The server parses sql and describes its columns, in one round trip: behind a pooler, the unnamed
 * statement could be another one in the next. */
static bool describe(struct pg *pg, const struct pg_statement *s, PGresult **out, struct err *e)
{
    PGresult *results[2];
    const char *const texts[] = {s->sql, s->sql};
    *out = NULL;
    if (!pg_check_free(pg, e))
        return false;
    int sent = pg_begin(pg, false) && PQsendPrepare(pg->conn, "", s->sql, s->n, s->types) &&
               PQsendDescribePrepared(pg->conn, "") && PQpipelineSync(pg->conn);
    if (!pg_finish(pg, sent, &(struct pg_answers){texts, results, 2}, e))
        return false;
    PQclear(results[0]);
    *out = results[1];
    return true;
}

static bool copy_columns(const PGresult *description, struct pg_columns *c, struct err *e)
{
    int n = PQnfields(description);
    c->list = calloc(n > 0 ? (size_t)n : 1, sizeof *c->list);
    if (!c->list)
        return err_memory(e);
    for (int i = 0; i < n; i++) {
        struct pg_column *column = &c->list[c->n++];
        column->oid = PQftype(description, i);
        column->name = strdup(PQfname(description, i));
        if (!column->name)
            return err_memory(e);
    }
    return true;
}

static bool add_type(struct pg *pg, struct pg_column *column, const PGresult *types, int row)
{
    enum { SHORTEST_SERVER = 120000 };
    int arrays = PQgetvalue(types, row, 2)[0] - '0';
    Oid oid = (Oid)strtoul(PQgetvalue(types, row, 1), NULL, 10);
    column->array = arrays > 0;
    /* an array of a domain over arrays is a literal within a literal: text */
    column->kind = arrays > 1 ? PG_TEXT : kind_of(oid);
    column->shortest = PQserverVersion(pg->conn) >= SHORTEST_SERVER;
    column->delimiter = PQgetvalue(types, row, 3)[0];
    column->type = strdup(PQgetvalue(types, row, 0));
    return column->type;
}

static bool look_up_types(struct pg *pg, struct pg_columns *c, struct err *e)
{
    struct buf oids;
    buf_init(&oids, 64 << 10); /* bytes: a query has 1,664 columns at most */
    for (size_t i = 0; i < c->n; i++)
        buf_addf(&oids, "%c%u", i == 0 ? '{' : ',', c->list[i].oid);
    buf_addc(&oids, '}');
    const char *param = buf_cstr(&oids);
    PGresult *types = NULL;
    bool ok = param ? pg_query(pg, types_sql, 1, &param, &types, e) : err_memory(e);
    ok = ok && pg_expect(pg, &types, (int)c->n, 4, e);
    for (size_t i = 0; ok && i < c->n; i++)
        ok = add_type(pg, &c->list[i], types, (int)i) || err_memory(e);
    PQclear(types);
    buf_free(&oids);
    return ok;
}

bool pg_describe(struct pg *pg, const char *sql, struct pg_columns *out, struct err *e)
{
    return pg_describe_statement(pg, &(struct pg_statement){.sql = sql}, out, e);
}

bool pg_describe_statement(struct pg *pg, const struct pg_statement *s, struct pg_columns *out,
                           struct err *e)
{
    *out = (struct pg_columns){0};
    PGresult *description;
    bool ok = describe(pg, s, &description, e) && copy_columns(description, out, e);
    out->parameters = PQnparams(description); /* 0 for none */
    PQclear(description);
    ok = ok && (out->n == 0 || look_up_types(pg, out, e));
    if (!ok)
        pg_columns_free(out);
    return ok;
}

void pg_columns_free(struct pg_columns *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->list[i].name);
        free(c->list[i].type);
    }
    free(c->list);
    *c = (struct pg_columns){0};
}

int pg_column(const struct pg_columns *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->list[i].name, name) == 0)
            return (int)i;
    return -1;
}

bool pg_columns_fit(const struct pg_columns *c, const PGresult *res)
{
    if (PQnfields(res) != (int)c->n)
        return false;
    for (int i = 0; i < (int)c->n; i++)
        if (PQftype(res, i) != c->list[i].oid || strcmp(PQfname(res, i), c->list[i].name) != 0)
            return false;
    return true;
}
