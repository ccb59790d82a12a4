#include "base/suggest.h"
#include "script/pipeline_internal.h"
#include "script/script_lines.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A name too long for any field of ours gives the path of the table itself. */
const char *pipeline_join(const struct pipeline_reading *r, const char *name,
                          char out[PIPELINE_PATH])
{
    int n = snprintf(out, PIPELINE_PATH, "%s%s%s", r->path, *r->path && *name ? "." : "", name);
    if (n < 0 || n >= PIPELINE_PATH)
        memcpy(out, r->path, PIPELINE_PATH);
    return out;
}

int pipeline_line_of(const struct pipeline_reading *r, const char *name)
{
    char path[PIPELINE_PATH], whole[SCRIPT_TEXT_PATH];
    return script_lines_find(r->text->text.data, r->text->text.len,
                             script_text_field(r->text, pipeline_join(r, name, path), whole));
}

/* Raises "FILE:LINE: MESSAGE"; line 0: without. */
static void raise_at(lua_State *L, const struct pipeline_reading *r, int line, const char *format,
                     va_list args)
{
    char text[sizeof((struct err *)NULL)->text];
    vsnprintf(text, sizeof text, format, args);
    if (line > 0)
        lua_pushfstring(L, "%s:%d: %s", r->text->path, line, text);
    else
        lua_pushfstring(L, "%s: %s", r->text->path, text);
    lua_error(L);
}

void pipeline_mistake_at(lua_State *L, const struct pipeline_reading *r, int line,
                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    raise_at(L, r, line, format, args);
    va_end(args);
}

/* The same, with the line of the field `name` of the table being read. */
void pipeline_mistake(lua_State *L, const struct pipeline_reading *r, const char *name,
                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    raise_at(L, r, pipeline_line_of(r, name), format, args);
    va_end(args);
}

/* " in source"; nothing at the top level. Borrowed: a Lua string on the stack. */
const char *pipeline_within(lua_State *L, const struct pipeline_reading *r)
{
    return lua_pushfstring(L, *r->path ? " in %s" : "%s", r->path);
}

static const char *article(const char *type)
{
    return strchr("aeiou", *type) ? "an" : "a";
}

void pipeline_wrong_type(lua_State *L, const struct pipeline_reading *r, const char *name,
                         const char *wanted)
{
    const char *is = luaL_typename(L, -1);
    const char *in = pipeline_within(L, r);
    pipeline_mistake(L, r, name, "field '%s'%s must be %s, is %s%s%s", name, in, wanted,
                     lua_isnil(L, -2) ? "" : article(is), lua_isnil(L, -2) ? "" : " ", is);
}

/* ---- unknown fields ---- */

/* Where the field that is not known here belongs: "source.lookback". NULL: nowhere. */
static const char *elsewhere(lua_State *L, const char *name)
{
    for (size_t i = 0; i < PIPELINE_FIELDS; i++)
        if (strcmp(pipeline_fields[i].name, name) == 0 &&
            strcmp(pipeline_fields[i].group, "related") != 0)
            return *pipeline_fields[i].group
                       ? lua_pushfstring(L, "did you mean '%s.%s'?", pipeline_fields[i].group, name)
                       : "it belongs next to 'source'";
    return NULL;
}

static void unknown_field(lua_State *L, const struct pipeline_reading *r, const char *group,
                          const char *name)
{
    const char *names[PIPELINE_FIELDS];
    size_t n = 0;
    for (size_t i = 0; i < PIPELINE_FIELDS; i++)
        if (strcmp(pipeline_fields[i].group, group) == 0)
            names[n++] = pipeline_fields[i].name;
    const char *near = suggest(name, names, n), *in = pipeline_within(L, r);
    if (near)
        pipeline_mistake(L, r, name, "unknown field '%.60s'%s, did you mean '%s'?", name, in, near);
    const char *place = elsewhere(L, name);
    if (place)
        pipeline_mistake(L, r, name, "unknown field '%.60s'%s, %s", name, in, place);
    pipeline_mistake(L, r, name, "unknown field '%.60s'%s", name, in);
}

static bool is_known(const char *group, const char *name)
{
    for (size_t i = 0; i < PIPELINE_FIELDS; i++)
        if (strcmp(pipeline_fields[i].group, group) == 0 &&
            strcmp(pipeline_fields[i].name, name) == 0)
            return true;
    return false;
}

/* Of several unknown fields the first by name is reported: the order of lua_next changes from run
 * to run. */
void pipeline_check_names(lua_State *L, const struct pipeline_reading *r, const char *group)
{
    int table = lua_gettop(L);
    lua_pushnil(L); /* the first unknown name so far */
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pushvalue(L, -2);
            char element[PIPELINE_PATH];
            snprintf(element, sizeof element, "[%.60s]", luaL_tolstring(L, -1, NULL));
            const char *in = pipeline_within(L, r);
            pipeline_mistake(L, r, element, "unexpected element %s%s: fields have names", element,
                             in);
        }
        const char *name = lua_tostring(L, -2), *first = lua_tostring(L, table + 1);
        if (!is_known(group, name) && (!first || strcmp(name, first) < 0)) {
            lua_pushvalue(L, -2);
            lua_replace(L, table + 1);
        }
    }
    if (!lua_isnil(L, -1))
        unknown_field(L, r, group, lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* ---- missing fields ---- */

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Behind `what`, if the text goes on with it and a blank, a bracket or a quote; else NULL. */
static const char *skip_word(const char *text, const char *what)
{
    size_t len = strlen(what);
    return strncmp(text, what, len) == 0 && !is_name(text[len]) ? text + len : NULL;
}

/* The variable's name in `= os.getenv "NAME"` or `= etl.secret("NAME")`; false: it says something
 * else. */
static bool read_variable(const char *text, char *out, size_t size)
{
    const char *p = text + strspn(text, " \t");
    if (*p != '=')
        return false;
    p += 1 + strspn(p + 1, " \t");
    const char *call = skip_word(p, "os.getenv");
    call = call ? call : skip_word(p, "etl.secret");
    if (!call)
        return false;
    call += strspn(call, " \t(");
    size_t len = *call == '"' || *call == '\'' ? strcspn(call + 1, "\"'\n") : 0;
    if (len == 0 || len >= size)
        return false;
    snprintf(out, size, "%.*s", (int)len, call + 1);
    return true;
}

/* The environment variable that the script reads a field from, as far as its line shows. */
static bool find_variable(const struct script_text *script, int line, const char *name, char *out,
                          size_t size)
{
    const char *text = script->text.data, *end = text + script->text.len;
    for (int i = 1; text && i < line; i++) {
        text = memchr(text, '\n', (size_t)(end - text));
        text = text ? text + 1 : NULL;
    }
    const char *stop = text ? memchr(text, '\n', (size_t)(end - text)) : NULL;
    char *copy = text && line > 0 ? strndup(text, (size_t)((stop ? stop : end) - text)) : NULL;
    bool found = false;
    for (const char *p = copy; p && !found && (p = strstr(p, name)); p += strlen(name))
        found = (p == copy || !is_name(p[-1])) && read_variable(p + strlen(name), out, size);
    free(copy);
    return found;
}

/* A variable that is set, and that the misspelt one was meant to be. False: none is. */
static bool near_variable(const char *name, char *out, size_t size)
{
    enum { MOST = 500 };
    char *names[MOST] = {0};
    size_t n = 0;
    for (char **v = environ; v && *v && n < MOST; v++) {
        names[n] = strndup(*v, strcspn(*v, "="));
        n += names[n] != NULL;
    }
    const char *near = suggest(name, (const char *const *)names, n);
    snprintf(out, size, "%s", near ? near : "");
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    return *out;
}

/* The remedy for a field that is nil. */
static void hint_at_missing(struct pipeline_reading *r, const struct pipeline_field *f)
{
    char name[100], near[100];
    if (find_variable(r->text, pipeline_line_of(r, f->name), f->name, name, sizeof name) &&
        !getenv(name)) {
        bool is_near = near_variable(name, near, sizeof near);
        snprintf(r->hint, sizeof r->hint, "the environment variable %s is not set%s%s%s", name,
                 is_near ? ", did you mean " : "", is_near ? near : "", is_near ? "?" : "");
    } else if (strcmp(f->name, "url") == 0 || strcmp(f->name, "state") == 0) {
        snprintf(r->hint, sizeof r->hint,
                 "it has no default, and an os.getenv whose variable is not set gives nil");
    }
}

void pipeline_missing(lua_State *L, struct pipeline_reading *r, const struct pipeline_field *f)
{
    const char *in = pipeline_within(L, r), *file = r->text->path;
    int line = pipeline_line_of(r, f->name);
    hint_at_missing(r, f);
    if (f->need == PIPELINE_REQUIRED || !r->lacking || (f->need == PIPELINE_TO_READ && !r->offline))
        pipeline_mistake_at(L, r, line, "missing field '%s'%s", f->name, in);
    if (r->lacking->kind != ERR_NONE)
        return;
    err_set(r->lacking, ERR_USAGE, "missing field '%s'%s", f->name, in);
    err_hint(r->lacking, "%s", r->hint);
    line > 0 ? err_wrap(r->lacking, "%s:%d", file, line) : err_wrap(r->lacking, "%s", file);
}

char *pipeline_describe_field(const struct script_text *script, const char *path, bool always)
{
    char whole[SCRIPT_TEXT_PATH], name[100], variable[120] = "", *text;
    int line = script_lines_find(script->text.data, script->text.len,
                                 script_text_field(script, path, whole));
    bool found = find_variable(script, line, strrchr(path, '.') + 1, name, sizeof name);
    if (found)
        snprintf(variable, sizeof variable, ", variable %s", name);
    if (!found && !always)
        return strdup(path);
    if (line == 0)
        return asprintf(&text, "%s (%s)", path, script->path) < 0 ? NULL : text;
    return asprintf(&text, "%s (%s:%d%s)", path, script->path, line, variable) < 0 ? NULL : text;
}

const char *pipeline_variable(const struct script_text *script, int line, char *out, size_t size)
{
    return find_variable(script, line, "url", out, size) ? out : NULL;
}
