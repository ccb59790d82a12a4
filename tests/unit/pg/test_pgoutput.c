/* A stream recorded from a real server reads as what was done there; nothing that is cut, longer
 * or otherwise damaged is accepted, and nothing is read beyond its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "pg/pgoutput.h"
#include "pg/pgoutput_recorded.h"

enum { N = sizeof RECORDED / sizeof *RECORDED };

/* A message of its own size on the heap, so that ASan sees a read past its end. */
static unsigned char *bytes_of(const char *hex, size_t *len)
{
    *len = strlen(hex) / 2;
    unsigned char *bytes = malloc(*len ? *len : 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < *len; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    return bytes;
}

static void add_row(char *out, size_t size, const char *mark, const struct pgoutput_row *row)
{
    struct pgoutput_value v;
    size_t n = strlen(out);
    n += (size_t)snprintf(out + n, size - n, " %s", mark);
    for (int i = 0; pgoutput_value(row, i, &v); i++)
        if (v.kind != PGOUTPUT_TEXT)
            n += (size_t)snprintf(out + n, size - n, "|%s",
                                  v.kind == PGOUTPUT_NULL ? "NULL" : "unchanged");
        else if (v.len > 100)
            n += (size_t)snprintf(out + n, size - n, "|%.1s*%zu", v.text, v.len);
        else
            n += (size_t)snprintf(out + n, size - n, "|%.*s", (int)v.len, v.text);
}

static void add_columns(char *out, size_t size, const struct pgoutput_event *event)
{
    struct pgoutput_column c;
    size_t n = strlen(out);
    for (int i = 0; pgoutput_column(event, i, &c); i++)
        n += (size_t)snprintf(out + n, size - n, " %s%s", c.name, c.is_key ? "*" : "");
}

/* The event in words; oids, which vary, left out. */
static void describe(const struct pgoutput_event *event, char *out, size_t size)
{
    snprintf(out, size, "%c", (char)event->kind);
    if (event->kind == PGOUTPUT_RELATION || event->kind == PGOUTPUT_TYPE)
        snprintf(out, size, "%c %s.%s", (char)event->kind, event->schema, event->name);
    if (event->kind == PGOUTPUT_RELATION)
        add_columns(out, size, event);
    if (event->old != PGOUTPUT_OLD_NONE)
        add_row(out, size, event->old == PGOUTPUT_OLD_KEY ? "key" : "old", &event->old_row);
    if (event->kind == PGOUTPUT_INSERT || event->kind == PGOUTPUT_UPDATE)
        add_row(out, size, "new", &event->new_row);
    if (event->kind == PGOUTPUT_TRUNCATE)
        snprintf(out, size, "T %d%s%s", event->n, event->cascade ? " cascade" : "",
                 event->restart ? " restart" : "");
}

static void a_recorded_stream_reads_as_what_was_done(void **state)
{
    (void)state;
    static const char *const expected[] = {
        "B",
        "R shop.product id* name price body",
        "I new|1|Tea|2.50|x*2500",
        "R shop.link product_id* tag*",
        "I new|1|hot",
        "C",
        "B",
        "U new|1|Tea|NULL|unchanged",
        "C",
        "B",
        "U key|1|NULL|NULL|NULL new|2|Tea|NULL|unchanged",
        "C",
        "B",
        "U old|1|hot new|1|cold",
        "C",
        "B",
        "D old|1|cold",
        "C",
        "B",
        "R shop.product id* name price body Größe",
        "U new|2|Tea|NULL|unchanged|7",
        "C",
        "B",
        "Y shop.size",
        "R shop.item id* size",
        "I new|9007199254740993|m",
        "C",
        "B",
        "D key|2|NULL|NULL|NULL|NULL",
        "C",
        "B",
        "R shop.product id* name price body Größe",
        "R shop.link product_id* tag*",
        "T 2 cascade restart",
        "C",
    };
    assert_int_equal(N, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < N; i++) {
        struct pgoutput_event event;
        struct err e = {0};
        char text[500];
        size_t len;
        unsigned char *bytes = bytes_of(RECORDED[i], &len);
        if (!pgoutput_read(bytes, len, &event, &e))
            fail_msg("message %zu: %s", i, e.text);
        describe(&event, text, sizeof text);
        assert_string_equal(text, expected[i]);
        free(bytes);
    }
}

static void a_transaction_has_its_id_time_and_positions(void **state)
{
    (void)state;
    struct pgoutput_event begin, commit;
    struct err e = {0};
    size_t len, commit_len;
    unsigned char *bytes = bytes_of("42000000000192ef300003043b7e3eb6f9000002de", &len);
    unsigned char *end =
        bytes_of("4300000000000192ef30000000000192ef600003043b7e3eb6f9", &commit_len);
    assert_true(pgoutput_read(bytes, len, &begin, &e));
    assert_true(pgoutput_read(end, commit_len, &commit, &e));
    assert_int_equal(begin.xid, 0x2de);
    assert_int_equal(begin.lsn, 0x192ef30);
    assert_int_equal(commit.lsn, 0x192ef30);
    assert_int_equal(commit.end, 0x192ef60);
    assert_true(begin.commit_us == commit.commit_us);
    assert_true(begin.commit_us == INT64_C(0x3043b7e3eb6f9) + INT64_C(946684800000000));
    free(bytes);
    free(end);
}

static void a_truncate_names_its_tables(void **state)
{
    (void)state;
    struct pgoutput_event event;
    struct err e = {0};
    size_t len;
    unsigned char *bytes = bytes_of("5400000002000000400100004008", &len);
    assert_true(pgoutput_read(bytes, len, &event, &e));
    assert_int_equal(event.n, 2);
    assert_int_equal(pgoutput_truncated(&event, 0), 0x4001);
    assert_int_equal(pgoutput_truncated(&event, 1), 0x4008);
    assert_int_equal(pgoutput_truncated(&event, 2), 0);
    assert_int_equal(pgoutput_truncated(&event, -1), 0);
    assert_false(event.cascade || event.restart);
    free(bytes);
}

static void refuses(const unsigned char *bytes, size_t len)
{
    struct pgoutput_event event;
    struct err e = {0};
    unsigned char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    assert_false(pgoutput_read(copy, len, &event, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "cannot read the log"));
    free(copy);
}

static void a_message_that_is_cut_or_too_long_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < N; i++) {
        size_t len;
        unsigned char *bytes = bytes_of(RECORDED[i], &len), *longer = malloc(len + 1);
        assert_non_null(longer);
        for (size_t cut = 0; cut < len && cut < 400; cut++)
            refuses(bytes, cut);
        memcpy(longer, bytes, len);
        longer[len] = 0;
        refuses(longer, len + 1);
        free(bytes);
        free(longer);
    }
}

static void what_is_not_asked_for_is_refused(void **state)
{
    (void)state;
    static const char *const hex[] = {
        "53000002de01",                           /* STREAM START: protocol version 2 */
        "62000000000000000000000000000000000000", /* BEGIN PREPARE: version 3 */
        "4900004001"
        "4e0001"
        "62000000010a", /* a binary value */
        "4900004001"
        "4effff", /* fewer than no columns */
        "4900004001"
        "4e0001"
        "74ffffffff",   /* a value of 4 GB */
        "54ffffffff00", /* as many tables */
        "4400004001"
        "4e0001"
        "6e", /* a delete without an old row */
    };
    for (size_t i = 0; i < sizeof hex / sizeof *hex; i++) {
        size_t len;
        unsigned char *bytes = bytes_of(hex[i], &len);
        refuses(bytes, len);
        free(bytes);
    }
}

static void messages_and_origins_are_read(void **state)
{
    (void)state;
    struct pgoutput_event event;
    struct err e = {0};
    size_t len;
    unsigned char *bytes = bytes_of("4d01000000000192ef3065746c0000000003616263", &len);
    assert_true(pgoutput_read(bytes, len, &event, &e));
    assert_string_equal(event.name, "etl");
    assert_int_equal(event.lsn, 0x192ef30);
    free(bytes);
    bytes = bytes_of("4f000000000192ef3065617374"
                     "00",
                     &len);
    assert_true(pgoutput_read(bytes, len, &event, &e));
    assert_string_equal(event.name, "east");
    free(bytes);
}

static void damaged_times_do_not_overflow(void **state)
{
    (void)state;
    struct pgoutput_event event;
    struct err e = {0};
    size_t len;
    unsigned char *bytes = bytes_of("42000000000192ef307fffffffffffffff000002de", &len);
    assert_true(pgoutput_read(bytes, len, &event, &e));
    assert_true(event.commit_us == INT64_MAX);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_stream_reads_as_what_was_done),
        cmocka_unit_test(a_transaction_has_its_id_time_and_positions),
        cmocka_unit_test(a_truncate_names_its_tables),
        cmocka_unit_test(a_message_that_is_cut_or_too_long_is_refused),
        cmocka_unit_test(what_is_not_asked_for_is_refused),
        cmocka_unit_test(messages_and_origins_are_read),
        cmocka_unit_test(damaged_times_do_not_overflow),
    };
    return cmocka_run_group_tests_name("pgoutput", tests, NULL, NULL);
}
