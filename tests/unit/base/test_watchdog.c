/* The service manager hears that the process works, unless one of its threads hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/watchdog.h"

enum { INTERVAL_US = 80 * 1000 };

static int manager = -1;

static int start(void **state)
{
    (void)state;
    char name[80], number[40];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int n = snprintf(name, sizeof name, "@etl-test-watchdog-%d", (int)getpid());
    memcpy(at.sun_path + 1, name + 1, (size_t)n - 1);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setenv("NOTIFY_SOCKET", name, 1);
    snprintf(number, sizeof number, "%d", INTERVAL_US);
    setenv("WATCHDOG_USEC", number, 1);
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("WATCHDOG_PID", number, 1);
    log_setup(&(struct log_options){.level = LOG_ERROR});
    watchdog_init();
    return bind(manager, (const struct sockaddr *)&at,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n));
}

/* How many signs there were since the last call. */
static int heard(void)
{
    char text[100];
    int signs = 0;
    for (ssize_t n; (n = recv(manager, text, sizeof text - 1, 0)) > 0; signs++) {
        text[n] = '\0';
        assert_string_equal(text, "WATCHDOG=1");
    }
    return signs;
}

/* Until the condition is what was expected, or 20 s are over. */
static void sign_until_heard(void)
{
    int64_t end = clock_mono_us() + 20 * 1000 * 1000;
    while (heard() == 0 && clock_mono_us() < end) {
        watchdog_sign();
        usleep(1000);
    }
    assert_true(clock_mono_us() < end);
}

static void sign_in_vain(void)
{
    int64_t end = clock_mono_us() + 2 * INTERVAL_US;
    heard();
    while (clock_mono_us() < end) {
        watchdog_sign();
        usleep(1000);
    }
    assert_int_equal(heard(), 0);
}

static void signs_are_rare(void **state)
{
    (void)state;
    struct watchdog_task task;
    watchdog_begin(&task, "main");
    heard();
    int64_t begun = clock_mono_us();
    for (int i = 0; i < 1000; i++)
        watchdog_sign();
    assert_true(heard() <= 2 + (int)((clock_mono_us() - begun) / (INTERVAL_US / 4)));
    watchdog_end(&task);
}

enum { HANGS, AGAIN, RESTS, DONE, STEPS };

static void *other_main(void *arg)
{
    sem_t *steps = arg;
    struct watchdog_task task;
    watchdog_begin(&task, "w1");
    sem_post(&steps[HANGS]);
    sem_wait(&steps[AGAIN]);
    watchdog_rest();
    sem_post(&steps[RESTS]);
    sem_wait(&steps[DONE]);
    watchdog_end(&task);
    return NULL;
}

static void one_thread_that_hangs_is_enough(void **state)
{
    (void)state;
    sem_t steps[STEPS];
    struct watchdog_task task;
    pthread_t thread;
    char name[WATCHDOG_NAME];
    for (int i = 0; i < STEPS; i++)
        sem_init(&steps[i], 0, 0);
    watchdog_begin(&task, "main");
    assert_int_equal(pthread_create(&thread, NULL, other_main, steps), 0);
    sem_wait(&steps[HANGS]);
    usleep(INTERVAL_US);
    sign_in_vain();
    assert_false(watchdog_works(name));
    assert_string_equal(name, "w1");
    sem_post(&steps[AGAIN]);
    sem_wait(&steps[RESTS]);
    watchdog_sign();
    assert_true(watchdog_works(name));
    assert_string_equal(name, "");
    usleep(INTERVAL_US);
    sign_until_heard(); /* it rests, and may do so for as long as it likes */
    sem_post(&steps[DONE]);
    pthread_join(thread, NULL);
    sign_until_heard();
    watchdog_end(&task);
}

static void a_wait_that_a_signal_would_end_is_not_hanging(void **state)
{
    (void)state;
    struct watchdog_task task;
    watchdog_begin(&task, "main");
    heard();
    assert_true(stop_sleep(10 * INTERVAL_US / 1000));
    assert_true(heard() >= 2);
    watchdog_end(&task);
}

static int in_another_process(const char *word)
{
    int status = -1;
    setenv("WATCHDOG_PID", "1", 1);
    pid_t child = fork();
    if (child == 0)
        execl("/proc/self/exe", "test_watchdog", word, NULL);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* The child: a task takes part, and waits no longer than it may. */
static bool is_watched(void)
{
    char name[WATCHDOG_NAME];
    struct watchdog_task task;
    watchdog_watch();
    watchdog_begin(&task, "main");
    int64_t nap = watchdog_nap_ms(-1);
    bool works = watchdog_works(name);
    watchdog_end(&task);
    return works && nap > 10 * 1000 && nap < 90 * 1000;
}

static void whoever_asks_is_told_without_a_service_manager(void **state)
{
    (void)state;
    assert_int_equal(in_another_process("watched"), 0);
}

/* The interval is read but once, so another process has to look. */
static void nothing_is_said_for_another_process(void **state)
{
    (void)state;
    assert_int_equal(watchdog_nap_ms(-1), INTERVAL_US / 8000 + 1);
    assert_int_equal(watchdog_nap_ms(3), 3);
    assert_int_equal(in_another_process("alone"), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1) { /* the child */
        watchdog_init();
        bool alone = watchdog_nap_ms(-1) == -1;
        return alone && (strcmp(argv[1], "alone") == 0 || is_watched()) ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_are_rare),
        cmocka_unit_test(one_thread_that_hangs_is_enough),
        cmocka_unit_test(a_wait_that_a_signal_would_end_is_not_hanging),
        cmocka_unit_test(whoever_asks_is_told_without_a_service_manager),
        cmocka_unit_test(nothing_is_said_for_another_process),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
