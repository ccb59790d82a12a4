#include "feed/fanout_table.h"

#include "base/err.h"
#include "index/index.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"
#include "source/source.h"

static bool ask_affected(void *arg, const struct keylist *rows, const char *after,
                         struct keylist *out, struct err *e)
{
    struct fanout_table *t = arg;
    struct pg *pg = pg_acquire(t->origin.pool, e);
    struct source_reader r = source_reader(t->origin.source, t->table, pg);
    struct source_changed changed = {(const char *const *)rows->keys, rows->n, after, FANOUT_PART};
    bool ok = pg && source_affected(&r, &changed, out, e);
    pg_release(t->origin.pool, pg);
    return ok;
}

/* Documents that still hold one of the rows, though no row leads to them any more. */
static bool ask_holders(void *arg, const struct keylist *rows, struct keylist *out, struct err *e)
{
    struct fanout_table *t = arg;
    const struct feed_origin *o = &t->origin;
    const char *field = o->source->tables[t->table].related->index_field;
    if (!field || !o->es)
        return true;
    struct index_scan *scan = index_scan_open(o->es, o->source->pipeline->sink.indices, field,
                                              (const char *const *)rows->keys, rows->n, e);
    const char *const *keys;
    size_t n = 1;
    bool ok = scan != NULL;
    while (ok && n > 0 && (ok = index_scan_next(scan, &keys, &n, e)))
        for (size_t i = 0; ok && i < n; i++)
            ok = keylist_add(out, keys[i]) || err_memory(e);
    index_scan_close(scan);
    return ok;
}

void fanout_table_init(struct fanout_table *t, const struct feed_origin *origin, size_t table)
{
    *t = (struct fanout_table){.origin = *origin, .table = table};
    t->queries =
        (struct fanout_queries){t, origin->source->tables[table].label, ask_holders, ask_affected};
}
