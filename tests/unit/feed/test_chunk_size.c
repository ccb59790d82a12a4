/* A chunk has so many rows as fit what the last ones took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/err.h"
#include "feed/chunk_size.h"
#include "torture.h"

enum { BYTES = 6 << 20, MOST = 1 << 20 };

static struct chunk_size *make_for(int64_t most, int64_t expected)
{
    struct err e = {0};
    struct chunk_size_config config = {
        .bytes = BYTES, .most = most, .expected = expected, .workers = 2};
    struct chunk_size *s = chunk_size_new(&config, &e);
    assert_non_null(s);
    return s;
}

static struct chunk_size *make(int64_t most)
{
    return make_for(most, 0);
}

/* One more chunk of a query that takes begin_us for itself and row_us for each row. Gives the
 * rows it had. */
static int64_t carry(struct chunk_size *s, int64_t begin_us, int64_t row_us, size_t row_bytes)
{
    int64_t rows = chunk_size_next(s);
    chunk_size_report(s, &(struct chunk_time){.keys = rows,
                                              .rows = rows,
                                              .bytes = (size_t)rows * row_bytes,
                                              .first_us = begin_us,
                                              .all_us = begin_us + rows * row_us});
    return rows;
}

static void test_the_first_is_small(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    assert_int_equal(chunk_size_next(s), 100);
    chunk_size_free(s);
    s = make(50);
    assert_int_equal(chunk_size_next(s), 50);
    chunk_size_free(s);
    chunk_size_free(NULL);
}

static void test_it_comes_to_the_bytes_in_steps(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    assert_int_equal(carry(s, 1000, 40, 1024), 100);
    assert_int_equal(carry(s, 1000, 40, 1024), 800);
    for (int i = 0; i < 3; i++)
        assert_int_equal(carry(s, 1000, 40, 1024), BYTES / 1024);
    chunk_size_free(s);
}

static void test_large_rows_make_it_small(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    carry(s, 1000, 40000, 5 << 20);
    assert_int_equal(carry(s, 1000, 40000, 5 << 20), 100 / 8);
    carry(s, 1000, 40000, 5 << 20);
    assert_int_equal(chunk_size_next(s), 1);
    carry(s, 1000, 40000, 50 << 20);
    assert_int_equal(chunk_size_next(s), 1);
    chunk_size_free(s);
}

static void test_what_the_query_takes_for_itself_makes_it_large(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    for (int i = 0; i < 8; i++)
        carry(s, 2000 * 1000, 40, 1024);
    int64_t rows = chunk_size_next(s);
    assert_in_range(rows, 190 * 1000, 210 * 1000); /* 8 of 10 seconds are those of rows */
    chunk_size_free(s);
    s = make(MOST);
    for (int i = 0; i < 8; i++)
        carry(s, 3600 * (int64_t)1000000, 40, 1024);
    assert_int_equal(chunk_size_next(s), MOST);
    chunk_size_free(s);
}

/* Under load the server may take long to begin, now and then; at its quickest it tells what the
 * query takes. */
static void test_the_quickest_beginning_counts(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    carry(s, 1000, 40, 1024);
    for (int i = 0; i < 8; i++)
        carry(s, 2000 * 1000, 40, 1024);
    assert_int_equal(chunk_size_next(s), BYTES / 1024);
    chunk_size_free(s);
}

static void test_one_of_an_earlier_size_changes_nothing(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    carry(s, 1000, 40, 1024);
    carry(s, 1000, 40, 1024);
    chunk_size_report(
        s, &(struct chunk_time){
               .keys = 100, .rows = 100, .bytes = 100 * 1024, .first_us = 1000, .all_us = 9000});
    assert_int_equal(chunk_size_next(s), BYTES / 1024);
    chunk_size_free(s);
}

/* The query may leave out most rows: that makes a chunk larger, not one of an earlier size. */
static void test_keys_without_rows_make_it_large(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    for (int i = 0; i < 9; i++) {
        int64_t keys = chunk_size_next(s);
        chunk_size_report(s, &(struct chunk_time){.keys = keys,
                                                  .rows = keys / 10,
                                                  .bytes = (size_t)keys / 10 * 1024});
    }
    assert_in_range(chunk_size_next(s), BYTES / 1024 * 10 - 100, BYTES / 1024 * 10 + 100);
    chunk_size_free(s);
}

/* A join may end at once where there is nothing to join. */
static void test_a_stretch_without_rows_does_not_tell_what_the_query_takes(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    chunk_size_report(s,
                      &(struct chunk_time){.keys = chunk_size_next(s), .first_us = 1, .all_us = 1});
    for (int i = 0; i < 8; i++)
        carry(s, 2000 * 1000, 40, 1024);
    assert_in_range(chunk_size_next(s), 190 * 1000, 210 * 1000);
    chunk_size_free(s);
}

static void test_rows_without_documents_have_an_end(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    for (int i = 0; i < 9; i++)
        carry(s, 0, 0, 0);
    assert_int_equal(chunk_size_next(s), BYTES / 16);
    chunk_size_report(s, &(struct chunk_time){.keys = 100}); /* of an empty table */
    assert_int_equal(chunk_size_next(s), BYTES / 16);
    chunk_size_free(s);
}

/* They come to the end at about the same time: the last ones are small, but not too small to be
 * worth it. */
static void test_the_last_ones_are_small(void **state)
{
    (void)state;
    enum { EXPECTED = 100000, WHOLE = BYTES / 1024 };
    struct chunk_size *s = make_for(MOST, EXPECTED);
    int64_t before = 0, rows = 0, least = WHOLE;
    for (int64_t done = 0; done < EXPECTED; done += rows) {
        rows = carry(s, 1000, 40, 1024);
        if (EXPECTED - done > 4 * WHOLE && before == WHOLE)
            assert_int_equal(rows, WHOLE);
        assert_true(EXPECTED - done > 4 * WHOLE || rows <= before);
        before = rows;
        least = rows < least && done > WHOLE ? rows : least;
    }
    assert_int_equal(least, WHOLE / 8);
    chunk_size_free(s);
}

/* Statistics may be old, or never made for the whole of a partitioned table. */
static void test_more_than_was_expected_comes_as_if_nothing_was(void **state)
{
    (void)state;
    for (int64_t expected = 1; expected < 10000; expected *= 3) {
        struct chunk_size *s = make_for(MOST, expected);
        for (int i = 0; i < 30; i++)
            carry(s, 1000, 40, 1024);
        assert_int_equal(chunk_size_next(s), BYTES / 1024);
        chunk_size_free(s);
    }
}

static void test_a_query_that_takes_much_for_itself_is_not_divided(void **state)
{
    (void)state;
    struct chunk_size *s = make_for(MOST, 400000);
    for (int64_t done = 0; done < 1000000;) {
        int64_t rows = carry(s, 2000 * 1000, 40, 1024);
        done += rows;
        if (done > 100000)
            assert_in_range(rows, 50 * 1000, 300 * 1000);
    }
    chunk_size_free(s);
}

static void test_least(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    assert_int_equal(chunk_size_least(s), 0);
    carry(s, 2000 * 1000, 40, 1024); /* 10 s are to be had at 2.004 s for 100 keys */
    assert_int_equal(chunk_size_least(s), 499);
    chunk_size_report(s,
                      &(struct chunk_time){
                          .keys = MOST, .rows = MOST, .first_us = 3600 * 1000000LL, .all_us = 1});
    assert_int_equal(chunk_size_least(s), MOST);
    chunk_size_free(s);
}

static void test_what_was_too_large_comes_in_halves_and_grows_again(void **state)
{
    (void)state;
    struct chunk_size *s = make(MOST);
    for (int i = 0; i < 20; i++)
        carry(s, 1000, 1, 100);
    int64_t large = chunk_size_next(s);
    assert_true(large > 1000 && chunk_size_fits(s, large));
    chunk_size_too_large(s, large);
    assert_false(chunk_size_fits(s, large));
    assert_true(chunk_size_fits(s, large / 2));
    assert_true(chunk_size_fits(s, large / 2 + 1));
    assert_in_range(chunk_size_next(s), 1, large / 2);
    chunk_size_too_large(s, large); /* of another worker, begun at the same time */
    assert_true(chunk_size_fits(s, large / 2));
    for (int i = 0; i < 10; i++)
        carry(s, 1000, 1, 100);
    assert_true(chunk_size_fits(s, large));
    chunk_size_too_large(s, 1);
    assert_true(chunk_size_fits(s, 1));
    assert_int_equal(chunk_size_next(s), 1);
    chunk_size_free(s);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct err e = {0};
    struct chunk_size_config config = {.bytes = BYTES, .most = MOST, .workers = 2};
    allocations_left = 0;
    assert_null(chunk_size_new(&config, &e));
    allocations_left = -1;
    assert_int_equal(e.kind, ERR_FINAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_is_small),
        cmocka_unit_test(test_it_comes_to_the_bytes_in_steps),
        cmocka_unit_test(test_large_rows_make_it_small),
        cmocka_unit_test(test_what_the_query_takes_for_itself_makes_it_large),
        cmocka_unit_test(test_the_quickest_beginning_counts),
        cmocka_unit_test(test_one_of_an_earlier_size_changes_nothing),
        cmocka_unit_test(test_keys_without_rows_make_it_large),
        cmocka_unit_test(test_a_stretch_without_rows_does_not_tell_what_the_query_takes),
        cmocka_unit_test(test_rows_without_documents_have_an_end),
        cmocka_unit_test(test_the_last_ones_are_small),
        cmocka_unit_test(test_more_than_was_expected_comes_as_if_nothing_was),
        cmocka_unit_test(test_a_query_that_takes_much_for_itself_is_not_divided),
        cmocka_unit_test(test_least),
        cmocka_unit_test(test_what_was_too_large_comes_in_halves_and_grows_again),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("chunk", tests, NULL, NULL);
}
