/* Each count is added, and can be taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/counts.h"

enum { FIELDS = sizeof(struct counts) / sizeof(uint64_t) };

static void every_field_is_added_and_taken_back(void **state)
{
    (void)state;
    uint64_t n[FIELDS], zero[FIELDS] = {0};
    for (size_t i = 0; i < FIELDS; i++)
        n[i] = i + 1;
    struct counts c, sum = {0};
    memcpy(&c, n, sizeof c);
    counts_add(&sum, &c);
    assert_memory_equal(&sum, &c, sizeof c);
    c = counts_negative(&c);
    counts_add(&sum, &c);
    assert_memory_equal(&sum, zero, sizeof zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_added_and_taken_back),
    };
    return cmocka_run_group_tests_name("counts", tests, NULL, NULL);
}
