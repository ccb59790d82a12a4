/* Versions order fetches even if the clock goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/versions.h"
#include "torture.h"

static void versions_are_the_clock_while_it_runs_forward(void **state)
{
    (void)state;
    struct err e;
    struct versions *v = versions_new(0, &e);
    int64_t a = versions_reserve(v), b = versions_reserve(v);
    assert_int_equal(versions_issue(v, 100, a), 100);
    assert_int_equal(versions_issue(v, 90, b),
                     90); /* asked for before 100 was issued: it may well have read earlier */
    assert_int_equal(versions_last(v), 100);
    versions_free(v);
}

static void versions_pass_what_was_issued_before_though_the_clock_went_back(void **state)
{
    (void)state;
    struct err e;
    struct versions *v = versions_new(500, &e);
    int64_t first = versions_issue(v, 100, versions_reserve(v)),
            second = versions_issue(v, 101, versions_reserve(v));
    assert_true(first > 500 && second > first);
    assert_int_equal(versions_issue(v, 900, versions_reserve(v)), 900);
    versions_free(v);
}

static void a_clock_behind_the_versions_of_earlier_runs_is_told_once(void **state)
{
    (void)state;
    struct err e;
    struct versions *v = versions_new(500, &e);
    versions_issue(v, 600, versions_reserve(v));
    versions_issue(v, 590, versions_reserve(v)); /* behind our own: two workers */
    assert_int_equal(versions_clock_behind(v), 0);
    versions_issue(v, 100, versions_reserve(v));
    assert_int_equal(versions_clock_behind(v), 400);
    versions_issue(v, 101, versions_reserve(v));
    assert_int_equal(versions_clock_behind(v), 0);
    versions_free(v);
}

static void two_fetches_never_share_a_version(void **state)
{
    (void)state;
    struct err e;
    struct versions *v = versions_new(500, &e);
    int64_t a = versions_reserve(v), b = versions_reserve(v);
    assert_int_not_equal(versions_issue(v, 100, a), versions_issue(v, 100, b));
    versions_free(v);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct err e;
    struct versions *made = NULL;
    for (int n = 0; !made; n++) {
        allocations_left = n;
        made = versions_new(0, &e);
        allocations_left = -1;
    }
    versions_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_the_clock_while_it_runs_forward),
        cmocka_unit_test(versions_pass_what_was_issued_before_though_the_clock_went_back),
        cmocka_unit_test(a_clock_behind_the_versions_of_earlier_runs_is_told_once),
        cmocka_unit_test(two_fetches_never_share_a_version),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
