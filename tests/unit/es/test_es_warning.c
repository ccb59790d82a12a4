/* Warning headers: read whatever they hold, each kind told once; and which program answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/witness.h"
#include "es/es.h"
#include "es/es_product.h"
#include "es/es_warning.h"

/* In heap memory of its exact size, so that a sanitizer sees a read beyond it. */
static bool next(const char *text, size_t len, char out[ES_WARNING_TEXT])
{
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    const char *at = copy;
    bool ok = es_warning_next(&at, copy + len, out);
    assert_true(at <= copy + len);
    free(copy);
    return ok;
}

static void a_warning_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *header, *text; /* NULL: it cannot be read */
    } cases[] = {
        {" 299 Elasticsearch-7.10.2-747e \"[types removal] is deprecated.\"\r\n",
         "[types removal] is deprecated."},
        {"299 OpenSearch-3.8.0 \"say \\\"no\\\" to \\\\\" \"Thu, 01 Jan 1970 00:00:00 GMT\"",
         "say \"no\" to \\"},
        {"299 - \"\xC3\xA9\"", "\xC3\xA9"},
        {"299 \"no agent\"", "no agent"},
        {"110 cache \"Response is Stale\"", ""},
        {"299 a \"\"", ""},
        {"299 a \"open", NULL},
        {"299 a \"open\\", NULL},
        {"299 a", NULL},
        {"299", NULL},
        {"", NULL},
        {"deprecated", NULL},
        {"299 a \"text\" \"open", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[ES_WARNING_TEXT];
        bool ok = next(cases[i].header, strlen(cases[i].header), out);
        if (ok != (cases[i].text != NULL) || (ok && strcmp(out, cases[i].text) != 0))
            fail_msg("%s: %s", cases[i].header, ok ? out : "not read");
    }
}

static void several_in_a_header_are_read_one_after_the_other(void **state)
{
    (void)state;
    static const char text[] = "299 a \"one, 299\" \"date\", 199 b \"two\",299 c \"three\"";
    char out[ES_WARNING_TEXT];
    const char *at = text, *end = text + strlen(text);
    assert_true(es_warning_next(&at, end, out));
    assert_string_equal(out, "one, 299");
    assert_true(es_warning_next(&at, end, out));
    assert_string_equal(out, "");
    assert_true(es_warning_next(&at, end, out));
    assert_string_equal(out, "three");
    assert_false(es_warning_next(&at, end, out));
    for (size_t len = 0; len < strlen(text); len++)
        next(text, len, out);
}

static void a_long_text_is_cut_at_a_character(void **state)
{
    (void)state;
    for (size_t before = 0; before < 4; before++) {
        char text[2000] = "299 a \"", out[ES_WARNING_TEXT];
        size_t len = strlen(text);
        for (size_t i = 0; i < before; i++)
            text[len++] = 'x';
        for (size_t i = 0; i < 400; i++, len += 3)
            memcpy(text + len, "\xE2\x82\xAC", 3);
        text[len++] = '"';
        assert_true(next(text, len, out));
        size_t got = strlen(out);
        assert_true(got < ES_WARNING_TEXT && got > ES_WARNING_TEXT - 6);
        assert_int_equal((got - before) % 3, 0);
    }
}

/* ---- telling ---- */

static int lines;
static char last[1000];

static void hear(void *arg, bool is_error, const char *text)
{
    (void)arg;
    assert_false(is_error);
    lines++;
    snprintf(last, sizeof last, "%s", text);
}

static void tell(struct es_warnings *w, const char *value)
{
    es_warnings_tell(w, value, strlen(value), "http://node");
}

static void each_kind_is_told_once_and_never_too_many(void **state)
{
    (void)state;
    struct err e;
    static const struct witness witness = {.line = hear};
    struct es_warnings *w = es_warnings_new(&e);
    assert_non_null(w);
    witness_set(&witness);
    lines = 0;
    tell(w, "299 a \"first 1\"");
    tell(w, "299 a \"first 2\", 299 b \"second\"");
    tell(w, "299 a \"second\", 110 a \"stale\", \"damaged");
    assert_int_equal(lines, 2);
    assert_non_null(strstr(last, "the search server warns: second"));
    for (int i = 0; i < 1000; i++) {
        char text[60];
        snprintf(text, sizeof text, "299 a \"kind %c%c%c\"", 'a' + i % 10, 'a' + i / 10 % 10,
                 'a' + i / 100);
        tell(w, text);
    }
    assert_int_equal(lines, ES_WARNINGS);
    witness_set(NULL);
    es_warnings_free(w);
    es_warnings_free(NULL);
}

/* ---- which program ---- */

static struct es_product product(const char *body, bool elastic)
{
    struct es_answer a = {.status = 200, .elastic = elastic};
    struct es_product p;
    buf_init(&a.body, 1 << 16);
    buf_adds(&a.body, body);
    es_product_read(&a, &p);
    es_answer_free(&a);
    return p;
}

static void a_program_is_recognised_by_what_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool elastic;
        enum es_program program;
        int major;
    } cases[] = {
        {"{\"version\":{\"number\":\"7.10.2\"},\"tagline\":\"You Know, for Search\"}", false,
         ES_ELASTICSEARCH, 7},
        {"{\"version\":{\"number\":\"9.5.3\"},\"tagline\":\"other\"}", true, ES_ELASTICSEARCH, 9},
        {"{\"version\":{\"number\":\"6.8.23\"},\"tagline\":\"You Know, for Search\"}", false,
         ES_ELASTICSEARCH, 6},
        {"{\"version\":{\"distribution\":\"opensearch\",\"number\":\"3.8.0\"}}", false,
         ES_OPENSEARCH, 3},
        {"{\"version\":{\"number\":\"7.10.2\"},\"tagline\":\"The OpenSearch Project: https://\"}",
         false, ES_OPENSEARCH, 7},
        {"{\"version\":{\"number\":\"12345678901234567890\"}}", false, ES_OTHER, 0},
        {"{\"version\":\"0.1\",\"tagline\":\"You Know, for Search\"}", false, ES_OTHER, 0},
        {"{\"version\":{\"number\":null}}", false, ES_OTHER, 0},
        {"{\"version\":{\"number\":7}}", false, ES_OTHER, 0},
        {"<html>Sign in</html>", false, ES_OTHER, 0},
        {"", false, ES_OTHER, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct es_product p = product(cases[i].body, cases[i].elastic);
        if (p.program != cases[i].program || p.major != cases[i].major)
            fail_msg("%s: %d %d", cases[i].body, (int)p.program, p.major);
        for (size_t len = 0; len < strlen(cases[i].body); len++) {
            char cut[200];
            snprintf(cut, sizeof cut, "%.*s", (int)len, cases[i].body);
            product(cut, false);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_warning_is_read),
        cmocka_unit_test(several_in_a_header_are_read_one_after_the_other),
        cmocka_unit_test(a_long_text_is_cut_at_a_character),
        cmocka_unit_test(each_kind_is_told_once_and_never_too_many),
        cmocka_unit_test(a_program_is_recognised_by_what_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
