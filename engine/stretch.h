/* stretch: how many rows a stretch of the root table has, by what the last ones took.
 *
 * Uses     err, log.
 * Threads  any: the feed asks, the workers tell.
 *
 * What is best differs between queries, and between tables of the same query. Most cost the same for each
 * row, whatever a stretch's size: then a small one keeps all workers busy to the end, and little is lost with
 * it. But some cost much before their first row comes, because they read a whole table for it (a join without
 * an index, a window function): those get stretches so large that this counts for little.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct err;

struct stretch;

/* bytes: of documents that one aims at. most: rows that one never exceeds. NULL: no memory. */
struct stretch *stretch_new(size_t bytes, int64_t most, struct err *e);
void stretch_free(struct stretch *s); /* NULL is fine */

int64_t stretch_rows(struct stretch *s); /* of the next one */

struct stretch_time {
    int64_t rows;
    size_t bytes;     /* of its documents */
    int64_t first_us; /* from the query's start until its first row came, or its end */
    int64_t all_us;   /* until its last document was on its way */
};
void stretch_tell(struct stretch *s, const struct stretch_time *t); /* of one that is done */
