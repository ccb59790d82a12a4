#include "base/err.h"
#include "base/suggest.h"
#include "lua/lua_etl.h"
#include "lua/lua_values.h"
#include "lua/sandbox_stdlib.h"
#include "model/keylist.h"
#include "script/script_internal.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

static const char
    document_key; /* of the registry; the table itself is kept by the script's address */

static int last_line(const struct buf *text)
{
    int lines = 1;
    for (size_t i = 0; i + 1 < text->len; i++)
        lines += text->data[i] == '\n';
    return lines;
}

/* Runs the file, and pushes the table that it returned. */
static void run_file(lua_State *L, const struct script_text *t)
{
    sandbox_stdlib_open(L, t->path);
    lua_values_open(L);
    lua_etl_open(L);
    sandbox_compile(L, t->text.data ? t->text.data : "", t->text.len);
    lua_call(L, 0, 1);
    if (lua_type(L, -1) != LUA_TTABLE) {
        const char *what = lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1);
        lua_pushfstring(L,
                        "%s:%d: script returned %s%s, expected a table: return { name = ..., "
                        "source = ..., ... }",
                        t->path, last_line(&t->text), lua_isnil(L, -1) ? "" : "a ", what);
        lua_error(L);
    }
}

/* Whether the table on top of the stack is a list of pipelines. */
static bool is_list(lua_State *L)
{
    bool list = lua_rawgeti(L, -1, 1) == LUA_TTABLE;
    lua_pop(L, 1);
    return list;
}

/* Replaces the list on top of the stack by the pipeline that is meant. */
static void choose_entry(lua_State *L, const struct script_text *t)
{
    if (t->entry == 0 && is_list(L)) {
        lua_pushfstring(L,
                        "%s returns several pipelines: name the one that is meant, as in %s#NAME",
                        t->path, t->path);
        lua_error(L);
    }
    if (t->entry == 0)
        return;
    if (lua_rawgeti(L, -1, (lua_Integer)t->entry) != LUA_TTABLE) {
        lua_pushfstring(L, "%s: pipeline %d of the list is a %s, not a table", t->path,
                        (int)t->entry, luaL_typename(L, -1));
        lua_error(L);
    }
    lua_remove(L, -2);
}

/* Everything of script_open that may raise. */
static int open_body(lua_State *L)
{
    struct script *s = lua_touserdata(L, 1);
    run_file(L, s->source);
    choose_entry(L, s->source);
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

static struct script *open_script(const struct script_text *t, bool mute, struct err *e)
{
    struct script *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    s->source = t;
    s->sandbox = sandbox_new(t->path, e);
    if (s->sandbox && mute)
        sandbox_mute(s->sandbox);
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

struct script *script_open(const struct script_text *t, struct err *e)
{
    return open_script(t, false, e);
}

struct script *script_open_again(const struct script_text *t, struct err *e)
{
    return open_script(t, true, e);
}

/* ---- a script that returns several pipelines ---- */

struct listing {
    const struct script_text *text;
    struct keylist *names;
    bool mute; /* in: see sandbox_mute; out: something was not logged */
    bool no_memory;
};

static void add_name(lua_State *L, struct listing *l, lua_Integer i)
{
    const char *file = l->text->path;
    if (lua_rawgeti(L, -1, i) != LUA_TTABLE)
        luaL_error(L, "%s: pipeline %d of the list is a %s, not a table", file, (int)i,
                   luaL_typename(L, -1));
    lua_pushliteral(L, "name");
    if (lua_rawget(L, -2) != LUA_TSTRING)
        luaL_error(L, "%s: pipeline %d of the list has no name", file, (int)i);
    const char *name = lua_tostring(L, -1);
    for (size_t k = 0; k < l->names->n; k++)
        if (strcmp(l->names->keys[k], name) == 0)
            luaL_error(L, "%s: two pipelines of the list have the name '%s'", file, name);
    l->no_memory |= !keylist_add(l->names, name);
    lua_pop(L, 2);
}

static int list_body(lua_State *L)
{
    struct listing *l = lua_touserdata(L, 1);
    run_file(L, l->text);
    if (!is_list(L))
        return 0;
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, -1); i <= n; i++)
        add_name(L, l, i);
    return 0;
}

static bool list(struct listing *l, struct err *e)
{
    struct sandbox *sandbox = sandbox_new(l->text->path, e);
    if (sandbox && l->mute)
        sandbox_mute(sandbox);
    bool ok = sandbox && sandbox_load(sandbox, list_body, l, e);
    l->mute = sandbox_was_mute(sandbox);
    sandbox_free(sandbox);
    return ok && (!l->no_memory || err_memory(e));
}

/* What a script prints before it fails helps to find the mistake. */
bool script_list(const struct script_text *t, struct keylist *names, struct err *e)
{
    struct listing l = {.text = t, .names = names, .mute = true};
    if (list(&l, e))
        return true;
    if (!l.mute)
        return false;
    keylist_free(names);
    l = (struct listing){.text = t, .names = names};
    return list(&l, e);
}

bool script_choose(struct script_text *t, struct err *e)
{
    struct keylist names = {0};
    if (!t->name)
        return true;
    bool ok = script_list(t, &names, e);
    for (size_t i = 0; ok && i < names.n; i++)
        if (strcmp(names.keys[i], t->name) == 0)
            t->entry = i + 1;
    if (ok && names.n == 0) {
        ok = err_set(e, ERR_USAGE, "%s does not return a list: leave out '#%s'", t->path, t->name);
    } else if (ok && t->entry == 0) {
        const char *near = suggest(t->name, (const char *const *)names.keys, names.n);
        ok = err_set(e, ERR_USAGE, "%s has no pipeline '%s'%s%s%s", t->path, t->name,
                     near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    keylist_free(&names);
    return ok;
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
