/* lua_backoff: etl.backoff: the engine's retries for scripts.
 *
 * Uses     Lua, backoff, stop, sandbox (its limits), suggest.
 */
#pragma once
#include <lua.h>

/* etl.backoff(options, fn, ...) */
int lua_backoff(lua_State *L);
