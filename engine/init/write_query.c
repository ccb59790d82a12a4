/* write_query: the query, formatted for people: each object and each array is a LATERAL join, which
 * PostgreSQL runs for the rows that are asked for, and for no others. */
#include "init/sqlname.h"
#include "init/write_internal.h"

#include <string.h>

/* What is being written, where. */
struct writing {
    struct plan *p;
    struct buf *b;
};

static const char *name(struct writing *w, const char *text)
{
    return sqlname(&w->p->arena, w->p->catalog, text);
}

static const char *table(struct writing *w, const struct catalog_table *t)
{
    return sqlname_table(&w->p->arena, w->p->catalog, t);
}

static void line(struct writing *w, size_t indent)
{
    buf_addc(w->b, '\n');
    write_indent(w->b, indent);
}

/* ---- the list of columns ---- */

/* The expression with the column in the place of its marks. */
static const char *fill(struct writing *w, const char *expression, const char *column)
{
    const char *text = "";
    for (const char *mark; (mark = strchr(expression, '\1')); expression = mark + 1)
        text = arena_textf(&w->p->arena, "%s%.*s%s", text, (int)(mark - expression), expression,
                           column);
    return arena_textf(&w->p->arena, "%s%s", text, expression);
}

static const char *field_sql(struct writing *w, const struct plan_node *n,
                             const struct plan_field *f)
{
    const char *alias = f->table == n->link ? n->link_alias : n->alias;
    const char *as = n->shape == PLAN_ROOT ? f->column->name : f->name;
    const char *column = arena_textf(&w->p->arena, "%s.%s", alias, name(w, f->column->name));
    if (f->type.expression)
        column = fill(w, f->type.expression, column);
    if (!f->type.expression && strcmp(as, f->column->name) == 0)
        return column;
    return arena_textf(&w->p->arena, "%s AS %s", column, name(w, as));
}

/* The fields, as many in a line as fit. */
static void add_columns(struct writing *w, const struct plan_node *n, size_t indent)
{
    size_t begin = w->b->len - indent; /* of the line */
    for (size_t i = 0; i < n->n_fields; i++) {
        const char *sql = field_sql(w, n, &n->fields[i]);
        bool fits = w->b->len - begin + 2 + strlen(sql) <= WRITE_WIDTH;
        buf_adds(w->b, i == 0 ? "" : fits ? ", " : ",");
        if (i > 0 && !fits) {
            begin = w->b->len + 1;
            line(w, indent);
        }
        buf_adds(w->b, sql);
    }
    bool first = n->n_fields == 0;
    for (const struct plan_node *child = n->first; child; child = child->next, first = false) {
        buf_adds(w->b, first ? "" : ",");
        if (!first)
            line(w, indent);
        if (child->shape == PLAN_ARRAY)
            buf_addf(w->b, "%s.list AS %s", name(w, child->lateral), name(w, child->name));
        else
            buf_addf(w->b, "to_json(%s) AS %s", name(w, child->lateral), name(w, child->name));
    }
    if (first && !n->first)
        buf_adds(w->b, "true AS present");
}

/* ---- conditions ---- */

static void add_equals(struct writing *w, const struct catalog_reference *r, const char *from,
                       const char *to, bool from_first)
{
    for (size_t i = 0; i < r->columns.n; i++) {
        const char *a = name(w, r->from->columns[r->columns.at[i]].name);
        const char *b = name(w, r->to->columns[r->targets.at[i]].name);
        buf_addf(w->b, "%s%s.%s = %s.%s", i ? " AND " : "", from_first ? from : to,
                 from_first ? a : b, from_first ? to : from, from_first ? b : a);
    }
}

static void add_where(struct writing *w, const struct plan_node *n, size_t indent)
{
    if (n->link) {
        line(w, indent + 2);
        buf_addf(w->b, "JOIN %s %s ON ", table(w, n->table), n->alias);
        add_equals(w, n->far, n->link_alias, n->alias, false);
    }
    if (!n->parent)
        return;
    line(w, indent + 1);
    buf_adds(w->b, "WHERE ");
    if (n->inward)
        add_equals(w, n->reference, n->link ? n->link_alias : n->alias, n->parent->alias, true);
    else
        add_equals(w, n->reference, n->parent->alias, n->alias, false);
}

/* Adds the columns of a key to ORDER BY, but those that are the same in all rows of the array. */
static void add_key(struct writing *w, const struct plan_node *n, const struct catalog_table *t,
                    const char **comma)
{
    const struct catalog_index *key = catalog_identity(t);
    bool near = t == n->reference->from && (n->link == t || !n->link) && n->inward;
    for (size_t i = 0; key && i < key->columns.n; i++) {
        size_t at = key->columns.at[i];
        bool known = (near && catalog_has_column(&n->reference->columns, at)) ||
                     (t == n->link && catalog_has_column(&n->far->columns, at));
        if (known)
            continue;
        buf_addf(w->b, "%s%s.%s", *comma, t == n->link ? n->link_alias : n->alias,
                 name(w, t->columns[at].name));
        *comma = ", ";
    }
}

/* By the key; of a link, too, where the same row may be linked several times. */
static void add_order(struct writing *w, const struct plan_node *n, size_t indent)
{
    const char *comma = "";
    line(w, indent + 1);
    buf_adds(w->b, "ORDER BY ");
    add_key(w, n, n->table, &comma);
    if (n->link)
        add_key(w, n, n->link, &comma);
    if (!*comma)
        buf_addf(w->b, "%s::text", n->alias);
}

/* ---- SELECT ---- */

static void add_select(struct writing *w, const struct plan_node *n, size_t indent);

/*  CROSS JOIN LATERAL (
 *        SELECT coalesce(json_agg(actor), '[]') AS list
 *          FROM (SELECT a.id, ...
 *                 ORDER BY a.id) actor
 *        ) actors */
static void add_array(struct writing *w, const struct plan_node *n, size_t indent)
{
    line(w, indent + 1);
    buf_adds(w->b, "CROSS JOIN LATERAL (");
    line(w, indent + 7);
    buf_addf(w->b, "SELECT coalesce(json_agg(%s), '[]') AS list", name(w, n->row_alias));
    line(w, indent + 9);
    buf_adds(w->b, "FROM (");
    add_select(w, n, indent + 15);
    add_order(w, n, indent + 15);
    buf_addf(w->b, ") %s", name(w, n->row_alias));
    line(w, indent + 7);
    buf_addf(w->b, ") %s", name(w, n->lateral));
}

static void add_object(struct writing *w, const struct plan_node *n, size_t indent)
{
    line(w, indent + 2);
    buf_adds(w->b, "LEFT JOIN LATERAL (");
    line(w, indent + 7);
    add_select(w, n, indent + 7);
    line(w, indent + 7);
    buf_addf(w->b, ") %s ON true", name(w, n->lateral));
}

static void add_select(struct writing *w, const struct plan_node *n, size_t indent)
{
    buf_adds(w->b, "SELECT ");
    add_columns(w, n, indent + 7);
    line(w, indent + 2);
    buf_addf(w->b, "FROM %s %s", table(w, n->link ? n->link : n->table),
             n->link ? n->link_alias : n->alias);
    for (const struct plan_node *child = n->first; child; child = child->next) {
        if (child->shape == PLAN_ARRAY)
            add_array(w, child, indent);
        else
            add_object(w, child, indent);
    }
    add_where(w, n, indent);
}

void write_query(struct plan *p, struct buf *b, size_t indent)
{
    struct writing w = {p, b};
    write_indent(b, indent);
    add_select(&w, p->root, indent);
}
