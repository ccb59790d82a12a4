/* lua_es: etl.es: the search server for scripts.
 *
 * Uses     Lua, lua_values, lua_json, es, sandbox (services).
 */
#pragma once
#include <lua.h>

/* Pushes the table etl.es: request. Raises. */
void lua_es_push(lua_State *L);
