/* No more deletes than allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/delete_budget.h"
#include "torture.h"

static void no_more_deletes_than_allowed(void **state)
{
    (void)state;
    struct err e;
    struct delete_budget *b = delete_budget_new(&e);
    assert_true(delete_budget_reserve(b, 1000000)); /* no limit was set */
    delete_budget_set(b, 10);
    assert_true(delete_budget_reserve(b, 7));
    assert_false(delete_budget_reserve(b, 4));
    delete_budget_refund(b, 1);
    assert_true(delete_budget_reserve(b, 4));
    assert_false(delete_budget_reserve(b, 1));
    delete_budget_free(b);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct err e;
    struct delete_budget *made = NULL;
    for (int n = 0; !made; n++) {
        allocations_left = n;
        made = delete_budget_new(&e);
        allocations_left = -1;
    }
    delete_budget_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_deletes_than_allowed),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("delete_budget", tests, NULL, NULL);
}
