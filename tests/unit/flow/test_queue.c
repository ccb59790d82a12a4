/* The low-water mark never passes a batch that is not acknowledged. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/queue.h"
#include "torture.h"

enum { LANES = 3 };

static struct queue *new_queue(size_t window)
{
    struct err e;
    const size_t windows[LANES] = {window, window, window};
    struct queue *q = queue_new(windows, LANES, &e);
    assert_non_null(q);
    return q;
}

static void put_into(struct queue *q, size_t lane, const char *to)
{
    struct batch *b = batch_range(NULL, to);
    assert_non_null(b);
    assert_true(queue_room(q, lane));
    queue_put(q, lane, b);
}

static void put(struct queue *q, const char *to)
{
    put_into(q, 0, to);
}

static void low_water_waits_for_the_first_unacknowledged(void **state)
{
    (void)state;
    struct queue *q = new_queue(4);
    struct checkpoint done = {0};
    put(q, "a");
    put(q, "b");
    put(q, "c");
    struct batch *a = queue_get(q), *b = queue_get(q), *c = queue_get(q);
    queue_ack(q, b);
    queue_ack(q, c);
    assert_false(queue_low_water(q, 0, &done));
    assert_false(queue_idle(q, 0));
    queue_ack(q, a);
    assert_true(queue_low_water(q, 0, &done));
    assert_string_equal(done.after, "c");
    assert_false(queue_low_water(q, 0, &done)); /* no news */
    assert_true(queue_idle(q, 0));
    checkpoint_free(&done);
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
    assert_false(queue_room(q, 0));
    queue_ack(q, slow);
    assert_true(queue_room(q, 0));
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
    assert_false(queue_room(q, 0));
    assert_true(queue_wait(q, 1000));
    assert_false(queue_turn(q, a, 1000));
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
    struct checkpoint done = {0};
    long last = -1;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, q), 0);
    for (long i = 0; i < BATCHES; i++) {
        char key[24];
        snprintf(key, sizeof key, "%ld", i);
        while (!queue_room(q, 0))
            queue_wait(q, 1000);
        queue_put(q, 0, batch_range(NULL, key));
        if (queue_low_water(q, 0, &done)) {
            long now = strtol(done.after, NULL, 10);
            assert_true(now > last && now <= i);
            last = now;
        }
    }
    while (!queue_idle(q, 0))
        queue_wait(q, 1000);
    queue_low_water(q, 0, &done);
    assert_int_equal(strtol(done.after, NULL, 10), BATCHES - 1);
    queue_close(q);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    checkpoint_free(&done);
    queue_free(q);
}

static void lanes_take_turns(void **state)
{
    (void)state;
    struct queue *q = new_queue(4);
    for (int i = 0; i < 4; i++)
        put_into(q, 2, "of a million");
    put_into(q, 0, "a small change");
    size_t lanes[3];
    for (int i = 0; i < 3; i++) {
        struct batch *b = queue_get(q);
        lanes[i] = b->lane;
        queue_ack(q, b);
    }
    assert_true(lanes[0] == 0 || lanes[1] == 0); /* behind one batch of the others at most */
    queue_free(q);
}

static void each_lane_has_its_own_low_water(void **state)
{
    (void)state;
    struct queue *q = new_queue(2);
    struct checkpoint done = {0};
    put_into(q, 0, "slow");
    put_into(q, 1, "quick");
    struct batch *first = queue_get(q), *second = queue_get(q);
    struct batch *slow = first->lane == 0 ? first : second,
                 *quick = first->lane == 0 ? second : first;
    queue_ack(q, quick);
    assert_false(queue_low_water(q, 0, &done));
    assert_true(queue_low_water(q, 1, &done));
    assert_string_equal(done.after, "quick");
    assert_true(queue_idle(q, 1) && !queue_idle(q, 0));
    queue_ack(q, slow);
    checkpoint_free(&done);
    queue_free(q);
}

static void a_wait_ends_with_an_acknowledgement(void **state)
{
    (void)state;
    struct queue *q = new_queue(2);
    assert_false(queue_wait(q, 0));
    put(q, "a");
    queue_ack(q, queue_get(q));
    assert_true(queue_wait(q, 0)); /* it happened before we asked */
    assert_false(queue_wait(q, 0));
    queue_free(q);
}

static void what_a_worker_rejected_comes_with_the_acknowledgement(void **state)
{
    (void)state;
    struct queue *q = new_queue(2);
    struct rejections reports;
    put(q, "a");
    struct batch *b = queue_get(q);
    assert_true(batch_reject(b, "k", 400, "no such field") && batch_reject(b, "old", 0, NULL));
    reports = queue_rejections(q);
    assert_int_equal(reports.n, 0);
    queue_ack(q, b);
    reports = queue_rejections(q);
    assert_int_equal(reports.n, 2);
    assert_string_equal(reports.list[0].key, "k");
    assert_string_equal(reports.list[0].reason, "no such field");
    assert_int_equal(reports.list[0].status, 400);
    assert_null(reports.list[1].reason);
    rejections_free(&reports);
    reports = queue_rejections(q);
    assert_int_equal(reports.n, 0);
    queue_free(q);
}

static bool build(void)
{
    struct err e;
    const size_t windows[] = {2, 3};
    struct queue *q = queue_new(windows, 2, &e);
    queue_free(q);
    return q != NULL;
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
        cmocka_unit_test(lanes_take_turns),
        cmocka_unit_test(each_lane_has_its_own_low_water),
        cmocka_unit_test(a_wait_ends_with_an_acknowledgement),
        cmocka_unit_test(what_a_worker_rejected_comes_with_the_acknowledgement),
        cmocka_unit_test(low_water_only_rises_under_many_threads),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
