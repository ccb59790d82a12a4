#include "base/err.h"
#include "base/grow.h"
#include "base/json.h"
#include "base/suggest.h"
#include "lua/lua_json.h"
#include "lua/lua_values.h"
#include "lua/row.h"
#include "script/returns.h"
#include "script/script_lines.h"
#include "script/script_text.h"
#include "script/template_internal.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_MAX = 1 << 20,    /* bytes of all names */
    VALUE_MAX = 256 << 20, /* of one array's element */
    PATH = 300,            /* bytes of a field's path */
    NAME = 100,            /* and of one name in it, in messages */
};

struct template *template_new(const struct script_text *source)
{
    struct template *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->source = source;
    buf_init(&t->text, TEXT_MAX);
    buf_init(&t->scratch, VALUE_MAX);
    return t;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    buf_free(&t->text);
    buf_free(&t->scratch);
    free(t->steps);
    free(t);
}

/* ---- steps ---- */

/* Adds a text with its zero byte; its place. */
static size_t add_text(struct template *t, const char *text, size_t len)
{
    size_t place = t->text.len;
    buf_add(&t->text, text, len);
    buf_addc(&t->text, '\0');
    return place;
}

/* False: no memory, or the name is not valid UTF-8. */
static bool add_key(struct template *t, struct template_step *step, const char *name, size_t len)
{
    step->key = t->text.len;
    bool ok = json_add_string(&t->text, name, len) && buf_addc(&t->text, ':');
    step->key_len = t->text.len - step->key;
    return ok;
}

static bool add_step(struct template *t, const struct template_step *step)
{
    struct template_step *steps = grow(t->steps, t->n, &t->cap, 32, sizeof *steps);
    if (!steps)
        return false;
    t->steps = steps;
    t->steps[t->n++] = *step;
    return true;
}

/* ---- reading ---- */

struct reading {
    struct template *t;
    lua_State *L;
    char path[PATH]; /* of the table or field that is being read: "director.name"; "" */
    int depth;
};

/* "document", "document.director" */
static const char *join(const char *path, char out[PATH + 16])
{
    snprintf(out, PATH + 16, "document%s%s", *path && *path != '[' ? "." : "", path);
    return out;
}

/* 0: not known */
static int line_of(const struct template *t, const char *path)
{
    char field[PATH + 16], whole[SCRIPT_TEXT_PATH];
    const struct buf *text = &t->source->text;
    return script_lines_find(text->data ? text->data : "", text->len,
                             script_text_field(t->source, join(path, field), whole));
}

static const char *where(const struct reading *r, char out[PATH + 16])
{
    return join(r->path, out);
}

/* Raises a mistake in the field at r->path, or in the table there. */
_Noreturn __attribute__((format(printf, 3, 4))) static void
mistake(const struct reading *r, const char *hint, const char *format, ...)
{
    char text[sizeof((struct err *)NULL)->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->t->hint = hint;
    int line = line_of(r->t, r->path);
    if (line > 0)
        lua_pushfstring(r->L, "%s:%d: %s", r->t->source->path, line, text);
    else
        lua_pushfstring(r->L, "%s: %s", r->t->source->path, text);
    lua_error(r->L);
    abort(); /* lua_error does not return, but its header does not say so */
}

static bool is_plain(const char *name, size_t len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    return strspn(name, letters) == len && len > 0;
}

/* Goes on to the field of that name; `before`: the path's length, to come back to. */
static size_t enter(struct reading *r, const char *name, size_t len)
{
    size_t before = strlen(r->path);
    bool plain = is_plain(name, len);
    int n = snprintf(r->path + before, sizeof r->path - before, "%s%.*s%s",
                     !plain       ? "[\""
                     : before > 0 ? "."
                                  : "",
                     len > NAME ? NAME : (int)len, name, plain ? "" : "\"]");
    if (n < 0 || (size_t)n >= sizeof r->path - before) {
        r->path[before] = '\0';
        mistake(r, NULL, "the names of fields in document are too long");
    }
    return before;
}

static void out_of_memory(const struct reading *r)
{
    luaL_error(r->L, "%s: the template is too large, or memory is short", r->t->source->path);
}

static void push_step(struct reading *r, struct template_step *step)
{
    step->path = add_text(r->t, r->path, strlen(r->path));
    if (r->t->text.failed || !add_step(r->t, step))
        out_of_memory(r);
}

/* ---- a field ---- */

static void read_column(struct reading *r, struct template_step step)
{
    size_t len;
    const char *name = lua_tolstring(r->L, -1, &len);
    if (len == 0 || strlen(name) != len)
        mistake(r, NULL, "field '%s' in document must be a column's name, %s", r->path,
                len == 0 ? "is an empty text" : "holds a zero byte");
    step.type = STEP_COLUMN;
    step.column_name = add_text(r->t, name, len);
    push_step(r, &step);
}

/* The list of functions, in the registry. */
static void keep_function(struct reading *r, struct template_step step)
{
    struct template *t = r->t;
    if (returns_of(r->L, -1, t->source) == RETURNS_NOTHING)
        mistake(r, "did it forget 'return'?",
                "the function of field '%s' in document returns nothing", r->path);
    step.type = STEP_FUNCTION;
    step.function = ++t->functions;
    lua_rawgetp(r->L, LUA_REGISTRYINDEX, t);
    lua_pushvalue(r->L, -2);
    lua_rawseti(r->L, -2, step.function);
    lua_pop(r->L, 1);
    push_step(r, &step);
}

_Noreturn static void wrong_type(const struct reading *r)
{
    int type = lua_type(r->L, -1);
    bool null = lua_values_is_null(r->L, -1);
    bool constant = type == LUA_TNUMBER || type == LUA_TBOOLEAN || null;
    mistake(r, constant ? "a constant is given by a function: function() return 5 end" : NULL,
            "field '%s' in document must be a column's name, a function of the row or a table of "
            "fields, is %s%s",
            r->path, null ? "" : "a ", null ? "etl.null" : luaL_typename(r->L, -1));
}

static void read_table(struct reading *r, struct template_step begin);

static void read_value(struct reading *r, struct template_step step)
{
    switch (lua_type(r->L, -1)) {
    case LUA_TSTRING:
        read_column(r, step);
        return;
    case LUA_TFUNCTION:
        keep_function(r, step);
        return;
    case LUA_TTABLE:
        read_table(r, step);
        return;
    default:
        wrong_type(r);
    }
}

/* ---- a table ---- */

struct name {
    const char *text; /* the table holds it */
    size_t len;
};

static int compare_names(const void *left, const void *right)
{
    const struct name *a = left, *b = right;
    return lua_json_order(a->text, a->len, b->text, b->len);
}

static size_t count_names(const struct reading *r, int table)
{
    lua_State *L = r->L;
    char place[PATH + 16];
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1), n++) {
        if (lua_type(L, -2) == LUA_TSTRING)
            continue;
        lua_pushvalue(L, -2);
        mistake(r, NULL, "unexpected element [%.60s] in %s: fields have names",
                luaL_tolstring(L, -1, NULL), where(r, place));
    }
    if (n == 0)
        mistake(r, *r->path ? NULL : "without document every column of the query is a field",
                "%s has no fields", where(r, place));
    return n;
}

/* Pushes a block with the names of the table, sorted. */
static struct name *push_names(const struct reading *r, int table, size_t *n)
{
    lua_State *L = r->L;
    *n = count_names(r, table);
    struct name *names = lua_newuserdatauv(L, *n * sizeof *names, 0);
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1), i++)
        names[i].text = lua_tolstring(L, -2, &names[i].len);
    assert(i == *n);
    qsort(names, *n, sizeof *names, compare_names);
    return names;
}

static void read_field(struct reading *r, int table, struct name name)
{
    char place[PATH + 16];
    struct template_step step = {0};
    if (name.len == 0)
        mistake(r, NULL, "a field in %s has an empty name", where(r, place));
    if (!add_key(r->t, &step, name.text, name.len)) {
        if (r->t->text.failed)
            out_of_memory(r);
        mistake(r, NULL, "the name of a field in %s is not valid UTF-8", where(r, place));
    }
    size_t before = enter(r, name.text, name.len);
    lua_pushlstring(r->L, name.text, name.len);
    lua_rawget(r->L, table);
    read_value(r, step);
    lua_pop(r->L, 1);
    r->path[before] = '\0';
}

/* The table is on top of the stack. */
static void read_table(struct reading *r, struct template_step begin)
{
    int table = lua_gettop(r->L);
    if (++r->depth > TEMPLATE_DEPTH)
        mistake(r, NULL, "tables in document are nested deeper than %d", TEMPLATE_DEPTH);
    luaL_checkstack(r->L, 20, NULL);
    begin.type = STEP_BEGIN;
    push_step(r, &begin);
    size_t n;
    const struct name *names = push_names(r, table, &n);
    for (size_t i = 0; i < n; i++)
        read_field(r, table, names[i]);
    push_step(r, &(struct template_step){.type = STEP_END});
    lua_settop(r->L, table);
    r->depth--;
}

void template_read(struct template *t, lua_State *L, int index)
{
    struct reading r = {.t = t, .L = L};
    lua_pushvalue(L, index);
    t->all = lua_isnil(L, -1);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
    if (!t->all)
        read_table(&r, (struct template_step){0});
    lua_pop(L, 1);
}

const char *template_hint(const struct template *t)
{
    return t->hint;
}

void template_describe(const struct template *t, struct buf *out)
{
    for (const struct template_step *s = t->steps, *end = s + (t->all ? 0 : t->n); s < end; s++) {
        buf_add(out, t->text.data + s->key, s->key_len);
        buf_adds(out, s->type == STEP_BEGIN    ? "{"
                      : s->type == STEP_END    ? "}"
                      : s->type == STEP_COLUMN ? template_text(t, s->column_name)
                                               : "()");
        buf_addc(out, '\n');
    }
}

void template_push_functions(const struct template *t, lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, t);
}

/* ---- binding ---- */

/* Puts "FILE:LINE: " in front. Always false. */
static bool blame_line(const struct template *t, const struct template_step *step, struct err *e)
{
    int line = t->all ? 0 : line_of(t, template_text(t, step->path));
    return line > 0 ? err_wrap(e, "%s:%d", t->source->path, line)
                    : err_wrap(e, "%s", t->source->path);
}

const char *template_blame(const struct template *t, struct err *e)
{
    if (!t->at)
        return NULL;
    if (t->running)
        return template_text(t, t->at->path);
    blame_line(t, t->at, e);
    return NULL;
}

static bool unknown_column(const struct template *t, const struct template_step *step,
                           const struct pg_columns *columns, struct err *e)
{
    const char *name = template_text(t, step->column_name), *path = template_text(t, step->path);
    const char **names = calloc(columns->n + 1, sizeof *names);
    if (!names)
        return err_memory(e);
    for (size_t i = 0; i < columns->n; i++)
        names[i] = columns->list[i].name;
    const char *near = suggest(name, names, columns->n);
    err_set(e, ERR_USAGE, "field '%s' in document: " ROW_NO_COLUMN " '%s'%s%s%s", path, name,
            near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    free(names);
    return blame_line(t, step, e);
}

static int compare_columns(const void *left, const void *right)
{
    const char *const *a = left, *const *b = right;
    return lua_json_order(*a, strlen(*a), *b, strlen(*b));
}

/* A step for each column, by name. */
static bool add_columns(struct template *t, const struct pg_columns *columns)
{
    const char **names = calloc(columns->n + 1, sizeof *names);
    bool ok = names && add_step(t, &(struct template_step){.type = STEP_BEGIN});
    for (size_t i = 0; names && i < columns->n; i++)
        names[i] = columns->list[i].name;
    if (names)
        qsort(names, columns->n, sizeof *names, compare_columns);
    for (size_t i = 0; ok && i < columns->n; i++) {
        struct template_step step = {.type = STEP_COLUMN};
        size_t len = strlen(names[i]);
        ok = add_key(t, &step, names[i], len);
        step.path = step.column_name = add_text(t, names[i], len);
        ok = ok && add_step(t, &step);
    }
    free(names);
    return ok && add_step(t, &(struct template_step){.type = STEP_END}) && !t->text.failed;
}

bool template_bind(struct template *t, const struct pg_columns *columns, struct err *e)
{
    t->columns = NULL;
    t->bytes = false;
    if (t->all) {
        t->n = 0;
        buf_clear(&t->text);
        if (!add_columns(t, columns))
            return err_memory(e);
    }
    for (size_t i = 0; i < t->n; i++) {
        struct template_step *step = &t->steps[i];
        if (step->type != STEP_COLUMN)
            continue;
        step->column = pg_column(columns, template_text(t, step->column_name));
        if (step->column < 0)
            return unknown_column(t, step, columns, e);
        t->bytes |= columns->list[step->column].kind == PG_BYTEA;
    }
    t->columns = columns;
    return true;
}
