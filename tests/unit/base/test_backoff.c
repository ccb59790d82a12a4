/* The sequences, limits and handlers that the documentation of Python's backoff 1.11.1 states, in
 * C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"

static struct err passing(void)
{
    struct err e;
    err_set(&e, ERR_PASSING, "could not connect");
    return e;
}

static void assert_sequence(const struct backoff_policy *policy, const double *values, size_t count)
{
    struct backoff b;
    backoff_start(&b, policy, 1);
    for (size_t i = 0; i < count; i++)
        assert_true(backoff_next(&b) == values[i]);
}

static void expo_doubles(void **state)
{
    (void)state;
    double values[50];
    for (int i = 0; i < 30; i++)
        values[i] = ldexp(1, i);
    assert_sequence(&(struct backoff_policy){.generator = BACKOFF_EXPO}, values, 29);
    assert_sequence(&(struct backoff_policy){0}, values, 29); /* it is the default */
}

static void expo_takes_base_factor_and_limit(void **state)
{
    (void)state;
    assert_sequence(&(struct backoff_policy){.base = 3}, (double[]){1, 3, 9, 27, 81}, 5);
    assert_sequence(&(struct backoff_policy){.factor = 3}, (double[]){3, 6, 12, 24, 48}, 5);
    assert_sequence(&(struct backoff_policy){.base = 3, .factor = 5}, (double[]){5, 15, 45, 135},
                    4);
    assert_sequence(&(struct backoff_policy){.base = 1.5, .factor = 0.25},
                    (double[]){.25, .375, .5625}, 3);
    assert_sequence(&(struct backoff_policy){.max_value = 16},
                    (double[]){1, 2, 4, 8, 16, 16, 16, 16}, 8);
    assert_sequence(&(struct backoff_policy){.base = 3, .factor = 3, .max_value = 100},
                    (double[]){3, 9, 27, 81, 100, 100}, 6);
}

static void fibo_adds_the_last_two(void **state)
{
    (void)state;
    assert_sequence(&(struct backoff_policy){.generator = BACKOFF_FIBO},
                    (double[]){1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377}, 14);
    assert_sequence(&(struct backoff_policy){.generator = BACKOFF_FIBO, .max_value = 8},
                    (double[]){1, 1, 2, 3, 5, 8, 8, 8, 8}, 9);
    assert_sequence(&(struct backoff_policy){.generator = BACKOFF_FIBO, .max_value = 7},
                    (double[]){1, 1, 2, 3, 5, 7, 7}, 7);
}

static void constant_stays(void **state)
{
    (void)state;
    assert_sequence(&(struct backoff_policy){.generator = BACKOFF_CONSTANT}, (double[]){1, 1, 1},
                    3);
    assert_sequence(&(struct backoff_policy){.generator = BACKOFF_CONSTANT, .interval = 3},
                    (double[]){3, 3, 3}, 3);
}

static void after_thousands_of_tries_the_wait_is_still_a_number(void **state)
{
    (void)state;
    const struct backoff_policy policies[] = {
        {.max_value = 60},
        {.max_value = 1e300},
        {.base = 1e200, .factor = 1e200},
        {.jitter = BACKOFF_RANDOM},
        {.generator = BACKOFF_FIBO},
        {.generator = BACKOFF_FIBO, .max_value = 60},
    };
    for (size_t p = 0; p < sizeof policies / sizeof *policies; p++) {
        struct backoff b;
        struct err e = passing();
        backoff_start(&b, &policies[p], p);
        for (int i = 0; i < 5000; i++) {
            double wait = backoff_failed(&b, &e);
            assert_true(wait >= 0 && wait <= 1e9);
        }
        double last = backoff_next(&b);
        assert_true(last == (policies[p].max_value == 60 ? 60 : 1e9));
    }
}

static void jitter_stays_in_its_range_and_fills_it(void **state)
{
    (void)state;
    struct backoff b;
    struct err e = passing();
    const struct backoff_policy full = {.generator = BACKOFF_CONSTANT, .interval = 8};
    const struct backoff_policy random = {
        .generator = BACKOFF_CONSTANT, .interval = 8, .jitter = BACKOFF_RANDOM};
    const struct backoff_policy none = {
        .generator = BACKOFF_CONSTANT, .interval = 8, .jitter = BACKOFF_NO_JITTER};
    double sum = 0, low = 100, high = 0;
    backoff_start(&b, &full, 0);
    for (int i = 0; i < 10000; i++) {
        double wait = backoff_failed(&b, &e);
        assert_true(wait >= 0 && wait <= 8);
        sum += wait;
        low = fmin(low, wait);
        high = fmax(high, wait);
    }
    assert_true(low < 0.1 && high > 7.9 && fabs(sum / 10000 - 4) < 0.1);

    backoff_start(&b, &random, 0);
    sum = 0;
    for (int i = 0; i < 10000; i++) {
        double wait = backoff_failed(&b, &e);
        assert_true(wait >= 8 && wait < 9);
        sum += wait;
    }
    assert_true(fabs(sum / 10000 - 8.5) < 0.02);

    backoff_start(&b, &none, 0);
    for (int i = 0; i < 10; i++)
        assert_true(backoff_failed(&b, &e) == 8);
}

static void the_same_seed_gives_the_same_jitter(void **state)
{
    (void)state;
    const struct backoff_policy policy = {0};
    struct backoff a, b, c;
    struct err e = passing();
    backoff_start(&a, &policy, 7);
    backoff_start(&b, &policy, 7);
    backoff_start(&c, &policy, 8);
    bool differs = false;
    for (int i = 0; i < 10; i++) {
        double wait = backoff_failed(&a, &e);
        assert_true(wait == backoff_failed(&b, &e));
        differs |= wait != backoff_failed(&c, &e);
    }
    assert_true(differs);
}

/* What the handlers were told. */
struct heard {
    int backoffs, successes, giveups;
    struct backoff_details last;
};

static void on_backoff(const struct backoff_details *d, void *arg)
{
    struct heard *h = arg;
    h->backoffs++;
    h->last = *d;
}

static void on_success(const struct backoff_details *d, void *arg)
{
    struct heard *h = arg;
    h->successes++;
    h->last = *d;
}

static void on_giveup(const struct backoff_details *d, void *arg)
{
    struct heard *h = arg;
    h->giveups++;
    h->last = *d;
}

static struct backoff_policy policy_that_tells(struct heard *h)
{
    *h = (struct heard){0};
    return (struct backoff_policy){.jitter = BACKOFF_NO_JITTER,
                                   .on_backoff = on_backoff,
                                   .on_success = on_success,
                                   .on_giveup = on_giveup,
                                   .arg = h};
}

static void max_tries_counts_tries_not_retries(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    policy.max_tries = 3;
    struct backoff b;
    struct err e = passing();
    backoff_start(&b, &policy, 1);
    assert_true(backoff_failed(&b, &e) == 1);
    assert_true(h.backoffs == 1 && h.last.tries == 1 && h.last.wait == 1 && h.last.error == &e);
    assert_true(h.last.elapsed >= 0 && h.last.elapsed < 10);
    assert_true(backoff_failed(&b, &e) == 2);
    assert_true(h.backoffs == 2 && h.last.tries == 2 && h.last.wait == 2);
    assert_true(backoff_failed(&b, &e) < 0);
    assert_true(h.backoffs == 2 && h.giveups == 1 && h.last.tries == 3 && h.last.error == &e);
    assert_int_equal(h.successes, 0);
}

static void one_try_is_no_retry(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    policy.max_tries = 1;
    struct backoff b;
    struct err e = passing();
    backoff_start(&b, &policy, 1);
    assert_true(backoff_failed(&b, &e) < 0);
    assert_true(h.backoffs == 0 && h.giveups == 1);
    assert_string_equal(e.text, "could not connect");
}

static void success_is_told_and_starts_afresh(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    struct backoff b;
    struct err e = passing();
    backoff_start(&b, &policy, 1);
    for (int i = 0; i < 3; i++)
        backoff_failed(&b, &e);
    backoff_done(&b);
    assert_true(h.successes == 1 && h.last.tries == 4 && h.last.error == NULL && h.last.wait == 0);
    assert_true(backoff_failed(&b, &e) == 1);
    assert_int_equal(h.last.tries, 1);
}

static void a_time_of_success_does_not_use_up_max_time(void **state)
{
    (void)state;
    struct backoff_policy policy = {.jitter = BACKOFF_NO_JITTER, .max_time = 0.05};
    struct backoff b;
    struct err e = passing();
    backoff_start(&b, &policy, 1);
    backoff_done(&b);
    stop_sleep(60);
    double wait = backoff_failed(&b, &e);
    assert_true(wait > 0 && wait <= 0.05);
    stop_sleep(60);
    assert_true(backoff_failed(&b, &e) < 0);
}

static void only_passing_errors_are_tried_again(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    struct backoff b;
    struct err e;
    for (enum err_kind kind = ERR_NONE; kind <= ERR_USAGE; kind++) {
        err_set(&e, kind, "x");
        backoff_start(&b, &policy, 1);
        assert_true((backoff_failed(&b, &e) >= 0) == (kind == ERR_PASSING));
    }
    assert_int_equal(h.giveups, 3);
}

static bool is_fatal(const struct err *e, void *arg)
{
    (void)arg;
    return strstr(e->text, "fatal") != NULL;
}

static void the_give_up_test_decides_instead(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    policy.giveup = is_fatal;
    struct backoff b;
    struct err e;
    backoff_start(&b, &policy, 1);
    err_set(&e, ERR_FINAL, "odd");
    assert_true(backoff_failed(&b, &e) == 1);
    err_set(&e, ERR_PASSING, "fatal");
    assert_true(backoff_failed(&b, &e) < 0);
    assert_true(h.giveups == 1 && h.last.tries == 2);
}

static void a_predicate_retries_without_an_error(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    policy.generator = BACKOFF_FIBO;
    policy.max_value = 13;
    policy.max_tries = 3;
    policy.giveup = is_fatal; /* is not asked: there is no error to look at */
    struct backoff b;
    backoff_start(&b, &policy, 1);
    assert_true(backoff_failed(&b, NULL) == 1);
    assert_null(h.last.error);
    assert_true(backoff_failed(&b, NULL) == 1);
    assert_true(backoff_failed(&b, NULL) < 0);
    assert_true(h.giveups == 1 && h.last.error == NULL);
}

static void the_servers_own_word_is_a_lower_bound(void **state)
{
    (void)state;
    struct backoff_policy policy = {.max_value = 4};
    struct backoff b;
    struct err e = passing();
    e.retry_after_ms = 2500;
    backoff_start(&b, &policy, 1);
    bool longer = false;
    for (int i = 0; i < 100; i++) {
        double wait = backoff_failed(&b, &e);
        assert_true(wait >= 2.5 && wait <= 4);
        longer |= wait > 2.5;
    }
    assert_true(longer);
    e.retry_after_ms = INT64_MAX;
    assert_true(backoff_failed(&b, &e) == 1e9);
}

static void fail_and_sleep(struct backoff *b, const struct err *error)
{
    double wait = backoff_failed(b, error);
    assert_true(wait >= 0);
    assert_true(stop_sleep((int64_t)ceil(wait * 1000)));
}

static void the_last_wait_is_shortened_to_max_time(void **state)
{
    (void)state;
    struct backoff_policy policy = {.jitter = BACKOFF_NO_JITTER, .max_time = 0.3, .factor = 100};
    struct backoff b;
    struct err e = passing();
    e.retry_after_ms = 60000;
    int64_t begin = clock_mono_us();
    backoff_start(&b, &policy, 1);
    fail_and_sleep(&b, &e); /* not 100 s, and not 60: a last try at 0.3 s */
    double took = (double)(clock_mono_us() - begin) / 1e6;
    assert_true(took >= 0.299 && took < 5);
    assert_true(backoff_failed(&b, &e) < 0); /* at once */
}

/* The whole of it, on a clock of milliseconds. */
static void a_loop_waits_as_told_until_it_succeeds(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    policy.factor = 0.01;
    struct backoff b;
    struct err e = passing();
    int64_t begin = clock_mono_us();
    int left = 4;
    backoff_start(&b, &policy, 1);
    while (--left > 0)
        fail_and_sleep(&b, &e);
    backoff_done(&b);
    assert_true(clock_mono_us() - begin >= 70000); /* 10 + 20 + 40 ms */
    assert_true(h.backoffs == 3 && h.successes == 1 && h.last.tries == 4 && h.last.elapsed >= 0.07);
}

static void a_stop_is_no_giving_up(void **state)
{
    (void)state;
    struct heard h;
    struct backoff_policy policy = policy_that_tells(&h);
    struct backoff b;
    struct err e;
    err_set(&e, ERR_STOPPED, "stopped by SIGTERM");
    backoff_start(&b, &policy, 1);
    assert_true(backoff_failed(&b, &e) < 0);
    assert_true(h.backoffs == 0 && h.giveups == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expo_doubles),
        cmocka_unit_test(expo_takes_base_factor_and_limit),
        cmocka_unit_test(fibo_adds_the_last_two),
        cmocka_unit_test(constant_stays),
        cmocka_unit_test(after_thousands_of_tries_the_wait_is_still_a_number),
        cmocka_unit_test(jitter_stays_in_its_range_and_fills_it),
        cmocka_unit_test(the_same_seed_gives_the_same_jitter),
        cmocka_unit_test(max_tries_counts_tries_not_retries),
        cmocka_unit_test(one_try_is_no_retry),
        cmocka_unit_test(success_is_told_and_starts_afresh),
        cmocka_unit_test(a_time_of_success_does_not_use_up_max_time),
        cmocka_unit_test(only_passing_errors_are_tried_again),
        cmocka_unit_test(the_give_up_test_decides_instead),
        cmocka_unit_test(a_predicate_retries_without_an_error),
        cmocka_unit_test(the_servers_own_word_is_a_lower_bound),
        cmocka_unit_test(the_last_wait_is_shortened_to_max_time),
        cmocka_unit_test(a_loop_waits_as_told_until_it_succeeds),
        cmocka_unit_test(a_stop_is_no_giving_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
