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

static void a_report_is_forgotten_before_the_next_try(void **state)
{
    (void)state;
    struct batch *b = batch_new();
    assert_true(batch_reject(b, "k", 400, "no such field") && batch_reject(b, "old", 0, NULL));
    assert_int_equal(b->n_rejections, 2);
    assert_string_equal(b->rejections[0].reason, "no such field");
    assert_null(b->rejections[1].reason);
    batch_forget_rejections(b);
    assert_int_equal(b->n_rejections, 0);
    assert_null(b->rejections);
    batch_free(b);
}

static bool build(void)
{
    struct batch *keys = batch_new(), *range = batch_range("a", "b");
    bool ok = keys && range && batch_reject(range, "k", 1, "reason");
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
        cmocka_unit_test(a_report_is_forgotten_before_the_next_try),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
