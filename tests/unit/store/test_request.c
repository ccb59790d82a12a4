/* Messages are read as they were written; anything else is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "store/request.h"
#include "torture.h"

static bool read_line(struct request_message *m, const char *line)
{
    struct err e;
    *m = (struct request_message){0};
    bool ok = request_read(m, line, strlen(line), &e);
    if (!ok)
        assert_int_equal(e.kind, ERR_FINAL);
    return ok;
}

static void a_message_comes_back(void **state)
{
    (void)state;
    struct buf b;
    struct request_message m = {.type = REQUEST_HELLO,
                                .version = 1,
                                .ask = REQUEST_ASK_SET,
                                .allow_deletes = true,
                                .pipeline = (char[]){"a \"b\"\n"},
                                .time = (char[]){"2026-11-24"}};
    buf_init(&b, REQUEST_LINE_MAX);
    assert_true(request_write(&b, &m));
    assert_int_equal(b.data[b.len - 1], '\n');
    assert_ptr_equal(memchr(b.data, '\n', b.len), b.data + b.len - 1); /* it is one line */
    struct request_message got;
    assert_true(read_line(&got, buf_cstr(&b)));
    assert_true(got.type == REQUEST_HELLO && got.version == 1 && got.ask == REQUEST_ASK_SET);
    assert_true(got.allow_deletes && !got.no_rows && !got.index);
    assert_string_equal(got.pipeline, m.pipeline);
    assert_string_equal(got.time, m.time);
    request_message_free(&got);
    buf_free(&b);
}

static void keys_and_counts_come_back(void **state)
{
    (void)state;
    struct buf b;
    struct request_message got, m = {.type = REQUEST_KEYS, .no_rows = true};
    buf_init(&b, REQUEST_LINE_MAX);
    assert_true(keylist_add(&m.keys, "7") && keylist_add(&m.keys, "\xC3\xA4"));
    assert_true(request_write(&b, &m));
    assert_true(read_line(&got, buf_cstr(&b)));
    assert_true(got.type == REQUEST_KEYS && got.keys.n == 2 && got.no_rows);
    assert_string_equal(got.keys.keys[1], "\xC3\xA4");
    request_message_free(&got);
    request_message_free(&m);
    buf_clear(&b);
    m = (struct request_message){.type = REQUEST_PROGRESS,
                                 .counts = {.indexed = 1, .rejected = 4, .retried_items = 9}};
    assert_true(request_write(&b, &m));
    assert_true(read_line(&got, buf_cstr(&b)));
    assert_memory_equal(&got.counts, &m.counts, sizeof m.counts);
    request_message_free(&got);
    buf_free(&b);
}

static void an_error_comes_back(void **state)
{
    (void)state;
    struct buf b;
    struct err e, same;
    struct request_message got;
    buf_init(&b, REQUEST_LINE_MAX);
    err_set(&e, ERR_USAGE, "what");
    err_hint(&e, "do this");
    struct request_message m = request_end(&e);
    assert_true(request_write(&b, &m));
    assert_true(read_line(&got, buf_cstr(&b)));
    request_error(&got, &same);
    assert_int_equal(same.kind, ERR_USAGE);
    assert_string_equal(same.text, "what");
    assert_string_equal(same.hint, "do this");
    request_message_free(&got);
    buf_free(&b);
    assert_int_equal(request_end(NULL).error, ERR_NONE);
}

static void what_is_no_utf8_is_not_sent(void **state)
{
    (void)state;
    struct buf b;
    struct request_message m = {.type = REQUEST_KEYS};
    buf_init(&b, REQUEST_LINE_MAX);
    buf_adds(&b, "before");
    assert_true(keylist_add(&m.keys, "\xFF"));
    assert_false(request_write(&b, &m));
    assert_int_equal(b.len, strlen("before"));
    assert_false(b.failed);
    request_message_free(&m);
    buf_free(&b);
}

static void what_is_no_message_is_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "7",
        "[]",
        "{}",
        "{\"type\":\"keys\"",
        "{\"type\":\"keys\"} {}",
        "{\"type\":\"nonsense\"}",
        "{\"type\":7}",
        "{\"type\":\"hello\",\"version\":\"1\"}",
        "{\"type\":\"hello\",\"version\":1e99}",
        "{\"type\":\"hello\",\"ask\":\"all\"}",
        "{\"type\":\"hello\",\"allow_deletes\":1}",
        "{\"type\":\"hello\",\"pipeline\":null}",
        "{\"type\":\"hello\",\"pipeline\":\"a\\u0000b\"}",
        "{\"type\":\"keys\",\"keys\":{}}",
        "{\"type\":\"keys\",\"keys\":[1]}",
        "{\"type\":\"keys\",\"keys\":[\"\"]}",
        "{\"type\":\"keys\",\"keys\":[\"a\",[]]}",
        "{\"type\":\"end\",\"counts\":[-1]}",
        "{\"type\":\"end\",\"counts\":7}",
        "{\"type\":\"end\",\"error\":\"odd\"}",
        "\xFF\xFE",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct request_message m;
        if (read_line(&m, lines[i]))
            fail_msg("taken: %s", lines[i]);
        assert_null(m.pipeline);
        assert_int_equal(m.keys.n, 0);
    }
}

static void what_a_later_version_adds_is_skipped(void **state)
{
    (void)state;
    struct request_message m;
    assert_true(read_line(&m, "{\"new\":{\"a\":[1,{}]},\"type\":\"end\",\"counts\":"
                              "[1,2,3,4,5,6,7,8,9,10,11],\"pipeline\":\"a\",\"pipeline\":\"b\"}"));
    assert_true(m.type == REQUEST_END && m.counts.indexed == 1 && m.counts.retried_items == 9);
    assert_string_equal(m.pipeline, "b");
    request_message_free(&m);
}

static void a_page_has_an_end(void **state)
{
    (void)state;
    struct buf b;
    struct request_message m;
    buf_init(&b, REQUEST_LINE_MAX);
    buf_adds(&b, "{\"type\":\"keys\",\"keys\":[\"a\"");
    for (int i = 0; i < REQUEST_PAGE_KEYS; i++)
        buf_adds(&b, ",\"a\"");
    buf_adds(&b, "]}");
    assert_false(read_line(&m, buf_cstr(&b)));
    buf_free(&b);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char line[] = "{\"type\":\"keys\",\"pipeline\":\"p\",\"keys\":[\"a\",\"b\\n\"]}";
    bool done = false;
    for (int n = 0; !done; n++) {
        struct request_message m = {0};
        struct err e;
        allocations_left = n;
        done = request_read(&m, line, strlen(line), &e);
        allocations_left = -1;
        request_message_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_back),
        cmocka_unit_test(keys_and_counts_come_back),
        cmocka_unit_test(an_error_comes_back),
        cmocka_unit_test(what_is_no_utf8_is_not_sent),
        cmocka_unit_test(what_is_no_message_is_refused),
        cmocka_unit_test(what_a_later_version_adds_is_skipped),
        cmocka_unit_test(a_page_has_an_end),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
