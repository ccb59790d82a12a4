/* feed_sweep: all rows, all documents of the index, all dead letters: finds what a poll cannot:
 * deleted rows, deleted links, rows whose cursor did not move.
 *
 *   SWEEP_ROUTED    the ids of documents that have a routing which nobody chose (index/routed.h);
 *                   almost always there are none
 *   SWEEP_RESUMED   the rows after the last key of a sweep that was broken off. If there are none,
 *                   the rows from the first one on: an engine that is often stopped in the next
 *                   stage would otherwise never compare a row again
 *   SWEEP_ROWS      the rows of the root table, in pages of the key; workers compare each document
 *                   with the index, and send only what differs
 *   SWEEP_IDS       the ids of the index: those without a row are deleted. They cost little, so a
 *                   resumed sweep walks over all of them again
 *   SWEEP_DEAD      the keys of dead letters: those without a row, likewise
 *   SWEEP_OVER
 *
 * run/sweep_due.h says when a sweep is due.
 */
#include "base/err.h"
#include "base/text.h"
#include "feed/chunk_size.h"
#include "feed/feed.h"
#include "index/index.h"
#include "index/routed.h"
#include "model/batch.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"
#include "store/deadletter.h"

#include <stdlib.h>
#include <string.h>

enum { /* keys of a page of rows */
       PAGE_MIN = 1000,
       PAGE_MAX = 100 * 1000
};

enum sweep_stage { SWEEP_ROUTED, SWEEP_RESUMED, SWEEP_ROWS, SWEEP_IDS, SWEEP_DEAD, SWEEP_OVER };

struct sweep {
    struct feed feed; /* first */
    enum sweep_stage stage;
    const char *index;              /* borrowed: whose ids are compared */
    const struct deadletters *dead; /* borrowed; NULL: none */
    struct chunk_size *chunk;       /* borrowed */
    char *after;                    /* owned: the last key of a row delivered so far; NULL: none */
    struct index_scan *scan;        /* owned; NULL: not begun */
    struct source_rowless rowless;  /* owned: ids and keys without a row, to be delivered */
    bool looked;                    /* for documents with a routing */
};

/* Delivers the keys, which are freed. after: what the checkpoint says. False: no memory. */
static bool deliver(struct keylist *keys, const char *after, struct batch **out)
{
    struct batch *b = batch_new();
    bool ok = b && text_set(&b->done.after, after);
    for (size_t i = 0; ok && i < keys->n; i++)
        ok = batch_add_key(b, keys->keys[i]);
    if (!ok) {
        batch_free(b);
        return false;
    }
    b->skip_unchanged = true;
    keylist_free(keys);
    *out = b;
    return true;
}

/* ---- rows ---- */

static bool deliver_rows(struct sweep *s, struct keylist *page, struct batch **out)
{
    int64_t keys = (int64_t)page->n;
    char *after = strdup(page->keys[page->n - 1]);
    if (!after || !deliver(page, after, out)) {
        free(after);
        return false;
    }
    free(s->after);
    s->after = after;
    s->stage = SWEEP_ROWS;
    (*out)->chunk = keys;
    return true;
}

/* No row is left: the stage is over. False: no memory. */
static bool end_rows(struct sweep *s)
{
    if (s->stage == SWEEP_ROWS) {
        s->stage = SWEEP_IDS;
        return true;
    }
    s->stage = SWEEP_ROWS;
    return text_set(&s->after, NULL);
}

/* *out stays NULL if the stage is over. */
static bool next_rows(struct sweep *s, struct batch **out, struct err *e)
{
    struct keylist page = {0};
    int64_t least = chunk_size_least(s->chunk);
    int64_t rows = least < PAGE_MIN ? PAGE_MIN : least > PAGE_MAX ? PAGE_MAX : least;
    struct pg *pg = pg_acquire(s->feed.origin.pool, e);
    struct source_reader root = source_reader(s->feed.origin.source, 0, pg);
    bool ok = pg && source_walk(&root, s->after, rows, &page, e);
    pg_release(s->feed.origin.pool, pg);
    if (ok)
        ok = (page.n > 0 ? deliver_rows(s, &page, out) : end_rows(s)) || err_memory(e);
    keylist_free(&page);
    return ok;
}

/* ---- documents with a routing ---- */

/* Keeps those of the keys that have no row. */
static bool find_rowless(struct sweep *s, const char *const *keys, size_t n, struct err *e)
{
    struct pg *pg = pg_acquire(s->feed.origin.pool, e);
    struct source_reader root = source_reader(s->feed.origin.source, 0, pg);
    bool ok = pg && source_find_rowless(&root, keys, n, &s->rowless, e);
    pg_release(s->feed.origin.pool, pg);
    if (!ok)
        source_rowless_free(&s->rowless);
    return ok;
}

/* *out stays NULL if the stage is over, or if none of the page can be a key of the table: those are
 * delivered next. */
static bool deliver_routed(struct sweep *s, const char *const *ids, size_t n, struct batch **out,
                           struct err *e)
{
    struct keylist keys = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = keylist_add(&keys, ids[i]) || err_memory(e);
    ok = ok && find_rowless(s, ids, n, e);
    keylist_free(&s->rowless.missing); /* those are among the keys */
    ok = ok && (keylist_remove(&keys, &s->rowless.malformed) || err_memory(e)) &&
         (keys.n == 0 || deliver(&keys, s->after, out) || err_memory(e));
    if (ok && *out) {
        batch_sort_keys(*out); /* a key may have several copies */
        (*out)->any_routing = true;
    }
    keylist_free(&keys);
    return ok;
}

static bool look_for_routed(struct sweep *s, struct err *e)
{
    const struct pipeline *p = s->feed.origin.source->pipeline;
    struct routed_search search = {
        p->sink.index, s->index, "the sweep writes them again without it, and deletes what has it"};
    s->looked = p->sink.multi_index || routed_open(s->feed.origin.es, &search, &s->scan, e);
    return s->looked;
}

static void end_scan(struct sweep *s)
{
    index_scan_close(s->scan);
    s->scan = NULL;
}

static bool next_routed(struct sweep *s, struct batch **out, struct err *e)
{
    const char *const *ids;
    size_t n = 0;
    if (!s->looked && !look_for_routed(s, e))
        return false;
    bool ok = !s->scan || (index_scan_next(s->scan, &ids, &n, e) &&
                           (n == 0 || deliver_routed(s, ids, n, out, e)));
    if (!ok || n == 0)
        end_scan(s);
    s->looked = ok;
    if (ok && n == 0)
        s->stage = s->after ? SWEEP_RESUMED : SWEEP_ROWS;
    return ok;
}

/* ---- ids and dead letters without a row ---- */

static bool next_ids(struct sweep *s, struct err *e)
{
    const char *const *ids;
    size_t n = 0;
    if (!s->scan)
        s->scan = index_scan_open(s->feed.origin.es, s->index, NULL, NULL, 0, e);
    if (!s->scan)
        return false;
    if (!index_scan_next(s->scan, &ids, &n, e) || !find_rowless(s, ids, n, e)) {
        end_scan(s); /* a page is lost: the scan starts over */
        return false;
    }
    if (n == 0)
        s->stage = SWEEP_DEAD;
    return true;
}

/* A dead letter whose row is gone may have no document either: it would never be resolved. */
static bool next_dead(struct sweep *s, struct err *e)
{
    const char *key;
    size_t at = 0, n = 0, count = s->dead ? deadletters_count(s->dead) : 0;
    const char **keys = malloc((count + 1) * sizeof *keys);
    if (!keys)
        return err_memory(e);
    while (n < count && deadletters_next(s->dead, &at, &key))
        if (*key) /* else the row had no key */
            keys[n++] = key;
    bool ok = count == 0 || find_rowless(s, keys, n, e);
    free(keys);
    if (ok)
        s->stage = SWEEP_OVER;
    return ok;
}

/* They come after all rows, so the checkpoint says that no row need be compared again. */
static bool deliver_rowless(struct sweep *s, struct batch **out, struct err *e)
{
    bool missing = s->rowless.missing.n > 0;
    if (!deliver(missing ? &s->rowless.missing : &s->rowless.malformed, s->after, out))
        return err_memory(e);
    (*out)->no_rows = !missing;
    (*out)->any_routing = s->stage == SWEEP_ROUTED;
    return true;
}

static bool sweep_next(struct feed *f, struct batch **out, struct err *e)
{
    struct sweep *s = (struct sweep *)f;
    for (;;) {
        if (s->rowless.missing.n > 0 || s->rowless.malformed.n > 0)
            return deliver_rowless(s, out, e);
        switch (s->stage) {
        case SWEEP_ROUTED:
            if (!next_routed(s, out, e) || *out)
                return *out != NULL;
            break;
        case SWEEP_RESUMED:
        case SWEEP_ROWS:
            if (!next_rows(s, out, e) || *out)
                return *out != NULL;
            break;
        case SWEEP_IDS:
            if (!next_ids(s, e))
                return false;
            break;
        case SWEEP_DEAD:
            if (!next_dead(s, e))
                return false;
            break;
        case SWEEP_OVER:
            return true;
        }
    }
}

static void sweep_free(struct feed *f)
{
    struct sweep *s = (struct sweep *)f;
    index_scan_close(s->scan);
    source_rowless_free(&s->rowless);
    free(s->after);
    free(s);
}

struct feed *feed_sweep(const struct feed_origin *origin, const struct feed_sweep_config *config,
                        struct err *e)
{
    struct sweep *s = calloc(1, sizeof *s);
    if (!s || !text_set(&s->after, config->after)) {
        free(s);
        err_memory(e);
        return NULL;
    }
    s->feed = (struct feed){.origin = *origin, .next = sweep_next, .free = sweep_free};
    s->index = config->index;
    s->dead = config->dead;
    s->chunk = config->chunk;
    return &s->feed;
}
