#include "script/script_example.h"
#include "script/query_columns.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/grow.h"
#include "base/suggest.h"
#include "lua/lua_json.h"
#include "lua/row.h"
#include "script/pipeline.h"
#include "script/script_example_internal.h"
#include "script/script_internal.h"
#include "script/script_lines.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EXAMPLES_MAX = 10000, /* nobody writes that many */
    DOCUMENT_MAX = 64 << 20,
    PATH = 100, /* bytes of "examples[12345].document" */
    TEXT_OID = 25,
};

void script_example_free(struct script_example *x)
{
    for (size_t i = 0; i < x->n; i++) {
        free(x->cells[i].column.name);
        free(x->cells[i].column.type);
        free(x->cells[i].text);
    }
    free(x->cells);
    free(x->key);
    free(x->document);
    *x = (struct script_example){0};
}

void script_examples_free(struct script_examples *x)
{
    for (size_t i = 0; i < x->n; i++)
        script_example_free(&x->list[i]);
    free(x->list);
    *x = (struct script_examples){0};
}

/* ---- a row ---- */

/* A cell whose column has that name and is NULL. NULL: no memory. */
static struct script_example_cell *add_cell(struct script_example *x, const char *name)
{
    struct script_example_cell *cells = grow(x->cells, x->n, &x->cap, 16, sizeof *cells);
    if (!cells)
        return NULL;
    x->cells = cells;
    struct script_example_cell *cell = &cells[x->n];
    *cell = (struct script_example_cell){
        .column = {
            .name = strdup(name), .type = strdup("text"), .oid = TEXT_OID, .delimiter = ','}};
    x->n++;
    return cell->column.name && cell->column.type ? cell : NULL;
}

static int compare_cells(const void *left, const void *right)
{
    const struct script_example_cell *a = left, *b = right;
    return strcmp(a->column.name, b->column.name);
}

/* Reads the row at index. path: "row", for messages. */
static void read_row(lua_State *L, int index, struct script_example *x, const char *path)
{
    luaL_checkstack(L, 10, NULL);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        char cell_path[PATH + 80];
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s must be a table with the columns' names, is a list", path);
        const char *name = lua_tostring(L, -2);
        struct script_example_cell *cell = add_cell(x, name);
        if (!cell)
            luaL_error(L, "out of memory");
        snprintf(cell_path, sizeof cell_path, "%s.%.60s", path, name);
        script_example_set(L, lua_gettop(L), cell, cell_path);
    }
    if (x->n > 0)
        qsort(x->cells, x->n, sizeof *x->cells, compare_cells);
}

static const struct script_example_cell *find_cell(const struct script_example *x, const char *name)
{
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->cells[i].column.name, name) == 0)
            return &x->cells[i];
    return NULL;
}

/* The key, or as much of it as the row has. */
static bool set_key(struct script_example *x, const struct pipeline_names *names, struct err *e)
{
    struct buf key;
    buf_init(&key, 1 << 16);
    for (size_t i = 0; i < names->n; i++) {
        const struct script_example_cell *cell = find_cell(x, names->list[i]);
        buf_addf(&key, "%s%s", i ? ":" : "", cell && cell->text ? cell->text : "");
    }
    x->key = buf_cstr(&key) ? key.data : NULL;
    if (x->key)
        return true;
    buf_free(&key);
    return err_memory(e);
}

/* ---- the script's examples ---- */

struct reading { /* outside of Lua: what it holds survives a raise */
    struct script *script;
    const struct script_text *text;
    struct script_examples *out;
    size_t at;         /* the example that is being read */
    struct buf json;   /* its document */
    const char *field; /* of it; NULL: the example itself */
};

static int line_of(const struct reading *r, const char *field)
{
    char path[PATH], whole[SCRIPT_TEXT_PATH];
    snprintf(path, sizeof path, "examples[%zu]%s%s", r->at + 1, field ? "." : "",
             field ? field : "");
    return script_lines_find(r->text->text.data, r->text->text.len,
                             script_text_field(r->text, path, whole));
}

static void check_fields(lua_State *L, int index)
{
    static const char *const known[] = {"row", "document"};
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "expected { row = { ... }, document = { ... } }");
        const char *name = lua_tostring(L, -2);
        if (strcmp(name, known[0]) == 0 || strcmp(name, known[1]) == 0)
            continue;
        const char *near = suggest(name, known, 2);
        luaL_error(L, "unknown field '%s'%s%s%s", name, near ? ", did you mean '" : "",
                   near ? near : "", near ? "'?" : "");
    }
}

static void read_document(lua_State *L, struct reading *r, struct script_example *x)
{
    if (lua_isnil(L, -1))
        return;
    if (!lua_istable(L, -1) && !luaL_testudata(L, -1, "etl.json"))
        luaL_error(L, "document must be a table, or nil for none, is a %s", luaL_typename(L, -1));
    buf_clear(&r->json);
    lua_json_encode_field(L, lua_gettop(L), &r->json, "document");
    const char *text = buf_cstr(&r->json);
    bool empty = text && strcmp(text, "[]") == 0; /* as script_document has it */
    x->document = text ? strdup(empty ? "{}" : text) : NULL;
    if (!x->document)
        luaL_error(L, "document is too large, or memory is short");
}

static void read_example(lua_State *L, struct reading *r, struct script_example *x)
{
    int index = lua_gettop(L);
    if (!lua_istable(L, index))
        luaL_error(L, "expected { row = { ... }, document = { ... } }");
    check_fields(L, index);
    r->field = "row";
    if (lua_getfield(L, index, "row") != LUA_TTABLE)
        luaL_error(L, "row must be a table: column = value");
    read_row(L, lua_gettop(L), x, "row");
    r->field = "document";
    lua_getfield(L, index, "document");
    read_document(L, r, x);
    lua_settop(L, index);
    r->field = NULL;
}

static int read_body(lua_State *L)
{
    struct reading *r = lua_touserdata(L, 1);
    script_push_table(r->script);
    if (lua_getfield(L, -1, "examples") != LUA_TTABLE)
        return 0;
    size_t n = lua_rawlen(L, -1);
    if (n > EXAMPLES_MAX)
        luaL_error(L, "more than %d examples", (int)EXAMPLES_MAX);
    r->out->list = calloc(n ? n : 1, sizeof *r->out->list);
    if (!r->out->list)
        luaL_error(L, "out of memory");
    for (r->out->n = n; r->at < n; r->at++) {
        struct script_example *x = &r->out->list[r->at];
        lua_rawgeti(L, -1, (lua_Integer)r->at + 1);
        x->line = line_of(r, NULL);
        x->field_line = line_of(r, "document");
        read_example(L, r, x);
        lua_pop(L, 1);
    }
    return 0;
}

/* "FILE:LINE: example 2: " in front. Always false. */
static bool blame(const struct reading *r, const struct pipeline *p, struct err *e)
{
    int line = line_of(r, r->field);
    char text[sizeof e->text];
    snprintf(text, sizeof text, "%s", e->text);
    const char *at = strncmp(text, p->script, strlen(p->script)) == 0 ? strstr(text, ": ") : NULL;
    err_set(e, ERR_USAGE, "example %zu: %s", r->at + 1, at ? at + 2 : text);
    return pipeline_at_line(e, p, line);
}

/* A column that the query certainly has not: misspelt in the example, or no more in the query. */
static bool check_columns(struct reading *r, const struct pipeline *p, struct err *e)
{
    for (r->at = 0; r->at < r->out->n; r->at++) {
        const struct script_example *x = &r->out->list[r->at];
        for (size_t i = 0; i < x->n; i++) {
            const char *name = x->cells[i].column.name;
            if (query_may_have_column(p->source.query, name))
                continue;
            r->field = "row";
            err_set(e, ERR_USAGE, ROW_NO_COLUMN " '%.60s'", name);
            return blame(r, p, e);
        }
    }
    return true;
}

bool script_examples_read(struct script_examples *out, struct script *s, const struct pipeline *p,
                          struct err *e)
{
    struct reading r = {.script = s, .text = script_source(s), .out = out};
    *out = (struct script_examples){0};
    buf_init(&r.json, DOCUMENT_MAX);
    bool ok = script_call(s, read_body, &r, e) || blame(&r, p, e);
    buf_free(&r.json);
    ok = ok && check_columns(&r, p, e);
    for (size_t i = 0; ok && i < out->n; i++) {
        out->list[i].query = p->source.query;
        ok = set_key(&out->list[i], &p->source.key, e);
    }
    if (!ok)
        script_examples_free(out);
    return ok;
}

/* ---- JSON ---- */

struct json_row {
    const struct buf *json;
    struct script_example *out;
};

static int json_body(lua_State *L)
{
    const struct json_row *r = lua_touserdata(L, 1);
    const char *text = r->json->data ? r->json->data : "";
    size_t space = 0;
    lua_json_decode(L, text, r->json->len);
    while (space < r->json->len && strchr(" \t\r\n", text[space]))
        space++;
    if (text[space] != '{')
        luaL_error(L, "expected a JSON object: column and value");
    read_row(L, lua_gettop(L), r->out, "row");
    return 0;
}

bool script_example_read_json(struct script_example *out, struct script *s,
                              const struct pipeline *p, const struct buf *json, struct err *e)
{
    struct json_row r = {json, out};
    *out = (struct script_example){.query = p->source.query};
    if (script_call(s, json_body, &r, e) && set_key(out, &p->source.key, e))
        return true;
    script_example_free(out);
    return false;
}

/* ---- the document ---- */

/* The example as a row that a server sent. list: owned by the caller, of x->n elements. NULL: no
 * memory. */
static PGresult *make_result(const struct script_example *x, struct pg_column *list)
{
    PGresAttDesc *attributes = calloc(x->n + 1, sizeof *attributes);
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    bool ok = attributes && res;
    for (size_t i = 0; ok && i < x->n; i++) {
        list[i] = x->cells[i].column;
        attributes[i] = (PGresAttDesc){.name = list[i].name, .typid = list[i].oid, .typlen = -1};
    }
    ok = ok && PQsetResultAttrs(res, (int)x->n, attributes);
    for (size_t i = 0; ok && i < x->n; i++) {
        const struct script_example_cell *cell = &x->cells[i];
        ok = PQsetvalue(res, 0, (int)i, cell->text, cell->text ? (int)cell->len : -1);
    }
    free(attributes);
    if (ok)
        return res;
    PQclear(res);
    return NULL;
}

static bool make_once(struct script *s, struct script_example *x, struct buf *out,
                      struct script_made *made, struct err *e)
{
    struct pg_column *list = calloc(x->n + 1, sizeof *list);
    PGresult *res = list ? make_result(x, list) : NULL;
    struct pg_columns columns = {list, x->n, 0};
    bool ok = res || err_memory(e);
    s->bound = s->named = NULL; /* these columns lie where others did */
    ok = ok && script_document(s, &(struct script_row){&columns, res, 0, x->key}, out, made, e);
    s->bound = s->named = NULL;
    PQclear(res);
    free(list);
    return ok;
}

/* The column that the document lacks, if the query may have it. */
static bool find_lacking(const struct script_example *x, const struct err *e, char *out,
                         size_t size)
{
    static const char BEGIN[] = ROW_NO_COLUMN " '";
    const char *at = strstr(e->text, BEGIN);
    if (!at)
        return false;
    at += sizeof BEGIN - 1;
    size_t len = strcspn(at, "'");
    snprintf(out, size, "%.*s", (int)len, at);
    return at[len] && len < size && query_may_have_column(x->query, out) && !find_cell(x, out);
}

bool script_example_make(struct script *s, struct script_example *x, struct buf *out,
                         struct script_made *made, struct err *e)
{
    char name[200];
    while (!make_once(s, x, out, made, e)) {
        if (!find_lacking(x, e, name, sizeof name))
            return false;
        if (!add_cell(x, name))
            return err_memory(e);
    }
    return true;
}
