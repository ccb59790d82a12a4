/* What a pipeline has delivered: over virtual time, against a plain list of all that happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "flow/ledger.h"
#include "model/batch.h"

enum { SECOND = 1000 * 1000, EVENTS = 4000 };
static const int64_t MINUTE = 60LL * SECOND;
/* 2026, but not a whole minute */
static const struct ledger_time START = {77 * SECOND + 5, 1764250000LL * SECOND + 123456};

static struct ledger l;
static struct ledger_view view;

static int begin(void **state)
{
    (void)state;
    ledger_init(&l, START);
    return 0;
}

static int end(void **state)
{
    (void)state;
    ledger_destroy(&l);
    return 0;
}

static struct ledger_time after(int64_t us)
{
    return (struct ledger_time){START.mono_us + us, START.wall_us + us};
}

static void look(int64_t us)
{
    ledger_view(&l, after(us), &view);
}

static void count(int64_t us, uint64_t indexed)
{
    ledger_count(&l, &(struct counts){.indexed = indexed}, after(us));
}

static void at_first_there_is_nothing(void **state)
{
    (void)state;
    look(0);
    assert_true(view.documents_per_second == 0);
    assert_true(view.delays.last_us < 0);
    assert_int_equal(view.n_minutes, 1);
    assert_int_equal(view.minutes[0].documents, 0);
    assert_true(view.minutes[0].delay_us < 0);
}

static void what_is_counted_again_counts_once(void **state)
{
    (void)state;
    struct counts a = {.indexed = 7, .deleted = 2, .rejected = 1, .unchanged = 4, .superseded = 3};
    struct counts back = counts_negative(&a);
    ledger_count(&l, &a, after(0));
    ledger_count(&l, &back, after(SECOND));
    look(SECOND);
    assert_int_equal(view.counts.indexed, 7); /* never falls */
    ledger_count(&l, &a, after(2 * SECOND));
    ledger_count(&l, &(struct counts){.indexed = 1}, after(2 * SECOND));
    look(2 * SECOND);
    assert_int_equal(view.counts.indexed, 8);
    assert_int_equal(view.counts.deleted, 2);
    assert_int_equal(view.counts.rejected, 1);
    assert_int_equal(ledger_done(&view.counts), 18);
    assert_int_equal(view.minutes[0].documents, 10);
    assert_int_equal(view.minutes[0].rejected, 1);
}

static void the_rate_is_that_of_ten_seconds(void **state)
{
    (void)state;
    count(0, 50);
    look(2 * SECOND);
    assert_true(fabs(view.documents_per_second - 25) < 0.01); /* of a pipeline two seconds old */
    for (int i = 1; i <= 100; i++)
        count(i * SECOND, 30);
    look(100 * SECOND);
    assert_true(view.documents_per_second > 28 && view.documents_per_second < 34);
    look(120 * SECOND);
    assert_true(view.documents_per_second == 0);
    look(100000LL * SECOND); /* the ring comes round to the same places */
    assert_true(view.documents_per_second == 0);
}

static void a_delay_is_that_of_the_oldest_change(void **state)
{
    (void)state;
    struct change_times t = {0};
    change_times_add(&t, after(3 * SECOND).mono_us);
    change_times_add(&t, after(1 * SECOND).mono_us);
    ledger_deliver(&l, &t, 20, after(4 * SECOND));
    ledger_deliver(&l, &(struct change_times){0}, 20, after(9 * SECOND)); /* of no change */
    ledger_deliver(&l, &t, 0, after(9 * SECOND));                         /* of no document */
    look(9 * SECOND);
    assert_int_equal(view.delays.last_us, SECOND);
    assert_true(view.delays.sum_s == 60);
    assert_true(ledger_bounds[4] < 3 && 3 < ledger_bounds[5]);
    for (size_t i = 0; i < LEDGER_BUCKETS; i++)
        assert_int_equal(view.delays.buckets[i], i == 5 ? 20 : 0);
    assert_int_equal(view.minutes[0].delay_us, 3 * SECOND);
}

static void a_change_of_the_future_has_no_delay(void **state)
{
    (void)state;
    struct change_times t = {0};
    change_times_add(&t, after(MINUTE).mono_us);
    ledger_deliver(&l, &t, 1, after(0));
    look(0);
    assert_int_equal(view.delays.last_us, 0);
    assert_int_equal(view.delays.buckets[0], 1);
}

static void a_change_of_before_the_machine_began_has_one(void **state)
{
    (void)state;
    struct change_times t = {0};
    change_times_add(&t, 0);
    change_times_add(&t, -5000LL * SECOND);
    ledger_deliver(&l, &t, 1, after(0));
    look(0);
    assert_int_equal(view.delays.buckets[LEDGER_BUCKETS - 1], 1);
    assert_true(view.delays.sum_s > 5000);
}

/* ---- against a list of all events ---- */

struct event {
    int64_t us; /* since the start */
    uint64_t documents, rejected;
    int64_t delay_us; /* -1: none */
};

static struct event events[EVENTS];

static void check_minutes(size_t n_events, int64_t now_us)
{
    int64_t now = after(now_us).wall_us / MINUTE, first = START.wall_us / MINUTE;
    size_t n = (size_t)(now - first + 1);
    assert_int_equal(view.n_minutes, n < LEDGER_MINUTES ? n : LEDGER_MINUTES);
    for (size_t i = 0; i < view.n_minutes; i++) {
        const struct ledger_minute *m = &view.minutes[i];
        struct event sum = {.delay_us = -1};
        assert_int_equal(m->minute, now - (int64_t)view.n_minutes + 1 + (int64_t)i);
        for (size_t k = 0; k < n_events; k++) {
            if (after(events[k].us).wall_us / MINUTE != m->minute)
                continue;
            sum.documents += events[k].documents;
            sum.rejected += events[k].rejected;
            if (events[k].delay_us > sum.delay_us)
                sum.delay_us = events[k].delay_us;
        }
        assert_int_equal(m->documents, sum.documents);
        assert_int_equal(m->rejected, sum.rejected);
        assert_int_equal(m->delay_us, sum.delay_us);
    }
}

/* Between the events of the last nine seconds and those of the last ten, per second. */
static void check_rate(size_t n_events, int64_t now_us)
{
    double least = 0, most = 0;
    for (size_t i = 0; i < n_events; i++) {
        double n = (double)(events[i].documents + events[i].rejected);
        least += now_us - events[i].us < 9LL * SECOND ? n : 0;
        most += now_us - events[i].us <= 10LL * SECOND ? n : 0;
    }
    assert_true(view.documents_per_second >= least / 10 - 0.01);
    assert_true(now_us < 10LL * SECOND || view.documents_per_second <= most / 9 + 0.01);
}

static void happen(struct event *v, int64_t now_us)
{
    struct change_times t = {0};
    *v = (struct event){now_us, (uint64_t)(rand() % 50), (uint64_t)(rand() % 3), -1};
    ledger_count(&l, &(struct counts){.indexed = v->documents, .rejected = v->rejected},
                 after(now_us));
    if (rand() % 3)
        return;
    v->delay_us = rand() % (200 * SECOND);
    change_times_add(&t, after(now_us - v->delay_us).mono_us);
    ledger_deliver(&l, &t, 1, after(now_us));
}

static void the_history_is_that_of_all_events(void **state)
{
    (void)state;
    int64_t now_us = 0;
    uint64_t documents = 0, delays = 0, in_buckets = 0;
    for (size_t i = 0; i < EVENTS; i++) {
        int64_t pause = rand() % 100 ? rand() % (6 * SECOND) : rand() % 80 * MINUTE;
        now_us += pause;
        happen(&events[i], now_us);
        documents += events[i].documents;
        delays += events[i].delay_us >= 0;
        if (rand() % 40)
            continue;
        now_us += rand() % (20 * SECOND);
        look(now_us);
        check_minutes(i + 1, now_us);
        check_rate(i + 1, now_us);
        assert_int_equal(view.counts.indexed, documents);
    }
    look(now_us);
    for (size_t i = 0; i < LEDGER_BUCKETS; i++)
        in_buckets += view.delays.buckets[i];
    assert_int_equal(in_buckets, delays);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const char *given = getenv("SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("SEED=%u\n", seed);
    srand(seed);
    const struct CMUnitTest tests[] = {
        TEST(at_first_there_is_nothing),
        TEST(what_is_counted_again_counts_once),
        TEST(the_rate_is_that_of_ten_seconds),
        TEST(a_delay_is_that_of_the_oldest_change),
        TEST(a_change_of_the_future_has_no_delay),
        TEST(a_change_of_before_the_machine_began_has_one),
        TEST(the_history_is_that_of_all_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
