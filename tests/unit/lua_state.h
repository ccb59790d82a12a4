/* lua_state: for tests of what scripts see: a Lua state with the values of the engine, and the
 * functions of `etl` that need no server. Claims are written in Lua.
 *
 *     lua_State *L = state_open();
 *     claim(L, "assert(etl.json.encode{} == '[]')");
 *     lua_close(L);
 */
#pragma once
#include "lua/lua_json.h"
#include "lua/lua_values.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

static const char prelude[] =
    "function raises(part, f, ...)\n"
    "  local ok, text = pcall(f, ...)\n"
    "  if ok then error('nothing raised: ' .. part, 2) end\n"
    "  if not string.find(tostring(text), part, 1, true) then error(text .. ', not ' .. part, 2) "
    "end\n"
    "end\n"
    "function same(got, expected)\n"
    "  if got == expected and math.type(got) == math.type(expected) then return end\n"
    "  error(tostring(got) .. ', not ' .. tostring(expected), 2)\n"
    "end\n"
    "function type_of(x) return math.type(x) or type(x) == 'userdata' and getmetatable(x) or "
    "type(x) end\n"
    "encode, decode, raw = etl.json.encode, etl.json.decode, etl.json.raw\n";

static int state_fill(lua_State *L)
{
    static const luaL_Reg json[] = {{"encode", lua_json_lua_encode},
                                    {"decode", lua_json_lua_decode},
                                    {"raw", lua_json_lua_raw},
                                    {NULL, NULL}};
    static const luaL_Reg etl[] = {{"array", lua_values_lua_array},
                                   {"decimal", lua_values_lua_decimal},
                                   {"base64", lua_values_lua_base64},
                                   {NULL, NULL}};
    luaL_openlibs(L);
    lua_values_open(L);
    luaL_newlib(L, etl);
    luaL_newlib(L, json);
    lua_setfield(L, -2, "json");
    lua_values_push_null(L);
    lua_setfield(L, -2, "null");
    lua_setglobal(L, "etl");
    if (luaL_dostring(L, prelude))
        lua_error(L);
    return 0;
}

/* NULL: no memory. */
static lua_State *state_try(void)
{
    lua_State *L = luaL_newstate();
    if (!L)
        return NULL;
    lua_pushcfunction(L, state_fill);
    if (lua_pcall(L, 0, 0, 0) == LUA_OK)
        return L;
    lua_close(L);
    return NULL;
}

static inline lua_State *state_open(void)
{
    lua_State *L = state_try();
    assert_non_null(L);
    return L;
}

/* Runs a chunk of Lua; what it raises fails the test. */
static inline void claim(lua_State *L, const char *chunk)
{
    if (luaL_loadbuffer(L, chunk, strlen(chunk), "=claim") || lua_pcall(L, 0, 0, 0)) {
        print_error("%s\n", lua_tostring(L, -1));
        fail();
    }
    assert_int_equal(lua_gettop(L), 0);
}
