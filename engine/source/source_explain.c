/* source_explain: how the server would run a statement if it avoided reading tables whole: where it
 * still does, no index helps it. */
#include "base/err.h"
#include "source/source_internal.h"

/* One key, so that no plan needs whole tables; and none is chosen for being small, as tables of
 * tests are. For this transaction. */
static const char avoid_sql[] = "SELECT pg_catalog.set_config('enable_seqscan', 'off', true),"
                                " pg_catalog.set_config('enable_hashjoin', 'off', true),"
                                " pg_catalog.set_config('enable_mergejoin', 'off', true)";

/* EXPLAIN (VERBOSE, FORMAT JSON, COSTS OFF) <select> q.id = ANY($1::uuid[])      the root
 * EXPLAIN (VERBOSE, FORMAT JSON, COSTS OFF) <affects>                            a related table
 *
 * $1 is '{NULL}' */
static void add_explain(struct source_statement *st, const struct source_reader *r)
{
    const struct source_table *t = r->table;
    size_t n = t->related ? t->parameters : t->key.n;
    buf_adds(&st->sql, "EXPLAIN (VERBOSE, FORMAT JSON, COSTS OFF) ");
    buf_adds(&st->sql, t->related ? t->affected : r->source->select);
    if (!t->related)
        source_add_choice(&st->sql, &t->key, "q.");
    for (size_t i = 0; i < n; i++) {
        st->types[st->n] = t->related ? t->arrays[i] : 0;
        source_bind(st, "{NULL}");
    }
}

bool source_explain(const struct source_reader *r, PGresult **out, struct err *e)
{
    struct source_statement st;
    struct pg_statement statements[2] = {{.sql = avoid_sql}};
    PGresult *res[2] = {NULL, NULL};
    source_statement_init(&st, 1, 1);
    add_explain(&st, r);
    bool ok = source_statement(&st, &statements[1], e) &&
              pg_query_pair(r->pg, statements, res, e) && pg_expect(r->pg, &res[1], 1, 1, e);
    source_statement_free(&st);
    PQclear(res[0]);
    *out = ok ? res[1] : NULL;
    if (ok)
        return true;
    PQclear(res[1]);
    return err_wrap(e, "could not explain how '%s' is read", r->table->label);
}
