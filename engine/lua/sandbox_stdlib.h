/* sandbox_stdlib: Lua's standard library, without what lets a script crash, hang or leave the
 * process.
 *
 * Uses     Lua, lua-cjson, log, row, sandbox (its limits), lua_pattern.
 *
 * Why it exists: some functions of the library work outside of the sandbox's limits, or end the
 * process.
 * To switch it off: call luaL_openlibs in its place; scripts behave the same, without the promise
 * of sandbox.
 * With Lua 5.5: what is removed or changed is found by name in the tables of luaL_openlibs, so new
 * functions of a version appear unchanged: each must be checked for work that no limit sees.
 *
 * Left out: os.exit, os.execute, os.setlocale, io.popen, package.loadlib and C modules,
 * string.dump, all of debug but traceback. Changed:
 *
 *     load, loadfile, dofile, require  text only: a binary chunk can crash the interpreter
 *     setmetatable                     no __gc: finalizers run where the instruction limit cannot
 *                                      reach them
 *     collectgarbage                   "collect", "count", "step" only
 *     print, warn                      write log lines; stdout is for documents
 *     xpcall, coroutine.create, .wrap  keep the limit's error from running code where hooks are off
 *     string.rep, table.move           refuse what would loop for ever without needing memory
 *     require                          looks beside the script, then in LUA_PATH_5_4 or LUA_PATH,
 *                                      if set
 *     cjson.encode                     has a limit: cjson ends the process where it cannot grow its
 *                                      buffer
 */
#pragma once
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* path: the script's. Raises. */
void sandbox_stdlib_open(lua_State *L, const char *path);
/* Whether a file that begins like that was saved as UTF-16, as some editors do: no text that Lua
 * can read. */
bool sandbox_stdlib_is_utf16(const char *text, size_t len);
