/* chunk_size: how many keys the next chunk of the root table has, by what the last ones took.
 *
 * Uses     clock, err, log.
 * Threads  any: the feed asks for sizes, the workers report what chunks took.
 *
 * The best size differs between queries, and between tables of one query. Most queries cost
 * the same for each row, whatever a chunk's size: with small chunks all workers stay busy to the
 * end, and little is lost when one fails. But some cost much before their first row, because they
 * read a whole table for it (a join without an index, a window function): their chunks get so large
 * that this cost is small in comparison.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct chunk_size;

struct chunk_size_config {
    size_t bytes;     /* of documents that a chunk should have */
    int64_t most;     /* keys that a chunk never exceeds */
    int64_t expected; /* keys of all chunks together; 0: not known */
    int workers;
};
/* NULL: no memory. */
struct chunk_size *chunk_size_new(const struct chunk_size_config *config, struct err *e);
void chunk_size_free(struct chunk_size *s); /* NULL is fine */

/* How many keys the next chunk has, which the caller then begins. Towards the end chunks get
 * smaller, so that all workers finish at about the same time. */
int64_t chunk_size_next(struct chunk_size *s);
/* How many keys are worth a query, at least. */
int64_t chunk_size_least(struct chunk_size *s);

struct chunk_time {
    int64_t keys;     /* as chunk_size_next returned it */
    int64_t rows;     /* that the query returned for them */
    size_t bytes;     /* of their documents */
    int64_t first_us; /* from the query's start until its first row, or its end */
    int64_t all_us;   /* until its last document was on its way */
};
/* Reports what a chunk took. */
void chunk_size_report(struct chunk_size *s, const struct chunk_time *t);

/* That many keys at once were too many for the server: chunks get smaller from now on, also those
 * that were begun before, and larger again little by little. True: the caller should warn of it,
 * which it should once a minute at most. */
bool chunk_size_too_large(struct chunk_size *s, int64_t keys);
/* Whether no chunk of about that size was too large lately. */
bool chunk_size_fits(struct chunk_size *s, int64_t keys);
