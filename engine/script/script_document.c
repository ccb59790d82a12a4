#include "base/err.h"
#include "base/suggest.h"
#include "lua/lua_json.h"
#include "lua/lua_values.h"
#include "lua/row.h"
#include "script/script_internal.h"

#include <assert.h>
#include <lauxlib.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { SUFFIX = 300 }; /* bytes of an error's text that may go to key and columns */

struct document {
    struct script *script;
    const struct script_row *row;
    struct buf *out;
    size_t old_len; /* of out */
    struct script_made *made;
    bool called; /* document() has returned: what is wrong now is wrong with what it returned */
};

/* On the stack of document_body: where the two values lie that document() returned. */
enum { RESULT = 3, META };

static void check_document(lua_State *L, const struct document *d)
{
    if (d->out->failed)
        return;
    const char *text = d->out->data + d->old_len;
    size_t len = d->out->len - d->old_len, space = 0;
    while (space < len && strchr(" \t\r\n", text[space])) /* a json column may begin with it */
        space++;
    if (len - space < 2 || text[space] == '{')
        return;
    if (lua_type(L, RESULT) != LUA_TTABLE || lua_rawlen(L, RESULT) > 0)
        luaL_error(L, "document() returned a list, expected a table of fields");
    memcpy(d->out->data + d->old_len, "{}", 2); /* an empty table is encoded as a list */
}

static const struct meta_field {
    const char *name;
    size_t offset, size;
} meta_fields[] = {
#define FIELD(name)                                                                                \
    {                                                                                              \
#name, offsetof(struct script_made, name), sizeof((struct script_made *)NULL)->name        \
    }
    FIELD(index),
    FIELD(routing),
    FIELD(pipeline),
#undef FIELD
};
enum { META_FIELDS = sizeof meta_fields / sizeof *meta_fields };

static const struct meta_field *find_meta_field(const char *name)
{
    for (size_t i = 0; i < META_FIELDS; i++)
        if (strcmp(meta_fields[i].name, name) == 0)
            return &meta_fields[i];
    return NULL;
}

static int unknown_meta(lua_State *L, const char *name)
{
    const char *names[META_FIELDS];
    for (size_t i = 0; i < META_FIELDS; i++)
        names[i] = meta_fields[i].name;
    const char *near = suggest(name, names, META_FIELDS);
    return luaL_error(L, "document() returned metadata with an unknown field '%s'%s%s%s", name,
                      near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* The value is on top of the stack. A routing may be a whole number, as keys are. */
static void take_meta(lua_State *L, const struct meta_field *f, char *out)
{
    bool number = lua_isinteger(L, -1) && strcmp(f->name, "routing") == 0;
    if (lua_type(L, -1) != LUA_TSTRING && !number)
        luaL_error(L, "document() returned metadata whose %s is a %s, expected a string", f->name,
                   luaL_typename(L, -1));
    size_t len;
    const char *text = luaL_tolstring(L, -1, &len);
    if (len == 0 || len >= f->size || strlen(text) != len)
        luaL_error(L, "document() returned metadata whose %s %s", f->name,
                   len == 0         ? "is empty"
                   : len >= f->size ? "is too long"
                                    : "holds a zero byte");
    memcpy(out + f->offset, text, len + 1);
    lua_pop(L, 1);
}

/* The second value that document() returned. */
static void read_meta(lua_State *L, struct script_made *meta)
{
    if (lua_type(L, META) != LUA_TTABLE)
        luaL_error(
            L, "document() returned a %s as its second value, expected a table: { routing = ... }",
            luaL_typename(L, META));
    for (lua_pushnil(L); lua_next(L, META); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "document() returned a list as metadata, expected { routing = ... }");
        const struct meta_field *f = find_meta_field(lua_tostring(L, -2));
        if (!f)
            unknown_meta(L, lua_tostring(L, -2));
        take_meta(L, f, (char *)meta);
    }
}

static const char names_key; /* of the registry: the names of the columns that rows have */

/* Pushes them; all rows have the same columns. */
static void push_names(lua_State *L, struct script *s, const struct pg_columns *columns)
{
    if (s->named != columns) {
        row_push_names(L, columns);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &names_key);
        s->named = columns;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key);
}

static int document_body(lua_State *L)
{
    struct document *d = lua_touserdata(L, 1);
    const struct script_row *row = d->row;
    push_names(L, d->script, row->columns);
    script_push_document(d->script);
    row_push(L, row->columns, 2, row->res, row->n);
    assert(lua_gettop(L) == META);
    lua_call(L, 1, LUA_MULTRET);
    d->called = true;
    d->made->nothing = lua_gettop(L) < RESULT;
    lua_settop(L, META);
    if (!lua_isnil(L, META))
        read_meta(L, d->made);
    int type = lua_type(L, RESULT);
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TTABLE && !luaL_testudata(L, RESULT, "etl.json"))
        return luaL_error(L, "document() returned %s%s, expected a table or nil",
                          lua_values_is_null(L, RESULT) ? "" : "a ",
                          lua_values_is_null(L, RESULT) ? "etl.null" : luaL_typename(L, RESULT));
    lua_json_encode(L, RESULT, d->out);
    check_document(L, d);
    d->made->present = true;
    return 0;
}

/* "FILE:LINE: " of the function's first line in front of what it returned wrongly. */
static void add_position(struct script *s, struct err *e)
{
    lua_Debug ar;
    script_push_document(s);
    lua_getinfo(sandbox_state(s->sandbox), ">S", &ar);
    if (ar.linedefined > 0)
        err_wrap(e, "%s:%d", sandbox_path(s->sandbox, &ar), ar.linedefined);
    else /* written in C */
        err_wrap(e, "%s", s->source->path);
}

bool script_never_returns(const struct script *s)
{
    return s->returns == RETURNS_NOTHING;
}

bool script_always_returns(const struct script *s)
{
    return s->returns == RETURNS_AT_END;
}

bool script_returned_nothing(struct script *s, struct err *e)
{
    err_set(e, ERR_USAGE, "document() returned nothing");
    add_position(s, e);
    return err_hint(e, "did it forget 'return'? to have no document, return nil");
}

/* Cuts text to len bytes, without leaving a part of a UTF-8 character. */
static void cut(char *text, size_t len)
{
    if (strlen(text) <= len)
        return;
    while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
        len--;
    text[len] = '\0';
}

/* " (field 'year'; key '123'; columns id, title, rating)". field: NULL: none */
static void add_row(struct err *e, const char *field, const struct script_row *row)
{
    char suffix[SUFFIX], shown[81];
    const struct pg_columns *columns = row->columns;
    snprintf(shown, sizeof shown, "%s", row->key);
    cut(shown, sizeof shown - 2);
    int n = snprintf(suffix, sizeof suffix, " (%s%.60s%skey '%s%s'; columns",
                     field ? "field '" : "", field ? field : "", field ? "'; " : "", shown,
                     strlen(row->key) >= sizeof shown - 1 ? "..." : "");
    size_t len = (size_t)n;
    for (size_t i = 0; columns && i < columns->n; i++) {
        const char *name = columns->list[i].name;
        /* ", ", ", ...", ")" and the zero byte */
        bool fits = strlen(name) < sizeof suffix - len - 8;
        len += (size_t)snprintf(suffix + len, sizeof suffix - len, "%s %s", i ? "," : "",
                                fits ? name : "...");
        if (!fits)
            break;
    }
    snprintf(suffix + len, sizeof suffix - len, ")");

    char text[sizeof e->text];
    snprintf(text, sizeof text, "%s", e->text);
    cut(text, sizeof text - 1 - strlen(suffix));
    struct err before = *e;
    err_set(e, e->kind, "%s%s", text, suffix);
    e->retry_after_ms = before.retry_after_ms;
}

/* ---- templates ---- */

static int template_body(lua_State *L)
{
    struct document *d = lua_touserdata(L, 1);
    push_names(L, d->script, d->row->columns);
    template_call(d->script->template, L, d->row->res, d->row->n, d->out);
    return 0;
}

/* *field: whose function raised. */
static bool make_by_template(struct document *d, const char **field, struct err *e)
{
    struct script *s = d->script;
    if (!script_check(s, s->bound == d->row->columns ? NULL : d->row->columns, e))
        return false;
    s->bound = d->row->columns;
    d->made->present = true;
    if (template_add(s->template, d->row->res, d->row->n, d->out))
        return true;
    buf_cut(d->out, d->old_len);
    if (sandbox_call(s->sandbox, template_body, d, e))
        return true;
    *field = sandbox_is_over(sandbox_state(s->sandbox)) ? NULL : template_blame(s->template, e);
    return false;
}

/* ---- any ---- */

bool script_document(struct script *s, const struct script_row *row, struct buf *out,
                     struct script_made *made, struct err *e)
{
    const char *field = NULL;
    struct document d = {.script = s, .row = row, .out = out, .old_len = out->len, .made = made};
    made->index[0] = made->routing[0] = made->pipeline[0] = '\0';
    made->nothing = made->present = false;
    bool ok = s->template ? make_by_template(&d, &field, e)
                          : sandbox_call(s->sandbox, document_body, &d, e);
    s->returned |= ok;
    if (ok && !out->failed)
        return true;

    if (ok)
        err_set(e, ERR_FINAL,
                "the document does not fit a request of %zu bytes, or memory is short", out->max);
    buf_cut(out, d.old_len);
    made->present = false;
    bool misspelt = !s->returned && strstr(e->text, ROW_NO_COLUMN); /* the next row is no better */
    if (e->kind == ERR_USAGE && !misspelt)
        e->kind = ERR_FINAL;
    if (d.called && !sandbox_is_over(sandbox_state(s->sandbox)))
        add_position(s, e);
    add_row(e, field, row);
    return false;
}
