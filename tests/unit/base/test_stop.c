/* No wait outlives a signal. Everything that is stopped here is a child: a process can be stopped
 * only once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"

enum {
    LONG_MS = 60000,
    SOON_US = 10 * 1000000
}; /* soon: the sanitizers on a busy machine, but not LONG_MS */

/* In a child, where cmocka cannot help: status_of then gives 100. */
static void check(bool ok)
{
    if (!ok)
        _exit(100);
}

/* Runs body in a child; kills it with sig once it has written that it is about to wait, unless sig
 * is 0. */
static int status_of(void (*body)(int ready), int sig)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err e;
        check(stop_init(&e));
        body(fds[1]);
        _exit(0);
    }
    close(fds[1]);
    char c;
    if (sig != 0 && read(fds[0], &c, 1) == 1)
        kill(child, sig);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(fds[0]);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void sleep_long(int ready)
{
    int64_t begin = clock_mono_us();
    check(stop_asked() == 0);
    check(write(ready, "x", 1) == 1);
    check(!stop_sleep(LONG_MS));
    check(clock_mono_us() - begin < SOON_US);
    check(stop_asked() == SIGTERM);
    struct err e;
    check(!stop_err(&e) && e.kind == ERR_STOPPED && strcmp(e.text, "stopped by SIGTERM") == 0);
    check(!stop_sleep(LONG_MS)); /* and every later one */
}

static void a_long_sleep_ends_at_sigterm(void **state)
{
    (void)state;
    assert_int_equal(status_of(sleep_long, SIGTERM), 0);
}

static void interrupt_before_sleeping(int ready)
{
    (void)ready;
    raise(SIGINT);
    check(!stop_sleep(LONG_MS) && !stop_sleep(0));
    struct err e;
    check(!stop_err(&e) && strcmp(e.text, "stopped by SIGINT") == 0);
    struct pollfd p = {.fd = stop_fd(), .events = POLLIN};
    check(poll(&p, 1, 0) == 1);
}

static void a_signal_before_the_sleep_is_not_missed(void **state)
{
    (void)state;
    assert_int_equal(status_of(interrupt_before_sleeping, 0), 0);
}

static void raise_twice(int ready)
{
    (void)ready;
    raise(SIGINT);
    raise(SIGTERM);
}

static void the_second_signal_ends_the_process_at_once(void **state)
{
    (void)state;
    assert_int_equal(status_of(raise_twice, 0), 128 + SIGTERM);
}

static void wait_for_ever(int ready)
{
    int fds[2];
    check(pipe(fds) == 0);
    check(write(ready, "x", 1) == 1);
    check(stop_wait_fd(fds[0], POLLIN, -1) == STOP_ASKED);
}

static void a_wait_for_a_descriptor_ends_too(void **state)
{
    (void)state;
    assert_int_equal(status_of(wait_for_ever, SIGINT), 0);
}

static void *sleep_in_thread(void *slept)
{
    *(bool *)slept = stop_sleep(LONG_MS);
    return NULL;
}

static void sleep_in_threads(int ready)
{
    pthread_t threads[4];
    bool slept[4];
    for (int i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, sleep_in_thread, &slept[i]) == 0);
    check(write(ready, "x", 1) == 1);
    for (int i = 0; i < 4; i++)
        check(pthread_join(threads[i], NULL) == 0 && !slept[i]);
}

static void every_thread_wakes(void **state)
{
    (void)state;
    assert_int_equal(status_of(sleep_in_threads, SIGTERM), 0);
}

static void write_to_nobody(int ready)
{
    (void)ready;
    int fds[2];
    check(pipe(fds) == 0);
    close(fds[0]);
    check(write(fds[1], "x", 1) < 0);
}

static void a_closed_pipe_is_an_error_not_the_end(void **state)
{
    (void)state;
    assert_int_equal(status_of(write_to_nobody, 0), 0);
}

static void on_alarm(int sig)
{
    (void)sig;
}

/* Other signals every 10 ms: the sleep is neither cut short nor begun again. */
static void sleep_through_alarms(int ready)
{
    (void)ready;
    struct sigaction action = {.sa_handler = on_alarm};
    check(sigaction(SIGALRM, &action, NULL) == 0);
    timer_t timer;
    struct itimerspec every = {.it_interval.tv_nsec = 10000000, .it_value.tv_nsec = 10000000};
    check(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0 &&
          timer_settime(timer, 0, &every, NULL) == 0);
    int64_t begin = clock_mono_us();
    check(stop_sleep(200));
    int64_t took = clock_mono_us() - begin;
    check(took >= 200000 && took < SOON_US);
}

static void other_signals_do_not_disturb(void **state)
{
    (void)state;
    assert_int_equal(status_of(sleep_through_alarms, 0), 0);
}

static void all_works_before_stop_init(void **state)
{
    (void)state;
    assert_int_equal(stop_fd(), -1);
    assert_int_equal(stop_asked(), 0);
    int64_t begin = clock_mono_us();
    assert_true(stop_sleep(20));
    assert_true(clock_mono_us() - begin >= 20000);
    assert_true(stop_sleep(0) && stop_sleep(-5));

    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(stop_wait_fd(fds[0], POLLIN, 0), STOP_TIMEOUT);
    assert_int_equal(stop_wait_fd(fds[0], POLLIN, 5), STOP_TIMEOUT);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(stop_wait_fd(fds[0], POLLIN, -1), STOP_READY);
    assert_int_equal(stop_wait_fd(fds[0], POLLIN, INT64_MAX), STOP_READY);
    close(fds[1]);
    close(fds[0]);
    assert_int_equal(stop_wait_fd(fds[0], POLLIN, -1), STOP_READY); /* in error: not open */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_sleep_ends_at_sigterm),
        cmocka_unit_test(a_signal_before_the_sleep_is_not_missed),
        cmocka_unit_test(the_second_signal_ends_the_process_at_once),
        cmocka_unit_test(a_wait_for_a_descriptor_ends_too),
        cmocka_unit_test(every_thread_wakes),
        cmocka_unit_test(a_closed_pipe_is_an_error_not_the_end),
        cmocka_unit_test(other_signals_do_not_disturb),
        cmocka_unit_test(all_works_before_stop_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
