/* A batch owns its keys, its bounds and its report. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/batch.h"
#include "torture.h"

static void a_range_is_done_up_to_its_upper_bound(void **state)
{
    (void)state;
    struct batch *b = batch_range("a", "b"), *last = batch_range("b", NULL);
    assert_true(b->is_range);
    assert_string_equal(b->from, "a");
    assert_string_equal(b->to, "b");
    assert_string_equal(b->done.after, "b");
    assert_null(last->to);
    assert_null(last->done.after);
    batch_free(b);
    batch_free(last);
}

static void keys_stay_in_their_order(void **state)
{
    (void)state;
    struct batch *b = batch_new();
    char key[24];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(batch_add_key(b, key));
    }
    assert_int_equal(b->n, 100);
    assert_string_equal(b->keys[0], "0");
    assert_string_equal(b->keys[99], "99");
    batch_free(b);
}

static void sorted_keys_are_found_and_each_stands_once(void **state)
{
    (void)state;
    const char *given[] = {"c", "a", "b", "a", "c", "c"};
    struct batch *b = batch_new();
    size_t i = 99;
    batch_sort_keys(b); /* none */
    for (size_t k = 0; k < sizeof given / sizeof *given; k++)
        assert_true(batch_add_key(b, given[k]));
    batch_sort_keys(b);
    assert_int_equal(b->n, 3);
    assert_true(batch_find_key(b, "a", &i) && i == 0);
    assert_true(batch_find_key(b, "c", &i) && i == 2);
    assert_false(batch_find_key(b, "aa", &i));
    batch_free(b);
}

static void a_report_is_forgotten_before_the_next_try(void **state)
{
    (void)state;
    struct batch *b = batch_new();
    assert_true(batch_reject(b, "k", 400, "no such field") && batch_reject(b, "old", 0, NULL));
    assert_int_equal(b->rejections.n, 2);
    assert_string_equal(b->rejections.list[0].reason, "no such field");
    assert_null(b->rejections.list[1].reason);
    rejections_free(&b->rejections);
    assert_int_equal(b->rejections.n, 0);
    assert_null(b->rejections.list);
    batch_free(b);
}

static void reports_are_appended_and_change_their_owner(void **state)
{
    (void)state;
    struct batch *a = batch_new(), *b = batch_new();
    struct rejections all = {0};
    assert_true(batch_reject(a, "1", 400, "first") && batch_reject(b, "2", 0, "second"));
    assert_true(rejections_move(&all, &a->rejections) && rejections_move(&all, &b->rejections));
    assert_true(rejections_move(&all, &b->rejections)); /* empty by now */
    batch_free(a);
    batch_free(b);
    assert_int_equal(all.n, 2);
    assert_string_equal(all.list[0].reason, "first");
    assert_string_equal(all.list[1].key, "2");
    rejections_free(&all);
}

static bool build(void)
{
    struct batch *keys = batch_new(), *range = batch_range("a", "b");
    bool ok = keys && range && batch_reject(range, "k", 1, "reason") &&
              batch_reject(keys, "other", 1, NULL) &&
              rejections_move(&keys->rejections, &range->rejections);
    for (int i = 0; ok && i < 5; i++)
        ok = batch_add_key(keys, "key");
    batch_free(keys);
    batch_free(range);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        done = build();
        allocations_left = -1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_done_up_to_its_upper_bound),
        cmocka_unit_test(keys_stay_in_their_order),
        cmocka_unit_test(sorted_keys_are_found_and_each_stands_once),
        cmocka_unit_test(a_report_is_forgotten_before_the_next_try),
        cmocka_unit_test(reports_are_appended_and_change_their_owner),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
