#include "lua/lua_es.h"

#include "base/err.h"
#include "es/es.h"
#include "lua/lua_json.h"
#include "lua/lua_values.h"
#include "lua/sandbox.h"

#include <lauxlib.h>
#include <string.h>

static const char ANSWER[] = "etl.answer";

enum { BODY_MAX = 64 << 20 }; /* bytes; the servers take 100 MB at most */

static int free_answer(lua_State *L)
{
    es_answer_free(luaL_checkudata(L, 1, ANSWER));
    return 0;
}

static struct es *es_of(lua_State *L)
{
    if (sandbox_is_loading(L))
        luaL_error(
            L,
            "etl.es is available in document() and in hooks, not while the script is being loaded");
    struct es *es = sandbox_services(L)->es;
    if (!es)
        luaL_error(L, "etl.es is not available here: this command (or a dry run) does not ask the "
                      "search server");
    return es;
}

static void check_request(lua_State *L, const char *method, const char *path)
{
    static const char methods[] = " GET POST PUT DELETE HEAD ";
    const char *found = strpbrk(method, " ") || !*method ? NULL : strstr(methods, method);
    luaL_argcheck(L, found && found[-1] == ' ' && found[strlen(method)] == ' ', 1,
                  "expected GET, POST, PUT, DELETE or HEAD");
    luaL_argcheck(L, path[0] == '/', 2, "a path begins with '/'");
    for (const char *p = path; *p; p++)
        luaL_argcheck(L, (unsigned char)*p > ' ' && (unsigned char)*p < 0x7F, 2,
                      "a path's spaces and letters beyond ASCII have to be written as %XX");
}

static const char *content_type(const char *path)
{
    size_t len = strcspn(path, "?");
    bool lines = (len >= 6 && memcmp(path + len - 6, "/_bulk", 6) == 0) ||
                 (len >= 9 && memcmp(path + len - 9, "/_msearch", 9) == 0);
    return lines ? "application/x-ndjson" : NULL;
}

static int decode_body(lua_State *L)
{
    const struct buf *b = lua_touserdata(L, 1);
    lua_json_decode(L, b->data, b->len);
    return 1;
}

/* Pushes the decoded body; a body that is not JSON is pushed as a string, an empty one as nil. */
static void push_answer(lua_State *L, const struct buf *body)
{
    if (body->len == 0) {
        lua_pushnil(L);
        return;
    }
    lua_pushcfunction(L, decode_body);
    lua_pushlightuserdata(L, (void *)body);
    int status = lua_pcall(L, 1, 1, 0);
    if (status == LUA_OK)
        return;
    if (status == LUA_ERRMEM || sandbox_is_over(L))
        lua_error(L);
    lua_pop(L, 1);
    lua_pushlstring(L, body->data, body->len);
}

/* etl.es.request(method, path [, body]): sends one request; returns status and answer for every
 * status. A table is sent as its JSON, a string unchanged. The answer is decoded; a text that is
 * not JSON is returned as a string, an empty one as nil. Raises if an argument is wrong or no
 * answer arrived.
 *
 *     local status, answer = etl.es.request("GET", "/movies/_count", { query = query })
 */
static int request(lua_State *L)
{
    const char *method = luaL_checkstring(L, 1), *path = luaL_checkstring(L, 2);
    check_request(L, method, path);
    struct es *es = es_of(L);
    lua_settop(L, 3);

    struct buf *body = lua_values_push_buf(L, BODY_MAX);
    size_t len = 0;
    const char *data = NULL;
    if (lua_type(L, 3) == LUA_TSTRING) {
        data = lua_tolstring(L, 3, &len);
    } else if (!lua_isnil(L, 3)) {
        lua_json_encode(L, 3, body);
        if (body->failed)
            return luaL_error(L, "the request is larger than %d MB, or memory is short",
                              BODY_MAX >> 20);
        data = body->data;
        len = body->len;
    }
    struct es_answer *answer = lua_newuserdatauv(L, sizeof *answer, 0);
    *answer = (struct es_answer){0};
    luaL_setmetatable(L, ANSWER);
    lua_toclose(L, -1);
    struct err e;
    if (!es_request(es,
                    &(struct es_call){.method = method,
                                      .path = path,
                                      .body = data,
                                      .len = len,
                                      .type = content_type(path)},
                    answer, &e))
        return sandbox_raise(L, &e);
    lua_pushinteger(L, answer->status);
    push_answer(L, &answer->body);
    return 2;
}

void lua_es_push(lua_State *L)
{
    static const luaL_Reg functions[] = {{"request", request}, {NULL, NULL}};
    luaL_newmetatable(L, ANSWER);
    lua_pushcfunction(L, free_answer);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, free_answer);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
}
