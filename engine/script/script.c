#include "base/err.h"
#include "lua/lua_etl.h"
#include "lua/lua_values.h"
#include "lua/sandbox_stdlib.h"
#include "script/script_internal.h"

#include <lauxlib.h>
#include <stdlib.h>

static const char
    document_key; /* of the registry; the table itself is kept by the script's address */

static int last_line(const struct buf *text)
{
    int lines = 1;
    for (size_t i = 0; i + 1 < text->len; i++)
        lines += text->data[i] == '\n';
    return lines;
}

/* Everything of script_open that may raise. */
static int open_body(lua_State *L)
{
    struct script *s = lua_touserdata(L, 1);
    const struct buf *text = &s->source->text;
    sandbox_stdlib_open(L, s->source->path);
    lua_values_open(L);
    lua_etl_open(L);
    sandbox_compile(L, text->data ? text->data : "", text->len);
    lua_call(L, 0, 1);
    if (lua_type(L, -1) != LUA_TTABLE) {
        const char *what = lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1);
        lua_pushfstring(L,
                        "%s:%d: script returned %s%s, expected a table: return { name = ..., "
                        "source = ..., ... }",
                        s->source->path, last_line(text), lua_isnil(L, -1) ? "" : "a ", what);
        return lua_error(L);
    }
    lua_pushliteral(L, "document");
    lua_rawget(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &document_key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
    return 0;
}

struct script *script_open(const struct script_text *t, struct err *e)
{
    struct script *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    s->source = t;
    s->sandbox = sandbox_new(t->path, e);
    if (!s->sandbox || !sandbox_load(s->sandbox, open_body, s, e)) {
        script_close(s);
        return NULL;
    }
    lua_State *L = sandbox_state(s->sandbox);
    script_push_document(s);
    s->projection = projection_new(L, -1);
    s->returns = projection_returns(L, -1);
    lua_pop(L, 1);
    return s;
}

void script_close(struct script *s)
{
    if (!s)
        return;
    sandbox_free(s->sandbox);
    projection_free(s->projection);
    free(s);
}

void script_serve(struct script *s, const struct sandbox_services *services)
{
    sandbox_serve(s->sandbox, services);
}

void script_push_table(const struct script *s)
{
    lua_rawgetp(sandbox_state(s->sandbox), LUA_REGISTRYINDEX, s);
}

void script_push_document(const struct script *s)
{
    lua_rawgetp(sandbox_state(s->sandbox), LUA_REGISTRYINDEX, &document_key);
}

const struct script_text *script_source(const struct script *s)
{
    return s->source;
}

bool script_call(struct script *s, lua_CFunction body, void *arg, struct err *e)
{
    return sandbox_call(s->sandbox, body, arg, e);
}
