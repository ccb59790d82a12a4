#include "lua/lua_json.h"
#include "pg/sqltext.h"
#include "script/index_name.h"
#include "script/pipeline_internal.h"
#include "script/script_lines.h"

#include <assert.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RELATED_MAX = 10000, /* entries; nobody writes that many */
    COLUMNS_MAX = 32,    /* of a key: an index of PostgreSQL has no more */
    URLS_MAX = 1000,     /* nodes; no cluster has as many */
};

/* ---- values: on top of the stack; copied, and popped by the caller ---- */

static void copy_to(lua_State *L, char **target, const char *text, size_t len)
{
    assert(!*target);
    *target = strndup(text, len);
    if (!*target)
        luaL_error(L, "out of memory");
}

static const char *check_text(lua_State *L, const struct pipeline_reading *r, const char *name,
                              size_t *len)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        pipeline_wrong_type(L, r, name, "a string");
    const char *text = lua_tolstring(L, -1, len);
    if (strlen(text) != *len)
        pipeline_mistake(L, r, name, "field '%s'%s holds a zero byte", name, pipeline_within(L, r));
    return text;
}

static void read_text(lua_State *L, const struct pipeline_reading *r, const char *name,
                      bool may_be_empty, char **target)
{
    size_t len;
    const char *text = check_text(L, r, name, &len);
    if (len == 0 && !may_be_empty)
        pipeline_mistake(L, r, name, "field '%s'%s is empty", name, pipeline_within(L, r));
    copy_to(L, target, text, len);
}

/* A name that a server is told: what is not UTF-8 would come back as another one. */
static void read_name(lua_State *L, const struct pipeline_reading *r, const char *name,
                      char **target)
{
    read_text(L, r, name, false, target);
    if (!index_name_is_utf8(*target))
        pipeline_mistake(L, r, name, "field '%s'%s is not UTF-8", name, pipeline_within(L, r));
}

static void read_index(lua_State *L, const struct pipeline_reading *r, const char *name,
                       char **target)
{
    char why[INDEX_NAME_FLAW];
    read_text(L, r, name, false, target);
    if (index_name_flaw(*target, why))
        pipeline_mistake(L, r, name, "field '%s'%s %s", name, pipeline_within(L, r), why);
}

static bool read_capture(lua_State *L, const struct pipeline_reading *r, const char *name)
{
    size_t len;
    const char *text = check_text(L, r, name, &len);
    bool wal = strcmp(text, "wal") == 0;
    if (!wal && strcmp(text, "poll") != 0)
        pipeline_mistake(L, r, name, "field '%s'%s must be \"poll\" or \"wal\", is \"%.60s\"", name,
                         pipeline_within(L, r), text);
    return wal;
}

/* The name of an object in PostgreSQL. */
static void read_object(lua_State *L, const struct pipeline_reading *r, const char *name,
                        char **target)
{
    read_name(L, r, name, target);
    if (strlen(*target) > PIPELINE_OBJECT_MAX)
        pipeline_mistake(L, r, name, "field '%s'%s has more than %d bytes, PostgreSQL's limit",
                         name, pipeline_within(L, r), PIPELINE_OBJECT_MAX);
}

static void read_slot(lua_State *L, const struct pipeline_reading *r, const char *name,
                      char **target)
{
    read_object(L, r, name, target);
    size_t odd = strspn(*target, PIPELINE_SLOT_LETTERS);
    if ((*target)[odd])
        pipeline_mistake(L, r, name,
                         "field '%s'%s may hold lower case letters, digits and _ only, as the name "
                         "of a slot",
                         name, pipeline_within(L, r));
}

/* The line on which a string's text begins, or its field, where it is not written as one string. */
static int text_line(const struct pipeline_reading *r, const char *name)
{
    char path[PIPELINE_PATH], whole[SCRIPT_TEXT_PATH];
    int line = script_lines_text(r->text->text.data, r->text->text.len,
                                 script_text_field(r->text, pipeline_join(r, name, path), whole));
    return line > 0 ? line : pipeline_line_of(r, name);
}

static void read_query(lua_State *L, const struct pipeline_reading *r,
                       const struct pipeline_field *f, char **target)
{
    size_t len;
    const char *text = check_text(L, r, f->name, &len);
    struct sqltext sql;
    if (!sqltext_read(&sql, text, len)) {
        int line = text_line(r, f->name);
        pipeline_mistake_at(L, r, line > 0 ? line + sql.line - 1 : 0, "field '%s'%s: %s", f->name,
                            pipeline_within(L, r), sql.mistake);
    }
    if (sql.len == 0)
        pipeline_mistake(L, r, f->name, "field '%s'%s is empty", f->name, pipeline_within(L, r));
    copy_to(L, target, text, sql.len);
}

static void read_json(lua_State *L, struct pipeline_reading *r, const struct pipeline_field *f,
                      char **target)
{
    if (lua_type(L, -1) != LUA_TTABLE && !luaL_testudata(L, -1, "etl.json"))
        pipeline_wrong_type(L, r, f->name, "a table");
    buf_clear(&r->json);
    r->encoding = f->name;
    lua_json_encode(L, -1, &r->json);
    r->encoding = NULL;
    if (r->json.failed)
        pipeline_mistake(L, r, f->name, "field '%s'%s does not fit into %d MB, or memory is short",
                         f->name, pipeline_within(L, r), (int)(r->json.max >> 20));
    if (r->json.len == 2 && memcmp(r->json.data, "[]", 2) == 0) /* an empty table */
        copy_to(L, target, "{}", 2);
    else if (r->json.data[0] != '{')
        pipeline_mistake(L, r, f->name, "field '%s'%s must be a table with names, is a list",
                         f->name, pipeline_within(L, r));
    else
        copy_to(L, target, r->json.data, r->json.len);
}

/* ---- numbers ---- */

/* The number as Lua writes it, but "nan" for each of its kinds. Borrowed: on the stack. */
static const char *number_text(lua_State *L, double x)
{
    return isnan(x) ? "nan" : luaL_tolstring(L, -1, NULL);
}

static double read_number(lua_State *L, const struct pipeline_reading *r,
                          const struct pipeline_field *f)
{
    if (lua_type(L, -1) != LUA_TNUMBER)
        pipeline_wrong_type(L, r, f->name, "a number");
    double x = lua_tonumber(L, -1);
    const struct pipeline_range *range = f->range;
    const char *is = number_text(L, x), *in = pipeline_within(L, r);
    if (!isfinite(x))
        pipeline_mistake(L, r, f->name, "field '%s'%s must be a finite number, is %s", f->name, in,
                         is);
    if (range->above && x <= range->least)
        pipeline_mistake(L, r, f->name, "field '%s'%s must be above %.10g, is %s", f->name, in,
                         range->least, is);
    if (x < range->least)
        pipeline_mistake(L, r, f->name, "field '%s'%s must be at least %.10g, is %s", f->name, in,
                         range->least, is);
    if (x > range->most)
        pipeline_mistake(L, r, f->name, "field '%s'%s must be at most %.0f, is %s", f->name, in,
                         range->most, is);
    if (f->type == PIPELINE_WHOLE && x != floor(x))
        pipeline_mistake(L, r, f->name, "field '%s'%s must be a whole number, is %s", f->name, in,
                         is);
    return x;
}

static void set_number(const struct pipeline_field *f, void *base, double x)
{
    if (f->type == PIPELINE_WHOLE)
        *(int64_t *)((char *)base + f->offset) = (int64_t)x; /* exact: see WHOLE_MAX */
    else
        *(double *)((char *)base + f->offset) = x;
}

/* ---- lists ---- */

/* Raises unless the table on top of the stack has elements 1 to n, n being at most `most`, and no
 * others. */
static size_t check_list(lua_State *L, const struct pipeline_reading *r, const char *name,
                         size_t most, const char *wanted)
{
    int table = lua_gettop(L);
    size_t n = lua_rawlen(L, table);
    if (n > most)
        pipeline_mistake(L, r, name, "field '%s'%s has more than %zu elements", name,
                         pipeline_within(L, r), most);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (i < 1 || i > (lua_Integer)n)
            pipeline_mistake(L, r, name, "field '%s'%s must be %s", name, pipeline_within(L, r),
                             wanted);
    }
    return n;
}

static void element_name(char out[PIPELINE_PATH], const char *list, size_t i)
{
    snprintf(out, PIPELINE_PATH, "%s[%zu]", list, i + 1);
}

/* Adds the string on top of the stack. There is room. */
static void add_column(lua_State *L, const struct pipeline_reading *r, const char *name,
                       struct pipeline_names *to)
{
    read_text(L, r, name, false, &to->list[to->n]);
    const char *column = to->list[to->n++];
    for (size_t i = 0; i + 1 < to->n; i++)
        if (strcmp(to->list[i], column) == 0)
            pipeline_mistake(L, r, name, "field '%s'%s names column '%.60s' again", name,
                             pipeline_within(L, r), column);
}

static void read_columns(lua_State *L, const struct pipeline_reading *r, const char *name,
                         struct pipeline_names *to)
{
    bool list = lua_istable(L, -1);
    if (!list && lua_type(L, -1) != LUA_TSTRING)
        pipeline_wrong_type(L, r, name, "a string or a list of strings");
    size_t n =
        list ? check_list(L, r, name, COLUMNS_MAX, "a list of columns: { \"a\", \"b\" }") : 1;
    if (n == 0)
        pipeline_mistake(L, r, name, "field '%s'%s is empty", name, pipeline_within(L, r));
    to->list = calloc(n, sizeof *to->list);
    if (!to->list)
        luaL_error(L, "out of memory");
    if (!list)
        add_column(L, r, name, to);
    for (size_t i = 0; list && i < n; i++) {
        char element[PIPELINE_PATH];
        element_name(element, name, i);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        add_column(L, r, element, to);
        lua_pop(L, 1);
    }
}

static void read_affects(lua_State *L, const struct pipeline_reading *r,
                         const struct pipeline_field *f, struct pipeline_related *related)
{
    if (lua_type(L, -1) == LUA_TSTRING) {
        size_t len;
        const char *text = check_text(L, r, f->name, &len);
        if (sqltext_is_query(text, len)) {
            read_query(L, r, f, &related->affects_query);
            return;
        }
    }
    read_columns(L, r, f->name, &related->affects);
    size_t n = related->affects.n, key = r->p->source.key.n;
    if (n != key)
        pipeline_mistake(L, r, f->name,
                         "field '%s'%s has %zu column%s, but the key in source has %zu", f->name,
                         pipeline_within(L, r), n, n == 1 ? "" : "s", key);
}

/* As the environment holds several: one text. Whether they are URLs is for whoever connects to
 * say. */
static void read_urls(lua_State *L, const struct pipeline_reading *r, const char *name,
                      char **target)
{
    bool list = lua_istable(L, -1);
    if (!list && lua_type(L, -1) != LUA_TSTRING)
        pipeline_wrong_type(L, r, name, "a string or a list of strings");
    size_t n =
        list ? check_list(L, r, name, URLS_MAX, "a list of URLs: { \"http://a\", \"http://b\" }")
             : 0;
    int table = lua_gettop(L);
    luaL_Buffer all;
    luaL_buffinit(L, &all);
    for (size_t i = 0; i < n; i++) {
        char element[PIPELINE_PATH];
        size_t len;
        element_name(element, name, i);
        if (i > 0)
            luaL_addchar(&all, ',');
        lua_rawgeti(L, table, (lua_Integer)i + 1);
        check_text(L, r, element, &len);
        if (len == 0)
            pipeline_mistake(L, r, element, "field '%s'%s is empty", element,
                             pipeline_within(L, r));
        luaL_addvalue(&all);
    }
    luaL_pushresult(&all);
    if (!list)
        lua_settop(L, table);
    read_text(L, r, name, false, target);
    lua_settop(L, table);
}

/* ---- tables ---- */

static void read_group(lua_State *L, struct pipeline_reading *r, const char *group, void *base);

/* Reads the table on top of the stack, whose path is the present one with `name` added. */
static void read_table(lua_State *L, struct pipeline_reading *r, const char *name,
                       const char *group, void *base)
{
    char path[PIPELINE_PATH], before[PIPELINE_PATH];
    memcpy(before, r->path, sizeof before);
    memcpy(r->path, pipeline_join(r, name, path), sizeof path);
    read_group(L, r, group, base);
    memcpy(r->path, before, sizeof before);
}

static void read_list(lua_State *L, struct pipeline_reading *r, const struct pipeline_field *f)
{
    size_t n = check_list(L, r, f->name, RELATED_MAX,
                          "a list of tables: { { table = ... }, { table = ... } }");
    struct pipeline *p = r->p;
    p->source.related = calloc(n ? n : 1, sizeof *p->source.related);
    if (!p->source.related)
        luaL_error(L, "out of memory");
    p->source.n_related = n;
    for (size_t i = 0; i < n; i++) {
        char element[PIPELINE_PATH];
        element_name(element, f->name, i);
        if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TTABLE)
            pipeline_wrong_type(L, r, element, "a table");
        read_table(L, r, element, "related", &p->source.related[i]);
        lua_pop(L, 1);
    }
}

static void read_value(lua_State *L, struct pipeline_reading *r, const struct pipeline_field *f,
                       void *base)
{
    void *target = (char *)base + f->offset;
    switch (f->type) {
    case PIPELINE_TEXT:
    case PIPELINE_EMPTY_TEXT:
        read_text(L, r, f->name, f->type == PIPELINE_EMPTY_TEXT, target);
        return;
    case PIPELINE_URLS:
        read_urls(L, r, f->name, target);
        return;
    case PIPELINE_INDEX:
        read_index(L, r, f->name, target);
        return;
    case PIPELINE_QUERY:
        read_query(L, r, f, target);
        return;
    case PIPELINE_CAPTURE:
        *(bool *)target = read_capture(L, r, f->name);
        return;
    case PIPELINE_SLOT:
        read_slot(L, r, f->name, target);
        return;
    case PIPELINE_PUBLICATION:
        read_object(L, r, f->name, target);
        return;
    case PIPELINE_JSON:
        read_json(L, r, f, target);
        return;
    case PIPELINE_CHOICE:
    case PIPELINE_FLAG:
        if (!lua_isboolean(L, -1))
            pipeline_wrong_type(L, r, f->name, "true or false");
        if (f->type == PIPELINE_FLAG)
            *(bool *)target = lua_toboolean(L, -1);
        else
            *(int *)target = lua_toboolean(L, -1) ? 1 : -1;
        return;
    case PIPELINE_NUMBER:
    case PIPELINE_WHOLE:
        set_number(f, base, read_number(L, r, f));
        return;
    case PIPELINE_COLUMNS:
        read_columns(L, r, f->name, target);
        return;
    case PIPELINE_AFFECTS:
        read_affects(L, r, f, base);
        return;
    case PIPELINE_FUNCTION:
        if (!lua_isfunction(L, -1))
            pipeline_wrong_type(L, r, f->name, "a function");
        return;
    case PIPELINE_DOCUMENT:
        if (!lua_isfunction(L, -1) && !lua_istable(L, -1))
            pipeline_wrong_type(L, r, f->name, "a table of fields or a function");
        return;
    case PIPELINE_GROUP:
        if (!lua_istable(L, -1))
            pipeline_wrong_type(L, r, f->name, "a table");
        read_table(L, r, f->name, f->name, base);
        return;
    case PIPELINE_LIST:
    case PIPELINE_EXAMPLES:
        if (!lua_istable(L, -1))
            pipeline_wrong_type(L, r, f->name, "a list of tables");
        if (f->type == PIPELINE_LIST)
            read_list(L, r, f);
    }
}

/* A field's line; of SQL, that on which its text begins: PostgreSQL counts from there. */
static int field_line(const struct pipeline_reading *r, const struct pipeline_field *f)
{
    return f->type == PIPELINE_QUERY || f->type == PIPELINE_AFFECTS ? text_line(r, f->name)
                                                                    : pipeline_line_of(r, f->name);
}

/* The value is nil. If the script has a field `document`, a name in it is misspelt. */
static void check_left_out(lua_State *L, const struct pipeline_reading *r,
                           const struct pipeline_field *f)
{
    const struct buf *text = &r->text->text;
    char whole[SCRIPT_TEXT_PATH];
    if (f->type == PIPELINE_DOCUMENT &&
        script_lines_has(text->data, text->len, script_text_field(r->text, f->name, whole)))
        pipeline_wrong_type(L, r, f->name, "a table of fields or a function");
}

/* Reads the table on top of the stack: all fields of that group, to where they belong in base. */
static void read_group(lua_State *L, struct pipeline_reading *r, const char *group, void *base)
{
    luaL_checkstack(L, 20, NULL);
    int top = lua_gettop(L);
    pipeline_check_names(L, r, group);
    for (size_t i = 0; i < PIPELINE_FIELDS; i++) {
        const struct pipeline_field *f = &pipeline_fields[i];
        if (strcmp(f->group, group) != 0)
            continue;
        if (f->line)
            *(int *)((char *)base + f->line) = field_line(r, f);
        if (f->range)
            set_number(f, base, f->range->otherwise);
        if (lua_getfield(L, top, f->name) != LUA_TNIL)
            read_value(L, r, f, base);
        else if (f->need != PIPELINE_OPTIONAL)
            pipeline_missing(L, r, f);
        else
            check_left_out(L, r, f);
        lua_settop(L, top);
    }
}

int pipeline_read_body(lua_State *L)
{
    struct pipeline_reading *r = lua_touserdata(L, 1);
    script_push_table(r->script);
    read_group(L, r, "", r->p);
    return 0;
}
