#include "lua/lua_pg.h"

#include "base/err.h"
#include "base/json.h"
#include "lua/lua_json.h"
#include "lua/lua_values.h"
#include "lua/row.h"
#include "lua/sandbox.h"
#include "pg/pg_pool.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

static const char STATEMENT[] = "etl.statement", COLUMNS[] = "etl.columns",
                  CACHE[] = "etl.columns of queries";

enum {
    /* queries whose columns are remembered; a script has few, unless it generates their texts */
    CACHED_MAX = 100,
    ARRAY_MAX = 10000000,    /* elements of a parameter; more would not fit in PARAMETER_MAX */
    PARAMETER_MAX = 64 << 20 /* bytes */
};

/* ---- the owner of connection and result ---- */

struct statement {
    struct pg_pool *pool; /* borrowed; it outlives the state */
    struct pg *pg;        /* acquired from the pool; NULL: released */
    PGresult *res;
    bool checked; /* the rows have the columns that were described */
};

/* Whether the statement changed the session's settings. A script's SET must not affect the engine's
 * own queries: with another DateStyle, the engine could not read times. */
static bool altered_session(PGresult *res)
{
    const char *did = res ? PQcmdStatus(res) : "";
    return strcmp(did, "SET") == 0 || strcmp(did, "RESET") == 0 || strncmp(did, "DISCARD", 7) == 0;
}

static void release(struct statement *st)
{
    bool altered = altered_session(st->res);
    PQclear(st->res);
    st->res = NULL;
    if (altered)
        pg_discard(st->pg);
    else
        pg_release(st->pool, st->pg);
    st->pg = NULL;
}

static int release_statement(lua_State *L)
{
    release(luaL_checkudata(L, 1, STATEMENT));
    return 0;
}

static struct pg_pool *pool_of(lua_State *L)
{
    if (sandbox_is_loading(L))
        luaL_error(
            L,
            "etl.pg is available in document() and in hooks, not while the script is being loaded");
    struct pg_pool *pool = sandbox_services(L)->pg;
    if (!pool)
        luaL_error(L, "etl.pg is not available here: this command does not ask PostgreSQL");
    return pool;
}

/* Pushes the owner, and acquires its connection. Raises if there is none. */
static struct statement *push_statement(lua_State *L, struct pg_pool *pool)
{
    struct statement *st = lua_newuserdatauv(L, sizeof *st, 0);
    *st = (struct statement){.pool = pool};
    luaL_setmetatable(L, STATEMENT);
    struct err e;
    if (!(st->pg = pg_acquire_for_script(pool, &e)))
        sandbox_raise(L, &e);
    return st;
}

static int fail(lua_State *L, struct statement *st, const struct err *e)
{
    release(st);
    return sandbox_raise(L, e);
}

/* ---- columns of queries, described once ---- */

static int free_columns(lua_State *L)
{
    pg_columns_free(luaL_checkudata(L, 1, COLUMNS));
    return 0;
}

static void push_cache(lua_State *L)
{
    if (luaL_getsubtable(L, LUA_REGISTRYINDEX, CACHE)) {
        lua_rawgeti(L, -1, 0);
        bool full = lua_tointeger(L, -1) >= CACHED_MAX;
        lua_pop(L, 1);
        if (!full)
            return;
        lua_pushnil(L);
        lua_setfield(L, LUA_REGISTRYINDEX, CACHE);
        lua_pop(L, 1);
        luaL_getsubtable(L, LUA_REGISTRYINDEX, CACHE);
    }
}

/* Pushes the columns that the query at index 1 returns; the userdata owns them. */
static struct pg_columns *push_columns(lua_State *L, struct statement *st)
{
    push_cache(L);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
    struct pg_columns *columns = lua_newuserdatauv(L, sizeof *columns, 0);
    *columns = (struct pg_columns){0};
    luaL_setmetatable(L, COLUMNS);
    struct err e;
    if (!pg_describe(st->pg, lua_tostring(L, 1), columns, &e))
        fail(L, st, &e);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    lua_rawgeti(L, -2, 0);
    lua_pushinteger(L, lua_tointeger(L, -1) + 1);
    lua_rawseti(L, -4, 0);
    lua_pop(L, 1);
    lua_remove(L, -2);
    return columns;
}

/* Raises if the number of parameters is wrong. The server's own error would have a text and a code
 * that poolers use for temporary errors. */
static void check_parameters(lua_State *L, struct statement *st, const struct pg_columns *columns,
                             int n)
{
    if (columns->parameters == n)
        return;
    release(st);
    luaL_error(L, "the query has %d parameter%s ($1 ...), but %d %s given", columns->parameters,
               columns->parameters == 1 ? "" : "s", n, n == 1 ? "was" : "were");
}

/* Raises if a table was altered after its query was described: the next try finds the new
 * columns. */
static int fail_altered(lua_State *L, struct statement *st)
{
    struct err e;
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, CACHE);
    err_set(&e, ERR_PASSING, "the columns of a query changed while it ran");
    return fail(L, st, &e);
}

/* ---- parameters ---- */

static void replace_by_buf(lua_State *L, int index, struct buf *b)
{
    if (b->failed)
        luaL_error(L, "a parameter is larger than %d MB, or memory is short", PARAMETER_MAX >> 20);
    lua_pushlstring(L, b->data ? b->data : "", b->len);
    buf_free(b);
    lua_replace(L, index);
}

/* Whether the number is whole; sets *whole. An int8 column does not accept "5.0", which is 10 / 2
 * in Lua. */
static bool is_whole(lua_State *L, int index, lua_Integer *whole)
{
    if (lua_isinteger(L, index)) {
        *whole = lua_tointeger(L, index);
        return true;
    }
    return lua_numbertointeger(lua_tonumber(L, index), whole) &&
           (double)*whole == lua_tonumber(L, index);
}

static void replace_number(lua_State *L, int index)
{
    double x = lua_tonumber(L, index);
    lua_Integer whole = 0;
    if (is_whole(L, index, &whole)) {
        lua_pushfstring(L, "%I", (LUAI_UACINT)whole);
        lua_replace(L, index);
    } else if (!isfinite(x)) {
        lua_pushstring(L, isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity");
        lua_replace(L, index);
    } else {
        struct buf *b = lua_values_push_buf(L, PARAMETER_MAX);
        json_add_double(b, x);
        replace_by_buf(L, index, b);
        lua_pop(L, 1);
    }
}

static void replace_by_json(lua_State *L, int index)
{
    struct buf *b = lua_values_push_buf(L, PARAMETER_MAX);
    lua_json_encode(L, index, b);
    replace_by_buf(L, index, b);
    lua_pop(L, 1);
}

static bool is_list(lua_State *L, int index, lua_Integer *n)
{
    if (lua_values_is_array(L, index, n))
        return true;
    *n = (lua_Integer)lua_rawlen(L, index);
    if (*n > 0 || lua_values_is_object(L, index))
        return *n > 0;
    lua_pushnil(L);
    if (!lua_next(L, index))
        return true;
    lua_pop(L, 2);
    return false;
}

static void replace_userdata(lua_State *L, int index, int number)
{
    size_t len;
    const char *text = lua_values_decimal(L, index, &len);
    if (text) {
        lua_pushlstring(L, text, len);
        lua_replace(L, index);
        return;
    }
    if (!luaL_testudata(L, index, "etl.json"))
        luaL_error(L, "parameter %d: cannot send a %s to PostgreSQL", number,
                   luaL_typename(L, index));
    replace_by_json(L, index);
}

/* Replaces the value at index by its text; null becomes nil. The index is absolute, and the value
 * is not a table. */
static void replace_scalar(lua_State *L, int index, int number)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
        lua_replace(L, index);
        return;
    case LUA_TNUMBER:
        replace_number(L, index);
        return;
    case LUA_TSTRING:
        if (strlen(lua_tostring(L, index)) != lua_rawlen(L, index))
            luaL_error(L, "parameter %d: PostgreSQL's texts cannot hold a zero byte", number);
        return;
    case LUA_TUSERDATA:
        replace_userdata(L, index, number);
        return;
    default:
        if (!lua_values_is_null(L, index))
            luaL_error(L, "parameter %d: cannot send a %s to PostgreSQL", number,
                       luaL_typename(L, index));
        lua_pushnil(L);
        lua_replace(L, index);
    }
}

/* Replaces a list of n elements by an array literal. */
static void replace_list(lua_State *L, int index, lua_Integer n, int number)
{
    if (n > ARRAY_MAX)
        luaL_error(L, "parameter %d: more than %d elements", number, ARRAY_MAX);
    struct buf *b = lua_values_push_buf(L, PARAMETER_MAX);
    const char **texts = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *texts, 0);
    lua_createtable(L, (int)n, 0); /* keeps the texts alive */
    int kept = lua_gettop(L);
    for (lua_Integer i = 1; i <= n; i++) {
        int type = lua_rawgeti(L, index, i);
        if (type == LUA_TTABLE && is_list(L, lua_gettop(L), &(lua_Integer){0}))
            luaL_error(L, "parameter %d: cannot send a list within a list to PostgreSQL", number);
        if (type == LUA_TTABLE)
            replace_by_json(L, lua_gettop(L));
        else
            replace_scalar(L, lua_gettop(L), number);
        texts[i - 1] = lua_tostring(L, -1);
        lua_rawseti(L, kept, i);
    }
    pg_add_array(b, texts, (size_t)n);
    replace_by_buf(L, index, b);
    lua_settop(L, kept - 3);
}

/* Replaces the n arguments from index 2 on by their texts; pushes a userdata with pointers to
 * them. */
static const char *const *push_parameters(lua_State *L, int n)
{
    luaL_checkstack(L, 20, NULL);
    for (int i = 2; i <= n + 1; i++) {
        lua_Integer len;
        if (lua_type(L, i) != LUA_TTABLE)
            replace_scalar(L, i, i - 1);
        else if (is_list(L, i, &len))
            replace_list(L, i, len, i - 1);
        else
            replace_by_json(L, i);
    }
    const char **params = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *params, 0);
    for (int i = 0; i < n; i++)
        params[i] = lua_tostring(L, i + 2);
    return params;
}

/* ---- the functions ---- */

/* etl.pg.query(sql, ...): returns all rows, as a list of tables by column name. $1, $2 stand for
 * the further arguments: nil and etl.null are NULL, a list is an array, any other table is its
 * JSON. For a statement without rows, the list is empty.
 *
 *     local genres = etl.pg.query("SELECT name FROM genre WHERE id = ANY($1)", film.genre_ids)
 */
static int query(lua_State *L)
{
    const char *sql = luaL_checkstring(L, 1);
    struct pg_pool *pool = pool_of(L);
    int n = lua_gettop(L) - 1;
    const char *const *params = push_parameters(L, n);
    struct statement *st = push_statement(L, pool);
    lua_toclose(L, -1);
    const struct pg_columns *columns = push_columns(L, st);
    check_parameters(L, st, columns, n);
    struct err e;
    if (!pg_query(st->pg, sql, n, params, &st->res, &e))
        return fail(L, st, &e);
    if (!pg_columns_fit(columns, st->res))
        return fail_altered(L, st);

    int rows = PQntuples(st->res);
    row_push_names(L, columns);
    int names = lua_gettop(L);
    lua_createtable(L, rows, 0);
    for (int i = 0; i < rows; i++) {
        row_push(L, columns, names, st->res, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_values_mark_array(L, -1, rows);
    return 1;
}

/* The iterator of etl.pg.rows. Upvalues: the statement, its columns, their names. */
static int next_row(lua_State *L)
{
    struct statement *st = lua_touserdata(L, lua_upvalueindex(1));
    const struct pg_columns *columns = lua_touserdata(L, lua_upvalueindex(2));
    const PGresult *row = NULL;
    struct err e;
    if (!st->pg) /* at the end, or closed */
        return 0;
    if (!pg_next(st->pg, &row, &e))
        return fail(L, st, &e);
    if (!row) {
        release(st);
        return 0;
    }
    if (!st->checked && !pg_columns_fit(columns, row))
        return fail_altered(L, st);
    st->checked = true;
    row_push(L, columns, lua_upvalueindex(3), row, 0);
    return 1;
}

/* etl.pg.rows(sql, ...): iterates over the rows, which are never all in memory. Leaving the loop
 * early releases the connection.
 *
 *     for row in etl.pg.rows("SELECT id, name FROM content.person ORDER BY id") do print(row.name)
 *     end
 */
static int rows(lua_State *L)
{
    const char *sql = luaL_checkstring(L, 1);
    struct pg_pool *pool = pool_of(L);
    int n = lua_gettop(L) - 1;
    const char *const *params = push_parameters(L, n);
    struct statement *st = push_statement(L, pool);
    int statement = lua_gettop(L);
    const struct pg_columns *columns = push_columns(L, st);
    check_parameters(L, st, columns, n);
    row_push_names(L, columns);
    struct err e;
    if (!pg_stream(st->pg, &(struct pg_statement){.sql = sql, .n = n, .params = params}, NULL, &e))
        return fail(L, st, &e);
    lua_pushvalue(L, statement);
    lua_insert(L, -3);
    lua_pushcclosure(L, next_row, 3);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, statement); /* for's fourth value, which is closed when the loop ends */
    return 4;
}

static void new_type(lua_State *L, const char *name, lua_CFunction end)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, end);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, end);
    lua_setfield(L, -2, "__close");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void lua_pg_push(lua_State *L)
{
    static const luaL_Reg functions[] = {{"query", query}, {"rows", rows}, {NULL, NULL}};
    new_type(L, STATEMENT, release_statement);
    new_type(L, COLUMNS, free_columns);
    luaL_newlib(L, functions);
}
