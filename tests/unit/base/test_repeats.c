/* Keys that come again are told, those that came before the beginning are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/repeats.h"
#include "torture.h"

static bool add(struct repeats *r, int n)
{
    char key[40];
    int len = snprintf(key, sizeof key, "%d-%0*d", n, n % 30, n);
    return repeats_add(r, key, (size_t)len);
}

static void a_key_that_came_before_is_told(void **state)
{
    (void)state;
    struct repeats r = {0};
    repeats_begin(&r);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 10000; i++)
            assert_int_equal(add(&r, i), round == 1);
    assert_false(repeats_add(&r, "", 0));
    assert_true(repeats_add(&r, "", 0));
    assert_false(repeats_add(&r, "\0", 1));
    assert_false(repeats_add(&r, "\0\0\0\0\0\0\0\0", 8));
    repeats_free(&r);
}

static void what_came_before_the_beginning_is_forgotten(void **state)
{
    (void)state;
    struct repeats r = {0};
    for (int round = 0; round < 100; round++) {
        repeats_begin(&r);
        for (int i = 0; i < 1000; i++)
            assert_false(add(&r, i));
        assert_true(add(&r, 999));
    }
    repeats_free(&r);
}

static void of_many_keys_none_is_taken_for_another(void **state)
{
    (void)state;
    struct repeats r = {0};
    repeats_begin(&r);
    for (int i = 0; i < 1000000; i++)
        assert_false(add(&r, i));
    for (int i = 999999; i > 990000; i--)
        assert_true(add(&r, i));
    repeats_free(&r);
}

static void without_memory_nothing_is_a_repeat(void **state)
{
    (void)state;
    struct repeats r = {0};
    allocations_left = 0;
    repeats_begin(&r);
    allocations_left = -1;
    assert_false(add(&r, 1));
    assert_false(add(&r, 1));
    repeats_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_that_came_before_is_told),
        cmocka_unit_test(what_came_before_the_beginning_is_forgotten),
        cmocka_unit_test(of_many_keys_none_is_taken_for_another),
        cmocka_unit_test(without_memory_nothing_is_a_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
