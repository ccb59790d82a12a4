/* Each key has one text and each text at most one key, whatever the values hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/key.h"
#include "torture.h"

enum { MAX = 1 << 20 };

static void a_key_of_one_column_is_its_value(void **state)
{
    (void)state;
    static const char *const values[] = {"", "42", "a:b", "\\", ":\\:", "025c58cd-1b7e", "фильм"};
    struct buf text, block;
    buf_init(&text, MAX);
    buf_init(&block, MAX);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const char *part;
        buf_clear(&text);
        assert_true(key_join(&text, &values[i], 1));
        assert_string_equal(buf_cstr(&text), values[i]);
        assert_true(key_split(values[i], 1, &block, &part));
        assert_string_equal(part, values[i]);
    }
    buf_free(&text);
    buf_free(&block);
}

static void several_columns_are_joined_by_colons(void **state)
{
    (void)state;
    static const struct {
        const char *parts[3];
        size_t n;
        const char *text;
    } cases[] = {
        {{"1", "2"}, 2, "1:2"},
        {{"a", "b", "c"}, 3, "a:b:c"},
        {{"", ""}, 2, ":"},
        {{"", "", ""}, 3, "::"},
        {{"a:b", "c"}, 2, "a\\:b:c"},
        {{"a", "b:c"}, 2, "a:b\\:c"},
        {{"a\\", "b"}, 2, "a\\\\:b"},
        {{"a", "\\b"}, 2, "a:\\\\b"},
        {{":", ":"}, 2, "\\::\\:"},
        {{"\\", "\\"}, 2, "\\\\:\\\\"},
        {{"a:b", "c\\", ""}, 3, "a\\:b:c\\\\:"},
    };
    struct buf text, block;
    buf_init(&text, MAX);
    buf_init(&block, MAX);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *parts[3];
        buf_clear(&text);
        assert_true(key_join(&text, cases[i].parts, cases[i].n));
        assert_string_equal(buf_cstr(&text), cases[i].text);
        assert_true(key_split(cases[i].text, cases[i].n, &block, parts));
        for (size_t k = 0; k < cases[i].n; k++)
            assert_string_equal(parts[k], cases[i].parts[k]);
    }
    buf_free(&text);
    buf_free(&block);
}

static void what_is_no_key_of_ours_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {
        {"", 2},      {"a", 2},      {"a:b:c", 2}, {"a:b", 3},       {"a\\:b", 2},
        {"a:b\\", 2}, {"a\\b:c", 2}, {"\\", 2},    {"a:b\\\\\\", 2}, {"a:\\n", 2},
    };
    struct buf block;
    buf_init(&block, MAX);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *parts[3];
        if (key_split(cases[i].text, cases[i].n, &block, parts) || block.failed)
            fail_msg("%s", cases[i].text);
    }
    buf_free(&block);
}

/* Few different letters, so that the special ones meet in every order. */
static void random_text(char *text, size_t max)
{
    static const char letters[] = "::\\\\ab\xD1\x84";
    size_t len = (size_t)rand() % (max + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = letters[(size_t)rand() % (sizeof letters - 1)];
    text[len] = '\0';
}

static unsigned seed_for_this_run(void)
{
    const char *seed = getenv("SEED");
    unsigned n = seed ? (unsigned)strtoul(seed, NULL, 10) : 4;
    print_message("SEED=%u\n", n);
    return n;
}

static void what_was_joined_splits_into_the_same(void **state)
{
    (void)state;
    enum { PARTS = 5, LEN = 9 };
    struct buf text, block;
    buf_init(&text, MAX);
    buf_init(&block, MAX);
    srand(seed_for_this_run());
    for (int round = 0; round < 200000; round++) {
        char values[PARTS][LEN + 1];
        const char *parts[PARTS], *got[PARTS];
        size_t n = 1 + (size_t)rand() % PARTS;
        for (size_t i = 0; i < n; i++) {
            random_text(values[i], LEN);
            parts[i] = values[i];
        }
        buf_clear(&text);
        assert_true(key_join(&text, parts, n));
        if (!key_split(buf_cstr(&text), n, &block, got))
            fail_msg("%s", text.data);
        for (size_t i = 0; i < n; i++)
            assert_string_equal(got[i], values[i]);
        for (size_t other = 2; n > 1 && other <= PARTS; other++)
            assert_true(key_split(text.data, other, &block, got) == (other == n));
    }
    buf_free(&text);
    buf_free(&block);
}

static void what_splits_joins_to_the_same(void **state)
{
    (void)state;
    struct buf text, block;
    buf_init(&text, MAX);
    buf_init(&block, MAX);
    srand(seed_for_this_run());
    int keys = 0;
    for (int round = 0; round < 200000; round++) {
        char key[13];
        const char *parts[2];
        random_text(key, sizeof key - 1);
        if (!key_split(key, 2, &block, parts))
            continue;
        keys++;
        buf_clear(&text);
        assert_true(key_join(&text, parts, 2));
        assert_string_equal(buf_cstr(&text), key);
    }
    assert_true(keys > 1000);
    buf_free(&text);
    buf_free(&block);
}

static void the_ceiling_holds(void **state)
{
    (void)state;
    const char *parts[2] = {"aaa", "b:b"};
    struct buf small;
    buf_init(&small, 7);
    assert_false(key_join(&small, parts, 2)); /* aaa:b\:b */
    assert_true(small.failed);
    assert_false(key_split("aaa:b\\:b", 2, &small, parts));
    assert_true(small.failed);
    assert_true(key_split("aaa:bb", 2, &small, parts)); /* no longer failed */
    assert_string_equal(parts[1], "bb");
    buf_free(&small);
}

static bool build(void)
{
    static const char *const values[] = {"a:b", "c\\"};
    struct buf text, block;
    const char *parts[2];
    buf_init(&text, MAX);
    buf_init(&block, MAX);
    bool ok = key_join(&text, values, 2);
    ok = key_split(ok ? buf_cstr(&text) : "x:y", 2, &block, parts) && ok;
    assert_true(ok || text.failed || block.failed);
    buf_free(&text);
    buf_free(&block);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        done = build();
        allocations_left = -1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_of_one_column_is_its_value),
        cmocka_unit_test(several_columns_are_joined_by_colons),
        cmocka_unit_test(what_is_no_key_of_ours_is_told),
        cmocka_unit_test(what_was_joined_splits_into_the_same),
        cmocka_unit_test(what_splits_joins_to_the_same),
        cmocka_unit_test(the_ceiling_holds),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("keytext", tests, NULL, NULL);
}
