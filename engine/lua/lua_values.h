/* lua_values: what Lua has no type for: JSON null, arrays, JSON that passes through unparsed, exact
 * decimals.
 *
 * Uses     Lua, json, buf.
 * Promise  nothing here can be broken by a script: the types are full userdata, or tables, whose
 *          metatables are locked.
 *
 *   null     light userdata NULL, the very value of cjson.null
 *
 *   array    a table with the metatable "etl.array"; its length, where it ends in holes, is kept in
 *            the metatable's weak table, never in the array. A table with the keys 1..n is one
 *            without any mark
 *
 *   object   a table with the metatable "etl.object": {}, where an empty table would be []
 *
 *   json     userdata "etl.json": a text that is spliced into documents as it is. Indexing, #,
 *            pairs, ipairs decode it once, and use the decoded value from then on; a change made in
 *            that value is what gets encoded then
 *
 *   decimal  userdata "etl.decimal": digits as written; tostring, ==, <, <=, :tonumber(). Compared
 *            by value, exactly; a float counts as the shortest digits that read back as it: so it
 *            is also encoded
 *
 *   buf      userdata "etl.buf": a C buffer that Lua frees; no script ever sees one
 */
#pragma once
#include "base/buf.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* makes the metatables; once for each state. Raises on memory alone. */
void lua_values_open(lua_State *L);

/* These push one value; they raise on memory alone. */
void lua_values_push_null(lua_State *L);
/* text: one valid JSON value; copied */
void lua_values_push_json(lua_State *L, const char *text, size_t len);
/* text: one JSON number; copied */
void lua_values_push_decimal(lua_State *L, const char *text, size_t len);

/* The value of a JSON text: see lua_json_decode, which is this. */
void lua_values_push_decoded(lua_State *L, const char *text, size_t len);
/* The same for one JSON number: an integer within int64, else a float if its shortest digits have
 * the same value, else a decimal. */
void lua_values_push_number(lua_State *L, const char *text, size_t len);
/* An empty buffer that is freed with its userdata, so that it may be held across calls that raise:
 * borrowed, as long as the userdata lies on the stack. buf_free frees it sooner. */
struct buf *lua_values_push_buf(lua_State *L, size_t max);

bool lua_values_is_null(lua_State *L, int index);
/* Marks the table at index as an array of at least n elements (n < 0: as many as it has): those
 * that are not there are null. */
void lua_values_mark_array(lua_State *L, int index, lua_Integer n);
/* Whether the table at index is so marked; *n: how many elements it has at least. */
bool lua_values_is_array(lua_State *L, int index, lua_Integer *n);
void lua_values_mark_object(lua_State *L, int index);
bool lua_values_is_object(lua_State *L, int index);
/* The text of a json or decimal value: borrowed, as long as the value lives; NULL if it is none.
 * For a json value that was decoded (and perhaps changed), NULL, with the decoded value pushed. */
const char *lua_values_json(lua_State *L, int index, size_t *len, bool *pushed);
const char *lua_values_decimal(lua_State *L, int index, size_t *len);

/* Pushes the decoded value of the json value at index: the one that indexing uses. */
void lua_values_push_json_decoded(lua_State *L, int index);

/* Functions of the script's API: etl.array, etl.decimal, etl.base64; for lua_etl to register. */
int lua_values_lua_array(lua_State *L);
int lua_values_lua_decimal(lua_State *L);
int lua_values_lua_base64(lua_State *L);
