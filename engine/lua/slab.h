/* slab: small blocks of memory, of one thread: what a Lua state makes and drops by the million.
 *
 * Uses     nothing.
 * Threads  one; no lock.
 * Promise  a block of up to SLAB_MAX bytes comes from a list of its size, some ten instructions
 *          away; larger ones are malloc's. Memory that served one size stays with that size until
 *          slab_free.
 */
#pragma once
#include <stddef.h>
#include <stdlib.h>

enum { SLAB_STEP = 16, SLAB_MAX = 512 }; /* bytes */

struct slab {
    /* of each size, the blocks to be used again: each holds the next */
    void *free[SLAB_MAX / SLAB_STEP];
    char *fresh, *end; /* of the last chunk, what was never used */
    void *chunks;      /* owned: each holds the next */
};

/* Frees all small blocks, used or not. Safe on a zeroed struct, and leaves one. */
void slab_free(struct slab *p);

/* As realloc, but told the old size (0: there is no block); size 0 frees. NULL: no memory, and the
 * old block stays. */
void *slab_resize(struct slab *p, void *old, size_t old_size, size_t size);

/* The list that blocks of that size are on. size: 1 to SLAB_MAX */
static inline size_t slab_list(size_t size)
{
    return (size - 1) / SLAB_STEP;
}

/* A block that was given back; NULL: of that size there is none. Then, as for size 0 and sizes
 * beyond SLAB_MAX, slab_resize knows what to do. */
static inline void *slab_pop(struct slab *p, size_t size)
{
    if (size - 1 >= SLAB_MAX)
        return NULL;
    void **list = &p->free[slab_list(size)], *block = *list;
    if (block)
        *list = *(void **)block;
    return block;
}

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
