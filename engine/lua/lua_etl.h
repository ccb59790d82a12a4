/* lua_etl: the API that scripts see: the module "etl".
 *
 * Uses     Lua, lua_values, lua_json, log, sandbox (services), secret, lua_pg, lua_es, lua_backoff.
 *
 * etl.pg, etl.es, etl.backoff, etl.state, etl.log, etl.array, etl.null, etl.json, etl.decimal,
 * etl.base64, etl.secret. Each function is documented at its definition, and for editors in
 * scripts/etl.d.lua.
 */
#pragma once
#include <lua.h>

/* Makes `require "etl"` work. Raises. */
void lua_etl_open(lua_State *L);
