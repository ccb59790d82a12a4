/* Sweeps come an interval apart, whatever the wall clock does and however often the engine is
 * started. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "run/sweep_due.h"

enum { SECOND = 1000 * 1000, EVERY = 60 };
static const int64_t NOW = 1764000000LL * SECOND,
                     UP = 5 * SECOND; /* wall time; since the machine was started */

static bool due(int64_t swept_us, bool interrupted, int64_t later_s)
{
    struct sweep_due d = sweep_due_after(swept_us, interrupted, NOW, UP);
    return sweep_is_due(&d, EVERY, UP + later_s * SECOND);
}

static void the_first_interval_is_shorter_by_the_time_that_has_passed(void **state)
{
    (void)state;
    assert_false(due(NOW - 40 * SECOND, false, 19));
    assert_true(due(NOW - 40 * SECOND, false, 20));
    assert_true(due(NOW - 4000LL * SECOND, false, 0));
}

static void a_saved_time_in_the_future_or_none_makes_one_due_at_once(void **state)
{
    (void)state;
    assert_true(due(NOW + 1, false, 0));
    assert_true(due(NOW + 86400LL * SECOND * 3650, false, 0));
    assert_true(due(INT64_MAX, false, 0));
    assert_true(due(0, false, 0));
    assert_true(due(INT64_MIN, false, 0));
}

static void one_that_was_interrupted_resumes_at_once(void **state)
{
    (void)state;
    assert_true(due(NOW, true, 0));
    assert_false(due(NOW, false, 0));
}

static void no_interval_means_never(void **state)
{
    (void)state;
    struct sweep_due d = sweep_due_after(0, true, NOW, UP);
    assert_false(sweep_is_due(&d, 0, UP + 1000LL * EVERY * SECOND));
}

/* Lives of a process, of some hours each; the wall clock steps by up to a day at any moment. */
static void
any_steps_of_the_wall_clock_neither_stop_sweeps_nor_make_them_run_back_to_back(void **state)
{
    (void)state;
    int64_t wall = NOW, mono = UP, noted = 0;
    srand(7);
    for (int life = 0; life < 300; life++) {
        struct sweep_due d = sweep_due_after(noted, false, wall, mono);
        int64_t last_end = 0, since = mono; /* since: of the process, then of its last sweep */
        for (int second = 0; second < 300; second++, mono += SECOND, wall += SECOND) {
            if (rand() % 20 == 0)
                wall += (int64_t)(rand() % 172800 - 86400) * SECOND;
            bool is_due = sweep_is_due(&d, EVERY, mono);
            assert_false(is_due && last_end && mono - last_end < EVERY * (int64_t)SECOND);
            assert_false(!is_due && mono - since >= EVERY * (int64_t)SECOND);
            if (!is_due)
                continue;
            int64_t took = rand() % (2 * EVERY) * (int64_t)SECOND;
            mono += took;
            wall += took;
            last_end = since = mono;
            noted = wall;
            d = sweep_due_swept(mono);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_interval_is_shorter_by_the_time_that_has_passed),
        cmocka_unit_test(a_saved_time_in_the_future_or_none_makes_one_due_at_once),
        cmocka_unit_test(one_that_was_interrupted_resumes_at_once),
        cmocka_unit_test(no_interval_means_never),
        cmocka_unit_test(
            any_steps_of_the_wall_clock_neither_stop_sweeps_nor_make_them_run_back_to_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
