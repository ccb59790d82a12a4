/* A key is a dead letter until its document succeeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/dead_keys.h"
#include "torture.h"

static void dead_keys_are_known_until_they_are_not(void **state)
{
    (void)state;
    struct err e;
    struct dead_keys *d = dead_keys_new(&e);
    assert_false(dead_keys_has(d, "k"));
    dead_keys_set(d, "k", true);
    assert_true(dead_keys_has(d, "k"));
    assert_false(dead_keys_has(d, "other"));
    dead_keys_set(d, "k", false);
    assert_false(dead_keys_has(d, "k"));
    dead_keys_free(d);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct err e;
    struct dead_keys *made = NULL;
    for (int n = 0; !made; n++) {
        allocations_left = n;
        made = dead_keys_new(&e);
        allocations_left = -1;
    }
    dead_keys_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_keys_are_known_until_they_are_not),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("dead_keys", tests, NULL, NULL);
}
