#include "lua/row.h"

#include "base/json.h"
#include "base/suggest.h"
#include "lua/lua_values.h"
#include "lua/row_value.h"

#include <lauxlib.h>

enum { DIMENSIONS = 6 }; /* the most that an array has: PostgreSQL's MAXDIM */

/* ---- the target of values: the Lua stack, or JSON text. A value that has no JSON text without Lua
 * is not written: the functions return false ---- */

struct target {
    lua_State *L; /* NULL: the target is json */
    /* stack index of nil, or of a userdata that serves as working memory */
    int scratch;
    struct buf *json, *json_scratch;
    bool digits; /* see row_read */
};

static void push_bytes(lua_State *L, struct piece p)
{
    luaL_Buffer b;
    size_t n = p.len / 2;
    char *out = luaL_buffinitsize(L, &b, n);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(hex(p.text[2 * i]) << 4 | hex(p.text[2 * i + 1]));
    luaL_pushresultsize(&b, n);
}

static void push_value(lua_State *L, const struct value *v)
{
    switch (v->type) {
    case TEXT:
        lua_pushlstring(L, v->text.text, v->text.len);
        return;
    case INTEGER:
        lua_pushinteger(L, v->integer);
        return;
    case FLOAT:
        lua_pushnumber(L, v->number);
        return;
    case DECIMAL:
        lua_values_push_decimal(L, v->text.text, v->text.len);
        return;
    case BOOLEAN:
        lua_pushboolean(L, v->boolean);
        return;
    case BYTES:
        push_bytes(L, v->text);
        return;
    case JSON:
        lua_values_push_json(L, v->text.text, v->text.len);
        return;
    }
}

static bool add_value(struct buf *b, const struct value *v)
{
    switch (v->type) {
    case TEXT:
        return json_add_string(b, v->text.text, v->text.len);
    case INTEGER:
        json_add_int(b, v->integer);
        return true;
    case FLOAT:
        return json_add_double(b, v->number);
    case DECIMAL:
        buf_add(b, v->text.text, v->text.len);
        return true;
    case BOOLEAN:
        buf_adds(b, v->boolean ? "true" : "false");
        return true;
    case BYTES:
        return false;
    case JSON:
        json_add_raw(b, v->text.text, v->text.len);
        return true;
    }
    return false;
}

static bool put_value(const struct target *t, const struct value *v)
{
    if (!t->L)
        return add_value(t->json, v);
    push_value(t->L, v);
    return true;
}

static void put_null(const struct target *t)
{
    if (t->L)
        lua_values_push_null(t->L);
    else
        buf_adds(t->json, "null");
}

/* Begins element n of the array, from 1. */
static void put_element(const struct target *t, lua_Integer n)
{
    if (!t->L && n > 1)
        buf_addc(t->json, ',');
}

static void end_element(const struct target *t, lua_Integer n)
{
    if (t->L)
        lua_rawseti(t->L, -2, n);
}

/* Begins an array. elements: their expected number. */
static void put_array(const struct target *t, int elements)
{
    if (t->L)
        lua_createtable(t->L, elements, 0);
    else
        buf_addc(t->json, '[');
}

static void end_array(const struct target *t)
{
    if (!t->L)
        buf_addc(t->json, ']');
}

static bool put_text(const struct target *t, enum pg_kind kind, struct piece p)
{
    struct value v;
    return row_read(kind, p, t->digits, &v) && put_value(t, &v);
}

/* Returns working memory of that many bytes, valid until the next call. No memory: NULL, or with
 * Lua an error. */
static char *scratch(const struct target *t, size_t size)
{
    if (!t->L) {
        buf_clear(t->json_scratch);
        return buf_reserve(t->json_scratch, size) ? t->json_scratch->data : NULL;
    }
    if (lua_rawlen(t->L, t->scratch) < size) {
        lua_newuserdatauv(t->L, size, 0);
        lua_replace(t->L, t->scratch);
    }
    return lua_touserdata(t->L, t->scratch);
}

/* ---- arrays: {1,2,NULL,"a\"b"}, {{1,2},{3,4}}, [0:1]={5,6} ---- */

struct array {
    const char *p, *end;
    char delimiter;
    enum pg_kind kind;
    const struct target *target;
    size_t room; /* bytes: any element without its backslashes fits */
};

/* Returns the most elements that an array of one dimension can have, up to a limit, so that its
 * table need not grow. Delimiters within texts are counted, too. */
static int guess_elements(const struct array *a)
{
    enum { MOST = 1 << 16 };
    int n = 1;
    const char *p = a->p;
    while (n < MOST && (p = memchr(p, a->delimiter, (size_t)(a->end - p)))) {
        p++;
        n++;
    }
    return n;
}

/* Puts an element that contains backslashes: copies it without them. */
static bool put_escaped(const struct array *a, struct piece p)
{
    char *out = scratch(a->target, a->room);
    size_t n = 0;
    if (!out)
        return false;
    for (size_t i = 0; i < p.len; i++) {
        i += p.text[i] == '\\'; /* the closing quote follows, so there is a character */
        out[n++] = p.text[i];
    }
    out[n] = '\0';
    return put_text(a->target, a->kind, (struct piece){out, n});
}

static bool put_quoted(struct array *a)
{
    const char *begin = ++a->p, *quote = memchr(begin, '"', (size_t)(a->end - begin));
    if (!quote)
        return false;
    bool escaped = memchr(begin, '\\', (size_t)(quote - begin)) != NULL;
    if (escaped) { /* the quote may be part of the text */
        for (quote = begin; quote < a->end && *quote != '"'; quote++)
            if (*quote == '\\' && ++quote == a->end)
                return false;
        if (quote == a->end)
            return false;
    }
    struct piece p = {begin, (size_t)(quote - begin)};
    a->p = quote + 1;
    return escaped ? put_escaped(a, p) : put_text(a->target, a->kind, p);
}

static bool put_bare(struct array *a)
{
    const char *begin = a->p;
    while (a->p < a->end && *a->p != a->delimiter && *a->p != '{' && *a->p != '}' && *a->p != '"' &&
           *a->p != '\\')
        a->p++;
    struct piece p = {begin, (size_t)(a->p - begin)};
    if (!is(p, "NULL"))
        return p.len > 0 && put_text(a->target, a->kind, p);
    put_null(a->target);
    return true;
}

/* Puts the array whose opening brace was just passed. Open arrays lie on the Lua stack. */
static bool put_elements(struct array *a, int guess)
{
    const struct target *t = a->target;
    lua_Integer n[DIMENSIONS] = {0};
    int depth = 1;
    put_array(t, guess);
    while (a->p < a->end) {
        bool empty = *a->p == '}' && n[depth - 1] == 0;
        if (!empty)
            put_element(t, ++n[depth - 1]);
        if (*a->p == '{') {
            if (depth == DIMENSIONS)
                return false;
            a->p++;
            put_array(t, 0);
            n[depth++] = 0;
            continue;
        }
        if (!empty) {
            if (!(*a->p == '"' ? put_quoted(a) : put_bare(a)))
                return false;
            end_element(t, n[depth - 1]);
        }
        while (a->p < a->end && *a->p == '}') {
            a->p++;
            end_array(t);
            if (--depth == 0)
                return a->p == a->end;
            end_element(t, n[depth - 1]);
        }
        if (a->p == a->end || *a->p++ != a->delimiter)
            return false;
    }
    return false;
}

static bool put_list(const struct target *t, const struct pg_column *column, struct piece p)
{
    struct array a = {.p = p.text,
                      .end = p.text + p.len,
                      .delimiter = column->delimiter,
                      .kind = column->kind,
                      .target = t,
                      .room = p.len + 1};
    if (p.len > 0 && p.text[0] == '[') { /* bounds, which are dropped: a list always begins at 1 */
        const char *equals = memchr(p.text, '=', p.len);
        if (!equals)
            return false;
        a.p = equals + 1;
    }
    if (a.p == a.end || *a.p++ != '{')
        return false;
    bool flat = a.p < a.end && *a.p != '{' && *a.p != '}';
    return put_elements(&a, flat && t->L ? guess_elements(&a) : 0);
}

static bool put_column(const struct target *t, const struct pg_column *column, struct piece p)
{
    return column->array ? put_list(t, column, p) : put_text(t, column->kind, p);
}

/* ---- rows ---- */

static int damaged(lua_State *L, const struct pg_column *column, struct piece p)
{
    enum { SHOWN = 40 };
    bool cut = p.len > SHOWN;
    size_t shown = cut ? SHOWN : p.len;
    while (cut && shown > 0 && (p.text[shown] & 0xC0) == 0x80) /* within a character */
        shown--;
    lua_pushlstring(L, p.text, shown);
    return luaL_error(L, "column '%s': '%s%s' is not a value of type %s", column->name,
                      lua_tostring(L, -1), cut ? "..." : "",
                      column->type ? column->type : "its own");
}

static const char ROW[] = "etl.row"; /* its address marks a row's metatable */

enum {
    METATABLE = 0 /* index of the rows' metatable in the list of names */,
    MARK = 1 /* index in the metatable */
};

static int unknown_column(lua_State *L, const char *name)
{
    int n = (int)lua_rawlen(L, lua_upvalueindex(1));
    const char **names = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *names, 0);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, lua_upvalueindex(1), i + 1);
        names[i] = lua_tostring(L, -1); /* the list keeps it alive */
        lua_pop(L, 1);
    }
    const char *near = suggest(name, names, (size_t)n);
    return luaL_error(L, ROW_NO_COLUMN " '%s'%s%s%s", name, near ? ", did you mean '" : "",
                      near ? near : "", near ? "'?" : "");
}

/* __index of rows: a field that is not in the table is NULL, or is not a column and raises.
 * Upvalues: the list of names, and the set of them. Only a string can be a misspelt name, so
 * ipairs(row) ends as for any table. */
static int missing_field(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL)
        return unknown_column(L, lua_tostring(L, 2));
    return 0;
}

/* Pushes the metatable of the rows; the list of their columns' names is on top of the stack. */
static void push_metatable(lua_State *L, const struct pg_columns *columns)
{
    lua_createtable(L, 1, 2);
    lua_pushlightuserdata(L, (void *)ROW);
    lua_rawseti(L, -2, MARK);
    lua_pushboolean(L, 0); /* a script could add a __gc, and so run code without limits */
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -2);
    lua_createtable(L, 0, (int)columns->n);
    for (int i = 0; i < (int)columns->n; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, columns->list[i].name);
    }
    lua_pushcclosure(L, missing_field, 2);
    lua_setfield(L, -2, "__index");
}

void row_push_names(lua_State *L, const struct pg_columns *columns)
{
    luaL_checkstack(L, 8, NULL);
    lua_createtable(L, (int)columns->n, 1);
    for (int i = 0; i < (int)columns->n; i++) {
        lua_pushstring(L, columns->list[i].name);
        lua_rawseti(L, -2, i + 1);
    }
    push_metatable(L, columns);
    lua_rawseti(L, -2, METATABLE);
}

void row_make_plain(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
        return;
    lua_rawgeti(L, -1, MARK);
    bool is_row = lua_touserdata(L, -1) == ROW;
    lua_pop(L, 2);
    if (!is_row)
        return;
    lua_pushnil(L);
    lua_setmetatable(L, index);
}

void row_push(lua_State *L, const struct pg_columns *columns, int names, const PGresult *res, int n)
{
    names = lua_absindex(L, names);
    luaL_checkstack(L, DIMENSIONS + 12, NULL);
    lua_pushnil(L);
    struct target t = {.L = L, .scratch = lua_gettop(L)};
    lua_createtable(L, 0, (int)columns->n);
    for (int i = 0; i < (int)columns->n; i++) {
        int len = PQgetlength(res, n, i);
        if (len == 0 && PQgetisnull(res, n, i))
            continue;
        const struct pg_column *column = &columns->list[i];
        struct piece p = {PQgetvalue(res, n, i), (size_t)len};
        lua_rawgeti(L, names, i + 1);
        if (!put_column(&t, column, p))
            damaged(L, column, p);
        lua_rawset(L, -3);
    }
    lua_rawgeti(L, names, METATABLE);
    lua_setmetatable(L, -2);
    lua_remove(L, t.scratch);
}

void row_push_value(lua_State *L, const struct pg_column *column, const char *text, size_t len)
{
    struct piece p = {text, len};
    luaL_checkstack(L, DIMENSIONS + 12, NULL);
    lua_pushnil(L);
    struct target t = {.L = L, .scratch = lua_gettop(L)};
    if (!put_column(&t, column, p))
        damaged(L, column, p);
    lua_remove(L, t.scratch);
}

bool row_add_json(struct buf *out, const struct pg_column *column, const char *text, size_t len,
                  struct buf *scratch)
{
    struct target t = {.json = out, .json_scratch = scratch, .digits = column->shortest};
    return put_column(&t, column, (struct piece){text, len});
}
