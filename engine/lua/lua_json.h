/* lua_json: Lua values to JSON text and back: documents, settings, mappings.
 *
 * Uses     Lua, lua_values, json, buf.
 * Promise  exact (integers, decimals, floats that read back the same); fields in a stable order
 *          (sorted by name), so that two outputs can be compared with diff; one line, valid UTF-8.
 *
 * A table whose keys are 1..n is an array, one whose keys are strings an object, an empty one []
 * (for every mapping the same as no value, where {} in a keyword field is an error). Cycles,
 * functions, NaN, holes, mixed keys, invalid UTF-8, numbers out of JSON: a Lua error that names the
 * field's path: "actors[3].name: cannot encode a function".
 */
#pragma once
#include "base/buf.h"

#include <lua.h>
#include <string.h>

/* The order of two fields in an object, by their names: as memcmp, then the shorter one first. */
static inline int lua_json_order(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* Adds the value at index to b, which the caller owns outside of L. Raises; what was added stays,
 * for the caller to cut. b->failed (ceiling, memory) is for the caller to ask. */
void lua_json_encode(lua_State *L, int index, struct buf *b);
/* The same for the value of a field: paths in errors begin with that of the field. */
void lua_json_encode_field(lua_State *L, int index, struct buf *b, const char *path);

/* Pushes the value of a JSON text: integers stay integers, numbers that a float can't hold become
 * decimals, null becomes etl.null; encoding the value again gives the same JSON value ({} and []
 * too). Of equal names the last one wins. Raises if the text is damaged: "damaged JSON at byte
 * 12". */
void lua_json_decode(lua_State *L, const char *text, size_t len);

/* Functions of the script's API: etl.json.encode, .decode, .raw */
int lua_json_lua_encode(lua_State *L);
int lua_json_lua_decode(lua_State *L);
int lua_json_lua_raw(lua_State *L);
