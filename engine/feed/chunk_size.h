/* chunk_size: how many keys a chunk of the root table has, by what the last ones took.
 *
 * Uses     err, log.
 * Threads  any: the feed asks, the workers tell.
 *
 * What is best differs between queries, and between tables of the same query. Most cost the same
 * for each row, whatever a chunk's size: then a small one keeps all workers busy to the end, and
 * little is lost with it. But some cost much before their first row comes, because they read a
 * whole table for it (a join without an index, a window function): those get chunks so large
 * that this counts for little.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct chunk_size;

struct chunk_size_config {
    size_t bytes;     /* of documents that one aims at */
    int64_t most;     /* keys that one never exceeds */
    int64_t expected; /* keys that all of them have together, as far as is known: 0: it is not */
    int workers;
};
/* NULL: no memory */
struct chunk_size *chunk_size_new(const struct chunk_size_config *config, struct err *e);
void chunk_size_free(struct chunk_size *s); /* NULL is fine */

/* Of the next one, which the caller then begins. Towards the end they get smaller, so that all
 * workers come to it at about the same time. */
int64_t chunk_size_next(struct chunk_size *s);
/* How many keys are worth a query, at least. */
int64_t chunk_size_least(struct chunk_size *s);

struct chunk_time {
    int64_t keys;     /* as chunk_size_next gave it */
    int64_t rows;     /* that the query had for them */
    size_t bytes;     /* of their documents */
    int64_t first_us; /* from the query's start until its first row came, or its end */
    int64_t all_us;   /* until its last document was on its way */
};
void chunk_size_report(struct chunk_size *s, const struct chunk_time *t); /* of one that is done */

/* So many keys at once were too many for the server: fewer are asked for from now on, also of what
 * was begun before, and more again little by little. True: it is to be told, which it is once a
 * minute at most. */
bool chunk_size_too_large(struct chunk_size *s, int64_t keys);
/* none that is about as large was too large lately */
bool chunk_size_fits(struct chunk_size *s, int64_t keys);
