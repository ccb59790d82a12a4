/* A witness is told of its own thread's lines and waits, and of each wait's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/witness.h"

struct told {
    int errors, warnings, waits, first_waits, resumes, answers;
    char text[100];
};

static void line(void *arg, bool is_error, const char *text)
{
    struct told *t = arg;
    *(is_error ? &t->errors : &t->warnings) += 1;
    strncpy(t->text, text, sizeof t->text - 1);
}

static void wait(void *arg, bool first, const char *reason, double seconds)
{
    struct told *t = arg;
    assert_string_equal(reason, "could not connect");
    assert_true(seconds >= 0);
    t->waits++;
    t->first_waits += first;
}

static void resume(void *arg)
{
    ((struct told *)arg)->resumes++;
}

static void answer(void *arg, int status)
{
    ((struct told *)arg)->answers += status == 200;
}

static struct witness witness_of(struct told *t)
{
    return (struct witness){line, wait, resume, answer, t};
}

static void without_a_witness_nothing_happens(void **state)
{
    (void)state;
    struct err e = {.kind = ERR_PASSING};
    witness_set(NULL);
    witness_line(true, "x");
    witness_wait(&e, 1);
    witness_resume();
    witness_answer(200);
    assert_null(witness_get());
}

static void it_is_told_of_errors_and_warnings_whatever_the_log_shows(void **state)
{
    (void)state;
    struct told t = {0};
    struct witness w = witness_of(&t);
    witness_set(&w);
    log_setup(&(struct log_options){.level = LOG_ERROR});
    log_info("one");
    log_warn("document '%d' rejected", 7);
    assert_string_equal(t.text, "document '7' rejected");
    assert_int_equal(t.warnings, 1);
    log_setup(&(struct log_options){.level = LOG_INFO});
    log_error("lost");
    assert_string_equal(t.text, "lost");
    assert_int_equal(t.errors, 1);
    assert_int_equal(t.warnings, 1);
    witness_set(NULL);
    log_warn("nobody");
    assert_int_equal(t.warnings, 1);
}

static bool third_time(void *arg, struct err *e)
{
    int *n = arg;
    return ++*n == 3 || err_set(e, ERR_PASSING, "could not connect");
}

static void a_retry_waits_until_it_succeeds(void **state)
{
    (void)state;
    struct told t = {0};
    struct witness w = witness_of(&t);
    struct err e;
    int n = 0;
    witness_set(&w);
    assert_true(retry_until(0, third_time, &n, &e));
    assert_int_equal(t.waits, 2);
    assert_int_equal(t.first_waits, 1);
    assert_int_equal(t.resumes, 1);
    witness_set(NULL);
    assert_int_equal(t.resumes, 1);
}

static bool never(void *arg, struct err *e)
{
    int *n = arg;
    return ++*n < 0 || err_set(e, n[0] < 3 ? ERR_PASSING : ERR_FINAL, "could not connect");
}

static void a_retry_that_gives_up_waits_no_more(void **state)
{
    (void)state;
    struct told t = {0};
    struct witness w = witness_of(&t);
    struct err e;
    int n = 0;
    witness_set(&w);
    assert_false(retry_until(0, never, &n, &e));
    assert_int_equal(t.first_waits, 1);
    assert_int_equal(t.resumes, 1);
    witness_set(NULL);
}

static void *wait_and_leave(void *arg)
{
    struct err e;
    witness_set(arg);
    err_set(&e, ERR_PASSING, "could not connect");
    witness_wait(&e, 5);
    witness_set(NULL); /* as a thread does at its end */
    return NULL;
}

static void a_thread_that_ends_waits_no_more(void **state)
{
    (void)state;
    struct told t = {0};
    struct witness w = witness_of(&t);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_and_leave, &w), 0);
    pthread_join(thread, NULL);
    assert_int_equal(t.waits, 1);
    assert_int_equal(t.resumes, 1);
    assert_null(witness_get());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_witness_nothing_happens),
        cmocka_unit_test(it_is_told_of_errors_and_warnings_whatever_the_log_shows),
        cmocka_unit_test(a_retry_waits_until_it_succeeds),
        cmocka_unit_test(a_retry_that_gives_up_waits_no_more),
        cmocka_unit_test(a_thread_that_ends_waits_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
