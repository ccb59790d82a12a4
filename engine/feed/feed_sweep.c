/* feed_sweep: everything, for what a poll cannot see: deleted rows, deleted links, rows whose
 * cursor did not move.
 *
 * First all rows of the root table, in pages of the key: the worker compares each document with
 * what the index holds, and sends only what differs. Then all ids of the index: those that the root
 * table does not have become deletes. A sweep that was broken off goes on behind the last page of
 * rows; the ids, which cost little, are walked again. Where all rows had been looked at, it begins
 * at the first one again: an engine that is stopped time and again while it walks over the ids
 * would otherwise compare no row ever after. When one is due: sweep_due.h.
 */
#include "base/err.h"
#include "feed/chunk_size.h"
#include "feed/feed.h"
#include "index/index.h"
#include "model/batch.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"
#include "store/deadletter.h"

#include <stdlib.h>
#include <string.h>

enum { /* keys of a page */
       PAGE = 1000,
       MOST = 100 * 1000
};

struct sweep {
    struct feed feed; /* first */
    char *after;      /* owned: the last key delivered */
    bool resumed;     /* one that was broken off, and no page of it has come yet */
    bool rows_over;
    const char *index;              /* borrowed: what is searched for ids */
    struct index_scan *scan;        /* owned; NULL: not begun */
    struct source_rowless rowless;  /* owned: ids to be deleted */
    const struct deadletters *dead; /* borrowed; NULL: none */
    struct chunk_size *chunk;       /* borrowed */
    bool ids_over, finished;
};

static bool give(struct keylist *from, struct batch **out, struct err *e)
{
    struct batch *b = batch_new();
    bool ok = b != NULL;
    for (size_t i = 0; ok && i < from->n; i++)
        ok = batch_add_key(b, from->keys[i]);
    if (!ok) {
        batch_free(b);
        return err_memory(e);
    }
    b->skip_unchanged = true;
    keylist_free(from);
    *out = b;
    return true;
}

/* Ids come behind all rows: so stands the mark. */
static bool give_ids(struct sweep *s, struct keylist *from, struct batch **out, struct err *e)
{
    if (!give(from, out, e))
        return false;
    (*out)->done.after = s->after ? strdup(s->after) : NULL;
    return true;
}

static bool next_rows(struct sweep *s, struct batch **out, struct err *e)
{
    struct keylist page = {0};
    int64_t least = chunk_size_least(s->chunk), most = least < MOST ? least : MOST;
    struct pg *pg = pg_acquire(s->feed.pool, e);
    struct source_reader root = source_reader(s->feed.source, 0, pg);
    bool ok = pg && source_walk(&root, s->after, most > PAGE ? most : PAGE, &page, e);
    pg_release(s->feed.pool, pg);
    char *after = ok && page.n > 0 ? strdup(page.keys[page.n - 1]) : NULL;
    bool any = ok && page.n > 0;
    int64_t keys = (int64_t)page.n;
    if (any)
        ok = after ? give(&page, out, e) : err_memory(e);
    if (ok && any) {
        (*out)->chunk = keys;
        (*out)->done.after = strdup(after);
        free(s->after);
        s->after = after;
        after = NULL;
    }
    s->rows_over = ok && !any && !s->resumed;
    if (ok && !any && s->resumed) {
        free(s->after);
        s->after = NULL;
    }
    s->resumed = s->resumed && !ok;
    free(after);
    keylist_free(&page);
    return ok;
}

/* The next page of ids, of which those without a row are kept. *any: there was one. */
static bool next_ids(struct sweep *s, bool *any, struct err *e)
{
    const char *const *ids;
    size_t n = 0;
    if (!s->scan)
        s->scan = index_scan_open(s->feed.es, s->index, NULL, NULL, 0, e);
    if (!s->scan)
        return false;
    bool ok = index_scan_next(s->scan, &ids, &n, e);
    struct pg *pg = ok ? pg_acquire(s->feed.pool, e) : NULL;
    struct source_reader root = source_reader(s->feed.source, 0, pg);
    ok = pg && source_find_rowless(&root, ids, n, &s->rowless, e);
    pg_release(s->feed.pool, pg);
    *any = n > 0;
    if (ok)
        return true;
    index_scan_close(s->scan); /* a page was lost: from the first one, then */
    s->scan = NULL;
    source_rowless_free(&s->rowless);
    return false;
}

/* A dead letter whose row has gone may have no document either, and would wait for ever. */
static bool take_dead(struct sweep *s, struct err *e)
{
    const char *key;
    const char **keys = NULL;
    size_t at = 0, n = 0, count = s->dead ? deadletters_count(s->dead) : 0;
    if (count == 0)
        return true;
    keys = malloc(count * sizeof *keys);
    while (keys && n < count && deadletters_next(s->dead, &at, &key))
        if (*key) /* else the key itself was what is wrong */
            keys[n++] = key;
    struct pg *pg = keys ? pg_acquire(s->feed.pool, e) : NULL;
    struct source_reader root = source_reader(s->feed.source, 0, pg);
    bool ok = (keys || err_memory(e)) && pg && source_find_rowless(&root, keys, n, &s->rowless, e);
    pg_release(s->feed.pool, pg);
    free(keys);
    if (!ok) {
        source_rowless_free(&s->rowless);
    }
    return ok;
}

static bool sweep_next(struct feed *f, struct batch **out, struct err *e)
{
    struct sweep *s = (struct sweep *)f;
    while (!s->finished) {
        if (s->rowless.missing.n > 0)
            return give_ids(s, &s->rowless.missing, out, e);
        if (s->rowless.malformed.n > 0) {
            bool ok = give_ids(s, &s->rowless.malformed, out, e);
            if (ok)
                (*out)->no_rows = true;
            return ok;
        }
        bool any = true;
        if (!s->rows_over) {
            if (!next_rows(s, out, e) || *out)
                return *out != NULL;
        } else if (!s->ids_over) {
            if (!next_ids(s, &any, e))
                return false;
            s->ids_over = !any;
        } else {
            if (!take_dead(s, e))
                return false;
            s->finished = s->rowless.missing.n == 0 && s->rowless.malformed.n == 0;
            s->dead = NULL;
        }
    }
    return true;
}

static void sweep_free(struct feed *f)
{
    struct sweep *s = (struct sweep *)f;
    index_scan_close(s->scan);
    source_rowless_free(&s->rowless);
    free(s->after);
    free(s);
}

struct feed *feed_sweep(const struct source *source, struct pg_pool *pool, struct es *es,
                        const char *index, const struct deadletters *dead, struct chunk_size *chunk,
                        const char *after, struct err *e)
{
    struct sweep *s = calloc(1, sizeof *s);
    if (s) {
        s->feed = (struct feed){sweep_next, sweep_free, source, pool, es};
        s->index = index;
        s->dead = dead;
        s->chunk = chunk;
        s->resumed = after != NULL;
        s->after = after ? strdup(after) : NULL;
    }
    if (!s || (after && !s->after)) {
        free(s);
        err_memory(e);
        return NULL;
    }
    return &s->feed;
}
