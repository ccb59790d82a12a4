/* Statements and their parameters: what would be sent, without a server. */
#include "source/source_internal.h"

#include "base/err.h"
#include "torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct source_key one = {.n = 1, .names = {"id"}, .types = {"uuid"}};
static const struct source_key two = {
    .n = 2, .names = {"a", "\"B\""}, .types = {"integer", "text"}};

static void assert_sql(struct buf *b, const char *expected)
{
    assert_string_equal(buf_cstr(b), expected);
    buf_free(b);
}

static void conditions_on_a_key_are_what_an_index_can_answer(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SOURCE_SQL_MAX);
    source_add_choice(&b, &one, "q.");
    assert_sql(&b, "q.id = ANY($1::uuid[])");
    source_add_choice(&b, &two, "q.");
    assert_sql(&b, "q.a = ANY($1::integer[]) AND q.\"B\" = ANY($2::text[]) AND (q.a, q.\"B\") IN "
                   "(SELECT * FROM unnest($1::integer[], $2::text[]))");
    source_add_comparison(&b, &one, "", ">", 1);
    assert_sql(&b, "(id) > ($1::uuid)");
    source_add_comparison(&b, &two, "q.", "<=", 3);
    assert_sql(&b, "(q.a, q.\"B\") <= ($3::integer, $4::text)");
}

static void a_key_is_bound_part_by_part(void **state)
{
    (void)state;
    struct source_statement st;
    struct err e;
    source_statement_init(&st, SOURCE_ANY_ROWS, 2);
    source_bind(&st, "first");
    assert_true(source_bind_key(&st, &two, "7:x\\:y", &e));
    assert_int_equal(st.n, 3);
    assert_string_equal(st.parameters[0], "first");
    assert_string_equal(st.parameters[1], "7");
    assert_string_equal(st.parameters[2], "x:y");
    source_statement_free(&st);
}

static void many_keys_are_bound_as_an_array_for_each_column(void **state)
{
    (void)state;
    static const char *const keys[] = {"7:x", "8:y z", "9:\\\\"};
    struct source_statement st;
    struct pg_statement sent;
    struct err e;
    source_statement_init(&st, SOURCE_ANY_ROWS, 2);
    buf_adds(&st.sql, "SELECT 1");
    assert_true(source_bind_keys(&st, &two, keys, 3, &e));
    assert_int_equal(st.n, 2);
    assert_string_equal(st.parameters[0], "{\"7\",\"8\",\"9\"}");
    assert_string_equal(st.parameters[1], "{\"x\",\"y z\",\"\\\\\"}");
    assert_true(source_statement(&st, &sent, &e));
    assert_string_equal(sent.sql, "SELECT 1");
    assert_int_equal(sent.n, 2);
    source_statement_free(&st);

    source_statement_init(&st, SOURCE_ANY_ROWS, 2);
    assert_true(source_bind_keys(&st, &two, NULL, 0, &e));
    assert_string_equal(st.parameters[1], "{}");
    source_statement_free(&st);
}

static void what_is_no_key_is_an_error_and_frees_the_statement(void **state)
{
    (void)state;
    static const char *const keys[] = {"7:x", "8"};
    struct source_statement st;
    struct err e;
    source_statement_init(&st, SOURCE_ANY_ROWS, 2);
    buf_adds(&st.sql, "SELECT 1");
    assert_false(source_bind_keys(&st, &two, keys, 2, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(e.text, "'8' is not a key of this table: it does not have 2 parts");
    assert_int_equal(st.n, 0); /* the leak checker judges the rest */
    source_statement_init(&st, SOURCE_ANY_ROWS, 2);
    assert_false(source_bind_key(&st, &two, "a:b:c", &e));
    assert_int_equal(st.n, 0);
}

static void without_memory_it_fails_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const keys[] = {"7:x", "8:y"};
    bool done = false;
    for (int n = 0; !done; n++) {
        struct source_statement st;
        struct pg_statement sent;
        struct err e;
        allocations_left = n;
        source_statement_init(&st, SOURCE_ANY_ROWS, 2);
        buf_adds(&st.sql, "SELECT 1 WHERE ");
        source_add_choice(&st.sql, &two, "q.");
        source_bind(&st, "value");
        done = source_bind_keys(&st, &two, keys, 2, &e) && source_bind_key(&st, &one, "z", &e) &&
               source_statement(&st, &sent, &e);
        allocations_left = -1;
        if (!done)
            assert_int_equal(e.kind, ERR_FINAL);
        source_statement_free(&st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_on_a_key_are_what_an_index_can_answer),
        cmocka_unit_test(a_key_is_bound_part_by_part),
        cmocka_unit_test(many_keys_are_bound_as_an_array_for_each_column),
        cmocka_unit_test(what_is_no_key_is_an_error_and_frees_the_statement),
        cmocka_unit_test(without_memory_it_fails_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
