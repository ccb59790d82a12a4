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

static int read_template(lua_State *L)
{
    struct script *s = lua_touserdata(L, 1);
    script_push_document(s);
    template_read(s->template, L, -1);
    return 0;
}

/* A mistake in a template is kept for script_check: those in other fields may come first. False: no
 * memory. */
static bool read_document(struct script *s, struct err *e)
{
    lua_State *L = sandbox_state(s->sandbox);
    script_push_document(s);
    int type = lua_type(L, -1);
    if (type == LUA_TFUNCTION)
        s->returns = returns_of(L, -1, s->source);
    lua_pop(L, 1);
    if (type != LUA_TTABLE && type != LUA_TNIL)
        return true;
    if (!(s->template = template_new(s->source)))
        return err_memory(e);
    if (sandbox_call(s->sandbox, read_template, s, &s->mistake))
        return true;
    if (template_hint(s->template))
        err_hint(&s->mistake, "%s", template_hint(s->template));
    return true;
}

bool script_check(const struct script *s, const struct pg_columns *columns, struct err *e)
{
    if (s->mistake.kind != ERR_NONE) {
        *e = s->mistake;
        return false;
    }
    return !s->template || !columns || template_bind(s->template, columns, e);
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
    if (!read_document(s, e)) {
        script_close(s);
        return NULL;
    }
    return s;
}

void script_close(struct script *s)
{
    if (!s)
        return;
    sandbox_free(s->sandbox);
    template_free(s->template);
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

void script_push_functions(const struct script *s)
{
    lua_State *L = sandbox_state(s->sandbox);
    if (s->template) {
        template_push_functions(s->template, L);
        return;
    }
    lua_newtable(L);
    script_push_document(s);
    lua_rawseti(L, -2, 1);
}

void script_describe_template(const struct script *s, struct buf *out)
{
    if (s->template)
        template_describe(s->template, out);
}
