/* A spool returns what was added, in order, as often as it is read; its file has no name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask/spool.h"
#include "base/buf.h"
#include "base/err.h"

enum { RECORDS = 5000 };

static void add(struct spool *s, int from, int to)
{
    struct buf block;
    struct err e;
    char key[40], mark[40];
    buf_init(&block, 1 << 20);
    for (int i = from; i < to; i++) {
        snprintf(key, sizeof key, "key\n%d", i);
        snprintf(mark, sizeof mark, i % 3 ? "v%d" : "", i);
        assert_true(spool_pack(&block, &(struct spool_record){key, mark, i % 2, i % 5 == 0}));
    }
    assert_true(spool_add(s, &block, (size_t)(to - from), &e));
    buf_free(&block);
}

static void assert_records(struct spool *s, int n)
{
    struct spool_record r;
    struct err e;
    char key[40], mark[40];
    assert_true(spool_rewind(s, &e));
    for (int i = 0; i < n; i++) {
        assert_true(spool_next(s, &r, &e));
        snprintf(key, sizeof key, "key\n%d", i);
        snprintf(mark, sizeof mark, i % 3 ? "v%d" : "", i);
        assert_string_equal(r.key, key);
        assert_string_equal(r.mark, mark);
        assert_int_equal(r.no_rows, i % 2);
        assert_int_equal(r.any_routing, i % 5 == 0);
    }
    assert_true(spool_next(s, &r, &e));
    assert_null(r.key);
}

static void what_was_added_is_read_in_order(void **state)
{
    (void)state;
    struct err e;
    struct spool *s = spool_open(&e);
    assert_non_null(s);
    assert_records(s, 0);
    add(s, 0, 10);
    add(s, 10, 10);
    add(s, 10, RECORDS);
    assert_int_equal(spool_count(s), RECORDS);
    assert_records(s, RECORDS);
    assert_records(s, RECORDS);
    spool_close(s);
    spool_close(NULL);
}

static void a_folder_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    struct err e;
    setenv("TMPDIR", "/no/such/folder", 1);
    assert_null(spool_open(&e));
    unsetenv("TMPDIR");
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "cannot make a temporary file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_read_in_order),
        cmocka_unit_test(a_folder_that_cannot_be_written_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
