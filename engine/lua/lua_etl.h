/* lua_etl: the API that scripts see: the module "etl".
 *
 * Uses     Lua, lua_values, lua_json, log, err, file, sandbox (services), secret, lua_pg, lua_es,
 *          lua_backoff.
 *
 * The module contains etl.pg, etl.es, etl.backoff, etl.state, etl.log, etl.array, etl.null,
 * etl.json, etl.decimal, etl.base64 and etl.secret. Each function is documented at its definition;
 * scripts/etl.d.lua documents them for editors.
 */
#pragma once
#include <lua.h>

/* Registers the module, so that `require "etl"` returns it. Called once for each state, after
 * lua_values_open. Raises if memory is short. */
void lua_etl_open(lua_State *L);
