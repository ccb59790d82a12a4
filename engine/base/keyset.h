/* keyset: a set of keys, each perhaps with a value: which rows a poll has delivered already, which
 * keys are dead letters.
 *
 * Uses     nothing.
 * Promise  never holds more than its ceiling of bytes: what does not fit is not remembered, and
 *          keyset_put says so.
 *
 * Entries bear the generation that keyset_put last saw them in; keyset_drop forgets all older ones,
 * so that a set can be cleared of what a pass over the table has not met again.
 *
 * An entry costs about 60 bytes beyond its texts (79 in the worst case, 95 for the moment in which
 * the table grows): a million keys of 36 bytes, with values of 29, take 130 MB.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keyset;

struct keyset *keyset_new(size_t max_bytes); /* NULL: no memory */
void keyset_free(struct keyset *s);          /* NULL is fine */

/* Adds key with value (NULL: none), or replaces its value; both copied. False: no room or memory;
 * an older entry of that key is then gone. */
bool keyset_put(struct keyset *s, const char *key, const char *value, uint32_t generation);
/* Whether key is there with this very value (NULL matches NULL); if so it now bears
 * `generation`. */
bool keyset_match(struct keyset *s, const char *key, const char *value, uint32_t generation);
bool keyset_has(const struct keyset *s, const char *key);
void keyset_remove(struct keyset *s, const char *key);
/* all entries whose generation is another one */
void keyset_drop(struct keyset *s, uint32_t generation);
size_t keyset_count(const struct keyset *s);
/* The entries, in the order in which their keys came: *at begins as 0. False: no more. key and
 * value: borrowed until the set changes. What was returned may be removed before the next call;
 * nothing may be added. */
bool keyset_next(const struct keyset *s, size_t *at, const char **key, const char **value);
