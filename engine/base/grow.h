/* grow: arrays that double as they fill.
 *
 * Uses     nothing.
 * Promise  the array and *cap are unchanged if there is no memory.
 */
#pragma once
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

/* Makes room for one more element in `list` (owned by the caller), which has n elements of `size`
 * bytes and room for *cap; the first array has room for `first` elements. Returns the array, which
 * may have moved. NULL: no memory. */
static inline void *grow(void *list, size_t n, size_t *cap, size_t first, size_t size)
{
    assert(n <= *cap && first > 0);
    if (n < *cap)
        return list;
    size_t larger = *cap ? *cap * 2 : first;
    void *moved = realloc(list, larger * size);
    if (moved)
        *cap = larger;
    return moved;
}
