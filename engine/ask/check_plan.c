/* check_plan: how PostgreSQL would run the statements of a run: which tables it reads whole because
 * no index helps, and which tables are read that are not followed. */
#include "ask/check_internal.h"
#include "base/json.h"
#include "base/json_tree.h"
#include "base/stop.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 200, COLUMNS = 3, TEXT = 4000, LARGE = 10000 /* rows */ };

struct plan {
    struct check *check;
    const struct source_reader *reader;
    struct json_tree tree;
    int line;
};

struct above { /* the nodes over one, for the conditions of its joins */
    const struct above *up;
    size_t node;
};

/* ---- texts of a plan ---- */

/* A member's text, without JSON's escapes; cut to size. */
static const char *text_of(const struct plan *p, size_t node, const char *name, char *out,
                           size_t size)
{
    size_t found = json_tree_find(&p->tree, node, name);
    struct json_tree_text value = p->tree.nodes[found].value;
    struct json_reader r;
    *out = '\0';
    json_open(&r, value.at ? value.at : "", value.len);
    if (found && json_next(&r) == JSON_STRING)
        snprintf(out, size, "%.*s", (int)r.len, r.text);
    json_close(&r);
    return out;
}

static bool is_type(const struct plan *p, size_t node, const char *type)
{
    return json_tree_is(&p->tree, json_tree_find(&p->tree, node, "Node Type"), type);
}

/* An identifier as SQL has it: the server knows its reserved words. */
static void quote(const struct plan *p, const char *name, char *out, size_t size)
{
    PGresult *res = check_query(
        p->check,
        &(struct check_sql){"names", "SELECT pg_catalog.quote_ident($1::text)", 1, {name}});
    bool known = res && PQntuples(res) == 1;
    snprintf(out, size, "%s", known ? PQgetvalue(res, 0, 0) : name);
    PQclear(res);
}

struct relation { /* schema and name as they are; alias and sql as SQL has them */
    char schema[NAME], name[NAME], alias[NAME], sql[2 * NAME + 10];
};

static bool read_relation(const struct plan *p, size_t node, struct relation *r)
{
    char alias[NAME], quoted[2][NAME];
    text_of(p, node, "Schema", r->schema, sizeof r->schema);
    text_of(p, node, "Relation Name", r->name, sizeof r->name);
    text_of(p, node, "Alias", alias, sizeof alias);
    if (!*r->name)
        return false;
    quote(p, alias, r->alias, NAME);
    quote(p, r->schema, quoted[0], NAME);
    quote(p, r->name, quoted[1], NAME);
    snprintf(r->sql, sizeof r->sql, "%s.%s", quoted[0], quoted[1]);
    return true;
}

/* ---- conditions ---- */

struct columns {
    char list[COLUMNS][NAME]; /* as SQL has them */
    bool cast[COLUMNS];       /* compared as another type */
    size_t n;
};

static const char *skip(const char *at, const char *letters)
{
    return at + strspn(at, letters);
}

/* After a column: whether "=" follows, behind ")" and "::type". *cast: a type was there. */
static const char *find_equals(const char *at, bool *cast)
{
    at = skip(at, ") ");
    while (strncmp(at, "::", 2) == 0) {
        *cast = true;
        at += 2;
        while (isalnum((unsigned char)*at) || strchr("_ \"", *at))
            if (!*at++)
                return NULL;
        at = skip(at, ") ");
    }
    return strncmp(at, "= ", 2) == 0 ? at + 2 : NULL;
}

/* Whether what the column is compared with is not written in the query: a column, a parameter, our
 * keys. */
static bool varies(const char *at)
{
    at = skip(at, "( ");
    if (strncmp(at, "ANY (", 5) == 0)
        at = skip(at + 5, "( ");
    if (*at == '\'')
        return strncmp(at, "'{NULL}'", 8) == 0;
    return isalpha((unsigned char)*at) ? strncmp(at, "true", 4) != 0 && strncmp(at, "false", 5) != 0
                                       : *at == '$' || *at == '"' || *at == '_';
}

static void add_column(struct columns *out, const char *name, bool cast)
{
    for (size_t i = 0; i < out->n; i++)
        if (strcmp(out->list[i], name) == 0)
            return;
    if (out->n == COLUMNS)
        return;
    out->cast[out->n] = cast;
    snprintf(out->list[out->n++], NAME, "%s", name);
}

/* The columns of `alias`, which is quoted, that a condition compares with values from outside. */
static void find_columns(const char *condition, const char *alias, struct columns *out)
{
    char prefix[NAME + 2];
    size_t len = (size_t)snprintf(prefix, sizeof prefix, "%s.", alias);
    for (const char *at = strstr(condition, prefix); at; at = strstr(at + 1, prefix)) {
        char name[NAME];
        const char *begin = at + len, *end = begin;
        bool cast = false, after = false;
        if (at > condition && (isalnum((unsigned char)at[-1]) || strchr("_.\"", at[-1])))
            continue;
        end += *begin == '"' ? 1 + strcspn(begin + 1, "\"") + 1
                             : strspn(begin, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789_$");
        snprintf(name, sizeof name, "%.*s", (int)(end - begin), begin);
        const char *other = find_equals(end, &cast);
        for (const char *b = at; b > condition && strchr("( ", b[-1]); b--) /* other = column */
            after |= b - 3 >= condition && strncmp(b - 3, " = ", 3) == 0;
        if ((other && varies(other)) || (!other && after))
            add_column(out, name, cast);
    }
}

/* ---- tables that are read whole ---- */

static bool has(const struct plan *p, size_t node, const char *name)
{
    return json_tree_find(&p->tree, node, name) != 0;
}

/* The relation that a node reads; of a Bitmap Index Scan, the one above it. */
static bool find_relation(const struct plan *p, size_t node, const struct above *up,
                          struct relation *r)
{
    if (read_relation(p, node, r))
        return true;
    return is_type(p, node, "Bitmap Index Scan") && up && find_relation(p, up->node, up->up, r);
}

static const char first_column_sql[] =
    "SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid"
    " JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE x.relname = $1 AND i.indrelid = $2::pg_catalog.regclass";

/* Whether the index is read whole: none of its conditions is on its first column. */
static bool is_whole_index(struct plan *p, size_t node, const struct relation *r)
{
    char index[NAME], condition[TEXT];
    text_of(p, node, "Index Cond", condition, sizeof condition);
    text_of(p, node, "Index Name", index, sizeof index);
    PGresult *res =
        check_query(p->check, &(struct check_sql){"index", first_column_sql, 1, {index, r->sql}});
    bool whole = res && PQntuples(res) == 1 && !strstr(condition, PQgetvalue(res, 0, 0));
    PQclear(res);
    return whole;
}

static bool is_whole_scan(struct plan *p, size_t node, const struct relation *r)
{
    if (is_type(p, node, "Seq Scan"))
        return true;
    bool bitmap = is_type(p, node, "Bitmap Index Scan");
    if (!bitmap && !is_type(p, node, "Index Scan") && !is_type(p, node, "Index Only Scan"))
        return false;
    if (has(p, node, "Order By"))
        return false;
    return has(p, node, "Index Cond") ? is_whole_index(p, node, r) : !bitmap;
}

static int64_t rows_of(struct check *c, const struct relation *r)
{
    PGresult *res =
        check_query(c, &(struct check_sql){"size",
                                           "SELECT reltuples::bigint FROM pg_catalog.pg_class"
                                           " WHERE oid = $1::pg_catalog.regclass",
                                           1,
                                           {r->sql}});
    int64_t rows = res && PQntuples(res) == 1 ? pg_int(res, 0, 0) : 0;
    PQclear(res);
    return rows;
}

/* Whether a usable index begins with the column: then it is the cast that keeps it from being
 * used. */
static bool is_indexed(struct check *c, const struct relation *r, const char *column)
{
    PGresult *res = check_query(
        c, &(struct check_sql){"index",
                               "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN"
                               " pg_catalog.pg_attribute a ON a.attrelid = i.indrelid"
                               "  AND a.attnum = i.indkey[0] WHERE i.indisvalid AND"
                               " i.indpred IS NULL AND i.indrelid = $1::pg_catalog.regclass"
                               "  AND pg_catalog.quote_ident(a.attname) = $2)",
                               1,
                               {r->sql, column}});
    bool indexed = res && PQntuples(res) == 1 && pg_bool(res, 0, 0);
    PQclear(res);
    return indexed;
}

static void add_remedy(struct check *c, const struct relation *r, const struct columns *columns)
{
    char list[COLUMNS * (NAME + 20)] = "";
    size_t len = 0;
    for (size_t i = 0; i < columns->n; i++) {
        bool cast = columns->cast[i] && is_indexed(c, r, columns->list[i]);
        if (cast && i == 0) {
            check_remedy(c,
                         "compare %s with a value of its own type: its index is not used for "
                         "another one; or CREATE INDEX ON %s ((%s::text))",
                         columns->list[i], r->sql, columns->list[i]);
            return;
        }
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "",
                                columns->list[i]);
    }
    check_remedy(c, "CREATE INDEX ON %s (%s)", r->sql, list);
}

static void find_conditions(const struct plan *p, size_t node, const struct relation *r,
                            struct columns *out)
{
    static const char *const conditions[] = {"Index Cond", "Filter", "Join Filter"};
    char condition[TEXT];
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++)
        find_columns(text_of(p, node, conditions[i], condition, sizeof condition), r->alias, out);
}

static void add_scan(struct plan *p, size_t node, const struct above *up, const struct relation *of)
{
    struct check *c = p->check;
    const struct source_table *t = p->reader->table;
    struct relation r = *of;
    struct columns columns = {.n = 0};
    find_conditions(p, node, &r, &columns);
    for (; columns.n == 0 && up; up = up->up)
        find_conditions(p, up->node, &r, &columns);
    bool large = columns.n == 0 && rows_of(c, &r) > LARGE;
    if (columns.n == 0 && !large)
        return; /* a small table, which is read for itself */
    const char *what = t->related ? "affects_index" : "query_index";
    if (t->related)
        check_add(c, CHECK_WARNING, what, p->line,
                  "each change in '%s' reads all of %s: no index helps 'affects'", t->label, r.sql);
    else
        check_add(c, CHECK_WARNING, what, p->line,
                  "each fetch of documents reads all of %s: no index helps the query%s%s%s", r.sql,
                  columns.n > 0 ? " find its " : "", columns.n > 0 ? columns.list[0] : "",
                  columns.n > 0 ? "" : ", which has no condition on its columns");
    if (columns.n > 0)
        add_remedy(c, &r, &columns);
}

static void find_scans(struct plan *p, size_t node, const struct above *up)
{
    const struct above here = {up, node};
    struct relation r;
    if (find_relation(p, node, up, &r) && is_whole_scan(p, node, &r))
        add_scan(p, node, up, &r);
    for (size_t i = json_tree_first(&p->tree, json_tree_find(&p->tree, node, "Plans")); i;
         i = p->tree.nodes[i].next)
        find_scans(p, i, &here);
}

/* ---- tables that are not followed ---- */

static bool is_followed(const struct source *s, const char *sql)
{
    for (size_t i = 0; i < s->n_tables; i++)
        if (strcmp(s->tables[i].name, sql) == 0)
            return true;
    return false;
}

/* A partition is followed with its table, and a table under a view with the view. */
static bool is_part(struct plan *p, const struct relation *r)
{
    const struct source *s = p->reader->source;
    for (size_t i = 0; i < s->n_tables; i++)
        if (!s->tables[i].has_xmin || !s->tables[i].commits_here)
            return true;
    PGresult *res = check_query(
        p->check, &(struct check_sql){"related",
                                      "SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits"
                                      " WHERE inhrelid = $1::pg_catalog.regclass)",
                                      1,
                                      {r->sql}});
    bool part = !res || PQntuples(res) != 1 || pg_bool(res, 0, 0);
    PQclear(res);
    return part;
}

static void find_unfollowed(struct plan *p, size_t node)
{
    struct check *c = p->check;
    struct relation r;
    if (read_relation(p, node, &r) && *r.schema && strcmp(r.schema, "pg_catalog") != 0 &&
        strcmp(r.schema, "information_schema") != 0 && !is_followed(p->reader->source, r.sql) &&
        !is_part(p, &r)) {
        check_add(c, CHECK_WARNING, "not_related", p->line,
                  "the query reads %s, which is not in source.related: only a sweep finds its "
                  "changes",
                  r.sql);
        const char *mark = strchr(r.sql, '"') ? "'" : "\"";
        check_remedy(c, "{ table = %s%s%s, key = \"...\", affects = \"...\" } in source.related",
                     mark, r.sql, mark);
    }
    for (size_t i = json_tree_first(&p->tree, json_tree_find(&p->tree, node, "Plans")); i;
         i = p->tree.nodes[i].next)
        find_unfollowed(p, i);
}

/* ---- statements ---- */

static void check_plan(struct check *c, size_t table)
{
    const struct source_reader r = source_reader(&c->user.source, table, c->pg);
    struct plan p = {.check = c, .reader = &r};
    PGresult *res;
    struct err e;
    p.line = table == 0 ? c->user.pipeline.source.query_line : r.table->related->affects_line;
    if (!source_explain(&r, &res, &e)) {
        if (!check_add_denied(c, p.line, &e))
            check_add(c, e.kind == ERR_FINAL ? CHECK_NOTE : CHECK_ERROR, "plan", p.line, "%s",
                      e.text);
        return;
    }
    const char *text = PQgetvalue(res, 0, 0);
    if (json_tree_read(&p.tree, text, strlen(text), &e)) {
        size_t plan = json_tree_find(&p.tree, json_tree_first(&p.tree, 1), "Plan");
        if (table > 0 || !c->whole) /* otherwise it reads all tables whole, which is known */
            find_scans(&p, plan, NULL);
        if (table == 0)
            find_unfollowed(&p, plan);
    }
    json_tree_free(&p.tree);
    PQclear(res);
}

void check_plans(struct check *c)
{
    if (check_has(c, "privilege", ""))
        return; /* the server explains only what may be read */
    for (size_t i = 0; i < c->user.source.n_tables && !stop_asked(); i++)
        check_plan(c, i);
}
