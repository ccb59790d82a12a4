/* The low-water mark never passes a batch that is not acknowledged; versions order fetches even if the clock
 * goes back. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "queue.h"
#include "torture.h"

static struct queue *new_queue(size_t window)
{
    struct err e;
    struct queue *q = queue_new(window, 0, &e);
    assert_non_null(q);
    return q;
}

static void put(struct queue *q, const char *to)
{
    struct batch *b = batch_range(NULL, to);
    assert_non_null(b);
    assert_true(queue_room(q, 0));
    queue_put(q, b);
}

static void low_water_waits_for_the_first_unacknowledged(void **state)
{
    (void)state;
    struct queue *q = new_queue(4);
    struct position done = {0};
    put(q, "a");
    put(q, "b");
    put(q, "c");
    struct batch *a = queue_get(q), *b = queue_get(q), *c = queue_get(q);
    queue_ack(q, b);
    queue_ack(q, c);
    assert_false(queue_low_water(q, &done));
    assert_false(queue_idle(q, 0));
    queue_ack(q, a);
    assert_true(queue_low_water(q, &done));
    assert_string_equal(done.key, "c");
    assert_false(queue_low_water(q, &done)); /* no news */
    assert_true(queue_idle(q, 0));
    position_free(&done);
    queue_free(q);
}

static void one_slow_batch_does_not_let_the_others_run_away(void **state)
{
    (void)state;
    struct queue *q = new_queue(2);
    put(q, "slow");
    put(q, "b");
    struct batch *slow = queue_get(q);
    queue_ack(q, queue_get(q));
    assert_false(queue_room(q, 1));
    queue_ack(q, slow);
    assert_true(queue_room(q, 1));
    queue_free(q);
}

static void what_is_left_is_freed(void **state)
{
    (void)state;
    struct queue *q = new_queue(3);
    put(q, "a");
    put(q, "b");
    put(q, "c");
    struct batch *a = queue_get(q), *b = queue_get(q);
    queue_ack(q, b); /* acknowledged, but behind a */
    batch_free(a);
    queue_free(q); /* the leak checker judges */
}

static void the_first_error_stays_and_ends_every_wait(void **state)
{
    (void)state;
    struct queue *q = new_queue(2);
    struct err first, second, got;
    err_set(&first, ERR_FINAL, "first");
    err_set(&second, ERR_PASSING, "second");
    put(q, "a");
    struct batch *a = queue_get(q);
    put(q, "b");
    queue_fail(q, &first);
    queue_fail(q, &second);
    assert_null(queue_get(q));
    assert_false(queue_room(q, 1000));
    assert_true(queue_idle(q, 1000));
    assert_false(queue_turn(q, a));
    assert_true(queue_error(q, &got));
    assert_string_equal(got.text, "first");
    assert_int_equal(got.kind, ERR_FINAL);
    batch_free(a);
    queue_free(q);
}

static void enough_is_an_end_without_an_error(void **state)
{
    (void)state;
    struct queue *q = new_queue(2);
    struct err e;
    put(q, "a");
    queue_enough(q);
    assert_null(queue_get(q));
    assert_true(queue_ended(q));
    assert_false(queue_error(q, &e));
    queue_free(q);
}

static void a_closed_queue_hands_out_what_it_has(void **state)
{
    (void)state;
    struct queue *q = new_queue(2);
    put(q, "a");
    queue_close(q);
    struct batch *a = queue_get(q);
    assert_non_null(a);
    queue_ack(q, a);
    assert_null(queue_get(q));
    queue_free(q);
}

static void versions_are_the_clock_while_it_runs_forward(void **state)
{
    (void)state;
    struct queue *q = new_queue(1);
    int64_t a = queue_reserve(q), b = queue_reserve(q);
    assert_int_equal(queue_issue(q, 100, a), 100);
    assert_int_equal(queue_issue(q, 90, b),
                     90); /* asked for before 100 was issued: it may well have read earlier */
    assert_int_equal(queue_issued(q), 100);
    queue_free(q);
}

static void versions_pass_what_was_issued_before_though_the_clock_went_back(void **state)
{
    (void)state;
    struct err e;
    struct queue *q = queue_new(1, 500, &e);
    assert_int_equal(queue_issue(q, 100, queue_reserve(q)), 501);
    assert_int_equal(queue_issue(q, 101, queue_reserve(q)), 502);
    assert_int_equal(queue_issue(q, 900, queue_reserve(q)), 900);
    queue_free(q);
}

static void two_fetches_at_once_get_two_versions_though_the_clock_went_back(void **state)
{
    (void)state;
    struct queue *q = new_queue(1);
    assert_int_equal(queue_issue(q, 500, queue_reserve(q)), 500);
    int64_t a = queue_reserve(q), b = queue_reserve(q);
    assert_int_equal(queue_issue(q, 100, b), 502);
    assert_int_equal(queue_issue(q, 100, a), 501);
    assert_int_equal(queue_issued(q), 502);
    queue_free(q);
}

static void *work(void *arg)
{
    struct queue *q = arg;
    for (struct batch *b; (b = queue_get(q));)
        queue_ack(q, b);
    return NULL;
}

static void low_water_only_rises_under_many_threads(void **state)
{
    (void)state;
    enum { THREADS = 4, BATCHES = 20000 };
    struct queue *q = new_queue(16);
    pthread_t threads[THREADS];
    struct position done = {0};
    long last = -1;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, q), 0);
    for (long i = 0; i < BATCHES; i++) {
        char key[24];
        snprintf(key, sizeof key, "%ld", i);
        while (!queue_room(q, 1000))
            ;
        queue_put(q, batch_range(NULL, key));
        if (queue_low_water(q, &done)) {
            long now = strtol(done.key, NULL, 10);
            assert_true(now > last && now <= i);
            last = now;
        }
    }
    while (!queue_idle(q, 1000))
        ;
    queue_low_water(q, &done);
    assert_int_equal(strtol(done.key, NULL, 10), BATCHES - 1);
    queue_close(q);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    position_free(&done);
    queue_free(q);
}

static void sums_add_up_and_can_be_taken_back(void **state)
{
    (void)state;
    struct queue *q = new_queue(1);
    queue_add_sums(q, &(struct bulk_sums){.indexed = 5, .rejected = 2, .bytes = 100});
    queue_add_sums(q, &(struct bulk_sums){.indexed = -(uint64_t)3});
    struct bulk_sums sums = queue_sums(q);
    assert_true(sums.indexed == 2 && sums.rejected == 2 && sums.bytes == 100);
    queue_free(q);
}

static bool build(void)
{
    struct err e;
    struct batch *keys = calloc(1, sizeof *keys);
    struct queue *q = queue_new(2, 0, &e);
    struct batch *range = batch_range("a", "b");
    bool ok = keys && q && range;
    for (int i = 0; ok && i < 5; i++)
        ok = batch_add_key(keys, "key");
    batch_free(keys);
    batch_free(range);
    queue_free(q);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        done = build();
        allocations_left = -1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(low_water_waits_for_the_first_unacknowledged),
        cmocka_unit_test(one_slow_batch_does_not_let_the_others_run_away),
        cmocka_unit_test(what_is_left_is_freed),
        cmocka_unit_test(the_first_error_stays_and_ends_every_wait),
        cmocka_unit_test(enough_is_an_end_without_an_error),
        cmocka_unit_test(a_closed_queue_hands_out_what_it_has),
        cmocka_unit_test(versions_are_the_clock_while_it_runs_forward),
        cmocka_unit_test(versions_pass_what_was_issued_before_though_the_clock_went_back),
        cmocka_unit_test(two_fetches_at_once_get_two_versions_though_the_clock_went_back),
        cmocka_unit_test(low_water_only_rises_under_many_threads),
        cmocka_unit_test(sums_add_up_and_can_be_taken_back),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
