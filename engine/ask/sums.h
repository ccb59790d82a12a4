/* sums: whether two sets of keys are the same, in a fixed amount of memory; and if not, which keys
 * may be in one of them alone.
 *
 * Uses     nothing.
 * Threads  one at a time.
 * Promise  a key that is in one set alone is never passed over, except by a chance of one in 2^64.
 *
 * The keys are spread over buckets by a hash; each bucket adds up the hashes of its keys. Where the
 * sums of both sets differ, some keys of that bucket differ, and all of them are worth a question.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sums;

struct sums *sums_new(void); /* NULL: no memory */
void sums_free(struct sums *s);
void sums_clear(struct sums *s);

uint64_t sums_hash(const char *text, size_t len);
void sums_add(struct sums *s, uint64_t hash);
/* Whether a key with this hash may be in one of the two sets alone. */
bool sums_differ(const struct sums *a, const struct sums *b, uint64_t hash);
/* Whether there is any such key. */
bool sums_differ_at_all(const struct sums *a, const struct sums *b);
