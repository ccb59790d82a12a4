/* The low-water mark never passes a batch that is not acknowledged; versions order fetches even if
 * the clock goes back. */
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
    struct queue *q = queue_new(windows, LANES, 0, &e);
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
    const size_t window = 1;
    struct queue *q = queue_new(&window, 1, 500, &e);
    int64_t first = queue_issue(q, 100, queue_reserve(q)),
            second = queue_issue(q, 101, queue_reserve(q));
    assert_true(first > 500 && second > first);
    assert_int_equal(queue_issue(q, 900, queue_reserve(q)), 900);
    queue_free(q);
}

static void a_clock_behind_the_versions_of_earlier_runs_is_told_once(void **state)
{
    (void)state;
    struct err e;
    size_t window = 1;
    struct queue *q = queue_new(&window, 1, 500, &e);
    queue_issue(q, 600, queue_reserve(q));
    queue_issue(q, 590, queue_reserve(q)); /* behind our own: two workers */
    assert_int_equal(queue_clock_behind(q), 0);
    queue_issue(q, 100, queue_reserve(q));
    assert_int_equal(queue_clock_behind(q), 400);
    queue_issue(q, 101, queue_reserve(q));
    assert_int_equal(queue_clock_behind(q), 0);
    queue_free(q);
}

static void two_fetches_never_share_a_version(void **state)
{
    (void)state;
    struct err e;
    const size_t window = 1;
    struct queue *q = queue_new(&window, 1, 500, &e);
    int64_t a = queue_reserve(q), b = queue_reserve(q);
    assert_int_not_equal(queue_issue(q, 100, a), queue_issue(q, 100, b));
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

static void sums_add_up_and_can_be_taken_back(void **state)
{
    (void)state;
    struct queue *q = new_queue(1);
    queue_add_sums(q, &(struct counts){.indexed = 5, .rejected = 2, .bytes = 100});
    queue_add_sums(q, &(struct counts){.indexed = -(uint64_t)3});
    struct counts sums = queue_sums(q);
    assert_true(sums.indexed == 2 && sums.rejected == 2 && sums.bytes == 100);
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
    struct rejection *list;
    put(q, "a");
    struct batch *b = queue_get(q);
    assert_true(batch_reject(b, "k", 400, "no such field") && batch_reject(b, "old", 0, NULL));
    assert_int_equal(queue_rejections(q, &list), 0);
    queue_ack(q, b);
    assert_int_equal(queue_rejections(q, &list), 2);
    assert_string_equal(list[0].key, "k");
    assert_string_equal(list[0].reason, "no such field");
    assert_int_equal(list[0].status, 400);
    assert_null(list[1].reason);
    rejections_free(list, 2);
    assert_int_equal(queue_rejections(q, &list), 0);
    queue_free(q);
}

static void dead_keys_are_known_until_they_are_not(void **state)
{
    (void)state;
    struct queue *q = new_queue(1);
    assert_false(queue_is_dead(q, "k"));
    queue_set_dead(q, "k", true);
    assert_true(queue_is_dead(q, "k"));
    assert_false(queue_is_dead(q, "other"));
    queue_set_dead(q, "k", false);
    assert_false(queue_is_dead(q, "k"));
    queue_free(q);
}

static void a_rejected_key_counts_once_and_once_in_each_window(void **state)
{
    (void)state;
    struct queue *q = new_queue(1);
    assert_true(queue_reject(q, "a"));
    assert_true(queue_reject(q, "b"));
    assert_false(queue_reject(q, "a"));
    queue_add_sums(q, &(struct counts){.rejected = 1}); /* a row without a key */
    assert_int_equal(queue_sums(q).rejected, 3);
    assert_int_equal(queue_rejected_lately(q), 3);
    queue_begin_window(q);
    assert_int_equal(queue_rejected_lately(q), 0);
    assert_true(queue_reject(q, "a"));
    assert_false(queue_reject(q, "a"));
    assert_int_equal(queue_rejected_lately(q), 1);
    assert_int_equal(queue_sums(q).rejected, 3);
    queue_free(q);
}

static void no_more_deletes_than_allowed(void **state)
{
    (void)state;
    struct queue *q = new_queue(1);
    assert_true(queue_take_deletes(q, 1000000)); /* no limit was set */
    queue_allow_deletes(q, 10);
    assert_true(queue_take_deletes(q, 7));
    assert_false(queue_take_deletes(q, 4));
    queue_give_deletes(q, 1);
    assert_true(queue_take_deletes(q, 4));
    assert_false(queue_take_deletes(q, 1));
    queue_free(q);
}

static bool build(void)
{
    struct err e;
    const size_t windows[] = {2, 3};
    struct batch *keys = batch_new();
    struct queue *q = queue_new(windows, 2, 0, &e);
    struct batch *range = batch_range("a", "b");
    bool ok = keys && q && range && batch_reject(range, "k", 1, "reason");
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
        cmocka_unit_test(a_clock_behind_the_versions_of_earlier_runs_is_told_once),
        cmocka_unit_test(two_fetches_never_share_a_version),
        cmocka_unit_test(lanes_take_turns),
        cmocka_unit_test(each_lane_has_its_own_low_water),
        cmocka_unit_test(a_wait_ends_with_an_acknowledgement),
        cmocka_unit_test(what_a_worker_rejected_comes_with_the_acknowledgement),
        cmocka_unit_test(dead_keys_are_known_until_they_are_not),
        cmocka_unit_test(a_rejected_key_counts_once_and_once_in_each_window),
        cmocka_unit_test(no_more_deletes_than_allowed),
        cmocka_unit_test(low_water_only_rises_under_many_threads),
        cmocka_unit_test(sums_add_up_and_can_be_taken_back),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
