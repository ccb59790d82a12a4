/* fanout: the documents that changed rows affect, in parts.
 *
 * Uses     keylist, batch, err, alike, hash. No server: it asks through struct fanout_queries, so
 *          that a test can answer.
 * Threads  none of its own; a fan-out has one owner.
 * Promise  keys from the table's `affects` come in order, each once, so that a fan-out that was
 *          broken off continues after its last key. One row on which `affects` fails does not stop
 *          the others.
 *
 *     fanout_clear(&f);
 *     while (...) fanout_add(&f, key, version)            // the changed rows
 *     fanout_begin(&f, resumed);
 *     while (!fanout_is_over(&f)) {
 *         if (!fanout_fill(&f, e)) ...                     // may be called again
 *         while (fanout_has_keys(&f)) {
 *             fanout_copy(&f, batch) ...
 *             fanout_advance(&f, batch->n);
 *         }
 *     }
 *
 * The stages: of the root table, the rows are the documents: one part, no question. Of a related
 * table, first the index is asked for documents that hold one of the rows though no row leads to
 * them any more (index_field), then `affects`, for 50,000 keys at a time.
 */
#pragma once
#include "model/keylist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct err;

enum { FANOUT_PART = 50000 }; /* affected keys in memory at a time */

/* How a related table's rows are asked about. */
struct fanout_queries {
    void *arg;         /* borrowed */
    const char *label; /* borrowed: the table's, for messages */
    /* Adds documents that hold one of the n rows, in any order. */
    bool (*holders)(void *arg, const struct keylist *rows, struct keylist *out, struct err *e);
    /* Adds the next FANOUT_PART keys above `after` (NULL: from the first) that the rows affect, in
     * order. */
    bool (*affected)(void *arg, const struct keylist *rows, const char *after, struct keylist *out,
                     struct err *e);
};

enum fanout_stage { FANOUT_ROWS, FANOUT_HOLDERS, FANOUT_AFFECTED, FANOUT_OVER };

struct fanout {
    struct fanout_queries queries; /* affected NULL: the root table's */
    struct keylist rows;           /* the changed rows' keys */
    uint64_t hash;                 /* of these rows and their versions */
    enum fanout_stage stage;       /* what comes next */
    struct keylist part;           /* the present part */
    size_t next;                   /* of the part: the first key that is not delivered */
    bool in_order;                 /* the part is from `affects` */
    char *after;                   /* owned; the last key from `affects` so far; NULL: none */
    uint64_t resume_hash;          /* the hash of the fan-out that was broken off */
};

/* queries: copied; NULL: of the root table. */
void fanout_init(struct fanout *f, const struct fanout_queries *queries);
void fanout_free(struct fanout *f); /* safe on a zeroed struct */
/* The next fan-out that begins as resumed continues after this key, if its rows have this hash.
 * after: taken. */
void fanout_resume_after(struct fanout *f, char *after, uint64_t hash);

/* Forgets all rows and keys. */
void fanout_clear(struct fanout *f);
/* Adds a changed row. version: differs between versions of the row. False: no memory. */
bool fanout_add(struct fanout *f, const char *key, const char *version);
/* All rows are added. resumed: of the page whose fan-out was broken off. */
void fanout_begin(struct fanout *f, bool resumed);

/* Whether all keys are delivered. */
bool fanout_is_over(const struct fanout *f);
/* Whether keys of the present part are left. */
bool fanout_has_keys(const struct fanout *f);
/* Asks for the next part, which may be empty; does nothing while keys of the present one are
 * left. */
bool fanout_fill(struct fanout *f, struct err *e);
/* Adds the next keys to b, as many as are good for a batch. False: no memory. */
bool fanout_copy(const struct fanout *f, struct batch *b);
/* Whether no key is left once n more are delivered. */
bool fanout_ends_after(const struct fanout *f, size_t n);
/* Whether a later process can continue after the last delivered key. */
bool fanout_can_resume(const struct fanout *f);
/* n keys more are delivered. */
void fanout_advance(struct fanout *f, size_t n);
