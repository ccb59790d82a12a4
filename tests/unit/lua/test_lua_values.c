/* What Lua has no type for behaves like a value, and no script can break it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lua_state.h"
#include "torture.h"

static void run(const char *chunk)
{
    lua_State *L = state_open();
    claim(L, chunk);
    lua_close(L);
}

static void json_decodes_when_indexed_and_is_its_text_until_then(void **state)
{
    (void)state;
    run("local v = raw '{\"b\": [10, 20, null], \"a\": {\"x\": 1.5}, \"b2\" :\"text\"}'\n"
        "same(tostring(v), '{\"b\": [10, 20, null], \"a\": {\"x\": 1.5}, \"b2\" :\"text\"}')\n"
        "same(encode(v), tostring(v))\n"
        "same(v.a.x, 1.5) same(v.b[2], 20) same(v.b[3], etl.null) same(v.missing, nil) same(v[1], "
        "nil)\n"
        "assert(rawequal(v.a, v.a), 'it is decoded once')\n"
        "same(#v, 0) same(#raw '[1,2,3]', 3)\n"
        "same(encode(v), '{\"a\":{\"x\":1.5},\"b\":[10,20,null],\"b2\":\"text\"}')\n"
        "local names = {} for k in pairs(v) do names[#names + 1] = k end table.sort(names)\n"
        "same(table.concat(names, ' '), 'a b b2')\n"
        "local sum = 0 for i, x in ipairs(raw '[1,2,3]') do sum = sum + i * x end same(sum, 14)");
}

static void json_that_was_changed_is_encoded_as_changed(void **state)
{
    (void)state;
    run("local v = raw '{\"a\":1,\"deep\":{\"b\":[]}}'\n"
        "v.a = nil  v.c = 'new'  v.deep.b[1] = true\n"
        "same(encode { v = v }, '{\"v\":{\"c\":\"new\",\"deep\":{\"b\":[true]}}}')\n"
        "same(decode(v), decode(v))\n"
        "decode(v).d = 4 same(v.d, 4)\n"
        "same(raw(v), v)\n"
        "v.me = v raises('cannot encode a table that holds itself', encode, v)");
}

static void a_json_scalar_has_no_fields(void **state)
{
    (void)state;
    run("local function index(v) return v.x end\n"
        "local function set(v) v.x = 1 end\n"
        "raises('a json number has no fields', index, raw '5')\n"
        "raises('a json number has no fields', index, raw '123456789012345678901234567890')\n"
        "raises('a json string has no fields', index, raw '\"x\"')\n"
        "raises('a json null has no fields', set, raw 'null')\n"
        "raises('a json boolean has no fields', pairs, raw 'true')\n"
        "raises('a json string has no fields', function() return #raw '\"x\"' end)\n"
        "same(decode(raw '5'), 5) same(decode(raw 'null'), etl.null) same(decode(raw '\"x\"'), "
        "'x')\n"
        "same(encode(raw '5.00'), '5.00') same(tostring(raw ' null'), ' null')");
}

static void raw_takes_json_alone(void **state)
{
    (void)state;
    run("for _, text in ipairs { '', '{', '[1,]', 'nul', '1 2', '{\"a\"}', '\"\\xff\"', '{}x', "
        "'01' } do\n"
        "  raises('damaged JSON at byte', raw, text)\n"
        "end\n"
        "raises('damaged JSON at byte 4', raw, '[1, x]')\n"
        "raises('string expected', raw, {})\n"
        /* a bulk body is made of lines */
        "same(encode { raw '{\\n\"a\":\\r\\n1}' }, '[{ \"a\":  1}]')");
}

static void decimals_compare_by_value(void **state)
{
    (void)state;
    run("local d = etl.decimal\n"
        "local big = '1234567890123456789012345678901234567890'\n"
        "same(tostring(d(big)), big) same(encode { d(big) }, '[' .. big .. ']')\n"
        "local equal = { { '1', '1.0' }, { '1e2', '100' }, { '-0', '0e5' }, { '0.0120', '12e-3' }, "
        "{ '1E+2', "
        "'100.00' },\n"
        "  { '12345678901234567890.0', '1234567890123456789e1' }, { big, big .. '.000' } }\n"
        "for _, p in ipairs(equal) do\n"
        "  local a, b = d(p[1]), d(p[2])\n"
        "  assert(a == b and a <= b and b <= a and not (a < b) and not (b < a), p[1])\n"
        "end\n"
        "local rising = { '-1e400', '-' .. big, '-2', '-1.5', '-1', '-0.1', '-1e-400', '0', "
        "'1e-400', "
        "'0.09', '0.1',\n"
        "  '0.10000000000000000000000000000001', '1', '9', '10', '99.99', '100', big, big .. '.1', "
        "'1e400', "
        "'2e400' }\n"
        "for i, x in ipairs(rising) do for j, y in ipairs(rising) do\n"
        "  local a, b = d(x), d(y)\n"
        "  assert((a < b) == (i < j) and (a <= b) == (i <= j) and (a == b) == (i == j), x .. ' ' "
        ".. y)\n"
        "end end");
}

static void decimals_compare_with_numbers(void **state)
{
    (void)state;
    run("local d = etl.decimal\n"
        "assert(d '0.1' <= 0.1 and 0.1 <= d '0.1')\n"
        "assert(d '9223372036854775808' > math.maxinteger and d '9223372036854775807' <= "
        "math.maxinteger)\n"
        "assert(math.mininteger > d '-9223372036854775809')\n"
        "assert(d '1e400' < math.huge and -math.huge < d '-1e400' and not (d '1e400' > "
        "math.huge))\n"
        "local nan = 0 / 0 assert(not (d '1' < nan) and not (d '1' >= nan) and not (nan <= d "
        "'1'))\n"
        "assert(d '5e-324' <= 5e-324 and d '5e-324' >= 5e-324)\n"
        "assert(d '1' ~= 1) -- Lua asks nobody when the types differ\n"
        "assert(d '1' ~= raw '1')\n"
        "raises('cannot compare a decimal with a string', function() return d '1' < '2' end)\n"
        "raises('cannot compare a decimal with a nil', function() return nil <= d '1' end)\n"
        "raises('cannot compare a decimal with a userdata', function() return etl.null <= d '1' "
        "end)");
}

static void decimals_are_made_of_json_numbers(void **state)
{
    (void)state;
    run("local d = etl.decimal\n"
        "for _, text in ipairs { '', '+5', '1.', '.5', '0x10', ' 1', '1 ', 'NaN', 'inf', '1e', "
        "'01', '-', "
        "'1\\0' } do\n"
        "  raises('not a number as JSON writes it', d, text)\n"
        "end\n"
        "raises('not a finite number', d, math.huge) raises('not a finite number', d, 0 / 0)\n"
        "raises('expected', d, nil) raises('expected', d, {}) raises('expected', d, etl.null)\n"
        "same(tostring(d(5)), '5') same(tostring(d(0.1)), '0.1') "
        "same(tostring(d(math.mininteger)), "
        "'-9223372036854775808')\n"
        "same(tostring(d(d '1.50')), '1.50')\n"
        "same(d '42':tonumber(), 42) same(d '1.50':tonumber(), 1.5) same(d "
        "'9223372036854775808':tonumber(), "
        "2^63)");
}

static void base64_is_the_standard_one(void **state)
{
    (void)state;
    run("local b = etl.base64\n"
        "same(b '', '') same(b 'f', 'Zg==') same(b 'fo', 'Zm8=') same(b 'foo', 'Zm9v') same(b "
        "'foob', "
        "'Zm9vYg==')\n"
        "same(b 'fooba', 'Zm9vYmE=') same(b 'foobar', 'Zm9vYmFy') same(b '\\0\\xff\\xfe\\xfb', "
        "'AP/++w==')\n"
        "same(#b(string.rep('x', 100000)), 133336)");
}

static void arrays_keep_their_length(void **state)
{
    (void)state;
    run("local a = etl.array\n"
        "same(encode(a {}), '[]') same(encode(a({}, 0)), '[]') same(encode(a({}, 2)), "
        "'[null,null]')\n"
        "same(encode(a { 1, nil, 3 }), '[1,null,3]') same(encode(a({ 1, nil }, 3)), "
        "'[1,null,null]')\n"
        "local t = a { 1 } t[3] = 3 same(encode(t), '[1,null,3]') t[1], t[3] = nil, nil "
        "same(encode(t), "
        "'[]')\n"
        "local u = a({}, 3) same(a(u), u) same(encode(u), '[]')\n"
        "same(encode(a(decode '{}')), '[]')\n"
        "raises('keys are whole numbers', a, { x = 1 }) raises('keys are whole numbers', a, { [0] "
        "= 1 })\n"
        "raises('beyond that length', a, { 1, 2 }, 1) raises('not negative', a, {}, -1)\n"
        "raises('metatable of its own', a, setmetatable({}, {})) raises('table expected', a, 5)\n"
        "t.name = 1 raises('both names and numbers', encode, a { 1, t })\n"
        "for i = 1, 1000 do a({}, i) end collectgarbage() same(encode(a({}, 1)), '[null]')");
}

static void no_script_gets_at_the_metatables(void **state)
{
    (void)state;
    run("for _, v in ipairs { raw '{}', etl.decimal(1), etl.array {}, decode '{}' } do\n"
        "  same(type(getmetatable(v)), 'string')\n"
        "  assert(not pcall(setmetatable, v, {}))\n"
        "end\n"
        "assert(not pcall(function() etl.decimal(1).tonumber = 5 end))\n"
        "local to = etl.decimal(1).tonumber\n"
        "for _, wrong in ipairs { {}, 5, 'x', raw '1', etl.null, print } do raises('etl.decimal "
        "expected', "
        "to, wrong) end\n"
        "raises('etl.decimal expected', to)\n"
        "local next_field = pairs(raw '{\"a\":1}')\n"
        "for _, wrong in ipairs { 5, 'x', raw '{}', etl.null } do raises('table expected', "
        "next_field, "
        "wrong) end\n"
        "raises('table expected', next_field)\n"
        "raises('invalid key', next_field, {}, 'x')\n"
        "raises('nil', function() raw '{}' [nil] = 1 end)");
}

static int torture_body(lua_State *L)
{
    return luaL_dostring(
               L, "local v = raw "
                  "'{\"a\\\\n\":[1,2.5,{\"b\":\"\\\\u0416\"}],\"c\":12345678901234567890123}'\n"
                  "for k in pairs(v) do v[k] = v[k] end\n"
                  "etl.array({ 1, nil, 3 }, 9)\n"
                  "local t = tostring(v) .. etl.base64(('x'):rep(5000)) .. encode(v)\n"
                  "local d = etl.decimal('1e5') assert(d > 5 and d == etl.decimal(1e5))\n")
               ? lua_error(L)
               : 0;
}

static void no_failing_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        lua_State *L = state_try();
        if (L) {
            lua_pushcfunction(L, torture_body);
            done = lua_pcall(L, 0, 0, 0) == LUA_OK;
            if (!done) /* memory, or what became of it in C */
                assert_true(strstr(lua_tostring(L, -1), "memory") ||
                            strstr(lua_tostring(L, -1), "too large"));
            lua_close(L);
        }
        allocations_left = -1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_decodes_when_indexed_and_is_its_text_until_then),
        cmocka_unit_test(json_that_was_changed_is_encoded_as_changed),
        cmocka_unit_test(a_json_scalar_has_no_fields),
        cmocka_unit_test(raw_takes_json_alone),
        cmocka_unit_test(decimals_compare_by_value),
        cmocka_unit_test(decimals_compare_with_numbers),
        cmocka_unit_test(decimals_are_made_of_json_numbers),
        cmocka_unit_test(base64_is_the_standard_one),
        cmocka_unit_test(arrays_keep_their_length),
        cmocka_unit_test(no_script_gets_at_the_metatables),
        cmocka_unit_test(no_failing_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
