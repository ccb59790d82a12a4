#include "lua/lua_etl.h"

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "lua/lua_backoff.h"
#include "lua/lua_es.h"
#include "lua/lua_json.h"
#include "lua/lua_pg.h"
#include "lua/lua_values.h"
#include "lua/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STATE_MAX = 64 << 20
}; /* bytes of a state file: far more than any has; decoded, it fits our memory limit */

/* ---- etl.log ---- */

/* Pushes the line: string.format (upvalue 2) of the arguments. A single argument is not formatted,
 * so that a text with a percent sign in it can be logged. */
static void push_line(lua_State *L)
{
    int n = lua_gettop(L);
    if (n == 1) {
        luaL_tolstring(L, 1, NULL);
        return;
    }
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, n, 1);
}

/* etl.log.debug, .info, .warn, .error (format, ...): writes a line to the engine's log, with the
 * format of string.format. Upvalue 1: the level.
 *
 *     etl.log.warn("film %s has no title", film.id)
 */
static int log_write(lua_State *L)
{
    enum log_level level = (enum log_level)lua_tointeger(L, lua_upvalueindex(1));
    luaL_checkany(L, 1);
    if (!log_enabled(level) || sandbox_is_mute(L))
        return 0;
    push_line(L);
    log_line(level, "%s", lua_tostring(L, -1));
    return 0;
}

static void push_log(lua_State *L)
{
    static const char *const names[] = {
        [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
    lua_createtable(L, 0, 4);
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        lua_pushinteger(L, level);
        lua_getglobal(L, "string");
        lua_getfield(L, -1, "format");
        lua_remove(L, -2);
        lua_pushcclosure(L, log_write, 2);
        lua_setfield(L, -2, names[level]);
    }
}

/* ---- etl.state ---- */

/* Reads the file to its end. False: errno gives the reason; the caller handles ENOENT. */
static bool read_file(const char *path, struct buf *b)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    enum file_end end = file_read(fd, b);
    int reason = end == FILE_COMPLETE ? 0 : end == FILE_ERROR ? errno : EFBIG;
    close(fd);
    errno = reason;
    return reason == 0;
}

/* etl.state.read(): returns the decoded content of the state file: {} if the file is empty, nil if
 * there is none.
 *
 *     local state = etl.state.read()
 *     if state and state.phase == "following" then ... end
 */
static int state_read(lua_State *L)
{
    const char *path = sandbox_services(L)->state_path;
    if (!path)
        return luaL_error(L, "etl.state is available in document() and in hooks%s",
                          sandbox_is_loading(L) ? ", not while the script is being loaded"
                                                : " of a run with a state");
    struct buf *b = lua_values_push_buf(L, STATE_MAX);
    if (!read_file(path, b)) {
        if (errno != ENOENT)
            return luaL_error(L, "cannot read state file '%s': %s", path, strerror(errno));
        lua_pushnil(L);
    } else if (b->len == 0) {
        lua_newtable(L);
    } else {
        lua_json_decode(L, b->data, b->len);
    }
    buf_free(b);
    return 1;
}

/* ---- etl.secret ---- */

/* etl.secret(name): returns the environment variable NAME, or the content of the file that
 * NAME_FILE names, or of the file in systemd's credentials folder (secret.h); nil if there is
 * none.
 *
 *     url = etl.secret "DATABASE_URL"
 */
static int secret(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    struct buf *b = lua_values_push_buf(L, SECRET_MAX);
    bool found;
    struct err e;
    if (!secret_read(name, b, &found, &e))
        return luaL_error(L, "%s", e.text);
    if (found)
        lua_pushlstring(L, b->data, b->len);
    else
        lua_pushnil(L);
    buf_free(b);
    return 1;
}

/* ---- the module ---- */

void lua_etl_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"array", lua_values_lua_array},
                                         {"decimal", lua_values_lua_decimal},
                                         {"base64", lua_values_lua_base64},
                                         {"backoff", lua_backoff},
                                         {"secret", secret},
                                         {NULL, NULL}};
    static const luaL_Reg json[] = {{"encode", lua_json_lua_encode},
                                    {"decode", lua_json_lua_decode},
                                    {"raw", lua_json_lua_raw},
                                    {NULL, NULL}};
    static const luaL_Reg state[] = {{"read", state_read}, {NULL, NULL}};

    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    luaL_newlib(L, functions);
    lua_values_push_null(L);
    lua_setfield(L, -2, "null");
    luaL_newlib(L, json);
    lua_setfield(L, -2, "json");
    luaL_newlib(L, state);
    lua_setfield(L, -2, "state");
    push_log(L);
    lua_setfield(L, -2, "log");
    lua_pg_push(L);
    lua_setfield(L, -2, "pg");
    lua_es_push(L);
    lua_setfield(L, -2, "es");
    lua_setfield(L, -2, "etl");
    lua_pop(L, 1);
}
