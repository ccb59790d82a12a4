/* A key set holds what was put and no more, whatever the order of puts, removals and drops; it
 * stays below its ceiling, and no likeness among keys makes it slow. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/keyset.h"
#include "torture.h"

enum {
    PLENTY = 1 << 30,
    SECOND = 1000000,
    /* bytes: freed pieces that it keeps at hand, and whole pages for large ones */
    MALLOCS_OWN = 16 << 10,
};

static struct keyset *new_set(size_t max)
{
    struct keyset *s = keyset_new(max);
    assert_non_null(s);
    return s;
}

static char *number(char out[24], const char *before, unsigned n)
{
    snprintf(out, 24, "%s%u", before, n);
    return out;
}

static void what_was_put_is_there(void **state)
{
    (void)state;
    struct keyset *s = new_set(PLENTY);
    assert_false(keyset_has(s, "a"));
    assert_true(keyset_put(s, "a", NULL, 1));
    assert_true(keyset_put(s, "", "of the empty key", 1));
    assert_true(keyset_has(s, "a") && keyset_has(s, "") && !keyset_has(s, "A"));
    assert_int_equal(keyset_count(s), 2);
    keyset_remove(s, "a");
    keyset_remove(s, "a"); /* not being there is fine */
    assert_false(keyset_has(s, "a"));
    assert_int_equal(keyset_count(s), 1);
    keyset_free(s);
    keyset_free(NULL);
}

static void a_match_is_of_key_and_value(void **state)
{
    (void)state;
    struct keyset *s = new_set(PLENTY);
    keyset_put(s, "none", NULL, 1);
    keyset_put(s, "empty", "", 1);
    keyset_put(s, "some", "2021-06-16", 1);
    assert_true(keyset_match(s, "none", NULL, 1) && !keyset_match(s, "none", "", 1));
    assert_true(keyset_match(s, "empty", "", 1) && !keyset_match(s, "empty", NULL, 1));
    assert_true(keyset_match(s, "some", "2021-06-16", 1) &&
                !keyset_match(s, "some", "2021-06-17", 1));
    assert_false(keyset_match(s, "other", NULL, 1));
    keyset_free(s);
}

static void a_second_put_replaces_the_value(void **state)
{
    (void)state;
    struct keyset *s = new_set(PLENTY);
    keyset_put(s, "k", "first", 1);
    keyset_put(s, "k", "second, and longer", 1);
    assert_true(keyset_match(s, "k", "second, and longer", 1));
    keyset_put(s, "k", NULL, 1);
    assert_true(keyset_match(s, "k", NULL, 1));
    assert_int_equal(keyset_count(s), 1);
    keyset_free(s);
}

static void key_and_value_may_lie_in_the_entry_they_replace(void **state)
{
    (void)state;
    struct keyset *s = new_set(PLENTY);
    const char *key, *value;
    size_t at = 0;
    keyset_put(s, "key", "value", 1);
    assert_true(keyset_next(s, &at, &key, &value));
    assert_true(keyset_put(s, key, value + 1, 1));
    assert_true(keyset_match(s, "key", "alue", 1));
    keyset_free(s);
}

static void a_drop_forgets_what_was_not_met_again(void **state)
{
    (void)state;
    struct keyset *s = new_set(PLENTY);
    char key[24];
    for (unsigned i = 0; i < 1000; i++)
        assert_true(keyset_put(s, number(key, "k", i), "v", 1));
    for (unsigned i = 0; i < 1000; i += 3)
        assert_true(keyset_match(s, number(key, "k", i), "v", 2));
    assert_false(keyset_match(s, "k1", "w", 2)); /* another value: not met */
    assert_true(keyset_put(s, "k2", "w", 2));
    keyset_drop(s, 2);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(keyset_has(s, number(key, "k", i)), i % 3 == 0 || i == 2);
    assert_int_equal(keyset_count(s), 335);
    keyset_drop(s, 3);
    assert_int_equal(keyset_count(s), 0);
    keyset_drop(s, 3);
    assert_true(keyset_put(s, "again", NULL, 4));
    keyset_free(s);
}

static void a_walk_goes_by_age_and_bears_removals(void **state)
{
    (void)state;
    struct keyset *s = new_set(PLENTY);
    char key[24];
    const char *found, *value;
    for (unsigned i = 0; i < 100; i++)
        keyset_put(s, number(key, "", i), NULL, 1);
    size_t at = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_true(keyset_next(s, &at, &found, &value));
        assert_string_equal(found, number(key, "", i));
        assert_null(value);
        if (i % 2)
            keyset_remove(s, number(key, "", i));
    }
    assert_false(keyset_next(s, &at, &found, &value));
    at = 0;
    for (unsigned i = 0; i < 100; i += 2) {
        assert_true(keyset_next(s, &at, &found, &value));
        assert_string_equal(found, number(key, "", i));
        keyset_remove(s, number(key, "", i));
    }
    assert_false(keyset_next(s, &at, &found, &value));
    assert_int_equal(keyset_count(s), 0);
    keyset_free(s);
}

/* ---- against a model ---- */

enum { MODEL = 300 };

struct model {
    bool there;
    int value; /* -1: NULL */
    uint32_t generation;
};

static const char *value_text(char out[24], int value)
{
    return value < 0 ? NULL : number(out, "v", (unsigned)value);
}

static void compare(struct keyset *s, const struct model *m)
{
    char key[24], value[24];
    const char *k, *v;
    size_t there = 0, walked = 0;
    for (unsigned i = 0; i < MODEL; i++) {
        assert_int_equal(keyset_has(s, number(key, "", i)), m[i].there);
        if (m[i].there)
            assert_true(keyset_match(s, key, value_text(value, m[i].value), m[i].generation));
        there += m[i].there;
    }
    for (size_t at = 0; keyset_next(s, &at, &k, &v); walked++)
        assert_true(m[strtoul(k, NULL, 10)].there);
    assert_int_equal(keyset_count(s), there);
    assert_int_equal(walked, there);
}

static void any_order_of_calls_agrees_with_a_model(void **state)
{
    (void)state;
    uint32_t random = 20211124, generation = 1;
    struct model m[MODEL] = {0};
    struct keyset *s = new_set(PLENTY);
    for (int step = 0; step < 200000; step++) {
        char key[24], value[24];
        random = random * 1664525 + 1013904223;
        uint32_t dice = random >> 8;
        unsigned i = dice % MODEL;
        int v = (int)(dice / MODEL % 4) - 1;
        bool growing = step / 2000 % 2 == 0;
        if (dice % 5000 == 0) {
            keyset_drop(s, generation);
            for (int j = 0; j < MODEL; j++)
                m[j].there &= m[j].generation == generation;
            generation++;
        } else if (dice % 8 < (growing ? 6 : 2)) {
            assert_true(keyset_put(s, number(key, "", i), value_text(value, v), generation));
            m[i] = (struct model){true, v, generation};
        } else {
            keyset_remove(s, number(key, "", i));
            m[i].there = false;
        }
        if (step % 500 == 0)
            compare(s, m);
    }
    compare(s, m);
    keyset_free(s);
}

/* ---- the ceiling ---- */

static size_t memory_in_use(void) /* 0: unknown, as under the sanitizers */
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void it_fills_up_to_its_ceiling_and_no_further(void **state)
{
    (void)state;
    for (size_t max = 0; max < 2000000; max = max * 5 / 4 + 50) {
        size_t before = memory_in_use();
        struct keyset *s = new_set(max);
        char key[24];
        unsigned n = 0;
        while (keyset_put(s, number(key, "key ", n), "2021-06-16 20:14:09.221855+00", 1))
            n++;
        assert_true(memory_in_use() <= before + max + MALLOCS_OWN);
        assert_int_equal(keyset_count(s), n);
        assert_false(keyset_has(s, key));
        for (unsigned i = 0; i < n; i++)
            assert_true(keyset_has(s, number(key, "key ", i)));
        if (max > 2000)
            /* 80 for the entry, 32 at most for its place */
            assert_true(n * 112 > max * 3 / 4 - 600);
        keyset_free(s);
    }
}

static void what_does_not_fit_takes_its_older_entry_along(void **state)
{
    (void)state;
    static char large[2000];
    memset(large, 'x', sizeof large - 1);
    struct keyset *s = new_set(1500);
    assert_true(keyset_put(s, "k", "small", 1));
    assert_false(keyset_put(s, "k", large, 1));
    assert_false(keyset_has(s, "k"));
    assert_false(keyset_put(s, large, NULL, 1));
    assert_true(keyset_put(s, "k", "small", 1));
    keyset_free(s);
}

static void removing_makes_room(void **state)
{
    (void)state;
    struct keyset *s = new_set(100000);
    char key[24];
    for (unsigned round = 0; round < 20; round++) {
        unsigned n = 0;
        while (keyset_put(s, number(key, "", n + round * 100000), NULL, round))
            n++;
        assert_true(n > 900);
        for (unsigned i = 0; i < n; i++)
            keyset_remove(s, number(key, "", i + round * 100000));
        assert_int_equal(keyset_count(s), 0);
    }
    keyset_free(s);
}

static void an_entry_costs_what_the_header_says(void **state)
{
    (void)state;
    enum { KEYS = 300000 };
    char key[40];
    size_t before = memory_in_use();
    struct keyset *s = new_set(PLENTY);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "%08x-cdef-4bcd-8ef0-0123456789ab", i * 2654435761u);
        assert_true(keyset_put(s, key, "2021-06-16 20:14:09.221855+00", 1));
    }
    size_t each = (memory_in_use() - before) / KEYS;
    print_message("%zu bytes an entry, 67 of them texts\n", each);
    assert_true(each <= 67 + 79);
    keyset_free(s);
}

/* ---- speed: where it is quadratic, these take minutes ---- */

static void keys_that_are_much_alike_do_no_harm(void **state)
{
    (void)state;
    static const char *const formats[] = {
        "%u",   "%012u", "%08x-0000-0000-0000-000000000000", "00000000-0000-0000-0000-0000%08x",
        "%u:1", "1:%u"};
    enum { KEYS = 200000 };
    int64_t start = clock_mono_us();
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (unsigned step = 1; step <= 65536; step *= 256) { /* the differences in other bytes */
            struct keyset *s = new_set(PLENTY);
            char key[64];
            for (unsigned i = 0; i < KEYS / 3; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                snprintf(key, sizeof key, formats[f], i * step);
#pragma GCC diagnostic pop
                assert_true(keyset_put(s, key, NULL, 1));
            }
            keyset_drop(s, 2);
            keyset_free(s);
        }
    assert_true(clock_mono_us() - start < 30 * SECOND);
}

static void a_full_set_stays_quick(void **state)
{
    (void)state;
    struct keyset *s = new_set(10 << 20);
    char key[24];
    unsigned n = 0;
    while (keyset_put(s, number(key, "", n), NULL, 1))
        n++;
    int64_t start = clock_mono_us();
    for (unsigned i = 0; i < 100000; i++) {
        keyset_remove(s, number(key, "", i % n));
        keyset_put(s, number(key, "", n + i), NULL, 1);
    }
    assert_true(clock_mono_us() - start < 10 * SECOND);
    keyset_free(s);
}

static void an_emptied_set_is_walked_at_once(void **state)
{
    (void)state;
    struct keyset *s = new_set(PLENTY);
    char key[24];
    for (unsigned i = 0; i < 200000; i++)
        keyset_put(s, number(key, "", i), NULL, 1);
    keyset_put(s, "0", NULL, 2);
    keyset_drop(s, 2);
    int64_t start = clock_mono_us();
    for (uint32_t i = 0; i < 100000; i++) {
        keyset_match(s, "0", NULL, i);
        keyset_drop(s, i);
    }
    assert_true(clock_mono_us() - start < 5 * SECOND);
    assert_int_equal(keyset_count(s), 1);
    keyset_free(s);
}

static bool build(void)
{
    struct keyset *s = keyset_new(PLENTY);
    bool ok = s != NULL;
    char key[24];
    size_t n = 0;
    for (unsigned i = 0; s && i < 40; i++) {
        bool put = keyset_put(s, number(key, "", i), "v", i % 2);
        assert_int_equal(put, keyset_has(s, key));
        n += put;
        ok = ok && put;
    }
    for (unsigned i = 0; s && i < 40; i += 4) {
        n -= keyset_has(s, number(key, "", i));
        bool put = keyset_put(s, key, "w", 0);
        assert_int_equal(put, keyset_match(s, key, "w", 0));
        n += put;
        ok = ok && put;
    }
    if (s) {
        assert_int_equal(keyset_count(s), n);
        for (unsigned i = 2; i < 40; i++)
            keyset_remove(s, number(key, "", i));
        keyset_drop(s, 1); /* shrinks, or does not */
        assert_true(keyset_count(s) <= 1);
    }
    keyset_free(s);
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
        cmocka_unit_test(what_was_put_is_there),
        cmocka_unit_test(a_match_is_of_key_and_value),
        cmocka_unit_test(a_second_put_replaces_the_value),
        cmocka_unit_test(key_and_value_may_lie_in_the_entry_they_replace),
        cmocka_unit_test(a_drop_forgets_what_was_not_met_again),
        cmocka_unit_test(a_walk_goes_by_age_and_bears_removals),
        cmocka_unit_test(any_order_of_calls_agrees_with_a_model),
        cmocka_unit_test(it_fills_up_to_its_ceiling_and_no_further),
        cmocka_unit_test(what_does_not_fit_takes_its_older_entry_along),
        cmocka_unit_test(removing_makes_room),
        cmocka_unit_test(an_entry_costs_what_the_header_says),
        cmocka_unit_test(keys_that_are_much_alike_do_no_harm),
        cmocka_unit_test(a_full_set_stays_quick),
        cmocka_unit_test(an_emptied_set_is_walked_at_once),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("keyset", tests, NULL, NULL);
}
