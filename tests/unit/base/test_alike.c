/* alike: what is said again and again is said a few times, and counted. */
#include "base/alike.h"

#include "base/err.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard error goes into a file meanwhile. */
static FILE *caught;
static int before;

static struct alike *begin(void)
{
    struct err e;
    caught = tmpfile();
    assert_non_null(caught);
    fflush(stderr);
    before = dup(2);
    dup2(fileno(caught), 2);
    struct alike *r = alike_new(&e);
    assert_non_null(r);
    return r;
}

static size_t end(struct alike *r, char *out, size_t size)
{
    alike_free(r);
    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(caught);
    size_t len = fread(out, 1, size - 1, caught), lines = 0;
    out[len] = '\0';
    fclose(caught);
    for (size_t i = 0; i < len; i++)
        lines += out[i] == '\n';
    return lines;
}

static void the_same_is_logged_a_few_times_and_then_counted(void **state)
{
    (void)state;
    char text[20000];
    struct alike *r = begin();
    for (int i = 0; i < 1000; i++) {
        char reason[200];
        snprintf(reason, sizeof reason,
                 "x.lua:7: value '%d' is %d too much (key 'k%d'; columns id)", i, i, i);
        alike_warn(r, reason, "document 'k%d' rejected: %s", i, reason);
    }
    assert_int_equal(end(r, text, sizeof text), ALIKE_WHOLE + 1);
    assert_non_null(
        strstr(text, "document 'k0' rejected: x.lua:7: value '0' is 0 too much (key 'k0'"));
    assert_non_null(strstr(text, " (and 996 more like it)\n"));
}

static void each_kind_has_its_own_lines_and_kinds_are_limited(void **state)
{
    (void)state;
    char text[200000];
    struct alike *r = begin();
    for (int i = 0; i < 8; i++)
        alike_warn(r, i % 2 ? "x.lua:7: no" : "x.lua:8: no", "line %d", i);
    assert_int_equal(end(r, text, sizeof text), 8); /* the fourth of each comes at the end */
    assert_null(strstr(text, "more like it"));

    r = begin();
    for (int i = 0; i < 10000; i++) {
        char reason[40];
        snprintf(reason, sizeof reason, "x.lua:%d: no", i);
        alike_warn(r, reason, "line %d", i);
    }
    assert_true(end(r, text, sizeof text) <= (ALIKE_WHOLE + 1) * ALIKE_KINDS);
    assert_non_null(strstr(text, " more like it)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_is_logged_a_few_times_and_then_counted),
        cmocka_unit_test(each_kind_has_its_own_lines_and_kinds_are_limited),
    };
    log_setup(&(struct log_options){.level = LOG_WARN});
    return cmocka_run_group_tests(tests, NULL, NULL);
}
