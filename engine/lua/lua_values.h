/* lua_values: values that Lua has no type for: JSON null, arrays, JSON that passes through
 * unparsed, exact decimals.
 *
 * Uses     Lua, json, buf.
 * Promise  a script cannot break any of these values: they are full userdata, or tables with locked
 *          metatables.
 *
 *   null     light userdata NULL, which is the value of cjson.null
 *
 *   array    a table with the metatable "etl.array". If the array ends in holes, a weak table in
 *            the metatable holds its length; the array itself never does. A table with the keys
 *            1..n is an array without a mark
 *
 *   object   a table with the metatable "etl.object": {} where an empty table would be []
 *
 *   json     userdata "etl.json": a text that is copied into documents without parsing. The first
 *            use of indexing, #, pairs or ipairs decodes it; later uses work on the decoded value.
 *            If a script changes the decoded value, the changed value is encoded
 *
 *   decimal  userdata "etl.decimal": digits as written, with tostring, ==, <, <= and :tonumber().
 *            Comparisons are exact and by value; a float counts as the shortest digits that read
 *            back as that float, which are also the digits it is encoded with
 *
 *   buf      userdata "etl.buf": a C buffer that Lua frees; scripts never see one
 */
#pragma once
#include "base/buf.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Creates the metatables; called once for each state, before all others here. Raises only if memory
 * is short. */
void lua_values_open(lua_State *L);

/* Each of these pushes one value. They raise only if memory is short. */
void lua_values_push_null(lua_State *L);
/* text: one valid JSON value of len bytes; copied */
void lua_values_push_json(lua_State *L, const char *text, size_t len);
/* text: one JSON number of len bytes; copied */
void lua_values_push_decimal(lua_State *L, const char *text, size_t len);

/* Pushes the value of a JSON text; lua_json_decode, which calls this, documents it. */
void lua_values_push_decoded(lua_State *L, const char *text, size_t len);
/* Pushes the value of one JSON number: an integer if it is within int64, else a float if the
 * float's shortest digits have the same value, else a decimal. */
void lua_values_push_number(lua_State *L, const char *text, size_t len);
/* Pushes an empty buffer of at most max bytes. The userdata owns it and frees it, so the buffer may
 * be held across calls that raise. The result is borrowed, for as long as the userdata is on the
 * stack. buf_free may free its memory earlier. */
struct buf *lua_values_push_buf(lua_State *L, size_t max);

/* Whether the value at index is null. */
bool lua_values_is_null(lua_State *L, int index);
/* Marks the table at index as an array of at least n elements; missing elements are null. n < 0:
 * as many as the table has. */
void lua_values_mark_array(lua_State *L, int index, lua_Integer n);
/* Whether the table at index is marked as an array; sets *n to the least number of its elements. */
bool lua_values_is_array(lua_State *L, int index, lua_Integer *n);
/* Marks the table at index as an object. */
void lua_values_mark_object(lua_State *L, int index);
/* Whether the table at index is marked as an object. */
bool lua_values_is_object(lua_State *L, int index);
/* Return the text of a json or decimal value: borrowed, for as long as the value lives. NULL: the
 * value at index has another type; or it is a json value that was decoded (and perhaps changed),
 * and then *pushed is true and the decoded value is on top of the stack. */
const char *lua_values_json(lua_State *L, int index, size_t *len, bool *pushed);
const char *lua_values_decimal(lua_State *L, int index, size_t *len);

/* Pushes the decoded value of the json value at index: the value that indexing uses. */
void lua_values_push_json_decoded(lua_State *L, int index);

/* The script's functions etl.array, etl.decimal and etl.base64; lua_etl registers them. */
int lua_values_lua_array(lua_State *L);
int lua_values_lua_decimal(lua_State *L);
int lua_values_lua_base64(lua_State *L);
