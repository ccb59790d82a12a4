/* key: the text of a key, which is its document's _id.
 *
 * Uses     buf.
 * Threads  any.
 * Promise  each key has one text, and each text is of at most one key of n columns. A joined key
 *          splits into the same values, and a key that was split joins to the same text.
 *
 * The text of a key of one column is its value. With several columns it is the values, joined by
 * ':'; a ':' or '\' in a value has a '\' before it: the key ("a:b", "c\", "") is a\:b:c\\:
 *
 *     const char *parts[2];
 *     struct buf block;
 *     buf_init(&block, MAX);
 *     if (key_split(id, 2, &block, parts)) ...
 *     else if (block.failed) ...                  // no memory, or the ceiling
 *     else ...                                    // not such a key
 *     buf_free(&block);
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* Adds the text of the key with these n values (at least 1) to out. False: out is failed. */
bool key_join(struct buf *out, const char *const *parts, size_t n);

/* Sets parts[0] to parts[n - 1] to the values of a key of n columns (at least 1). The values are in
 * block, which is emptied first; borrowed until block changes. False: key is not the text of such a
 * key (it has another number of values, or a needless '\'), or block is failed: check it. */
bool key_split(const char *key, size_t n, struct buf *block, const char **parts);
