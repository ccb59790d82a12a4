/* sandbox_stdlib: Lua's standard library, without the functions that let a script crash, hang or
 * leave the process.
 *
 * Uses     Lua, lua-cjson, log, row, sandbox (its limits), lua_pattern.
 *
 * Why it exists: some functions of the library work outside of the sandbox's limits, or end the
 * process.
 * To switch it off: call luaL_openlibs instead; scripts behave the same, without the promise of
 * sandbox.
 * With Lua 5.5: functions are removed or changed by name in the tables of luaL_openlibs, so a new
 * function of a version appears unchanged. Each must be checked for work that no limit sees.
 *
 * Removed: os.exit, os.execute, os.setlocale, io.popen, package.loadlib and C modules, string.dump,
 * and all of debug except traceback. Changed:
 *
 *     load, loadfile, dofile, require  load text only: a binary chunk can crash the interpreter
 *     setmetatable                     refuses __gc: the instruction limit does not reach
 *                                      finalizers
 *     collectgarbage                   takes only "collect", "count" and "step"
 *     print, warn                      write log lines; stdout is for documents
 *     xpcall, coroutine.create, .wrap  do not let a limit's error run code while hooks are off
 *     string.rep                       returns "" at once if there is nothing to repeat
 *     table.move, .insert, .remove     refuse to move more elements than memory can hold
 *     require                          searches the script's folder, then LUA_PATH_5_4 or LUA_PATH,
 *                                      if set
 *     cjson.encode                     has a limit: cjson ends the process if it cannot grow its
 *                                      buffer
 */
#pragma once
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Opens the library in the state. path is the script's, for `require`. Raises if memory is
 * short. */
void sandbox_stdlib_open(lua_State *L, const char *path);
/* Whether a file that begins with this text of len bytes was saved as UTF-16, as some editors do.
 * Lua cannot read such a file. */
bool sandbox_stdlib_is_utf16(const char *text, size_t len);
