/* The parameters of a statement are found where they are parameters, and nowhere else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "pg/sqltext.h"

/* "1@7 12@20 ": the numbers, and where they stand. */
static const char *parameters(const char *sql)
{
    static char text[200];
    struct sqltext_parameter p = {0};
    size_t n = 0;
    text[0] = '\0';
    while (sqltext_next_parameter(&p, sql, strlen(sql)) && n < sizeof text - 30) {
        assert_true(sql[p.from] == '$' && p.to > p.from + 1);
        n += (size_t)snprintf(text + n, sizeof text - n, "%d@%zu ", p.n, p.from);
    }
    return text;
}

static void parameters_are_found(void **state)
{
    (void)state;
    assert_string_equal(parameters("SELECT 1"), "");
    assert_string_equal(parameters("$1"), "1@0 ");
    assert_string_equal(parameters("a = ANY($1) AND b=$12"), "1@8 12@18 ");
    assert_string_equal(parameters("$1$2"), "1@0 2@2 ");
    assert_string_equal(parameters("$99999999999999999999"), "999999@0 ");
}

static void what_is_quoted_or_a_comment_is_none(void **state)
{
    (void)state;
    assert_string_equal(parameters("'$1' \"$2\" /* $3 /* $4 */ */ -- $5\n$6"), "6@34 ");
    assert_string_equal(parameters("E'\\'$1' $tag$ $2 $tag$ $$ $3 $$ $4"), "4@32 ");
    assert_string_equal(parameters("a$1"), "");
    assert_string_equal(parameters("'it''s $1' || $2"), "2@14 ");
    assert_string_equal(parameters("'$1"), "");
    assert_string_equal(parameters("/* $1"), "");
    assert_string_equal(parameters("$"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_found),
        cmocka_unit_test(what_is_quoted_or_a_comment_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
