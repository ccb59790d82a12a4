/* Keys come from a file one a line, or from dead letters; a damaged line is told, never passed
 * over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "model/batch.h"
#include "store/keyfile.h"
#include "torture.h"

static char path[] = "/tmp/test_keyfile_XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const char *text, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static struct batch *new_batch(void)
{
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    return b;
}

/* keys: separated by '|'. */
static void assert_keys(const struct batch *b, const char *keys)
{
    char got[200] = "";
    size_t len = 0;
    for (size_t i = 0; i < b->n; i++)
        len += (size_t)snprintf(got + len, sizeof got - len, "%s%s", i ? "|" : "", b->keys[i]);
    assert_string_equal(got, keys);
}

static void each_line_is_a_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *keys;
    } cases[] = {
        {"", ""},
        {"\n\r\n\n", ""},
        {"a\nb\n", "a|b"},
        {"a\r\n\r\nb\r\nc", "a|b|c"},
        {" a b \n[1]\n\"x\"\n", " a b |[1]|\"x\""},
        {"{\"key\":\"a\"}\n", "a"},
        {"{\"key\":\"a\",\"reason\":\"r: "
         "{}\",\"status\":400,\"time\":\"t\",\"pipeline\":\"m\"}\nb\n"
         "{\"key\":\"\\u0444 \\\"1\\\":\\\\n\", \"x\" : [ {\"key\":\"no\"}, null ] } \r\n",
         "a|b|ф \"1\":\\n"},
        /* arrays, not dead letters */
        {"{\n{}\n{1,2}\n{\"a\",\"b\"}\n", "{|{}|{1,2}|{\"a\",\"b\"}"},
        {"{\"key\":\"{\\\"key\\\":1}\"}", "{\"key\":1}"},
        {"{\"key\":\"first\",\"key\":\"last\"}", "last"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct batch *b = new_batch();
        struct err e;
        write_file(cases[i].text, strlen(cases[i].text));
        if (!keyfile_read(b, path, &e))
            fail_msg("%s", e.text);
        assert_keys(b, cases[i].keys);
        batch_free(b);
    }
}

#define NO_LETTER "cannot read a dead letter: "

static void a_damaged_line_is_told_with_its_number(void **state)
{
    (void)state;
#define LINE(text) text, sizeof text - 1
    static const struct {
        const char *text;
        size_t len;
        const char *message; /* behind the path */
    } cases[] = {
        {LINE("a\n\n{\"key\":\"b\"}\n{\"key\":\"c\n"),
         ":4: " NO_LETTER "not a JSON object on one line: cut off at byte 9"},
        {LINE("{\"key\":\"a\"} x\n"),
         ":1: " NO_LETTER "not a JSON object on one line: damaged at byte 12"},
        {LINE("{\"key\":\"a\"}{\"key\":\"b\"}"),
         ":1: " NO_LETTER "not a JSON object on one line: damaged at byte 11"},
        {LINE("{\"key\":\"\xFF\"}"),
         ":1: " NO_LETTER "not a JSON object on one line: damaged at byte 8"},
        {LINE("{\"key\":\"a\",\"status\":4"),
         ":1: " NO_LETTER "not a JSON object on one line: cut off at byte 21"},
        {LINE("{\"key\":5}\n"), ":1: " NO_LETTER "its \"key\" is not a string"},
        {LINE("{\"key\":null}\n"), ":1: " NO_LETTER "its \"key\" is not a string"},
        {LINE("{\"key\":[\"a\"]}\n"), ":1: " NO_LETTER "its \"key\" is not a string"},
        {LINE("{\"key\":}\n"), ":1: " NO_LETTER "not a JSON object on one line: damaged at byte 7"},
        {LINE("{\"key\":\"\"}\n{\"key\":5}\n"), ":2: " NO_LETTER "its \"key\" is not a string"},
        {LINE("{\"key\":\"a\\u0000b\"}\n"), ":1: " NO_LETTER "its \"key\" holds a zero byte"},
        {LINE("a\nb\0c\n"), ":2: the key holds a zero byte"},
        {LINE("\0"), ":1: the key holds a zero byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct batch *b = new_batch();
        struct err e = {.text = "none"};
        char message[300];
        write_file(cases[i].text, cases[i].len);
        snprintf(message, sizeof message, "%s%s", path, cases[i].message);
        if (keyfile_read(b, path, &e) || strcmp(e.text, message) != 0 || e.kind != ERR_USAGE)
            fail_msg("got: %s\nnot: %s", e.text, message);
        batch_free(b);
    }
}

static void a_file_that_cannot_be_read_is_told(void **state)
{
    (void)state;
    struct batch *b = new_batch();
    struct err e;
    assert_false(keyfile_read(b, "/nowhere/keys", &e));
    assert_string_equal(e.text, "cannot read keys from '/nowhere/keys': No such file or directory");
    assert_false(keyfile_read(b, "/tmp", &e));
    assert_string_equal(e.text, "cannot read keys from '/tmp': Is a directory");
    assert_int_equal(e.kind, ERR_USAGE);
    batch_free(b);
}

static void a_dash_is_stdin(void **state)
{
    (void)state;
    static const char text[] = "a\n{\"key\":\"b\"}\n{\"key\":\n";
    struct batch *b = new_batch();
    struct err e;
    write_file(text, sizeof text - 1);
    assert_non_null(freopen(path, "r", stdin));
    assert_false(keyfile_read(b, "-", &e));
    assert_string_equal(e.text,
                        "stdin:3: " NO_LETTER "not a JSON object on one line: cut off at byte 7");
    assert_keys(b, "a|b");
    batch_free(b);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char text[] = "a\n{\"key\":\"b\\\\\",\"reason\":\"\\n\"}\nc\nd\n";
    bool done = false;
    write_file(text, sizeof text - 1);
    for (int n = 0; !done; n++) {
        struct batch *b = new_batch();
        struct err e;
        allocations_left = n;
        done = keyfile_read(b, path, &e);
        allocations_left = -1;
        if (done)
            assert_keys(b, "a|b\\|c|d");
        else
            assert_string_equal(e.text, "out of memory");
        batch_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_is_a_key),
        cmocka_unit_test(a_damaged_line_is_told_with_its_number),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
        cmocka_unit_test(a_dash_is_stdin),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("keyfile", tests, make_file, remove_file);
}
