#include "lua/lua_json.h"

#include "base/json.h"
#include "lua/lua_values.h"

#include <endian.h>
#include <lauxlib.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* of all open objects together; an object with more takes memory from Lua */
    FIELDS = 128,
    DEPTH = JSON_DEPTH,   /* whatever can be decoded can be encoded */
    PATH = 300,           /* bytes of a field's path in a message */
    NAME = 60,            /* bytes of one name in it */
    JSON_MAX = 256 << 20, /* bytes that etl.json.encode returns */
};

struct field {
    uint64_t prefix; /* the name's first 8 bytes, which decide nearly every comparison */
    const char *name;
    size_t len;
    int at; /* the stack index of its value */
};

/* An open table, for paths and cycles. It lies in the frame of encode_table. */
struct level {
    const struct level *up;
    const void *table;
    const char *name; /* the field that is being encoded; NULL: the element `index` is */
    size_t len;
    lua_Integer index;
};

struct encoder {
    lua_State *L;
    struct buf *b;          /* the caller's, outside of L */
    const struct level *at; /* the innermost */
    const char *path;       /* of the value itself, or "" */
    int depth;
    size_t used;
    struct field fields[FIELDS];
};

static void encode_any(struct encoder *e, int index);

/* ---- errors: the path is built only if an error is raised ---- */

static bool plain_name(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-@", name[i]) ||
            !name[i])
            return false;
    return len > 0 && len <= NAME;
}

/* Pushes one step: ".name", "[3]", or, for a name with other characters, the form that it has in
 * Lua: ["my name"] */
static void push_step(lua_State *L, const struct level *level, bool inner)
{
    if (!level->name) {
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)level->index);
        return;
    }
    if (plain_name(level->name, level->len)) {
        lua_pushfstring(L, inner ? ".%s" : "%s", level->name);
        return;
    }
    char text[NAME + 1];
    size_t n = 0, i = 0;
    while (i < level->len && n < NAME) {
        size_t bytes = json_character(level->name + i, level->len - i);
        if (bytes > NAME - n)
            break;
        if (bytes <= 1)
            text[n] = bytes == 1 && (unsigned char)level->name[i] >= ' ' ? level->name[i] : '?';
        else
            memcpy(text + n, level->name + i, bytes);
        n += bytes > 0 ? bytes : 1;
        i += bytes > 0 ? bytes : 1;
    }
    text[n] = '\0';
    lua_pushfstring(L, "[\"%s%s\"]", text, i < level->len ? "..." : "");
}

/* Pushes "actors[3].name: ", or "" for the value itself. */
static void push_path(struct encoder *e)
{
    lua_State *L = e->L;
    char path[PATH], *p = path + sizeof path;
    *--p = '\0';
    if (e->at || *e->path)
        p = memcpy(p - 2, ": ", 2);
    for (const struct level *level = e->at; level; level = level->up) {
        push_step(L, level, level->up || *e->path);
        size_t len;
        const char *step = lua_tolstring(L, -1, &len);
        bool fits = len <= (size_t)(p - path) - 3;
        p = fits ? memcpy(p - len, step, len) : memcpy(p - 3, "...", 3);
        lua_pop(L, 1);
        if (!fits)
            break;
    }
    lua_pushfstring(L, "%s%s", e->path, p);
}

_Noreturn static void fail(struct encoder *e, const char *format, ...)
{
    lua_State *L = e->L;
    lua_checkstack(L, 10); /* if it fails, Lua's own spare slots are left */
    luaL_where(L, 1);
    push_path(e);
    va_list args;
    va_start(args, format);
    lua_pushvfstring(L, format, args);
    va_end(args);
    lua_concat(L, 3);
    lua_error(L);
    abort(); /* lua_error does not return, but its header does not say so */
}

static void room(struct encoder *e, int slots)
{
    if (!lua_checkstack(e->L, slots))
        fail(e, "cannot encode a table with that many fields, or memory is short");
}

/* ---- objects ---- */

static uint64_t prefix_of(const char *name, size_t len)
{
    uint64_t n = 0;
    if (len >= sizeof n)
        memcpy(&n, name, sizeof n);
    else
        memcpy(&n, name, len);
    return be64toh(n); /* the first byte becomes the most significant one */
}

static int compare_fields(const void *left, const void *right)
{
    const struct field *a = left, *b = right;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    return lua_json_order(a->name, a->len, b->name, b->len);
}

/* Sorts each sequence of fields that lie `gap` apart, by insertion. */
static void insert_fields(struct field *fields, size_t n, size_t gap)
{
    for (size_t i = gap; i < n; i++) {
        struct field field = fields[i];
        size_t to = i;
        for (; to >= gap && compare_fields(&fields[to - gap], &field) > 0; to -= gap)
            fields[to] = fields[to - gap];
        fields[to] = field;
    }
}

static void sort_fields(struct field *fields, size_t n)
{
    enum { FEW = 24 };
    static const size_t gaps[] = {57, 23, 10, 4}; /* Shell's sort: it calls and allocates nothing */
    if (n > FIELDS) {
        qsort(fields, n, sizeof *fields, compare_fields);
        return;
    }
    for (size_t g = 0; n > FEW && g < sizeof gaps / sizeof *gaps; g++)
        insert_fields(fields, n, gaps[g]);
    insert_fields(fields, n, 1);
}

_Noreturn static void fail_key(struct encoder *e, int key)
{
    lua_State *L = e->L;
    if (lua_type(L, key) == LUA_TNUMBER)
        fail(e, "cannot encode a table with the key %s", luaL_tolstring(L, key, NULL));
    fail(e, "cannot encode a table with a %s as key", luaL_typename(L, key));
}

/* Expects the first name and its value on the stack, from table + 1. Pushes the other pairs after
 * them, so that each value is read once, and the names that fields point to stay alive. */
static size_t push_fields(struct encoder *e, int table)
{
    lua_State *L = e->L;
    enum { STEP = 16 };
    size_t n = 0;
    do {
        int type = lua_type(L, -2);
        if (type == LUA_TNUMBER)
            fail(e, "cannot encode a table with both names and numbers as keys");
        if (type != LUA_TSTRING)
            fail_key(e, -2);
        if (n++ % STEP == 0)
            room(e, 2 * STEP + 8);
        lua_pushvalue(L, -2);
    } while (lua_next(L, table));
    return n;
}

static void encode_object(struct encoder *e, struct level *level, int table)
{
    lua_State *L = e->L;
    size_t n = push_fields(e, table);
    bool many = n > FIELDS - e->used;
    struct field *fields = many ? lua_newuserdatauv(L, n * sizeof *fields, 0) : e->fields + e->used;
    for (size_t i = 0; i < n; i++) {
        struct field *field = &fields[i];
        field->at = table + 2 + 2 * (int)i;
        field->name = lua_tolstring(L, field->at - 1, &field->len);
        field->prefix = prefix_of(field->name, field->len);
    }
    sort_fields(fields, n);
    e->used += many ? 0 : n;
    e->at = level;
    for (size_t i = 0; i < n; i++) {
        level->name = fields[i].name;
        level->len = fields[i].len;
        buf_addc(e->b, i == 0 ? '{' : ',');
        if (!json_add_string(e->b, level->name, level->len))
            fail(e, "the field's name is not valid UTF-8");
        buf_addc(e->b, ':');
        encode_any(e, fields[i].at);
    }
    buf_addc(e->b, '}');
    e->used -= many ? 0 : n;
}

/* ---- arrays ---- */

/* Returns the greatest key of the table; sets *count to the number of keys. Raises if a key is not
 * that of an array. */
static lua_Integer measure(struct encoder *e, int table, lua_Integer *count)
{
    lua_State *L = e->L;
    lua_Integer last = 0;
    *count = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING)
            fail(e, "cannot encode a table with both names and numbers as keys");
        lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (key < 1)
            fail_key(e, -2);
        last = key > last ? key : last;
        ++*count;
    }
    return last;
}

static void begin_element(struct encoder *e, struct level *level, lua_Integer index)
{
    level->index = index;
    buf_addc(e->b, index == 1 ? '[' : ',');
}

static void encode_elements(struct encoder *e, struct level *level, int table, lua_Integer n)
{
    e->at = level;
    if (n == 0)
        buf_addc(e->b, '[');
    for (lua_Integer i = 1; i <= n && !e->b->failed; i++) {
        begin_element(e, level, i);
        if (lua_rawgeti(e->L, table, i) == LUA_TNIL)
            buf_adds(e->b, "null");
        else
            encode_any(e, table + 1);
        lua_pop(e->L, 1);
    }
    buf_addc(e->b, ']');
}

/* Encodes a marked array: holes become null. */
static void encode_marked(struct encoder *e, struct level *level, int table, lua_Integer n)
{
    lua_Integer count, last = measure(e, table, &count);
    encode_elements(e, level, table, last > n ? last : n);
}

/* Expects the first key and its value on the stack, from table + 1. Nearly always the keys come in
 * the order 1, 2, 3: one walk is then enough, and proves that there is no other key. */
static void encode_array(struct encoder *e, struct level *level, int table)
{
    lua_State *L = e->L;
    size_t before = e->b->len;
    const struct level *up = e->at;
    lua_Integer i = 1;
    e->at = level;
    do {
        if (!lua_isinteger(L, table + 1) || lua_tointeger(L, table + 1) != i)
            break;
        begin_element(e, level, i++);
        encode_any(e, table + 2);
        lua_pop(L, 1);
    } while (lua_next(L, table));
    if (lua_gettop(L) == table) {
        buf_addc(e->b, ']');
        return;
    }
    lua_settop(L, table);
    e->at = up;
    if (!e->b->failed) /* a failed buffer stays failed */
        buf_cut(e->b, before);
    lua_Integer count, last = measure(e, table, &count);
    if (last != count)
        fail(e, "cannot encode an array with holes: etl.array(t) makes them null");
    encode_elements(e, level, table, last);
}

/* ---- any value ---- */

static void encode_table(struct encoder *e, int index)
{
    lua_State *L = e->L;
    /* A few tables can stand for an endless text: t = { t, t }, repeated. */
    if (e->b->failed)
        return;
    struct level level = {.up = e->at, .table = lua_topointer(L, index)};
    for (const struct level *up = e->at; up; up = up->up)
        if (up->table == level.table)
            fail(e, "cannot encode a table that holds itself");
    if (++e->depth > DEPTH)
        fail(e, "cannot encode tables nested deeper than %d", DEPTH);
    room(e, 10);
    lua_pushvalue(L, index);
    int table = lua_gettop(L);
    lua_Integer n;
    if (lua_values_is_array(L, table, &n)) {
        encode_marked(e, &level, table, n);
    } else {
        lua_pushnil(L);
        if (!lua_next(L, table))
            buf_adds(e->b, lua_values_is_object(L, table) ? "{}" : "[]");
        else if (lua_type(L, -2) == LUA_TSTRING)
            encode_object(e, &level, table);
        else
            encode_array(e, &level, table);
    }
    lua_settop(L, table - 1);
    e->at = level.up;
    e->depth--;
}

static void encode_number(struct encoder *e, int index)
{
    if (lua_isinteger(e->L, index)) {
        json_add_int(e->b, lua_tointeger(e->L, index));
        return;
    }
    double x = lua_tonumber(e->L, index);
    if (!json_add_double(e->b, x))
        fail(e, "cannot encode %s", x != x ? "NaN" : "infinity");
}

static void encode_string(struct encoder *e, int index)
{
    size_t len;
    const char *text = lua_tolstring(e->L, index, &len);
    if (!json_add_string(e->b, text, len))
        fail(e, "the text is not valid UTF-8; etl.base64 makes bytes fit for JSON");
}

static void encode_userdata(struct encoder *e, int index)
{
    lua_State *L = e->L;
    room(e, 10);
    size_t len;
    bool decoded;
    const char *text = lua_values_json(L, index, &len, &decoded);
    if (text) {
        json_add_raw(e->b, text, len);
    } else if (decoded) {
        encode_any(e, lua_gettop(L));
        lua_pop(L, 1);
    } else if ((text = lua_values_decimal(L, index, &len))) {
        buf_add(e->b, text, len);
    } else {
        bool named = luaL_getmetafield(L, index, "__name") == LUA_TSTRING;
        fail(e, "cannot encode a %s", named ? lua_tostring(L, -1) : "userdata");
    }
}

static __attribute__((noinline)) void encode_other(struct encoder *e, int index, int type)
{
    lua_State *L = e->L;
    switch (type) {
    case LUA_TNUMBER:
        encode_number(e, index);
        return;
    case LUA_TTABLE:
        encode_table(e, index);
        return;
    case LUA_TUSERDATA:
        encode_userdata(e, index);
        return;
    case LUA_TBOOLEAN:
        buf_adds(e->b, lua_toboolean(L, index) ? "true" : "false");
        return;
    default:
        if (!lua_values_is_null(L, index))
            fail(e, "cannot encode a %s", luaL_typename(L, index));
        buf_adds(e->b, "null");
    }
}

/* Encodes the value at index, which is absolute. Most values are strings. */
static void encode_any(struct encoder *e, int index)
{
    int type = lua_type(e->L, index);
    if (type == LUA_TSTRING)
        encode_string(e, index);
    else
        encode_other(e, index, type);
}

void lua_json_encode_field(lua_State *L, int index, struct buf *b, const char *path)
{
    struct encoder e; /* set here, except fields, which are written before they are read */
    e.L = L;
    e.b = b;
    e.at = NULL;
    e.path = path;
    e.depth = 0;
    e.used = 0;
    encode_any(&e, lua_absindex(L, index));
}

void lua_json_encode(lua_State *L, int index, struct buf *b)
{
    lua_json_encode_field(L, index, b, "");
}

void lua_json_decode(lua_State *L, const char *text, size_t len)
{
    lua_values_push_decoded(L, text, len);
}

/* ---- for scripts ---- */

/* etl.json.encode(v): returns the JSON text of v, as in documents: sorted names, exact numbers. */
int lua_json_lua_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct buf *b = lua_values_push_buf(L, JSON_MAX);
    lua_json_encode(L, 1, b);
    if (b->failed)
        return luaL_error(L, "cannot encode: the JSON is too large, or memory is short");
    lua_pushlstring(L, b->data, b->len);
    buf_free(b);
    return 1;
}

/* etl.json.decode(text or json value): returns the decoded value; null becomes etl.null. For a json
 * value, the result is the value that indexing uses. */
int lua_json_lua_decode(lua_State *L)
{
    size_t len;
    bool decoded;
    if (lua_values_json(L, 1, &len, &decoded) || decoded) {
        lua_values_push_json_decoded(L, 1);
        return 1;
    }
    const char *text = luaL_checklstring(L, 1, &len);
    lua_values_push_decoded(L, text, len);
    return 1;
}

/* etl.json.raw(text): returns a json value, whose text is copied into documents unchanged. */
int lua_json_lua_raw(lua_State *L)
{
    size_t len;
    bool decoded;
    if (lua_values_json(L, 1, &len, &decoded) || decoded) {
        lua_settop(L, 1);
        return 1;
    }
    const char *text = luaL_checklstring(L, 1, &len);
    struct json_reader r;
    json_open(&r, text, len);
    bool valid = json_skip(&r) && json_end(&r);
    size_t at = r.at;
    json_close(&r); /* before anything can raise */
    if (!valid)
        return luaL_error(L, "damaged JSON at byte %I", (LUAI_UACINT)at);
    lua_values_push_json(L, text, len);
    return 1;
}
