/* Owned texts are replaced or become NULL; arrays double, or stay as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/grow.h"
#include "base/text.h"
#include "torture.h"

static void a_text_is_replaced_by_a_copy(void **state)
{
    (void)state;
    char *text = NULL;
    char from[] = "a";
    assert_true(text_set(&text, from));
    from[0] = 'b';
    assert_string_equal(text, "a");
    assert_true(text_set(&text, "longer"));
    assert_string_equal(text, "longer");
    assert_true(text_set(&text, NULL));
    assert_null(text);
}

static void without_memory_a_text_is_null(void **state)
{
    (void)state;
    char *text = NULL;
    assert_true(text_set(&text, "a"));
    allocations_left = 0;
    assert_false(text_set(&text, "b"));
    allocations_left = -1;
    assert_null(text);
}

static void null_is_the_same_as_null_alone(void **state)
{
    (void)state;
    assert_true(text_same(NULL, NULL) && text_same("a", "a") && text_same("", ""));
    assert_false(text_same(NULL, "") || text_same("", NULL) || text_same("a", "b"));
}

static void a_text_that_goes_on_ends_without_a_stop(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"blocked by: [x];", "blocked by: [x]"},
                                           {"It is.", "It is"},
                                           {"so . ;", "so"},
                                           {"and so on...", "and so on..."},
                                           {"1.5", "1.5"},
                                           {".", ""},
                                           {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(text_open_end(cases[i][0], strlen(cases[i][0])), strlen(cases[i][1]));
}

static void an_array_doubles(void **state)
{
    (void)state;
    size_t n = 0, cap = 0;
    int *list = NULL;
    for (int i = 0; i < 100; i++) {
        int *grown = grow(list, n, &cap, 4, sizeof *list);
        assert_non_null(grown);
        list = grown;
        list[n++] = i;
    }
    assert_int_equal(cap, 128);
    for (int i = 0; i < 100; i++)
        assert_int_equal(list[i], i);
    allocations_left = 0;
    assert_ptr_equal(grow(list, n, &cap, 4, sizeof *list), list); /* there is room */
    int *none = grow(list, cap, &cap, 4, sizeof *list);
    allocations_left = -1;
    assert_int_equal(cap, 128);
    free(none ? none : list);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_replaced_by_a_copy),
        cmocka_unit_test(without_memory_a_text_is_null),
        cmocka_unit_test(null_is_the_same_as_null_alone),
        cmocka_unit_test(a_text_that_goes_on_ends_without_a_stop),
        cmocka_unit_test(an_array_doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
