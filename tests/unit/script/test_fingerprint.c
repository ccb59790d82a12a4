/* A fingerprint changes with what determines documents, in the half that says which, and with
 * nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "script/fingerprint.h"
#include "script/pipeline.h"
#include "script_text.h"
#include "torture.h"

#include <stdio.h>

static bool read_once(const char *text, char out[FINGERPRINT_TEXT], struct err *e)
{
    struct script_text t = text_of("x.lua", text);
    struct script *s = script_open(&t, e);
    struct pipeline p = {0};
    bool ok = s && pipeline_read(&p, s, e) && fingerprint_read(s, &p, out, e);
    pipeline_free(&p);
    script_close(s);
    script_text_free(&t);
    return ok;
}

static void of_script(const char *before, const char *document, const char *query, const char *sink,
                      char out[FINGERPRINT_TEXT])
{
    char text[2000];
    struct err e;
    snprintf(text, sizeof text,
             "%s\nreturn { name = 'n',\n document = function(row)\n %s\n end,\n"
             " source = { url = '', table = 't', key = 'id', query = '%s' },\n"
             " sink = { url = 'http://h', index = 'i' %s }, state = 's' }",
             before, document, query, sink);
    assert_true(read_once(text, out, &e));
    assert_int_equal(strlen(out), FINGERPRINT_TEXT - 1);
}

static void each_part_counts_in_its_half(void **state)
{
    (void)state;
    static const char f[] = "local function f(x)\n return x\n end";
    static const char longer_f[] = "local function f(x)\n return x .. ''\n end";
    static const struct {
        const char *before, *document, *query, *sink;
        bool first, second; /* which half differs from that of case 0 */
    } cases[] = {
        {f, "return f(row)", "SELECT 1", "", false, false},
        {"-- a remark\nlocal function f(x)\n return x\n end\nlocal unused = 1", "return f(row)",
         "SELECT 1", ", url = 'http://h'", false, false},
        {f, "return f( row)", "SELECT 1", "", true, false},
        {f, "return f(row)", "SELECT 2", "", true, false},
        {longer_f, "return f(row)", "SELECT 1", "", true, false},
        {f, "return f(row)", "SELECT 1", ", settings = { a = 1 }", false, true},
        {f, "return f(row)", "SELECT 1", ", mappings = { a = 1 }", false, true},
    };
    char first[FINGERPRINT_TEXT], other[FINGERPRINT_TEXT];
    of_script(cases[0].before, cases[0].document, cases[0].query, cases[0].sink, first);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        of_script(cases[i].before, cases[i].document, cases[i].query, cases[i].sink, other);
        assert_int_equal(memcmp(first, other, FINGERPRINT_HALF) != 0, cases[i].first);
        assert_int_equal(strcmp(first + FINGERPRINT_HALF, other + FINGERPRINT_HALF) != 0,
                         cases[i].second);
    }
}

static void functions_that_call_each_other_come_to_an_end(void **state)
{
    (void)state;
    char text[FINGERPRINT_TEXT];
    of_script("local a, b, c\nfunction a() return b, c, a end\nfunction b() return a, c end\n"
              "function c() return a, b, tostring end",
              "return { a, b, c }", "SELECT 1", "", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_counts_in_its_half),
        cmocka_unit_test(functions_that_call_each_other_come_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
