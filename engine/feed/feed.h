/* feed: where the keys come from: one interface, one file for each kind.
 *
 * Uses     source, batch, chunk, pg, index, keyset.
 * Threads  one, the main thread.
 * Promise  batches come in an order in which acknowledging a prefix of them is progress: each
 *          carries the mark (`done`) that holds once it and all before it are in the index. A call
 *          that failed may be made again.
 *
 *   feed_snapshot   every row of the root table, as successive chunks of the key
 *   feed_poll       the documents that changed rows of one table affect, since a position
 *   feed_sweep      every row, every document of the index, every dead letter, for what a poll
 *                   cannot see
 *   feed_list       keys given by hand
 */
#pragma once
#include "model/checkpoint.h"
#include "source/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct deadletters;
struct err;
struct es;
struct pg_pool;
struct chunk_size;

struct feed {
    /* *out: the next batch, owned by the caller; NULL: there is no more, for now. */
    bool (*next)(struct feed *f, struct batch **out, struct err *e);
    void (*free)(struct feed *f);
    const struct source *source; /* borrowed, as are pool and es */
    struct pg_pool *pool;
    struct es *es;
};

bool feed_next(struct feed *f, struct batch **out, struct err *e);
/* Nothing is asked for a while: lets go of idle connections, for which a worker may be waiting. */
void feed_release_idle(struct feed *f);
void feed_free(struct feed *f); /* NULL is fine */

/* after: the key up to which all is done (NULL: begin at the first); copied. chunk: says how many
 * keys are next; borrowed. NULL: no memory. */
struct feed *feed_snapshot(const struct source *s, struct pg_pool *pool, const char *after,
                           struct chunk_size *chunk, struct err *e);

/* Where a table stands. */
struct feed_poll_start {  /* bears being zeroed */
    struct position last; /* of the last row; cursor NULL: no row has a cursor */
    struct source_report report;
    char *server; /* owned: see source_server; NULL: it cannot be told */
};
bool feed_poll_start_read(const struct source *s, struct pg_pool *pool, size_t table,
                          struct feed_poll_start *place, struct err *e);
void feed_poll_start_free(struct feed_poll_start *p);

/* mark: where the table's changes are followed from, perhaps amid a pass or a fan. place: read a
 * moment ago; to_the_limit: end at its last row, so that a table under constant change keeps nobody
 * busy for ever. All copied. es: for index_field; may be NULL. */
struct feed *feed_poll(const struct source *s, struct pg_pool *pool, struct es *es, size_t table,
                       const struct checkpoint *mark, const struct feed_poll_start *place,
                       bool to_the_limit, struct err *e);
/* Begins another pass, once feed_next has returned no batch. Rows that were delivered and have not
 * changed since are not delivered again. */
void feed_poll_again(struct feed *f);
/* What the last page's report was: for its owner's log. Borrowed. */
const struct source_report *feed_poll_report(const struct feed *f);

/* index: where ids are looked for; borrowed. after: the key up to which a sweep that was broken off
 * has come, or NULL; copied. dead: borrowed, or NULL; as is chunk, which says how many keys are
 * worth a query. */
struct feed *feed_sweep(const struct source *s, struct pg_pool *pool, struct es *es,
                        const char *index, const struct deadletters *dead, struct chunk_size *chunk,
                        const char *after, struct err *e);

/* keys: n texts; copied, and checked by the server at the first feed_next. */
struct feed *feed_list(const struct source *s, struct pg_pool *pool, const char *const *keys,
                       size_t n, struct err *e);
