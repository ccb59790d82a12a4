/* What is packed unpacks to what it was; what is not worth packing is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <zlib.h>

#include "es/gzip.h"
#include "torture.h"

enum { SIZE = 200 * 1000 };
static unsigned char text[SIZE], noise[SIZE], unpacked[SIZE + 1];

static int fill(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (size_t i = 0; i < SIZE; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        noise[i] = (unsigned char)(random >> 56);
        text[i] =
            (unsigned char)("{\"title\":\"..\"}\n"[i % 15] + (i % 97 == 0 ? noise[i] % 8 : 0));
    }
    return 0;
}

static void check(const struct buf *packed, const void *data, size_t len)
{
    z_stream z = {.next_in = (Bytef *)packed->data,
                  .avail_in = (uInt)packed->len,
                  .next_out = unpacked,
                  .avail_out = sizeof unpacked};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK); /* gzip's head, and no other */
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.avail_in, 0);
    inflateEnd(&z);
    assert_int_equal(z.total_out, len);
    assert_memory_equal(unpacked, data, len);
}

static void what_is_packed_unpacks_to_what_it_was(void **state)
{
    (void)state;
    struct gzip *g = gzip_new();
    assert_non_null(g);
    static const size_t sizes[] = {SIZE, 2000, 77777, SIZE, 1200};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const struct buf *packed = gzip_pack(g, text, sizes[i]);
        assert_non_null(packed);
        assert_true(packed->len < sizes[i] / 2);
        check(packed, text, sizes[i]);
    }
    gzip_free(g);
    gzip_free(NULL);
}

static void what_is_not_worth_it_goes_as_it_is(void **state)
{
    (void)state;
    struct gzip *g = gzip_new();
    assert_null(gzip_pack(g, text, 1199));
    assert_null(gzip_pack(g, "", 0));
    assert_non_null(gzip_pack(g, text, SIZE));
    assert_null(gzip_pack(g, noise, SIZE));
    int passes = 0;
    while (passes < 1000 && !gzip_pack(g, text, SIZE)) /* for a while nothing is tried */
        passes++;
    assert_int_equal(passes, 32);
    check(gzip_pack(g, text, SIZE), text, SIZE);
    gzip_free(g);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        struct gzip *g = gzip_new();
        done = g && gzip_pack(g, text, SIZE);
        allocations_left = -1;
        gzip_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_unpacks_to_what_it_was),
        cmocka_unit_test(what_is_not_worth_it_goes_as_it_is),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
