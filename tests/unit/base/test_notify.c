/* What the service manager hears, by a socket of our own in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"

static int manager = -1;
static char address[80];

/* path: a file; otherwise a name of the kernel's. */
static void listen_at(bool path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int n = snprintf(address, sizeof address, "%s/etl-test-notify-%d", path ? "/tmp" : "@",
                     (int)getpid());
    memcpy(at.sun_path, address, (size_t)n);
    if (!path)
        at.sun_path[0] = '\0';
    else
        unlink(address);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + (path ? 1 : 0));
    assert_int_equal(bind(manager, (const struct sockaddr *)&at, len), 0);
    setenv("NOTIFY_SOCKET", address, 1);
}

static int hang_up(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    if (address[0] == '/')
        unlink(address);
    close(manager);
    return 0;
}

/* The next message; NULL: there is none. */
static const char *heard(void)
{
    static char text[2000];
    ssize_t n = recv(manager, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? text : NULL;
}

static void each_state_is_one_message(void **state)
{
    (void)state;
    for (int path = 0; path < 2; path++) {
        listen_at(path);
        notify_ready();
        assert_string_equal(heard(), "READY=1");
        notify_reloading();
        assert_memory_equal(heard(), "RELOADING=1\nMONOTONIC_USEC=", 27);
        notify_stopping();
        assert_string_equal(heard(), "STOPPING=1");
        notify_watchdog();
        assert_string_equal(heard(), "WATCHDOG=1");
        assert_null(heard());
        hang_up(NULL);
    }
}

static void a_status_cannot_be_another_message(void **state)
{
    (void)state;
    listen_at(false);
    notify_status("%s", "could not read\nREADY=1\r\n\x1b[31m");
    assert_string_equal(heard(), "STATUS=could not read READY=1   [31m");
}

static void a_long_status_ends_between_two_characters(void **state)
{
    (void)state;
    listen_at(false);
    for (size_t ascii = 0; ascii < 4; ascii++) {
        char text[1000] = "aaaa";
        text[ascii] = '\0';
        while (strlen(text) < 900)
            memcpy(text + strlen(text), "€", sizeof "€");
        notify_status("%s", text);
        const char *rest = heard() + strlen("STATUS=") + ascii;
        assert_true(strlen(rest) > 300 && strlen(rest) < 400);
        for (; *rest; rest += 3)
            assert_memory_equal(rest, "€", 3);
    }
}

static void nobody_who_listens_is_no_trouble(void **state)
{
    (void)state;
    char too_long[200];
    memset(too_long, 'x', sizeof too_long);
    memcpy(too_long, "/tmp/", 5);
    too_long[sizeof too_long - 1] = '\0';
    const char *names[] = {NULL,        "",         "@",     "/", "/no/such/socket",
                           "vsock:2:3", "relative", too_long};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i])
            setenv("NOTIFY_SOCKET", names[i], 1);
        else
            unsetenv("NOTIFY_SOCKET");
        errno = ENOTTY;
        notify_ready();
        notify_status("%d documents", 3);
        assert_int_equal(errno, ENOTTY);
    }
}

/* The last test: nobody takes it back. */
static void where_several_speak_only_the_status_of_all_is_told(void **state)
{
    (void)state;
    listen_at(false);
    assert_true(notify_hears());
    notify_several();
    notify_status("movies: following");
    notify_whole_status("2 pipelines: 100 % following");
    assert_string_equal(heard(), "STATUS=2 pipelines: 100 % following");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_state_is_one_message),
        cmocka_unit_test_teardown(a_status_cannot_be_another_message, hang_up),
        cmocka_unit_test_teardown(a_long_status_ends_between_two_characters, hang_up),
        cmocka_unit_test(nobody_who_listens_is_no_trouble),
        cmocka_unit_test_teardown(where_several_speak_only_the_status_of_all_is_told, hang_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
