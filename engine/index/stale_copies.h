/* stale_copies: older copies of documents, for pipelines whose documents choose their index or
 * routing; and for documents that got a routing otherwise (routed.h).
 *
 * Uses     index, bulk, keyset, buf, err.
 * Promise  a version protects a document only within its shard. So a document that has moved is
 *          written first, and its older copies are searched for afterwards: the last writer of a
 *          key finds what all others have written. Copies that a crash leaves in between are found
 *          when the next run repeats the batch, or by the sweep.
 *
 *     stale_copies_init(&c, es, "films-*", "films", max_bytes);
 *     stale_copies_add(&c, key);                 // for each document written ...
 *     stale_copies_find(&c, e) && stale_copies_drop_older(&c, bulk, e) // ... deletes older copies
 *     stale_copies_clear(&c);
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bulk;
struct err;
struct es;
struct keyset;

struct copy {
    size_t key, index, routing; /* offsets in text; an empty routing: none */
    int64_t version;
};

struct stale_copies {
    struct es *es;                  /* borrowed */
    const char *indices, *pipeline; /* borrowed */
    struct keyset *ours;            /* owned: indexes known not to be another pipeline's */
    struct buf keys;                /* to search for, each with a final zero byte */
    size_t n_keys;
    struct buf text;   /* of the copies found */
    struct copy *list; /* owned: sorted by key, the newest first */
    size_t n, cap;
};

/* pipeline: its name. */
void stale_copies_init(struct stale_copies *c, struct es *es, const char *indices,
                       const char *pipeline, size_t max_bytes);
void stale_copies_free(struct stale_copies *c);  /* safe on a zeroed struct */
void stale_copies_clear(struct stale_copies *c); /* removes keys and copies */

/* Adds a key to search for. If there is no memory, stale_copies_find says so. */
void stale_copies_add(struct stale_copies *c, const char *key);
/* Finds all documents of the keys that were added. ERR_USAGE: one is in an index that, according to
 * its metadata, is another pipeline's: `indices` matches too much, and that document must not be
 * deleted. */
bool stale_copies_find(struct stale_copies *c, struct err *e);
/* How many documents of that key were found. */
size_t stale_copies_count(const struct stale_copies *c, const char *key);
/* The same; *from: where the first one is in the list. */
size_t stale_copies_range(const struct stale_copies *c, const char *key, size_t *from);
/* Adds the delete of the i-th copy, with its own version: a later write to it stays. */
bool stale_copies_drop(const struct stale_copies *c, size_t i, struct bulk *to, struct err *e);
/* Adds deletes to `to`: of all documents found, with `version`; of all but the newest of each key,
 * each with its own version. */
bool stale_copies_drop_all(const struct stale_copies *c, struct bulk *to, int64_t version,
                           struct err *e);
bool stale_copies_drop_older(const struct stale_copies *c, struct bulk *to, struct err *e);
