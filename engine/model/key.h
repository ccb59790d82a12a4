/* key: the text of a key, which is its document's _id.
 *
 * Uses     buf.
 * Promise  each key has one text, and each text at most one key of n columns. What was joined
 *          splits into the same parts, and what splits joins to the same text.
 *
 * A key of one column is its value, as it is. One of several columns is its values, joined by ':';
 * a ':' or '\' within a value has a '\' before it: the key ("a:b", "c\", "") is a\:b:c\\:
 *
 *     const char *parts[2];
 *     struct buf block;
 *     buf_init(&block, MAX);
 *     if (key_split(id, 2, &block, parts)) ...
 *     else if (block.failed) ...                  // memory, or the ceiling
 *     else ...                                    // no key of ours
 *     buf_free(&block);
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* Adds the text of the key with these n values (1 or more) to out. False: out has failed. */
bool key_join(struct buf *out, const char *const *parts, size_t n);

/* Sets parts[0] to parts[n - 1] to the values of a key of n columns (1 or more). They lie in block,
 * which is emptied before: borrowed, until it changes. False: key is not the text of such a key
 * (another number of parts, a '\' before nothing that needs it), or block has failed: ask it. */
bool key_split(const char *key, size_t n, struct buf *block, const char **parts);
