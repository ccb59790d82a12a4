/* lua_pg: etl.pg: PostgreSQL for scripts.
 *
 * Uses     Lua, lua_values, lua_json, row, pg, sandbox (services).
 * Owns     a connection from the state's pool, for the time of a query; a userdata holds it, so
 *          that it goes back whatever is raised.
 */
#pragma once
#include <lua.h>

/* Pushes the table etl.pg: query, rows. Raises. */
void lua_pg_push(lua_State *L);
