/* lua_pattern: Lua's string.find, match, gmatch and gsub, in whose work a script's limits count.
 *
 * Uses     Lua, script (sandbox_spend).
 * Promise  the same results as Lua 5.4's own, and the same errors. Theirs run in C, where no
 *          instruction is counted: one pattern with a dozen of '.-' in it would hold a worker for
 *          years.
 */
#pragma once
#include <lua.h>

/* Replaces the four in the table on top of the stack. */
void lua_pattern_open(lua_State *L);
