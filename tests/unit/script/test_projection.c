/* A function that only puts columns into fields is found out by its code; what is written without
 * it is what its call gives; all other functions are left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lua/row.h"
#include "lua_state.h"
#include "result_row.h"
#include "script/projection.h"
#include "torture.h"

static const struct cell full[] = {
    {"id", PG_INT, false, "7"},
    {"title", PG_TEXT, false, "Say \"hello\"\n\xd0\xb0"},
    {"tags", PG_TEXT, true, "{\"a\\\"b\",NULL,c}"},
    {"meta", PG_JSON, false, "{\"b\": [1.10, {}], \"a\": null}"},
    {"seen", PG_TIMESTAMPTZ, false, "2021-06-16 20:14:09.2+00"},
    {"rating", PG_FLOAT, false, "0.14285714285714285"},
    {"a quoted \"name\"", PG_BOOL, false, "t"},
};
static const struct cell sparse[] = {
    {"id", PG_INT, false, "8"},
    {"title", PG_TEXT, false, ""},
    {"tags", PG_TEXT, true, "{}"},
    {"meta", PG_JSON, false, NULL},
    {"seen", PG_TIMESTAMPTZ, false, NULL},
    {"rating", PG_FLOAT, false, "NaN"},
    {"a quoted \"name\"", PG_BOOL, false, NULL},
};
static const struct cell empty[] = {
    {"id", PG_INT, false, NULL},
    {"title", PG_TEXT, false, NULL},
    {"tags", PG_TEXT, true, NULL},
    {"meta", PG_JSON, false, NULL},
    {"seen", PG_TIMESTAMPTZ, false, NULL},
    {"rating", PG_FLOAT, false, NULL},
    {"a quoted \"name\"", PG_BOOL, false, NULL},
};
static const struct cell *const rows[] = {full, sparse, empty};
enum { N = sizeof full / sizeof *full, ROWS = sizeof rows / sizeof *rows };

/* The function at 1, called with the row, and what it returned encoded into the buf. */
static int call(lua_State *L)
{
    const struct row *row = lua_touserdata(L, 2);
    row_push_names(L, &row->columns);
    lua_pushvalue(L, 1);
    row_push(L, &row->columns, 4, row->res, 0);
    lua_call(L, 1, 1);
    lua_json_encode(L, -1, lua_touserdata(L, 3));
    return 0;
}

static void load(lua_State *L, const char *function)
{
    char text[4000];
    snprintf(text, sizeof text, "return %s", function);
    if (luaL_dostring(L, text) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
}

static void gives_the_same(lua_State *L, struct projection *p, const struct cell *cells,
                           const char *function)
{
    struct row row;
    struct buf direct, called;
    buf_init(&direct, 1 << 20);
    buf_init(&called, 1 << 20);
    row_make(&row, cells, N);
    buf_adds(&direct, "before");
    bool sure = projection_add(p, &row.columns, row.res, 0, &direct);
    lua_pushcfunction(L, call);
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, &row);
    lua_pushlightuserdata(L, &called);
    bool ok = lua_pcall(L, 3, 0, 0) == LUA_OK;
    if (sure != ok)
        fail_msg("%s: %s", function, sure ? "Lua does not take it" : "Lua takes it");
    const char *document = buf_cstr(&called);
    if (ok && strcmp(document, "[]") == 0) /* which script.c makes of it */
        document = "{}";
    assert_memory_equal(direct.data, "before", 6);
    assert_string_equal(buf_cstr(&direct) + 6, sure ? document : "");
    PQclear(row.res);
    buf_free(&direct);
    buf_free(&called);
    lua_settop(L, 1);
}

static void is_projection(const char *function)
{
    lua_State *L = state_open();
    load(L, function);
    for (int i = 0; i < ROWS; i++) {
        struct projection *p = projection_new(L, 1);
        if (!p)
            fail_msg("not found out: %s", function);
        assert_int_equal(lua_gettop(L), 1);
        gives_the_same(L, p, rows[i], function);
        projection_free(p);
    }
    lua_close(L);
}

static void is_none(const char *function)
{
    lua_State *L = state_open();
    load(L, function);
    struct projection *p = projection_new(L, 1);
    if (p)
        fail_msg("taken for a projection: %s", function);
    projection_free(p);
    lua_close(L);
}

static void functions_that_only_copy_are_found_out(void **state)
{
    (void)state;
    is_projection("function(r) return r end");
    is_projection("function(r) return { id = r.id, title = r.title, tags = r.tags } end");
    is_projection(
        "function(r) return { b = r.meta, a = r.seen, ab = r.title, [\"a\\0b\"] = r.id } end");
    is_projection("function(r) return { nothing = r.no_such_column } end");
    is_projection("function(r) return {} end");
    is_projection(
        "function(r) return { id = r.id, kind = 'film', n = 5, big = 1 << 40, x = 0.5, yes = true, "
        "no = false, none = nil, long = 'a text that is longer than the forty bytes of a short "
        "one' } end");
    is_projection(
        "function(r) local d = { id = r.id } d.title = r.title d.id = r.rating return d end");
    is_projection("function(r) local d = { id = r.id } d.id = nil return d end");
    is_projection(
        "function(r) local a, b, c = r.id, nil, r.title return { a = a, b = b, c = c } end");
    is_projection(
        "function(r) return { in_it = { deep = { id = r.id }, title = r.title }, none = {} } end");
    is_projection("function(r) return { maybe = { meta = r.meta, seen = r.seen } } end");
    is_projection(
        "function(r) local t = { meta = r.meta } return { a = t, b = t, c = { t = t } } end");
    is_projection("function(r) r.title = nil return r end");
    is_projection("function(r) r.name = r.title r.title = 'x' return r end");
    is_projection("function(r) return { row = r, id = r.id } end");
    is_projection("function(r) r.row = { r = r.id } return r end");
    is_projection("function(r) local d = {} d.r = r.id r = d return r end");
    is_projection("function(r, more) return { id = r.id, more = more } end");
}

static void all_others_are_left_alone(void **state)
{
    (void)state;
    is_none("function(r) return nil end");
    is_none("function(r) end");
    is_none("function(r) return 'text' end");
    is_none("function(r) return r.meta end");
    is_none("function(r) return r, {} end");
    is_none("function(r) return r.title and r end");
    is_none("function(r) return { id = r.id or 0 } end");
    is_none("function(r) if r.id then return r end return {} end");
    is_none("function(r) return { id = r.id + 1 } end");
    is_none("function(r) return { title = r.title .. '!' } end");
    is_none("function(r) return { n = #r.tags } end");
    is_none("function(r) return { title = r.title:upper() } end");
    is_none("function(r) return { first = r.tags[1] } end");
    is_none("function(r) return { a = r.meta.b } end");
    is_none("function(r) return { r.id, r.title } end");
    is_none("function(r) return { list = { r.id } } end");
    is_none("function(r) return { [r.title] = r.id } end");
    is_none("function(r) return { now = os.time() } end");
    is_none("function(r) seen = r.id return r end");
    is_none("function(r) r.self = r return r end");
    is_none("function(r) local d = {} r.d = d d.r = r return r end");
    is_none("function(r) local d = {} r.d = d d.late = r.id return r end");
    is_none("function(r) return { bad = '\\xff' } end");
    is_none("function(r) return { much = 1e999 } end");
    is_none("function(...) return ... end");
    is_none("function() return {} end");
    is_none("function(r) while true do end return r end");
    is_none("function(r) local function f() return r end return f() end");
    is_none("function(r) return setmetatable(r, nil) end");
    is_none("(function() local n = 0 return function(r) n = n + 1 return r end end)()");
    is_none("(function() local n = 0 return function(r) return { n = n } end end)()");
    is_none("print");
    is_none("5");
}

/* However they are made: tables in tables, each twice in the next one. */
static void what_grows_without_end_is_none(void **state)
{
    (void)state;
    struct buf function;
    buf_init(&function, 4000);
    buf_adds(&function, "function(r) local t = { id = r.id } ");
    for (int i = 0; i < 29; i++)
        buf_adds(&function, "t = { a = t, b = t } ");
    buf_adds(&function, "return t end");
    lua_State *L = state_open();
    load(L, buf_cstr(&function));
    buf_free(&function);
    struct projection *p = projection_new(L, 1);
    assert_non_null(p);
    struct row row;
    struct buf out;
    buf_init(&out, 1 << 20);
    row_make(&row, full, N);
    assert_false(projection_add(p, &row.columns, row.res, 0, &out));
    assert_int_equal(out.len, 0);
    PQclear(row.res);
    buf_free(&out);
    projection_free(p);
    lua_close(L);
}

static void rows_that_are_not_plain_are_left_to_the_function(void **state)
{
    (void)state;
    lua_State *L = state_open();
    load(L, "function(r) return r end");
    static const struct cell odd[][2] = {
        {{"id", PG_INT, false, "1"}, {"x", PG_BYTEA, false, "\\x00"}},
        {{"id", PG_INT, false, "1"}, {"id", PG_INT, false, NULL}},
        {{"id", PG_INT, false, "1"}, {"x", PG_FLOAT, false, "Infinity"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_TEXT, false, "\xff"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_TEXT, true, "{a"}},
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct row row;
        struct buf out;
        buf_init(&out, 100);
        row_make(&row, odd[i], 2);
        struct projection *p = projection_new(L, 1);
        assert_non_null(p);
        assert_false(projection_add(p, &row.columns, row.res, 0, &out));
        assert_int_equal(out.len, 0);
        projection_free(p);
        PQclear(row.res);
        buf_free(&out);
    }
    lua_close(L);
}

static void a_document_that_does_not_fit_says_so(void **state)
{
    (void)state;
    lua_State *L = state_open();
    load(L, "function(r) return { none = {}, meta = r.meta, title = r.title } end");
    struct row row;
    row_make(&row, full, N);
    size_t whole = 0;
    for (size_t max = 200; max-- > 0;) {
        struct projection *p = projection_new(L, 1);
        struct buf out;
        buf_init(&out, max);
        assert_true(projection_add(p, &row.columns, row.res, 0, &out));
        whole = whole ? whole : out.len;
        assert_int_equal(out.failed, max < whole);
        buf_free(&out);
        projection_free(p);
    }
    PQclear(row.res);
    lua_close(L);
}

static void no_failing_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    lua_State *L = state_open();
    load(L, "function(r) local d = { a = r.title, b = r.tags, c = 'x' } d.row = r return d end");
    struct row row;
    row_make(&row, full, N);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf out;
        buf_init(&out, 1 << 20);
        allocations_left = n;
        struct projection *p = projection_new(L, 1);
        done = p && projection_add(p, &row.columns, row.res, 0, &out) && !out.failed;
        allocations_left = -1;
        buf_free(&out);
        projection_free(p);
    }
    PQclear(row.res);
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_that_only_copy_are_found_out),
        cmocka_unit_test(all_others_are_left_alone),
        cmocka_unit_test(what_grows_without_end_is_none),
        cmocka_unit_test(rows_that_are_not_plain_are_left_to_the_function),
        cmocka_unit_test(a_document_that_does_not_fit_says_so),
        cmocka_unit_test(no_failing_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
