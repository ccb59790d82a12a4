#include "script/script.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/suggest.h"
#include "lua/lua_etl.h"
#include "lua/lua_json.h"
#include "lua/lua_values.h"
#include "lua/row.h"
#include "lua/sandbox_stdlib.h"
#include "lua/slab.h"
#include "script/projection.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    /* Instructions between two looks at the limit. Whatever it is, a count hook makes the
     * interpreter look up at each instruction; at 1,000 the hook's own share cannot be measured. */
    STEP = 1000,
    TEXT_MAX = 16 << 20, /* bytes of a script's file */
    /* Percent: a collection begins when so much is used of what the last one left. Rows and
     * documents are soon garbage, so as long as little is used, the longer pause saves 4 % of all
     * our work. But of much it would leave so much garbage that a document of 200 MB meets the
     * limit of memory: Lua's own buffers fail there without a collection. */
    GC_PAUSE = 200,
    GC_PAUSE_OF_LITTLE = 400,
    LITTLE = 2 << 20, /* bytes */
    GC_SPEED = 400,
    SUFFIX = 300, /* bytes of an error's text that may go to key and columns */
};

/* Fixed slots at the bottom of the stack: nothing has to be looked up, or allocated, to call
 * document(). */
enum { SLOT_HANDLER = 1, SLOT_DOCUMENT, SLOT_TABLE };

struct script {
    lua_State *L;
    const struct script_text *source; /* borrowed */
    struct script_services services;
    bool loading;

    /* owned; NULL: document() does more than that, or gave another document */
    struct projection *projection;
    bool proven;   /* it has given the same document once */
    bool returned; /* document() has come to its end once */
    enum projection_returns returns;
    struct slab pool; /* owned: what Lua holds */
    size_t used;      /* bytes of it */
    size_t kept;      /* of these, what the last collect() could not free */
    int pause;        /* of the collector, now */
    bool at_limit;    /* it was refused more in this call */
    int64_t left;     /* instructions of this call */
    int64_t until_us,
        cpu_until_us; /* when the clock, and then this thread's, ends this call; 0: not yet set */
    bool over;        /* a limit is reached: every hook in every coroutine raises */
    char over_text[sizeof((struct err *)NULL)->text];
    const struct pg_columns *named; /* those whose names the state keeps; borrowed */
    /* the last server's error or stop that was raised in this call */
    struct err noted;

    char short_src[LUA_IDSIZE]; /* the path, as Lua shortens it in messages */
};

static const char INSTRUCTIONS_USED[] = "100 million instructions: a loop that never ends?",
                  TIME_USED[] = "5 seconds of work: large strings or tables, again and again?";
static_assert(SCRIPT_INSTRUCTIONS == 100000000 && SCRIPT_US == 5000000, "as the texts say");

static const char result_key; /* of the registry: what the file returned, on its way to its slot */

static struct script *script_of(lua_State *L)
{
    return *(struct script **)lua_getextraspace(L);
}

/* ---- limits ---- */

/* May be called by allocate, amid whatever Lua does: here lua_gc sets two numbers, no more. */
static void set_pause(struct script *s, int percent)
{
    if (s->pause != percent)
        lua_gc(s->L, LUA_GCINC, percent, GC_SPEED, 0);
    s->pause = percent;
}

static __attribute__((noinline)) void *resize(struct script *s, void *old, size_t old_size,
                                              size_t size)
{
    if (size > old_size && size - old_size > SCRIPT_MEMORY - s->used) {
        s->at_limit = true;
        return NULL;
    }
    if (s->used > LITTLE)
        set_pause(s, GC_PAUSE);
    void *new = slab_resize(&s->pool, old, old_size, size);
    if (new || size == 0)
        s->used += size - old_size; /* wraps, and so subtracts, where it shrinks */
    return new;
}

/* Nearly always Lua asks for a small block, or gives one back: that takes no call, and not one
 * register to be saved, as long as resize is not part of it. */
static void *allocate(void *arg, void *old, size_t old_size, size_t size)
{
    struct script *s = arg;
    if (old && size == 0) {
        s->used -= old_size;
        slab_give(&s->pool, old, old_size);
        return NULL;
    }
    void *block = !old && s->used < SCRIPT_MEMORY - SLAB_MAX ? slab_pop(&s->pool, size) : NULL;
    if (!block)
        /* without old, Lua tells a type in old_size */
        return resize(s, old, old ? old_size : 0, size);
    s->used += size;
    return block;
}

/* Few instructions can take long: each may copy, or make the collector walk through, 256 MB. Only
 * work counts, not waiting for servers; but the clock is read faster than the thread's own, and is
 * the first to ask. */
static bool out_of_time(struct script *s)
{
    int64_t now = clock_mono_us();
    if (s->until_us == 0)
        s->until_us = now + SCRIPT_US;
    if (now < s->until_us)
        return false;
    if (s->cpu_until_us == 0)
        s->cpu_until_us = clock_thread_us() + SCRIPT_US;
    return clock_thread_us() >= s->cpu_until_us;
}

/* The innermost Lua function from that level on; C functions have no place. */
static bool find_place(lua_State *L, int level, lua_Debug *ar)
{
    for (; lua_getstack(L, level, ar); level++) {
        lua_getinfo(L, "Sl", ar);
        if (ar->currentline > 0)
            return true;
    }
    return false;
}

/* Notes why and where the call ends, if it has to. */
static bool look_at_limits(struct script *s, lua_State *L)
{
    const char *why = s->left <= 0 ? INSTRUCTIONS_USED : out_of_time(s) ? TIME_USED : NULL;
    lua_Debug ar;
    if (!why)
        return false;
    if (find_place(L, 0, &ar))
        snprintf(s->over_text, sizeof s->over_text, "%s:%d: stopped after %s", ar.short_src,
                 ar.currentline, why);
    else
        snprintf(s->over_text, sizeof s->over_text, "%s: stopped after %s", s->short_src, why);
    return s->over = true;
}

/* Re-arms itself with count 1, so that the instruction behind a pcall that caught the error raises
 * it again. */
static void on_count(lua_State *L, lua_Debug *ar)
{
    struct script *s = script_of(L);
    (void)ar;
    if (!s->over) {
        if (lua_gethookcount(L) != STEP) /* left over from a call that went over */
            lua_sethook(L, on_count, LUA_MASKCOUNT, STEP);
        s->left -= STEP;
        if (!look_at_limits(s, L))
            return;
    }
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    lua_pushstring(L, s->over_text);
    lua_error(L);
}

static int on_panic(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    log_error("a Lua error outside of any protected call: %s", text ? text : "?");
    abort();
}

bool script_is_over(lua_State *L)
{
    return script_of(L)->over;
}

bool script_must_end(lua_State *L)
{
    return script_of(L)->over || stop_asked();
}

void script_charge(lua_State *L, int64_t instructions)
{
    script_of(L)->left -= instructions;
}

void script_spend(lua_State *L, int64_t instructions)
{
    struct script *s = script_of(L);
    s->left -= instructions;
    if (s->over || look_at_limits(s, L))
        on_count(L, NULL);
}

bool script_is_loading(lua_State *L)
{
    return script_of(L)->loading;
}

int script_raise(lua_State *L, const struct err *e)
{
    script_of(L)->noted = *e;
    return luaL_error(L, "%s", e->text);
}

/* ---- calls ---- */

/* Whether text begins with "FILE:LINE: ". */
static bool has_place(const char *text)
{
    const char *colon = text;
    while ((colon = strchr(colon, ':'))) {
        size_t digits = strspn(++colon, "0123456789");
        if (digits > 0 && strncmp(colon + digits, ": ", 2) == 0)
            return true;
    }
    return false;
}

/* Puts the place of the innermost Lua function in front of the message, a string at index 1. An
 * error in coroutine code has its place already, if it has one. */
static void add_place(lua_State *L)
{
    lua_Debug ar;
    if (!find_place(L, 1, &ar))
        return;
    lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, lua_tostring(L, 1));
    lua_replace(L, 1);
}

/* The message handler: makes a string of any error, and keeps the traceback for those who look for
 * it. */
static int on_error(lua_State *L)
{
    if (script_of(L)->over)
        return 1;
    if (lua_type(L, 1) != LUA_TSTRING) {
        if (lua_type(L, 1) == LUA_TNUMBER)
            luaL_tolstring(L, 1, NULL);
        else if (!luaL_callmeta(L, 1, "__tostring") || lua_type(L, -1) != LUA_TSTRING)
            lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
        lua_replace(L, 1);
        lua_settop(L, 1);
    }
    if (!has_place(lua_tostring(L, 1)))
        add_place(L);
    if (log_enabled(LOG_DEBUG)) {
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
        log_debug("%s", lua_tostring(L, -1));
        lua_settop(L, 1);
    }
    return 1;
}

/* One line: line breaks, and the space around them, become one space. */
static void make_one_line(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        bool space = (unsigned char)*from < ' ';
        if (space || (*from == ' ' && from > text && (unsigned char)from[-1] < ' ')) {
            if (to > text && to[-1] != ' ')
                *to++ = ' ';
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

/* Lua shortens long paths, "...pts/movies.lua:7:"; users want theirs. */
static void restore_path(const struct script *s, struct err *e)
{
    char rest[sizeof e->text];
    size_t len = strlen(s->short_src);
    if (len == 0 || strncmp(e->text, s->short_src, len) != 0 || e->text[len] != ':')
        return;
    snprintf(rest, sizeof rest, "%s", e->text + len);
    err_set(e, e->kind, "%s%s", s->source->path, rest);
}

/* Whether e is the error that was noted; else the script caught that one, and then met another. */
static bool ended_by_server(struct script *s, const struct err *e)
{
    if (s->noted.kind != ERR_PASSING && s->noted.kind != ERR_STOPPED)
        return false;
    make_one_line(s->noted.text);
    /* behind "FILE:LINE: " its end may have been cut off */
    s->noted.text[sizeof s->noted.text / 2] = '\0';
    return strstr(e->text, s->noted.text) != NULL;
}

/* Lua's own buffers (string.rep, table.concat) fail at the limit without a collection; so what the
 * last call left is collected before it can make the next one fail. */
static void collect(struct script *s)
{
    if (s->used < SCRIPT_MEMORY / 2 || s->used < s->kept + SCRIPT_MEMORY / 8)
        return;
    lua_gc(s->L, LUA_GCCOLLECT); /* no finalizer of a script's, so nothing raises */
    s->kept = s->used;
}

static void begin_call(struct script *s)
{
    collect(s);
    if (s->used < LITTLE)
        set_pause(s, GC_PAUSE_OF_LITTLE);
    s->left = SCRIPT_INSTRUCTIONS;
    s->until_us = s->cpu_until_us = 0;
    s->over = false;
    s->at_limit = false;
    s->noted.kind = ERR_NONE;
}

/* Lua's parser quotes the text at which it stumbled; a string there may be a password. */
static void hide_string(char *text, size_t size)
{
    static const char *const openings[] = {" near '\"", " near ''", " near '[[", " near '[="};
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        char *at = strstr(text, openings[i]);
        if (at)
            snprintf(at, size - (size_t)(at - text), " near a string");
    }
}

/* What lua_pcall answered, as ours. The message is on top of the stack. */
static bool end_call(struct script *s, int status, struct err *e)
{
    if (s->over)
        err_set(e, ERR_USAGE, "%s", s->over_text);
    else if (status == LUA_OK)
        return true;
    else if (status == LUA_ERRMEM && s->at_limit)
        err_set(e, ERR_USAGE, "%s: not enough memory: a script may use %d MB", s->source->path,
                SCRIPT_MEMORY >> 20);
    else if (status == LUA_ERRMEM)
        err_set(e, ERR_USAGE, "%s: out of memory", s->source->path);
    else if (lua_type(s->L, -1) == LUA_TSTRING) /* the handler made it; nothing here may allocate */
        err_set(e, ERR_USAGE, "%s", lua_tostring(s->L, -1));
    else
        err_set(e, ERR_USAGE, "%s: an error within an error", s->source->path);
    make_one_line(e->text);
    hide_string(e->text, sizeof e->text);
    restore_path(s, e);
    if (!s->over && ended_by_server(s, e)) {
        e->kind = s->noted.kind;
        e->retry_after_ms = s->noted.retry_after_ms;
    }
    return false;
}

bool script_call(struct script *s, lua_CFunction body, void *arg, struct err *e)
{
    begin_call(s);
    int top = lua_gettop(s->L);
    lua_pushcfunction(s->L, on_error); /* these three do not allocate, so they cannot raise */
    lua_pushcfunction(s->L, body);
    lua_pushlightuserdata(s->L, arg);
    bool ok = end_call(s, lua_pcall(s->L, 1, 0, top + 1), e);
    lua_settop(s->L, top);
    return ok;
}

/* ---- opening ---- */

bool script_is_utf16(const char *text, size_t len)
{
    return len >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0 ||
                        !text[0] || !text[1]);
}

bool script_read(struct script_text *t, const char *path, struct err *e)
{
    *t = (struct script_text){.path = strdup(path)};
    buf_init(&t->text, TEXT_MAX);
    if (!t->path)
        return err_memory(e);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum file_end end = fd < 0 ? FILE_ERROR : file_read(fd, &t->text);
    int reason = errno;
    if (fd >= 0)
        close(fd);
    bool ok = end == FILE_COMPLETE;
    bool wide = ok && script_is_utf16(t->text.data, t->text.len);
    if (ok && !wide)
        return true;
    if (wide)
        err_set(e, ERR_USAGE, "cannot read script '%s': it is UTF-16, and has to be saved as UTF-8",
                path);
    else if (end != FILE_ERROR)
        err_set(e, ERR_USAGE,
                "cannot read script '%s': it is larger than %d MB, or memory is short", path,
                TEXT_MAX >> 20);
    else
        err_set(e, ERR_USAGE, "cannot read script '%s': %s", path, strerror(reason));
    script_text_free(t);
    return false;
}

void script_text_free(struct script_text *t)
{
    free(t->path);
    buf_free(&t->text);
    *t = (struct script_text){0};
}

/* An empty chunk of that name tells how Lua shortens it, also where the file's own text does not
 * compile. */
static void note_short_path(lua_State *L, struct script *s, const char *chunk_name)
{
    lua_Debug ar;
    if (luaL_loadbufferx(L, "", 0, chunk_name, "t") != LUA_OK)
        lua_error(L);
    lua_getinfo(L, ">S", &ar);
    memcpy(s->short_src, ar.short_src, sizeof s->short_src);
}

/* Loads the file's text as a function, or raises. A byte order mark and a first line "#!..." are
 * passed over; the line break stays, so that lines keep their numbers. */
static void load(lua_State *L, struct script *s)
{
    const char *text = s->source->text.data ? s->source->text.data : "";
    size_t len = s->source->text.len;
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        len -= 3;
    }
    if (len > 0 && *text == '#') {
        const char *line_break = memchr(text, '\n', len);
        len = line_break ? (size_t)(text + len - line_break) : 0;
        text = line_break ? line_break : "";
    }
    if (len > 0 && *text == *LUA_SIGNATURE) {
        lua_pushfstring(L, "%s: cannot load a compiled chunk: a script is text", s->source->path);
        lua_error(L);
    }
    lua_pushfstring(L, "@%s", s->source->path);
    note_short_path(L, s, lua_tostring(L, -1));
    if (luaL_loadbufferx(L, text, len, lua_tostring(L, -1), "t") == LUA_OK)
        return;
    if (!has_place(lua_tostring(L, -1))) /* "C stack overflow": too many levels of brackets */
        lua_pushfstring(L, "%s: %s", s->source->path, lua_tostring(L, -1));
    lua_error(L);
}

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
    sandbox_stdlib_open(L, s->source->path);
    lua_values_open(L);
    lua_etl_open(L);
    load(L, s);
    lua_call(L, 0, 1);
    if (lua_type(L, -1) != LUA_TTABLE) {
        const char *what = lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1);
        lua_pushfstring(L,
                        "%s:%d: script returned %s%s, expected a table: return { name = ..., "
                        "source = ..., ... }",
                        s->source->path, last_line(&s->source->text), lua_isnil(L, -1) ? "" : "a ",
                        what);
        return lua_error(L);
    }
    lua_pushliteral(L, "document");
    lua_rawget(L, -2);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &result_key);
    return 0;
}

/* Not in a protected call: nothing here allocates. */
static void fill_slots(struct script *s)
{
    assert(lua_gettop(s->L) == 0);
    lua_pushcfunction(s->L, on_error);
    lua_rawgetp(s->L, LUA_REGISTRYINDEX, &result_key);
    lua_rawgetp(s->L, LUA_REGISTRYINDEX, s);
    assert(lua_gettop(s->L) == SLOT_TABLE);
}

struct script *script_open(const struct script_text *t, struct err *e)
{
    struct script *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    s->source = t;
    s->L = lua_newstate(allocate, s);
    if (!s->L) {
        slab_free(&s->pool);
        free(s);
        err_memory(e);
        return NULL;
    }
    *(struct script **)lua_getextraspace(s->L) = s;
    lua_atpanic(s->L, on_panic);
    lua_sethook(s->L, on_count, LUA_MASKCOUNT, STEP); /* each coroutine inherits it */

    s->loading = true;
    bool ok = script_call(s, open_body, s, e);
    s->loading = false;
    if (!ok) {
        script_close(s);
        return NULL;
    }
    fill_slots(s);
    s->projection = projection_new(s->L, SLOT_DOCUMENT);
    s->returns = projection_returns(s->L, SLOT_DOCUMENT);
    return s;
}

void script_close(struct script *s)
{
    if (!s)
        return;
    lua_close(s->L);
    assert(s->used == 0);
    projection_free(s->projection);
    slab_free(&s->pool);
    free(s);
}

void script_serve(struct script *s, const struct script_services *services)
{
    s->services = *services;
}

const struct script_services *script_services_of(lua_State *L)
{
    return &script_of(L)->services;
}

void script_push_table(struct script *s)
{
    lua_rawgetp(s->L, LUA_REGISTRYINDEX, s); /* its slot is out of reach within a call */
}

const struct script_text *script_source(const struct script *s)
{
    return s->source;
}

/* ---- documents ---- */

struct document {
    const struct pg_columns *columns;
    const PGresult *res;
    int row;
    struct buf *out;
    size_t old_len; /* of out */
    struct script_meta *meta;
    bool present;
    bool called; /* document() has returned: what is wrong now is wrong with what it returned */
};

/* On the stack of document_body: where the two values lie that document() returned. */
enum { RESULT = 4, META };

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
#name, offsetof(struct script_meta, name), sizeof((struct script_meta *)NULL)->name        \
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
static void read_meta(lua_State *L, struct script_meta *meta)
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
static void push_names(lua_State *L, const struct pg_columns *columns)
{
    struct script *s = script_of(L);
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
    push_names(L, d->columns);
    lua_pushvalue(L, 2); /* document() itself */
    row_push(L, d->columns, 3, d->res, d->row);
    assert(lua_gettop(L) == META);
    lua_call(L, 1, LUA_MULTRET);
    d->called = true;
    d->meta->nothing = lua_gettop(L) < RESULT;
    lua_settop(L, META);
    if (!lua_isnil(L, META))
        read_meta(L, d->meta);
    int type = lua_type(L, RESULT);
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TTABLE && !luaL_testudata(L, RESULT, "etl.json"))
        return luaL_error(L, "document() returned %s%s, expected a table or nil",
                          lua_values_is_null(L, RESULT) ? "" : "a ",
                          lua_values_is_null(L, RESULT) ? "etl.null" : luaL_typename(L, RESULT));
    lua_json_encode(L, RESULT, d->out);
    check_document(L, d);
    d->present = true;
    return 0;
}

/* "FILE:LINE: " of the function's first line in front of what it returned wrongly. */
static void add_position(struct script *s, struct err *e)
{
    lua_Debug ar;
    lua_pushvalue(s->L, SLOT_DOCUMENT);
    lua_getinfo(s->L, ">S", &ar);
    const char *path = strcmp(ar.short_src, s->short_src) == 0 ? s->source->path : ar.short_src;
    if (ar.linedefined > 0)
        err_wrap(e, "%s:%d", path, ar.linedefined);
    else /* written in C */
        err_wrap(e, "%s", s->source->path);
}

bool script_never_returns(const struct script *s)
{
    return s->returns == RETURNS_NOTHING;
}

bool script_returns_calls(const struct script *s)
{
    return s->returns == RETURNS_CALLS;
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

/* " (key '123'; columns id, title, rating)" */
static void add_row(struct err *e, const char *key, const struct pg_columns *columns)
{
    char suffix[SUFFIX], shown[81];
    snprintf(shown, sizeof shown, "%s", key);
    cut(shown, sizeof shown - 2);
    int n = snprintf(suffix, sizeof suffix, " (key '%s%s'; columns", shown,
                     strlen(key) >= sizeof shown - 1 ? "..." : "");
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

static bool call_document(struct script *s, struct document *d, struct err *e)
{
    lua_State *L = s->L;
    begin_call(s);
    lua_pushcfunction(L, document_body); /* these do not allocate, so they cannot raise */
    lua_pushlightuserdata(L, d);
    lua_pushvalue(L, SLOT_DOCUMENT);
    bool ok = end_call(s, lua_pcall(L, 2, 0, SLOT_HANDLER), e);
    lua_settop(L, SLOT_TABLE);
    return ok;
}

/* The first document that can be is made both ways: only what has been seen to be the same takes
 * document()'s place. */
static void prove(struct script *s, const struct document *d)
{
    struct buf b;
    size_t len = d->out->len - d->old_len;
    buf_init(&b, d->out->max);
    bool made = projection_add(s->projection, d->columns, d->res, d->row, &b) && !b.failed;
    s->proven = made && b.len == len && memcmp(b.data, d->out->data + d->old_len, len) == 0;
    buf_free(&b);
    if (s->proven || !made)
        return;
    projection_free(s->projection);
    s->projection = NULL;
}

bool script_document(struct script *s, const struct pg_columns *columns, const PGresult *res, int n,
                     const char *key, struct buf *out, struct script_meta *meta, bool *present,
                     struct err *e)
{
    struct document d = {
        .columns = columns, .res = res, .row = n, .out = out, .old_len = out->len, .meta = meta};
    meta->index[0] = meta->routing[0] = meta->pipeline[0] = '\0';
    meta->nothing = false;
    bool ok = s->proven && projection_add(s->projection, columns, res, n, out);
    if (ok)
        d.present = d.called = true;
    else
        ok = call_document(s, &d, e);
    *present = d.present;
    s->returned |= ok;
    if (ok && !out->failed) {
        if (s->projection && !s->proven && d.present)
            prove(s, &d);
        return true;
    }

    if (ok)
        err_set(e, ERR_FINAL,
                "the document does not fit a request of %zu bytes, or memory is short", out->max);
    buf_cut(out, d.old_len);
    *present = false;
    bool misspelt = !s->returned && strstr(e->text, ROW_NO_COLUMN); /* the next row is no better */
    if (e->kind == ERR_USAGE && !misspelt)
        e->kind = ERR_FINAL;
    if (d.called && !s->over)
        add_position(s, e);
    add_row(e, key, columns);
    return false;
}

/* ---- hooks ---- */

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
