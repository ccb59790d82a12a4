/* pool: blocks keep their bytes through every change of size, and nothing is lost when memory is
 * short. */
#include "lua/slab.h"

#include "torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 200 };

struct block {
    unsigned char *data;
    size_t size;
};

static void fill(struct block *b, size_t from, unsigned char mark)
{
    memset(b->data + from, mark, b->size - from);
}

static bool holds(const struct block *b, size_t size, unsigned char mark)
{
    for (size_t i = 0; i < size; i++)
        if (b->data[i] != mark)
            return false;
    return true;
}

/* Sizes around the steps and around the largest small one, each block with bytes of its own. */
static bool resize_many(struct slab *p, struct block *blocks)
{
    static const size_t sizes[] = {1,   16,  17,  40, 500, SLAB_MAX, SLAB_MAX + 1, 4000,
                                   700, 512, 496, 3,  32,  33,       64,           0};
    for (size_t round = 0; round < sizeof sizes / sizeof *sizes; round++)
        for (size_t i = 0; i < BLOCKS; i++) {
            struct block *b = &blocks[i];
            size_t size = sizes[(round + i) % (sizeof sizes / sizeof *sizes)],
                   kept = size < b->size ? size : b->size;
            unsigned char *data = slab_resize(p, b->data, b->size, size);
            if (!data && size > 0)
                return false;
            *b = (struct block){data, size};
            assert_true(size == 0 || (uintptr_t)data % SLAB_STEP == 0);
            assert_true(holds(b, kept, (unsigned char)i));
            if (size > kept)
                fill(b, kept, (unsigned char)i);
        }
    return true;
}

static void free_blocks(struct slab *p, struct block *blocks)
{
    for (size_t i = 0; i < BLOCKS; i++)
        if (blocks[i].size > 0)
            assert_null(slab_resize(p, blocks[i].data, blocks[i].size, 0));
    slab_free(p);
}

static void blocks_keep_their_bytes_when_memory_fails(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct slab p = {0};
        struct block blocks[BLOCKS] = {0};
        allocations_left = n;
        done = resize_many(&p, blocks);
        allocations_left = -1;
        for (size_t i = 0; i < BLOCKS; i++)
            assert_true(holds(&blocks[i], blocks[i].size, (unsigned char)i));
        free_blocks(&p, blocks);
    }
}

static void a_freed_block_is_used_again(void **state)
{
    (void)state;
    struct slab p = {0};
    void *first = slab_resize(&p, NULL, 0, 40);
    assert_null(slab_resize(&p, first, 40, 0));
    assert_ptr_equal(slab_resize(&p, NULL, 0, 48), first);
    assert_ptr_not_equal(slab_resize(&p, NULL, 0, 48), first);
    slab_free(&p);
    slab_free(&p); /* bears it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_keep_their_bytes_when_memory_fails),
        cmocka_unit_test(a_freed_block_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
