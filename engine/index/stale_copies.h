/* stale_copies: where the documents of some keys are, for pipelines whose documents choose their index or
 * routing.
 *
 * Uses     index, bulk, keyset, buf, err.
 * Promise  a version guards a document in its own shard alone; so a document that has moved is
 *          written first, and its older copies are looked for then: whoever writes a key last finds
 *          what all others have written. What a crash leaves between the two, the next run's same
 *          batch finds, or the sweep.
 *
 *     stale_copies_init(&c, es, "films-*", "films", max_bytes);
 *     stale_copies_note(&c, key);                                  // one for each document written ...
 *     stale_copies_find(&c, e) && stale_copies_drop_older(&c, &bulk, e)  // ... deletes all copies but the newest
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
    size_t key, index, routing; /* where in text; routing: of an empty one, none */
    int64_t version;
};

struct stale_copies {
    struct es *es;                  /* borrowed */
    const char *indices, *pipeline; /* borrowed */
    struct keyset *ours;            /* owned: indexes that are no other pipeline's */
    struct buf keys;                /* noted, a zero byte behind each */
    size_t n_keys;
    struct buf text;   /* of what was found */
    struct copy *list; /* owned: by key, the newest first */
    size_t n, cap;
};

/* pipeline: its name. */
void stale_copies_init(struct stale_copies *c, struct es *es, const char *indices,
                       const char *pipeline, size_t max_bytes);
void stale_copies_free(struct stale_copies *c);  /* bears a zeroed struct */
void stale_copies_clear(struct stale_copies *c); /* forgets keys and what was found */

/* Whether there was no memory is told by stale_copies_find. */
void stale_copies_note(struct stale_copies *c, const char *key);
/* Finds all documents of the keys that were noted. ERR_USAGE: one is in an index that is another
 * pipeline's, by its note: `indices` names too much, and what is there must not be deleted. */
bool stale_copies_find(struct stale_copies *c, struct err *e);
/* Of what was found: how many of that key. */
size_t stale_copies_count(const struct stale_copies *c, const char *key);
/* Adds deletes to `to`: of all; of all but each key's newest. */
bool stale_copies_drop_all(const struct stale_copies *c, struct bulk *to, int64_t version,
                           struct err *e);
bool stale_copies_drop_older(const struct stale_copies *c, struct bulk *to, struct err *e);
