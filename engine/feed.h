/* feed: where the keys come from: one interface, one file for each kind.
 *
 * Uses     source, queue (batches), pg.
 * Threads  one, the main thread.
 * Promise  batches come in an order in which acknowledging a prefix of them is progress: each carries the
 * position (`done`) that holds once it and all before it are in the index. A call that failed may be made
 * again.
 *
 *   feed_snapshot   every row of the root table, as successive stretches of the key
 *   feed_poll       keys that changed since a position
 *   feed_list       keys given by hand
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct err;
struct pg_pool;
struct position;
struct source;

struct feed {
    /* *out: the next batch, owned by the caller; NULL: there is no more. */
    bool (*next)(struct feed *f, struct batch **out, struct err *e);
    void (*free)(struct feed *f);
    const struct source *source; /* borrowed, as is pool */
    struct pg_pool *pool;
};

bool feed_next(struct feed *f, struct batch **out, struct err *e);
/* Nothing is asked for a while: lets go of idle connections, for which a worker may be waiting. */
void feed_rest(struct feed *f);
void feed_free(struct feed *f); /* NULL is fine */

/* after: the key up to which all is done (NULL: begin at the first); copied. rows: keys in a stretch. NULL:
 * no memory. */
struct feed *feed_snapshot(const struct source *s, struct pg_pool *pool, const char *after, int64_t rows,
                           struct err *e);

/* from, limit, horizon: see source_page; copied. */
struct feed *feed_poll(const struct source *s, struct pg_pool *pool, const struct position *from,
                       const struct position *limit, const struct position *horizon, struct err *e);

/* keys: n texts; copied, and checked by the server at the first feed_next. */
struct feed *feed_list(const struct source *s, struct pg_pool *pool, const char *const *keys, size_t n,
                       struct err *e);
