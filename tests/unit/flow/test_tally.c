/* Counts add up; a rejected key counts once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/tally.h"
#include "torture.h"

static void sums_add_up_and_can_be_taken_back(void **state)
{
    (void)state;
    struct err e;
    struct tally *t = tally_new(&e);
    tally_add(t, &(struct counts){.indexed = 5, .rejected = 2, .bytes = 100});
    tally_add(t, &(struct counts){.indexed = -(uint64_t)3});
    struct counts sums = tally_counts(t);
    assert_true(sums.indexed == 2 && sums.rejected == 2 && sums.bytes == 100);
    tally_free(t);
}

static void a_rejected_key_counts_once_and_once_in_each_window(void **state)
{
    (void)state;
    struct err e;
    struct tally *t = tally_new(&e);
    assert_true(tally_reject(t, "a"));
    assert_true(tally_reject(t, "b"));
    assert_false(tally_reject(t, "a"));
    tally_add(t, &(struct counts){.rejected = 1}); /* a row without a key */
    assert_int_equal(tally_counts(t).rejected, 3);
    assert_int_equal(tally_rejected_in_window(t), 3);
    tally_begin_window(t);
    assert_int_equal(tally_rejected_in_window(t), 0);
    assert_true(tally_reject(t, "a"));
    assert_false(tally_reject(t, "a"));
    assert_int_equal(tally_rejected_in_window(t), 1);
    assert_int_equal(tally_counts(t).rejected, 3);
    tally_free(t);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct err e;
    struct tally *made = NULL;
    for (int n = 0; !made; n++) {
        allocations_left = n;
        made = tally_new(&e);
        allocations_left = -1;
    }
    tally_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_add_up_and_can_be_taken_back),
        cmocka_unit_test(a_rejected_key_counts_once_and_once_in_each_window),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
