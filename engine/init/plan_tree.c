/* plan_tree: the nodes: which tables a document is made of, by their foreign keys. */
#include "init/plan_internal.h"
#include "init/sqlname.h"

#include <string.h>

enum {
    MANY_ROWS = 100,  /* of an array, on average: more are better searched by themselves */
    MANY_ARRAYS = 20, /* more nested fields make every search of the index slow */
    MANY_OWN = 2,     /* columns of a link, besides its foreign keys: more, and it is a thing */
};

/* ---- notes ---- */

bool plan_note(struct plan *p, struct plan_notes *notes, const char *line)
{
    for (size_t i = 0; i < notes->n; i++)
        if (strcmp(notes->list[i], line) == 0)
            return true;
    const char **list = arena_new(&p->arena, notes->n + 1, sizeof *list);
    if (!list)
        return false;
    if (notes->n > 0)
        memcpy(list, notes->list, notes->n * sizeof *list);
    list[notes->n++] = line;
    notes->list = list;
    return true;
}

static void leave_out_table(struct plan *p, const struct catalog_table *t, const char *why)
{
    plan_note(p, &p->left_out,
              arena_textf(&p->arena, "%s: %s", sqlname_table(&p->arena, p->catalog, t), why));
}

static const char *grant_of(struct plan *p, const struct catalog_table *t)
{
    return arena_textf(&p->arena, "GRANT SELECT ON %s TO %s",
                       sqlname_table(&p->arena, p->catalog, t),
                       sqlname(&p->arena, p->catalog, p->catalog->role));
}

/* ---- fields ---- */

/* Whether rows are found by the column: it is part of a key, or of a foreign key. */
static bool is_key(const struct plan *p, const struct catalog_table *t, size_t column)
{
    const struct catalog *c = p->catalog;
    const struct catalog_index *identity = catalog_identity(t);
    if (identity && catalog_has_column(&identity->columns, column))
        return true;
    for (size_t i = 0; i < c->n_references; i++) {
        const struct catalog_reference *r = &c->references[i];
        if ((r->from == t && catalog_has_column(&r->columns, column)) ||
            (r->to == t && catalog_has_column(&r->targets, column)))
            return true;
    }
    return t == p->root->table && catalog_has_column(&p->key, column);
}

static void leave_out_column(struct plan *p, struct plan_node *n, const char *name, const char *why)
{
    n->left_out[n->n_left_out++] = arena_textf(&p->arena, "%s (%s)", name, why);
}

static void add_field(struct plan *p, struct plan_node *n, const struct catalog_table *t, size_t at)
{
    const struct catalog_column *c = &t->columns[at];
    struct column_type type;
    column_type_of(&p->arena, c, is_key(p, t, at), &type);
    bool root_key = n->shape == PLAN_ROOT && catalog_has_column(&p->key, at);
    if (root_key && type.left_out)
        type = (struct column_type){.mapping = "{ type = \"keyword\" }"};
    if (!c->readable)
        leave_out_column(p, n, c->name, "it cannot be read");
    else if (type.left_out)
        leave_out_column(p, n, c->name, type.left_out);
    else
        n->fields[n->n_fields++] = (struct plan_field){.column = c, .table = t, .type = type};
}

/* What a reader of the document knows already, or does not ask for. */
static bool is_dull(const struct plan_node *n, const struct catalog_table *t, size_t at)
{
    if (n->shape == PLAN_ROOT)
        return false;
    if (n->inward && t == n->reference->from && catalog_has_column(&n->reference->columns, at))
        return true;
    return column_is_bookkeeping(&t->columns[at]);
}

/* Of a link: what it says of the relation, and not its own number. */
static bool is_own(const struct plan_node *n, size_t at)
{
    const struct catalog_table *t = n->link;
    const struct catalog_index *identity = catalog_identity(t);
    bool number = identity && identity->columns.n == 1 && identity->columns.at[0] == at;
    return !number && !is_dull(n, t, at) && !catalog_has_column(&n->far->columns, at);
}

static bool add_fields(struct plan *p, struct plan_node *n)
{
    size_t most = n->table->n_columns + (n->link ? n->link->n_columns : 0);
    n->fields = arena_new(&p->arena, most, sizeof *n->fields);
    n->left_out = arena_new(&p->arena, most, sizeof *n->left_out);
    if (!n->fields || !n->left_out)
        return false;
    for (size_t i = 0; i < n->table->n_columns; i++)
        if (n->link || !is_dull(n, n->table, i))
            if (!n->link || !column_is_bookkeeping(&n->table->columns[i]))
                add_field(p, n, n->table, i);
    for (size_t i = 0; n->link && i < n->link->n_columns; i++)
        if (is_own(n, i))
            add_field(p, n, n->link, i);
    return true;
}

/* ---- keys of links ---- */

/* The log has the old values as they are: of another type, they are not the root's keys. */
bool plan_log_tells(const struct plan *p, const struct catalog_reference *r)
{
    if (!p->wal)
        return true;
    for (size_t i = 0; i < r->columns.n; i++)
        if (strcmp(r->from->columns[r->columns.at[i]].base,
                   r->to->columns[r->targets.at[i]].base) != 0)
            return false;
    return catalog_keeps_old(r->from, &r->columns);
}

bool plan_keep_links(struct plan *p)
{
    for (struct plan_node *n = p->root->first; n; n = n->next) {
        const struct catalog_index *key = n->link ? catalog_identity(n->link) : NULL;
        if (key && key->columns.n == 1 && !plan_log_tells(p, n->reference))
            add_field(p, n, n->link, key->columns.at[0]);
    }
    return !p->arena.failed;
}

/* ---- nodes ---- */

/* Adds a copy of `like` as the parent's last child. NULL: no memory. */
static struct plan_node *add_node(struct plan *p, struct plan_node *parent,
                                  const struct plan_node *like)
{
    struct plan_node *n = arena_new(&p->arena, 1, sizeof *n), **end = &parent->first;
    if (!n)
        return NULL;
    *n = *like;
    n->parent = parent;
    while (*end)
        end = &(*end)->next;
    *end = n;
    return add_fields(p, n) ? n : NULL;
}

static bool is_on_path(const struct plan_node *n, const struct catalog_table *t)
{
    for (; n; n = n->parent)
        if (n->table == t || n->link == t)
            return true;
    return false;
}

/* Objects of what the node's rows refer to, and so on, `left` steps. */
static void add_objects(struct plan *p, struct plan_node *n, size_t left)
{
    const struct catalog *c = p->catalog;
    for (size_t i = 0; left > 0 && i < c->n_references && !p->arena.failed; i++) {
        const struct catalog_reference *r = &c->references[i];
        bool self = r->to == n->table && n->shape == PLAN_ROOT;
        if (r->from != n->table || (!self && is_on_path(n, r->to)))
            continue;
        if (!r->to->readable) {
            leave_out_table(p, r->to, grant_of(p, r->to));
            continue;
        }
        struct plan_node like = {.shape = PLAN_OBJECT, .table = r->to, .reference = r};
        struct plan_node *child = add_node(p, n, &like);
        if (child && !self)
            add_objects(p, child, left - 1);
    }
}

/* ---- links ---- */

static bool includes(const struct catalog_columns *all, const struct catalog_columns *some)
{
    for (size_t i = 0; i < some->n; i++)
        if (!catalog_has_column(all, some->at[i]))
            return false;
    return true;
}

static bool is_referred_to(const struct catalog *c, const struct catalog_table *t)
{
    for (size_t i = 0; i < c->n_references; i++)
        if (c->references[i].to == t)
            return true;
    return false;
}

/* Whether some unique index makes the pair one that occurs once, or once for each role and such. */
static bool is_pair_unique(const struct catalog_table *t, const struct catalog_reference *a,
                           const struct catalog_reference *b)
{
    for (size_t i = 0; i < t->n_indexes; i++)
        if (t->indexes[i].unique && includes(&t->indexes[i].columns, &a->columns) &&
            includes(&t->indexes[i].columns, &b->columns))
            return true;
    return false;
}

static size_t count_own(const struct catalog_reference *a, const struct catalog_reference *b)
{
    const struct catalog_table *t = a->from;
    const struct catalog_index *identity = catalog_identity(t);
    size_t n = 0;
    for (size_t i = 0; i < t->n_columns; i++)
        n += !catalog_has_column(&a->columns, i) && !catalog_has_column(&b->columns, i) &&
             !(identity && catalog_has_column(&identity->columns, i)) &&
             !column_is_bookkeeping(&t->columns[i]);
    return n;
}

static bool is_never_null(const struct catalog_reference *r)
{
    for (size_t i = 0; i < r->columns.n; i++)
        if (!r->from->columns[r->columns.at[i]].not_null)
            return false;
    return true;
}

/* If the table that refers to the root only links it to another one: the link's other foreign key.
 * NULL: it is more than a link. */
static const struct catalog_reference *find_far(const struct plan *p,
                                                const struct catalog_reference *r)
{
    const struct catalog *c = p->catalog;
    const struct catalog_reference *far = NULL;
    for (size_t i = 0; i < c->n_references; i++) {
        const struct catalog_reference *other = &c->references[i];
        if (other->from != r->from || other == r ||
            catalog_same_columns(&other->columns, &r->columns))
            continue;
        if (far)
            return NULL;
        far = other;
    }
    if (!far || !far->to->readable || !is_never_null(r) || !is_never_null(far) ||
        includes(&far->columns, &r->columns) || includes(&r->columns, &far->columns))
        return NULL;
    bool small = !is_referred_to(c, r->from) && count_own(r, far) <= MANY_OWN;
    return is_pair_unique(r->from, r, far) || small ? far : NULL;
}

/* ---- arrays ---- */

static bool is_too_many(struct plan *p, const struct catalog_reference *r)
{
    int64_t of = r->to->rows, rows = r->from->rows;
    if (of <= 0 || rows <= 0 || rows / of <= MANY_ROWS)
        return false;
    leave_out_table(
        p, r->from,
        arena_textf(&p->arena, "some %lld rows for each %s", (long long)(rows / of), r->to->name));
    return true;
}

/* Rows that belong to the root's: they are part of it, or go with it. */
static bool is_owned(const struct plan *p, const struct catalog_reference *r, size_t depth)
{
    const struct catalog_index *identity = catalog_identity(r->from);
    return r->cascades || (identity && includes(&identity->columns, &r->columns)) ||
           (depth >= 2 && find_far(p, r));
}

static void add_inward(struct plan *p, const struct catalog_reference *r, size_t depth)
{
    const struct catalog_reference *far = depth >= 2 ? find_far(p, r) : NULL;
    bool self = r->from == r->to, one = !self && catalog_is_unique(r->from, &r->columns);
    struct plan_node like = {
        .shape = one ? PLAN_OBJECT : PLAN_ARRAY, .table = r->from, .reference = r, .inward = true};
    if (far && !one && !self) {
        like.table = far->to;
        like.link = r->from;
        like.far = far;
    }
    struct plan_node *n = add_node(p, p->root, &like);
    size_t used = like.link ? 2 : 1;
    if (n && !self && n->table != p->root->table && depth > used)
        add_objects(p, n, depth - used);
}

static void add_arrays(struct plan *p, size_t depth, bool owned, size_t *n)
{
    const struct catalog *c = p->catalog;
    for (size_t i = 0; i < c->n_references && !p->arena.failed; i++) {
        const struct catalog_reference *r = &c->references[i];
        if (r->to != p->root->table || is_owned(p, r, depth) != owned)
            continue;
        if (!r->from->readable)
            leave_out_table(p, r->from, grant_of(p, r->from));
        else if (*n >= MANY_ARRAYS)
            leave_out_table(p, r->from, "there are many arrays already");
        else if (!is_too_many(p, r) && ++*n)
            add_inward(p, r, depth);
    }
}

bool plan_tree(struct plan *p, const struct catalog_table *table, size_t depth)
{
    size_t arrays = 0;
    p->root = arena_new(&p->arena, 1, sizeof *p->root);
    if (!p->root)
        return false;
    *p->root = (struct plan_node){.shape = PLAN_ROOT, .table = table};
    if (!add_fields(p, p->root))
        return false;
    add_objects(p, p->root, depth);
    if (depth > 0) {
        add_arrays(p, depth, true, &arrays);
        add_arrays(p, depth, false, &arrays);
    }
    return !p->arena.failed;
}
