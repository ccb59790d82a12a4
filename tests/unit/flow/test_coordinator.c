/* Checkpoints become the state only once all before them is acknowledged; a run that fails goes
 * back to before its first rejected document. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "feed/feed.h"
#include "flow/coordinator.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "source/source.h"

enum { LANES_MAX = 301 };

/* A coordinator of a source with n tables, whose state is in memory alone. */
struct fixture {
    struct source source;
    struct flow flow;
    struct state_data data;
    struct progress progress;
    struct coordinator c;
};

static void set_up(struct fixture *f, size_t tables)
{
    struct err e;
    size_t windows[LANES_MAX + COORDINATOR_MORE_LANES];
    for (size_t i = 0; i < tables + COORDINATOR_MORE_LANES; i++)
        windows[i] = 2;
    *f = (struct fixture){.source.n_tables = tables, .data.phase = STATE_SNAPSHOT};
    assert_non_null(state_table(&f->data, "t"));
    assert_true(flow_open(&f->flow, windows, tables + COORDINATOR_MORE_LANES, 0, &e));
    progress_start(&f->progress, "films", false);
    f->c = (struct coordinator){.flow = &f->flow,
                                .source = &f->source,
                                .state = (struct state_file *)f, /* never saved */
                                .data = &f->data,
                                .progress = &f->progress};
    assert_true(coordinator_init(&f->c, &e));
}

static void tear_down(struct fixture *f)
{
    coordinator_free(&f->c);
    flow_close(&f->flow);
    state_data_free(&f->data);
}

static void put_range(struct fixture *f, const char *to)
{
    size_t lane = f->source.n_tables;
    assert_true(queue_room(f->flow.queue, lane));
    queue_put(f->flow.queue, lane, batch_range(NULL, to));
}

struct list_feed { /* yields ranges up to these keys */
    struct feed feed;
    const char *const *to;
};

static bool next_range(struct feed *f, struct batch **out, struct err *e)
{
    struct list_feed *l = (struct list_feed *)f;
    (void)e;
    *out = *l->to ? batch_range(NULL, *l->to++) : NULL;
    return true;
}

static void a_round_fills_the_lane_and_no_more(void **state)
{
    (void)state;
    struct fixture f;
    struct err e = {0};
    bool moved;
    set_up(&f, 0);
    f.c.state = NULL; /* nothing is saved */
    const char *const keys[] = {"a", "b", "c", NULL};
    struct list_feed l = {.feed.next = next_range, .to = keys};
    coordinator_set_feed(&f.c, 0, &l.feed);
    assert_true(coordinator_round(&f.c, &moved, &e) && moved);
    assert_true(coordinator_round(&f.c, &moved, &e) && moved);
    assert_true(coordinator_round(&f.c, &moved, &e) && !moved); /* the window is two */
    queue_ack(f.flow.queue, queue_get(f.flow.queue));
    assert_true(coordinator_round(&f.c, &moved, &e) && moved);
    assert_false(coordinator_lane_is_done(&f.c, 0));
    queue_ack(f.flow.queue, queue_get(f.flow.queue));
    queue_ack(f.flow.queue, queue_get(f.flow.queue));
    assert_true(coordinator_round(&f.c, &moved, &e) && !moved);
    assert_true(coordinator_lane_is_done(&f.c, 0));
    queue_enough(f.flow.queue);
    assert_false(coordinator_round(&f.c, &moved, &e));
    assert_int_equal(e.kind, ERR_NONE);
    tear_down(&f);
}

static void a_checkpoint_waits_for_all_before_it(void **state)
{
    (void)state;
    struct fixture f;
    struct err e;
    set_up(&f, 0);
    put_range(&f, "a");
    put_range(&f, "b");
    struct batch *a = queue_get(f.flow.queue), *b = queue_get(f.flow.queue);
    queue_ack(f.flow.queue, b);
    assert_true(coordinator_collect(&f.c, &e));
    assert_null(f.data.after);
    queue_ack(f.flow.queue, a);
    assert_true(coordinator_collect(&f.c, &e));
    assert_string_equal(f.data.after, "b");
    assert_null(f.c.clean.tables); /* nothing was rejected */
    tear_down(&f);
}

static void the_state_before_the_first_rejection_is_kept_until_a_window_begins(void **state)
{
    (void)state;
    struct fixture f;
    struct err e;
    set_up(&f, 0);
    put_range(&f, "a");
    queue_ack(f.flow.queue, queue_get(f.flow.queue));
    assert_true(coordinator_collect(&f.c, &e));
    for (int i = 0; i < 2; i++) {
        put_range(&f, i ? "c" : "b");
        tally_reject(f.flow.tally, i ? "c" : "b");
        queue_ack(f.flow.queue, queue_get(f.flow.queue));
        assert_true(coordinator_collect(&f.c, &e));
        assert_string_equal(f.c.clean.after, "a");
    }
    assert_string_equal(f.data.after, "c");
    coordinator_begin_window(&f.c);
    assert_null(f.c.clean.tables);
    tear_down(&f);
}

static void *reject(void *arg)
{
    const struct flow *f = arg;
    struct batch *b = queue_get(f->queue);
    tally_reject(f->tally, "k");
    queue_ack(f->queue, b);
    return NULL;
}

/* The more lanes, the longer a collection takes, and the more a worker can do meanwhile. */
static void no_checkpoint_passes_a_rejection_that_comes_during_a_collection(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct fixture f;
        struct err e;
        pthread_t worker;
        set_up(&f, LANES_MAX - 1);
        put_range(&f, "k");
        assert_int_equal(pthread_create(&worker, NULL, reject, &f.flow), 0);
        while (!f.data.after)
            assert_true(coordinator_collect(&f.c, &e));
        pthread_join(worker, NULL);
        assert_non_null(f.c.clean.tables);
        assert_null(f.c.clean.after);
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_fills_the_lane_and_no_more),
        cmocka_unit_test(a_checkpoint_waits_for_all_before_it),
        cmocka_unit_test(the_state_before_the_first_rejection_is_kept_until_a_window_begins),
        cmocka_unit_test(no_checkpoint_passes_a_rejection_that_comes_during_a_collection),
    };
    return cmocka_run_group_tests_name("coordinator", tests, NULL, NULL);
}
