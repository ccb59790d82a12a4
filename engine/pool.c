#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 32 << 10, /* bytes; few calls of malloc, and little is left unused at its end */
    HEAD = POOL_STEP, /* of a chunk: the next one, and blocks stay aligned */
};

/* The list that blocks of that size are on. size: 1 to POOL_MAX */
static size_t list_of(size_t size)
{
    return (size - 1) / POOL_STEP;
}

static void *take_fresh(struct pool *p, size_t size)
{
    size = (list_of(size) + 1) * POOL_STEP;
    if ((size_t)(p->end - p->fresh) < size) {
        char *chunk = malloc(CHUNK);
        if (!chunk)
            return NULL;
        *(void **)chunk = p->chunks;
        p->chunks = chunk;
        p->fresh = chunk + HEAD;
        p->end = chunk + CHUNK;
    }
    char *block = p->fresh;
    p->fresh += size;
    return block;
}

static void *take(struct pool *p, size_t size)
{
    if (size > POOL_MAX)
        return malloc(size);
    void **list = &p->free[list_of(size)], *block = *list;
    if (!block)
        return take_fresh(p, size);
    *list = *(void **)block;
    return block;
}

static void give(struct pool *p, void *block, size_t size)
{
    if (size > POOL_MAX) {
        free(block);
        return;
    }
    void **list = &p->free[list_of(size)];
    *(void **)block = *list;
    *list = block;
}

void *pool_resize(struct pool *p, void *old, size_t old_size, size_t size)
{
    if (old_size == 0)
        return size > 0 ? take(p, size) : NULL;
    if (size == 0) {
        give(p, old, old_size);
        return NULL;
    }
    if (old_size > POOL_MAX && size > POOL_MAX)
        return realloc(old, size);
    if (old_size <= POOL_MAX && size <= POOL_MAX && list_of(old_size) == list_of(size))
        return old;
    void *block = take(p, size);
    if (!block)
        return NULL;
    memcpy(block, old, old_size < size ? old_size : size);
    give(p, old, old_size);
    return block;
}

void pool_free(struct pool *p)
{
    while (p->chunks) {
        void *next = *(void **)p->chunks;
        free(p->chunks);
        p->chunks = next;
    }
    *p = (struct pool){0};
}
