/* Times as people and files read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"

static void clock_text_is_iso_8601_in_utc(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1623874449221855, "2021-06-16T20:14:09.221855Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {-1000000, "1969-12-31T23:59:59.000000Z"},
        {951782400000000, "2000-02-29T00:00:00.000000Z"},
        {253402300800000000, "10000-01-01T00:00:00.000000Z"},
    };
    char out[CLOCK_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(clock_text(cases[i].us, out), cases[i].text);
}

static void clock_text_bears_any_number(void **state)
{
    (void)state;
    char out[CLOCK_TEXT];
    assert_string_equal(clock_text(INT64_MAX, out), "294247-01-10T04:00:54.775807Z");
    assert_true(strlen(clock_text(INT64_MIN, out)) > 0);
}

static void clock_duration_is_for_people(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "0 ms"},
        {350999, "350 ms"},
        {999999, "999 ms"},
        {1000000, "1.0 s"},
        {4200000, "4.2 s"},
        {59949999, "59.9 s"},
        {59950000, "1 min 0 s"},
        {200000000, "3 min 20 s"},
        {3599600000, "1 h 0 min"},
        {7500000000, "2 h 5 min"},
        {-5000, "-5 ms"},
    };
    char out[CLOCK_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(clock_duration(cases[i].us, out), cases[i].text);
    clock_duration(INT64_MAX, out);
    clock_duration(INT64_MIN, out);
}

static void the_clocks_tell_the_time(void **state)
{
    (void)state;
    int64_t wall = clock_wall_us() / 1000000 - (int64_t)time(NULL);
    assert_true(wall >= -1 && wall <= 1);
    int64_t a = clock_mono_us(), b = clock_mono_us();
    assert_true(a > 0 && b >= a);
}

static void times_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1970-01-01", 0},
        {"2021-06-16T20:14:09.221855Z", 1623874449221855},
        {"2021-06-16 20:14:09.221855+00", 1623874449221855},
        {"2021-06-16 23:14:09+03:00", 1623874449000000},
        {"2021-06-16T16:44:09-0330", 1623874449000000},
        {"2021-06-16T20:14", 1623874440000000},
        {"1969-12-31T23:59:59.5Z", -500000},
    };
    static const char *const bad[] = {
        "", "yesterday", "2021-06", "2021-06-16x", "2021-06-16T", "2021-06-16T20", "2021-13-01"};
    int64_t us;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(clock_parse(good[i].text, &us));
        assert_true(us == good[i].us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(clock_parse(bad[i], &us));
}

static void only_what_no_clock_shows_yet_is_ahead(void **state)
{
    (void)state;
    static const int64_t hour_us = (int64_t)3600 * 1000000;
    assert_false(clock_is_ahead(0));
    assert_false(clock_is_ahead(clock_wall_us() + 20 * hour_us)); /* local time, east of here */
    assert_true(clock_is_ahead(clock_wall_us() + 48 * hour_us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_text_is_iso_8601_in_utc),
        cmocka_unit_test(clock_text_bears_any_number),
        cmocka_unit_test(clock_duration_is_for_people),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(only_what_no_clock_shows_yet_is_ahead),
        cmocka_unit_test(the_clocks_tell_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
