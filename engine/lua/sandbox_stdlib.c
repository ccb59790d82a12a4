#include "lua/sandbox_stdlib.h"

#include "base/log.h"
#include "lua/lua_pattern.h"
#include "lua/row.h"
#include "lua/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int luaopen_cjson(lua_State *L); /* lua-cjson has no header */

enum {
    /* instructions that a new coroutine may run before its own hook counts them */
    THREAD_COST = 1000,
    JSON_MAX = 64 << 20,   /* bytes; cjson ends the process if its buffer cannot grow */
    JSON_DEPTH_MAX = 1000, /* cjson's own limit */
    /* elements; more would not fit our memory limit, but a move of nils needs no memory */
    MOVE_MAX = 100000000,
};

/* ---- changes to a library, whose table is on top of the stack ---- */

/* Replaces field `name` by function, with the original as its upvalue. */
static void wrap(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void take_away(lua_State *L, const char *name)
{
    lua_pushnil(L);
    lua_setfield(L, -2, name);
}

/* ---- chunks: text only ---- */

/* Calls upvalue 1 (load, loadfile) with its argument `mode` replaced. */
static int call_with_text_mode(lua_State *L, int mode)
{
    if (lua_gettop(L) < mode)
        lua_settop(L, mode);
    lua_pushliteral(L, "t");
    lua_replace(L, mode);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int fenced_load(lua_State *L)
{
    return call_with_text_mode(L, 3);
}

static int fenced_loadfile(lua_State *L)
{
    return call_with_text_mode(L, 2);
}

static int finish_dofile(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    return lua_gettop(L) - 1;
}

static int fenced_dofile(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    if (luaL_loadfilex(L, path, "t") != LUA_OK)
        return lua_error(L);
    lua_callk(L, 0, LUA_MULTRET, 0, finish_dofile);
    return finish_dofile(L, LUA_OK, 0);
}

bool sandbox_stdlib_is_utf16(const char *text, size_t len)
{
    return len >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0 ||
                        !text[0] || !text[1]);
}

static bool is_utf16_file(const char *path)
{
    char head[2];
    FILE *f = fopen(path, "rbe");
    bool is = f && fread(head, 1, sizeof head, f) == sizeof head &&
              sandbox_stdlib_is_utf16(head, sizeof head);
    if (f)
        fclose(f);
    return is;
}

/* package.searchers[2]. Upvalues: the package table, package.searchpath. */
static int search_file(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, 1);
    if (lua_getfield(L, lua_upvalueindex(1), "path") != LUA_TSTRING)
        return luaL_error(L, "package.path must be a string");
    lua_call(L, 2, 2);
    if (lua_isnil(L, -2))
        return 1; /* the list of files that were tried */
    const char *path = lua_tostring(L, -2);
    if (luaL_loadfilex(L, path, "t") != LUA_OK)
        return luaL_error(L, "could not load module '%s': %s%s", name, lua_tostring(L, -1),
                          is_utf16_file(path) ? " (it is UTF-16, and has to be saved as UTF-8)"
                                              : "");
    lua_pushstring(L, path);
    return 2;
}

/* ---- errors that no handler may catch ---- */

/* Wraps the handler of an xpcall (upvalue 1), and does not call it at a limit: the hook raises
 * while hooks are off, and they would be off for the handler, too. */
static int guarded_handler(lua_State *L)
{
    if (sandbox_is_over(L))
        return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int finish_xpcall(lua_State *L, int status, lua_KContext extra)
{
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - (int)extra;
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

static int fenced_xpcall(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, guarded_handler, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    return finish_xpcall(L, lua_pcallk(L, n - 2, LUA_MULTRET, 2, 2, finish_xpcall), 2);
}

static int finish_thread(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L);
    return lua_error(L);
}

/* Runs a coroutine's function (upvalue 1) in a pcall. Without it, the hook's error would leave the
 * coroutine dead with its hooks off, and a pending __close, which runs then, might never end. */
static int thread_body(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    return finish_thread(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, finish_thread), 0);
}

/* coroutine.create and .wrap. Upvalue 1: the original. */
static int fenced_thread(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    sandbox_charge(L, THREAD_COST);
    lua_settop(L, 1);
    lua_pushcclosure(L, thread_body, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* ---- other changed functions ---- */

/* print and warn. Upvalue 1: the level. */
static int print_line(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_Buffer line;
    if (sandbox_is_mute(L))
        return 0;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&line, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    log_line((enum log_level)lua_tointeger(L, lua_upvalueindex(1)), "%s", lua_tostring(L, -1));
    return 0;
}

static int fenced_setmetatable(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TTABLE) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "a script's metatable cannot have __gc; use __close");
    }
    lua_settop(L, 2);
    row_make_plain(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

static int fenced_collectgarbage(lua_State *L)
{
    static const char *const options[] = {"collect", "count", "step", NULL};
    int option = luaL_checkoption(L, 1, "collect", options);
    int step = (int)luaL_optinteger(L, 2, 0);
    if (option == 0)
        lua_pushinteger(L, lua_gc(L, LUA_GCCOLLECT));
    else if (option == 1)
        lua_pushnumber(L, lua_gc(L, LUA_GCCOUNT) + lua_gc(L, LUA_GCCOUNTB) / 1024.0);
    else
        lua_pushboolean(L, lua_gc(L, LUA_GCSTEP, step));
    return 1;
}

/* string.rep. The original repeats even an empty string the given number of times. Upvalue 1: the
 * original. */
static int fenced_rep(lua_State *L)
{
    size_t len, separator;
    luaL_checklstring(L, 1, &len);
    luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator);
    if (len == 0 && separator == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    lua_settop(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 3, 1);
    return 1;
}

/* table.insert and .remove. The originals move as many elements as __len returns, even if a table
 * cannot have that many. Upvalue 1: the original. */
static int fenced_shift(lua_State *L)
{
    luaL_argcheck(L, !lua_istable(L, 1) || luaL_len(L, 1) < MOVE_MAX, 1,
                  "too many elements to move");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* table.move. Upvalue 1: the original. */
static int fenced_move(lua_State *L)
{
    lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3);
    if (to >= from && (lua_Unsigned)to - (lua_Unsigned)from >= MOVE_MAX)
        return luaL_argerror(L, 3, "too many elements to move");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* ---- cjson ---- */

static size_t less(size_t budget, size_t cost)
{
    return budget > cost ? budget - cost : 0;
}

/* Returns the bytes left of the budget after the value's JSON, at its longest; 0 if it does not
 * fit. */
static size_t json_budget(lua_State *L, int index, size_t budget, int depth)
{
    size_t len = 40; /* bytes of the longest number */
    int type = lua_type(L, index);
    if (type == LUA_TSTRING) {
        lua_tolstring(L, index, &len);
        return len > budget / 6 ? 0 : less(budget, len * 6 + 3);
    }
    if (type != LUA_TTABLE || depth > JSON_DEPTH_MAX)
        return less(budget, len);
    luaL_checkstack(L, 4, "cannot encode: nested too deep");
    int table = lua_absindex(L, index);
    lua_Integer last = 0; /* element; missing elements before it are written as null */
    budget = less(budget, 3);
    for (lua_pushnil(L); budget > 0 && lua_next(L, table); lua_pop(L, 1)) {
        lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        last = i > last ? i : last;
        budget = json_budget(L, -1, budget, depth + 1);
        budget = json_budget(L, -2, budget, JSON_DEPTH_MAX);
    }
    return (size_t)last > budget / 5 ? 0 : less(budget, (size_t)last * 5);
}

/* cjson.encode. Upvalue 1: the original. */
static int fenced_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    int top = lua_gettop(L);
    if (json_budget(L, 1, JSON_MAX, 0) == 0)
        return luaL_error(L, "cannot encode: more than %d MB of JSON", JSON_MAX >> 20);
    lua_settop(L, top);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, top, 1);
    return 1;
}

static int open_cjson(lua_State *L)
{
    luaopen_cjson(L);
    take_away(L, "new");              /* would create another encode */
    take_away(L, "encode_max_depth"); /* a deeper recursion would overflow the C stack */
    take_away(L, "decode_max_depth");
    wrap(L, "encode", fenced_encode);
    return 1;
}

/* ---- opening the library ---- */

static void printer(lua_State *L, const char *name, enum log_level level)
{
    lua_pushinteger(L, level);
    lua_pushcclosure(L, print_line, 1);
    lua_setfield(L, -2, name);
}

static void fence_base(lua_State *L)
{
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    wrap(L, "load", fenced_load);
    wrap(L, "loadfile", fenced_loadfile);
    wrap(L, "dofile", fenced_dofile);
    wrap(L, "setmetatable", fenced_setmetatable);
    wrap(L, "collectgarbage", fenced_collectgarbage);
    wrap(L, "xpcall", fenced_xpcall);
    printer(L, "print", LOG_INFO);
    printer(L, "warn", LOG_WARN);
    lua_pop(L, 1);
}

static void fence_tables(lua_State *L)
{
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    wrap(L, "rep", fenced_rep);
    lua_pattern_open(L);
    take_away(L, "dump");
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    wrap(L, "move", fenced_move);
    wrap(L, "insert", fenced_shift);
    wrap(L, "remove", fenced_shift);
    luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 1);
    wrap(L, "create", fenced_thread);
    wrap(L, "wrap", fenced_thread);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    lua_pop(L, 5);
}

static void fence_outside(lua_State *L)
{
    luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 1);
    take_away(L, "exit");
    take_away(L, "execute");
    take_away(L, "setlocale");
    luaL_requiref(L, LUA_IOLIBNAME, luaopen_io, 1);
    take_away(L, "popen");
    luaL_getmetatable(L, LUA_FILEHANDLE); /* has a __gc that a script could replace */
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 3);
}

/* Opens debug with only traceback. */
static void fence_debug(lua_State *L)
{
    luaL_requiref(L, LUA_DBLIBNAME, luaopen_debug, 1);
    lua_getfield(L, -1, "traceback");
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, "traceback");
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, LUA_DBLIBNAME);
    lua_pop(L, 1);
    lua_setglobal(L, LUA_DBLIBNAME);
    lua_pop(L, 1);
}

/* Pushes "DIR/?.lua;DIR/?/init.lua", then ";" and the user's own path, if there is one. */
static void push_path(lua_State *L, const char *script, const char *users)
{
    const char *slash = strrchr(script, '/');
    lua_pushlstring(L, script, slash ? (size_t)(slash + 1 - script) : 0);
    const char *dir = lua_tostring(L, -1);
    lua_pushfstring(L, "%s?.lua;%s?/init.lua%s%s", dir, dir, users ? ";" : "", users ? users : "");
    lua_remove(L, -2);
}

static void fence_package(lua_State *L, const char *script)
{
    luaL_requiref(L, LUA_LOADLIBNAME, luaopen_package, 1);
    take_away(L, "loadlib");
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "cpath");

    bool has_path = getenv("LUA_PATH_5_4") || getenv("LUA_PATH");
    lua_getfield(L, -1, "path"); /* from these variables, with ";;" replaced */
    push_path(L, script, has_path ? lua_tostring(L, -1) : NULL);
    lua_setfield(L, -3, "path");
    lua_pop(L, 1);

    lua_createtable(L, 2, 0);
    lua_getfield(L, -2, "searchers");
    lua_rawgeti(L, -1, 1); /* package.preload */
    lua_rawseti(L, -3, 1);
    lua_pop(L, 1);
    lua_pushvalue(L, -2);
    lua_getfield(L, -3, "searchpath");
    lua_pushcclosure(L, search_file, 2);
    lua_rawseti(L, -2, 2);
    lua_setfield(L, -2, "searchers");

    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_cjson);
    lua_setfield(L, -2, "cjson");
    lua_pop(L, 2);
}

void sandbox_stdlib_open(lua_State *L, const char *path)
{
    fence_base(L);
    fence_tables(L);
    fence_outside(L);
    fence_debug(L);
    fence_package(L, path);
}
