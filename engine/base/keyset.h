/* keyset: a set of keys, each with an optional value, such as the rows that a poll delivered or the
 * keys of dead letters.
 *
 * Uses     nothing.
 * Threads  any, each with a set of its own.
 * Promise  a set never holds more bytes than its ceiling. A key that does not fit is not kept, and
 *          keyset_put says so.
 *
 * Each entry has the generation in which it was last put or matched. keyset_drop removes all other
 * generations: after a pass over a table, the entries that the pass has not met again.
 *
 * An entry costs about 60 bytes beyond its texts (at most 79, and 95 while the table grows): a
 * million keys of 36 bytes with values of 29 take 130 MB.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keyset;

struct keyset *keyset_new(size_t max_bytes); /* NULL: no memory */
void keyset_free(struct keyset *s);          /* NULL is fine */

/* Adds the key with its value (NULL: none), or replaces its value; copies both. False: no room or
 * no memory; an older entry of the key is removed then. */
bool keyset_put(struct keyset *s, const char *key, const char *value, uint32_t generation);
/* Whether the set has the key with this value (NULL matches NULL); if so, gives the entry this
 * generation. */
bool keyset_match(struct keyset *s, const char *key, const char *value, uint32_t generation);
bool keyset_has(const struct keyset *s, const char *key);
/* Removes the key, if the set has it. */
void keyset_remove(struct keyset *s, const char *key);
/* Removes all entries of other generations. */
void keyset_drop(struct keyset *s, uint32_t generation);
size_t keyset_count(const struct keyset *s);
/* The entries, in the order in which their keys were added: *at begins as 0. False: there are no
 * more. key and value: borrowed until the set changes. The entry that was returned may be removed
 * before the next call; nothing may be added. */
bool keyset_next(const struct keyset *s, size_t *at, const char **key, const char **value);
