/* lua_backoff: etl.backoff, the engine's retries for scripts.
 *
 * Uses     Lua, backoff, clock, err, stop, sandbox (its limits), suggest.
 * Owns     nothing beyond the call.
 */
#pragma once
#include <lua.h>

/* The script's function etl.backoff(options, fn, ...); lua_etl registers it. Times in options are
 * seconds. Raises: a wrong option, the last error of fn, a limit of the sandbox, or a stop. */
int lua_backoff(lua_State *L);
