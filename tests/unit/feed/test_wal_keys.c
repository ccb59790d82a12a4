/* Each change of a recorded stream announces the keys that the rules name, for every part that its
 * table plays in a script.
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
#include "feed/wal_keys.h"
#include "pg/pgoutput.h"
#include "pg/pgoutput_recorded.h"
#include "torture.h"

enum { N = sizeof RECORDED / sizeof *RECORDED, TEXT = 2000 };

static const char *const id[] = {"id"}, *const product_id[] = {"product_id"},
                         *const id_and_size[] = {"id", "size"}, *const tag[] = {"tag"},
                         *const body[] = {"body"}, *const link_key[] = {"product_id", "tag"},
                         *const gone[] = {"gone"};

#define NAMES(list)                                                                                \
    {                                                                                              \
        list, sizeof list / sizeof *list                                                           \
    }

static bool write_down(void *arg, enum wal_kind kind, size_t table, const char *key, struct err *e)
{
    char *out = arg;
    size_t n = strlen(out);
    (void)e;
    assert_true(n < TEXT / 2);
    snprintf(out + n, TEXT - n, "%s%s%zu %s", n ? ", " : "",
             kind == WAL_ROOT      ? "root"
             : kind == WAL_RELATED ? "related"
                                   : "sweep",
             table, key ? key : "-");
    return true;
}

static bool feed_message(struct wal_keys *k, const char *hex, char *out, struct err *e)
{
    struct pgoutput_event event;
    size_t len = strlen(hex) / 2;
    unsigned char *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    struct err none = {0};
    assert_true(pgoutput_read(bytes, len, &event, &none));
    bool ok = wal_keys_event(k, &event, write_down, out, e);
    free(bytes);
    return ok;
}

/* What the recorded stream announces, a transaction a line. */
static void announces(const struct wal_table *tables, size_t n, const char *const *expected)
{
    struct wal_keys *k = wal_keys_new();
    struct err e = {0};
    char text[TEXT] = "";
    size_t transaction = 0;
    assert_non_null(k);
    for (size_t i = 0; i < n; i++)
        assert_true(wal_keys_add(k, &tables[i], &e));
    for (size_t i = 0; i < N; i++) {
        if (!feed_message(k, RECORDED[i], text, &e))
            fail_msg("message %zu: %s", i, e.text);
        if (strncmp(RECORDED[i], "43", 2) != 0) /* COMMIT */
            continue;
        assert_non_null(expected[transaction]);
        assert_string_equal(text, expected[transaction]);
        transaction++;
        text[0] = '\0';
    }
    assert_null(expected[transaction]);
    wal_keys_free(k);
}

/* In the recorded order: an insert of both, an update (its large value is not in the log), a new
 * key, a link moved, a link deleted, an altered table, another table, a delete, a TRUNCATE. */
static void a_root_and_links_by_a_column(void **state)
{
    (void)state;
    static const struct wal_table tables[] = {
        {.schema = "shop", .name = "product", .is_root = true, .key = NAMES(id)},
        {.schema = "shop", .name = "link", .key = NAMES(link_key), .affects = NAMES(product_id)},
    };
    static const char *const expected[] = {
        "root0 1, root1 1", "root0 1", "root0 1, root0 2", "root1 1, root1 1", "root1 1",
        "root0 2",          "",        "root0 2",          "sweep0 -",         NULL};
    announces(tables, 2, expected);
}

static void a_related_table_by_a_query(void **state)
{
    (void)state;
    static const struct wal_table tables[] = {
        {.schema = "shop", .name = "link", .key = NAMES(tag)},
    };
    static const char *const expected[] = {"related0 hot",  "",  "", "related0 hot, related0 cold",
                                           "related0 cold", "",  "", "",
                                           "sweep0 -",      NULL};
    announces(tables, 1, expected);
}

/* It is asked by the key of a row that was updated, unless the log has the old row. */
static void an_index_field_makes_up_for_old_values_that_are_not_in_the_log(void **state)
{
    (void)state;
    static const struct wal_table tables[] = {
        {.schema = "shop",
         .name = "link",
         .key = NAMES(link_key),
         .affects = NAMES(product_id),
         .asks_index = true},
        {.schema = "shop",
         .name = "product",
         .key = NAMES(id),
         .affects = NAMES(body),
         .asks_index = true},
    };
    struct wal_keys *k = wal_keys_new();
    struct err e = {0};
    char text[TEXT] = "";
    for (size_t i = 0; i < 2; i++)
        assert_true(wal_keys_add(k, &tables[i], &e));
    assert_true(feed_message(k, RECORDED[1], text, &e)); /* the table */
    assert_true(feed_message(k, RECORDED[7], text, &e)); /* UPDATE: body is unchanged */
    assert_string_equal(text, "related1 1, related1 1");
    wal_keys_free(k);
    static const char *const expected[] = {"root0 1", "", "", "root0 1, root0 1", "root0 1",
                                           "",        "", "", "sweep0 -",         NULL};
    announces(tables, 1, expected); /* all of the key's columns are in the log */
}

static void a_table_that_is_root_and_related(void **state)
{
    (void)state;
    static const struct wal_table tables[] = {
        {.schema = "shop", .name = "item", .is_root = true, .key = NAMES(id_and_size)},
        {.schema = "shop", .name = "item", .key = NAMES(id)},
    };
    static const char *const expected[] = {
        "", "", "",  "", "", "", "root0 9007199254740993:m, related1 9007199254740993",
        "", "", NULL};
    announces(tables, 2, expected);
}

static void tables_of_another_schema_are_others(void **state)
{
    (void)state;
    static const struct wal_table tables[] = {
        {.schema = "public", .name = "product", .is_root = true, .key = NAMES(id)},
    };
    static const char *const expected[] = {"", "", "", "", "", "", "", "", "", NULL};
    announces(tables, 1, expected);
}

static void a_large_value_that_is_not_in_the_log_is_asked_for_by_the_key(void **state)
{
    (void)state;
    static const struct wal_table tables[] = {
        {.schema = "shop", .name = "product", .key = NAMES(id), .affects = NAMES(body)},
    };
    struct wal_keys *k = wal_keys_new();
    struct err e = {0};
    char text[TEXT] = "";
    assert_true(wal_keys_add(k, &tables[0], &e));
    assert_true(feed_message(k, RECORDED[1], text, &e)); /* the table */
    assert_true(feed_message(k, RECORDED[7], text, &e)); /* UPDATE: body is unchanged */
    assert_string_equal(text, "related0 1");
    wal_keys_free(k);
}

static void what_does_not_fit_is_an_error(void **state)
{
    (void)state;
    static const struct wal_table tables[] = {
        {.schema = "shop", .name = "product", .is_root = true, .key = NAMES(gone)},
    };
    struct wal_keys *k = wal_keys_new();
    struct err e = {0};
    char text[TEXT] = "";
    assert_false(feed_message(k, RECORDED[2], text, &e)); /* INSERT of an unknown table */
    assert_non_null(strstr(e.text, "not described"));
    assert_true(wal_keys_add(k, &tables[0], &e));
    assert_false(wal_keys_is_outdated(k, &e));
    assert_true(feed_message(k, RECORDED[1], text, &e));
    assert_true(wal_keys_is_outdated(k, &e));
    assert_string_equal(e.text,
                        "cannot follow table 'shop.product': it has no column 'gone' any more");
    assert_int_equal(e.fault, ERR_FAULT_SCHEMA);
    assert_true(feed_message(k, RECORDED[2], text, &e)); /* its keys are not known */
    assert_string_equal(text, "sweep0 -");
    wal_keys_forget(k);
    assert_false(feed_message(k, RECORDED[2], text, &e));
    wal_keys_free(k);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const struct wal_table table = {
        .schema = "shop", .name = "product", .is_root = true, .key = NAMES(id)};
    for (int n = 0;; n++) {
        struct err e = {0};
        char text[TEXT] = "";
        allocations_left = n;
        struct wal_keys *k = wal_keys_new();
        allocations_left = -1;
        struct pgoutput_event relation, insert;
        /* as read from RECORDED[1] and RECORDED[2] */
        static const unsigned char columns[] = "\1id\0\0\0\0\27\377\377\377\377",
                                   values[] = "t\0\0\0\0017";
        relation = (struct pgoutput_event){.kind = PGOUTPUT_RELATION,
                                           .relation = 1,
                                           .schema = "shop",
                                           .name = "product",
                                           .n = 1,
                                           .list = columns,
                                           .list_len = sizeof columns - 1};
        insert = (struct pgoutput_event){
            .kind = PGOUTPUT_INSERT, .relation = 1, .new_row = {values, sizeof values - 1, 1}};
        allocations_left = k ? n : -1;
        bool ok = k && wal_keys_add(k, &table, &e) &&
                  wal_keys_event(k, &relation, write_down, text, &e) &&
                  wal_keys_event(k, &insert, write_down, text, &e);
        allocations_left = -1;
        wal_keys_free(k);
        if (ok) {
            assert_string_equal(text, "root0 7");
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_root_and_links_by_a_column),
        cmocka_unit_test(a_related_table_by_a_query),
        cmocka_unit_test(an_index_field_makes_up_for_old_values_that_are_not_in_the_log),
        cmocka_unit_test(a_table_that_is_root_and_related),
        cmocka_unit_test(tables_of_another_schema_are_others),
        cmocka_unit_test(a_large_value_that_is_not_in_the_log_is_asked_for_by_the_key),
        cmocka_unit_test(what_does_not_fit_is_an_error),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("wal_keys", tests, NULL, NULL);
}
