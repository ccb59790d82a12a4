/* feed_list: keys given by hand. The server first writes them as it would return them ("A-B" and
 * "a-b" are one uuid), each once: a key without a row must be deleted under its document's _id. */
#include "base/err.h"
#include "feed/feed.h"
#include "model/batch.h"
#include "pg/pg_pool.h"
#include "source/source.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 1000 }; /* keys */

struct list {
    struct feed feed;    /* first */
    struct batch *given; /* owned */
    struct keylist keys; /* owned; as the server writes them, once checked */
    bool checked;
    size_t next; /* of `keys` */
};

static bool canonical(struct list *l, struct err *e)
{
    struct pg *pg = pg_acquire(l->feed.origin.pool, e);
    struct source_reader root = source_reader(l->feed.origin.source, 0, pg);
    bool ok = pg && source_canonical(&root, (const char *const *)l->given->keys, l->given->n,
                                     &l->keys, e);
    pg_release(l->feed.origin.pool, pg);
    return ok;
}

static bool list_next(struct feed *f, struct batch **out, struct err *e)
{
    struct list *l = (struct list *)f;
    if (!l->checked && !canonical(l, e))
        return false;
    l->checked = true;
    size_t n = l->keys.n;
    if (l->next == n)
        return true;
    struct batch *b = batch_new();
    bool ok = b != NULL;
    size_t end = n - l->next > BATCH ? l->next + BATCH : n;
    for (size_t i = l->next; ok && i < end; i++)
        ok = batch_add_key(b, l->keys.keys[i]);
    if (!ok) {
        batch_free(b);
        return err_memory(e);
    }
    l->next = end;
    *out = b;
    return true;
}

static void list_free(struct feed *f)
{
    struct list *l = (struct list *)f;
    batch_free(l->given);
    keylist_free(&l->keys);
    free(l);
}

struct feed *feed_list(const struct feed_origin *origin, const char *const *keys, size_t n,
                       struct err *e)
{
    struct list *l = calloc(1, sizeof *l);
    bool ok = l && (l->given = batch_new());
    for (size_t i = 0; ok && i < n; i++)
        ok = batch_add_key(l->given, keys[i]);
    if (!ok) {
        if (l)
            list_free(&l->feed);
        err_memory(e);
        return NULL;
    }
    l->feed = (struct feed){.origin = *origin, .next = list_next, .free = list_free};
    return &l->feed;
}
