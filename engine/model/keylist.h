/* keylist: a list of keys, each the text of a document's _id (see model/key.h).
 *
 * Uses     grow, keyset.
 * Owns     the list and each key.
 * Threads  any, each with a list of its own.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct keylist { /* a zeroed one is empty */
    char **keys; /* owned, each */
    size_t n, cap;
};
bool keylist_add(struct keylist *l, const char *key); /* adds a copy; false: no memory */
/* Removes those that `others` has, too. False: no memory; none is removed. */
bool keylist_remove(struct keylist *l, const struct keylist *others);
void keylist_free(struct keylist *l); /* leaves an empty list */
