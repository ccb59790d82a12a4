/* The state machine of a poll's passes, with a clock that the test moves. */
#include "feed/pass.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

/* A whole pass that took that long, ended at now_us. */
static void whole_pass(struct pass *p, int64_t cost_us, int64_t now_us)
{
    pass_begin(p, now_us);
    assert_int_equal(p->state, PASS_WHOLE);
    pass_spend(p, cost_us);
    assert_int_equal(pass_end(p, now_us), PASS_COUNTS);
    assert_int_equal(p->state, PASS_OVER);
}

static void the_first_pass_is_whole(void **state)
{
    (void)state;
    struct pass p = {0};
    assert_int_equal(p.state, PASS_OVER);
    pass_begin(&p, 5 * SECOND);
    assert_int_equal(p.state, PASS_WHOLE);
    assert_true(pass_is_whole(&p));
    assert_false(pass_is_void(&p));
    assert_int_equal(p.generation, 1);
}

static void whole_passes_take_at_most_a_tenth_of_the_time(void **state)
{
    (void)state;
    struct pass p = {0};
    whole_pass(&p, SECOND, 100 * SECOND);
    whole_pass(&p, SECOND, 200 * SECOND);

    pass_begin(&p, 210 * SECOND - 1);
    assert_int_equal(p.state, PASS_QUICK);
    assert_false(pass_is_whole(&p));
    pass_spend(&p, 7 * SECOND); /* what a quick pass takes does not count */
    assert_int_equal(pass_end(&p, 210 * SECOND - 1), PASS_IS_NOTHING);
    assert_int_equal(p.state, PASS_OVER);

    pass_begin(&p, 210 * SECOND);
    assert_int_equal(p.state, PASS_WHOLE);
    assert_int_equal(p.generation, 3);
}

static void one_slow_whole_pass_does_not_delay_the_next(void **state)
{
    (void)state;
    struct pass p = {0};
    whole_pass(&p, SECOND, 100 * SECOND);
    whole_pass(&p, 60 * SECOND, 200 * SECOND); /* the server stalled */
    pass_begin(&p, 210 * SECOND);
    assert_int_equal(p.state, PASS_WHOLE);
    pass_spend(&p, 60 * SECOND); /* again: such passes are expensive */
    pass_end(&p, 300 * SECOND);
    pass_begin(&p, 400 * SECOND);
    assert_int_equal(p.state, PASS_QUICK);
}

static void a_void_pass_is_followed_by_a_whole_one_at_once(void **state)
{
    (void)state;
    struct pass p = {0};
    whole_pass(&p, 60 * SECOND, 100 * SECOND);
    whole_pass(&p, 60 * SECOND, 1000 * SECOND);

    pass_begin(&p, 1001 * SECOND);
    assert_int_equal(p.state, PASS_QUICK);
    pass_void(&p);
    assert_int_equal(p.state, PASS_QUICK_VOID); /* it still reads only what is above */
    assert_true(pass_is_void(&p) && !pass_is_whole(&p));
    pass_void(&p);
    assert_int_equal(p.state, PASS_QUICK_VOID);
    assert_int_equal(pass_end(&p, 1002 * SECOND), PASS_IS_VOID);
    assert_int_equal(p.state, PASS_WHOLE); /* though none would be due */
    assert_int_equal(p.generation, 3);

    pass_spend(&p, SECOND);
    pass_void(&p);
    assert_int_equal(p.state, PASS_WHOLE_VOID);
    assert_true(pass_is_void(&p) && pass_is_whole(&p));
    assert_int_equal(pass_end(&p, 1003 * SECOND), PASS_IS_VOID);
    assert_int_equal(p.state, PASS_WHOLE);
    assert_int_equal(p.took_us, 0);
    assert_int_equal(pass_end(&p, 1004 * SECOND), PASS_COUNTS);
}

static void a_resumed_pass_counts_as_such_unless_it_is_void(void **state)
{
    (void)state;
    struct pass p = {0};
    pass_begin(&p, SECOND);
    pass_resume(&p);
    assert_int_equal(p.state, PASS_RESUMED);
    assert_true(pass_is_whole(&p));
    assert_int_equal(pass_end(&p, 2 * SECOND), PASS_COUNTS_RESUMED);
    assert_int_equal(p.state, PASS_OVER);

    struct pass q = {0};
    pass_begin(&q, SECOND);
    pass_resume(&q);
    pass_void(&q);
    assert_int_equal(q.state, PASS_WHOLE_VOID);
    assert_int_equal(pass_end(&q, 2 * SECOND), PASS_IS_VOID);
    assert_int_equal(q.state, PASS_WHOLE); /* a new one, not the resumed one */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_pass_is_whole),
        cmocka_unit_test(whole_passes_take_at_most_a_tenth_of_the_time),
        cmocka_unit_test(one_slow_whole_pass_does_not_delay_the_next),
        cmocka_unit_test(a_void_pass_is_followed_by_a_whole_one_at_once),
        cmocka_unit_test(a_resumed_pass_counts_as_such_unless_it_is_void),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
