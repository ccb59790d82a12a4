/* lua_pattern: Lua's string.find, match, gmatch and gsub, with the sandbox's limits.
 *
 * Uses     Lua, sandbox (sandbox_spend).
 * Promise  the functions give the same results and the same errors as those of Lua 5.4.
 *
 * Why it exists: Lua's own functions run in C, where the instruction limit counts nothing. One
 * pattern with a dozen '.-' in it would occupy a worker for years.
 * To switch it off: remove lua_pattern_open from sandbox_stdlib.c. Scripts behave the same, but
 * such a pattern is then not interrupted.
 * With Lua 5.5: the module uses only Lua's public API, so it compiles and works without changes. If
 * a version changes what patterns mean, scripts keep the meaning of 5.4; test_lua_pattern compares
 * both.
 */
#pragma once
#include <lua.h>

/* Replaces the four functions in the table on top of the stack. Raises if memory is short. */
void lua_pattern_open(lua_State *L);
