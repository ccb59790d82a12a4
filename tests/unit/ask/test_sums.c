/* Two sets of keys are compared by their sums: the same ones in any order are the same, and a key
 * that is in one of them alone shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ask/sums.h"
#include "torture.h"

enum { KEYS = 100000 };

static uint64_t hash_of(int i)
{
    char key[20];
    snprintf(key, sizeof key, "%d", i);
    return sums_hash(key, strlen(key));
}

static void the_same_keys_in_any_order_are_the_same(void **state)
{
    (void)state;
    struct sums *a = sums_new(), *b = sums_new();
    for (int i = 0; i < KEYS; i++) {
        sums_add(a, hash_of(i));
        sums_add(b, hash_of(KEYS - 1 - i));
    }
    assert_false(sums_differ_at_all(a, b));
    assert_false(sums_differ(a, b, hash_of(7)));
    sums_free(a);
    sums_free(b);
}

static void each_key_of_one_set_alone_shows_and_few_others(void **state)
{
    (void)state;
    struct sums *a = sums_new(), *b = sums_new();
    for (int i = 0; i < KEYS; i++) {
        if (i % 1000 != 1)
            sums_add(a, hash_of(i));
        if (i % 1000 != 2)
            sums_add(b, hash_of(i));
    }
    int asked = 0;
    for (int i = 0; i < KEYS; i++) {
        bool differ = sums_differ(a, b, hash_of(i));
        asked += differ;
        if (i % 1000 == 1 || i % 1000 == 2)
            assert_true(differ);
    }
    assert_in_range(asked, 200, 1500);
    sums_clear(a);
    sums_clear(b);
    assert_false(sums_differ_at_all(a, b));
    sums_free(a);
    sums_free(b);
}

static void without_memory_there_are_none(void **state)
{
    (void)state;
    allocations_left = 0;
    struct sums *s = sums_new();
    allocations_left = -1;
    assert_null(s);
    sums_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_keys_in_any_order_are_the_same),
        cmocka_unit_test(each_key_of_one_set_alone_shows_and_few_others),
        cmocka_unit_test(without_memory_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
