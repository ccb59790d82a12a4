/* Who is sent off, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/guests.h"

enum { MANY = GUESTS_ROOM + 10 };

static struct guests guests;
static int ends[MANY][2]; /* of each guest: the server's, and its own */
static size_t n;

static int start(void **state)
{
    (void)state;
    guests.n = 0;
    n = 0;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < n; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
    return 0;
}

/* Returns the guest's number. */
static size_t come(const char *from, int64_t now_us)
{
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    bool is_four = inet_pton(AF_INET, from, &four.sin_addr) == 1;
    if (!is_four)
        assert_int_equal(inet_pton(AF_INET6, from, &six.sin6_addr), 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[n]), 0);
    guests_add(&guests, ends[n][0],
               is_four ? (const struct sockaddr *)&four : (const struct sockaddr *)&six, now_us);
    return n++;
}

static bool is_sent_off(size_t i)
{
    char c;
    return recv(ends[i][1], &c, 1, MSG_DONTWAIT) == 0;
}

static void go(size_t i)
{
    guests_remove(&guests, ends[i][0]);
}

static void one_client_loses_its_own_oldest_connection(void **state)
{
    (void)state;
    size_t other = come("192.0.2.1", 0), first = come("192.0.2.2", 1);
    for (int i = 1; i < GUESTS_OF_ONE; i++)
        come("192.0.2.2", 2 + i);
    assert_false(is_sent_off(first));
    come("192.0.2.2", 100);
    assert_true(is_sent_off(first));
    assert_false(is_sent_off(first + 1));
    come("192.0.2.2", 101); /* the first is still there, but does not count */
    assert_true(is_sent_off(first + 1));
    assert_false(is_sent_off(first + 2));
    assert_false(is_sent_off(other));
}

static void who_has_left_does_not_count(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * GUESTS_OF_ONE; i++) {
        size_t one = come("192.0.2.2", i);
        assert_false(is_sent_off(one));
        go(one);
    }
    assert_int_equal(guests.n, 0);
    go(0); /* again: nothing happens */
}

static void a_network_of_ipv6_is_one_client(void **state)
{
    (void)state;
    const char *from[] = {"2001:db8::1", "2001:db8::2:1", "2001:db8:0:0:ffff::"};
    size_t other = come("2001:db8:0:1::1", 0), first = come("2001:db8::9", 1);
    for (int i = 0; i < GUESTS_OF_ONE; i++)
        come(from[i % 3], 2 + i);
    assert_true(is_sent_off(first));
    assert_false(is_sent_off(other));
}

static void an_ipv4_client_is_itself_by_either_family(void **state)
{
    (void)state;
    size_t other = come("::ffff:192.0.2.3", 0), first = come("::ffff:192.0.2.2", 1);
    for (int i = 0; i < GUESTS_OF_ONE; i++)
        come("192.0.2.2", 2 + i);
    assert_true(is_sent_off(first));
    assert_false(is_sent_off(other));
}

static void many_clients_lose_the_oldest_of_all(void **state)
{
    (void)state;
    char from[40];
    for (int i = 0; i < GUESTS_MOST; i++) {
        snprintf(from, sizeof from, "192.0.2.%d", i);
        come(from, i);
    }
    for (size_t i = 0; i < GUESTS_MOST; i++)
        assert_false(is_sent_off(i));
    come("198.51.100.1", 1000);
    assert_true(is_sent_off(0));
    assert_false(is_sent_off(1));
}

static void there_is_an_end_to_the_room(void **state)
{
    (void)state;
    for (int i = 0; i < MANY; i++)
        come("192.0.2.1", i);
    assert_int_equal(guests.n, GUESTS_ROOM);
    assert_true(is_sent_off(MANY - 1));
}

static void time_is_limited(void **state)
{
    (void)state;
    const int64_t time_us = (int64_t)GUESTS_TIME_MS * 1000;
    assert_int_equal(guests_expire(&guests, 0), -1);
    size_t a = come("192.0.2.1", 0), b = come("192.0.2.1", time_us / 2);
    assert_int_equal(guests_expire(&guests, 0), GUESTS_TIME_MS + 1);
    assert_int_equal(guests_expire(&guests, time_us - 1500), 2);
    assert_false(is_sent_off(a));
    assert_int_equal(guests_expire(&guests, time_us), GUESTS_TIME_MS / 2 + 1);
    assert_true(is_sent_off(a));
    assert_false(is_sent_off(b));
    assert_int_equal(guests_expire(&guests, 2 * time_us), -1);
    assert_true(is_sent_off(b));
}

#define test(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(one_client_loses_its_own_oldest_connection),
        test(who_has_left_does_not_count),
        test(a_network_of_ipv6_is_one_client),
        test(an_ipv4_client_is_itself_by_either_family),
        test(many_clients_lose_the_oldest_of_all),
        test(there_is_an_end_to_the_room),
        test(time_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
