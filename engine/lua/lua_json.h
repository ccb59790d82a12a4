/* lua_json: converts Lua values to JSON text and back: documents, settings, mappings.
 *
 * Uses     Lua, lua_values, json, buf.
 * Promise  numbers are exact: integers, decimals, and floats, which read back the same. Fields are
 *          sorted by name, so that two outputs can be compared with diff. The text is one line of
 *          valid UTF-8.
 *
 * A table with the keys 1..n becomes an array, a table with string keys an object. An empty table
 * becomes []: for every mapping this means no value, whereas {} in a keyword field is an error.
 * Cycles, functions, NaN, infinity, holes, mixed keys and invalid UTF-8 raise a Lua error that
 * names the field's path: "actors[3].name: cannot encode a function".
 */
#pragma once
#include "base/buf.h"

#include <lua.h>
#include <string.h>

/* Compares the names of two fields: negative, 0 or positive, as memcmp. Where one name begins with
 * the other, the shorter one comes first. */
static inline int lua_json_order(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* Appends the JSON text of the value at index to b. The caller owns b, outside of L. Raises if the
 * value has no JSON text; b then keeps what was appended, and the caller cuts it off. The caller
 * also checks b->failed (too long, or no memory). */
void lua_json_encode(lua_State *L, int index, struct buf *b);
/* The same for the value of a field: paths in errors begin with path, which is borrowed. */
void lua_json_encode_field(lua_State *L, int index, struct buf *b, const char *path);

/* Pushes the value of a JSON text of len bytes. Integers stay integers, numbers that a float cannot
 * hold become decimals, and null becomes etl.null. Of several fields with the same name, the last
 * one wins. Encoding the value again gives the same JSON value, {} and [] included. Raises if the
 * text is damaged ("damaged JSON at byte 12") or memory is short. */
void lua_json_decode(lua_State *L, const char *text, size_t len);

/* The script's functions etl.json.encode, etl.json.decode and etl.json.raw; lua_etl registers
 * them. */
int lua_json_lua_encode(lua_State *L);
int lua_json_lua_decode(lua_State *L);
int lua_json_lua_raw(lua_State *L);
