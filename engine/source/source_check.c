/* source_check: what the database says about a script that is no mistake, but seldom what was
 * meant. */
#include "base/err.h"
#include "base/json_tree.h"
#include "base/log.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <string.h>

/* ---- keys that may come twice ---- */

/* Views and foreign tables have no indexes to tell by. A partitioned table can only have unique
 * indexes that hold what it is partitioned by, too. */
static const char UNIQUE[] =
    "SELECT c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (SELECT FROM pg_catalog.pg_index i"
    "  LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid"
    "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND "
    "i.indexprs IS "
    "NULL"
    "  AND NOT EXISTS (SELECT FROM pg_catalog.generate_series(0, coalesce("
    /* not before PostgreSQL 11 */
    "      (pg_catalog.to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts) - 1) n"
    "    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[n]"
    "    WHERE a.attname <> ALL ($2) AND NOT coalesce(a.attnum = ANY (p.partattrs), false)))"
    " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass";

static bool tell_key(const struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    struct buf list, columns;
    PGresult *res = NULL;
    buf_init(&list, SOURCE_SQL_MAX);
    buf_init(&columns, SOURCE_SQL_MAX);
    pg_add_array(&list, (const char *const *)p->source.key.list, p->source.key.n);
    source_add_columns(&columns, &s->tables[0].key, "");
    const char *params[] = {s->tables[0].name, buf_cstr(&list)}, *key = buf_cstr(&columns);
    bool ok = params[1] && key ? pg_query(pg, UNIQUE, 2, params, &res, e) : err_memory(e);
    if (ok && PQntuples(res) == 1 && PQgetvalue(res, 0, 0)[0] == 'f')
        log_warn(
            "%s:%d: nothing keeps rows of table '%s' from having the same key: of such rows one, "
            "whichever, becomes the document; if none have: CREATE UNIQUE INDEX ON %s (%s)",
            p->script, p->source.key_line, s->tables[0].label, s->tables[0].name, key);
    PQclear(res);
    buf_free(&list);
    buf_free(&columns);
    return ok;
}

/* ---- queries that a condition on the key does not get into ---- */

static const char MARK[] =
    "'{NULL}'"; /* the keys that are asked for: no condition of the script's is like it */

static bool holds_mark(const struct json_tree *t, size_t node)
{
    struct json_tree_text text = t->nodes[node].value;
    return node && text.len > 0 && memmem(text.at, text.len, MARK, sizeof MARK - 1);
}

static bool is_one_of(const struct json_tree *t, size_t type, const char *const *names)
{
    for (; *names; names++)
        if (json_tree_is(t, type, *names))
            return true;
    return false;
}

static size_t type_of(const struct json_tree *t, size_t plan)
{
    return json_tree_find(t, plan, "Node Type");
}

/* There the condition is where it should be: at a table. */
static bool is_table(const struct json_tree *t, size_t plan)
{
    static const char *const types[] = {"Seq Scan",        "Sample Scan",       "Index Scan",
                                        "Index Only Scan", "Bitmap Index Scan", "Bitmap Heap Scan",
                                        "Tid Scan",        "Tid Range Scan",    "Foreign Scan",
                                        "Custom Scan",     "Values Scan",       NULL};
    return is_one_of(t, type_of(t, plan), types);
}

/* The first plan, from this one down, that filters by key what others have read whole; 0: none
 * does. */
static size_t find_filter(const struct json_tree *t, size_t plan)
{
    if (holds_mark(t, json_tree_find(t, plan, "Filter")) && !is_table(t, plan))
        return plan;
    for (size_t i = json_tree_first(t, json_tree_find(t, plan, "Plans")); i; i = t->nodes[i].next) {
        size_t found = find_filter(t, i);
        if (found)
            return found;
    }
    return 0;
}

/* What keeps the condition above it. */
static const char *cause(const struct json_tree *t, size_t plan)
{
    static const char *const passed[] = {"Subquery Scan", "Sort",   "Incremental Sort", "Gather",
                                         "Gather Merge",  "Result", "Materialize",      NULL};
    static const struct {
        const char *type, *cause;
    } causes[] = {{"Limit", "LIMIT"},
                  {"WindowAgg", "a window function"},
                  {"Unique", "DISTINCT without the key"},
                  {"Aggregate", "GROUP BY or DISTINCT without the key"},
                  {"Group", "GROUP BY without the key"},
                  {"CTE Scan", "a WITH query that is made by itself (MATERIALIZED, or used twice)"},
                  {"Function Scan", "a function in FROM"},
                  {"ProjectSet", "a function that gives several rows"},
                  {"LockRows", "FOR UPDATE"}};
    while (plan && is_one_of(t, type_of(t, plan), passed))
        plan = json_tree_first(t, json_tree_find(t, plan, "Plans"));
    for (size_t i = 0; plan && i < sizeof causes / sizeof *causes; i++)
        if (json_tree_is(t, type_of(t, plan), causes[i].type))
            return causes[i].cause;
    return "its form";
}

static void tell_plan(const struct source *s, const struct json_tree *t)
{
    const struct pipeline *p = s->pipeline;
    size_t filter = find_filter(t, json_tree_find(t, json_tree_first(t, 1), "Plan"));
    if (!filter)
        return;
    const char *why = cause(t, filter);
    if (strcmp(why, "LIMIT") == 0)
        log_warn("%s:%d: the query has a LIMIT (or OFFSET, FETCH): rows that it leaves out get no "
                 "document, and "
                 "PostgreSQL runs the whole query for each batch of keys; for a trial there is "
                 "--limit N",
                 p->script, p->source.query_line);
    else
        log_warn("%s:%d: PostgreSQL runs the whole query for each batch of keys: %s keeps the "
                 "condition on the "
                 "key out of it",
                 p->script, p->source.query_line, why);
}

static bool explain(const struct source *s, struct pg *pg, PGresult **res, struct err *e)
{
    const struct source_key *k = &s->tables[0].key;
    const char *params[SOURCE_KEY_MAX];
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "EXPLAIN (FORMAT JSON, COSTS OFF) %s", s->select);
    source_add_choice(&sql, k, "q.", 1);
    for (size_t i = 0; i < k->n; i++)
        params[i] = "{NULL}";
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_query(pg, text, (int)k->n, params, res, e) : err_memory(e);
    buf_free(&sql);
    return ok;
}

static bool tell_query(const struct source *s, struct pg *pg, struct err *e)
{
    PGresult *res = NULL;
    struct json_tree t = {0};
    bool ok = explain(s, pg, &res, e);
    if (ok && PQntuples(res) == 1 && PQnfields(res) == 1 &&
        json_tree_read(&t, PQgetvalue(res, 0, 0), (size_t)PQgetlength(res, 0, 0), e))
        tell_plan(s, &t);
    json_tree_free(&t);
    PQclear(res);
    if (ok || e->kind != ERR_FINAL)
        return ok;
    log_debug("the query's plan cannot be looked at: %s", e->text); /* the query itself works */
    return true;
}

bool source_warn(const struct source *s, struct pg *pg, struct err *e)
{
    return tell_key(s, pg, e) && tell_query(s, pg, e);
}
