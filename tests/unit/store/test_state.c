/* The JSON of a state, to the byte: older versions and other tools read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "store/state.h"
#include "torture.h"

static const char following[] =
    "{\"format\":2,\"pipeline\":\"movies\",\"index\":\"movies\",\"index_uuid\":\"Qz\","
    "\"phase\":\"following\",\"after\":null,\"version\":1764000000000000,\"server\":\"77-1\","
    "\"slot\":\"etl_movies\",\"captured\":\"5d41\",\"chosen\":\"movies-1=Qa,\","
    "\"tables\":{"
    "\"content.film_work\":{\"cursor\":\"2021-06-16 20:14:09.2+00\",\"key\":\"025c\","
    "\"us\":1623874449200000,\"seen\":{\"cursor\":\"8\",\"key\":\"s\"},"
    "\"window\":{\"cursor\":\"6\",\"key\":null,\"xid\":4711},"
    "\"candidate\":{\"cursor\":\"7\",\"key\":\"c\",\"taken\":3,"
    "\"fence\":{\"sessions\":\"3/17 p12 \",\"xid\":4712,\"since\":4}},"
    "\"rewind\":{\"cursor\":\"5\",\"key\":null,\"xid\":4000,"
    "\"fence\":{\"sessions\":\"\",\"xid\":4001,\"since\":2}},"
    "\"pass\":{\"cursor\":\"9\",\"key\":\"h\",\"xid\":4713}},"
    "\"content.genre\":{\"cursor\":\"7\",\"key\":null,\"window\":{\"cursor\":null,\"key\":null},"
    "\"journal\":[7,4096],"
    "\"fan\":{\"cursor\":\"9\",\"key\":\"g\",\"after\":\"7f3a\",\"hash\":-77}}},"
    "\"columns\":{\"content.film_work\":[\"id\",\"uuid\",\"modified\"]},"
    "\"sweep\":{\"swept\":1764000000000001,\"after\":\"7f3a\",\"again\":true},\"documents\":"
    "1000000}\n";

static const char loading[] =
    "{\"format\":2,\"pipeline\":\"m\",\"index\":null,\"index_uuid\":\"\",\"phase\":\"snapshot\","
    "\"after\":\"k\",\"version\":0,\"tables\":{},\"sweep\":{\"swept\":0,\"after\":null},"
    "\"documents\":0}\n";

static bool read_and_write(const char *text, struct buf *out, struct err *e)
{
    struct state_data d = {0};
    bool ok = state_parse(&d, text, strlen(text), e);
    if (ok)
        state_write(out, &d);
    state_data_free(&d);
    return ok && !out->failed;
}

static void what_is_read_is_written_as_the_same_text(void **state)
{
    (void)state;
    static const char *const texts[] = {following, loading};
    for (size_t i = 0; i < 2; i++) {
        struct buf out;
        struct err e;
        buf_init(&out, 1 << 16);
        assert_true(read_and_write(texts[i], &out, &e));
        assert_string_equal(buf_cstr(&out), texts[i]);
        buf_free(&out);
    }
}

static void place_is(const char *tables, uint64_t segment, uint64_t offset)
{
    char text[400];
    struct state_data d = {0};
    struct err e;
    snprintf(text, sizeof text,
             "{\"format\":2,\"pipeline\":\"m\",\"index_uuid\":\"u\",\"phase\":\"following\","
             "\"tables\":{%s}}",
             tables);
    if (!state_parse(&d, text, strlen(text), &e))
        fail_msg("%s", e.text);
    assert_int_equal(state_place(&d).segment, segment);
    assert_int_equal(state_place(&d).offset, offset);
    state_data_free(&d);
}

static void the_place_is_the_lowest_of_all_tables(void **state)
{
    (void)state;
    place_is("", 0, 0);
    place_is("\"a\":{\"cursor\":\"7\"}", 0, 0);
    place_is("\"a\":{\"journal\":[2,900]},\"b\":{\"journal\":[3,4]},\"c\":{}", 2, 900);
    place_is("\"a\":{\"journal\":[3,4]},\"b\":{\"journal\":[3,3]}", 3, 3);
}

static void fields_of_a_later_version_are_passed_over(void **state)
{
    (void)state;
    struct state_data d = {0};
    struct err e;
    static const char text[] =
        "{\"format\":2,\"new\":[1,{}],\"pipeline\":\"m\",\"index_uuid\":\"u\","
        "\"phase\":\"following\",\"tables\":{\"a\":{\"cursor\":\"7\",\"new\":{},\"key\":\"k\","
        "\"window\":{\"new\":1,\"cursor\":\"6\"},\"seen\":{\"new\":1,\"cursor\":\"8\"},"
        "\"pass\":{\"new\":[],\"cursor\":\"9\"},\"fan\":{\"new\":0,\"cursor\":\"5\"}}}}";
    assert_true(state_parse(&d, text, sizeof text - 1, &e));
    const struct checkpoint *c = &d.tables[0].checkpoint;
    assert_string_equal(c->at.key, "k");
    assert_string_equal(c->window.from.cursor, "6");
    assert_string_equal(c->seen.cursor, "8");
    assert_string_equal(c->pass.cursor, "9");
    assert_string_equal(c->fanout.cursor, "5");
    state_data_free(&d);
}

static void a_cut_text_is_damaged_where_it_ends(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof following - 2; len++) {
        struct state_data d = {0};
        struct err e;
        assert_false(state_parse(&d, following, len, &e));
        assert_non_null(strstr(e.text, "damaged at byte "));
        assert_non_null(strstr(e.hint, "state reset"));
        state_data_free(&d);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf out;
        struct err e;
        buf_init(&out, 1 << 16);
        allocations_left = n;
        done = read_and_write(following, &out, &e);
        allocations_left = -1;
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_written_as_the_same_text),
        cmocka_unit_test(the_place_is_the_lowest_of_all_tables),
        cmocka_unit_test(fields_of_a_later_version_are_passed_over),
        cmocka_unit_test(a_cut_text_is_damaged_where_it_ends),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
