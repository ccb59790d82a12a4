/* lua_pattern: Lua's string.find, match, gmatch and gsub, with the sandbox's limits.
 *
 * Uses     Lua, sandbox (sandbox_spend).
 * Promise  the same results as Lua 5.4's own, and the same errors.
 *
 * Why it exists: Lua's own functions run in C, where the instruction limit counts nothing. One
 * pattern with a dozen '.-' in it would occupy a worker for years.
 * To switch it off: remove lua_pattern_open from sandbox_stdlib.c. Scripts behave the same, but
 * such a pattern is then not interrupted.
 * With Lua 5.5: only Lua's public API is used, so it compiles and works as it is. If a version
 * changes what patterns mean, scripts get the meaning of 5.4; test_lua_pattern compares both.
 */
#pragma once
#include <lua.h>

/* Replaces the four in the table on top of the stack. */
void lua_pattern_open(lua_State *L);
