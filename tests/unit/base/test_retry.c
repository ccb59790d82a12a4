/* The engine's patience: at least as long as the server asked for, and no longer than anybody
 * wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/retry.h"
#include "base/stop.h"

static int64_t waited_us(struct retry *r, int64_t retry_after_ms, bool again)
{
    struct err e;
    err_set(&e, ERR_PASSING, "the search server answered 429: busy");
    e.retry_after_ms = retry_after_ms;
    int64_t begun = clock_mono_us();
    assert_int_equal(retry_again(r, &e), again);
    return clock_mono_us() - begun;
}

static void a_wait_is_as_long_as_the_server_asked_for(void **state)
{
    (void)state;
    struct retry r;
    retry_start(&r, 0);
    for (int64_t ms = 150; ms <= 350;
         ms += 200) /* the first waits of our own are 100 ms, and 200 ms, at most */
        assert_true(waited_us(&r, ms, true) >= ms * 1000);
    retry_done(&r);
}

static void giving_up_comes_first(void **state)
{
    (void)state;
    struct retry r;
    retry_start(&r, 0.05);
    assert_in_range(waited_us(&r, 3600 * 1000, true), 0, 60 * 1000 * 1000);
    waited_us(&r, 3600 * 1000, false);
}

static bool nobody_wants_it(void *arg)
{
    (void)arg;
    return true;
}

static void a_wait_ends_when_nobody_wants_another_try(void **state)
{
    (void)state;
    struct retry r;
    retry_start(&r, 0);
    r.over = nobody_wants_it;
    assert_in_range(waited_us(&r, 3600 * 1000, false), 0, 60 * 1000 * 1000);
}

static void what_is_final_is_not_tried_again(void **state)
{
    (void)state;
    struct retry r;
    struct err e;
    retry_start(&r, 0);
    err_set(&e, ERR_FINAL, "no");
    assert_false(retry_again(&r, &e));
    assert_string_equal(e.text, "no");
}

static int wait_until_stopped(void)
{
    struct retry r;
    struct err e;
    if (!stop_init(&e))
        return 1;
    raise(SIGTERM);
    retry_start(&r, 0);
    err_set(&e, ERR_PASSING, "the search server answered 429: busy");
    e.retry_after_ms = 60 * 1000;
    if (retry_again(&r, &e) || e.kind != ERR_STOPPED)
        return 2;
    return retry_again(&r, &e) ? 3 : 0; /* what failed because of a stop */
}

static void a_stop_ends_the_wait_and_says_so(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(wait_until_stopped());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static bool succeed_third(void *arg, struct err *e)
{
    int *tries = arg;
    return ++*tries == 3 || err_set(e, *tries < 0 ? ERR_FINAL : ERR_PASSING, "not yet");
}

static void a_step_is_repeated_until_it_succeeds_or_its_error_is_final(void **state)
{
    (void)state;
    struct err e;
    int tries = 0;
    assert_true(retry_until(0, succeed_third, &tries, &e));
    assert_int_equal(tries, 3);
    tries = -10;
    assert_false(retry_until(0, succeed_third, &tries, &e));
    assert_int_equal(tries, -9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_is_as_long_as_the_server_asked_for),
        cmocka_unit_test(giving_up_comes_first),
        cmocka_unit_test(a_wait_ends_when_nobody_wants_another_try),
        cmocka_unit_test(what_is_final_is_not_tried_again),
        cmocka_unit_test(a_stop_ends_the_wait_and_says_so),
        cmocka_unit_test(a_step_is_repeated_until_it_succeeds_or_its_error_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
