#include "ask/ask_feeds.h"

#include "ask/ask.h"
#include "ask/collector.h"
#include "ask/spool.h"
#include "ask/sums.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/keyset.h"
#include "base/retry.h"
#include "base/stop.h"
#include "feed/feed.h"
#include "index/index.h"
#include "index/routed.h"
#include "model/batch.h"
#include "run/run_index.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 1000,         /* keys */
    BLOCK_MAX = 64 << 20, /* bytes of records that are added together */
};

/* ---- pace ---- */

struct pace {
    double rate; /* keys a second; 0: any number */
    int64_t began_us;
    int64_t keys; /* so far */
};

/* Waits until `keys` more may be compared. */
static bool keep_pace(struct pace *p, int64_t keys, struct err *e)
{
    int64_t now = clock_mono_us();
    if (p->rate <= 0)
        return true;
    if (p->began_us == 0)
        p->began_us = now;
    int64_t at = p->began_us + (int64_t)((double)p->keys / p->rate * 1e6);
    p->keys += keys;
    return at <= now || stop_sleep((at - now) / 1000 + 1) || stop_err(e);
}

/* ---- another feed, slowly ---- */

struct slow {
    struct feed feed; /* first */
    struct feed *inner;
    struct pace pace;
};

static bool slow_next(struct feed *f, struct batch **out, struct err *e)
{
    struct slow *s = (struct slow *)f;
    if (!feed_next(s->inner, out, e))
        return false;
    const struct batch *b = *out;
    if (!b || keep_pace(&s->pace, b->is_range ? b->chunk : (int64_t)b->n, e))
        return true;
    batch_free(*out);
    *out = NULL;
    return false;
}

static void slow_free(struct feed *f)
{
    struct slow *s = (struct slow *)f;
    feed_free(s->inner);
    free(s);
}

struct feed *ask_feed_slowly(struct feed *inner, double rate, struct err *e)
{
    struct slow *s = inner && rate > 0 ? calloc(1, sizeof *s) : NULL;
    if (!inner || rate <= 0)
        return inner;
    if (!s) {
        feed_free(inner);
        err_memory(e);
        return NULL;
    }
    s->feed = (struct feed){.origin = inner->origin, .next = slow_next, .free = slow_free};
    s->inner = inner;
    s->pace.rate = rate;
    return &s->feed;
}

/* ---- the keys of a spool ---- */

struct spooled {
    struct feed feed; /* first */
    struct spool *spool;
    struct collector *collector;
    struct spool_record record; /* the next one; key NULL: there is none */
    bool begun;
};

static bool take_record(struct spooled *s, struct batch *b, struct err *e)
{
    b->no_rows = s->record.no_rows;
    b->any_routing = s->record.any_routing;
    if (s->collector)
        collector_expect(s->collector, &s->record);
    return batch_add_key(b, s->record.key) ? spool_next(s->spool, &s->record, e) : err_memory(e);
}

/* A batch has keys of one kind. */
static bool fill(struct spooled *s, struct batch *b, struct err *e)
{
    bool no_rows = s->record.no_rows, any_routing = s->record.any_routing;
    while (s->record.key && s->record.no_rows == no_rows && s->record.any_routing == any_routing &&
           b->n < BATCH)
        if (!take_record(s, b, e))
            return false;
    return true;
}

static bool spooled_next(struct feed *f, struct batch **out, struct err *e)
{
    struct spooled *s = (struct spooled *)f;
    if (!s->begun && !(spool_rewind(s->spool, e) && spool_next(s->spool, &s->record, e)))
        return false;
    s->begun = true;
    if (!s->record.key)
        return true;
    struct batch *b = batch_new();
    if (!(b ? fill(s, b, e) : err_memory(e))) {
        batch_free(b);
        return false;
    }
    *out = b;
    return true;
}

static void spooled_free(struct feed *f)
{
    free(f);
}

struct feed *ask_feed_spool(struct ask *a, struct spool *spool, struct collector *c, struct err *e)
{
    struct spooled *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    s->feed = (struct feed){
        .origin = run_feed_origin(&a->run), .next = spooled_next, .free = spooled_free};
    s->spool = spool;
    s->collector = c;
    return &s->feed;
}

/* ---- adding keys to a spool ---- */

struct gathering {
    struct ask *ask;
    const struct sums *seen; /* of ask_find_unseen */
    struct sums *ids;        /* NULL: they are not added up */
    size_t n;                /* of ask_find_sample */
    struct spool **spool;
    struct keylist found;
    struct keyset *known; /* of a sample: keys that were added; NULL: any key may be */
    bool any_routing;     /* of ask_find_routed */
};

static bool add_records(struct gathering *g, const struct keylist *keys, bool no_rows,
                        struct err *e)
{
    struct buf block;
    buf_init(&block, BLOCK_MAX);
    size_t n = 0;
    for (size_t i = 0; i < keys->n; i++, n++)
        spool_pack(&block, &(struct spool_record){keys->keys[i], "", no_rows, g->any_routing});
    bool ok = block.failed ? err_memory(e) : spool_add(*g->spool, &block, n, e);
    buf_free(&block);
    return ok;
}

/* Adds ids of the index: the database must not be asked for a text that cannot be a key. */
static bool add_ids(struct gathering *g, struct keylist *ids, struct err *e)
{
    struct ask *a = g->ask;
    struct source_rowless rowless = {0};
    struct pg *pg = pg_acquire(&a->run.servers.pool, e);
    struct source_reader root = source_reader(&a->run.user.source, 0, pg);
    bool ok = pg && source_find_rowless(&root, (const char *const *)ids->keys, ids->n, &rowless, e);
    pg_release(&a->run.servers.pool, pg);
    ok = ok &&
         (rowless.malformed.n == 0 || keylist_remove(ids, &rowless.malformed) || err_memory(e));
    ok = ok && add_records(g, ids, false, e) && add_records(g, &rowless.malformed, true, e);
    source_rowless_free(&rowless);
    return ok;
}

/* ---- ids that were not seen ---- */

static bool take_id(struct gathering *g, const struct sums *all, const char *id)
{
    uint64_t hash = sums_hash(id, strlen(id));
    if (g->ids)
        sums_add(g->ids, hash);
    return g->ids || !sums_differ(g->seen, all, hash) || keylist_add(&g->found, id);
}

/* One scan of the ids: adds them up, or keeps those that `all` and `seen` do not share. */
static bool scan_ids(struct gathering *g, const struct sums *all, struct err *e)
{
    const char *const *ids;
    size_t n = 0;
    struct run *r = &g->ask->run;
    struct index_scan *s = index_scan_open(r->servers.es, run_index_to_search(r), NULL, NULL, 0, e);
    bool ok = s != NULL;
    do {
        ok = ok && index_scan_next(s, &ids, &n, e);
        for (size_t i = 0; ok && i < n; i++)
            ok = take_id(g, all, ids[i]) || err_memory(e);
        if (ok && g->found.n > 0)
            ok = add_ids(g, &g->found, e);
        keylist_free(&g->found);
        if (ok && stop_asked())
            ok = stop_err(e);
    } while (ok && n > 0);
    index_scan_close(s);
    return ok;
}

static bool new_spool(struct gathering *g, struct err *e)
{
    spool_close(*g->spool);
    *g->spool = spool_open(e);
    return *g->spool != NULL;
}

/* A scan that fails starts over: with nothing of what it has found. */
static bool find_unseen(void *arg, struct err *e)
{
    struct gathering *g = arg;
    struct sums *all = sums_new();
    if (!all)
        return err_memory(e);
    g->ids = all;
    bool ok = new_spool(g, e) && scan_ids(g, all, e);
    g->ids = NULL;
    if (ok && sums_differ_at_all(g->seen, all))
        ok = scan_ids(g, all, e);
    sums_free(all);
    return ok;
}

bool ask_find_unseen(struct ask *a, const struct sums *seen, struct spool **spool, struct err *e)
{
    struct gathering g = {.ask = a, .seen = seen, .spool = spool};
    *spool = NULL;
    return retry_until(a->run.servers.give_up_after, find_unseen, &g, e);
}

/* ---- documents with a routing ---- */

/* Of a key with several copies, one record: the next look expects one. */
static bool add_routed(struct gathering *g, const char *const *ids, size_t n, struct err *e)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        if (!keyset_has(g->known, ids[i]))
            ok = (keyset_put(g->known, ids[i], NULL, 0) && keylist_add(&g->found, ids[i])) ||
                 err_memory(e);
    ok = ok && (g->found.n == 0 || add_ids(g, &g->found, e));
    keylist_free(&g->found);
    return ok;
}

static bool scan_routed(struct gathering *g, struct err *e)
{
    struct run *r = &g->ask->run;
    const struct routed_search search = {
        r->user.pipeline.sink.index, run_index_to_search(r),
        "a sweep or 'etl-engine verify --repair' writes them again without it, and deletes what "
        "has it"};
    struct index_scan *scan;
    const char *const *ids;
    size_t n = 1;
    bool ok = routed_open(r->servers.es, &search, &scan, e);
    while (ok && scan && n > 0)
        ok = index_scan_next(scan, &ids, &n, e) && add_routed(g, ids, n, e);
    index_scan_close(scan);
    return ok;
}

static bool find_routed(void *arg, struct err *e)
{
    struct gathering *g = arg;
    keyset_free(g->known);
    g->known = keyset_new(BLOCK_MAX);
    return (g->known || err_memory(e)) && new_spool(g, e) && scan_routed(g, e);
}

bool ask_find_routed(struct ask *a, struct spool **spool, struct err *e)
{
    struct gathering g = {.ask = a, .spool = spool, .any_routing = true};
    *spool = NULL;
    bool ok = retry_until(a->run.servers.give_up_after, find_routed, &g, e);
    keyset_free(g.known);
    return ok;
}

/* ---- a sample ---- */

static bool sample_rows(struct gathering *g, struct err *e)
{
    struct run *r = &g->ask->run;
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    struct source_reader root = source_reader(&r->user.source, 0, pg);
    bool ok = pg && source_sample(&root, (int64_t)g->n, &g->found, e);
    pg_release(&r->servers.pool, pg);
    for (size_t i = 0; ok && i < g->found.n; i++)
        ok = keyset_put(g->known, g->found.keys[i], NULL, 0) || err_memory(e);
    ok = ok && add_records(g, &g->found, false, e);
    keylist_free(&g->found);
    return ok;
}

static bool sample_ids(struct gathering *g, struct err *e)
{
    struct run *r = &g->ask->run;
    struct index_scan *s = index_scan_open_random(r->servers.es, run_index_to_search(r), e);
    const char *const *ids;
    size_t n = 1, taken = 0;
    bool ok = s != NULL;
    while (ok && n > 0 && taken < g->n) {
        ok = index_scan_next(s, &ids, &n, e);
        for (size_t i = 0; ok && i < n && taken < g->n; i++, taken++)
            ok = keyset_has(g->known, ids[i]) || keylist_add(&g->found, ids[i]) || err_memory(e);
        ok = ok && add_ids(g, &g->found, e);
        keylist_free(&g->found);
    }
    index_scan_close(s);
    return ok;
}

static bool find_sample(void *arg, struct err *e)
{
    struct gathering *g = arg;
    keyset_free(g->known);
    g->known = keyset_new(BLOCK_MAX);
    return (g->known || err_memory(e)) && new_spool(g, e) && sample_rows(g, e) && sample_ids(g, e);
}

bool ask_find_sample(struct ask *a, size_t n, struct spool **spool, struct err *e)
{
    struct gathering g = {.ask = a, .n = n, .spool = spool};
    *spool = NULL;
    bool ok = retry_until(a->run.servers.give_up_after, find_sample, &g, e);
    keyset_free(g.known);
    return ok;
}
