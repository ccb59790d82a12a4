/* lua_es: etl.es, the search server for scripts.
 *
 * Uses     Lua, lua_values, lua_json, es, err, sandbox (services).
 * Owns     the answer of a request, until the function returns or raises: a userdata holds it.
 */
#pragma once
#include <lua.h>

/* Pushes the table etl.es, which has the function `request`. Raises if memory is short. */
void lua_es_push(lua_State *L);
