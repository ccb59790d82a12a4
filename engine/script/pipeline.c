#include "script/pipeline.h"

#include "base/err.h"
#include "base/suggest.h"
#include "lua/lua_json.h"
#include "pg/sqltext.h"
#include "script/script.h"
#include "script/script_lines.h"

#include <assert.h>
#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PATH_MAX_LEN = 100,  /* bytes of "source.related[12345].index_field" */
    RELATED_MAX = 10000, /* entries; nobody writes that many */
    COLUMNS_MAX = 32,    /* of a key: an index of PostgreSQL has no more */
    URLS_MAX = 1000,     /* nodes; no cluster has as many */
    JSON_MAX = 16 << 20, /* bytes of settings or mappings */
};

/* ---- the fields of a script ---- */

enum field_type {
    TEXT,       /* to a char * */
    EMPTY_TEXT, /* the same, and may be empty */
    URLS,       /* TEXT, or a list of them, to a char * with commas between */
    QUERY,      /* TEXT, without what follows its last word */
    INDEX,      /* TEXT, and a name that an index may have */
    JSON,       /* a table, to a char * with its JSON */
    CHOICE,     /* true or false, to an int: 1, or -1 */
    FLAG,       /* to a bool, which keeps its value where the field is absent */
    NUMBER,     /* to a double */
    WHOLE,      /* to an int64_t */
    COLUMNS,    /* a name, or a list of names, to a struct pipeline_names */
    /* COLUMNS, as many as the root's key has, or a QUERY: to affects or affects_query */
    AFFECTS,
    FUNCTION, /* checked only: the module script calls it */
    DOCUMENT, /* checked only: a template or a function; absent: a field for each column */
    GROUP,    /* a table with fields of its own */
    LIST,     /* of such tables: source.related */
};

enum need { OPTIONAL, REQUIRED, TO_WRITE }; /* TO_WRITE: a dry run can do without */

struct range {
    double least, most;
    bool above;       /* the least is itself too little */
    double otherwise; /* where the field is absent */
};

#define SECONDS_MAX 1e9  /* 31 years: in microseconds it fits an int64_t with room to add to */
#define WHOLE_MAX 0x1p53 /* all whole numbers up to it are exact as a double */
static const struct range LOOKBACK = {0, SECONDS_MAX, false, -1};
static const struct range HORIZON_LIMIT = {0, SECONDS_MAX, true, 600};
/* less would be a busy loop */
static const struct range POLL_INTERVAL = {0.01, SECONDS_MAX, false, 1};
static const struct range SWEEP = {0, SECONDS_MAX, false, 3600};
/* The least: a batch of 1,000 keys must be through before its rows are too old to be sent. */
static const struct range MAX_RATE = {10, SECONDS_MAX, false, 0};
/* The most is what a server takes in one request, if nobody has told it otherwise. */
static const struct range BATCH_BYTES = {64 << 10, 100 << 20, false, 5 << 20};
static const struct range MAX_REJECTED = {0, WHOLE_MAX, false, 1000};

static const struct field {
    const char *group; /* of the fields of source.related's elements: "related" */
    const char *name;
    enum field_type type;
    enum need need;
    /* in struct pipeline; of group "related", in struct pipeline_related */
    size_t offset;
    size_t line;               /* the same, of an int with the field's line; 0: none */
    const struct range *range; /* of a number */
} fields[] = {
#define AT(member) offsetof(struct pipeline, member)
#define IN(member) offsetof(struct pipeline_related, member)
    {"", "name", TEXT, REQUIRED, AT(name), 0, NULL},
    {"", "source", GROUP, REQUIRED, 0, 0, NULL},
    {"", "document", DOCUMENT, OPTIONAL, 0, 0, NULL},
    {"", "sink", GROUP, REQUIRED, 0, 0, NULL},
    {"", "state", TEXT, TO_WRITE, AT(state), 0, NULL},
    {"", "poll_interval", NUMBER, OPTIONAL, AT(poll_interval), 0, &POLL_INTERVAL},
    {"", "sweep", NUMBER, OPTIONAL, AT(sweep), 0, &SWEEP},
    {"", "max_rejected", WHOLE, OPTIONAL, AT(max_rejected), 0, &MAX_REJECTED},
    {"", "before_run", FUNCTION, OPTIONAL, 0, 0, NULL},
    {"", "after_run", FUNCTION, OPTIONAL, 0, 0, NULL},

    {"source", "url", EMPTY_TEXT, REQUIRED, AT(source.url), AT(source.url_line), NULL},
    {"source", "table", TEXT, REQUIRED, AT(source.table), AT(source.table_line), NULL},
    {"source", "key", COLUMNS, REQUIRED, AT(source.key), AT(source.key_line), NULL},
    {"source", "cursor", TEXT, OPTIONAL, AT(source.cursor), AT(source.cursor_line), NULL},
    {"source", "lookback", NUMBER, OPTIONAL, AT(source.lookback), 0, &LOOKBACK},
    {"source", "horizon_limit", NUMBER, OPTIONAL, AT(source.horizon_limit), 0, &HORIZON_LIMIT},
    {"source", "query", QUERY, REQUIRED, AT(source.query), AT(source.query_line), NULL},
    /* after the key: affects is compared with it */
    {"source", "related", LIST, OPTIONAL, 0, 0, NULL},

    {"related", "table", TEXT, REQUIRED, IN(table), IN(table_line), NULL},
    {"related", "key", COLUMNS, REQUIRED, IN(key), IN(key_line), NULL},
    {"related", "cursor", TEXT, OPTIONAL, IN(cursor), IN(cursor_line), NULL},
    {"related", "affects", AFFECTS, REQUIRED, 0, IN(affects_line), NULL},
    {"related", "index_field", TEXT, OPTIONAL, IN(index_field), IN(index_field_line), NULL},

    {"sink", "url", URLS, TO_WRITE, AT(sink.url), AT(sink.url_line), NULL},
    {"sink", "index", INDEX, REQUIRED, AT(sink.index), AT(sink.index_line), NULL},
    {"sink", "indices", TEXT, OPTIONAL, AT(sink.indices), 0, NULL},
    {"sink", "compress", CHOICE, OPTIONAL, AT(sink.compress), 0, NULL},
    {"sink", "max_rate", NUMBER, OPTIONAL, AT(sink.max_rate), 0, &MAX_RATE},
    {"sink", "batch_bytes", WHOLE, OPTIONAL, AT(sink.batch_bytes), 0, &BATCH_BYTES},
    {"sink", "user", TEXT, OPTIONAL, AT(sink.security.user), 0, NULL},
    {"sink", "password", TEXT, OPTIONAL, AT(sink.security.password), 0, NULL},
    {"sink", "api_key", TEXT, OPTIONAL, AT(sink.security.api_key), 0, NULL},
    {"sink", "bearer_token", TEXT, OPTIONAL, AT(sink.security.bearer_token), 0, NULL},
    {"sink", "aws_sigv4", TEXT, OPTIONAL, AT(sink.security.aws_sigv4), 0, NULL},
    {"sink", "ca", TEXT, OPTIONAL, AT(sink.security.ca), 0, NULL},
    {"sink", "ca_fingerprint", TEXT, OPTIONAL, AT(sink.security.ca_fingerprint), 0, NULL},
    {"sink", "client_cert", TEXT, OPTIONAL, AT(sink.security.client_cert), 0, NULL},
    {"sink", "client_key", TEXT, OPTIONAL, AT(sink.security.client_key), 0, NULL},
    {"sink", "verify", FLAG, OPTIONAL, AT(sink.security.verify), 0, NULL},
    {"sink", "settings", JSON, OPTIONAL, AT(sink.settings), AT(sink.settings_line), NULL},
    {"sink", "mappings", JSON, OPTIONAL, AT(sink.mappings), AT(sink.mappings_line), NULL},
#undef AT
#undef IN
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* ---- messages ---- */

struct reading { /* outside of Lua: what it holds survives a raise */
    struct pipeline *p;
    struct script *script;
    const struct script_text *text;
    struct buf json;         /* settings or mappings, while they are encoded */
    const char *encoding;    /* their path, for the encoder's errors; NULL: not encoding */
    char path[PATH_MAX_LEN]; /* of the table being read: "source.related[2]"; "" */
    struct err *lacking;     /* NULL: what is needed to write has to be there */
    char hint[sizeof((struct err *)NULL)->hint];
};

/* A name too long for any field of ours gives the path of the table itself. */
static const char *join(const struct reading *r, const char *name, char out[PATH_MAX_LEN])
{
    int n = snprintf(out, PATH_MAX_LEN, "%s%s%s", r->path, *r->path && *name ? "." : "", name);
    if (n < 0 || n >= PATH_MAX_LEN)
        memcpy(out, r->path, PATH_MAX_LEN);
    return out;
}

static int line_of(const struct reading *r, const char *name)
{
    char path[PATH_MAX_LEN];
    return script_lines_find(r->text->text.data, r->text->text.len, join(r, name, path));
}

/* Raises "FILE:LINE: MESSAGE"; line 0: without. */
static void raise_at(lua_State *L, const struct reading *r, int line, const char *format,
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

__attribute__((format(printf, 4, 5))) static void mistake_at(lua_State *L, const struct reading *r,
                                                             int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    raise_at(L, r, line, format, args);
    va_end(args);
}

/* The same, with the line of the field `name` of the table being read. */
__attribute__((format(printf, 4, 5))) static void mistake(lua_State *L, const struct reading *r,
                                                          const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    raise_at(L, r, line_of(r, name), format, args);
    va_end(args);
}

/* " in source"; nothing at the top level. Borrowed: a Lua string on the stack. */
static const char *within(lua_State *L, const struct reading *r)
{
    return lua_pushfstring(L, *r->path ? " in %s" : "%s", r->path);
}

static const char *article(const char *type)
{
    return strchr("aeiou", *type) ? "an" : "a";
}

static void wrong_type(lua_State *L, const struct reading *r, const char *name, const char *wanted)
{
    const char *is = luaL_typename(L, -1);
    const char *in = within(L, r);
    mistake(L, r, name, "field '%s'%s must be %s, is %s%s%s", name, in, wanted,
            lua_isnil(L, -2) ? "" : article(is), lua_isnil(L, -2) ? "" : " ", is);
}

/* ---- unknown fields ---- */

/* Where the field that is not known here belongs: "source.lookback". NULL: nowhere. */
static const char *elsewhere(lua_State *L, const char *name)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(fields[i].name, name) == 0 && strcmp(fields[i].group, "related") != 0)
            return *fields[i].group
                       ? lua_pushfstring(L, "did you mean '%s.%s'?", fields[i].group, name)
                       : "it belongs next to 'source'";
    return NULL;
}

static void unknown_field(lua_State *L, const struct reading *r, const char *group,
                          const char *name)
{
    const char *names[FIELDS];
    size_t n = 0;
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(fields[i].group, group) == 0)
            names[n++] = fields[i].name;
    const char *near = suggest(name, names, n), *in = within(L, r);
    if (near)
        mistake(L, r, name, "unknown field '%.60s'%s, did you mean '%s'?", name, in, near);
    const char *place = elsewhere(L, name);
    if (place)
        mistake(L, r, name, "unknown field '%.60s'%s, %s", name, in, place);
    mistake(L, r, name, "unknown field '%.60s'%s", name, in);
}

static bool is_known(const char *group, const char *name)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(fields[i].group, group) == 0 && strcmp(fields[i].name, name) == 0)
            return true;
    return false;
}

/* Of several unknown fields the first by name is reported: the order of lua_next changes from run to
 * run. */
static void check_names(lua_State *L, const struct reading *r, const char *group)
{
    int table = lua_gettop(L);
    lua_pushnil(L); /* the first unknown name so far */
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pushvalue(L, -2);
            char element[PATH_MAX_LEN];
            snprintf(element, sizeof element, "[%.60s]", luaL_tolstring(L, -1, NULL));
            const char *in = within(L, r);
            mistake(L, r, element, "unexpected element %s%s: fields have names", element, in);
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
static void hint_at_missing(struct reading *r, const struct field *f)
{
    char name[100], near[100];
    if (find_variable(r->text, line_of(r, f->name), f->name, name, sizeof name) && !getenv(name)) {
        bool is_near = near_variable(name, near, sizeof near);
        snprintf(r->hint, sizeof r->hint, "the environment variable %s is not set%s%s%s", name,
                 is_near ? ", did you mean " : "", is_near ? near : "", is_near ? "?" : "");
    } else if (strcmp(f->name, "url") == 0 || strcmp(f->name, "state") == 0) {
        snprintf(r->hint, sizeof r->hint,
                 "it has no default, and an os.getenv whose variable is not set gives nil");
    }
}

static void missing(lua_State *L, struct reading *r, const struct field *f)
{
    const char *in = within(L, r), *file = r->text->path;
    int line = line_of(r, f->name);
    hint_at_missing(r, f);
    if (f->need == REQUIRED || !r->lacking)
        mistake_at(L, r, line, "missing field '%s'%s", f->name, in);
    if (r->lacking->kind != ERR_NONE)
        return;
    err_set(r->lacking, ERR_USAGE, "missing field '%s'%s", f->name, in);
    err_hint(r->lacking, "%s", r->hint);
    line > 0 ? err_wrap(r->lacking, "%s:%d", file, line) : err_wrap(r->lacking, "%s", file);
}

/* ---- values: on top of the stack; copied, and popped by the caller ---- */

static void copy_to(lua_State *L, char **target, const char *text, size_t len)
{
    assert(!*target);
    *target = strndup(text, len);
    if (!*target)
        luaL_error(L, "out of memory");
}

static const char *check_text(lua_State *L, const struct reading *r, const char *name, size_t *len)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        wrong_type(L, r, name, "a string");
    const char *text = lua_tolstring(L, -1, len);
    if (strlen(text) != *len)
        mistake(L, r, name, "field '%s'%s holds a zero byte", name, within(L, r));
    return text;
}

static void read_text(lua_State *L, const struct reading *r, const char *name, bool may_be_empty,
                      char **target)
{
    size_t len;
    const char *text = check_text(L, r, name, &len);
    if (len == 0 && !may_be_empty)
        mistake(L, r, name, "field '%s'%s is empty", name, within(L, r));
    copy_to(L, target, text, len);
}

/* What every server asks of an index's name (and a date, a wildcard or a list of names is none). */
static void read_index(lua_State *L, const struct reading *r, const char *name, char **target)
{
    enum { LONGEST = 255 }; /* bytes */
    static const char forbidden[] = "\\/*?\"<>| ,#:";
    read_text(L, r, name, false, target);
    const char *text = *target, *in = within(L, r);
    size_t len = strlen(text), odd = strcspn(text, forbidden);
    if (odd < len)
        mistake(L, r, name, "field '%s'%s must be the name of one index: it cannot hold '%c'", name,
                in, text[odd]);
    for (size_t i = 0; i < len; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            mistake(L, r, name, "field '%s'%s must be in lower case, as index names are", name, in);
    if (strchr("-_+", *text))
        mistake(L, r, name, "field '%s'%s cannot begin with '%c'", name, in, *text);
    if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0 || len > LONGEST)
        mistake(L, r, name, "field '%s'%s is no name that an index can have", name, in);
}

/* The line on which a string's text begins, or its field, where it is not written as one string. */
static int text_line(const struct reading *r, const char *name)
{
    char path[PATH_MAX_LEN];
    int line = script_lines_text(r->text->text.data, r->text->text.len, join(r, name, path));
    return line > 0 ? line : line_of(r, name);
}

static void read_query(lua_State *L, const struct reading *r, const struct field *f, char **target)
{
    size_t len;
    const char *text = check_text(L, r, f->name, &len);
    struct sqltext sql;
    if (!sqltext_read(&sql, text, len)) {
        int line = text_line(r, f->name);
        mistake_at(L, r, line > 0 ? line + sql.line - 1 : 0, "field '%s'%s: %s", f->name,
                   within(L, r), sql.mistake);
    }
    if (sql.len == 0)
        mistake(L, r, f->name, "field '%s'%s is empty", f->name, within(L, r));
    copy_to(L, target, text, sql.len);
}

static void read_json(lua_State *L, struct reading *r, const struct field *f, char **target)
{
    if (lua_type(L, -1) != LUA_TTABLE && !luaL_testudata(L, -1, "etl.json"))
        wrong_type(L, r, f->name, "a table");
    buf_clear(&r->json);
    r->encoding = f->name;
    lua_json_encode(L, -1, &r->json);
    r->encoding = NULL;
    if (r->json.failed)
        mistake(L, r, f->name, "field '%s'%s does not fit into %d MB, or memory is short", f->name,
                within(L, r), JSON_MAX >> 20);
    if (r->json.len == 2 && memcmp(r->json.data, "[]", 2) == 0) /* an empty table */
        copy_to(L, target, "{}", 2);
    else if (r->json.data[0] != '{')
        mistake(L, r, f->name, "field '%s'%s must be a table with names, is a list", f->name,
                within(L, r));
    else
        copy_to(L, target, r->json.data, r->json.len);
}

/* ---- numbers ---- */

/* The number as Lua writes it, but "nan" for each of its kinds. Borrowed: on the stack. */
static const char *number_text(lua_State *L, double x)
{
    return isnan(x) ? "nan" : luaL_tolstring(L, -1, NULL);
}

static double read_number(lua_State *L, const struct reading *r, const struct field *f)
{
    if (lua_type(L, -1) != LUA_TNUMBER)
        wrong_type(L, r, f->name, "a number");
    double x = lua_tonumber(L, -1);
    const struct range *range = f->range;
    const char *is = number_text(L, x), *in = within(L, r);
    if (!isfinite(x))
        mistake(L, r, f->name, "field '%s'%s must be a finite number, is %s", f->name, in, is);
    if (range->above && x <= range->least)
        mistake(L, r, f->name, "field '%s'%s must be above %g, is %s", f->name, in, range->least,
                is);
    if (x < range->least)
        mistake(L, r, f->name, "field '%s'%s must be at least %g, is %s", f->name, in, range->least,
                is);
    if (x > range->most)
        mistake(L, r, f->name, "field '%s'%s must be at most %.0f, is %s", f->name, in, range->most,
                is);
    if (f->type == WHOLE && x != floor(x))
        mistake(L, r, f->name, "field '%s'%s must be a whole number, is %s", f->name, in, is);
    return x;
}

static void set_number(const struct field *f, void *base, double x)
{
    if (f->type == WHOLE)
        *(int64_t *)((char *)base + f->offset) = (int64_t)x; /* exact: see WHOLE_MAX */
    else
        *(double *)((char *)base + f->offset) = x;
}

/* ---- lists ---- */

/* Raises unless the table on top of the stack has elements 1 to n, n being at most `most`, and no
 * others. */
static size_t check_list(lua_State *L, const struct reading *r, const char *name, size_t most,
                         const char *wanted)
{
    int table = lua_gettop(L);
    size_t n = lua_rawlen(L, table);
    if (n > most)
        mistake(L, r, name, "field '%s'%s has more than %zu elements", name, within(L, r), most);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (i < 1 || i > (lua_Integer)n)
            mistake(L, r, name, "field '%s'%s must be %s", name, within(L, r), wanted);
    }
    return n;
}

static void element_name(char out[PATH_MAX_LEN], const char *list, size_t i)
{
    snprintf(out, PATH_MAX_LEN, "%s[%zu]", list, i + 1);
}

/* Adds the string on top of the stack. There is room. */
static void add_column(lua_State *L, const struct reading *r, const char *name,
                       struct pipeline_names *to)
{
    read_text(L, r, name, false, &to->list[to->n]);
    const char *column = to->list[to->n++];
    for (size_t i = 0; i + 1 < to->n; i++)
        if (strcmp(to->list[i], column) == 0)
            mistake(L, r, name, "field '%s'%s names column '%.60s' again", name, within(L, r),
                    column);
}

static void read_columns(lua_State *L, const struct reading *r, const char *name,
                         struct pipeline_names *to)
{
    bool list = lua_istable(L, -1);
    if (!list && lua_type(L, -1) != LUA_TSTRING)
        wrong_type(L, r, name, "a string or a list of strings");
    size_t n =
        list ? check_list(L, r, name, COLUMNS_MAX, "a list of columns: { \"a\", \"b\" }") : 1;
    if (n == 0)
        mistake(L, r, name, "field '%s'%s is empty", name, within(L, r));
    to->list = calloc(n, sizeof *to->list);
    if (!to->list)
        luaL_error(L, "out of memory");
    if (!list)
        add_column(L, r, name, to);
    for (size_t i = 0; list && i < n; i++) {
        char element[PATH_MAX_LEN];
        element_name(element, name, i);
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        add_column(L, r, element, to);
        lua_pop(L, 1);
    }
}

static void read_affects(lua_State *L, const struct reading *r, const struct field *f,
                         struct pipeline_related *related)
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
        mistake(L, r, f->name, "field '%s'%s has %zu column%s, but the key in source has %zu",
                f->name, within(L, r), n, n == 1 ? "" : "s", key);
}

/* As the environment holds several: one text. Whether they are URLs is for whoever connects to
 * say. */
static void read_urls(lua_State *L, const struct reading *r, const char *name, char **target)
{
    bool list = lua_istable(L, -1);
    if (!list && lua_type(L, -1) != LUA_TSTRING)
        wrong_type(L, r, name, "a string or a list of strings");
    size_t n =
        list ? check_list(L, r, name, URLS_MAX, "a list of URLs: { \"http://a\", \"http://b\" }")
             : 0;
    int table = lua_gettop(L);
    luaL_Buffer all;
    luaL_buffinit(L, &all);
    for (size_t i = 0; i < n; i++) {
        char element[PATH_MAX_LEN];
        size_t len;
        element_name(element, name, i);
        if (i > 0)
            luaL_addchar(&all, ',');
        lua_rawgeti(L, table, (lua_Integer)i + 1);
        check_text(L, r, element, &len);
        if (len == 0)
            mistake(L, r, element, "field '%s'%s is empty", element, within(L, r));
        luaL_addvalue(&all);
    }
    luaL_pushresult(&all);
    if (!list)
        lua_settop(L, table);
    read_text(L, r, name, false, target);
    lua_settop(L, table);
}

/* ---- tables ---- */

static void read_group(lua_State *L, struct reading *r, const char *group, void *base);

/* Reads the table on top of the stack, whose path is the present one with `name` added. */
static void read_table(lua_State *L, struct reading *r, const char *name, const char *group,
                       void *base)
{
    char path[PATH_MAX_LEN], before[PATH_MAX_LEN];
    memcpy(before, r->path, sizeof before);
    memcpy(r->path, join(r, name, path), sizeof path);
    read_group(L, r, group, base);
    memcpy(r->path, before, sizeof before);
}

static void read_list(lua_State *L, struct reading *r, const struct field *f)
{
    size_t n = check_list(L, r, f->name, RELATED_MAX,
                          "a list of tables: { { table = ... }, { table = ... } }");
    struct pipeline *p = r->p;
    p->source.related = calloc(n ? n : 1, sizeof *p->source.related);
    if (!p->source.related)
        luaL_error(L, "out of memory");
    p->source.n_related = n;
    for (size_t i = 0; i < n; i++) {
        char element[PATH_MAX_LEN];
        element_name(element, f->name, i);
        if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TTABLE)
            wrong_type(L, r, element, "a table");
        read_table(L, r, element, "related", &p->source.related[i]);
        lua_pop(L, 1);
    }
}

static void read_value(lua_State *L, struct reading *r, const struct field *f, void *base)
{
    void *target = (char *)base + f->offset;
    switch (f->type) {
    case TEXT:
    case EMPTY_TEXT:
        read_text(L, r, f->name, f->type == EMPTY_TEXT, target);
        return;
    case URLS:
        read_urls(L, r, f->name, target);
        return;
    case INDEX:
        read_index(L, r, f->name, target);
        return;
    case QUERY:
        read_query(L, r, f, target);
        return;
    case JSON:
        read_json(L, r, f, target);
        return;
    case CHOICE:
    case FLAG:
        if (!lua_isboolean(L, -1))
            wrong_type(L, r, f->name, "true or false");
        if (f->type == FLAG)
            *(bool *)target = lua_toboolean(L, -1);
        else
            *(int *)target = lua_toboolean(L, -1) ? 1 : -1;
        return;
    case NUMBER:
    case WHOLE:
        set_number(f, base, read_number(L, r, f));
        return;
    case COLUMNS:
        read_columns(L, r, f->name, target);
        return;
    case AFFECTS:
        read_affects(L, r, f, base);
        return;
    case FUNCTION:
        if (!lua_isfunction(L, -1))
            wrong_type(L, r, f->name, "a function");
        return;
    case DOCUMENT:
        if (!lua_isfunction(L, -1) && !lua_istable(L, -1))
            wrong_type(L, r, f->name, "a table of fields or a function");
        return;
    case GROUP:
        if (!lua_istable(L, -1))
            wrong_type(L, r, f->name, "a table");
        read_table(L, r, f->name, f->name, base);
        return;
    case LIST:
        if (!lua_istable(L, -1))
            wrong_type(L, r, f->name, "a list of tables");
        read_list(L, r, f);
    }
}

/* A field's line; of SQL, that on which its text begins: PostgreSQL counts from there. */
static int field_line(const struct reading *r, const struct field *f)
{
    return f->type == QUERY || f->type == AFFECTS ? text_line(r, f->name) : line_of(r, f->name);
}

/* The value is nil. A document that is written in the script is not left out: a name is misspelt. */
static void check_left_out(lua_State *L, const struct reading *r, const struct field *f)
{
    const struct buf *text = &r->text->text;
    if (f->type == DOCUMENT && script_lines_has(text->data, text->len, f->name))
        wrong_type(L, r, f->name, "a table of fields or a function");
}

/* Reads the table on top of the stack: all fields of that group, to where they belong in base. */
static void read_group(lua_State *L, struct reading *r, const char *group, void *base)
{
    luaL_checkstack(L, 20, NULL);
    int top = lua_gettop(L);
    check_names(L, r, group);
    for (size_t i = 0; i < FIELDS; i++) {
        const struct field *f = &fields[i];
        if (strcmp(f->group, group) != 0)
            continue;
        if (f->line)
            *(int *)((char *)base + f->line) = field_line(r, f);
        if (f->range)
            set_number(f, base, f->range->otherwise);
        if (lua_getfield(L, top, f->name) != LUA_TNIL)
            read_value(L, r, f, base);
        else if (f->need != OPTIONAL)
            missing(L, r, f);
        else
            check_left_out(L, r, f);
        lua_settop(L, top);
    }
}

/* ---- the whole ---- */

static int read_body(lua_State *L)
{
    struct reading *r = lua_touserdata(L, 1);
    script_push_table(r->script);
    read_group(L, r, "", r->p);
    return 0;
}

/* Whether the name is what the pattern of that length says; * stands for any letters. */
static bool fits(const char *pattern, size_t len, const char *name)
{
    while (len > 0 && *pattern != '*') {
        if (*name != *pattern)
            return false;
        pattern++, len--, name++;
    }
    if (len == 0)
        return *name == '\0';
    for (;; name++) /* the star: as deep as there are stars */
        if (fits(pattern + 1, len - 1, name))
            return true;
        else if (*name == '\0')
            return false;
}

bool pipeline_has_index(const struct pipeline *p, const char *index)
{
    const char *pattern = p->sink.indices;
    for (;;) {
        size_t len = strcspn(pattern, ",");
        if (fits(pattern, len, index))
            return true;
        if (pattern[len] == '\0')
            return false;
        pattern += len + 1;
    }
}

/* A document that says no index goes to sink.index, and is looked for there, too. */
static bool set_indices(struct pipeline *p, struct err *e)
{
    char *all = NULL;
    p->sink.multi_index = p->sink.indices != NULL;
    if (p->sink.multi_index && pipeline_has_index(p, p->sink.index))
        return true;
    if (!p->sink.multi_index)
        all = strdup(p->sink.index);
    else if (asprintf(&all, "%s,%s", p->sink.index, p->sink.indices) < 0)
        all = NULL;
    free(p->sink.indices);
    p->sink.indices = all;
    return all || err_memory(e);
}

bool pipeline_at_line(struct err *e, const struct pipeline *p, int line)
{
    e->kind = ERR_USAGE;
    return line > 0 ? err_wrap(e, "%s:%d", p->script, line) : err_wrap(e, "%s", p->script);
}

bool pipeline_set_index(struct pipeline *p, const char *index, struct err *e)
{
    bool alone = strcmp(p->sink.indices, p->sink.index) == 0;
    char *name = strdup(index), *indices = strdup(alone ? index : p->sink.indices);
    if (!name || !indices) {
        free(name);
        free(indices);
        return err_memory(e);
    }
    free(p->sink.index);
    free(p->sink.indices);
    p->sink.index = name;
    p->sink.indices = indices;
    return true;
}

bool pipeline_read_dry(struct pipeline *p, struct script *s, struct err *lacking, struct err *e)
{
    struct reading r = {.p = p, .script = s, .text = script_source(s), .lacking = lacking};
    if (lacking)
        lacking->kind = ERR_NONE;
    *p = (struct pipeline){.script = r.text->path, .sink.security.verify = true};
    buf_init(&r.json, JSON_MAX);
    bool ok = script_call(s, read_body, &r, e);
    if (!ok && r.encoding) { /* the encoder names what is below the field */
        int line = line_of(&r, r.encoding);
        err_wrap(e, "%s:%d: field '%s' in sink", r.text->path, line, r.encoding);
    } else if (!ok && *r.hint)
        err_hint(e, "%s", r.hint);
    buf_free(&r.json);
    if (ok && script_check(s, NULL, e) && set_indices(p, e))
        return true;
    pipeline_free(p);
    return false;
}

bool pipeline_read(struct pipeline *p, struct script *s, struct err *e)
{
    return pipeline_read_dry(p, s, NULL, e);
}

const char *pipeline_variable(const struct script_text *script, int line, char *out, size_t size)
{
    return find_variable(script, line, "url", out, size) ? out : NULL;
}

static void free_names(struct pipeline_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->list[i]);
    free(names->list);
}

void pipeline_free(struct pipeline *p)
{
    for (size_t i = 0; i < p->source.n_related; i++) {
        struct pipeline_related *related = &p->source.related[i];
        free(related->table);
        free_names(&related->key);
        free(related->cursor);
        free_names(&related->affects);
        free(related->affects_query);
        free(related->index_field);
    }
    free(p->source.related);
    free(p->name);
    free(p->source.url);
    free(p->source.table);
    free_names(&p->source.key);
    free(p->source.cursor);
    free(p->source.query);
    free(p->sink.url);
    free(p->sink.index);
    free(p->sink.indices);
    free(p->sink.settings);
    free(p->sink.mappings);
    es_security_free(&p->sink.security);
    free(p->state);
    *p = (struct pipeline){0};
}
