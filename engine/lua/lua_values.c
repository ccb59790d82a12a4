#include "lua/lua_values.h"

#include "base/json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char ARRAY[] = "etl.array", OBJECT[] = "etl.object", JSON[] = "etl.json",
                  DECIMAL[] = "etl.decimal", BUF[] = "etl.buf", READER[] = "etl.reader";

enum {
    /* in each metatable here: the address of its name, which no script can obtain */
    MARK = 1,
    LENGTHS = 2,     /* in the metatable of arrays: table -> length, weak */
    DECODED = 1,     /* user value of a json value; nil until it is indexed */
    NUMBER_TEXT = 64 /* bytes; more than any int64 and the shortest form of any double need */
};

/* ---- null, arrays, objects, buffers ---- */

void lua_values_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
}

bool lua_values_is_null(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TLIGHTUSERDATA && !lua_touserdata(L, index);
}

/* Pushes the metatable of that name. A lookup by the name's address takes a third of the time. */
static void push_metatable(lua_State *L, const char *name)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, name);
}

/* Whether the value at index has the metatable of that name; if so, pushes the metatable. */
static bool push_mark(lua_State *L, int index, const char *name)
{
    if (!lua_getmetatable(L, index))
        return false;
    lua_rawgeti(L, -1, MARK); /* faster than a lookup of the metatable by name */
    bool same = lua_touserdata(L, -1) == name;
    lua_pop(L, same ? 1 : 2);
    return same;
}

void lua_values_mark_array(lua_State *L, int index, lua_Integer n)
{
    index = lua_absindex(L, index);
    luaL_checkstack(L, 4, NULL);
    push_metatable(L, ARRAY);
    lua_rawgeti(L, -1, LENGTHS);
    lua_pushvalue(L, index);
    /* The length is kept only if it lies after the last element, which the table itself knows. */
    if (n > (lua_Integer)lua_rawlen(L, index))
        lua_pushinteger(L, n);
    else
        lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_setmetatable(L, index);
}

bool lua_values_is_array(lua_State *L, int index, lua_Integer *n)
{
    index = lua_absindex(L, index);
    if (!push_mark(L, index, ARRAY))
        return false;
    lua_rawgeti(L, -1, LENGTHS);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    *n = lua_isnil(L, -1) ? (lua_Integer)lua_rawlen(L, index) : lua_tointeger(L, -1);
    lua_pop(L, 3);
    return true;
}

void lua_values_mark_object(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    push_metatable(L, OBJECT);
    lua_setmetatable(L, index);
}

bool lua_values_is_object(lua_State *L, int index)
{
    if (!push_mark(L, index, OBJECT))
        return false;
    lua_pop(L, 1);
    return true;
}

/* etl.array(t [, n]): marks t as an array, of n elements if given, and returns it. Missing elements
 * become null, and an empty array stays []. */
int lua_values_lua_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer n = luaL_optinteger(L, 2, -1);
    luaL_argcheck(L, n >= 0 || lua_isnoneornil(L, 2), 2, "a length is not negative");
    lua_settop(L, 1);
    if (push_mark(L, 1, ARRAY) || push_mark(L, 1, OBJECT))
        lua_pop(L, 1);
    else if (lua_getmetatable(L, 1))
        return luaL_argerror(L, 1, "the table has a metatable of its own");
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (!lua_isinteger(L, 2) || lua_tointeger(L, 2) < 1)
            return luaL_argerror(L, 1, "an array's keys are whole numbers from 1");
        if (n >= 0 && lua_tointeger(L, 2) > n)
            return luaL_argerror(L, 2, "the array has elements beyond that length");
    }
    lua_values_mark_array(L, 1, n);
    return 1;
}

struct buf *lua_values_push_buf(lua_State *L, size_t max)
{
    struct buf *b = lua_newuserdatauv(L, sizeof *b, 0);
    buf_init(b, max);
    luaL_setmetatable(L, BUF);
    return b;
}

static int buf_gc(lua_State *L)
{
    buf_free(luaL_checkudata(L, 1, BUF));
    return 0;
}

/* ---- decoding ---- */

static int reader_gc(lua_State *L)
{
    json_close(luaL_checkudata(L, 1, READER));
    return 0;
}

/* Pushes a userdata with a reader of the text. The reader may own memory, and every push below may
 * raise, so Lua frees the reader. */
static struct json_reader *push_reader(lua_State *L, const char *text, size_t len)
{
    struct json_reader *r = lua_newuserdatauv(L, sizeof *r, 0);
    json_open(r, text, len); /* allocates nothing yet */
    luaL_setmetatable(L, READER);
    return r;
}

static int damaged(lua_State *L, const struct json_reader *r)
{
    bool more = r->error && strcmp(r->error, "damaged") != 0;
    return luaL_error(L, "damaged JSON at byte %I%s%s", (LUAI_UACINT)r->at, more ? ": " : "",
                      more ? r->error : "");
}

/* Pushes a value without parts, or an empty table for a value with parts. False: the token is not a
 * value. */
static bool push_token(lua_State *L, const struct json_reader *r)
{
    switch (r->token) {
    case JSON_NULL:
        lua_values_push_null(L);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, r->token == JSON_TRUE);
        return true;
    case JSON_NUMBER:
        lua_values_push_number(L, r->text, r->len);
        return true;
    case JSON_STRING:
        lua_pushlstring(L, r->text, r->len);
        return true;
    case JSON_OBJECT:
    case JSON_ARRAY:
        lua_newtable(L);
        return true;
    default:
        return false;
    }
}

/* Pushes the decoded value. The open tables lie on the Lua stack; an object is followed by the name
 * of the field whose value is read next. */
static void decode(lua_State *L, struct json_reader *r)
{
    struct {
        bool array;
        lua_Integer n;
    } open[JSON_DEPTH]; /* the reader goes no deeper */
    size_t depth = 0;
    for (;;) {
        enum json_token token = json_next(r);
        luaL_checkstack(L, 8, "JSON is nested too deeply");
        if (token == JSON_KEY) {
            lua_pushlstring(L, r->text, r->len);
            continue;
        }
        if (token == JSON_OBJECT || token == JSON_ARRAY) {
            open[depth].array = token == JSON_ARRAY;
            open[depth++].n = 0;
            push_token(L, r);
            continue;
        }
        if (token == JSON_OBJECT_END || token == JSON_ARRAY_END) {
            if (token == JSON_OBJECT_END && open[depth - 1].n == 0)
                lua_values_mark_object(L, -1);
            depth--;
        } else if (!push_token(L, r)) {
            damaged(L, r);
        }
        if (depth == 0)
            return;
        open[depth - 1].n++;
        if (open[depth - 1].array)
            lua_rawseti(L, -2, open[depth - 1].n);
        else
            lua_rawset(L, -3);
    }
}

void lua_values_push_decoded(lua_State *L, const char *text, size_t len)
{
    luaL_checkstack(L, 8, NULL);
    struct json_reader *r = push_reader(L, text, len);
    decode(L, r);
    if (!json_end(r))
        damaged(L, r);
    json_close(r);
    lua_remove(L, -2);
}

/* ---- JSON that passes through: a userdata with the text and a zero byte ---- */

static void push_text(lua_State *L, const char *text, size_t len, int user_values, const char *name)
{
    char *copy = lua_newuserdatauv(L, len + 1, user_values);
    memcpy(copy, text, len);
    copy[len] = '\0';
    push_metatable(L, name);
    lua_setmetatable(L, -2);
}

static const char *text_of(lua_State *L, int index, const char *name, size_t *len)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !push_mark(L, index, name))
        return NULL;
    lua_pop(L, 1);
    *len = (size_t)lua_rawlen(L, index) - 1;
    return lua_touserdata(L, index);
}

void lua_values_push_json(lua_State *L, const char *text, size_t len)
{
    push_text(L, text, len, 1, JSON);
}

const char *lua_values_json(lua_State *L, int index, size_t *len, bool *pushed)
{
    *pushed = false;
    const char *text = text_of(L, index, JSON, len);
    if (!text)
        return NULL;
    *pushed = lua_getiuservalue(L, index, DECODED) != LUA_TNIL;
    if (*pushed)
        return NULL;
    lua_pop(L, 1);
    return text;
}

void lua_values_push_json_decoded(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    luaL_checkstack(L, 4, NULL);
    bool pushed;
    size_t len;
    const char *text = lua_values_json(L, index, &len, &pushed);
    if (!text)
        return;
    lua_values_push_decoded(L, text, len);
    if (!lua_istable(L, -1)) /* a script cannot change it, so the text stays valid */
        return;
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, DECODED);
}

/* Pushes the table that indexing works on; raises if the value is not a table. */
static void push_fields(lua_State *L)
{
    luaL_checkudata(L, 1, JSON);
    lua_values_push_json_decoded(L, 1);
    if (lua_istable(L, -1))
        return;
    const char *type = luaL_typename(L, -1);
    if (lua_isuserdata(L, -1))
        type = lua_values_is_null(L, -1) ? "null" : "number"; /* a decimal */
    luaL_error(L, "a json %s has no fields", type);
}

static int json_index(lua_State *L)
{
    lua_settop(L, 2);
    push_fields(L);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int json_newindex(lua_State *L)
{
    lua_settop(L, 3);
    push_fields(L);
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

static int json_len(lua_State *L)
{
    lua_settop(L, 1); /* # passes its operand twice */
    push_fields(L);
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
    return 1;
}

static int json_pairs_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_next(L, 1))
        return 2;
    lua_pushnil(L);
    return 1;
}

static int json_pairs(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushcfunction(L, json_pairs_next);
    push_fields(L);
    return 2;
}

/* Returns the original text, without the changes that a script made; the encoder writes those. */
static int json_tostring(lua_State *L)
{
    size_t len = 0;
    luaL_checkudata(L, 1, JSON);
    const char *text = text_of(L, 1, JSON, &len);
    lua_pushlstring(L, text, len);
    return 1;
}

/* ---- decimals: a userdata with the text and a zero byte ---- */

void lua_values_push_decimal(lua_State *L, const char *text, size_t len)
{
    push_text(L, text, len, 0, DECIMAL);
}

const char *lua_values_decimal(lua_State *L, int index, size_t *len)
{
    return text_of(L, index, DECIMAL, len);
}

/* A number, as +-0.DDDD * 10^exponent. */
struct digits {
    int sign;            /* 0: the number is zero, and the other fields are not set */
    const char *p, *end; /* from the first digit that is not 0; a point may lie among them */
    int64_t exponent;    /* limited to +-10^17 */
    size_t significant;  /* number of digits up to the last one that is not 0 */
};

static int64_t read_exponent(const char *p, const char *end)
{
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    int64_t n = 0;
    for (; p < end && n < 10000000000000000; p++)
        n = n * 10 + (*p - '0');
    return negative ? -n : n;
}

/* Reads one JSON number. The result borrows text. */
static struct digits read_digits(const char *text, size_t len)
{
    struct digits d = {.sign = *text == '-' ? -1 : 1, .end = text + len};
    bool point = false;
    size_t n = 0;
    const char *p = text + (*text == '-');
    for (; p < d.end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        if (!d.p && *p != '0')
            d.p = p;
        if (d.p) {
            n++;
            if (*p != '0')
                d.significant = n;
        }
        if (d.p && !point)
            d.exponent++;
        if (!d.p && point)
            d.exponent--;
    }
    if (!d.p)
        return (struct digits){.sign = 0};
    if (p < d.end)
        d.exponent += read_exponent(p + 1, d.end);
    d.end = p;
    return d;
}

static int next_digit(struct digits *d)
{
    if (d->p < d->end && *d->p == '.')
        d->p++;
    return d->p < d->end ? *d->p++ : '0';
}

static int compare_digits(struct digits a, struct digits b)
{
    if (a.sign != b.sign || a.sign == 0)
        return a.sign - b.sign;
    if (a.exponent != b.exponent)
        return a.exponent < b.exponent ? -a.sign : a.sign;
    while (a.p < a.end || b.p < b.end) {
        int x = next_digit(&a), y = next_digit(&b);
        if (x != y)
            return x < y ? -a.sign : a.sign;
    }
    return 0;
}

/* Writes the shortest digits that read back as x, which is finite; returns their length. A normal
 * double keeps any 15 digits, so shorter ones are not tried. */
static size_t shortest(double x, char out[NUMBER_TEXT])
{
    int precision = fabs(x) < 2.2250738585072014e-308 ? 1 : 15, n = 0;
    for (; precision <= 17; precision++) {
        n = snprintf(out, NUMBER_TEXT, "%.*g", precision, x);
        if (strtod(out, NULL) == x)
            break;
    }
    return (size_t)n;
}

/* Whether x, which was read from text, is encoded as a number with the same value. */
static bool float_keeps(double x, const char *text, size_t len)
{
    struct digits d = read_digits(text, len);
    if (d.sign == 0 || (d.significant <= 15 && d.exponent > -300 && d.exponent < 300))
        return true;
    if (isinf(x))
        return false;
    char own[NUMBER_TEXT];
    size_t own_len = shortest(x, own);
    return compare_digits(d, read_digits(own, own_len)) == 0;
}

void lua_values_push_number(lua_State *L, const char *text, size_t len)
{
    char copy[NUMBER_TEXT];
    if (len >= sizeof copy) {
        lua_values_push_decimal(L, text, len);
        return;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (strcmp(copy, "-0") == 0) { /* an integer would lose the sign */
        lua_pushnumber(L, -0.0);
        return;
    }
    lua_stringtonumber(L, copy);
    if (lua_isinteger(L, -1) || float_keeps(lua_tonumber(L, -1), copy, len))
        return;
    lua_pop(L, 1);
    lua_values_push_decimal(L, text, len);
}

/* Returns the digits of the decimal or Lua number at index, borrowed from the decimal or written to
 * out. NULL: the value is neither, or is not finite. */
static const char *digits_text(lua_State *L, int index, char out[NUMBER_TEXT], size_t *len)
{
    if (lua_type(L, index) != LUA_TNUMBER)
        return lua_values_decimal(L, index, len);
    if (lua_isinteger(L, index))
        *len = (size_t)snprintf(out, NUMBER_TEXT, LUA_INTEGER_FMT,
                                (LUAI_UACINT)lua_tointeger(L, index));
    else if (isfinite(lua_tonumber(L, index)))
        *len = shortest(lua_tonumber(L, index), out);
    else
        return NULL;
    return out;
}

/* Compares the arguments: -1, 0, 1, or 2 if one of them is NaN, for which no comparison holds. */
static int compare(lua_State *L)
{
    char own[2][NUMBER_TEXT];
    struct digits d[2];
    for (int i = 0; i < 2; i++) {
        size_t len = 0;
        const char *text = digits_text(L, i + 1, own[i], &len);
        if (!text && lua_type(L, i + 1) != LUA_TNUMBER)
            return luaL_error(L, "cannot compare a decimal with a %s", luaL_typename(L, i + 1));
        if (text)
            d[i] = read_digits(text, len);
        else if (isnan(lua_tonumber(L, i + 1)))
            return 2;
        else
            d[i] =
                (struct digits){.sign = lua_tonumber(L, i + 1) < 0 ? -1 : 1, .exponent = INT64_MAX};
    }
    int order = compare_digits(d[0], d[1]);
    return (order > 0) - (order < 0);
}

static int decimal_eq(lua_State *L)
{
    size_t len;
    lua_pushboolean(L, lua_values_decimal(L, 1, &len) && lua_values_decimal(L, 2, &len) &&
                           compare(L) == 0);
    return 1;
}

static int decimal_lt(lua_State *L)
{
    lua_pushboolean(L, compare(L) == -1);
    return 1;
}

static int decimal_le(lua_State *L)
{
    lua_pushboolean(L, compare(L) <= 0);
    return 1;
}

static int decimal_tostring(lua_State *L)
{
    size_t len = 0;
    luaL_checkudata(L, 1, DECIMAL);
    const char *text = lua_values_decimal(L, 1, &len);
    lua_pushlstring(L, text, len);
    return 1;
}

/* d:tonumber(): returns an integer if d is written as one and within int64, else the nearest
 * float. */
static int decimal_tonumber(lua_State *L)
{
    lua_stringtonumber(L, luaL_checkudata(L, 1, DECIMAL));
    return 1;
}

/* etl.decimal(x): returns x as a decimal. x is a string with a JSON number, a finite number, or a
 * decimal. */
int lua_values_lua_decimal(lua_State *L)
{
    size_t len = 0;
    if (lua_type(L, 1) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, 1, &len);
        luaL_argcheck(L, json_is_number(text, len), 1, "not a number as JSON writes it");
        lua_values_push_decimal(L, text, len);
        return 1;
    }
    char own[NUMBER_TEXT];
    const char *text = digits_text(L, 1, own, &len);
    if (!text && lua_type(L, 1) == LUA_TNUMBER)
        return luaL_argerror(L, 1, "not a finite number");
    if (!text)
        return luaL_typeerror(L, 1, "string, number or decimal");
    lua_values_push_decimal(L, text, len);
    return 1;
}

/* ---- base64 ---- */

/* etl.base64(bytes): returns the bytes in base64, which JSON can hold and Elasticsearch's binary
 * fields expect. */
int lua_values_lua_base64(lua_State *L)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len;
    const unsigned char *in = (const unsigned char *)luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len < SIZE_MAX / 2, 1, "too long");
    size_t size = (len + 2) / 3 * 4;
    luaL_Buffer out;
    char *to = luaL_buffinitsize(L, &out, size);
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        unsigned three = (unsigned)in[i] << 16;
        if (left > 1)
            three |= (unsigned)in[i + 1] << 8;
        if (left > 2)
            three |= in[i + 2];
        *to++ = digits[three >> 18];
        *to++ = digits[three >> 12 & 63];
        *to++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[three & 63] : '=';
    }
    luaL_pushresultsize(&out, size);
    return 1;
}

/* ---- metatables ---- */

/* Pushes a new metatable that a script can neither read nor replace. */
static void push_type(lua_State *L, const char *name, const luaL_Reg *functions)
{
    luaL_newmetatable(L, name);
    if (functions)
        luaL_setfuncs(L, functions, 0);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, (void *)name);
    lua_rawseti(L, -2, MARK);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, name);
}

void lua_values_open(lua_State *L)
{
    static const luaL_Reg json[] = {
        {"__index", json_index}, {"__newindex", json_newindex}, {"__len", json_len},
        {"__pairs", json_pairs}, {"__tostring", json_tostring}, {NULL, NULL},
    };
    static const luaL_Reg decimal[] = {
        {"__eq", decimal_eq}, {"__lt", decimal_lt},
        {"__le", decimal_le}, {"__tostring", decimal_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {{"tonumber", decimal_tonumber}, {NULL, NULL}};
    static const luaL_Reg buf[] = {{"__gc", buf_gc}, {"__close", buf_gc}, {NULL, NULL}};
    static const luaL_Reg reader[] = {{"__gc", reader_gc}, {"__close", reader_gc}, {NULL, NULL}};
    luaL_checkstack(L, 6, NULL);
    push_type(L, JSON, json);
    push_type(L, OBJECT, NULL);
    push_type(L, BUF, buf);
    push_type(L, READER, reader);
    lua_pop(L, 4);

    push_type(L, DECIMAL, decimal);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);

    push_type(L, ARRAY, NULL);
    lua_newtable(L);
    lua_newtable(L);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawseti(L, -2, LENGTHS);
    lua_pop(L, 1);
}
