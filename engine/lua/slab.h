/* slab: small blocks of memory for one thread; a Lua state allocates and frees them by the million.
 *
 * Uses     nothing.
 * Threads  one; no lock.
 * Promise  a block of up to SLAB_MAX bytes comes from a list of its size, in some ten instructions;
 *          malloc serves larger blocks. Memory that served one size stays with that size until
 *          slab_free.
 */
#pragma once
#include <stddef.h>
#include <stdlib.h>

enum { SLAB_STEP = 16, SLAB_MAX = 512 }; /* bytes */

struct slab {
    /* the free blocks of each size; each block holds the next */
    void *free[SLAB_MAX / SLAB_STEP];
    char *fresh, *end; /* the part of the last chunk that was never used */
    void *chunks;      /* owned; each chunk holds the next */
};

/* Frees all small blocks, used or not. Accepts a zeroed struct, and leaves one. */
void slab_free(struct slab *p);

/* Resizes a block as realloc does; the caller owns the result. Sizes are bytes; old_size is the
 * block's size, or 0 if there is no block. size 0 frees the block. NULL: no memory, and the old
 * block is unchanged. */
void *slab_resize(struct slab *p, void *old, size_t old_size, size_t size);

/* Returns the index of the list for blocks of this size, 1 to SLAB_MAX bytes. */
static inline size_t slab_list(size_t size)
{
    return (size - 1) / SLAB_STEP;
}

/* Takes a free block of this size from its list. NULL: the list is empty, or size is 0 or above
 * SLAB_MAX; the caller then calls slab_resize. */
static inline void *slab_pop(struct slab *p, size_t size)
{
    if (size - 1 >= SLAB_MAX)
        return NULL;
    void **list = &p->free[slab_list(size)], *block = *list;
    if (block)
        *list = *(void **)block;
    return block;
}

/* Frees a block of size bytes: a small one goes to its list, for reuse. */
static inline void slab_give(struct slab *p, void *block, size_t size)
{
    if (size > SLAB_MAX) {
        free(block);
        return;
    }
    void **list = &p->free[slab_list(size)];
    *(void **)block = *list;
    *list = block;
}
