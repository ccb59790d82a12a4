/* pool: small blocks of memory, of one thread: what a Lua state makes and drops by the million.
 *
 * Uses     nothing.
 * Threads  one; no lock.
 * Promise  a block of up to POOL_MAX bytes comes from a list of its size, some ten instructions
 *          away; larger ones are malloc's. What was once given to a size stays with it until
 *          pool_free.
 */
#pragma once
#include <stddef.h>
#include <stdlib.h>

enum { POOL_STEP = 16, POOL_MAX = 512 }; /* bytes */

struct pool {
    /* of each size, the blocks to be used again: each holds the next */
    void *free[POOL_MAX / POOL_STEP];
    char *fresh, *end; /* of the last chunk, what was never used */
    void *chunks;      /* owned: each holds the next */
};

/* with all small blocks that are left; bears a zeroed struct, and leaves one */
void pool_free(struct pool *p);

/* As realloc, but told the old size (0: there is no block); size 0 frees. NULL: no memory, and the
 * old block stays. */
void *pool_resize(struct pool *p, void *old, size_t old_size, size_t size);

/* The list that blocks of that size are on. size: 1 to POOL_MAX */
static inline size_t pool_list(size_t size)
{
    return (size - 1) / POOL_STEP;
}

/* A block that was given back; NULL: of that size there is none. Then, as for size 0 and sizes
 * beyond POOL_MAX, pool_resize knows what to do. */
static inline void *pool_pop(struct pool *p, size_t size)
{
    if (size - 1 >= POOL_MAX)
        return NULL;
    void **list = &p->free[pool_list(size)], *block = *list;
    if (block)
        *list = *(void **)block;
    return block;
}

static inline void pool_give(struct pool *p, void *block, size_t size)
{
    if (size > POOL_MAX) {
        free(block);
        return;
    }
    void **list = &p->free[pool_list(size)];
    *(void **)block = *list;
    *list = block;
}
