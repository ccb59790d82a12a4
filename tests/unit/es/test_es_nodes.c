/* Nodes take turns; one that failed rests, is tried by one request, and comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/err.h"
#include "es/es_nodes.h"
#include "torture.h"

enum { S = 1000 * 1000 };

static struct es_nodes *make(size_t n)
{
    struct err e = {0};
    struct es_nodes *nodes = es_nodes_new(n, &e);
    assert_non_null(nodes);
    return nodes;
}

static void nodes_take_turns(void **state)
{
    (void)state;
    struct es_nodes *nodes = make(3);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(es_nodes_pick(nodes, 0), i % 3);
    es_nodes_free(nodes);
    es_nodes_free(NULL);
}

static void a_node_that_failed_rests_and_one_request_tries_it(void **state)
{
    (void)state;
    struct es_nodes *nodes = make(2);
    assert_true(es_nodes_failed(nodes, 0, 100 * S));
    for (int i = 0; i < 4; i++)
        assert_int_equal(es_nodes_pick(nodes, 100 * S + S / 3), 1);
    int tries = 0;
    for (int i = 0; i < 10; i++)
        tries += es_nodes_pick(nodes, 102 * S) == 0;
    assert_int_equal(tries, 1); /* the others do not wait for a host that is perhaps still away */
    assert_true(es_nodes_worked(nodes, 0));
    assert_false(es_nodes_worked(nodes, 0));
    tries = 0;
    for (int i = 0; i < 10; i++)
        tries += es_nodes_pick(nodes, 102 * S) == 0;
    assert_int_equal(tries, 5);
    es_nodes_free(nodes);
}

/* Until the node is tried again. */
static int64_t rest(struct es_nodes *nodes, int64_t from)
{
    for (int64_t now = from; now < from + 1000LL * S; now += S / 10)
        for (int i = 0; i < 2; i++)
            if (es_nodes_pick(nodes, now) == 0)
                return now - from;
    fail();
    return 0;
}

static void rests_grow_to_a_minute_and_begin_anew_after_a_success(void **state)
{
    (void)state;
    struct es_nodes *nodes = make(2);
    int64_t now = 0;
    for (int64_t most = S, failures = 0; failures < 12; failures++) {
        assert_int_equal(es_nodes_failed(nodes, 0, now), failures == 0);
        int64_t rested = rest(nodes, now);
        assert_in_range(rested, most / 2, most + S / 10);
        now += rested;
        most = most * 2 < 60 * S ? most * 2 : 60 * S;
    }
    es_nodes_worked(nodes, 0);
    assert_true(es_nodes_failed(nodes, 0, now));
    assert_in_range(rest(nodes, now), S / 2, S + S / 10);
    es_nodes_free(nodes);
}

static void requests_that_fail_together_count_as_one(void **state)
{
    (void)state;
    struct es_nodes *nodes = make(2);
    for (int i = 0; i < 8; i++)
        assert_int_equal(es_nodes_failed(nodes, 0, 5 * S), i == 0);
    assert_in_range(rest(nodes, 5 * S), S / 2, S + S / 10);
    es_nodes_free(nodes);
}

static void while_all_rest_the_one_that_rested_longest_is_tried(void **state)
{
    (void)state;
    struct es_nodes *nodes = make(3);
    assert_true(es_nodes_alive(nodes, 9 * S));
    es_nodes_failed(nodes, 1, 10 * S);
    es_nodes_failed(nodes, 2, 10 * S + 1);
    assert_true(es_nodes_alive(nodes, 10 * S + 2));
    es_nodes_failed(nodes, 0, 10 * S + 2);
    assert_false(es_nodes_alive(nodes, 10 * S + 3));
    static const size_t order[] = {1, 2, 0, 1};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(es_nodes_pick(nodes, 10 * S + 4 + (int64_t)i), order[i]);
    assert_true(es_nodes_alive(nodes, 12 * S));
    es_nodes_free(nodes);
}

static void one_node_is_always_picked(void **state)
{
    (void)state;
    struct es_nodes *nodes = make(1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(es_nodes_pick(nodes, i), 0);
        es_nodes_failed(nodes, 0, i);
        assert_false(es_nodes_alive(nodes, i));
    }
    es_nodes_free(nodes);
}

static void *use(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        size_t node = es_nodes_pick(arg, i);
        if (i % 3 == 0)
            es_nodes_failed(arg, node, i);
        else
            es_nodes_worked(arg, node);
        es_nodes_alive(arg, i);
    }
    return NULL;
}

static void threads_may_share_them(void **state) /* TSan judges */
{
    (void)state;
    struct es_nodes *nodes = make(3);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, nodes), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    es_nodes_free(nodes);
}

static void an_allocation_may_fail(void **state)
{
    (void)state;
    struct err e = {0};
    allocations_left = 0;
    assert_null(es_nodes_new(3, &e));
    allocations_left = -1;
    assert_int_equal(e.kind, ERR_FINAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_take_turns),
        cmocka_unit_test(a_node_that_failed_rests_and_one_request_tries_it),
        cmocka_unit_test(rests_grow_to_a_minute_and_begin_anew_after_a_success),
        cmocka_unit_test(requests_that_fail_together_count_as_one),
        cmocka_unit_test(while_all_rest_the_one_that_rested_longest_is_tried),
        cmocka_unit_test(one_node_is_always_picked),
        cmocka_unit_test(threads_may_share_them),
        cmocka_unit_test(an_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
