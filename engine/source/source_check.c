/* source_check: warnings about what is allowed in a script, but seldom meant. */
#include "base/err.h"
#include "base/json_tree.h"
#include "base/log.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <string.h>

/* ---- keys that several rows may share ---- */

/* Whether some unique index makes the key unique ($1: the table, $2: the key's columns): one whose
 * columns are all of the key. A partitioned table's also have the columns that partition it. Views
 * and foreign tables have no indexes to judge by: they count as unique. */
static const char is_unique_sql[] =
    "SELECT c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (SELECT FROM pg_catalog.pg_index i"
    "  LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid"
    "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid"
    "  AND i.indpred IS NULL AND i.indexprs IS NULL"
    "  AND NOT EXISTS (SELECT FROM pg_catalog.generate_series(0, coalesce("
    /* not before PostgreSQL 11 */
    "      (pg_catalog.to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts) - 1) n"
    "    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[n]"
    "    WHERE a.attname <> ALL ($2) AND NOT coalesce(a.attnum = ANY (p.partattrs), false)))"
    " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass";

static bool warn_of_key(const struct source_reader *root, struct err *e)
{
    const struct pipeline *p = root->source->pipeline;
    const struct source_table *t = root->table;
    struct source_statement st;
    struct buf names;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql, is_unique_sql);
    source_bind(&st, t->name);
    buf_init(&names, SOURCE_SQL_MAX);
    pg_add_array(&names, (const char *const *)p->source.key.list, p->source.key.n);
    source_bind_taken(&st, source_finish(&names, e));
    if (!source_run(root->pg, &st, &res, e))
        return false;
    if (PQntuples(res) == 1 && PQgetvalue(res, 0, 0)[0] == 'f')
        log_warn_with(
            LOG_FIELDS(LOG_PLACE(p->script, p->source.key_line), log_text("table", t->label)),
            "%s:%d: several rows of table '%s' may have the same key, and any one of them "
            "becomes the document; if the key is unique: CREATE UNIQUE INDEX ON %s (%s)",
            p->script, p->source.key_line, t->label, t->name, t->key.columns);
    PQclear(res);
    return true;
}

/* ---- queries that PostgreSQL runs whole for each batch of keys ---- */

/* The keys in the plan, which no condition of a script has. */
static const char MARK[] = "'{NULL}'";

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

/* A plan that reads rows: the condition on the key belongs there. */
static bool is_table(const struct json_tree *t, size_t plan)
{
    static const char *const types[] = {"Seq Scan",        "Sample Scan",       "Index Scan",
                                        "Index Only Scan", "Bitmap Index Scan", "Bitmap Heap Scan",
                                        "Tid Scan",        "Tid Range Scan",    "Foreign Scan",
                                        "Custom Scan",     "Values Scan",       NULL};
    return is_one_of(t, type_of(t, plan), types);
}

/* The first plan, from this one down, that filters by the key what plans below it have read whole;
 * 0: none. */
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

/* What PostgreSQL does not push the condition through. */
static const char *cause_of(const struct json_tree *t, size_t plan)
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
                  {"CTE Scan", "a WITH query that is materialized (MATERIALIZED, or used twice)"},
                  {"Function Scan", "a function in FROM"},
                  {"ProjectSet", "a function that returns several rows"},
                  {"LockRows", "FOR UPDATE"}};
    while (plan && is_one_of(t, type_of(t, plan), passed))
        plan = json_tree_first(t, json_tree_find(t, plan, "Plans"));
    for (size_t i = 0; plan && i < sizeof causes / sizeof *causes; i++)
        if (json_tree_is(t, type_of(t, plan), causes[i].type))
            return causes[i].cause;
    return "its form";
}

static void warn_of_plan(const struct pipeline *p, const struct json_tree *t)
{
    size_t filter = find_filter(t, json_tree_find(t, json_tree_first(t, 1), "Plan"));
    if (!filter)
        return;
    const char *cause = cause_of(t, filter);
    if (strcmp(cause, "LIMIT") == 0)
        log_warn_with(
            LOG_FIELDS(LOG_PLACE(p->script, p->source.query_line)),
            "%s:%d: the query has a LIMIT (or OFFSET, FETCH): rows that it leaves out get no "
            "document, and PostgreSQL runs the whole query for each batch of keys; to try a "
            "few documents, use --limit N",
            p->script, p->source.query_line);
    else
        log_warn_with(
            LOG_FIELDS(LOG_PLACE(p->script, p->source.query_line)),
            "%s:%d: PostgreSQL runs the whole query for each batch of keys: because of %s, it "
            "cannot push the condition on the key into the query",
            p->script, p->source.query_line, cause);
}

/* EXPLAIN (FORMAT JSON, COSTS OFF) <select> q.id = ANY($1::uuid[])   with $1 = '{NULL}' */
static bool explain(const struct source_reader *root, PGresult **res, struct err *e)
{
    const struct source_key *k = &root->table->key;
    struct source_statement st;
    source_statement_init(&st, 1, 1);
    buf_addf(&st.sql, "EXPLAIN (FORMAT JSON, COSTS OFF) %s", root->source->select);
    source_add_choice(&st.sql, k, "q.");
    for (size_t i = 0; i < k->n; i++)
        source_bind(&st, "{NULL}");
    return source_run(root->pg, &st, res, e);
}

static bool warn_of_query(const struct source_reader *root, struct err *e)
{
    struct json_tree t = {0};
    PGresult *res;
    if (!explain(root, &res, e)) {
        if (e->kind != ERR_FINAL)
            return false;
        log_debug_with(LOG_FIELDS(LOG_ERR(e)), "cannot explain the query: %s",
                       e->text); /* the query itself works */
        return true;
    }
    if (json_tree_read(&t, PQgetvalue(res, 0, 0), (size_t)PQgetlength(res, 0, 0), e))
        warn_of_plan(root->source->pipeline, &t);
    json_tree_free(&t);
    PQclear(res);
    return true;
}

bool source_warn(const struct source *s, struct pg *pg, struct err *e)
{
    struct source_reader root = source_reader(s, 0, pg);
    return warn_of_key(&root, e) && warn_of_query(&root, e);
}
