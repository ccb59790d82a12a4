/* Every type's text, as PostgreSQL prints it, becomes the Lua value of the table in design section
 * 4, and from there the same value in JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "lua/row.h"
#include "lua_state.h"
#include "result_row.h"
#include "torture.h"

static int push(lua_State *L)
{
    const struct row *row = lua_touserdata(L, 1);
    row_push_names(L, &row->columns);
    row_push(L, &row->columns, -1, row->res, 0);
    return 1;
}

/* Pushes the row's table, or what it raised. */
static bool push_row(lua_State *L, struct row *row)
{
    lua_pushcfunction(L, push);
    lua_pushlightuserdata(L, row);
    return lua_pcall(L, 1, 1, 0) == LUA_OK;
}

static int encode(lua_State *L)
{
    lua_json_encode(L, 1, lua_touserdata(L, 2));
    return 0;
}

/* The JSON that is made without Lua is what its value on the top, if there is one, is encoded as;
 * where it leaves that to Lua, there is an error, or bytes. */
static void json_agrees(lua_State *L, bool ok, const struct pg_column *column, const char *text)
{
    struct buf direct, scratch, encoded;
    buf_init(&direct, 16 << 20);
    buf_init(&scratch, 16 << 20);
    buf_init(&encoded, 16 << 20);
    bool sure = row_add_json(&direct, column, text, strlen(text), &scratch);
    if (ok) {
        lua_pushcfunction(L, encode);
        lua_getfield(L, -2, column->name);
        lua_pushlightuserdata(L, &encoded);
        ok = lua_pcall(L, 2, 0, 0) == LUA_OK;
        if (!ok)
            lua_pop(L, 1);
    }
    if (sure != ok && column->kind != PG_BYTEA)
        fail_msg("%s: Lua %s, JSON %s", text, ok ? "takes it" : "does not",
                 sure ? "takes it" : "does not");
    if (sure)
        assert_string_equal(buf_cstr(&direct), buf_cstr(&encoded));
    buf_free(&direct);
    buf_free(&scratch);
    buf_free(&encoded);
}

static bool push_cell(lua_State *L, enum pg_kind kind, bool array, char delimiter, const char *text)
{
    struct row row;
    row_make(&row, &(struct cell){"x", kind, array, text}, 1);
    row.list[0].delimiter = delimiter;
    bool ok = push_row(L, &row);
    json_agrees(L, ok, &row.list[0], text);
    PQclear(row.res);
    if (ok) {
        lua_getfield(L, -1, "x");
        lua_remove(L, -2);
    }
    return ok;
}

/* Both what Lua sees and what a document holds. type: math.type, or the metatable's name, or Lua's
 * type. */
static void becomes(enum pg_kind kind, const char *text, const char *type, const char *json)
{
    lua_State *L = state_open();
    if (!push_cell(L, kind, false, ',', text))
        fail_msg("%s: %s", text, lua_tostring(L, -1));
    lua_getglobal(L, "type_of");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (strcmp(lua_tostring(L, -1), type) != 0)
        fail_msg("%s is of type %s, not %s", text, lua_tostring(L, -1), type);
    struct buf b;
    buf_init(&b, 16 << 20);
    if (json) {
        lua_json_encode(L, 1, &b);
        assert_string_equal(buf_cstr(&b), json);
    }
    buf_free(&b);
    lua_close(L);
}

static void is_text(enum pg_kind kind, const char *text, const char *expected)
{
    lua_State *L = state_open();
    if (!push_cell(L, kind, false, ',', text))
        fail_msg("%s: %s", text, lua_tostring(L, -1));
    assert_int_equal(lua_type(L, 1), LUA_TSTRING);
    assert_string_equal(lua_tostring(L, 1), expected);
    lua_close(L);
}

static void array_becomes(enum pg_kind kind, const char *text, const char *json)
{
    lua_State *L = state_open();
    if (!push_cell(L, kind, true, ',', text))
        fail_msg("%s: %s", text, lua_tostring(L, -1));
    assert_int_equal(lua_gettop(L), 1);
    struct buf b;
    buf_init(&b, 16 << 20);
    lua_json_encode(L, 1, &b);
    assert_string_equal(buf_cstr(&b), json);
    buf_free(&b);
    lua_close(L);
}

static void is_damaged(enum pg_kind kind, bool array, const char *text)
{
    lua_State *L = state_open();
    if (push_cell(L, kind, array, ',', text))
        fail_msg("'%s' was taken", text);
    if (!strstr(lua_tostring(L, -1), "column 'x': '") ||
        !strstr(lua_tostring(L, -1), "is not a value of type some type"))
        fail_msg("%s", lua_tostring(L, -1));
    lua_close(L);
}

static void integers_are_exact(void **state)
{
    (void)state;
    becomes(PG_INT, "0", "integer", "0");
    becomes(PG_INT, "9223372036854775807", "integer", "9223372036854775807");
    becomes(PG_INT, "-9223372036854775808", "integer", "-9223372036854775808");
    becomes(PG_INT, "-32768", "integer", "-32768");
    becomes(PG_INT, "4294967295", "integer", "4294967295");
    const char *wrong[] = {
        "",  "-",  "9223372036854775808", "-9223372036854775809", "1.0", " 1", "1 ",
        "x", "+1", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_damaged(PG_INT, false, wrong[i]);
}

static void floats_read_back_the_same(void **state)
{
    (void)state;
    becomes(PG_FLOAT, "8.5", "float", "8.5");
    becomes(PG_FLOAT, "3", "float", "3.0");
    becomes(PG_FLOAT, "-0", "float", "-0.0");
    becomes(PG_FLOAT, "1e+308", "float", "1e+308");
    becomes(PG_FLOAT, "1.7976931348623157e+308", "float", "1.7976931348623157e+308");
    becomes(PG_FLOAT, "5e-324", "float", "5e-324");
    becomes(PG_FLOAT, "2.225073858507201e-308", "float", "2.225073858507201e-308");
    becomes(PG_FLOAT, "0.30000000000000004", "float", "0.30000000000000004");
    becomes(PG_FLOAT, "NaN", "float", NULL);
    becomes(PG_FLOAT, "Infinity", "float", NULL);
    becomes(PG_FLOAT, "-Infinity", "float", NULL);
    const char *wrong[] = {"", "x", "nan", "inf", "0x10", " 1", "1,5", "1e", "--1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_damaged(PG_FLOAT, false, wrong[i]);
}

/* PostgreSQL 10 and 11 print more or fewer digits than those. */
static void digits_of_floats_stay_where_they_are_the_shortest(void **state)
{
    (void)state;
    static const struct {
        const char *text, *json, *shortest;
    } floats[] = {
        {"0.10000000000000001", "0.1", "0.10000000000000001"},
        {"8.199999999999999", "8.2", "8.199999999999999"},
        {"0.14285714285714285", "0.14285714285714285", "0.14285714285714285"},
        {"-1428571428571.4285", "-1428571428571.4285", "-1428571428571.4285"},
        {"1.4285714285714284e-08", "1.4285714285714284e-08", "1.4285714285714284e-08"},
        {"12", "12.0", "12.0"},
        {"0.5", "0.5", "0.5"},
    };
    struct buf b, scratch;
    buf_init(&b, 100);
    buf_init(&scratch, 100);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        for (int shortest = 0; shortest < 2; shortest++) {
            struct pg_column column = {
                .name = (char[]){"x"}, .kind = PG_FLOAT, .shortest = shortest};
            buf_clear(&b);
            assert_true(
                row_add_json(&b, &column, floats[i].text, strlen(floats[i].text), &scratch));
            assert_string_equal(buf_cstr(&b), shortest ? floats[i].shortest : floats[i].json);
        }
    buf_free(&b);
    buf_free(&scratch);
}

static void numerics_keep_their_value(void **state)
{
    (void)state;
    becomes(PG_NUMERIC, "42", "integer", "42");
    becomes(PG_NUMERIC, "-9223372036854775808", "integer", "-9223372036854775808");
    becomes(PG_NUMERIC, "9223372036854775808", "etl.decimal", "9223372036854775808");
    becomes(PG_NUMERIC, "8.50", "float", "8.5");
    becomes(PG_NUMERIC, "0.00", "float", "0.0");
    becomes(PG_NUMERIC, "-0.1", "float", "-0.1");
    becomes(PG_NUMERIC, "123456789012345.000", "float", "123456789012345.0");
    becomes(PG_NUMERIC, "0.000123456789012345", "float", "0.000123456789012345");
    becomes(PG_NUMERIC, "0.1234567890123456", "etl.decimal", "0.1234567890123456");
    becomes(PG_NUMERIC, "1234567890123456.5", "etl.decimal", "1234567890123456.5");
    becomes(PG_NUMERIC, "1234567890123456789012345678901234567890", "etl.decimal",
            "1234567890123456789012345678901234567890");
    becomes(PG_NUMERIC, "-12345678901234567890.12345678901234567890", "etl.decimal",
            "-12345678901234567890.12345678901234567890");
    becomes(PG_NUMERIC, "NaN", "float", NULL);
    becomes(PG_NUMERIC, "Infinity", "float", NULL);
    becomes(PG_NUMERIC, "-Infinity", "float", NULL);
    char tiny[500] = "0.", big[500] = "1";
    memset(tiny + 2, '0', 350);
    tiny[352] = '1';
    becomes(PG_NUMERIC, tiny, "etl.decimal", tiny);
    memset(big + 1, '0', 400);
    becomes(PG_NUMERIC, big, "etl.decimal", big);
    memcpy(big + 401, ".5", 2);
    becomes(PG_NUMERIC, big, "etl.decimal", big);
    const char *wrong[] = {"", "x", "+5", "1,000", "1.2.3", "$5"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_damaged(PG_NUMERIC, false, wrong[i]);
}

static void booleans_texts_and_json_are_what_they_are(void **state)
{
    (void)state;
    becomes(PG_BOOL, "t", "boolean", "true");
    becomes(PG_BOOL, "f", "boolean", "false");
    is_damaged(PG_BOOL, false, "true");
    is_damaged(PG_BOOL, false, "");
    is_text(PG_TEXT, "", "");
    is_text(PG_TEXT, "Сталкер 🎬 \"x\"", "Сталкер 🎬 \"x\"");
    becomes(PG_TEXT, "a\"b\n", "string", "\"a\\\"b\\n\"");
    becomes(PG_JSON, "{\"b\": 1.50, \"a\": []}", "etl.json", "{\"b\": 1.50, \"a\": []}");
    becomes(PG_JSON, "null", "etl.json", "null");
    enum { BIG = 5 << 20 };
    char *text = malloc(BIG + 1);
    memset(text, 'x', BIG);
    text[BIG] = '\0';
    is_text(PG_TEXT, text, text);
    free(text);
}

static void bytea_is_its_bytes(void **state)
{
    (void)state;
    is_text(PG_BYTEA, "\\x", "");
    is_text(PG_BYTEA, "\\x48656c6c6f", "Hello");
    lua_State *L = state_open();
    assert_true(push_cell(L, PG_BYTEA, false, ',', "\\x00ff7f"));
    size_t len;
    const char *bytes = lua_tolstring(L, 1, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(bytes, "\0\xff\x7f", 3);
    lua_close(L);
    const char *wrong[] = {"", "\\", "\\x4", "\\x4g", "Hello!", "\\000\\001"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_damaged(PG_BYTEA, false, wrong[i]);
}

static void moments_are_iso_8601(void **state)
{
    (void)state;
    is_text(PG_DATE, "2021-06-16", "2021-06-16");
    is_text(PG_DATE, "0001-01-01", "0001-01-01");
    is_text(PG_DATE, "0001-12-31 BC", "0000-12-31");
    is_text(PG_DATE, "0044-03-15 BC", "-0043-03-15");
    is_text(PG_DATE, "4714-11-24 BC", "-4713-11-24");
    is_text(PG_DATE, "12345-01-01", "+12345-01-01");
    is_text(PG_DATE, "5874897-12-31", "+5874897-12-31");
    is_text(PG_DATE, "infinity", "infinity");
    is_text(PG_DATE, "-infinity", "-infinity");
    is_text(PG_TIMESTAMP, "2021-06-16 20:14:09.221855", "2021-06-16T20:14:09.221855");
    is_text(PG_TIMESTAMP, "2021-06-16 20:14:09", "2021-06-16T20:14:09");
    is_text(PG_TIMESTAMP, "294276-12-31 23:59:59.999999", "+294276-12-31T23:59:59.999999");
    is_text(PG_TIMESTAMP, "4713-01-01 00:00:00 BC", "-4712-01-01T00:00:00");
    is_text(PG_TIMESTAMP, "infinity", "infinity");
    is_text(PG_TIMESTAMPTZ, "2021-06-16 20:14:09.221855+00", "2021-06-16T20:14:09.221855Z");
    is_text(PG_TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", "-0043-03-15T12:00:00Z");
    is_text(PG_TIMESTAMPTZ, "2021-06-16 20:14:09+03", "2021-06-16T20:14:09+03:00");
    is_text(PG_TIMESTAMPTZ, "2021-06-16 20:14:09-05:30", "2021-06-16T20:14:09-05:30");
    is_text(PG_TIMESTAMPTZ, "1890-01-01 00:00:00+02:30:17 BC", "-1889-01-01T00:00:00+02:30:17");
    is_text(PG_TIMESTAMPTZ, "-infinity", "-infinity");
    const char *wrong[] = {
        "",           "16.06.2021", "06/16/2021", "2021-06",         "0000-01-01 BC", "2021-6-16",
        " BC",        "123-01-01",  "Infinity",   "123456789-01-01", "2021-06-16x",   "2021-06-1",
        "2021-06-16 "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_damaged(PG_DATE, false, wrong[i]);
    is_damaged(PG_TIMESTAMP, false, "2021-06-16");
    is_damaged(PG_TIMESTAMP, false, "2021-06-16 20:14");
    is_damaged(PG_TIMESTAMP, false, "2021-06-16 20:14:09+00");
    is_damaged(PG_TIMESTAMPTZ, false, "2021-06-16 20:14:09");
    is_damaged(PG_TIMESTAMPTZ, false, "2021-06-16 20:14:09 MSK");
    is_damaged(PG_TIMESTAMPTZ, false,
               "2021-06-16 20:14:09+0000000000000000000000000000000000000000000000000");
}

static void arrays_are_lists_of_their_elements(void **state)
{
    (void)state;
    array_becomes(PG_TEXT, "{}", "[]");
    array_becomes(PG_INT, "{1,-2,NULL,9223372036854775807}", "[1,-2,null,9223372036854775807]");
    array_becomes(PG_INT, "{NULL}", "[null]");
    array_becomes(
        PG_TEXT, "{a,NULL,\"NULL\",\"\",\"a,b\",\"{}\",\"say \\\"hi\\\"\",\"back\\\\slash\",null}",
        "[\"a\",null,\"NULL\",\"\",\"a,b\",\"{}\",\"say \\\"hi\\\"\",\"back\\\\slash\",\"null\"]");
    array_becomes(PG_TEXT, "{Комедия,\"Научная фантастика\"}",
                  "[\"Комедия\",\"Научная фантастика\"]");
    array_becomes(PG_INT, "{{1,2},{3,NULL}}", "[[1,2],[3,null]]");
    array_becomes(PG_INT, "{{{{{{1}}}}}}", "[[[[[[1]]]]]]");
    array_becomes(PG_INT, "[0:1]={5,6}", "[5,6]");
    array_becomes(PG_INT, "[-1:0][2:3]={{5,6},{7,8}}", "[[5,6],[7,8]]");
    array_becomes(PG_FLOAT, "{1.5,1e+308,5e-324}", "[1.5,1e+308,5e-324]");
    array_becomes(PG_NUMERIC, "{1,1.50,12345678901234567890.5}", "[1,1.5,12345678901234567890.5]");
    array_becomes(PG_BOOL, "{t,f,NULL}", "[true,false,null]");
    array_becomes(PG_DATE, "{2021-06-16,\"0044-03-15 BC\",infinity}",
                  "[\"2021-06-16\",\"-0043-03-15\",\"infinity\"]");
    array_becomes(PG_TIMESTAMPTZ, "{\"2021-06-16 20:14:09+00\"}", "[\"2021-06-16T20:14:09Z\"]");
    array_becomes(PG_JSON, "{\"{\\\"a\\\": 1}\",5,NULL,\"[\\\"\\\\\\\\\\\"]\"}",
                  "[{\"a\": 1},5,null,[\"\\\\\"]]");
    array_becomes(PG_BYTEA, "{\"\\\\x6869\",\"\\\\x\"}", "[\"hi\",\"\"]");
}

static void a_list_of_boxes_has_semicolons(void **state)
{
    (void)state;
    lua_State *L = state_open();
    assert_true(push_cell(L, PG_TEXT, true, ';', "{(1,1),(0,0);(2,2),(1,1)}"));
    assert_int_equal(lua_rawlen(L, 1), 2);
    lua_rawgeti(L, 1, 2);
    assert_string_equal(lua_tostring(L, -1), "(2,2),(1,1)");
    lua_close(L);
}

static void damaged_arrays_are_refused(void **state)
{
    (void)state;
    const char *wrong[] = {
        "",          "{",      "}",      "{1",     "{1,",   "{1,}", "{,1}",     "{1}}",
        "{{1}",      "{1}x",   "[0:1]",  "[0:1]=", "1,2",   "{\"1", "{\"1\\",   "{1\"2\"}",
        "{1{2}}",    "{{1}2}", "{{1},}", "{x}",    "{1;2}", "{{},", "{\"1\"x}", "{{{{{{{1}}}}}}}",
        "{1,NULLx}", "{\\1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_damaged(PG_INT, true, wrong[i]);
    char deep[1000];
    memset(deep, '{', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    is_damaged(PG_TEXT, true, deep);
}

static void any_bytes_are_taken_or_refused(void **state)
{
    (void)state;
    const char alphabet[] = "{}{},,\"\\123NULL.e-[]:= BCT+x";
    uint64_t seed = 3;
    lua_State *L = state_open();
    for (int round = 0; round < 50000; round++) {
        char text[24];
        size_t n = 0;
        for (seed = seed * 6364136223846793005u + 1; n < (seed >> 40) % 23;) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[n++] = alphabet[(seed >> 33) % (sizeof alphabet - 1)];
        }
        text[n] = '\0';
        push_cell(L, (enum pg_kind)(round % (PG_TIMESTAMPTZ + 1)), round % 3 != 0, ',', text);
        lua_settop(L, 0);
    }
    lua_close(L);
}

static const struct cell film[] = {
    {"id", PG_INT, false, "7"},
    {"title", PG_TEXT, false, "Solaris"},
    {"rating", PG_NUMERIC, false, "12345678901234567890.5"},
    {"plot", PG_TEXT, false, NULL},
    {"genres", PG_TEXT, true, "{Drama,\"Sci-Fi\",\"a\\\"b\"}"},
    {"people", PG_JSON, false, "[{\"id\": 1}]"},
    {"raw", PG_BYTEA, false, "\\x00ff"},
    {"modified", PG_TIMESTAMPTZ, false, "2021-06-16 20:14:09+00"},
};

static void a_row_is_a_table_by_name_without_its_nulls(void **state)
{
    (void)state;
    lua_State *L = state_open();
    struct row row;
    row_make(&row, film, COLUMNS);
    assert_true(push_row(L, &row));
    lua_setglobal(L, "film");
    claim(L,
          "local names = {} for k in pairs(film) do names[#names + 1] = k end table.sort(names)\n"
          "same(table.concat(names, ' '), 'genres id modified people rating raw title')\n"
          "same(film.plot, nil) same(film.people[1].id, 1) same(film.genres[3], 'a\"b') film.raw = "
          "nil\n"
          "same(encode(film), '{\"genres\":[\"Drama\",\"Sci-Fi\",\"a\\\\\"b\"],\"id\":7,'\n"
          "  .. "
          "'\"modified\":\"2021-06-16T20:14:09Z\",\"people\":[{\"id\":1}],\"rating\":"
          "12345678901234567890.5,'\n"
          "  .. '\"title\":\"Solaris\"}')");
    PQclear(row.res);
    lua_close(L);
}

static void the_error_shows_the_beginning_of_the_value(void **state)
{
    (void)state;
    lua_State *L = state_open();
    assert_false(push_cell(L, PG_INT, false, ',', "0123456789012345678901234567890123456789x"));
    assert_string_equal(lua_tostring(L, -1),
                        "column 'x': '0123456789012345678901234567890123456789...'"
                        " is not a value of type some type");
    assert_false(push_cell(L, PG_INT, false, ',', "жжжжжжжжжжжжжжжжжжx🎬🎬"));
    assert_string_equal(lua_tostring(L, -1),
                        "column 'x': 'жжжжжжжжжжжжжжжжжжx...' is not a value of type some type");
    lua_close(L);
}

static void a_result_fits_the_columns_that_were_described(void **state)
{
    (void)state;
    struct row row;
    row_make(&row, film, COLUMNS);
    assert_true(pg_columns_fit(&row.columns, row.res));
    row.list[3].oid = 26;
    assert_false(pg_columns_fit(&row.columns, row.res));
    row.list[3].oid = 25;
    row.list[3].name = (char *)(uintptr_t) "other";
    assert_false(pg_columns_fit(&row.columns, row.res));
    row.columns.n = 3;
    assert_false(pg_columns_fit(&row.columns, row.res));
    PQclear(row.res);
}

static void no_failing_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    struct row row;
    row_make(&row, film, COLUMNS);
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        lua_State *L = luaL_newstate();
        if (L) {
            lua_pushcfunction(L, state_fill);
            done = lua_pcall(L, 0, 0, 0) == LUA_OK && push_row(L, &row);
            if (!done)
                assert_non_null(strstr(lua_tostring(L, -1), "memory"));
            lua_close(L);
        }
        allocations_left = -1;
    }
    PQclear(row.res);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(floats_read_back_the_same),
        cmocka_unit_test(digits_of_floats_stay_where_they_are_the_shortest),
        cmocka_unit_test(numerics_keep_their_value),
        cmocka_unit_test(booleans_texts_and_json_are_what_they_are),
        cmocka_unit_test(bytea_is_its_bytes),
        cmocka_unit_test(moments_are_iso_8601),
        cmocka_unit_test(arrays_are_lists_of_their_elements),
        cmocka_unit_test(a_list_of_boxes_has_semicolons),
        cmocka_unit_test(damaged_arrays_are_refused),
        cmocka_unit_test(any_bytes_are_taken_or_refused),
        cmocka_unit_test(a_row_is_a_table_by_name_without_its_nulls),
        cmocka_unit_test(the_error_shows_the_beginning_of_the_value),
        cmocka_unit_test(a_result_fits_the_columns_that_were_described),
        cmocka_unit_test(no_failing_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
