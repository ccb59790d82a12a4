/* alike: what is said again and again is said a few times, and counted. Time is a number here. */
#include "base/alike.h"

#include "base/err.h"
#include "torture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const int64_t SECOND = 1000000;
static int64_t now;

static int64_t virtual_clock(void)
{
    return now;
}

/* Standard error goes into a file meanwhile. */
static FILE *caught;
static int before;
static char text[200000];

static struct alike *begin(void)
{
    struct err e;
    caught = tmpfile();
    assert_non_null(caught);
    fflush(stderr);
    before = dup(2);
    dup2(fileno(caught), 2);
    struct alike *a = alike_new(virtual_clock, &e);
    assert_non_null(a);
    alike_use(a);
    return a;
}

/* How many lines there are; they are in `text`. */
static size_t lines_so_far(void)
{
    size_t lines = 0;
    off_t at = lseek(fileno(caught), 0, SEEK_CUR);
    ssize_t len = pread(fileno(caught), text, sizeof text - 1, 0);
    assert_true(len == at && at >= 0);
    text[len] = '\0';
    for (ssize_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

static size_t end(struct alike *a)
{
    alike_free(a);
    size_t lines = lines_so_far();
    dup2(before, 2);
    close(before);
    fclose(caught);
    return lines;
}

static void reject(int i)
{
    char key[20], reason[200];
    snprintf(key, sizeof key, "k%d", i);
    snprintf(reason, sizeof reason, "x.lua:7: value '%d' is %d too much (key '%s'; columns id)", i,
             i, key);
    alike_warn(reason, LOG_FIELDS(log_text("key", key), log_int("status", 400)),
               "document '%s' rejected: %s", key, reason);
}

static void the_same_is_logged_a_few_times_and_then_counted(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int i = 0; i < 1000; i++)
        reject(i);
    assert_int_equal(end(a), ALIKE_WHOLE + 1);
    assert_non_null(
        strstr(text, "document 'k0' rejected: x.lua:7: value '0' is 0 too much (key 'k0'"));
    assert_non_null(strstr(text, "document 'k5' rejected: "));
    assert_non_null(strstr(text, "; and 994 more like it (first key 'k5', last key 'k999')\n"));
}

/* A million lines in ten minutes: one a minute. */
static void what_goes_on_is_logged_once_a_minute(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int i = 0; i < 1000000; i++) {
        now += 600 * SECOND / 1000000;
        reject(i);
        if (i % 100 == 0)
            alike_tick();
    }
    assert_int_equal(end(a), ALIKE_WHOLE + 10);
    assert_non_null(strstr(text, "like it (first key 'k5', last key 'k999"));
}

static void the_count_comes_without_another_line(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int i = 0; i < ALIKE_WHOLE + 2; i++)
        reject(i);
    now += 59 * SECOND;
    alike_tick();
    assert_int_equal(lines_so_far(), ALIKE_WHOLE);
    now += SECOND;
    alike_tick();
    assert_int_equal(lines_so_far(), ALIKE_WHOLE + 1);
    assert_non_null(strstr(text, "; and 1 more like it (first key 'k5', last key 'k6')\n"));
    alike_tick();
    assert_int_equal(end(a), ALIKE_WHOLE + 1);
}

static void after_a_silent_minute_it_is_new_again(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < ALIKE_WHOLE; i++)
            reject(i);
        now += 61 * SECOND;
        alike_tick();
    }
    assert_int_equal(end(a), 3 * ALIKE_WHOLE);
    assert_null(strstr(text, "more like it"));
}

static void what_ends_is_counted_at_once(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int i = 0; i < 100; i++)
        reject(i);
    alike_flush();
    assert_int_equal(lines_so_far(), ALIKE_WHOLE + 1);
    reject(100); /* alone, it is logged as it is */
    assert_int_equal(end(a), ALIKE_WHOLE + 2);
    assert_non_null(strstr(text, "document 'k100' rejected: x.lua:7: value '100' is 100 too much "
                                 "(key 'k100'; columns id)\n"));
}

static void each_kind_has_its_own_lines_and_kinds_are_limited(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int i = 0; i < 2 * ALIKE_WHOLE + 2; i++)
        alike_warn(i % 2 ? "x.lua:7: no" : "x.lua:8: no", NULL, "line %d", i);
    assert_int_equal(end(a), 2 * ALIKE_WHOLE + 2); /* the last one of each comes at the end */
    assert_null(strstr(text, "more like it"));

    a = begin();
    for (int i = 0; i < 10000; i++) {
        char reason[40];
        snprintf(reason, sizeof reason, "x.lua:%d: no", i);
        alike_warn(reason, NULL, "line %d", i);
    }
    assert_int_equal(end(a), ALIKE_KINDS - 1 + ALIKE_WHOLE + 1);
    assert_non_null(strstr(text, "; and 9975 more of other kinds\n"));
}

/* Over years there are more kinds than places: a silent one gives its place away. */
static void a_silent_kind_is_forgotten(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int i = 0; i < 100; i++) {
        char reason[40];
        snprintf(reason, sizeof reason, "x.lua:%d: no", i);
        for (int k = 0; k < ALIKE_WHOLE + 2; k++)
            alike_warn(reason, NULL, "line %d", i);
        now += 61 * SECOND;
        alike_tick();
        now += 61 * SECOND;
    }
    assert_int_equal(end(a), 100 * (ALIKE_WHOLE + 1));
    assert_null(strstr(text, "of other kinds"));
}

static void as_json_the_count_and_the_keys_are_fields(void **state)
{
    (void)state;
    log_setup(&(struct log_options){.level = LOG_WARN, .json = true});
    struct alike *a = begin();
    for (int i = 0; i < 10; i++)
        reject(i);
    assert_int_equal(end(a), ALIKE_WHOLE + 1);
    assert_non_null(strstr(text, "\"key\":\"k0\",\"status\":400}\n"));
    assert_non_null(strstr(text, "last key 'k9')\",\"status\":400,\"lines\":5,\"first_key\":\"k5\","
                                 "\"last_key\":\"k9\"}\n"));
    log_setup(&(struct log_options){.level = LOG_WARN});
}

static void without_one_and_without_memory_each_line_is_logged(void **state)
{
    (void)state;
    struct alike *a = begin();
    alike_use(NULL);
    alike_tick();
    alike_flush();
    for (int i = 0; i < 20; i++)
        reject(i);
    assert_int_equal(lines_so_far(), 20);
    alike_use(a);
    allocations_left = 0;
    for (int i = 0; i < 20; i++)
        reject(i);
    allocations_left = -1;
    assert_int_equal(end(a), 40);
}

static int warnings(const char *kind, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += alike_level(kind) == LOG_WARN;
    return count;
}

static void what_goes_on_is_a_warning_once_a_minute(void **state)
{
    (void)state;
    struct alike *a = begin();
    assert_int_equal(warnings("no answer from 'a:1' for 3 s", 100), 1);
    assert_int_equal(warnings("no answer from 'b:2' for 5 s", 100), 0);
    assert_int_equal(warnings("refused", 100), 1);
    now += 59 * SECOND;
    assert_int_equal(warnings("refused", 100), 0);
    now += SECOND;
    assert_int_equal(warnings("refused", 100), 1);
    alike_warn(NULL, NULL, "refused"); /* other lines are counted apart */
    assert_int_equal(end(a), 1);
    assert_int_equal(warnings("refused", 100), 100);
}

/* All kinds that have no place of their own: what other lines have counted is not lost. */
static void what_goes_on_finds_no_place_of_its_own(void **state)
{
    (void)state;
    struct alike *a = begin();
    for (int i = 0; i < ALIKE_KINDS + ALIKE_WHOLE + 9; i++) {
        char reason[40];
        snprintf(reason, sizeof reason, "x.lua:%d: no", i);
        alike_warn(reason, NULL, "line %d", i);
    }
    assert_int_equal(warnings("refused", 100), 0);
    now += 60 * SECOND;
    assert_int_equal(warnings("refused", 100), 1);
    end(a);
    assert_non_null(strstr(text, "; and 9 more of other kinds"));
}

static void *reject_many(void *arg)
{
    alike_use(arg);
    for (int i = 0; i < 1000; i++) {
        reject(i);
        alike_tick();
    }
    return NULL;
}

static void threads_count_together(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct alike *a = begin();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reject_many, a), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(end(a), ALIKE_WHOLE + 1);
    assert_non_null(strstr(text, "; and 3994 more like it (first key 'k"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_is_logged_a_few_times_and_then_counted),
        cmocka_unit_test(what_goes_on_is_logged_once_a_minute),
        cmocka_unit_test(the_count_comes_without_another_line),
        cmocka_unit_test(after_a_silent_minute_it_is_new_again),
        cmocka_unit_test(what_ends_is_counted_at_once),
        cmocka_unit_test(each_kind_has_its_own_lines_and_kinds_are_limited),
        cmocka_unit_test(a_silent_kind_is_forgotten),
        cmocka_unit_test(as_json_the_count_and_the_keys_are_fields),
        cmocka_unit_test(without_one_and_without_memory_each_line_is_logged),
        cmocka_unit_test(what_goes_on_is_a_warning_once_a_minute),
        cmocka_unit_test(what_goes_on_finds_no_place_of_its_own),
        cmocka_unit_test(threads_count_together),
    };
    log_setup(&(struct log_options){.level = LOG_WARN});
    return cmocka_run_group_tests(tests, NULL, NULL);
}
