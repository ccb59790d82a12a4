/* Fan-outs of rows whose documents a fake answers for: row "r" affects documents "r00000" to its
 * number of keys; row "bad..." makes the query fail. */
#include "feed/fanout.h"

#include "base/err.h"
#include "base/log.h"
#include "model/batch.h"
#include "torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct server {
    int keys;             /* documents that each row affects */
    const char *holder;   /* a document that holds one of the rows; NULL: none */
    enum err_kind broken; /* every question fails so; ERR_NONE: none does */
    int asked;            /* how often */
};

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool ask_holders(void *arg, const struct keylist *rows, struct keylist *out, struct err *e)
{
    struct server *s = arg;
    (void)rows;
    return !s->holder || keylist_add(out, s->holder) || err_memory(e);
}

static bool refuse(struct err *e, enum err_kind kind, enum err_fault fault)
{
    err_set(e, kind, "invalid input syntax");
    e->fault = fault;
    return false;
}

static bool ask_affected(void *arg, const struct keylist *rows, const char *after,
                         struct keylist *out, struct err *e)
{
    struct server *s = arg;
    struct keylist all = {0};
    bool ok = true;
    s->asked++;
    if (s->broken != ERR_NONE)
        return refuse(e, s->broken, ERR_FAULT_ROW);
    for (size_t i = 0; i < rows->n; i++)
        if (strncmp(rows->keys[i], "bad", 3) == 0)
            return refuse(e, ERR_FINAL, ERR_FAULT_ROW);
    for (size_t i = 0; ok && i < rows->n; i++)
        for (int k = 0; ok && k < s->keys; k++) {
            char key[60];
            snprintf(key, sizeof key, "%s%05d", rows->keys[i], k);
            ok = keylist_add(&all, key);
        }
    if (all.n > 0)
        qsort(all.keys, all.n, sizeof *all.keys, compare);
    for (size_t i = 0; ok && i < all.n && out->n < FANOUT_PART; i++)
        if (!after || strcmp(all.keys[i], after) > 0)
            ok = keylist_add(out, all.keys[i]);
    keylist_free(&all);
    return ok || err_memory(e);
}

static struct fanout_queries queries(struct server *s)
{
    return (struct fanout_queries){s, "genre", ask_holders, ask_affected};
}

/* Delivers all that is left; adds the keys to out. False: e says why. */
static bool drain(struct fanout *f, struct keylist *out, struct err *e)
{
    while (!fanout_is_over(f)) {
        if (!fanout_fill(f, e))
            return false;
        while (fanout_has_keys(f)) {
            struct batch *b = batch_new();
            bool ok = b && fanout_copy(f, b);
            for (size_t i = 0; ok && i < b->n; i++)
                ok = keylist_add(out, b->keys[i]);
            if (ok)
                fanout_advance(f, b->n);
            batch_free(b);
            if (!ok)
                return err_memory(e);
        }
    }
    return true;
}

static bool begin(struct fanout *f, const char *const *rows, bool resumed)
{
    fanout_clear(f);
    for (; *rows; rows++)
        if (!fanout_add(f, *rows, "v1"))
            return false;
    fanout_begin(f, resumed);
    return true;
}

#define ROWS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void rows_of_the_root_are_the_documents(void **state)
{
    (void)state;
    struct fanout f;
    struct keylist got = {0};
    struct err e;
    fanout_init(&f, NULL);
    assert_true(fanout_is_over(&f));
    assert_true(begin(&f, ROWS("b", "a", "c"), false));
    assert_false(fanout_is_over(&f));
    assert_true(fanout_fill(&f, &e));
    assert_false(fanout_can_resume(&f));
    assert_false(fanout_ends_after(&f, 2));
    assert_true(fanout_ends_after(&f, 3));
    assert_true(drain(&f, &got, &e));
    assert_int_equal(got.n, 3);
    assert_string_equal(got.keys[0], "b"); /* as they were read */
    assert_string_equal(got.keys[2], "c");
    keylist_free(&got);
    fanout_free(&f);
}

static void no_rows_affect_nothing_and_ask_nothing(void **state)
{
    (void)state;
    struct server s = {.keys = 1};
    struct fanout_queries q = queries(&s);
    struct fanout f;
    struct err e;
    fanout_init(&f, &q);
    fanout_clear(&f);
    fanout_begin(&f, false);
    assert_true(fanout_is_over(&f));
    assert_true(fanout_fill(&f, &e));
    assert_true(fanout_ends_after(&f, 0)); /* a batch without keys is the page's last */
    assert_int_equal(s.asked, 0);
    fanout_free(&f);
}

static void the_index_is_asked_first_and_its_keys_are_not_resumed_after(void **state)
{
    (void)state;
    struct server s = {.keys = 2, .holder = "zzz"};
    struct fanout_queries q = queries(&s);
    struct fanout f;
    struct keylist got = {0};
    struct err e;
    fanout_init(&f, &q);
    assert_true(begin(&f, ROWS("r"), false));
    assert_true(fanout_fill(&f, &e));
    assert_int_equal(s.asked, 0);
    assert_false(fanout_can_resume(&f));
    assert_false(fanout_ends_after(&f, 1)); /* `affects` is asked yet */
    fanout_advance(&f, 1);
    assert_true(fanout_fill(&f, &e));
    assert_true(fanout_can_resume(&f));
    assert_true(fanout_ends_after(&f, 2));
    assert_true(drain(&f, &got, &e));
    assert_int_equal(got.n, 2);
    assert_string_equal(got.keys[0], "r00000");
    keylist_free(&got);
    fanout_free(&f);
}

static void a_large_fan_out_comes_in_parts_each_key_once(void **state)
{
    (void)state;
    struct server s = {.keys = FANOUT_PART / 2};
    struct fanout_queries q = queries(&s);
    struct fanout f;
    struct keylist got = {0};
    struct err e;
    fanout_init(&f, &q);
    assert_true(begin(&f, ROWS("a", "b", "c", "d"), false));
    assert_true(drain(&f, &got, &e));
    assert_int_equal(got.n, 2 * FANOUT_PART);
    assert_int_equal(s.asked, 3); /* the last time, no key was left */
    for (size_t i = 1; i < got.n; i++)
        assert_true(strcmp(got.keys[i - 1], got.keys[i]) < 0);
    keylist_free(&got);
    fanout_free(&f);
}

static void long_fan_outs_have_large_batches_and_short_ones_are_shared(void **state)
{
    (void)state;
    static const struct {
        int keys;
        size_t sizes[5];
    } cases[] = {{900, {900}},
                 {2500, {1000, 1000, 500}},
                 {16000, {2000, 1750, 1531, 1339, 1172}},
                 {40000, {4000, 4000, 4000, 3500, 3062}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct server s = {.keys = cases[i].keys};
        struct fanout_queries q = queries(&s);
        struct fanout f;
        struct err e;
        fanout_init(&f, &q);
        assert_true(begin(&f, ROWS("a"), false));
        while (!fanout_has_keys(&f)) /* the index holds none */
            assert_true(fanout_fill(&f, &e));
        for (size_t k = 0; k < 5 && cases[i].sizes[k] > 0; k++) {
            struct batch *b = batch_new();
            assert_true(fanout_copy(&f, b));
            assert_int_equal(b->n, cases[i].sizes[k]);
            fanout_advance(&f, b->n);
            batch_free(b);
        }
        fanout_free(&f);
    }
}

static void a_fan_out_that_was_broken_off_continues_after_its_last_key(void **state)
{
    (void)state;
    struct server s = {.keys = 10};
    struct fanout_queries q = queries(&s);
    struct fanout f;
    struct err e;
    fanout_init(&f, &q);
    assert_true(begin(&f, ROWS("a", "b"), false));
    uint64_t hash = f.hash;
    fanout_free(&f);

    const char *const *rows[] = {ROWS("a", "b"), ROWS("a", "b", "c")};
    size_t expected[] = {7, 30}; /* another row among them: from the first key */
    for (size_t i = 0; i < 2; i++) {
        struct keylist got = {0};
        fanout_init(&f, &q);
        fanout_resume_after(&f, strdup("b00002"), hash);
        assert_true(begin(&f, rows[i], true));
        assert_true(drain(&f, &got, &e));
        assert_int_equal(got.n, expected[i]);
        keylist_free(&got);
        assert_true(begin(&f, ROWS("a"), false)); /* the next page's begins with the first key */
        assert_true(drain(&f, &got, &e));
        assert_int_equal(got.n, 10);
        keylist_free(&got);
        fanout_free(&f);
    }
}

static void another_version_of_a_row_makes_another_hash(void **state)
{
    (void)state;
    struct fanout f;
    uint64_t hashes[3];
    static const char *const pairs[3][2] = {{"a", "v1"}, {"a", "v2"}, {"av", "1"}};
    fanout_init(&f, NULL);
    for (int i = 0; i < 3; i++) {
        fanout_clear(&f);
        assert_true(fanout_add(&f, pairs[i][0], pairs[i][1]));
        hashes[i] = f.hash;
    }
    assert_true(hashes[0] != hashes[1] && hashes[0] != hashes[2] && hashes[1] != hashes[2]);
    fanout_free(&f);
}

static void a_bad_row_does_not_stop_the_others(void **state)
{
    (void)state;
    struct server s = {.keys = 1};
    struct fanout_queries q = queries(&s);
    struct fanout f;
    struct keylist got = {0};
    struct err e;
    fanout_init(&f, &q);
    assert_true(begin(&f, ROWS("a", "bad1", "b", "c", "bad2", "d", "e"), false));
    assert_true(drain(&f, &got, &e));
    assert_int_equal(got.n, 5);
    keylist_free(&got);

    assert_true(begin(&f, ROWS("bad1"), false)); /* one row alone may be bad */
    assert_true(drain(&f, &got, &e));
    assert_int_equal(got.n, 0);
    fanout_free(&f);
}

static void what_fails_for_every_row_is_the_scripts_mistake(void **state)
{
    (void)state;
    struct server s = {.keys = 1};
    struct fanout_queries q = queries(&s);
    struct fanout f;
    struct keylist got = {0};
    struct err e;
    fanout_init(&f, &q);
    assert_true(begin(&f, ROWS("bad1", "bad2", "bad3", "bad4"), false));
    assert_false(drain(&f, &got, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(e.text, "invalid input syntax");

    s.broken = ERR_FINAL; /* without any row, too */
    assert_true(begin(&f, ROWS("a"), false));
    assert_false(drain(&f, &got, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    fanout_free(&f);
}

static void a_call_that_failed_may_be_made_again(void **state)
{
    (void)state;
    struct server s = {.keys = 3, .holder = "h", .broken = ERR_PASSING};
    struct fanout_queries q = queries(&s);
    struct fanout f;
    struct keylist got = {0};
    struct err e;
    fanout_init(&f, &q);
    assert_true(begin(&f, ROWS("a"), false));
    assert_false(drain(&f, &got, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_false(fanout_is_over(&f));
    s.broken = ERR_NONE;
    assert_true(drain(&f, &got, &e));
    assert_int_equal(got.n, 4); /* the index's key was delivered once */
    keylist_free(&got);
    fanout_free(&f);
}

static void without_memory_it_fails_and_leaks_nothing(void **state)
{
    (void)state;
    struct server s = {.keys = 3, .holder = "h"};
    struct fanout_queries q = queries(&s);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct fanout f;
        struct keylist got = {0};
        struct err e;
        fanout_init(&f, &q);
        allocations_left = n;
        done = begin(&f, ROWS("a", "bad", "b"), false) && drain(&f, &got, &e);
        allocations_left = -1;
        fanout_free(&f);
        if (done)
            assert_int_equal(got.n, 7);
        keylist_free(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_the_root_are_the_documents),
        cmocka_unit_test(no_rows_affect_nothing_and_ask_nothing),
        cmocka_unit_test(the_index_is_asked_first_and_its_keys_are_not_resumed_after),
        cmocka_unit_test(a_large_fan_out_comes_in_parts_each_key_once),
        cmocka_unit_test(long_fan_outs_have_large_batches_and_short_ones_are_shared),
        cmocka_unit_test(a_fan_out_that_was_broken_off_continues_after_its_last_key),
        cmocka_unit_test(another_version_of_a_row_makes_another_hash),
        cmocka_unit_test(a_bad_row_does_not_stop_the_others),
        cmocka_unit_test(what_fails_for_every_row_is_the_scripts_mistake),
        cmocka_unit_test(a_call_that_failed_may_be_made_again),
        cmocka_unit_test(without_memory_it_fails_and_leaks_nothing),
    };
    log_setup(&(struct log_options){.level = LOG_ERROR}); /* bad rows are warned of */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
