#include "lua/slab.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 32 << 10, /* bytes; malloc is called rarely, and little is unused at the end */
    HEAD = SLAB_STEP, /* bytes: holds the next chunk, and keeps blocks aligned */
};

static void *take_fresh(struct slab *p, size_t size)
{
    size = (slab_list(size) + 1) * SLAB_STEP;
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

static void *take(struct slab *p, size_t size)
{
    void *block = slab_pop(p, size);
    if (block)
        return block;
    return size > SLAB_MAX ? malloc(size) : take_fresh(p, size);
}

void *slab_resize(struct slab *p, void *old, size_t old_size, size_t size)
{
    if (old_size == 0)
        return size > 0 ? take(p, size) : NULL;
    if (size == 0) {
        slab_give(p, old, old_size);
        return NULL;
    }
    if (old_size > SLAB_MAX && size > SLAB_MAX)
        return realloc(old, size);
    if (old_size <= SLAB_MAX && size <= SLAB_MAX && slab_list(old_size) == slab_list(size))
        return old;
    void *block = take(p, size);
    if (!block)
        return NULL;
    memcpy(block, old, old_size < size ? old_size : size);
    slab_give(p, old, old_size);
    return block;
}

void slab_free(struct slab *p)
{
    while (p->chunks) {
        void *next = *(void **)p->chunks;
        free(p->chunks);
        p->chunks = next;
    }
    *p = (struct slab){0};
}
