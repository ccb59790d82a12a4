/* A script cannot crash, hang or leave the process, and each of its mistakes is one line that says
 * where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "script_text.h"
#include "torture.h"

#include <lauxlib.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- loading ---- */

static void every_way_to_fail_while_loading_is_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"return {}", ""},
        {"return {\n  name = = 1\n}", "x.lua:2: unexpected symbol near '='"},
        {"return {\n  name = 'a'\n  state = 'b'\n}",
         "x.lua:3: '}' expected (to close '{' at line 1) near 'state'"},
        {"return { password = 's3cret\n }", "x.lua:1: unfinished string near a string"},
        {"return { password : \"s3cret\" }", "x.lua:1: <name> expected near a string"},
        {"return {\n 5 [[s3cret]] }",
         "x.lua:2: '}' expected (to close '{' at line 1) near a string"},
        {"x =\n[", "x.lua:2: unexpected symbol near '['"},
        {"local x\nerror('broken')", "x.lua:2: broken"},
        {"local x\nerror('a\\nb\\n\\tc')", "x.lua:2: a b c"},
        {"error('plain', 0)", "x.lua:1: plain"},
        {"error(42)", "x.lua:1: 42"},
        {"error({})", "x.lua:1: (error object is a table value)"},
        {"error()", "x.lua:1: (error object is a nil value)"},
        {"error(setmetatable({}, { __tostring = function() return 'object' end }))",
         "x.lua:1: object"},
        {"error(setmetatable({}, { __tostring = function() return {} end }))",
         "x.lua:1: (error object is a table value)"},
        {"error(setmetatable({}, { __tostring = function() error 'within' end }))",
         "x.lua:1: within"},
        {"local x\nlocal y = x.z", "x.lua:2: attempt to index a nil value (local 'x')"},
        {"", "x.lua:1: script returned nothing, expected a table: return { name = ..., source = "
             "..., ... }"},
        {"local t = {}\n\n", "x.lua:2: script returned nothing, expected a table: return { name = "
                             "..., source = ..., ... }"},
        {"return 'x'", "x.lua:1: script returned a string, expected a table: return { name = ..., "
                       "source = ..., ... }"},
        {"\x1bLua", "x.lua: cannot load a compiled chunk: a script is text"},
        {"\xEF\xBB\xBF#!/usr/bin/env etl-engine\nerror 'second'", "x.lua:2: second"},
        {"#!/usr/bin/env etl-engine", "x.lua:1: script returned nothing, expected a table: return "
                                      "{ name = ..., source = ..., ... }"},
        {"require 'nowhere'",
         "x.lua:1: module 'nowhere' not found: no field package.preload['nowhere'] no "
         "file 'nowhere.lua' no file 'nowhere/init.lua'"},
        {"local etl = require 'etl'\netl.pg.query('SELECT 1')",
         "x.lua:2: etl.pg is available in document() and in hooks, not while the script is being "
         "loaded"},
        {"local etl = require 'etl'\netl.es.request('GET', '/')",
         "x.lua:2: etl.es is available in document() and in hooks, not while the script is being "
         "loaded"},
    };
    unsetenv("LUA_PATH");
    unsetenv("LUA_PATH_5_4");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = open_once(cases[i].text);
        if (strcmp(e.text, cases[i].message) != 0 ||
            e.kind != (*cases[i].message ? ERR_USAGE : ERR_NONE))
            fail_msg("got:  %s\nnot: %s", e.text, cases[i].message);
    }
}

static void even_what_the_parser_cannot_place_names_the_file(void **state)
{
    (void)state;
    char text[300] = "return ";
    memset(text + 7, '(', 250);
    struct err e = open_once(text);
    assert_string_equal(e.text, "x.lua: C stack overflow");
}

static void long_paths_are_told_whole(void **state)
{
    (void)state;
    const char *path =
        "/a/very/long/path/that/lua/would/shorten/in/its/messages/scripts/movies.lua";
    struct script_text t = text_of(path, "error 'x'");
    struct err e;
    assert_null(script_open(&t, &e));
    char expected[200];
    snprintf(expected, sizeof expected, "%s:1: x", path);
    assert_string_equal(e.text, expected);
    script_text_free(&t);
    t = text_of(path, "return {");
    assert_null(script_open(&t, &e));
    snprintf(expected, sizeof expected, "%s:1: unexpected symbol near <eof>", path);
    assert_string_equal(e.text, expected);
    script_text_free(&t);
}

/* ---- the fence ---- */

#define STOPPED ": stopped after 100 million instructions: a loop that never ends?"
#define NO_MEMORY "x.lua: not enough memory: a script may use 256 MB"

static void nothing_outlasts_the_instruction_limit(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "while true do end",
        "::a:: goto a",
        "while true do pcall(function() while true do end end) end",
        "local function f() while true do end end while true do xpcall(f, f) end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "xpcall(error, function() while true do end end)",
        "local co = coroutine.wrap(function() while true do pcall(function() while true do end "
        "end) end end) "
        "co()",
        "while true do coroutine.wrap(function() for i = 1, 900 do end end)() end",
        "while true do local c = coroutine.create(function() while true do coroutine.yield() end "
        "end)\n"
        "  for i = 1, 100 do coroutine.resume(c) end end",
        "local c = { __close = function() while true do end end }\n"
        "coroutine.wrap(function() local x <close> = setmetatable({}, c) while true do end end)()",
        "local c = { __close = function() while true do end end }\n"
        "local co = coroutine.create(function() local x <close> = setmetatable({}, c) while true "
        "do end "
        "end)\n"
        "coroutine.resume(co) coroutine.close(co)",
        "local c = { __close = function() while true do end end }\n"
        "pcall(function() local x <close> = setmetatable({}, c) while true do end end)",
        "local m = {} m.__index = function(t, k) return t[k + 1] end\n"
        "local t = setmetatable({}, { __index = function(t, k) while true do end end }) local x = "
        "t.a",
        "local t = setmetatable({}, { __tostring = function() while true do end end }) error(t)",
        "table.sort({ 1, 2, 3 }, function() while true do end end)",
        "string.gsub('a', 'a', function() while true do end end)",
        "load(function() while true do end end)",
        "pcall(load, 'while true do end') load('while true do end')()",
        "require('etl').backoff({ interval = 0.001, wait = 'constant' }, function() while true do "
        "end end)",
        "require('etl').backoff({}, function() local ok = pcall(function() while true do end end) "
        "error 'x' "
        "end)",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = open_once(cases[i]);
        if (e.kind != ERR_USAGE || !strstr(e.text, STOPPED))
            fail_msg("%s\ngave: %s", cases[i], e.text);
    }
}

static void nothing_outgrows_the_memory_limit(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "local s = ('x'):rep(1 << 40)",
        "local s = ('x'):rep(1 << 27) s = s .. s",
        "local t = {} for i = 1, 1 << 40 do t[i] = { i } end",
        "local t = {} while true do t = { pcall(string.rep, 'x', 1 << 20), t, ('y' .. #t):rep(1 << "
        "20) } end",
        "local s = string.rep('x', 1 << 27, 'y')",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = open_once(cases[i]);
        if (e.kind != ERR_USAGE ||
            (strcmp(e.text, NO_MEMORY) != 0 && !strstr(e.text, "resulting string too large")))
            fail_msg("%s\ngave: %s", cases[i], e.text);
    }
}

static void nothing_leads_out_of_the_fence(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message; /* a part of it; "": none */
    } cases[] = {
        {"os.exit(3)", "attempt to call a nil value (field 'exit')"},
        {"os.execute('true')", "attempt to call a nil value (field 'execute')"},
        {"os.setlocale('C')", "attempt to call a nil value (field 'setlocale')"},
        {"io.popen('true')", "attempt to call a nil value (field 'popen')"},
        {"package.loadlib('libc.so.6', '*')", "attempt to call a nil value (field 'loadlib')"},
        {"string.dump(print)", "attempt to call a nil value (field 'dump')"},
        {"assert(load('\\27Lua'))", "attempt to load a binary chunk (mode is 't')"},
        {"assert(load('\\27Lua', 'x', 'b'))", "attempt to load a binary chunk (mode is 't')"},
        {"assert(load('return 1', 'x', 'b')() == 1) return {}", ""},
        {"local e = {} assert(load('a = 1', 'x', 't', e))() assert(e.a == 1 and not a) return {}",
         ""},
        {"setmetatable({}, { __gc = function() end })",
         "x.lua:1: a script's metatable cannot have __gc; use __close"},
        {"local m = getmetatable(io.stdout) assert(m == false) return {}", ""},
        {"for k in pairs(debug) do assert(k == 'traceback', k) end return {}", ""},
        {"for k in pairs(require 'debug') do assert(k == 'traceback', k) end return {}", ""},
        {"assert(#package.searchers == 2 and package.cpath == '') return {}", ""},
        {"collectgarbage('stop')", "invalid option 'stop'"},
        {"assert(collectgarbage('count') > 0) collectgarbage() collectgarbage('step') return {}",
         ""},
        {"assert((''):rep(math.maxinteger) == '') return {}", ""},
        {"table.move({}, 1, math.maxinteger - 1, 2)", "too many elements to move"},
        {"local function f() return 1 + f() end f()", "stack overflow"},
        {"local t = {} for i = 1, 300 do t = setmetatable({}, { __index = function() return t.x "
         "end }) end\n"
         "local s = string.rep('(', 500) assert(load(s))",
         "overflow"},
        {"local f = function() end for i = 1, 250 do local g = f f = coroutine.wrap(function() "
         "return g() "
         "end) end f()",
         "x.lua:1: x.lua:1: "}, /* a C stack overflow; Lua adds a place at each level */
        {"local function f(...) return xpcall(f, f, ...) end f() return {}", ""},
        {"local c = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) error('in ' .. b) "
         "end)\n"
         "assert(c(1) == 2) local ok, text = pcall(c, 'co') assert(text:find('in co'), text) "
         "return {}",
         ""},
        {"local c = coroutine.wrap(function() return pcall(function() return coroutine.yield(1) + "
         "1 end) "
         "end)\n"
         "assert(c() == 1) local ok, n = c(2) assert(ok and n == 3) return {}",
         ""},
        {"assert(select('#', xpcall(function(...) return ... end, print, 1, nil, nil)) == 4)\n"
         "local ok, text = xpcall(error, function(e) return e .. '!' end, 'x') assert(text == "
         "'x!') return "
         "{}",
         ""},
        {"local cjson = require 'cjson' assert(cjson.decode('[1,null]')[2] == "
         "require('etl').null)\n"
         "assert(cjson.encode({ a = 'x' }) == '{\"a\":\"x\"}' and cjson.new == nil) return {}",
         ""},
        {"local t = {} for i = 1, 100 do t[i] = ('x'):rep(1 << 20) end require('cjson').encode(t)",
         "cannot encode: more than 64 MB of JSON"},
        {"local t = {} for i = 1, 100 do t = { t, t } end require('cjson').encode(t)",
         "cannot encode: more than 64 MB of JSON"},
        {"local c = require 'cjson' c.encode_sparse_array(true, 0, 0) c.encode { [1 << 30] = 1 }",
         "cannot encode: more than 64 MB of JSON"},
        {"local c = require 'cjson' assert(not c.encode_max_depth and not c.decode_max_depth)\n"
         "c.decode(('['):rep(100000))",
         "too many nested"},
        {"local t = {} t[1] = t require('cjson').encode(t)", "excessive nesting"},
        {"print('%s%n', nil, { } and 1) warn('careful: %d') return {}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = open_once(cases[i].text);
        if (*cases[i].message ? !strstr(e.text, cases[i].message) : e.kind != ERR_NONE)
            fail_msg("%s\ngave: %s", cases[i].text, e.text);
    }
}

/* ---- calls ---- */

static int spin(lua_State *L)
{
    return luaL_dostring(L, "while true do end") ? lua_error(L) : 0;
}

static int count(lua_State *L)
{
    int *n = lua_touserdata(L, 1);
    if (!luaL_dostring(L, "for i = 1, 10000 do end local t = {} for i = 1, 100000 do t[i] = i end"))
        ++*n;
    return 0;
}

static void limits_start_afresh_with_each_call(void **state)
{
    (void)state;
    struct script_text t = text_of("x.lua", "return {}");
    struct err e;
    struct script *s = script_open(&t, &e);
    assert_non_null(s);
    int n = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(script_call(s, count, &n, &e));
        assert_false(script_call(s, spin, NULL, &e));
        assert_non_null(strstr(e.text, STOPPED));
    }
    assert_int_equal(n, 3);
    script_close(s);
    script_text_free(&t);
}

static int raise_passing(lua_State *L)
{
    struct err e;
    err_set(&e, ERR_PASSING, "could not reach\nthe server");
    return sandbox_raise(L, &e);
}

static int raise_passing_and_catch(lua_State *L)
{
    lua_pushcfunction(L, raise_passing);
    lua_pcall(L, 0, 0, 0);
    return luaL_error(L, "something else");
}

static void a_servers_error_ends_a_call_with_its_kind(void **state)
{
    (void)state;
    struct script_text t = text_of("x.lua", "return {}");
    struct err e;
    struct script *s = script_open(&t, &e);
    assert_false(script_call(s, raise_passing, NULL, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_string_equal(e.text, "could not reach the server");
    assert_false(script_call(s, raise_passing_and_catch, NULL, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    assert_string_equal(e.text, "something else");
    script_close(s);
    script_text_free(&t);
}

/* ---- documents ---- */

static char id_name[] = "id", title_name[] = "title", text_type[] = "text";
static struct pg_column list[] = {
    {.name = id_name, .oid = 25, .kind = PG_TEXT, .delimiter = ',', .type = text_type},
    {.name = title_name, .oid = 25, .kind = PG_TEXT, .delimiter = ',', .type = text_type}};
static const struct pg_columns columns = {list, 2, 0};

static PGresult *one_row(void)
{
    PGresAttDesc attributes[] = {{.name = id_name, .typid = 25}, {.name = title_name, .typid = 25}};
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    static char seven[] = "7", title[] = "Star";
    PQsetResultAttrs(res, 2, attributes);
    PQsetvalue(res, 0, 0, seven, 1);
    PQsetvalue(res, 0, 1, title, 4);
    return res;
}

static struct script_made meta; /* of the last one */

/* Runs document() of that body on the row; what it wrote is "before" and then the document. */
static bool document(const char *body, struct buf *out, bool *present, struct err *e)
{
    char text[1000];
    snprintf(text, sizeof text, "return {\n document = function(row)\n %s\n end }", body);
    struct script_text t = text_of("x.lua", text);
    struct script *s = script_open(&t, e);
    PGresult *res = one_row();
    struct script_row row = {&columns, res, 0, "7"};
    buf_init(out, 1 << 20);
    buf_adds(out, "before ");
    bool ok = s && script_document(s, &row, out, &meta, e);
    *present = ok && meta.present;
    PQclear(res);
    script_close(s);
    script_text_free(&t);
    return ok;
}

static void documents_go_straight_into_the_buffer(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"return { id = row.id, t = row.title }", "before {\"id\":\"7\",\"t\":\"Star\"}"},
        {"return {}", "before {}"},
        {"return require('etl').json.raw '{ \"a\": 1 }'", "before { \"a\": 1 }"},
        {"return row", "before {\"id\":\"7\",\"title\":\"Star\"}"},
        {"return nil", "before "},
        {"", "before "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct err e = {.text = ""};
        bool present;
        if (!document(cases[i][0], &out, &present, &e))
            fail_msg("%s", e.text);
        assert_string_equal(buf_cstr(&out), cases[i][1]);
        assert_int_equal(present, out.len > strlen("before "));
        buf_free(&out);
    }
}

static void what_a_document_may_return_is_read_from_its_text(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool nothing, never, always;
    } cases[] = {
        {"", true, true, false},
        {"local d = { id = row.id }", true, true, false},
        {"if row.title then return end", true, true, false},
        {"local n <const> = 0/0 local x = { '\xff', n }", true, true, false},
        {"local x <close> = nil", true, true, false},
        {"return", true, true, false},
        {"return;", true, true, false},
        {"local s = ' return 5' -- return 5\n", true, true, false},
        {"local function f(x)\n return x\n end f(row)", true, true, false},
        {"for i = 1, 2 do if i == 3 then repeat until true end end while false do end", true, true,
         false},
        {"return nil", false, false, true},
        {"if not row.title then return nil end", true, false, false},
        {"do return nil end", false, false, false},
        {"return row, {}", false, false, true},
        {"return rawlen(row) > 0 and row or nil", false, false, true},
        {"return rawget(row, 'none')", false, false, true},
        {"local f = function()\n end return f(row)", true, false, true},
        {"local x <close> = nil return (function()\n end)(row)", true, false, true},
        {"local function f(x)\n return x\n end return f(row)", false, false, true},
        {"if not row.title then return end return rawget(row, 'none')", false, false, false},
        {"if not row.title then return nil end return rawget(row, 'none')", false, false, true},
        {"if row.title == 0 then return rawget(row, 'none') end return (function()\n end)(row)",
         true, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1000];
        struct err e = {.text = ""};
        struct buf out;
        bool present;
        assert_true(document(cases[i].body, &out, &present, &e));
        assert_int_equal(meta.nothing, cases[i].nothing);
        buf_free(&out);
        snprintf(text, sizeof text, "return {\n document = function(row)\n %s end }",
                 cases[i].body);
        struct script_text t = text_of("x.lua", text);
        struct script *s = script_open(&t, &e);
        assert_non_null(s);
        if (script_never_returns(s) != cases[i].never ||
            script_always_returns(s) != cases[i].always)
            fail_msg("%s", cases[i].body);
        script_close(s);
        script_text_free(&t);
    }
}

/* On one line there may be several: nothing is concluded if they differ. */
static void functions_on_one_line_are_told_apart_or_not_at_all(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool never, always;
    } cases[] = {
        {"return { document = function(row) end }", true, false},
        {"return { document = function(row) return f(row) end }", false, true},
        {"return { document = function(row) (function() return 1 end)() end }", false, false},
        {"return { document = function(row) (function() end)() end }", true, false},
        {"local function f() return 1 end return { document = function(row) f() end }", false,
         false},
        {"return { document = load('return function(row) end')() }", true, false},
        {"return { document = load('return function(row) return row end', '=x')() }", false, false},
        {"return { document = tostring }", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        struct script_text t = text_of("x.lua", cases[i].text);
        struct script *s = script_open(&t, &e);
        assert_non_null(s);
        if (script_never_returns(s) != cases[i].never ||
            script_always_returns(s) != cases[i].always)
            fail_msg("%s", cases[i].text);
        script_close(s);
        script_text_free(&t);
    }
}

/* Of the first row it is a mistake of the script; once it has given a document, a mistake about
 * some rows. */
static void a_column_that_there_is_not_is_told(void **state)
{
    (void)state;
    struct err e = {.text = ""};
    struct script_text t =
        text_of("x.lua", "return { document = function(row)\n"
                         "n = (n or 0) + 1\n"
                         "return { t = n > 2 and row.titel or row.title } end }");
    struct buf out;
    bool present;
    assert_false(document("return { t = row.titel }", &out, &present, &e));
    assert_string_equal(e.text,
                        "x.lua:3: the query has no column 'titel', did you mean 'title'? (key '7'; "
                        "columns id, title)");
    assert_int_equal(e.kind, ERR_USAGE);
    buf_free(&out);

    struct script *s = script_open(&t, &e);
    PGresult *res = one_row();
    struct script_row row = {&columns, res, 0, "7"};
    buf_init(&out, 1000);
    assert_true(script_document(s, &row, &out, &meta, &e));
    assert_true(script_document(s, &row, &out, &meta, &e));
    assert_false(script_document(s, &row, &out, &meta, &e));
    assert_non_null(strstr(e.text, "x.lua:3: the query has no column 'titel'"));
    assert_int_equal(e.kind, ERR_FINAL);
    buf_free(&out);
    PQclear(res);
    script_close(s);
    script_text_free(&t);
}

static void a_document_may_say_where_it_goes(void **state)
{
    (void)state;
    static const struct {
        const char *body, *index, *routing, *pipeline;
    } cases[] = {
        {"return {}", "", "", ""},
        {"return {}, nil", "", "", ""},
        {"return {}, {}", "", "", ""},
        {"return {}, { index = 'i', routing = 'r', pipeline = 'p' }", "i", "r", "p"},
        {"return {}, { routing = 7 }", "", "7", ""},
        {"return nil, { routing = 'r' }", "", "r", ""},
        {"return {}, { index = ('i'):rep(255), routing = ('r'):rep(512), pipeline = ('p'):rep(256) "
         "}, 7",
         NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct err e = {.text = ""};
        bool present;
        memset(&meta, 'x', sizeof meta); /* of another document */
        if (!document(cases[i].body, &out, &present, &e))
            fail_msg("%s", e.text);
        if (cases[i].index) {
            assert_string_equal(meta.index, cases[i].index);
            assert_string_equal(meta.routing, cases[i].routing);
            assert_string_equal(meta.pipeline, cases[i].pipeline);
        } else {
            assert_int_equal(strlen(meta.index) + strlen(meta.routing) + strlen(meta.pipeline),
                             255 + 512 + 256);
        }
        buf_free(&out);
    }
}

static void a_failed_document_names_line_key_and_columns_and_leaves_nothing(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"local x\n return { a = x.y }", "x.lua:4: attempt to index a nil value (local 'x')"},
        {"return 'text'", "x.lua:2: document() returned a string, expected a table or nil"},
        {"return require('etl').null",
         "x.lua:2: document() returned etl.null, expected a table or nil"},
        {"return { 1, 2 }", "x.lua:2: document() returned a list, expected a table of fields"},
        {"return {}, 7", "x.lua:2: document() returned a number as its second value, expected a "
                         "table: { routing = ... }"},
        {"return {}, { 7 }",
         "x.lua:2: document() returned a list as metadata, expected { routing = ... }"},
        {"return {}, { routin = 'x' }",
         "x.lua:2: document() returned metadata with an unknown field 'routin', "
         "did you mean 'routing'?"},
        {"return {}, { xyz = 1 }",
         "x.lua:2: document() returned metadata with an unknown field 'xyz'"},
        {"return nil, { index = true }",
         "x.lua:2: document() returned metadata whose index is a boolean, expected a string"},
        {"return { a = { { b = print } } }", "x.lua:2: a[1].b: cannot encode a function"},
        {"return { t = ('x'):rep(2 << 20) }",
         "x.lua:2: the document does not fit a request of 1048576 bytes, or memory is short"},
        {"error()", "x.lua:3: (error object is a nil value)"},
        {"local t = {} while true do t[#t + 1] = { t } end",
         "x.lua: not enough memory: a script may use 256 MB"},
        {"while true do end",
         "x.lua:3: stopped after 100 million instructions: a loop that never ends?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct err e = {.text = ""};
        bool present = true;
        char message[300];
        assert_false(document(cases[i][0], &out, &present, &e));
        snprintf(message, sizeof message, "%s (key '7'; columns id, title)", cases[i][1]);
        assert_string_equal(e.text, message);
        assert_int_equal(e.kind, ERR_FINAL);
        assert_false(present);
        assert_string_equal(buf_cstr(&out), "before ");
        buf_free(&out);
    }
}

static int note_state(lua_State *L)
{
    *(lua_State **)lua_touserdata(L, 1) = L;
    return 0;
}

static void after_each_kind_of_failure_the_next_document_works(void **state)
{
    (void)state;
    struct script_text t =
        text_of("x.lua", "local n = 0\n"
                         "return { document = function(row)\n"
                         "  n = n + 1\n"
                         "  if n % 2 == 0 then return { n = n } end\n"
                         "  if n == 1 then error {} end\n"
                         "  if n == 3 then local t = {} while true do t[#t + 1] = { t } end end\n"
                         "  if n == 5 then while true do end end\n"
                         "  if n == 7 then return { a = n, b = print } end\n"
                         "  return require('cjson').encode(print)\n"
                         "end }");
    struct err e;
    struct script *s = script_open(&t, &e);
    lua_State *L;
    assert_true(script_call(s, note_state, &L, &e));
    PGresult *res = one_row();
    struct script_row row = {&columns, res, 0, "7"};
    struct buf out;
    buf_init(&out, 1 << 20);
    for (int n = 1; n <= 10; n++) {
        assert_int_equal(script_document(s, &row, &out, &meta, &e), n % 2 == 0);
        assert_int_equal(lua_gettop(L), 0);
    }
    assert_string_equal(buf_cstr(&out), "{\"n\":2}{\"n\":4}{\"n\":6}{\"n\":8}{\"n\":10}");
    buf_free(&out);
    PQclear(res);
    script_close(s);
    script_text_free(&t);
}

static void long_errors_keep_key_and_columns(void **state)
{
    (void)state;
    struct buf out;
    struct err e;
    bool present;
    assert_false(document("error(('\xD0\xB6'):rep(2000))", &out, &present, &e));
    size_t len = strlen(e.text);
    assert_string_equal(e.text + len - strlen(" (key '7'; columns id, title)"),
                        " (key '7'; columns id, title)");
    assert_true(len >= sizeof e.text - 5);
    buf_free(&out);
}

static void documents_bear_any_allocation_to_fail(void **state)
{
    (void)state;
    struct script_text t = text_of("x.lua", "return { document = function(row)\n"
                                            "  local t = { id = row.id, list = {} }\n"
                                            "  for i = 1, 20 do t.list[i] = row.title .. i end\n"
                                            "  return t\n"
                                            "end }");
    struct err e;
    struct script *s = script_open(&t, &e);
    PGresult *res = one_row();
    struct script_row row = {&columns, res, 0, "7"};
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf out;
        buf_init(&out, 1 << 20);
        allocations_left = n;
        done = script_document(s, &row, &out, &meta, &e);
        allocations_left = -1;
        if (!done)
            assert_int_equal(out.len, 0);
        buf_free(&out);
    }
    PQclear(res);
    script_close(s);
    script_text_free(&t);
}

static void opening_bears_any_allocation_to_fail(void **state)
{
    (void)state;
    struct script_text t =
        text_of("x.lua", "local etl = require 'etl' return { a = etl.json.encode { 1, 2 } }");
    struct script *s = NULL;
    for (int n = 0; !s; n++) {
        struct err e;
        allocations_left = n;
        s = script_open(&t, &e);
        allocations_left = -1;
        if (!s)
            assert_non_null(strstr(e.text, "memory"));
    }
    script_close(s);
    script_text_free(&t);
}

/* ---- hooks, files ---- */

static void hooks_are_told_what_happened(void **state)
{
    (void)state;
    struct script_text t = text_of(
        "x.lua", "return { before_run = function(run)\n"
                 "  assert(run.pipeline == 'movies' and run.dry_run == true and run.ok == false)\n"
                 "  assert(run.documents == 3 and run.deleted == 2 and run.rejected == 1)\n"
                 "  assert(run.seconds == 1.5)\n"
                 "  error 'heard'\n"
                 "end }");
    struct err e;
    struct script *s = script_open(&t, &e);
    struct script_run run = {.pipeline = "movies",
                             .dry_run = true,
                             .ended = true,
                             .documents = 3,
                             .deleted = 2,
                             .rejected = 1,
                             .seconds = 1.5};
    assert_true(script_hook(s, "after_run", &run, &e));
    assert_false(script_hook(s, "before_run", &run, &e));
    assert_string_equal(e.text, "x.lua:5: heard");
    script_close(s);
    script_text_free(&t);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void modules_are_found_beside_the_script(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_script_XXXXXX", path[100];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/deep", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/one.lua", dir);
    write_file(path, "return { n = 1, deep = require 'deep' }");
    snprintf(path, sizeof path, "%s/deep/init.lua", dir);
    write_file(path, "return 'found'");
    snprintf(path, sizeof path, "%s/broken.lua", dir);
    write_file(path, "return {\n= }");
    snprintf(path, sizeof path, "%s/binary.lua", dir);
    write_file(path, "\x1bLua");
    snprintf(path, sizeof path, "%s/x.lua", dir);
    write_file(
        path,
        "assert(require('one').deep == 'found')\n"
        "local ok, text = pcall(require, 'broken') assert(text:find('broken.lua:2:', 1, true), "
        "text)\n"
        "ok, text = pcall(require, 'binary') assert(text:find('binary chunk', 1, true), text)\n"
        "return {}");
    struct script_text t;
    struct err e = {.text = ""};
    assert_true(script_text_read(&t, path, &e));
    struct script *s = script_open(&t, &e);
    assert_string_equal(e.text, "");
    script_close(s);
    script_text_free(&t);
    for (size_t i = 0; i < 5; i++) {
        static const char *const names[] = {"one.lua", "deep/init.lua", "broken.lua", "binary.lua",
                                            "x.lua"};
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/deep", dir);
    rmdir(path);
    rmdir(dir);
}

static void files_that_cannot_be_read_say_why(void **state)
{
    (void)state;
    struct script_text t;
    struct err e;
    assert_false(script_text_read(&t, "/nowhere/x.lua", &e));
    assert_string_equal(e.text, "cannot read script '/nowhere/x.lua': No such file or directory");
    assert_int_equal(e.kind, ERR_USAGE);
    assert_false(script_text_read(&t, "/tmp", &e));
    assert_string_equal(e.text, "cannot read script '/tmp': Is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_fail_while_loading_is_one_line),
        cmocka_unit_test(even_what_the_parser_cannot_place_names_the_file),
        cmocka_unit_test(long_paths_are_told_whole),
        cmocka_unit_test(nothing_outlasts_the_instruction_limit),
        cmocka_unit_test(nothing_outgrows_the_memory_limit),
        cmocka_unit_test(nothing_leads_out_of_the_fence),
        cmocka_unit_test(limits_start_afresh_with_each_call),
        cmocka_unit_test(a_servers_error_ends_a_call_with_its_kind),
        cmocka_unit_test(documents_go_straight_into_the_buffer),
        cmocka_unit_test(what_a_document_may_return_is_read_from_its_text),
        cmocka_unit_test(functions_on_one_line_are_told_apart_or_not_at_all),
        cmocka_unit_test(a_column_that_there_is_not_is_told),
        cmocka_unit_test(a_document_may_say_where_it_goes),
        cmocka_unit_test(a_failed_document_names_line_key_and_columns_and_leaves_nothing),
        cmocka_unit_test(after_each_kind_of_failure_the_next_document_works),
        cmocka_unit_test(long_errors_keep_key_and_columns),
        cmocka_unit_test(documents_bear_any_allocation_to_fail),
        cmocka_unit_test(opening_bears_any_allocation_to_fail),
        cmocka_unit_test(hooks_are_told_what_happened),
        cmocka_unit_test(modules_are_found_beside_the_script),
        cmocka_unit_test(files_that_cannot_be_read_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
