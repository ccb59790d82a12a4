/* spool: keys that are looked at again, in a temporary file: memory does not grow with them.
 *
 * Uses     buf, err.
 * Threads  one at a time.
 * Promise  what was added is read in the same order. The file has no name: nothing is left behind.
 *
 *     spool_add(s, &record, e) ...;
 *     spool_rewind(s, e);
 *     while (spool_next(s, &record, e) && record.key) ...
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;
struct spool;

struct spool_record {
    const char *key;  /* borrowed, as `mark` */
    const char *mark; /* what was seen of it, for a comparison with the next look */
    bool no_rows;     /* it cannot be a key of the table */
    bool any_routing; /* the index has copies of it under a routing */
};

struct spool *spool_open(struct err *e); /* NULL: e says why */
void spool_close(struct spool *s);       /* NULL is fine */

/* Adds a record to a block of them, in memory. False: no memory. */
bool spool_pack(struct buf *block, const struct spool_record *record);
/* Appends a block of n records. */
bool spool_add(struct spool *s, const struct buf *block, size_t n, struct err *e);
size_t spool_count(const struct spool *s); /* records that were added */

/* From now on spool_next reads, from the first record on. */
bool spool_rewind(struct spool *s, struct err *e);
/* record->key is NULL at the end; borrowed until the next call. */
bool spool_next(struct spool *s, struct spool_record *record, struct err *e);
