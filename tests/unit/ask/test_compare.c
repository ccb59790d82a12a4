/* Two documents are compared by what they say: each difference is named once, by its path, and
 * forms of the same value are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ask/compare.h"
#include "base/buf.h"
#include "base/err.h"
#include "torture.h"

static struct json_tree_text text(const char *s)
{
    return (struct json_tree_text){s, strlen(s)};
}

/* "path|field: before -> after; " of each difference */
static void note(const struct compare_difference *d, void *arg)
{
    struct buf *out = arg;
    buf_addf(out, "%s|%s: %.*s -> %.*s; ", d->path, d->field, (int)d->before.len,
             d->before.at ? d->before.at : "", (int)d->after.len, d->after.at ? d->after.at : "");
}

static bool run(const char *before, const char *after, struct buf *out, bool *same, struct err *e)
{
    return compare_documents(&(struct compare_documents){text(before), text(after), note, out},
                             same, e);
}

static void assert_differences(const char *before, const char *after, const char *want)
{
    struct err e;
    struct buf out;
    bool same;
    buf_init(&out, 1 << 20);
    assert_true(run(before, after, &out, &same, &e));
    assert_int_equal(same, !*want);
    assert_string_equal(buf_cstr(&out), want);
    buf_free(&out);
}

static void forms_of_the_same_value_are_no_difference(void **state)
{
    (void)state;
    assert_differences("{\"a\":1}", "{\"a\":1}", "");
    assert_differences("{\"a\":1,\"b\":[1, 2]}", "{ \"b\":[1,2.0], \"a\":10e-1}", "");
    assert_differences("{\"a\":\"\\u00e9\\/\"}", "{\"\\u0061\":\"é/\"}", "");
    assert_differences("{\"a!\":1,\"a\":2,\"\\u0061\\u0000\":3}",
                       "{\"a\\u0000\":3,\"a\":2,\"a!\":1}", "");
    assert_differences("[]", " [ ] ", "");
}

static void each_difference_is_named_by_its_path(void **state)
{
    (void)state;
    assert_differences("{\"a\":1,\"b\":{\"c\":\"x\"}}", "{\"a\":2,\"b\":{\"c\":\"y\"}}",
                       "a|a: 1 -> 2; b.c|b.c: \"x\" -> \"y\"; ");
    assert_differences("{\"actors\":[{\"name\":\"A\"},{\"name\":\"B\"}]}",
                       "{\"actors\":[{\"name\":\"A\"},{\"name\":\"C\"}]}",
                       "actors[1].name|actors[].name: \"B\" -> \"C\"; ");
    assert_differences("{\"m\":[[1,2],[3]]}", "{\"m\":[[1,2],[4]]}", "m[1][0]|m[][]: 3 -> 4; ");
    assert_differences("{\"a\":[1]}", "{\"a\":{\"b\":1}}", "a|a: [1] -> {\"b\":1}; ");
    assert_differences("1", "\"1\"", "|: 1 -> \"1\"; ");
}

static void null_and_a_field_that_is_left_out_differ(void **state)
{
    (void)state;
    assert_differences("{\"a\":null}", "{}", "a|a: null -> ; ");
    assert_differences("{}", "{\"a\":null,\"b\":1}", "a|a:  -> null; b|b:  -> 1; ");
    assert_differences("{\"a\":null}", "{\"a\":0}", "a|a: null -> 0; ");
    assert_differences("{\"a\":[]}", "{}", "a|a: [] -> ; ");
}

static void an_element_that_came_or_went_is_one_difference(void **state)
{
    (void)state;
    assert_differences("[1,2,3]", "[0,1,2,3]", "[0]|[]:  -> 0; ");
    assert_differences("[1,2,3]", "[1,3]", "[1]|[]: 2 -> ; ");
    assert_differences("[1,2]", "[1,2,3]", "[2]|[]:  -> 3; ");
    assert_differences("[1,1,1]", "[1,1]", "[2]|[]: 1 -> ; ");
    assert_differences("[2,1]", "[1,2]", "[0]|[]: 2 -> 1; [1]|[]: 1 -> 2; ");
    assert_differences("[]", "[[]]", "[0]|[]:  -> []; ");
}

static void a_name_that_is_repeated_is_compared_in_order(void **state)
{
    (void)state;
    assert_differences("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}", "");
    assert_differences("{\"a\":1,\"a\":2}", "{\"a\":1}", "a|a: 2 -> ; ");
}

static void what_is_no_json_differs_as_a_whole(void **state)
{
    (void)state;
    assert_differences("{\"a\":1", "{\"a\":1}", "|: {\"a\":1 -> {\"a\":1}; ");
    assert_differences("", "{}", "|:  -> {}; ");
    assert_differences("{", "{", "");
}

static void numbers_are_compared_by_value(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"0", "-0.0"},
        {"1", "1.000"},
        {"100", "1e2"},
        {"0.001", "1E-3"},
        {"-12.50e1", "-125"},
        {"12345678901234567890.10", "1.23456789012345678901e19"},
        {"0e5", "0.00"},
        {"5e-324", "0.5E-323"},
        {"1e999999999999999999999", "1e999999999999999999999"},
    };
    static const char *const other[][2] = {
        {"1", "-1"},
        {"1", "10"},
        {"0.1", "0.01"},
        {"1", "1.0000000000000000000001"},
        {"12345678901234567890", "12345678901234567891"},
        {"0", "1e-400"},
        {"1.5", "15"},
        {"101", "11"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_true(compare_numbers(text(same[i][0]), text(same[i][1])));
        assert_true(compare_numbers(text(same[i][1]), text(same[i][0])));
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        assert_false(compare_numbers(text(other[i][0]), text(other[i][1])));
        assert_false(compare_numbers(text(other[i][1]), text(other[i][0])));
    }
}

static void without_memory_an_error_says_so(void **state)
{
    (void)state;
    bool done = false, same;
    for (int n = 0; !done; n++) {
        struct err e;
        struct buf out;
        buf_init(&out, 1 << 20);
        allocations_left = n;
        done = run("{\"a\":[1,{\"\\u0062\":[2,3]}],\"c\":\"\\n\",\"d\":1}",
                   "{\"a\":[1,{\"b\":[2,4]}],\"c\":\"\\u000a\",\"e\":1}", &out, &same, &e);
        allocations_left = -1;
        if (!done)
            assert_string_equal(e.text, "out of memory");
        else if (!out.failed)
            assert_string_equal(buf_cstr(&out),
                                "a[1].b[1]|a[].b[]: 3 -> 4; d|d: 1 -> ; e|e:  -> 1; ");
        done = done && !out.failed;
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_the_same_value_are_no_difference),
        cmocka_unit_test(each_difference_is_named_by_its_path),
        cmocka_unit_test(null_and_a_field_that_is_left_out_differ),
        cmocka_unit_test(an_element_that_came_or_went_is_one_difference),
        cmocka_unit_test(a_name_that_is_repeated_is_compared_in_order),
        cmocka_unit_test(what_is_no_json_differs_as_a_whole),
        cmocka_unit_test(numbers_are_compared_by_value),
        cmocka_unit_test(without_memory_an_error_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
