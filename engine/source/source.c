/* source: opens the script's tables and its query, checks the query, and closes them. */
#include "base/err.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the query ---- */

static bool blame_query(const struct source_opening *root, struct err *e)
{
    return source_blame(root, root->source->pipeline->source.query_line, "query", e);
}

/* SELECT * FROM ( <query>
 * ) q WHERE
 *
 * The query's lines keep their numbers, for messages; it may end in a comment. */
static char *wrap_query(const char *query, struct err *e)
{
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    buf_adds(&b, "SELECT * FROM ( ");
    buf_adds(&b, query);
    buf_adds(&b, "\n) q WHERE ");
    return source_finish(&b, e);
}

/* A DELETE ... RETURNING returns rows, but not to a SELECT around it. */
static bool check_wrapped(const struct source_opening *root, struct err *e)
{
    struct buf sql;
    struct pg_columns c = {0};
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_addf(&sql, "%strue", root->source->select);
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_describe(root->pg, text, &c, e) : err_memory(e);
    pg_columns_free(&c);
    buf_free(&sql);
    return ok || blame_query(root, e);
}

/* Whether a value of one type has the same text in the other, and can be compared with it. */
static bool is_same_text(Oid a, Oid b)
{
    bool whole = (a == SOURCE_INT2 || a == SOURCE_INT4 || a == SOURCE_INT8) &&
                 (b == SOURCE_INT2 || b == SOURCE_INT4 || b == SOURCE_INT8);
    bool text =
        (a == SOURCE_TEXT || a == SOURCE_VARCHAR) && (b == SOURCE_TEXT || b == SOURCE_VARCHAR);
    return a == b || whole || text;
}

static bool find_key_column(struct source *s, size_t i, struct err *e)
{
    const struct source_key *key = &s->tables[0].key;
    const char *name = s->pipeline->source.key.list[i];
    s->key[i] = pg_column(&s->columns, name);
    if (s->key[i] < 0)
        return err_set(e, ERR_FINAL, "it does not return the key column '%s'", name);
    const struct pg_column *c = &s->columns.list[s->key[i]];
    return is_same_text(c->oid, key->oids[i]) ||
           err_set(e, ERR_FINAL,
                   "its column '%s' has type %s, but in table '%s' that is %s; return the column "
                   "unchanged",
                   name, c->type, s->pipeline->source.table, key->types[i]);
}

static bool check_columns(struct source *s, struct err *e)
{
    if (s->columns.parameters > 0)
        return err_set(e, ERR_FINAL, "it has a placeholder, $%d, but gets no parameters",
                       s->columns.parameters);
    for (size_t i = 0; i < s->tables[0].key.n; i++)
        if (!find_key_column(s, i, e))
            return false;
    for (size_t i = 0; i < s->columns.n; i++)
        if (pg_column(&s->columns, s->columns.list[i].name) != (int)i)
            return err_set(e, ERR_FINAL, "it returns column '%s' twice", s->columns.list[i].name);
    return true;
}

static bool open_query(struct source *s, const struct source_opening *root, struct err *e)
{
    const char *query = s->pipeline->source.query;
    if (!pg_describe(root->pg, query, &s->columns, e)) {
        source_hint_relation(root->pg, e);
        return blame_query(root, e);
    }
    if (!check_columns(s, e))
        return blame_query(root, e);
    s->select = wrap_query(query, e);
    return s->select && check_wrapped(root, e);
}

/* ---- the tables ---- */

static bool open_root(struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    struct source_opening o = {.source = s,
                               .table = &s->tables[0],
                               .pg = pg,
                               .key = &p->source.key,
                               .cursor = p->source.cursor,
                               .table_line = p->source.table_line,
                               .key_line = p->source.key_line,
                               .cursor_line = p->source.cursor_line};
    o.table->label = p->source.table;
    return source_open_table(&o, e) && open_query(s, &o, e);
}

static bool open_related(struct source *s, size_t i, struct pg *pg, struct err *e)
{
    const struct pipeline_related *r = &s->pipeline->source.related[i];
    struct source_opening o = {.source = s,
                               .table = &s->tables[i + 1],
                               .pg = pg,
                               .key = &r->key,
                               .cursor = r->cursor,
                               .table_line = r->table_line,
                               .key_line = r->key_line,
                               .cursor_line = r->cursor_line};
    o.table->related = r;
    o.table->label = r->table;
    return source_open_table(&o, e) && source_open_affected(&o, e);
}

/* A script may name a table more than once: with two foreign keys to it, or as a root that refers
 * to itself. Each entry has its own position in the state, under its own name. */
static bool set_state_name(struct source *s, size_t table, struct err *e)
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
    t->state_name = source_finish(&b, e);
    return t->state_name != NULL;
}

bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e)
{
    *s = (struct source){.pipeline = p};
    s->tables = calloc(1 + p->source.n_related, sizeof *s->tables);
    s->n_tables = s->tables ? 1 + p->source.n_related : 0;
    bool ok = s->tables ? open_root(s, pg, e) : err_memory(e);
    for (size_t i = 0; ok && i < p->source.n_related; i++)
        ok = open_related(s, i, pg, e);
    for (size_t i = 0; ok && i < s->n_tables; i++)
        ok = set_state_name(s, i, e);
    if (!ok)
        source_free(s);
    return ok;
}

void source_free(struct source *s)
{
    pg_columns_free(&s->columns);
    for (size_t i = 0; i < s->n_tables; i++)
        source_table_free(&s->tables[i]);
    free(s->tables);
    free(s->select);
    *s = (struct source){0};
}
