/* A key list owns its keys; what another list has is removed from it, or nothing is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "model/keylist.h"
#include "torture.h"

static void fill(struct keylist *l, int from, int to)
{
    char key[20];
    for (int i = from; i < to; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_true(keylist_add(l, key));
    }
}

static void what_another_list_has_is_removed(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct keylist all = {0}, others = {0};
        fill(&all, 0, 100);
        fill(&all, 3, 4); /* once more */
        fill(&others, 3, 5);
        fill(&others, 100, 110);
        allocations_left = n;
        done = keylist_remove(&all, &others);
        allocations_left = -1;
        assert_int_equal(all.n, done ? 98 : 101);
        assert_string_equal(all.keys[2], "k2");
        assert_string_equal(all.keys[3], done ? "k5" : "k3");
        keylist_free(&all);
        keylist_free(&others);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_another_list_has_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
