/* feed: where keys come from: one interface, one file for each kind.
 *
 * Uses     source, batch, checkpoint, chunk_size, pg, index, keyset, deadletter.
 * Threads  one, the main thread; what a feed borrows outlives it.
 * Promise  each batch carries a checkpoint (`done`) that holds once this batch, and all batches of
 *          the feed before it, are in the index. A call that failed may be made again.
 *
 *   feed_snapshot   all rows of the root table, as successive chunks of the key
 *   feed_poll       the documents that changed rows of one table affect, since a checkpoint
 *   feed_sweep      all rows, all documents of the index, all dead letters: what a poll cannot find
 *   feed_list       keys given by hand
 *   feed_wal        keys that the write-ahead log has announced (feed_wal.h)
 *
 * A new kind of feed fills in the functions of struct feed. It reads its rows and positions through
 * source.h, puts keys into a batch (model/batch.h), and sets `done` to what a later process must
 * know to continue after that batch. It does not fetch documents' rows, and does not save anything:
 * workers do the one, the coordinator the other.
 */
#pragma once
#include "model/checkpoint.h"
#include "source/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct chunk_size;
struct deadletters;
struct err;
struct es;
struct pg_pool;

/* What a feed reads from. All borrowed. */
struct feed_origin {
    const struct source *source;
    struct pg_pool *pool; /* of the feed's thread */
    struct es *es; /* only feed_sweep requires it; feed_poll asks it if index_field is given */
};

struct feed {
    struct feed_origin origin;
    bool eager;     /* a checkpoint that only says how late it is is worth a batch without keys */
    unsigned moved; /* feed_poll: how often another PostgreSQL server has answered than before */
    /* *out: the next batch, owned by the caller; NULL: there is none for now. */
    bool (*next)(struct feed *f, struct batch **out, struct err *e);
    /* Looks for more, once `next` has returned none. NULL: there is never more. */
    void (*again)(struct feed *f);
    /* The last report of the server, borrowed. NULL: the feed reads none. */
    const struct source_report *(*report)(const struct feed *f);
    void (*free)(struct feed *f);
};

bool feed_next(struct feed *f, struct batch **out, struct err *e);
void feed_again(struct feed *f);
const struct source_report *feed_report(const struct feed *f);
/* Closes connections that have been idle for a while, so that workers can have the slots. */
void feed_release_idle(struct feed *f);
void feed_free(struct feed *f); /* NULL is fine */

/* ---- the kinds; NULL: e says why ---- */

/* after: the key up to which all is done (NULL: begin at the first); copied. chunk: the size of the
 * chunks; borrowed. */
struct feed *feed_snapshot(const struct feed_origin *origin, const char *after,
                           struct chunk_size *chunk, struct err *e);

/* A table's last row, read before a poll of the table begins. */
struct feed_poll_start { /* a zeroed one can be freed */
    size_t table;
    struct position last; /* cursor NULL: no row has a cursor */
    struct source_report report;
    char *server; /* owned: see source_server; NULL: the server does not say */
};
bool feed_poll_start_read(const struct feed_origin *origin, size_t table,
                          struct feed_poll_start *start, struct err *e);
void feed_poll_start_free(struct feed_poll_start *start);

/* start: read a moment ago. from: where to continue; a pass or a fan-out may be under way. Both
 * copied. to_the_limit: end at the last row of `start`, so that a run over a table under constant
 * change ends. Rows that were delivered and have not changed since are not delivered again. */
struct feed *feed_poll(const struct feed_origin *origin, const struct feed_poll_start *start,
                       const struct checkpoint *from, bool to_the_limit, struct err *e);

struct feed_sweep_config {
    const char *index;              /* borrowed: whose ids are compared; a pattern or an alias */
    const struct deadletters *dead; /* borrowed; NULL: none */
    struct chunk_size *chunk;       /* borrowed: how many keys are worth a query */
    const char *after; /* copied: the last key of a sweep that was broken off; NULL: a new one */
};
struct feed *feed_sweep(const struct feed_origin *origin, const struct feed_sweep_config *config,
                        struct err *e);

/* keys: n texts; copied. The server checks them at the first feed_next. */
struct feed *feed_list(const struct feed_origin *origin, const char *const *keys, size_t n,
                       struct err *e);
