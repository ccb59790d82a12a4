/* lua_pg: etl.pg, PostgreSQL for scripts.
 *
 * Uses     Lua, lua_values, lua_json, row, json, err, pg_pool, sandbox (services).
 * Owns     a connection from the sandbox's pool while a query runs. A userdata holds it, so the
 *          connection is given back even if an error is raised.
 */
#pragma once
#include <lua.h>

/* Pushes the table etl.pg, which has the functions `query` and `rows`. Raises if memory is
 * short. */
void lua_pg_push(lua_State *L);
