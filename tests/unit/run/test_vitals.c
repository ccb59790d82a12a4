/* What a pipeline shows of itself: texts are cut whole, lines that are alike take one place, and a
 * reader on another thread gets a copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/witness.h"
#include "flow/ledger.h"
#include "flow/queue.h"
#include "model/batch.h"
#include "run/vitals.h"
#include "torture.h"

static struct vitals_list *list;
static struct vitals *v;
static struct vitals_snapshot s;

static void say(bool is_error, const char *line)
{
    const struct witness *w = vitals_witness(v);
    w->line(w->arg, is_error, line);
}

static int begin(void **state)
{
    (void)state;
    struct err e;
    list = vitals_list_new(2, &e);
    v = vitals_at(list, 1);
    return list ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    vitals_list_free(list);
    return 0;
}

static void a_list_has_its_pipelines(void **state)
{
    (void)state;
    assert_int_equal(vitals_count(list), 2);
    assert_non_null(vitals_at(list, 0));
    assert_null(vitals_at(list, 2));
    assert_true(vitals_started_us(list) <= clock_wall_us());
    assert_int_equal(vitals_count(NULL), 0);
    assert_null(vitals_at(NULL, 0));
    vitals_list_free(NULL);
}

static void without_memory_there_is_no_list(void **state)
{
    (void)state;
    struct err e;
    allocations_left = 0;
    struct vitals_list *l = vitals_list_new(3, &e);
    allocations_left = -1;
    assert_null(l);
    assert_int_equal(e.kind, ERR_FINAL);
}

static void nothing_is_noted_of_no_pipeline(void **state)
{
    (void)state;
    vitals_phase(NULL, VITALS_LOADING, NULL, -1);
    vitals_describe(NULL, &(struct vitals_about){0});
    vitals_failed(NULL);
    vitals_away(NULL, "x");
    vitals_held(NULL, "x");
    vitals_heard(NULL, 1);
    vitals_asks(NULL, "x");
    assert_null(vitals_witness(NULL));
    vitals_slot(NULL, "s", 1, true);
    vitals_journal(NULL, 1);
    vitals_no_capture(NULL);
    vitals_horizon(NULL, 1, "x");
    vitals_dead_letters(NULL, 0, NULL, 0);
    vitals_queue(NULL, NULL);
    vitals_backlog(NULL, 1);
    vitals_load(NULL, 1);
    vitals_loaded(NULL);
    assert_null(vitals_ledger(NULL));
    vitals_swept(NULL, 1);
}

static void at_first_it_starts(void **state)
{
    (void)state;
    vitals_snapshot(v, &s);
    assert_string_equal(vitals_phase_name(s.phase), "starting");
    assert_false(s.ready);
    assert_true(s.lag_seconds < 0 && s.horizon_seconds < 0 && s.retry_in_seconds < 0);
    assert_int_equal(s.n_errors + s.n_letters, 0);
    assert_int_equal(s.n_minutes, 1);
    assert_false(s.has_slot || s.has_journal || s.loading);
}

static void a_failure_has_its_reason_and_the_next_try(void **state)
{
    (void)state;
    vitals_phase(v, VITALS_FOLLOWING, NULL, -1);
    vitals_snapshot(v, &s);
    assert_true(s.ready);
    vitals_failed(v);
    vitals_phase(v, VITALS_FAILING, "cannot find table 'film'", 8000);
    vitals_snapshot(v, &s);
    assert_false(s.ready);
    assert_string_equal(s.reason, "cannot find table 'film'");
    assert_true(s.retry_in_seconds > 0 && s.retry_in_seconds <= 8);
    assert_int_equal(s.failures, 1);
    vitals_phase(v, VITALS_STARTING, NULL, -1);
    vitals_snapshot(v, &s);
    assert_string_equal(s.reason, "");
    assert_true(s.retry_in_seconds < 0);
}

static void a_wait_lasts_until_the_last_thread_goes_on(void **state)
{
    (void)state;
    const struct witness *w = vitals_witness(v);
    vitals_phase(v, VITALS_FOLLOWING, NULL, -1);
    w->wait(w->arg, true, "could not reach http://a", 3);
    w->wait(w->arg, true, "could not connect", 9);
    w->wait(w->arg, false, "could not connect", 9);
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_WAITING);
    assert_true(s.ready);
    assert_string_equal(s.reason, "could not connect");
    assert_true(s.retry_in_seconds > 3 && s.retry_in_seconds <= 9);
    w->resume(w->arg);
    vitals_phase(v, VITALS_SWEEPING, NULL, -1);
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_WAITING);
    w->resume(w->arg);
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_SWEEPING);
    assert_string_equal(s.reason, "");
    assert_true(s.retry_in_seconds < 0);
}

static void a_failed_run_does_not_wait(void **state)
{
    (void)state;
    vitals_phase(v, VITALS_FOLLOWING, NULL, -1);
    vitals_away(v, "could not reach http://a");
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_WAITING);
    assert_string_equal(s.reason, "could not reach http://a");
    vitals_phase(v, VITALS_FAILING, "cannot find table", 1000);
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_FAILING);
    assert_string_equal(s.reason, "cannot find table");
    vitals_phase(v, VITALS_STARTING, NULL, -1);
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_STARTING);
    assert_string_equal(s.reason, "");
}

static void a_log_that_is_kept_back_is_waited_for(void **state)
{
    (void)state;
    const struct witness *w = vitals_witness(v);
    vitals_phase(v, VITALS_FOLLOWING, NULL, -1);
    vitals_held(v, "it waits for slot 'a'");
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_WAITING);
    assert_string_equal(s.reason, "it waits for slot 'a'");
    vitals_away(v, "could not reach http://a"); /* for as long, that is the reason */
    vitals_snapshot(v, &s);
    assert_string_equal(s.reason, "could not reach http://a");
    vitals_away(v, NULL);
    vitals_snapshot(v, &s);
    assert_string_equal(s.reason, "it waits for slot 'a'");
    w->wait(w->arg, true, "could not connect", 1);
    w->resume(w->arg);
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_WAITING);
    assert_string_equal(s.reason, "it waits for slot 'a'");
    vitals_held(v, NULL);
    vitals_snapshot(v, &s);
    assert_int_equal(s.phase, VITALS_FOLLOWING);
    assert_string_equal(s.reason, "");
}

static void answers_are_counted_by_status(void **state)
{
    (void)state;
    const struct witness *w = vitals_witness(v);
    static const int statuses[] = {200, 429, 200, 0, 200};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        w->answer(w->arg, statuses[i]);
    vitals_snapshot(v, &s);
    assert_int_equal(s.requests[0].status, 0);
    assert_int_equal(s.requests[0].n, 1);
    assert_int_equal(s.requests[1].status, 200);
    assert_int_equal(s.requests[1].n, 3);
    assert_int_equal(s.requests[2].status, 429);
    assert_int_equal(s.requests[2].n, 1);
    assert_int_equal(s.requests[3].n, 0);
    for (int status = 300; status < 400; status++)
        w->answer(w->arg, status);
    vitals_snapshot(v, &s);
    uint64_t sum = 0;
    for (size_t i = 0; i < VITALS_STATUSES; i++)
        sum += s.requests[i].n;
    assert_int_equal(sum, 105);
}

static void lines_that_are_alike_take_one_place(void **state)
{
    (void)state;
    char line[80];
    say(true, "could not connect");
    for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "document '%d' rejected: no number", i);
        say(false, line);
    }
    vitals_snapshot(v, &s);
    assert_int_equal(s.n_errors, 2);
    assert_string_equal(s.errors[0].message, line);
    assert_false(s.errors[0].is_error);
    assert_string_equal(s.errors[1].message, "could not connect");
    assert_true(s.errors[1].is_error);
    say(true, "could not connect");
    vitals_snapshot(v, &s);
    assert_int_equal(s.n_errors, 2);
    assert_string_equal(s.errors[0].message, "could not connect");
    assert_string_equal(s.errors[1].message, line);
}

static void the_last_ten_lines_are_kept(void **state)
{
    (void)state;
    char line[] = "line x";
    for (char c = 'a'; c <= 'z'; c++) {
        line[5] = c;
        say(false, line);
    }
    vitals_snapshot(v, &s);
    assert_int_equal(s.n_errors, VITALS_ERRORS);
    assert_string_equal(s.errors[0].message, "line z");
    assert_string_equal(s.errors[VITALS_ERRORS - 1].message, "line q");
}

static void a_text_is_cut_between_characters(void **state)
{
    (void)state;
    char text[3 * VITALS_TEXT + 3] = ""; /* shifted by two at most */
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', shift);
        for (size_t i = 0; i < VITALS_TEXT; i++)
            memcpy(text + shift + 3 * i, "€", 4);
        say(false, text);
        vitals_snapshot(v, &s);
        const char *m = s.errors[0].message;
        size_t n = strlen(m), at = 0;
        assert_true(n > VITALS_TEXT - 4);
        while (at < n) {
            size_t len = json_character(m + at, n - at);
            assert_true(len > 0);
            at += len;
        }
    }
}

static void dead_letters_are_copied(void **state)
{
    (void)state;
    struct vitals_letter letters[] = {{"7", "no number"}, {"3", "no date"}};
    vitals_dead_letters(v, 40, letters, 2);
    memset(letters, 'x', sizeof letters);
    vitals_snapshot(v, &s);
    assert_int_equal(s.dead_letters, 40);
    assert_int_equal(s.n_letters, 2);
    assert_string_equal(s.letters[0].key, "7");
    assert_string_equal(s.letters[1].reason, "no date");
}

static void what_waits_is_as_old_as_its_oldest_change(void **state)
{
    (void)state;
    struct err e;
    struct queue *q = queue_new(&(size_t){4}, 1, &e);
    int64_t ages_s[] = {3, 9, 0}; /* 0: of no change */
    vitals_queue(v, q);
    for (size_t i = 0; i < 3; i++) {
        struct batch *b = batch_new();
        if (ages_s[i])
            change_times_add(&b->changed, clock_mono_us() - ages_s[i] * 1000000);
        queue_put(q, 0, b);
    }
    vitals_snapshot(v, &s);
    assert_int_equal(s.queued_batches, 3);
    assert_true(s.oldest_waiting_seconds >= 9);
    struct batch *first = queue_get(q), *second = queue_get(q);
    queue_ack(q, second);
    vitals_snapshot(v, &s);
    assert_int_equal(s.queued_batches, 2);
    assert_true(s.oldest_waiting_seconds >= 3 && s.oldest_waiting_seconds < 9);
    vitals_backlog(v, clock_mono_us() - 20 * 1000000);
    vitals_snapshot(v, &s);
    assert_true(s.oldest_waiting_seconds >= 20);
    vitals_backlog(v, 0);
    vitals_queue(v, NULL); /* the run has failed: the change waits for the next one */
    vitals_snapshot(v, &s);
    assert_int_equal(s.queued_batches, 0);
    assert_true(s.oldest_waiting_seconds >= 3);
    queue_ack(q, first);
    vitals_queue(v, q);
    vitals_snapshot(v, &s);
    assert_true(s.oldest_waiting_seconds == 0);
    vitals_queue(v, NULL);
    queue_free(q);
}

static void who_follows_tells_how_long_its_servers_are_silent(void **state)
{
    (void)state;
    vitals_phase(v, VITALS_LOADING, NULL, -1);
    vitals_heard(v, clock_mono_us() - 50 * 1000000);
    vitals_snapshot(v, &s);
    assert_true(s.silent_seconds == 0); /* a load may take long */
    vitals_phase(v, VITALS_FOLLOWING, NULL, -1);
    vitals_snapshot(v, &s);
    assert_true(s.silent_seconds < 50); /* from its beginning */
    vitals_heard(v, clock_mono_us() - 50 * 1000000);
    vitals_snapshot(v, &s);
    assert_true(s.silent_seconds >= 50);
    assert_string_equal(s.silent_server, "PostgreSQL");
    vitals_away(v, "could not reach it"); /* then that is the reason, and for as long */
    vitals_snapshot(v, &s);
    assert_true(s.silent_seconds == 0);
    assert_int_equal(s.phase, VITALS_WAITING);
    assert_true(clock_wall_us() - s.phase_since_us >= 50 * 1000000);
    vitals_away(v, NULL);
    vitals_snapshot(v, &s);
    assert_true(s.silent_seconds >= 50);
    vitals_heard(v, 0); /* it waits for something else */
    vitals_snapshot(v, &s);
    assert_true(s.silent_seconds == 0);
}

static void a_load_tells_how_long_it_takes(void **state)
{
    (void)state;
    ledger_count(vitals_ledger(v), &(struct counts){.indexed = 1000}, ledger_now());
    vitals_phase(v, VITALS_LOADING, NULL, -1);
    vitals_load(v, 400);
    vitals_snapshot(v, &s);
    assert_true(s.loading && s.load_seconds_left < 0);
    assert_int_equal(s.load_documents, 0);
    ledger_count(vitals_ledger(v), &(struct counts){.indexed = 90, .unchanged = 10}, ledger_now());
    vitals_snapshot(v, &s);
    assert_int_equal(s.load_documents, 100);
    assert_int_equal(s.load_expected, 400);
    assert_true(s.load_seconds_left >= 0);
    assert_int_equal(s.counts.indexed, 1090);
    ledger_count(vitals_ledger(v), &(struct counts){.indexed = 301}, ledger_now());
    vitals_snapshot(v, &s);
    assert_true(s.load_seconds_left < 0); /* more than were expected */
    vitals_loaded(v);
    vitals_snapshot(v, &s);
    assert_false(s.loading);
}

static void capture_and_horizon_come_and_go(void **state)
{
    (void)state;
    vitals_slot(v, "etl_movies", 4096, true);
    vitals_journal(v, 77);
    vitals_horizon(v, 3, "pid 7 (psql)");
    vitals_snapshot(v, &s);
    assert_true(s.has_slot && s.slot_active && s.has_journal);
    assert_int_equal(s.slot_held_bytes, 4096);
    assert_int_equal(s.journal_bytes, 77);
    assert_true(s.horizon_seconds == 3);
    assert_string_equal(s.horizon_held_by, "pid 7 (psql)");
    vitals_no_capture(v);
    vitals_horizon(v, -1, NULL);
    vitals_snapshot(v, &s);
    assert_false(s.has_slot || s.has_journal);
    assert_true(s.horizon_seconds < 0);
}

static void *write_lines(void *arg)
{
    (void)arg;
    char line[40];
    for (int i = 0; i < 20000; i++) {
        snprintf(line, sizeof line, "line %c", 'a' + i % 26);
        say(false, line);
    }
    return NULL;
}

static void a_reader_gets_whole_lines(void **state)
{
    (void)state;
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, write_lines, NULL), 0);
    do {
        vitals_snapshot(v, &s);
        for (size_t i = 0; i < s.n_errors; i++)
            assert_int_equal(strlen(s.errors[i].message), 6);
    } while (s.n_errors < VITALS_ERRORS);
    pthread_join(t, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_has_its_pipelines),
        TEST(without_memory_there_is_no_list),
        TEST(nothing_is_noted_of_no_pipeline),
        TEST(at_first_it_starts),
        TEST(a_failure_has_its_reason_and_the_next_try),
        TEST(a_wait_lasts_until_the_last_thread_goes_on),
        TEST(a_failed_run_does_not_wait),
        TEST(a_log_that_is_kept_back_is_waited_for),
        TEST(answers_are_counted_by_status),
        TEST(lines_that_are_alike_take_one_place),
        TEST(the_last_ten_lines_are_kept),
        TEST(a_text_is_cut_between_characters),
        TEST(dead_letters_are_copied),
        TEST(what_waits_is_as_old_as_its_oldest_change),
        TEST(who_follows_tells_how_long_its_servers_are_silent),
        TEST(a_load_tells_how_long_it_takes),
        TEST(capture_and_horizon_come_and_go),
        TEST(a_reader_gets_whole_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
