/* A buffer never passes its ceiling, and says once, at the end, whether all went well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "torture.h"

static void buf_holds_what_was_added_in_order(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_null(b.data);
    buf_adds(&b, "one");
    buf_addc(&b, ' ');
    buf_add(&b, "t\0o", 3);
    buf_addf(&b, " %d%s", 3, "!");
    assert_false(b.failed);
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "one t\0o 3!", 10);
    buf_free(&b);
    assert_true(b.max == 1000 && b.len == 0);
}

static void buf_stops_at_its_limit_and_stays_failed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_adds(&b, "0123456789")); /* up to the last byte */
    assert_string_equal(buf_cstr(&b), "0123456789");
    assert_false(buf_addc(&b, 'x'));
    assert_true(b.failed);
    assert_false(buf_add(&b, "", 0));
    assert_false(buf_addf(&b, "%s", ""));
    assert_null(buf_cstr(&b));
    assert_int_equal(b.len, 10);
    buf_clear(&b);
    assert_true(buf_addf(&b, "%010d", 7)); /* the zero behind it does not count */
    assert_false(buf_addf(&b, "%d", 7));
    buf_free(&b);
}

static void a_length_that_would_wrap_fails(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_adds(&b, "abc");
    assert_false(buf_reserve(&b, SIZE_MAX - 3));
    buf_clear(&b);
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void buf_cut_goes_back(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    buf_adds(&b, "abc");
    buf_adds(&b, "defg");
    assert_true(b.failed);
    buf_cut(&b, 2);
    buf_adds(&b, "x");
    assert_string_equal(buf_cstr(&b), "abx");
    buf_free(&b);
}

static void a_zeroed_buffer_can_be_freed_and_is_an_empty_string(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_free(&b);
    assert_string_equal(buf_cstr(&b), "");
    buf_free(&b);
}

static void growing_bytewise_allocates_seldom(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    allocations_left = 12; /* doubling from 256 */
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, 'x');
    allocations_left = -1;
    assert_false(b.failed);
    assert_int_equal(b.len, 100000);
    buf_free(&b);
}

static bool build(struct buf *b)
{
    for (int i = 0; i < 300; i++) {
        buf_adds(b, "some text ");
        buf_addf(b, "%d ", i);
        buf_addc(b, '\n');
    }
    return buf_cstr(b) != NULL;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        allocations_left = n;
        done = build(&b);
        allocations_left = -1;
        assert_true(done == !b.failed);
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_holds_what_was_added_in_order),
        cmocka_unit_test(buf_stops_at_its_limit_and_stays_failed),
        cmocka_unit_test(a_length_that_would_wrap_fails),
        cmocka_unit_test(buf_cut_goes_back),
        cmocka_unit_test(a_zeroed_buffer_can_be_freed_and_is_an_empty_string),
        cmocka_unit_test(growing_bytewise_allocates_seldom),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
