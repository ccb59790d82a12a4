/* A JSON text as a tree: every value is found where it stands, and what is damaged is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "base/json_tree.h"
#include "torture.h"

static const char TEXT[] =
    " {\"a\" : {\"b\":[1, \"x\\\"y\",{}], \"e\":[]},\"a.b\":true ,\"\\u0061\":null,\"d\":-1.5e3}\n";

static struct json_tree read_text(const char *text)
{
    struct json_tree t;
    struct err e;
    assert_true(json_tree_read(&t, text, strlen(text), &e));
    return t;
}

static void assert_value(const struct json_tree *t, size_t node, const char *want)
{
    assert_int_not_equal(node, 0);
    assert_int_equal(t->nodes[node].value.len, strlen(want));
    assert_memory_equal(t->nodes[node].value.at, want, strlen(want));
}

static void values_are_slices_of_the_text(void **state)
{
    (void)state;
    struct json_tree t = read_text(TEXT);
    size_t a = json_tree_find(&t, 1, "a"), b = json_tree_find(&t, a, "b"),
           i = json_tree_first(&t, b);
    assert_value(&t, a, "{\"b\":[1, \"x\\\"y\",{}], \"e\":[]}");
    assert_value(&t, b, "[1, \"x\\\"y\",{}]");
    assert_value(&t, i, "1");
    i = t.nodes[i].next;
    assert_value(&t, i, "\"x\\\"y\"");
    assert_true(json_tree_is(&t, i, "x\\\"y"));
    i = t.nodes[i].next;
    assert_value(&t, i, "{}");
    assert_int_equal(t.nodes[i].next, 0);
    assert_value(&t, json_tree_find(&t, a, "e"), "[]");
    assert_int_equal(json_tree_first(&t, json_tree_find(&t, a, "e")), 0);
    assert_true(json_tree_is(&t, json_tree_find(&t, 1, "a.b"), "true"));
    assert_true(json_tree_is(&t, json_tree_find(&t, 1, "d"), "-1.5e3"));
    /* names as they stand */
    assert_int_equal(t.nodes[json_tree_find(&t, 1, "\\u0061")].kind, JSON_NULL);
    json_tree_free(&t);
}

static void what_is_not_there_is_no_node(void **state)
{
    (void)state;
    struct json_tree t = read_text(TEXT);
    assert_int_equal(json_tree_find(&t, 1, "b"), 0);
    assert_int_equal(json_tree_find(&t, 0, "a"), 0);
    assert_int_equal(json_tree_find(&t, json_tree_find(&t, 1, "d"), "a"), 0);
    assert_int_equal(json_tree_first(&t, 0), 0);
    assert_int_equal(json_tree_plain(&t, 0).len, 0);
    assert_false(json_tree_is(&t, 0, ""));
    json_tree_free(&t);
    t = read_text("7");
    assert_true(json_tree_is(&t, 1, "7"));
    json_tree_free(&t);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct err e;
    struct json_tree t;
    for (size_t n = 0; n < sizeof TEXT - 2; n++) {
        assert_false(json_tree_read(&t, TEXT, n, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        assert_null(t.nodes);
    }
    assert_false(json_tree_read(&t, "{} 1", 4, &e));
    char deep[2 * JSON_DEPTH + 3];
    memset(deep, '[', JSON_DEPTH);
    memset(deep + JSON_DEPTH, ']', JSON_DEPTH);
    assert_true(json_tree_read(&t, deep, 2 * JSON_DEPTH, &e));
    json_tree_free(&t);
    memset(deep, '[', JSON_DEPTH + 1);
    memset(deep + JSON_DEPTH + 1, ']', JSON_DEPTH + 1);
    assert_false(json_tree_read(&t, deep, 2 * JSON_DEPTH + 2, &e));
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    char many[2000] = "[";
    for (int i = 0; i < 200; i++)
        memcpy(many + 1 + 9 * i, "\"\\u0041\",", 9);
    memcpy(many + 1 + 9 * 200, "1]", 3);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct json_tree t;
        struct err e = {0};
        allocations_left = n;
        done = json_tree_read(&t, many, strlen(many), &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
        json_tree_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_slices_of_the_text),
        cmocka_unit_test(what_is_not_there_is_no_node),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
