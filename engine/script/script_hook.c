#include "script/script.h"

struct hook {
    struct script *script;
    const char *name;
    const struct script_run *run;
};

static void set_integer(lua_State *L, const char *name, uint64_t n)
{
    lua_pushinteger(L, (lua_Integer)n);
    lua_setfield(L, -2, name);
}

static void set_boolean(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void set_result(lua_State *L, const struct script_run *run)
{
    set_boolean(L, "ok", run->ok);
    set_integer(L, "documents", run->documents);
    set_integer(L, "deleted", run->deleted);
    set_integer(L, "rejected", run->rejected);
    lua_pushnumber(L, run->seconds);
    lua_setfield(L, -2, "seconds");
}

static int hook_body(lua_State *L)
{
    const struct hook *h = lua_touserdata(L, 1);
    script_push_table(h->script);
    if (lua_getfield(L, -1, h->name) == LUA_TNIL)
        return 0;
    lua_createtable(L, 0, 7);
    lua_pushstring(L, h->run->pipeline);
    lua_setfield(L, -2, "pipeline");
    set_boolean(L, "dry_run", h->run->dry_run);
    if (h->run->ended)
        set_result(L, h->run);
    lua_call(L, 1, 0);
    return 0;
}

bool script_hook(struct script *s, const char *name, const struct script_run *run, struct err *e)
{
    struct hook h = {s, name, run};
    return script_call(s, hook_body, &h, e);
}
