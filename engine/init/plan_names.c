/* plan_names: what the fields of a document are called, and the tables in its query. */
#include "init/naming.h"
#include "init/plan_internal.h"

#include <string.h>

enum { NAME_BYTES = 60 }; /* PostgreSQL cuts at 63: a number still fits */

/* ---- names that are taken ---- */

static bool is_alias(const struct plan *p, const struct plan_node *n, const char *name);

typedef bool is_taken(const struct plan *p, const struct plan_node *n, const char *name);

/* The name, or the name with a number, that is not taken. */
static const char *free_name(struct plan *p, const struct plan_node *n, const char *name,
                             is_taken *taken)
{
    size_t len = strlen(name);
    if (len > NAME_BYTES) { /* not in the middle of a character of UTF-8 */
        for (len = NAME_BYTES; len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80; len--)
            ;
        name = arena_textf(&p->arena, "%.*s", (int)len, name);
    }
    const char *tried = name;
    for (int i = 2; taken(p, n, tried) && i < 1000 && !p->arena.failed; i++)
        tried = arena_textf(&p->arena, taken == is_alias ? "%s%d" : "%s_%d", name, i);
    return tried;
}

static bool is_field(const struct plan *p, const struct plan_node *n, const char *name)
{
    (void)p;
    for (size_t i = 0; i < n->n_fields; i++)
        if (n->fields[i].name && strcmp(n->fields[i].name, name) == 0)
            return true;
    for (const struct plan_node *child = n->first; child; child = child->next)
        if (child->name && strcmp(child->name, name) == 0)
            return true;
    return false;
}

/* ---- fields ---- */

static void name_columns(struct plan *p, struct plan_node *n)
{
    for (size_t i = 0; i < n->n_fields; i++) {
        struct plan_field *f = &n->fields[i];
        const char *name = naming_field(&p->arena, f->column->name);
        if (n->link && f->table == n->link && is_field(p, n, name))
            name = arena_textf(&p->arena, "%s_%s", naming_singular(&p->arena, n->link->name), name);
        f->name = free_name(p, n, name, is_field);
    }
}

/* ---- objects and arrays ---- */

/* The only column of a reference; NULL: it has several. */
static const char *only_column(const struct catalog_reference *r)
{
    return r->columns.n == 1 ? r->from->columns[r->columns.at[0]].name : NULL;
}

/* componentid: component */
static const char *without_id(struct plan *p, const char *column)
{
    size_t len = strlen(column);
    bool id = len > 2 && strcmp(column + len - 2, "id") == 0;
    return id ? arena_textf(&p->arena, "%.*s", (int)len - 2, column) : column;
}

/* What a reference is about, as well as its columns tell. */
static const char *topic(struct plan *p, const struct catalog_reference *r)
{
    const char *column = only_column(r);
    const char *referred = column ? naming_referred(&p->arena, column, r->to->name) : NULL;
    return referred ? referred : column ? without_id(p, column) : r->name;
}

static const char *object_name(struct plan *p, const struct plan_node *n)
{
    struct arena *a = &p->arena;
    const struct catalog_reference *r = n->reference;
    const char *column = only_column(r), *one = naming_singular(a, r->to->name);
    const struct catalog_index *identity = catalog_identity(r->from);
    const char *referred = column ? naming_referred(a, column, r->to->name) : NULL;
    if (n->inward)
        return naming_singular(a, r->from->name);
    if (referred && !is_field(p, n->parent, referred))
        return referred;
    bool id = column && without_id(p, column) != column;
    if (id && !is_field(p, n->parent, one))
        return one;
    if (!column || (identity && catalog_same_columns(&identity->columns, &r->columns)))
        return one;
    if (strcmp(column, one) == 0 || strcmp(column, r->to->name) == 0)
        return arena_textf(a, "%s_details", column);
    return arena_textf(a, "%s_%s", referred ? referred : column, one);
}

static bool is_one_of_several(const struct plan *p, const struct catalog_reference *r)
{
    size_t n = 0;
    for (size_t i = 0; i < p->catalog->n_references; i++)
        n += p->catalog->references[i].from == r->from && p->catalog->references[i].to == r->to;
    return n > 1;
}

static const char *linked_name(struct plan *p, const struct plan_node *n)
{
    const struct catalog_reference *far = n->far;
    const char *column = only_column(far);
    const char *referred = column ? naming_referred(&p->arena, column, far->to->name) : NULL;
    if (!referred && column && is_one_of_several(p, far))
        referred = without_id(p, column);
    return naming_plural(&p->arena, referred ? referred : far->to->name);
}

static const char *array_name(struct plan *p, const struct plan_node *n)
{
    const struct catalog_reference *r = n->reference;
    const char *about = topic(p, r);
    if (n->link)
        return linked_name(p, n);
    if (r->from == r->to && strcmp(about, "parent") == 0)
        return "children";
    const char *many = naming_plural(&p->arena, r->from->name);
    if (r->from == r->to || is_one_of_several(p, r))
        return arena_textf(&p->arena, "%s_by_%s", many, about);
    return many;
}

/* For a name that is taken: by which way. */
static const char *other_name(struct plan *p, const struct plan_node *n, const char *name)
{
    if (n->link)
        return arena_textf(&p->arena, "%s_by_%s", name, n->link->name);
    if (n->inward)
        return arena_textf(&p->arena, "%s_by_%s", name, topic(p, n->reference));
    return arena_textf(&p->arena, "%s_%s", name,
                       naming_singular(&p->arena, n->reference->to->name));
}

static void name_fields(struct plan *p, struct plan_node *n)
{
    name_columns(p, n);
    for (struct plan_node *child = n->first; child; child = child->next) {
        const char *name =
            child->shape == PLAN_ARRAY ? array_name(p, child) : object_name(p, child);
        name = naming_field(&p->arena, name);
        if (is_field(p, n, name))
            name = other_name(p, child, name);
        child->name = free_name(p, n, name, is_field);
        name_fields(p, child);
    }
}

/* ---- the query ---- */

static bool same(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

static bool is_column(const struct catalog_table *t, const char *name)
{
    for (size_t i = 0; t && i < t->n_columns; i++)
        if (strcmp(t->columns[i].name, name) == 0)
            return true;
    return false;
}

static bool is_alias_in(const struct plan_node *n, const char *name)
{
    if (same(n->alias, name) || same(n->link_alias, name) || same(n->row_alias, name) ||
        same(n->lateral, name))
        return true;
    for (const struct plan_node *child = n->first; child; child = child->next)
        if (is_alias_in(child, name))
            return true;
    return false;
}

static bool is_keyword(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->catalog->n_keywords; i++)
        if (strcmp(p->catalog->keywords[i], name) == 0)
            return true;
    return false;
}

/* Of tables: one meaning for a name in the whole query. */
static bool is_alias(const struct plan *p, const struct plan_node *n, const char *name)
{
    (void)n;
    return is_keyword(p, name) || is_alias_in(p->root, name);
}

static bool is_column_in(const struct plan_node *n, const char *name)
{
    if (is_column(n->table, name) || is_column(n->link, name))
        return true;
    for (size_t i = 0; i < n->n_fields; i++)
        if (strcmp(n->fields[i].name, name) == 0)
            return true;
    for (const struct plan_node *child = n->first; child; child = child->next)
        if (is_column_in(child, name))
            return true;
    return false;
}

/* Of whole rows: to_json(genre) is that of a column, if one has the name. */
static bool is_row(const struct plan *p, const struct plan_node *n, const char *name)
{
    return is_alias(p, n, name) || is_column_in(p->root, name) || strcmp(name, "list") == 0;
}

static const char *row_name(struct plan *p, struct plan_node *n, const char *name,
                            const char *otherwise)
{
    if (is_row(p, n, name))
        name = arena_textf(&p->arena, "%s_%s", name, otherwise);
    return free_name(p, n, name, is_row);
}

static void name_query(struct plan *p, struct plan_node *n)
{
    struct arena *a = &p->arena;
    n->alias = free_name(p, n, naming_alias(a, n->table->name), is_alias);
    if (n->link)
        n->link_alias = free_name(p, n, naming_alias(a, n->link->name), is_alias);
    if (n->shape != PLAN_ROOT)
        n->lateral = row_name(p, n, n->name, n->shape == PLAN_ARRAY ? "list" : "row");
    if (n->shape == PLAN_ARRAY)
        n->row_alias = row_name(p, n, naming_singular(a, n->name), "row");
    for (struct plan_node *child = n->first; child; child = child->next)
        name_query(p, child);
}

bool plan_names(struct plan *p)
{
    name_fields(p, p->root);
    name_query(p, p->root);
    return !p->arena.failed;
}
