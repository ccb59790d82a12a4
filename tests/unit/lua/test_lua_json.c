/* Documents are exact and in a stable order; what cannot be one is an error that names its
 * field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "lua_state.h"
#include "torture.h"

static void run(const char *chunk)
{
    lua_State *L = state_open();
    claim(L, chunk);
    lua_close(L);
}

static void names_are_sorted_by_their_bytes(void **state)
{
    (void)state;
    run("same(encode { b = 1, a = 2, ['\\xd0\\x96'] = 3, B = 4, [''] = 5, aa = 6, ['a\\0'] = 7 },\n"
        "  '{\"\":5,\"B\":4,\"a\":2,\"a\\\\u0000\":7,\"aa\":6,\"b\":1,\"\xd0\x96\":3}')\n"
        "same(encode { same_beginning_b = 1, same_beginning_a = 2, same_beginning_ = 3 },\n"
        "  '{\"same_beginning_\":3,\"same_beginning_a\":2,\"same_beginning_b\":1}')\n"
        "for _, n in ipairs { 2, 24, 25, 60, 128, 129, 5000 } do\n"
        "  local t, names = {}, {}\n"
        "  for i = 1, n do local k = 'k' .. (i * 7919) % 10007 t[k] = { x = { k = i } } names[i] = "
        "k end\n"
        "  table.sort(names)\n"
        "  for i, k in ipairs(names) do names[i] = ('\"%s\":{\"x\":{\"k\":%d}}'):format(k, "
        "t[k].x.k) end\n"
        "  same(encode(t), '{' .. table.concat(names, ',') .. '}')\n"
        "end");
}

static void numbers_are_exact(void **state)
{
    (void)state;
    run("same(encode { math.maxinteger, math.mininteger, 0, 1234567890123456 },\n"
        "  '[9223372036854775807,-9223372036854775808,0,1234567890123456]')\n"
        "for _, x in ipairs { 0.1, 1e308, 5e-324, 2.2250738585072014e-308, 1/3, 1e23, 12.0, -0.0, "
        "2^53, "
        "1.7976931348623157e308 } do\n"
        "  local text = encode(x) same(tonumber(text), x) same(encode(decode(text)), text)\n"
        "end\n"
        "same(encode { etl.decimal '1234567890.1234567890123456789000', true, false, etl.null },\n"
        "  '[1234567890.1234567890123456789000,true,false,null]')");
}

static void arrays_are_tables_with_the_keys_1_to_n(void **state)
{
    (void)state;
    run("same(encode {}, '[]') same(encode { {}, { {} } }, '[[],[[]]]')\n"
        "local t = {} for i = 3, 1, -1 do t[i] = i end same(encode(t), '[1,2,3]')\n"
        "t = {} for i = 64, 1, -1 do t[i] = i end same(#decode(encode { a = t }).a, 64)\n"
        "t = { [2] = 'b', [1] = 'a' } same(encode { t, t }, '[[\"a\",\"b\"],[\"a\",\"b\"]]')\n"
        "t = setmetatable({ 1 }, { __index = error, __pairs = error, __len = error }) "
        "same(encode(t), "
        "'[1]')\n"
        "same(encode { list = { { x = { 1 } }, 'z' } }, '{\"list\":[{\"x\":[1]},\"z\"]}')");
}

static void what_cannot_be_encoded_is_named_by_its_path(void **state)
{
    (void)state;
    run("local function bad(path, value)\n"
        "  local ok, text = pcall(encode, value) assert(not ok) same(text, path)\n"
        "end\n"
        "bad('actors[3].name: cannot encode a function', { actors = { { name = 1 }, {}, { name = "
        "print } } "
        "})\n"
        "bad('cannot encode a function', print)\n"
        "bad('cannot encode a nil', nil)\n"
        "bad('[1]: cannot encode a thread', { coroutine.create(print) })\n"
        "bad('f: cannot encode a FILE*', { f = io.stdout })\n"
        "bad('x: cannot encode NaN', { x = 0 / 0 }) bad('x: cannot encode infinity', { x = "
        "-math.huge })\n"
        "bad('a.b: cannot encode an array with holes: etl.array(t) makes them null', { a = { b = { "
        "1, nil, 3 "
        "} } })\n"
        "bad('cannot encode an array with holes: etl.array(t) makes them null', { [2] = 'b' })\n"
        "bad('a: cannot encode a table with both names and numbers as keys', { a = { 1, x = 2 } "
        "})\n"
        "bad('a: cannot encode a table with both names and numbers as keys', { a = { x = 2, y = 3, "
        "[5] = 1 } "
        "})\n"
        "bad('cannot encode a table with the key 0', { [0] = 1 })\n"
        "bad('cannot encode a table with the key 1.5', { 1, [1.5] = 1 })\n"
        "bad('cannot encode a table with a boolean as key', { [true] = 1 })\n"
        "bad('cannot encode a table with a boolean as key', { 1, 2, [true] = 1 })\n"
        "local utf = ': the text is not valid UTF-8; etl.base64 makes bytes fit for JSON'\n"
        "bad('a[2]' .. utf, { a = { 'fine', 'not \\xff fine' } })\n"
        "bad('[\"\\xd0\\x96 \\\"??\"][\"a b\"]' .. utf, { ['\\xd0\\x96 \"\\1\\2'] = { ['a b'] = "
        "'\\xff' } "
        "})\n"
        "bad('x[\"?\"]: the field\\'s name is not valid UTF-8', { x = { ['\\xff'] = 1 } })\n"
        "bad('x[\"' .. ('y'):rep(60) .. '...\"]' .. utf, { x = { [('y'):rep(5000000)] = '\\xff' } "
        "})\n"
        "local deep = '\\xff' for i = 1, 100 do deep = { level = deep } end\n"
        "local _, text = pcall(encode, deep) assert(#text < 400 and "
        "text:find('^%.%.%.[level.]+level: the "
        "text'), text)");
}

static void cycles_are_found_and_repetition_is_fine(void **state)
{
    (void)state;
    run("local t = { a = {} } t.a.b = { t }\n"
        "raises('a.b[1]: cannot encode a table that holds itself', encode, t)\n"
        "local twice = { 1 } same(encode { twice, x = nil, twice }, '[[1],[1]]')\n"
        "local self = {} self[1] = self raises('[1]: cannot encode a table that holds itself', "
        "encode, "
        "self)");
}

static void nesting_ends_in_an_error_not_in_a_crash(void **state)
{
    (void)state;
    run("local function nested(n, object)\n"
        "  local t = {} for i = 2, n do t = object and { a = t } or { t } end return t\n"
        "end\n"
        "same(encode(nested(512)), ('['):rep(512) .. (']'):rep(512))\n"
        "same(encode(decode(encode(nested(512, true)))), encode(nested(512, true)))\n"
        "raises('nested deeper than 512', encode, nested(513)) raises('nested deeper than 512', "
        "encode, "
        "nested(100000, true))\n"
        "raises('nested', decode, ('['):rep(1000000))\n"
        "raises('damaged JSON at byte', decode, ('{\"a\":'):rep(1000000))");
}

static void very_many_fields_are_encoded_or_refused(void **state)
{
    (void)state;
    run("local t = {} for i = 1, 100000 do t['k' .. i] = i end\n"
        "local back, n = decode(encode(t)), 0\n"
        "for k, v in pairs(back) do n = n + 1 assert(t[k] == v) end same(n, 100000)\n"
        "for i = 1, 600000 do t['k' .. i] = i end\n"
        "raises('that many fields', encode, { t })");
}

static void a_full_buffer_is_said_by_the_buffer(void **state)
{
    (void)state;
    lua_State *L = state_open();
    lua_newtable(L);
    for (int i = 1; i <= 3; i++) {
        lua_pushinteger(L, i);
        lua_rawseti(L, -2, 4 - i); /* a list that is walked twice must not forget it */
    }
    lua_values_mark_array(L, -1, 1000000000000);
    struct buf b;
    buf_init(&b, 40);
    buf_adds(&b, "before ");
    lua_json_encode(L, -1, &b);
    assert_true(b.failed);
    assert_memory_equal(b.data, "before [3,2,1,null,", 19);
    buf_cut(&b, 7);
    lua_pushboolean(L, true);
    lua_json_encode(L, -1, &b);
    assert_string_equal(buf_cstr(&b), "before true");
    assert_int_equal(lua_gettop(L), 2);
    buf_free(&b);
    lua_close(L);
}

static void decoding_gives_each_number_its_exact_type(void **state)
{
    (void)state;
    run("for text, kind in pairs { ['9223372036854775807'] = 'integer', ['-9223372036854775808'] = "
        "'integer',\n"
        "  ['9223372036854775808'] = 'etl.decimal', ['1.5'] = 'float', ['100000000000000000000'] = "
        "'float', "
        "['-0'] = 'float',\n"
        "  ['0.1'] = 'float', ['0.10000000000000000'] = 'float', ['0.30000000000000004'] = "
        "'float',\n"
        "  ['0.10000000000000001'] = 'etl.decimal', ['1e400'] = 'etl.decimal', ['1e-400'] = "
        "'etl.decimal',\n"
        "  ['5e-324'] = 'float', ['4e-324'] = 'etl.decimal', ['1.7976931348623157e308'] = 'float', "
        "['1e308'] "
        "= 'float',\n"
        "  ['12345678901234567890.5'] = 'etl.decimal', ['0e99999999999999999999'] = 'float', "
        "['1E2'] = "
        "'float' } do\n"
        "  same(text .. ' ' .. type_of(decode(text)), text .. ' ' .. kind)\n"
        "  assert(etl.decimal(text) == etl.decimal(encode(decode(text))), text)\n"
        "end\n"
        "same(encode(decode '-0'), '-0.0')\n"
        "local long = '0.' .. ('123'):rep(1000) same(encode(decode(long)), long)");
}

static void decoding_keeps_what_json_can_say(void **state)
{
    (void)state;
    run("for _, text in ipairs { '[]', '{}', '{\"a\":{},\"b\":[],\"c\":[{}]}', '[null]', "
        "'{\"a\":null}', "
        "'null', 'true', '\"\"',\n"
        "  '{\"\":1,\"1\":2}', '[[],[[]],[null,[]]]', '\"\\\\u0000x\"' } do "
        "same(encode(decode(text)), text) "
        "end\n"
        "same(decode ' {\"a\" : 1, \"b\":2, \"a\" : 3 } '.a, 3)\n"
        "same(decode '\"\\\\ud83c\\\\udfac\\\\n\"', '\\xf0\\x9f\\x8e\\xac\\n')\n"
        "local filled = decode '{}' filled.x = 1 same(encode(filled), '{\"x\":1}') filled.x = nil "
        "same(encode(filled), '{}')\n"
        "for at, text in pairs { [0] = '', [3] = '[1 2]', [1] = '{a:1}', [2] = '[],', [5] = "
        "'{\"a\" 1}' } "
        "do\n"
        "  raises('damaged JSON at byte ' .. at, decode, text)\n"
        "end\n"
        "raises('string expected', decode, {}) raises('string expected', decode)\n"
        "raises('value expected', encode)");
}

/* A random value as JSON text, in the one form in which encode writes it. */
static void random_json(uint64_t *seed, struct buf *b, int depth)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    unsigned r = (unsigned)(*seed >> 33);
    static const char *const scalars[] = {"null",
                                          "true",
                                          "false",
                                          "0",
                                          "-1",
                                          "9223372036854775807",
                                          "0.1",
                                          "-2.5e-10",
                                          "123456789012345678901234567890.123",
                                          "\"\"",
                                          "\"x\\n\\\"\\\\\"",
                                          "\"\xd0\x96\xf0\x9f\x8e\xac\"",
                                          "1e+23",
                                          "3.141592653589793"};
    unsigned n = depth > 5 ? 0 : r / 16 % 7;
    if (r % 3 == 0 || depth > 5) {
        buf_adds(b, scalars[r / 3 % (sizeof scalars / sizeof *scalars)]);
        return;
    }
    bool object = r % 3 == 1;
    buf_addc(b, object ? '{' : '[');
    for (unsigned i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(b, ',');
        if (object)
            buf_addf(b, "\"name%u\":", i);
        random_json(seed, b, depth + 1);
    }
    buf_addc(b, object ? '}' : ']');
}

static void decode_then_encode_is_the_identity(void **state)
{
    (void)state;
    lua_State *L = state_open();
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        uint64_t random = seed;
        struct buf in, out;
        buf_init(&in, 1 << 24);
        buf_init(&out, 1 << 24);
        random_json(&random, &in, 0);
        lua_json_decode(L, in.data, in.len);
        lua_json_encode(L, -1, &out);
        if (in.len != out.len || memcmp(in.data, out.data, in.len) != 0)
            fail_msg("seed %d: %s became %s", (int)seed, buf_cstr(&in), buf_cstr(&out));
        lua_settop(L, 0);
        buf_free(&in);
        buf_free(&out);
    }
    lua_close(L);
}

static int torture_body(lua_State *L)
{
    struct buf *out = lua_touserdata(L, 1);
    const char *text = "{\"a\":[1,2.5,\"\\u0416\"],\"b\":{\"c\":{}},\"d\":12345678901234567890123}";
    lua_json_decode(L, text, strlen(text));
    lua_json_encode(L, -1, out);
    lua_settop(L, 0);
    lua_newtable(L); /* more fields than the encoder has place for */
    for (int i = 0; i < 300; i++) {
        lua_pushfstring(L, "field%d", i);
        lua_pushinteger(L, i);
        lua_rawset(L, 1);
    }
    lua_json_encode(L, 1, out);
    return 0;
}

static void no_failing_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        allocations_left = n;
        lua_State *L = state_try();
        if (L) {
            lua_pushcfunction(L, torture_body);
            lua_pushlightuserdata(L, &b);
            bool raised = lua_pcall(L, 1, 0, 0) != LUA_OK;
            if (raised)
                assert_non_null(strstr(lua_tostring(L, -1), "memory"));
            done = !raised && !b.failed;
            lua_close(L);
        }
        allocations_left = -1;
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_sorted_by_their_bytes),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(arrays_are_tables_with_the_keys_1_to_n),
        cmocka_unit_test(what_cannot_be_encoded_is_named_by_its_path),
        cmocka_unit_test(cycles_are_found_and_repetition_is_fine),
        cmocka_unit_test(nesting_ends_in_an_error_not_in_a_crash),
        cmocka_unit_test(very_many_fields_are_encoded_or_refused),
        cmocka_unit_test(a_full_buffer_is_said_by_the_buffer),
        cmocka_unit_test(decoding_gives_each_number_its_exact_type),
        cmocka_unit_test(decoding_keeps_what_json_can_say),
        cmocka_unit_test(decode_then_encode_is_the_identity),
        cmocka_unit_test(no_failing_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
