/* source_fetch: a batch's rows. */
#include "base/err.h"
#include "model/batch.h"
#include "source/source_internal.h"

#include <assert.h>

/* <select> (q.a, q.b) > ($1, $2) AND (q.a, q.b) <= ($3, $4)
 *
 * A chunk without a lower bound lacks the first condition, one without an upper bound the second;
 * one without either has WHERE true. If keys may be NULL, the last chunk is
 *
 * <select> (q.a, q.b) > ($1, $2) OR q.a IS NULL OR q.b IS NULL
 *
 * since NULL is above no key: rows without a key are fetched there, and rejected. */
static bool add_range(struct source_statement *st, const struct source_key *k,
                      const struct batch *b, struct err *e)
{
    if (b->from) {
        source_add_comparison(&st->sql, k, "q.", ">", st->n + 1);
        if (!source_bind_key(st, k, b->from, e))
            return false;
    }
    for (size_t i = 0; b->from && !b->to && k->nullable && i < k->n; i++)
        buf_addf(&st->sql, " OR q.%s IS NULL", k->names[i]);
    if (b->to) {
        buf_adds(&st->sql, b->from ? " AND " : "");
        source_add_comparison(&st->sql, k, "q.", "<=", st->n + 1);
        if (!source_bind_key(st, k, b->to, e))
            return false;
    }
    buf_adds(&st->sql, b->from || b->to ? "" : "true");
    return true;
}

/* <select> q.id = ANY($1::uuid[]) */
static bool add_keys(struct source_statement *st, const struct source_key *k, const struct batch *b,
                     struct err *e)
{
    source_add_choice(&st->sql, k, "q.");
    return source_bind_keys(st, k, (const char *const *)b->keys, b->no_rows ? 0 : b->n, e);
}

bool source_fetch(const struct source_reader *root, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e)
{
    const struct source_key *k = &root->table->key;
    struct source_statement st;
    struct pg_statement statement;
    assert(!root->table->related);
    source_statement_init(&st, SOURCE_ANY_ROWS, root->source->columns.n);
    buf_adds(&st.sql, root->source->select);
    bool ok = (b->is_range ? add_range : add_keys)(&st, k, b, e);
    if (ordered) {
        buf_adds(&st.sql, " ORDER BY ");
        source_add_columns(&st.sql, k, "q.");
    }
    ok = ok && source_statement(&st, &statement, e) && pg_stream(root->pg, &statement, clock_us, e);
    source_statement_free(&st);
    return ok || err_wrap(e, "could not read '%s'", root->table->label);
}

static bool probe(const struct source_reader *root, struct err *e)
{
    struct batch none = {.no_rows = true};
    const PGresult *row;
    int64_t clock;
    if (!source_fetch(root, &none, false, &clock, e))
        return false;
    do
        if (!pg_next(root->pg, &row, e))
            return err_wrap(e, "could not read '%s'", root->table->label);
    while (row);
    return true;
}

bool source_probe(const struct source_reader *root, struct err *e)
{
    const struct pipeline *p = root->source->pipeline;
    if (probe(root, e))
        return true;
    return e->kind == ERR_FINAL ? err_wrap(e, "%s:%d", p->script, p->source.query_line) : false;
}
