/* An errand has counts, limits and an error of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/errand.h"
#include "flow/tally.h"
#include "torture.h"

static void it_is_idle_once_all_its_batches_have_left(void **state)
{
    (void)state;
    struct err e;
    struct errand *x = errand_new(&e);
    assert_true(errand_is_idle(x));
    errand_enter(x);
    errand_enter(x);
    errand_leave(x);
    assert_false(errand_is_idle(x));
    errand_leave(x);
    assert_true(errand_is_idle(x));
    errand_enter(x);
    errand_reset(x); /* its workers are gone */
    assert_true(errand_is_idle(x));
    errand_free(x);
}

static void its_first_error_stays(void **state)
{
    (void)state;
    struct err e, got = {0};
    struct errand *x = errand_new(&e);
    assert_false(errand_error(x, &got));
    err_set(&e, ERR_USAGE, "first");
    errand_fail(x, &e);
    err_set(&e, ERR_FINAL, "second");
    errand_fail(x, &e);
    assert_true(errand_error(x, NULL));
    assert_true(errand_error(x, &got));
    assert_string_equal(got.text, "first");
    assert_int_equal(got.kind, ERR_USAGE);
    errand_free(x);
}

static void reports_are_taken_once_and_have_an_end(void **state)
{
    (void)state;
    struct err e;
    char key[20];
    struct errand *x = errand_new(&e);
    errand_report(x, "7", 400, "mapper_parsing_exception");
    struct rejections reports = errand_reports(x);
    assert_int_equal(reports.n, 1);
    assert_string_equal(reports.list[0].key, "7");
    assert_int_equal(reports.list[0].status, 400);
    rejections_free(&reports);
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "%d", i);
        errand_report(x, key, 0, "no");
    }
    reports = errand_reports(x);
    assert_true(reports.n > 1000 && reports.n < 10000);
    rejections_free(&reports);
    reports = errand_reports(x);
    assert_int_equal(reports.n, 0);
    errand_free(x);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct err e;
    struct errand *made = NULL;
    for (int n = 0; !made; n++) {
        allocations_left = n;
        made = errand_new(&e);
        allocations_left = -1;
    }
    allocations_left = 0;
    errand_report(made, "7", 0, "lost"); /* the tally still counts it */
    allocations_left = -1;
    struct rejections reports = errand_reports(made);
    assert_int_equal(reports.n, 0);
    errand_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_idle_once_all_its_batches_have_left),
        cmocka_unit_test(its_first_error_stays),
        cmocka_unit_test(reports_are_taken_once_and_have_an_end),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
