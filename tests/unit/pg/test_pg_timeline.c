/* Whether the log of a server continues that of another one: by names and histories of any kind. */
#include "pg/pg_timeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char history[] = "1\t0/5000060\tno recovery target specified\n"
                              "\n"
                              "2\t16/B374D848\tbefore 2026-11-27 10:00:00+00\n";

static void a_name_has_a_system_and_a_timeline(void **state)
{
    (void)state;
    struct pg_timeline t;
    assert_true(pg_timeline_read("7712683974535949944-0000000A-16384", &t));
    assert_true(t.system == UINT64_C(7712683974535949944) && t.id == 10);
    assert_true(pg_timeline_read("18446744073709551615-FFFFFFFF", &t));
    assert_true(t.system == UINT64_MAX && t.id == UINT32_MAX);
}

static void what_is_no_name_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",       "-",    "1",    "1-",          "-1",
        "1-x",    "x-1",  "1-1x", " 1-1",        "1- 1",
        "1-1 -1", "+1-1", "1--1", "1-100000000", "18446744073709551616-1"};
    struct pg_timeline t;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_false(pg_timeline_read(names[i], &t));
}

static void a_timeline_has_all_up_to_where_the_next_one_begins(void **state)
{
    (void)state;
    assert_true(pg_timeline_has(history, 1, 0x5000060));
    assert_false(pg_timeline_has(history, 1, 0x5000061));
    assert_true(pg_timeline_has(history, 2, UINT64_C(0x16B374D848)));
    assert_false(pg_timeline_has(history, 2, UINT64_C(0x16B374D849)));
    assert_false(pg_timeline_has(history, 3, 1));
    assert_false(pg_timeline_has("", 1, 0));
}

static void a_line_that_cannot_be_read_says_nothing(void **state)
{
    (void)state;
    static const char *const lines[] = {"1",
                                        "1\t",
                                        "1\t\n0/5000060",
                                        "1 0/5000060",
                                        "1\t5000060",
                                        "1\t0/x",
                                        "x\t0/50",
                                        "4294967297\t0/5000060",
                                        "1\t0/500006000000000000000000000000000000",
                                        "# 1\t0/5000060"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_false(pg_timeline_has(lines[i], 1, 1));
    assert_true(pg_timeline_has("?\n1\t0/5000060", 1, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_has_a_system_and_a_timeline),
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(a_timeline_has_all_up_to_where_the_next_one_begins),
        cmocka_unit_test(a_line_that_cannot_be_read_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
