/* script_example_value: a Lua value as the text of a column, as PostgreSQL would print it. */
#include "base/buf.h"
#include "base/json.h"
#include "lua/lua_json.h"
#include "lua/lua_values.h"
#include "script/script_example_internal.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 64 << 20 }; /* bytes */

/* Takes what is in b as the cell's text. */
static void take(lua_State *L, struct script_example_cell *cell, struct buf *b)
{
    const char *text = buf_cstr(b);
    cell->text = text ? malloc(b->len + 1) : NULL;
    if (!cell->text)
        luaL_error(L, "the value is too large, or memory is short");
    memcpy(cell->text, text, b->len + 1);
    cell->len = b->len;
}

static bool is_utf8(const char *text, size_t len)
{
    size_t character;
    for (size_t i = 0; i < len; i += character) {
        character = json_character(text + i, len - i);
        if (character == 0 || text[i] == '\0')
            return false;
    }
    return true;
}

/* ---- plain values ---- */

static void add_bytes(struct buf *b, const char *text, size_t len)
{
    buf_adds(b, "\\x");
    for (size_t i = 0; i < len; i++)
        buf_addf(b, "%02x", (unsigned char)text[i]);
}

static enum pg_kind add_string(lua_State *L, int index, struct buf *b)
{
    size_t len;
    const char *text = lua_tolstring(L, index, &len);
    bool utf8 = is_utf8(text, len);
    utf8 ? (void)buf_add(b, text, len) : add_bytes(b, text, len);
    return utf8 ? PG_TEXT : PG_BYTEA;
}

static enum pg_kind add_number(lua_State *L, int index, struct buf *b)
{
    double x = lua_tonumber(L, index);
    if (lua_isinteger(L, index)) {
        json_add_int(b, lua_tointeger(L, index));
        return PG_INT;
    }
    if (!json_add_double(b, x))
        buf_adds(b, isnan(x) ? "NaN" : x < 0 ? "-Infinity" : "Infinity");
    return PG_FLOAT;
}

/* False: the value is not plain; nothing is added. */
static bool add_plain(lua_State *L, int index, struct buf *b, enum pg_kind *kind)
{
    size_t len;
    const char *digits = lua_values_decimal(L, index, &len);
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        *kind = add_string(L, index, b);
        return true;
    case LUA_TNUMBER:
        *kind = add_number(L, index, b);
        return true;
    case LUA_TBOOLEAN:
        *kind = PG_BOOL;
        return buf_adds(b, lua_toboolean(L, index) ? "t" : "f") || true;
    default:
        *kind = PG_NUMERIC;
        return digits && (buf_add(b, digits, len) || true);
    }
}

/* ---- lists ---- */

/* The kind of an array whose elements have both kinds; numbers of several kinds are numeric. False:
 * there is none. */
static bool join_kinds(enum pg_kind a, enum pg_kind b, enum pg_kind *out)
{
    bool numbers = (a == PG_INT || a == PG_FLOAT || a == PG_NUMERIC) &&
                   (b == PG_INT || b == PG_FLOAT || b == PG_NUMERIC);
    *out = a == b ? a : PG_NUMERIC;
    return a == b || numbers;
}

/* How many elements the list at index has; -1: it is no list. */
static lua_Integer length_of(lua_State *L, int index)
{
    lua_Integer n;
    if (lua_values_is_array(L, index, &n))
        return n;
    if (lua_values_is_object(L, index))
        return -1;
    n = (lua_Integer)lua_rawlen(L, index);
    lua_pushnil(L);
    bool empty = !lua_next(L, index);
    lua_settop(L, empty ? -1 : -3);
    return n > 0 || empty ? n : -1;
}

/* An element of an array literal: text in quotes. */
static void add_quoted(struct buf *b, const struct buf *text)
{
    buf_addc(b, '"');
    for (size_t i = 0; i < text->len; i++) {
        if (text->data[i] == '"' || text->data[i] == '\\')
            buf_addc(b, '\\');
        buf_addc(b, text->data[i]);
    }
    buf_addc(b, '"');
}

/* Adds the element on top of the stack; one: working memory. *kind: of the elements before it;
 * *known: there are some. False: it is no plain value of that kind. */
static bool add_element(lua_State *L, struct buf *b, struct buf *one, enum pg_kind *kind,
                        bool *known)
{
    enum pg_kind of_one;
    if (lua_isnil(L, -1) || lua_values_is_null(L, -1)) {
        buf_adds(b, "NULL");
        return true;
    }
    buf_clear(one);
    if (!add_plain(L, lua_gettop(L), one, &of_one) ||
        !join_kinds(*known ? *kind : of_one, of_one, kind))
        return false;
    *known = true;
    add_quoted(b, one);
    return true;
}

/* Adds the list as an array literal: {"a",NULL}. A buffer is on top of the stack, as working
 * memory. False: its elements are not plain values of one kind. */
static bool add_elements(lua_State *L, int index, struct buf *b, enum pg_kind *kind)
{
    struct buf *one = lua_touserdata(L, -1);
    lua_Integer n = length_of(L, index);
    bool known = false, ok = n >= 0;
    buf_addc(b, '{');
    for (lua_Integer i = 1; ok && i <= n; i++) {
        buf_adds(b, i > 1 ? "," : "");
        lua_rawgeti(L, index, i);
        ok = add_element(L, b, one, kind, &known);
        lua_pop(L, 1);
    }
    buf_addc(b, '}');
    *kind = known ? *kind : PG_TEXT;
    return ok;
}

static bool set_array(lua_State *L, int index, struct script_example_cell *cell)
{
    struct buf *b = lua_values_push_buf(L, VALUE_MAX);
    lua_values_push_buf(L, VALUE_MAX);
    if (!add_elements(L, index, b, &cell->column.kind))
        return false;
    cell->column.array = true;
    take(L, cell, b);
    return true;
}

static void set_json(lua_State *L, int index, struct script_example_cell *cell, const char *path)
{
    struct buf *b = lua_values_push_buf(L, VALUE_MAX);
    cell->column.kind = PG_JSON;
    lua_json_encode_field(L, index, b, path);
    take(L, cell, b);
}

/* ---- any ---- */

void script_example_set(lua_State *L, int index, struct script_example_cell *cell, const char *path)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, 20, NULL);
    cell->column.delimiter = ',';
    cell->column.shortest = true;
    if (lua_isnil(L, index) || lua_values_is_null(L, index))
        return;
    struct buf *b = lua_values_push_buf(L, VALUE_MAX);
    bool table = lua_istable(L, index);
    if (!table && add_plain(L, index, b, &cell->column.kind))
        take(L, cell, b);
    else if (!table || !set_array(L, index, cell))
        set_json(L, index, cell, path);
    lua_settop(L, top);
}
