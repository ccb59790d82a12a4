/* plan_related: the tables whose changes count, which documents they affect, and the indexes that
 * this takes. */
#include "init/plan_internal.h"
#include "init/sqlname.h"

#include <string.h>

/* ---- the way from a table to the root ---- */

enum { STEPS = 40 };

struct step {
    const struct catalog_table *table;
    const char *alias;
    /* to the next table; NULL: this is the root */
    const struct catalog_reference *reference;
    bool refers; /* this table refers to the next one, not the other way round */
};

struct way {
    struct step steps[STEPS];
    size_t n;
};

static void add_step(struct way *w, const struct step *s)
{
    if (w->n < STEPS)
        w->steps[w->n++] = *s;
}

static void find_way(struct way *w, const struct plan_node *n, bool from_link)
{
    w->n = 0;
    for (; n->parent; n = n->parent) {
        if (n->link && !from_link)
            add_step(w, &(struct step){n->table, n->alias, n->far, false});
        if (n->link)
            add_step(w, &(struct step){n->link, n->link_alias, n->reference, true});
        else
            add_step(w, &(struct step){n->table, n->alias, n->reference, n->inward});
        from_link = false;
    }
    add_step(w, &(struct step){n->table, n->alias, NULL, false});
}

/* ---- SQL ---- */

static const char *prefix(struct plan *p, const struct step *s, bool alone)
{
    return alone ? "" : arena_textf(&p->arena, "%s.", s->alias);
}

static const char *columns(struct plan *p, const struct step *s, const struct catalog_columns *c,
                           bool alone)
{
    return sqlname_columns(&p->arena, p->catalog, s->table, c, prefix(p, s, alone));
}

/* Those columns that refer to `targets`, in the order of these. False: they do not refer to all. */
static bool translate(const struct catalog_reference *r, const struct catalog_columns *targets,
                      struct catalog_columns *out)
{
    out->n = 0;
    for (size_t i = 0; i < targets->n; i++)
        for (size_t k = 0; k < r->targets.n; k++)
            if (r->targets.at[k] == targets->at[i]) {
                out->at[out->n++] = r->columns.at[k];
                break;
            }
    return out->n == targets->n && r->targets.n == targets->n;
}

/* fa.actor_id = ANY($1), or (l.a, l.b) IN (SELECT * FROM unnest($1, $2)) */
static const char *condition(struct plan *p, const struct step *s, const struct catalog_columns *c,
                             bool alone)
{
    const char *names = columns(p, s, c, alone), *list = "";
    if (c->n == 1)
        return arena_textf(&p->arena, "%s = ANY($1)", names);
    for (size_t i = 0; i < c->n; i++)
        list = arena_textf(&p->arena, "%s%s$%zu", list, i ? ", " : "", i + 1);
    return arena_textf(&p->arena, "(%s) IN (SELECT * FROM unnest(%s))", names, list);
}

/* JOIN inventory i ON i.store_id = s.store_id */
static const char *join(struct plan *p, const struct step *s)
{
    const struct step *next = s + 1, *from = s->refers ? s : next, *to = s->refers ? next : s;
    const char *text = "";
    for (size_t i = 0; i < s->reference->columns.n; i++) {
        struct catalog_columns a = {1, {s->reference->columns.at[i]}};
        struct catalog_columns b = {1, {s->reference->targets.at[i]}};
        const char *one = columns(p, from, &a, false), *other = columns(p, to, &b, false);
        text = arena_textf(&p->arena, "%s%s%s = %s", text, i ? " AND " : "",
                           from == next ? one : other, from == next ? other : one);
    }
    return arena_textf(&p->arena, "\1JOIN %s %s ON %s",
                       sqlname_table(&p->arena, p->catalog, next->table), next->alias, text);
}

/* The part of a way that a query needs: a table at an end, of which only the key is used, is left
 * out where its neighbour has that key. */
struct trip {
    const struct step *first, *last;
    struct catalog_columns changed;  /* of the first: the keys of the changed rows */
    struct catalog_columns affected; /* of the last: the root's keys */
};

static struct trip plan_trip(const struct plan *p, const struct way *w,
                             const struct catalog_columns *key)
{
    struct trip t = {
        .first = w->steps, .last = &w->steps[w->n - 1], .changed = *key, .affected = p->key};
    struct catalog_columns c;
    if (!t.first->refers && translate(t.first->reference, key, &c)) {
        t.changed = c;
        t.first++;
    }
    if (t.last > t.first && t.last[-1].refers && translate(t.last[-1].reference, &p->key, &c)) {
        t.affected = c;
        t.last--;
    }
    return t;
}

static const char *query(struct plan *p, const struct trip *t)
{
    bool alone = t->first == t->last;
    const char *joins = "";
    for (const struct step *s = t->first; s < t->last; s++)
        joins = arena_textf(&p->arena, "%s%s", joins, join(p, s));
    return arena_textf(
        &p->arena, "SELECT %s\1FROM %s%s%s%s\1WHERE %s", columns(p, t->last, &t->affected, alone),
        sqlname_table(&p->arena, p->catalog, t->first->table), alone ? "" : " ",
        alone ? "" : t->first->alias, joins, condition(p, t->first, &t->changed, alone));
}

/* ---- the list ---- */

static struct plan_related *add_related(struct plan *p, const struct catalog_table *t)
{
    struct plan_related *r = &p->related[p->n_related++];
    *r = (struct plan_related){.table = t, .cursor = column_best_cursor(t)};
    return r;
}

static void add_columns(struct plan *p, const struct catalog_table *t,
                        const struct catalog_columns *key, const struct catalog_columns *affects,
                        const char *index_field)
{
    for (size_t i = 0; i < p->n_related; i++)
        if (p->related[i].table == t && p->related[i].affects.n > 0 &&
            catalog_same_columns(&p->related[i].affects, affects))
            return;
    struct plan_related *r = add_related(p, t);
    r->key = *key;
    r->affects = *affects;
    r->index_field = index_field;
}

static void add_query(struct plan *p, const struct catalog_table *t,
                      const struct catalog_columns *key, const char *sql)
{
    struct plan_related *r = NULL;
    for (size_t i = 0; i < p->n_related; i++)
        if (p->related[i].table == t && p->related[i].affects.n == 0)
            r = &p->related[i];
    if (!r)
        r = add_related(p, t);
    r->key = *key;
    struct plan_notes queries = {r->queries, r->n_queries};
    if (plan_note(p, &queries, sql)) {
        r->queries = queries.list;
        r->n_queries = queries.n;
    }
}

/* The key by which a table's changed rows are told: of one without any, what refers to the root. */
static struct catalog_columns key_of(const struct step *s)
{
    const struct catalog_index *identity = catalog_identity(s->table);
    if (identity)
        return identity->columns;
    return s->refers ? s->reference->columns : s->reference->targets;
}

/* inventories.inventory_id: the field of the node with the key of the changed table. */
static const char *find_index_field(struct plan *p, const struct plan_node *n,
                                    const struct catalog_table *t,
                                    const struct catalog_columns *key)
{
    if (key->n != 1 || plan_log_tells(p, n->reference))
        return NULL;
    for (size_t i = 0; i < n->n_fields; i++)
        if (n->fields[i].table == t && n->fields[i].column == &t->columns[key->at[0]])
            return arena_textf(&p->arena, "%s.%s", n->name, n->fields[i].name);
    return NULL;
}

static void relate(struct plan *p, const struct plan_node *n, bool from_link)
{
    struct way w;
    find_way(&w, n, from_link);
    const struct catalog_columns key = key_of(&w.steps[0]);
    struct trip t = plan_trip(p, &w, &key);
    if (t.first == w.steps && t.last == w.steps)
        add_columns(p, w.steps[0].table, &key, &t.affected,
                    find_index_field(p, n, w.steps[0].table, &key));
    else
        add_query(p, w.steps[0].table, &key, query(p, &t));
}

/* ---- indexes ---- */

static void want_index(struct plan *p, const struct catalog_reference *r)
{
    if (catalog_has_index(r->from, &r->columns))
        return;
    plan_note(p, &p->indexes,
              arena_textf(&p->arena, "CREATE INDEX ON %s (%s);",
                          sqlname_table(&p->arena, p->catalog, r->from),
                          sqlname_columns(&p->arena, p->catalog, r->from, &r->columns, "")));
}

static void want_cursor_index(struct plan *p, const struct catalog_table *t,
                              const struct catalog_column *cursor,
                              const struct catalog_columns *key)
{
    struct catalog_columns c = {1, {(size_t)(cursor - t->columns)}};
    if (catalog_has_index(t, &c) || (t->kind != 'r' && t->kind != 'p' && t->kind != 'm'))
        return;
    plan_note(p, &p->indexes,
              arena_textf(&p->arena, "CREATE INDEX ON %s (%s, %s);",
                          sqlname_table(&p->arena, p->catalog, t),
                          sqlname(&p->arena, p->catalog, cursor->name),
                          sqlname_columns(&p->arena, p->catalog, t, key, "")));
}

/* ---- all nodes ---- */

static size_t count(const struct plan_node *n)
{
    size_t nodes = 2; /* a table, and perhaps a link */
    for (const struct plan_node *child = n->first; child; child = child->next)
        nodes += count(child);
    return nodes;
}

static void relate_all(struct plan *p, const struct plan_node *n)
{
    for (const struct plan_node *child = n->first; child; child = child->next) {
        if (child->link) {
            relate(p, child, true);
            want_index(p, child->far);
        }
        relate(p, child, false);
        want_index(p, child->reference);
        relate_all(p, child);
    }
}

static void want_identity(struct plan *p, const struct plan_related *r)
{
    bool kept = r->affects.n == 0 ? catalog_keeps_old(r->table, &r->key)
                                  : catalog_keeps_old(r->table, &r->affects);
    if (p->wal && !kept && !r->index_field && r->table->logged)
        plan_note(p, &p->identity,
                  arena_textf(&p->arena, "ALTER TABLE %s REPLICA IDENTITY %s",
                              sqlname_table(&p->arena, p->catalog, r->table),
                              r->table->has_virtual ? "USING INDEX ...; (a unique index that has "
                                                      "them; FULL does not work with virtual "
                                                      "columns)"
                                                    : "FULL;"));
}

bool plan_relate(struct plan *p)
{
    p->related = arena_new(&p->arena, count(p->root), sizeof *p->related);
    if (!p->related)
        return false;
    relate_all(p, p->root);
    if (!p->wal && p->cursor)
        want_cursor_index(p, p->root->table, p->cursor, &p->key);
    for (size_t i = 0; i < p->n_related; i++) {
        struct plan_related *r = &p->related[i];
        if (!p->wal && r->cursor)
            want_cursor_index(p, r->table, r->cursor, &r->key);
        want_identity(p, r);
    }
    return !p->arena.failed;
}
