/* A name that no search server takes is refused before one is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "script/index_name.h"

static void what_no_index_is_called_is_told(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "is empty"},
        {"a,b", "must be the name of one index: it cannot hold ','"},
        {"a*", "must be the name of one index: it cannot hold '*'"},
        {"Films", "must be in lower case, as index names are"},
        {"_films", "cannot begin with '_'"},
        {"films\xff", "is not UTF-8"},
        {"..", "is no name that an index can have"},
    };
    char why[INDEX_NAME_FLAW];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(index_name_flaw(cases[i][0], why));
        assert_string_equal(why, cases[i][1]);
    }
}

static void what_an_index_can_be_called_is_taken(void **state)
{
    (void)state;
    char longest[257] = "", why[INDEX_NAME_FLAW];
    memset(longest, 'a', 255);
    static const char *const names[] = {"films", "films-2", ".films", "фильмы", "a.b", "2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(index_name_flaw(names[i], why));
    assert_false(index_name_flaw(longest, why));
    longest[255] = 'a';
    assert_true(index_name_flaw(longest, why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_index_is_called_is_told),
        cmocka_unit_test(what_an_index_can_be_called_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
