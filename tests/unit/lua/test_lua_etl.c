/* The API under the declarative form does what its comments promise, and no call of it can break
 * the engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "es/es.h"
#include "fake_http.h"
#include "pg/pg_pool.h"
#include "script_text.h"
#include "torture.h"

#include <lauxlib.h>
#include <stdio.h>
#include <unistd.h>

static const char prelude[] =
    "etl = require 'etl'\n"
    "function raises(part, f, ...)\n"
    "  local ok, text = pcall(f, ...)\n"
    "  if ok then error('nothing raised: ' .. part, 2) end\n"
    "  if not tostring(text):find(part, 1, true) then error(text .. ', not ' .. part, 2) end\n"
    "end\n"
    "function same(got, expected)\n"
    "  if got ~= expected then error(tostring(got) .. ', not ' .. tostring(expected), 2) end\n"
    "end\n"
    "return {}";

static int run_chunk(lua_State *L)
{
    if (luaL_loadstring(L, lua_touserdata(L, 1)) || lua_pcall(L, 0, 0, 0))
        return lua_error(L);
    return 0;
}

/* Runs a chunk within an open script that has these services. */
static bool run_with(const struct sandbox_services *services, const char *chunk, struct err *e)
{
    struct script_text t = text_of("x.lua", prelude);
    struct script *s = script_open(&t, e);
    if (!s)
        fail_msg("%s", e->text);
    script_serve(s, services);
    bool ok = script_call(s, run_chunk, (void *)(uintptr_t)chunk, e);
    script_close(s);
    script_text_free(&t);
    return ok;
}

static void claim_with(const struct sandbox_services *services, const char *chunk)
{
    struct err e;
    if (!run_with(services, chunk, &e))
        fail_msg("%s", e.text);
}

static void claim(const char *chunk)
{
    claim_with(&(struct sandbox_services){0}, chunk);
}

static void the_values_are_there(void **state)
{
    (void)state;
    claim("same(etl.json.encode { a = etl.array {}, b = etl.null, c = etl.decimal '1.10' },\n"
          "     '{\"a\":[],\"b\":null,\"c\":1.10}')\n"
          "same(etl.json.decode '[1,2]'[2], 2)\n"
          "same(etl.json.encode(etl.json.raw '{ }'), '{ }')\n"
          "same(etl.base64 'abc', 'YWJj')\n"
          "same(require 'etl', etl)");
}

static void what_a_script_changes_in_the_module_is_its_own_loss(void **state)
{
    (void)state;
    claim("string.format = nil\n"
          "etl.log.info('%d still formats', 5)\n"
          "for k in pairs(etl) do etl[k] = nil end\n"
          "package.loaded.etl = nil\n"
          "raises('not found', require, 'etl')");
}

static void log_lines_are_never_formats_of_ours(void **state)
{
    (void)state;
    claim("etl.log.info('100 % %s %n')\n"
          "etl.log.warn('%s is %d', '%s%n', 5)\n"
          "etl.log.error(nil)\n"
          "raises('bad argument', etl.log.info, '%d', 'x')\n"
          "raises('value expected', etl.log.info)");
}

static void services_that_are_not_there_are_told(void **state)
{
    (void)state;
    claim("raises('etl.pg is not available here', etl.pg.query, 'SELECT 1')\n"
          "raises('etl.pg is not available here', etl.pg.rows, 'SELECT 1')\n"
          "raises('etl.es is not available here', etl.es.request, 'GET', '/')\n"
          "raises('of a run with a state', etl.state.read)");
}

/* ---- etl.state ---- */

static void state_is_read(void **state)
{
    (void)state;
    char path[] = "/tmp/test_lua_etl_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct sandbox_services services = {.state_path = path};
    claim_with(&services, "assert(next(etl.state.read()) == nil)");
    static const char text[] = "{\"phase\":\"following\",\"n\":9007199254740993}";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    claim_with(&services,
               "local s = etl.state.read() same(s.phase, 'following') same(s.n, 9007199254740993)");
    assert_int_equal(write(fd, "}", 1), 1);
    claim_with(&services, "raises('damaged JSON', etl.state.read)");
    close(fd);
    unlink(path);
    claim_with(&services, "same(etl.state.read(), nil)");
    services.state_path = "/tmp";
    claim_with(&services,
               "raises(\"cannot read state file '/tmp': Is a directory\", etl.state.read)");
}

/* ---- etl.backoff ---- */

static void a_secret_is_read(void **state)
{
    (void)state;
    setenv("SOME_SECRET_FILE", "/no/such/file", 1);
    claim(
        "same(etl.secret 'NO_SECRET_THERE', nil)\n"
        "raises('cannot read SOME_SECRET from file \\'/no/such/file\\': No such file', etl.secret, "
        "'SOME_SECRET')\n"
        "raises('is not a valid name of a secret', etl.secret, '../passwd')");
    unsetenv("SOME_SECRET_FILE");
    setenv("SOME_SECRET", "s3cret", 1);
    claim("same(etl.secret 'SOME_SECRET', 's3cret')");
}

static void backoff_retries_until_it_succeeds(void **state)
{
    (void)state;
    claim("local n, heard = 0, {}\n"
          "local function flaky(a, b) n = n + 1 if n < 3 then error('try ' .. n) end return a + b, "
          "nil, 'more' "
          "end\n"
          "local function hear(name) return function(d) heard[#heard + 1] = name .. d.tries .. "
          "(d.wait and 'w' "
          "or '')\n"
          "  assert(d.elapsed >= 0 and d.args[1] == 1 and d.args[2] == 2)\n"
          "  if name == 'b' then assert(d.error:find('try ' .. n), d.error) else same(d.value, 3) "
          "end end end\n"
          "local sum, none, more = etl.backoff({ factor = 0.001, on_backoff = hear 'b', on_success "
          "= hear "
          "'s',\n"
          "  on_giveup = error }, flaky, 1, 2)\n"
          "same(sum, 3) same(none, nil) same(more, 'more') same(n, 3)\n"
          "same(table.concat(heard, ' '), 'b1w b2w s3')");
}

static void backoff_gives_up_with_the_last_error_unchanged(void **state)
{
    (void)state;
    claim("local object, n, gave = {}, 0, 0\n"
          "local ok, e = pcall(etl.backoff, { max_tries = 4, wait = 'constant', interval = 0.001, "
          "jitter = "
          "'none',\n"
          "  on_giveup = function(d) gave = d.tries same(d.error, object) end },\n"
          "  function() n = n + 1 error(object) end)\n"
          "assert(not ok and rawequal(e, object)) same(n, 4) same(gave, 4)\n"
          "n = 0\n"
          "ok, e = pcall(etl.backoff, { giveup = function(e) return e:find 'final' end, factor = "
          "0.001 },\n"
          "  function() n = n + 1 error(n == 2 and 'final' or 'passing', 0) end)\n"
          "same(e, 'final') same(n, 2)\n"
          "n = 0\n"
          "pcall(etl.backoff, { max_time = 0.02, wait = 'fibo', jitter = 'none' }, function() n = "
          "n + 1 "
          "error 'x' end)\n"
          "same(n, 2)");
}

static void backoff_retries_on_a_predicate(void **state)
{
    (void)state;
    claim("local n = 0\n"
          "local function count() n = n + 1 return n end\n"
          "local o = { retry_if = function(r) return r < 3 end, factor = 0.001 }\n"
          "same(etl.backoff(o, count), 3)\n"
          "n, o.max_tries = 0, 2\n"
          "same(etl.backoff(o, count), 2)\n"
          "n, o.max_tries = 0, nil\n"
          "raises('at once', etl.backoff, o, function() n = n + 1 error 'at once' end) same(n, 1)\n"
          "n, o.retry_on = 0, 'error'\n"
          "same(etl.backoff(o, function() n = n + 1 if n == 1 then error 'again' end return n "
          "end), 3)\n"
          "same(select('#', etl.backoff({ retry_if = function(r) return r end }, function() end)), "
          "0)");
}

static void backoff_knows_its_options(void **state)
{
    (void)state;
    claim("raises(\"unknown option 'max_trys', did you mean 'max_tries'?\", etl.backoff, { "
          "max_trys = 1 }, "
          "print)\n"
          "raises(\"unknown option 'colour'\", etl.backoff, { colour = 1 }, print)\n"
          "raises('options are named', etl.backoff, { 5 }, print)\n"
          "raises(\"option 'wait' must be \\\"expo\\\", \\\"fibo\\\" or \\\"constant\\\", is "
          "'linear'\", "
          "etl.backoff,\n"
          "  { wait = 'linear' }, print)\n"
          "raises(\"option 'jitter' must be\", etl.backoff, { jitter = 5 }, print)\n"
          "raises(\"option 'max_tries' must be a whole number\", etl.backoff, { max_tries = 1.5 }, "
          "print)\n"
          "for _, x in ipairs { 0, -1, 0/0, 1/0, '1', {} } do\n"
          "  raises(\"option 'max_time' must be a number above 0\", etl.backoff, { max_time = x }, "
          "print) end\n"
          "raises(\"option 'giveup' must be a function, is a number\", etl.backoff, { giveup = 1 "
          "}, print)\n"
          "raises('bad argument #2', etl.backoff, {}, 5)\n"
          "raises('bad argument #1', etl.backoff, print)");
}

static void backoff_lets_handlers_raise(void **state)
{
    (void)state;
    claim("for _, name in ipairs { 'on_backoff', 'giveup' } do\n"
          "  raises('from a handler', etl.backoff, { [name] = function() error 'from a handler' "
          "end }, "
          "error, 'x') end\n"
          "raises('from a handler', etl.backoff, { on_success = function() error 'from a handler' "
          "end }, "
          "type, 1)\n"
          "raises('from a handler', etl.backoff, { retry_if = function() error 'from a handler' "
          "end }, type, "
          "1)\n"
          "raises('across', coroutine.wrap(function() etl.backoff({ max_tries = 1 }, "
          "coroutine.yield) end))");
}

/* ---- etl.es ---- */

static struct fake_http server;

static void es_requests_give_status_and_answer(void **state)
{
    (void)state;
    const struct fake_step steps[] = {{.status = 200, .body = "{\"count\":9007199254740993}"},
                                      {.status = 404, .body = "{\"error\":\"gone\"}"},
                                      {.status = 200, .body = "green yellow"},
                                      {.status = 200, .body = ""}};
    fake_start(&server, steps, 4);
    struct es_server es_server;
    struct err e;
    assert_true(es_server_init(&es_server, &(struct es_config){.url = server.url}, &e));
    struct es *es = es_open(&es_server, &e);
    struct sandbox_services services = {.es = es};
    claim_with(&services,
               "local status, answer = etl.es.request('POST', '/movies/_count', { query = { term = "
               "{ a = 1 } } })\n"
               "same(status, 200) same(answer.count, 9007199254740993)\n"
               "status, answer = etl.es.request('GET', '/movies')\n"
               "same(status, 404) same(answer.error, 'gone')\n"
               "status, answer = etl.es.request('GET', '/_cat/health')\n"
               "same(answer, 'green yellow')\n"
               "status, answer = etl.es.request('POST', '/_bulk', '{}\\n')\n"
               "same(answer, nil)\n"
               "raises('expected GET, POST, PUT, DELETE or HEAD', etl.es.request, 'get', '/')\n"
               "raises('expected GET, POST, PUT, DELETE or HEAD', etl.es.request, 'GET /x', '/')\n"
               "raises(\"a path begins with '/'\", etl.es.request, 'GET', 'movies')\n"
               "raises('%XX', etl.es.request, 'GET', '/a b')\n"
               "raises('%XX', etl.es.request, 'GET', '/a\\r\\nX: y')\n"
               "raises('a.b: cannot encode a function', etl.es.request, 'POST', '/', { a = { b = "
               "print } })");
    fake_look(&server);
    assert_non_null(strstr(server.head, "application/x-ndjson"));
    fake_stop(&server);

    assert_false(run_with(&services, "etl.es.request('GET', '/')", &e));
    assert_int_equal(e.kind, ERR_PASSING);
    claim_with(&services, "raises('could not', etl.es.request, 'GET', '/')");
    es_close(es);
    es_server_free(&es_server);
}

/* ---- etl.pg ---- */

static void a_database_that_is_away_is_passing(void **state)
{
    (void)state;
    struct pg_server pg_server;
    struct pg_pool pool;
    struct err e;
    assert_true(pg_server_init(&pg_server, "postgresql://127.0.0.1:1/none", &e));
    pg_pool_init(&pool, &pg_server);
    struct sandbox_services services = {.pg = &pool};
    assert_false(run_with(&services, "etl.pg.query('SELECT 1')", &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_non_null(strstr(e.text, "could not connect"));
    assert_false(run_with(&services, "for row in etl.pg.rows('SELECT 1') do end", &e));
    assert_int_equal(e.kind, ERR_PASSING);
    claim_with(&services,
               "raises('parameter 2: cannot send a function', etl.pg.query, 'x', 1, print)\n"
               "raises('parameter 1: PostgreSQL', etl.pg.query, 'x', 'a\\0b')\n"
               "raises('a list within a list', etl.pg.query, 'x', { { 1 } })\n"
               "raises('more than 10000000 elements', etl.pg.query, 'x', etl.array({}, 1 << 40))");
    pg_pool_free(&pool);
    pg_server_free(&pg_server);
}

/* What DATABASE_URL names, if it is there: SELECTs only. */
static void queries_take_and_give_every_value(void **state)
{
    (void)state;
    const char *url = getenv("DATABASE_URL");
    if (!url)
        skip();
    struct pg_server pg_server;
    struct pg_pool pool;
    struct err e;
    assert_true(pg_server_init(&pg_server, url, &e));
    pg_pool_init(&pool, &pg_server);
    struct sandbox_services services = {.pg = &pool};
    claim_with(
        &services,
        "local function text(cast, v) return etl.pg.query('SELECT ($1::' .. cast .. ')::text AS "
        "v', v)[1].v "
        "end\n"
        "same(text('int8', math.mininteger), '-9223372036854775808')\n"
        "same(text('int4', 10 / 2), '5') same(text('float8', 0.1), '0.1') same(text('float8', "
        "1e308), "
        "'1e+308')\n"
        "same(text('float8', 0/0), 'NaN') same(text('float8', -1/0), '-Infinity')\n"
        "same(text('text', nil), nil) same(text('text', etl.null), nil) same(text('bool', false), "
        "'false')\n"
        "same(text('numeric', etl.decimal '12345678901234567890.10'), '12345678901234567890.10')\n"
        "same(text('jsonb', etl.json.raw '{\"a\": [1]}'), '{\"a\": [1]}')\n"
        "same(text('jsonb', { a = { 1, 2 } }), '{\"a\": [1, 2]}')\n"
        "same(text('text[]', { 'a\"b', 'c,\\\\d', '' }), [[{\"a\\\"b\",\"c,\\\\d\",\"\"}]])\n"
        "same(text('int[]', {}), '{}') same(text('int[]', etl.array({ 1 }, 3)), '{1,NULL,NULL}')\n"
        "same(text('jsonb[]', { { a = 1 } }), [[{\"{\\\"a\\\": 1}\"}]])\n"
        "local rows = etl.pg.query \"SELECT 1 AS n, '{}'::int[] AS list, NULL AS none UNION ALL "
        "SELECT 2, "
        "'{5}', 'x'\"\n"
        "same(#rows, 2) same(etl.json.encode(rows), "
        "'[{\"list\":[],\"n\":1},{\"list\":[5],\"n\":2,\"none\":\"x\"}]')\n"
        "same(etl.json.encode(etl.pg.query 'SELECT 1 WHERE false'), '[]')\n"
        "raises('division by zero', etl.pg.query, 'SELECT 1 / 0')\n"
        "raises('syntax error', etl.pg.query, 'SELEC')\n"
        "raises('no_table', etl.pg.rows, 'SELECT * FROM no_table')\n"
        "local n = 0 for row in etl.pg.rows 'SELECT g FROM generate_series(1, 100000) g' do n = n "
        "+ row.g "
        "end\n"
        "same(n, 5000050000)\n"
        "for i = 1, 50 do for row in etl.pg.rows 'SELECT g FROM generate_series(1, 100000) g' do\n"
        "  same(row.g, 1) same(etl.pg.query('SELECT $1::int AS x', i)[1].x, i) break end end\n"
        "raises('out', function() for row in etl.pg.rows 'SELECT 1' do error 'out' end end)\n"
        "raises('division', function() for row in etl.pg.rows 'SELECT 1/(3-g) AS x FROM "
        "generate_series(1, "
        "5) g' do end end)\n"
        "local next_row = etl.pg.rows 'SELECT 1 AS one' same(next_row().one, 1) same(next_row(), "
        "nil) "
        "same(next_row(), nil)\n"
        "for i = 1, 250 do same(etl.pg.query('SELECT ' .. i .. ' AS i')[1].i, i) end\n"
        "etl.pg.rows 'SELECT g FROM generate_series(1, 100000) g' -- left open");
    pg_pool_free(&pool);
    pg_server_free(&pg_server);
}

static void calls_bear_any_allocation_to_fail(void **state)
{
    (void)state;
    struct script_text t = text_of("x.lua", prelude);
    struct err e;
    struct script *s = script_open(&t, &e);
    char path[] = "/tmp/test_lua_etl_XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "{\"a\":[1,2]}", 11), 11);
    close(fd);
    struct sandbox_services services = {.state_path = path};
    script_serve(s, &services);
    static const char chunk[] =
        "etl.state.read().a[3] = 5\n"
        "pcall(etl.backoff, { max_tries = 2, factor = 0.001, on_backoff = type }, error, 'x')\n"
        "etl.log.debug('%s', 'x')\n"
        "etl.secret 'SOME_SECRET'\n"
        "etl.json.encode { a = etl.array { 1, 'x' } }";
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        done = script_call(s, run_chunk, (void *)(uintptr_t)chunk, &e);
        allocations_left = -1;
    }
    unlink(path);
    script_close(s);
    script_text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_values_are_there),
        cmocka_unit_test(what_a_script_changes_in_the_module_is_its_own_loss),
        cmocka_unit_test(log_lines_are_never_formats_of_ours),
        cmocka_unit_test(services_that_are_not_there_are_told),
        cmocka_unit_test(state_is_read),
        cmocka_unit_test(a_secret_is_read),
        cmocka_unit_test(backoff_retries_until_it_succeeds),
        cmocka_unit_test(backoff_gives_up_with_the_last_error_unchanged),
        cmocka_unit_test(backoff_retries_on_a_predicate),
        cmocka_unit_test(backoff_knows_its_options),
        cmocka_unit_test(backoff_lets_handlers_raise),
        cmocka_unit_test(es_requests_give_status_and_answer),
        cmocka_unit_test(a_database_that_is_away_is_passing),
        cmocka_unit_test(queries_take_and_give_every_value),
        cmocka_unit_test(calls_bear_any_allocation_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
