/* An error must tell all it knows, whatever it is made of, in a fixed space. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"

static bool is_utf8(const char *text)
{
    size_t n = 1;
    for (size_t left = strlen(text); left > 0 && n > 0; left -= n, text += n)
        n = json_character(text, left);
    return n > 0;
}

static void err_set_fills_kind_and_text_and_forgets_the_rest(void **state)
{
    (void)state;
    struct err e = {.kind = ERR_USAGE, .retry_after_ms = 5, .hint = "old"};
    assert_false(err_set(&e, ERR_PASSING, "could not reach '%s': %d", "x", 7));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_string_equal(e.text, "could not reach 'x': 7");
    assert_string_equal(e.hint, "");
    assert_true(e.retry_after_ms == 0);
}

static void err_wrap_puts_context_in_front_and_keeps_all_else(void **state)
{
    (void)state;
    struct err e;
    err_set(&e, ERR_PASSING, "connection refused");
    err_hint(&e, "is it running?");
    e.retry_after_ms = 1500;
    assert_false(err_wrap(&e, "could not read table '%s'", "film"));
    assert_string_equal(e.text, "could not read table 'film': connection refused");
    assert_int_equal(e.kind, ERR_PASSING);
    assert_string_equal(e.hint, "is it running?");
    assert_true(e.retry_after_ms == 1500);
}

static void a_message_ends_without_a_stop_since_it_goes_on(void **state)
{
    (void)state;
    struct err e;
    err_set(&e, ERR_PASSING, "index [t] blocked by: [%s];", "x");
    assert_string_equal(e.text, "index [t] blocked by: [x]");
    err_set(&e, ERR_FINAL, "It is so.");
    err_wrap(&e, "a");
    assert_string_equal(e.text, "a: It is so");
}

static void arguments_may_point_into_the_error_itself(void **state)
{
    (void)state;
    struct err e;
    err_set(&e, ERR_FINAL, "one");
    err_set(&e, ERR_FINAL, "<%s%s>", e.text, e.text);
    assert_string_equal(e.text, "<oneone>");
    err_wrap(&e, "[%s]", e.text);
    assert_string_equal(e.text, "[<oneone>]: <oneone>");
    err_hint(&e, "a");
    err_hint(&e, "%s%s!", e.hint, e.hint);
    assert_string_equal(e.hint, "aa!");
}

static void a_character_is_never_cut_in_half(void **state)
{
    (void)state;
    static const char *const characters[] = {"x", "ж", "€", "😀"};
    for (size_t c = 0; c < 4; c++) {
        char text[4000] = "";
        size_t n = strlen(characters[c]);
        for (size_t i = 0; i + n < sizeof text; i += n)
            memcpy(text + i, characters[c], n + 1);
        for (int shift = 0; shift < 4; shift++) {
            struct err e;
            err_set(&e, ERR_FINAL, "%.*s%s", shift, "....", text);
            assert_true(is_utf8(e.text));
            assert_true(strlen(e.text) > sizeof e.text - 1 - n && strlen(e.text) < sizeof e.text);
            err_wrap(&e, "%.*s", shift, "....");
            assert_true(is_utf8(e.text));
            assert_true(strlen(e.text) > sizeof e.text - 1 - n);
            err_hint(&e, "%.*s%s", shift, "....", text);
            assert_true(is_utf8(e.hint));
            assert_true(strlen(e.hint) > sizeof e.hint - 1 - n);
        }
    }
}

static void a_text_that_was_not_cut_stays_as_it_is(void **state)
{
    (void)state;
    struct err e;
    err_set(&e, ERR_FINAL, "caf\xE9"); /* Latin-1, as an old server may say it */
    assert_string_equal(e.text, "caf\xE9");
}

static void a_long_context_does_not_push_the_reason_out(void **state)
{
    (void)state;
    char context[2000];
    memset(context, 'c', sizeof context - 1);
    context[sizeof context - 1] = '\0';
    struct err e;
    err_set(&e, ERR_FINAL, "the reason");
    err_wrap(&e, "%s", context);
    assert_non_null(strstr(e.text, "cc: the reason"));
}

static void err_memory_is_final(void **state)
{
    (void)state;
    struct err e;
    assert_false(err_memory(&e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(e.text, "out of memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set_fills_kind_and_text_and_forgets_the_rest),
        cmocka_unit_test(err_wrap_puts_context_in_front_and_keeps_all_else),
        cmocka_unit_test(a_message_ends_without_a_stop_since_it_goes_on),
        cmocka_unit_test(arguments_may_point_into_the_error_itself),
        cmocka_unit_test(a_character_is_never_cut_in_half),
        cmocka_unit_test(a_text_that_was_not_cut_stays_as_it_is),
        cmocka_unit_test(a_long_context_does_not_push_the_reason_out),
        cmocka_unit_test(err_memory_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
