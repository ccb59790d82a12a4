/* feed_snapshot: all rows of the root table, as successive chunks of the key: above `after`, up to
 * the chunk's last key. The last chunk has no upper bound. */
#include "base/err.h"
#include "feed/chunk_size.h"
#include "feed/feed.h"
#include "model/batch.h"
#include "pg/pg_pool.h"
#include "source/source.h"

#include <stdlib.h>
#include <string.h>

struct snapshot {
    struct feed feed; /* first */
    char *after;      /* owned: the last key of the last chunk; NULL: none yet */
    struct chunk_size *chunk;
    bool finished;
};

static bool find_end(const struct snapshot *s, int64_t keys, char **to, struct err *e)
{
    struct pg *pg = pg_acquire(s->feed.origin.pool, e);
    struct source_reader root = source_reader(s->feed.origin.source, 0, pg);
    bool ok = pg && source_chunk_end(&root, s->after, keys, to, e);
    pg_release(s->feed.origin.pool, pg);
    return ok;
}

static bool snapshot_next(struct feed *f, struct batch **out, struct err *e)
{
    struct snapshot *s = (struct snapshot *)f;
    char *to = NULL;
    if (s->finished)
        return true;
    int64_t keys = chunk_size_next(s->chunk);
    if (!find_end(s, keys, &to, e)) {
        /* counting that many keys takes too long: the next try is for fewer */
        if (e->fault == ERR_FAULT_SIZE)
            chunk_size_too_large(s->chunk, keys);
        return false;
    }
    *out = batch_range(s->after, to);
    if (!*out) {
        free(to);
        return err_memory(e);
    }
    (*out)->chunk = keys;
    free(s->after);
    s->after = to;
    s->finished = !to;
    return true;
}

static void snapshot_free(struct feed *f)
{
    free(((struct snapshot *)f)->after);
    free(f);
}

struct feed *feed_snapshot(const struct feed_origin *origin, const char *after,
                           struct chunk_size *chunk, struct err *e)
{
    struct snapshot *s = calloc(1, sizeof *s);
    if (s) {
        s->feed = (struct feed){.origin = *origin, .next = snapshot_next, .free = snapshot_free};
        s->after = after ? strdup(after) : NULL;
        s->chunk = chunk;
    }
    if (!s || (after && !s->after)) {
        free(s);
        err_memory(e);
        return NULL;
    }
    return &s->feed;
}
