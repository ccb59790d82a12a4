/* Ours beside Lua's own: the same results and the same errors, for patterns and texts made at
 * random. */
#include "base/err.h"
#include "lua/lua_pattern.h"
#include "script/script.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t spent;

/* Stands in for script's: no limits, as Lua's own has none. */
void sandbox_spend(lua_State *L, int64_t instructions)
{
    (void)L;
    spent += instructions;
}

static const char compare[] =
    "local ours, theirs, seed = ...\n"
    "math.randomseed(seed)\n"
    "local function show(v) return type(v) == 'string' and ('%q'):format(v) or tostring(v) end\n"
    "local function list(...)\n"
    "  local t = table.pack(...)\n"
    "  for i = 1, t.n do t[i] = show(t[i]) end\n"
    /* the name that Lua finds for them */
    "  return (theirs.gsub(table.concat(t, ', '), \"to '[%w?.]*' \", ''))\n"
    "end\n"
    "local function every(gmatch, ...)\n"
    "  local t = {}\n"
    "  for a, b, c in gmatch(...) do\n"
    "    t[#t + 1] = list(a, b, c)\n"
    "    if #t > 99 then break end\n"
    "  end\n"
    "  return table.concat(t, '; ')\n"
    "end\n"
    "local function same(name, ...)\n"
    "  local a, b\n"
    "  if name == 'gmatch' then\n"
    "    a, b = list(pcall(every, ours.gmatch, ...)), list(pcall(every, theirs.gmatch, ...))\n"
    "  else\n"
    "    a, b = list(pcall(ours[name], ...)), list(pcall(theirs[name], ...))\n"
    "  end\n"
    "  assert(a == b, name .. '(' .. list(...) .. ')\\nours:   ' .. a .. '\\ntheirs: ' .. b)\n"
    "end\n"
    "local parts = { 'a', 'b', '.', '%a', '%d', '%s', '%w', '%x', '%p', '%A', '%S', '%W', '[ab]', "
    "'[^ab]', "
    "'[a-c]',\n"
    "  '[%d_]', '[]]', '[^]]', '[a-]', '[%]x]', '[', ']', '%', '%%', '%.', '(', ')', '()', '%1', "
    "'%2', "
    "'%b()', '%b',\n"
    "  '%bab', '%f[%w]', '%f[^a]', '%f', '*', '+', '-', '?', '^', '$', '\\0', '%z', '%g', '%l', "
    "'%U', "
    "'\\xff', ' ', '%0',\n"
    "  'a*', 'a-', 'a+', 'a?', '.-', '.*', '(a*)', '(.-)', '%s*', '[^', '[a', '%c' }\n"
    "local letters = { 'a', 'b', 'c', ' ', '1', '(', ')', '\\0', '\\xff', '.', '%', ']', '_', 'A', "
    "'\\n' }\n"
    "local function random(from, n)\n"
    "  local t = {}\n"
    "  for i = 1, math.random(0, n) do t[i] = from[math.random(#from)] end\n"
    "  return table.concat(t)\n"
    "end\n"
    "local replacements = { 'x', '<%0>', '%1%1', '%2', '%%', '%', '%a', '', 7,\n"
    "  function(a, b) return b or a end, function() end, function() return {} end, function() "
    "return false "
    "end,\n"
    "  { a = 'A', [' '] = 5, b = false }, setmetatable({}, { __index = function(_, k) return k end "
    "}) }\n"
    "for _ = 1, 5000 do\n"
    "  local text, pattern, start = random(letters, 12), random(parts, 5), math.random(-14, 14)\n"
    "  same('find', text, pattern)\n"
    "  same('find', text, pattern, start)\n"
    "  same('find', text, pattern, start, true)\n"
    "  same('match', text, pattern, start)\n"
    "  same('gmatch', text, pattern)\n"
    "  same('gmatch', text, pattern, start)\n"
    "  same('gsub', text, pattern, replacements[math.random(#replacements)])\n"
    "  same('gsub', text, pattern, replacements[math.random(#replacements)], math.random(-1, 3))\n"
    "end\n"
    "for _, name in ipairs { 'find', 'match', 'gsub' } do\n"
    "  same(name)\n"
    "  same(name, 'a')\n"
    "  same(name, {}, 'a', 'x')\n"
    "  same(name, 'a', {}, 'x')\n"
    "  same(name, 10, 1, 5)\n"
    "  same(name, 'a', 'a', 1.5)\n"
    "  same(name, ('a'):rep(1000), ('a?'):rep(300), 'x')\n"
    "  same(name, ('('):rep(50), ('('):rep(50), 'x')\n"
    "  same(name, ('a'):rep(50), ('(a)'):rep(33), 'x')\n"
    "  same(name, ('a'):rep(3000), '.-b', 'x')\n"
    "end\n"
    "same('gsub', 'a', 'a', nil) same('gsub', 'a', 'a', true) same('find', 'a', '', 3) "
    "same('find', 'a', "
    "'a', math.mininteger)\n"
    "same('gmatch', 'abc', '^a') same('find', '', '') same('match', 'x', '(x', 1) same('gsub', "
    "'abc', '', "
    "'-')\n";

static void the_same_as_luas_own(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_loadstring(L, compare) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    lua_newtable(L);
    lua_pattern_open(L);
    lua_getglobal(L, "string");
    const char *seed = getenv("ETL_SEED");
    lua_pushinteger(L, seed ? strtoll(seed, NULL, 10) : 1);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    lua_close(L);
}

static void work_is_charged(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_newtable(L);
    lua_pattern_open(L);
    lua_setglobal(L, "p");
    spent = 0;
    assert_int_equal(luaL_dostring(L, "return p.find(('a'):rep(2000), '.-.-b')"), LUA_OK);
    assert_true(spent > 100000);
    spent = 0;
    assert_int_equal(luaL_dostring(L, "return p.gsub(('a'):rep(1000000), 'a', '')"), LUA_OK);
    assert_true(spent < 1000000); /* a text of 100 MB may be worked through */
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_as_luas_own),
        cmocka_unit_test(work_is_charged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
