/* What an overloaded server puts off halves what is sent at a time; what it takes lets that rise
 * again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "flow/throttle.h"
#include "torture.h"

enum { BYTES = 5 << 20 };

static struct throttle *make(int requests, double max_rate)
{
    struct err e = {0};
    struct throttle *t = throttle_new(requests, BYTES, max_rate, &e);
    assert_non_null(t);
    return t;
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

/* Whether a request may begin now. */
static bool enters(struct throttle *t, struct throttle_request *turn)
{
    struct err e = {0};
    *turn = (struct throttle_request){.items = 1, .over = at_once};
    bool ok = throttle_enter(t, turn, &e);
    assert_int_equal(e.kind, ok ? ERR_NONE : ERR_STOPPED);
    return ok;
}

static void one_request(struct throttle *t, enum throttle_outcome outcome)
{
    struct throttle_request turn;
    assert_true(enters(t, &turn));
    throttle_leave(t, &turn, outcome);
}

/* How many may be under way. */
static int places(struct throttle *t)
{
    struct throttle_request turns[100];
    int n = 0;
    while (n < 100 && enters(t, &turns[n]))
        n++;
    for (int i = 0; i < n; i++)
        throttle_leave(t, &turns[i], THROTTLE_FAILED);
    return n;
}

static void overload_halves_both_and_success_lets_them_rise_slowly(void **state)
{
    (void)state;
    struct throttle *t = make(8, 0);
    assert_int_equal(places(t), 8);
    assert_int_equal(throttle_bytes(t), BYTES);
    one_request(t, THROTTLE_OVERLOADED);
    assert_int_equal(places(t), 4);
    assert_int_equal(throttle_bytes(t), BYTES / 2);
    one_request(t, THROTTLE_FAILED); /* says nothing about the load */
    assert_int_equal(places(t), 4);
    one_request(t, THROTTLE_OVERLOADED);
    assert_int_equal(places(t), 2);
    size_t before = throttle_bytes(t);
    for (int taken = 1; taken <= 15; taken++) {
        one_request(t, THROTTLE_TAKEN);
        assert_int_equal(places(t), 2);
        assert_true(throttle_bytes(t) > before);
    }
    one_request(t, THROTTLE_TAKEN);
    assert_int_equal(places(t), 3);
    assert_true(throttle_bytes(t) < BYTES);
    for (int taken = 0; taken < 200; taken++)
        one_request(t, THROTTLE_TAKEN);
    assert_int_equal(places(t), 8);
    assert_int_equal(throttle_bytes(t), BYTES);
    throttle_free(t);
    throttle_free(NULL);
}

static void something_is_always_sent(void **state)
{
    (void)state;
    struct throttle *t = make(3, 0);
    for (int i = 0; i < 100; i++)
        one_request(t, THROTTLE_OVERLOADED);
    assert_int_equal(places(t), 1);
    assert_in_range(throttle_bytes(t), BYTES / 100, BYTES / 50);
    throttle_free(t);
}

static void requests_that_were_under_way_together_count_as_one(void **state)
{
    (void)state;
    struct throttle *t = make(8, 0);
    struct throttle_request turns[8];
    for (int i = 0; i < 8; i++)
        assert_true(enters(t, &turns[i]));
    for (int i = 0; i < 8; i++)
        throttle_leave(t, &turns[i], THROTTLE_OVERLOADED);
    assert_int_equal(places(t), 4);
    assert_int_equal(throttle_bytes(t), BYTES / 2);
    throttle_free(t);
}

static void a_rate_spreads_requests_by_their_items(void **state)
{
    (void)state;
    struct throttle *t = make(2, 1000);
    struct throttle_request turn = {.items = 50};
    struct err e = {0};
    int64_t begun = clock_mono_us();
    for (int i = 0; i < 4; i++) {
        assert_true(throttle_enter(t, &turn, &e));
        throttle_leave(t, &turn, THROTTLE_TAKEN);
    }
    assert_true(clock_mono_us() - begun >= 3 * 50 * 1000);
    assert_false(enters(t, &turn));
    assert_true(throttle_is_full(t, 1, 1000)); /* a second's worth */
    assert_false(throttle_is_full(t, BYTES - 1, 999));
    assert_true(throttle_is_full(t, BYTES, 1));
    throttle_free(t);
    t = make(2, 0);
    assert_false(throttle_is_full(t, BYTES - 1, 1000 * 1000));
    throttle_free(t);
}

static atomic_int under_way, most;

static void *use(void *arg)
{
    struct throttle_request turn = {.items = 1};
    struct err e;
    for (int i = 0; i < 200; i++) {
        if (!throttle_enter(arg, &turn, &e))
            abort();
        int now = atomic_fetch_add(&under_way, 1) + 1;
        if (now > atomic_load(&most))
            atomic_store(&most, now);
        throttle_is_full(arg, 1, 1);
        atomic_fetch_sub(&under_way, 1);
        throttle_leave(arg, &turn, i % 50 == 0 ? THROTTLE_OVERLOADED : THROTTLE_TAKEN);
    }
    return NULL;
}

static void threads_may_share_it(void **state) /* TSan judges */
{
    (void)state;
    struct throttle *t = make(2, 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, t), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(atomic_load(&most), 1, 2);
    throttle_free(t);
}

static void an_allocation_may_fail(void **state)
{
    (void)state;
    struct err e = {0};
    allocations_left = 0;
    assert_null(throttle_new(3, 1, 0, &e));
    allocations_left = -1;
    assert_int_equal(e.kind, ERR_FINAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overload_halves_both_and_success_lets_them_rise_slowly),
        cmocka_unit_test(something_is_always_sent),
        cmocka_unit_test(requests_that_were_under_way_together_count_as_one),
        cmocka_unit_test(a_rate_spreads_requests_by_their_items),
        cmocka_unit_test(threads_may_share_it),
        cmocka_unit_test(an_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
