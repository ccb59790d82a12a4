/* Where to listen: what a user writes, and what becomes of it; whose request it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "http/address.h"

/* Port 0: one that is free. */
static void a_port_alone_is_loopback(void **state)
{
    (void)state;
    const char *texts[] = {"0", ":0", "127.0.0.1:0", "127.0.0.9:0", "[127.0.0.1]:0"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct address a;
        struct err e;
        assert_true(address_open(texts[i], &a, &e));
        assert_true(a.loopback);
        assert_true(a.port > 0);
        assert_string_equal(a.host, i == 3 ? "127.0.0.9" : "127.0.0.1");
        close(a.fd);
    }
}

static void any_address_is_not(void **state)
{
    (void)state;
    struct address a;
    struct err e;
    assert_true(address_open("0.0.0.0:0", &a, &e));
    assert_false(a.loopback);
    close(a.fd);
}

static void it_is_loopback_in_either_form(void **state)
{
    (void)state;
    struct address a;
    struct err e;
    if (!address_open("[::1]:0", &a, &e)) /* no IPv6 on this machine */
        return;
    assert_true(a.loopback);
    assert_string_equal(a.host, "[::1]");
    close(a.fd);
    assert_true(address_open("[::ffff:127.0.0.1]:0", &a, &e));
    assert_true(a.loopback);
    close(a.fd);
    assert_true(address_open("[::]:0", &a, &e));
    assert_false(a.loopback);
    close(a.fd);
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    const char *texts[] = {
        "",       ":",           "localhost",    "127.0.0.1", "127.0.0.1:", "::1",
        "::1:80", "[::1]",       "[::1]80",      "[]:80",     "1:2:3",      "65536",
        "-1",     "9187 ",       " 9187",        "0x50",      "1:http",     "[::1:80",
        "+80",    "1.2.3.4:+80", "host:1000000", "a b:80",    "::",         "[:80"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct address a;
        struct err e;
        if (address_open(texts[i], &a, &e))
            fail_msg("'%s' is an address?", texts[i]);
        assert_int_equal(e.kind, ERR_USAGE);
        assert_int_equal(a.fd, -1);
        assert_non_null(strstr(e.text, texts[i]));
    }
    char name[400];
    memset(name, 'x', sizeof name - 4);
    memcpy(name + sizeof name - 4, ":80", 4);
    struct address a;
    struct err e;
    assert_false(address_open(name, &a, &e));
}

static void a_port_in_use_is_said_to_be(void **state)
{
    (void)state;
    struct address first, second;
    struct err e;
    char text[100];
    assert_true(address_open("0", &first, &e));
    snprintf(text, sizeof text, "%d", first.port);
    assert_false(address_open(text, &second, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "in use"));
    close(first.fd);
    assert_true(address_open(text, &second, &e));
    close(second.fd);
}

static void an_address_of_another_machine_is_said_to_be(void **state)
{
    (void)state;
    struct address a;
    struct err e;
    assert_false(address_open("192.0.2.1:9187", &a, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(e.text,
                        "cannot listen on '192.0.2.1:9187': this machine has no such address");
}

static void on_loopback_only_its_own_names_are_right(void **state)
{
    (void)state;
    const struct address a = {.loopback = true, .host = "127.0.0.9", .port = 9187};
    const char *right[] = {"localhost",      "LocalHost:9187", "127.0.0.1:9187", "[::1]:9187",
                           "localhost:8000", "127.0.0.9:9187", "[::1]"};
    const char *wrong[] = {
        "",           "evil.example",        "evil.example:9187", "localhost.evil:9187",
        "localhost:", "localhost:9187.evil", "localhost:x",       "127.0.0.1.evil",
        "::1",        "127.0.0.2",           "127.0.0.11",        "[::1]x",
        "0.0.0.0"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        if (!address_is_host(&a, right[i]))
            fail_msg("%s", right[i]);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (address_is_host(&a, wrong[i]))
            fail_msg("%s", wrong[i]);
}

static void elsewhere_every_name_is_right(void **state)
{
    (void)state;
    const struct address a = {.host = "0.0.0.0", .port = 9187};
    assert_true(address_is_host(&a, "etl-engine.default.svc:9187"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_alone_is_loopback),
        cmocka_unit_test(any_address_is_not),
        cmocka_unit_test(it_is_loopback_in_either_form),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_port_in_use_is_said_to_be),
        cmocka_unit_test(an_address_of_another_machine_is_said_to_be),
        cmocka_unit_test(on_loopback_only_its_own_names_are_right),
        cmocka_unit_test(elsewhere_every_name_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
