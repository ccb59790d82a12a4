#include "init/candidates.h"

#include "base/buf.h"
#include "base/err.h"
#include "init/plan.h"
#include "init/sqlname.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN = 60, NAME_WIDTH = 44 };

struct candidate {
    const struct catalog_table *table;
    const char *name; /* as init takes it */
    int score;
};

/* ---- how likely ---- */

/* Whether a row is identified by what it refers to. */
static bool is_link(const struct catalog *c, const struct catalog_table *t)
{
    const struct catalog_index *identity = catalog_identity(t);
    size_t known = 0;
    for (size_t i = 0; i < identity->columns.n; i++) {
        bool refers = false;
        for (size_t k = 0; k < c->n_references && !refers; k++)
            refers = c->references[k].from == t &&
                     catalog_has_column(&c->references[k].columns, identity->columns.at[i]);
        known += refers;
    }
    return known > 1 && known == identity->columns.n;
}

/* A table with many relations is what documents are about; one that only links others is not. */
static int score(const struct catalog *c, const struct catalog_table *t)
{
    int in = 0, out = 0;
    for (size_t i = 0; i < c->n_references; i++) {
        in += c->references[i].to == t;
        out += c->references[i].from == t;
    }
    if (!catalog_identity(t))
        return -10;
    return is_link(c, t) ? -5 : 2 * (in < 10 ? in : 10) + out;
}

static int compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return strcmp(x->name, y->name);
}

static size_t rank(struct catalog *c, struct candidate *list)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_tables; i++)
        if (c->tables[i].readable)
            list[n++] = (struct candidate){
                &c->tables[i], sqlname_table(&c->arena, c, &c->tables[i]), score(c, &c->tables[i])};
    qsort(list, n, sizeof *list, compare);
    return n;
}

/* ---- the list ---- */

static void add_rows(struct buf *b, int64_t rows)
{
    if (rows < 0)
        buf_addf(b, "%10s", "?");
    else
        buf_addf(b, "%10lld", (long long)rows);
}

static void add_children(struct buf *b, const struct plan_node *n)
{
    const char *comma = "";
    for (const struct plan_node *child = n->first; child; child = child->next, comma = ", ")
        buf_addf(b, "%s%s", comma, child->name);
    if (!*comma)
        buf_adds(b, "its columns");
}

/* film           1000  film_id        language, actors, categories */
static void add_candidate(struct catalog *c, struct buf *b, const struct candidate *t, int width)
{
    struct plan p;
    struct err ignored;
    struct plan_options o = {.table = t->name, .capture = PLAN_POLL, .depth = 2};
    buf_addf(b, "%-*s", width, t->name);
    add_rows(b, t->table->rows);
    if (plan_make(&p, c, &o, &ignored)) {
        buf_addf(b, "  %-20s  ", sqlname_columns(&p.arena, c, t->table, &p.key, ""));
        add_children(b, p.root);
        plan_free(&p);
    } else {
        buf_adds(b, "  (which one? --key)    its columns");
    }
    buf_addc(b, '\n');
}

bool candidates_list(struct catalog *c, struct buf *out, const char **first, struct err *e)
{
    struct candidate *list = arena_new(&c->arena, c->n_tables + 1, sizeof *list);
    size_t n = list ? rank(c, list) : 0, width = 6;
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        size_t own = strlen(list[i].name);
        width = own > width ? own : width;
    }
    width = width > NAME_WIDTH ? NAME_WIDTH : width;
    buf_addf(out, "%-*s%10s  %-20s  %s\n", (int)width, "TABLE", "ROWS", "KEY", "IN ITS DOCUMENTS");
    for (size_t i = 0; i < n && i < SHOWN; i++)
        add_candidate(c, out, &list[i], (int)width);
    if (n > SHOWN)
        buf_addf(out, "... and %zu more\n", n - SHOWN);
    *first = n ? list[0].name : NULL;
    return (!out->failed && !c->arena.failed) || err_memory(e);
}
