#include "lua/sandbox.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "lua/slab.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Instructions between two checks of the limits. With any value, a count hook makes the
     * interpreter check for it at each instruction; with 1,000, the time of the hook itself is too
     * short to measure. */
    STEP = 1000,
    /* Percent: a collection begins when the memory in use has grown to this share of what the last
     * collection left. Rows and documents soon become garbage, so while little memory is used, the
     * longer pause saves 4 % of our processor time. With much memory in use, it would leave too
     * much garbage: a document of 200 MB would reach the memory limit, where Lua's own buffers fail
     * without a collection. */
    GC_PAUSE = 200,
    GC_PAUSE_OF_LITTLE = 400,
    LITTLE = 2 << 20, /* bytes */
    GC_SPEED = 400,
};

struct sandbox {
    lua_State *L;
    const char *path; /* the script's; borrowed */
    struct sandbox_services services;
    bool loading;
    bool mute, muted; /* while it loads; something was not logged for that */

    struct slab pool; /* owned; the memory that Lua uses */
    size_t used;      /* bytes in the pool */
    size_t kept;      /* bytes of these that the last collect() could not free */
    int pause;        /* the collector's current pause, percent */
    bool at_limit;    /* an allocation was refused in this call */

    int64_t left; /* instructions left in this call */
    /* the limits of this call on the clock, and then in processor time of the thread; 0: not set */
    int64_t until_us, cpu_until_us;
    bool over; /* a limit is reached: every hook in every coroutine raises */
    char over_text[sizeof((struct err *)NULL)->text];

    struct err noted;           /* the last error of a server, or stop, raised in this call */
    char short_src[LUA_IDSIZE]; /* the path as Lua shortens it in messages */
};

static const char INSTRUCTIONS_USED[] = "100 million instructions: a loop that never ends?",
                  TIME_USED[] = "5 seconds of work: large strings or tables, again and again?";
static_assert(SANDBOX_INSTRUCTIONS == 100000000 && SANDBOX_US == 5000000, "as the texts say");

static struct sandbox *sandbox_of(lua_State *L)
{
    return *(struct sandbox **)lua_getextraspace(L);
}

/* ---- limits ---- */

/* Sets the collector's pause. Allocations call this, too, in the middle of any operation of Lua:
 * with these arguments, lua_gc only sets two numbers. */
static void set_pause(struct sandbox *s, int percent)
{
    if (s->pause != percent)
        lua_gc(s->L, LUA_GCINC, percent, GC_SPEED, 0);
    s->pause = percent;
}

static __attribute__((noinline)) void *resize(struct sandbox *s, void *old, size_t old_size,
                                              size_t size)
{
    if (size > old_size && size - old_size > SANDBOX_MEMORY - s->used) {
        s->at_limit = true;
        return NULL;
    }
    if (s->used > LITTLE)
        set_pause(s, GC_PAUSE);
    void *new = slab_resize(&s->pool, old, old_size, size);
    if (new || size == 0)
        s->used += size - old_size; /* wraps, and so subtracts, if the block shrinks */
    return new;
}

/* Lua's allocator. Nearly always Lua allocates or frees a small block. This path makes no call and
 * saves no register, because resize is not inlined. */
static void *allocate(void *arg, void *old, size_t old_size, size_t size)
{
    struct sandbox *s = arg;
    if (old && size == 0) {
        s->used -= old_size;
        slab_give(&s->pool, old, old_size);
        return NULL;
    }
    void *block = !old && s->used < SANDBOX_MEMORY - SLAB_MAX ? slab_pop(&s->pool, size) : NULL;
    if (!block)
        /* If old is NULL, old_size is the type of a Lua object. */
        return resize(s, old, old ? old_size : 0, size);
    s->used += size;
    return block;
}

/* Whether the time of the call is used up. A few instructions can take long: each may copy 256 MB,
 * or make the collector scan them. Only processor time counts, not waiting for servers; but the
 * clock is faster to read, so it is checked first. */
static bool out_of_time(struct sandbox *s)
{
    int64_t now = clock_mono_us();
    if (s->until_us == 0)
        s->until_us = now + SANDBOX_US;
    if (now < s->until_us)
        return false;
    if (s->cpu_until_us == 0)
        s->cpu_until_us = clock_thread_us() + SANDBOX_US;
    return clock_thread_us() >= s->cpu_until_us;
}

/* Finds the innermost Lua function from that level on: it has a file and a line, unlike C
 * functions. */
static bool find_place(lua_State *L, int level, lua_Debug *ar)
{
    for (; lua_getstack(L, level, ar); level++) {
        lua_getinfo(L, "Sl", ar);
        if (ar->currentline > 0)
            return true;
    }
    return false;
}

/* Whether a limit is reached; if so, notes why and where the call ends. */
static bool look_at_limits(struct sandbox *s, lua_State *L)
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

/* The count hook. At a limit it sets its count to 1: if a pcall catches the error, the next
 * instruction raises it again. */
static void on_count(lua_State *L, lua_Debug *ar)
{
    struct sandbox *s = sandbox_of(L);
    (void)ar;
    if (!s->over) {
        if (lua_gethookcount(L) != STEP) /* still 1 from a call that reached a limit */
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

bool sandbox_is_over(lua_State *L)
{
    return sandbox_of(L)->over;
}

bool sandbox_must_end(lua_State *L)
{
    return sandbox_of(L)->over || stop_asked();
}

void sandbox_charge(lua_State *L, int64_t instructions)
{
    sandbox_of(L)->left -= instructions;
}

void sandbox_spend(lua_State *L, int64_t instructions)
{
    struct sandbox *s = sandbox_of(L);
    s->left -= instructions;
    if (s->over || look_at_limits(s, L))
        on_count(L, NULL);
}

void sandbox_mute(struct sandbox *s)
{
    s->mute = true;
}

bool sandbox_is_mute(lua_State *L)
{
    struct sandbox *s = sandbox_of(L);
    bool mute = s->mute && s->loading;
    s->muted |= mute;
    return mute;
}

bool sandbox_was_mute(const struct sandbox *s)
{
    return s && s->muted;
}

bool sandbox_is_loading(lua_State *L)
{
    return sandbox_of(L)->loading;
}

int sandbox_raise(lua_State *L, const struct err *e)
{
    sandbox_of(L)->noted = *e;
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

/* Puts the file and line of the innermost Lua function before the message, a string at index 1. An
 * error from a coroutine already has its place, if any. */
static void add_place(lua_State *L)
{
    lua_Debug ar;
    if (!find_place(L, 1, &ar))
        return;
    lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, lua_tostring(L, 1));
    lua_replace(L, 1);
}

/* The message handler: converts any error to a string, and logs the traceback at level debug. */
static int on_error(lua_State *L)
{
    if (sandbox_of(L)->over)
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

/* Makes the text one line: line breaks, and the spaces around them, become one space. */
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

/* Puts the path as the user wrote it where Lua shortened it: "...pts/movies.lua:7:". */
static void restore_path(const struct sandbox *s, struct err *e)
{
    char rest[sizeof e->text];
    size_t len = strlen(s->short_src);
    if (len == 0 || strncmp(e->text, s->short_src, len) != 0 || e->text[len] != ':')
        return;
    snprintf(rest, sizeof rest, "%s", e->text + len);
    err_set(e, e->kind, "%s%s", s->path, rest);
}

/* Whether e is the error that was noted. If not, the script caught that one and then raised
 * another. */
static bool ended_by_server(struct sandbox *s, const struct err *e)
{
    if (s->noted.kind != ERR_PASSING && s->noted.kind != ERR_STOPPED)
        return false;
    make_one_line(s->noted.text);
    /* the place before it may have cut off the end of the text */
    s->noted.text[sizeof s->noted.text / 2] = '\0';
    return strstr(e->text, s->noted.text) != NULL;
}

/* Collects the garbage of earlier calls if there is much of it: Lua's own buffers (string.rep,
 * table.concat) fail at the memory limit without a collection, so the next call could fail. */
static void collect(struct sandbox *s)
{
    if (s->used < SANDBOX_MEMORY / 2 || s->used < s->kept + SANDBOX_MEMORY / 8)
        return;
    lua_gc(s->L, LUA_GCCOLLECT); /* scripts have no finalizers, so nothing raises */
    s->kept = s->used;
}

static void begin_call(struct sandbox *s)
{
    collect(s);
    if (s->used < LITTLE)
        set_pause(s, GC_PAUSE_OF_LITTLE);
    s->left = SANDBOX_INSTRUCTIONS;
    s->until_us = s->cpu_until_us = 0;
    s->over = false;
    s->at_limit = false;
    s->noted.kind = ERR_NONE;
}

/* Removes a string from a message: Lua's parser quotes the text at a syntax error, and a string may
 * be a password. */
static void hide_string(char *text, size_t size)
{
    static const char *const openings[] = {" near '\"", " near ''", " near '[[", " near '[="};
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        char *at = strstr(text, openings[i]);
        if (at)
            snprintf(at, size - (size_t)(at - text), " near a string");
    }
}

/* Converts the status of lua_pcall to e; the message is on top of the stack. True: no error. */
static bool end_call(struct sandbox *s, int status, struct err *e)
{
    if (s->over)
        err_set(e, ERR_USAGE, "%s", s->over_text);
    else if (status == LUA_OK)
        return true;
    else if (status == LUA_ERRMEM && s->at_limit)
        err_set(e, ERR_USAGE, "%s: not enough memory: a script may use %d MB", s->path,
                SANDBOX_MEMORY >> 20);
    else if (status == LUA_ERRMEM)
        err_set(e, ERR_USAGE, "%s: out of memory", s->path);
    else if (lua_type(s->L, -1) == LUA_TSTRING) /* from the handler; this code must not allocate */
        err_set(e, ERR_USAGE, "%s", lua_tostring(s->L, -1));
    else
        err_set(e, ERR_USAGE, "%s: an error within an error", s->path);
    make_one_line(e->text);
    hide_string(e->text, sizeof e->text);
    restore_path(s, e);
    if (!s->over && ended_by_server(s, e)) {
        e->kind = s->noted.kind;
        e->retry_after_ms = s->noted.retry_after_ms;
    }
    return false;
}

bool sandbox_call(struct sandbox *s, lua_CFunction body, void *arg, struct err *e)
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

bool sandbox_load(struct sandbox *s, lua_CFunction body, void *arg, struct err *e)
{
    s->loading = true;
    bool ok = sandbox_call(s, body, arg, e);
    s->loading = false;
    return ok;
}

/* ---- the state ---- */

struct sandbox *sandbox_new(const char *path, struct err *e)
{
    struct sandbox *s = calloc(1, sizeof *s);
    lua_State *L = s ? lua_newstate(allocate, s) : NULL;
    if (!L) {
        if (s)
            slab_free(&s->pool);
        free(s);
        err_memory(e);
        return NULL;
    }
    s->L = L;
    s->path = path;
    *(struct sandbox **)lua_getextraspace(L) = s;
    lua_atpanic(L, on_panic);
    lua_sethook(L, on_count, LUA_MASKCOUNT, STEP); /* coroutines inherit it */
    return s;
}

void sandbox_free(struct sandbox *s)
{
    if (!s)
        return;
    lua_close(s->L);
    assert(s->used == 0);
    slab_free(&s->pool);
    free(s);
}

void sandbox_serve(struct sandbox *s, const struct sandbox_services *services)
{
    s->services = *services;
}

const struct sandbox_services *sandbox_services(lua_State *L)
{
    return &sandbox_of(L)->services;
}

lua_State *sandbox_state(const struct sandbox *s)
{
    return s->L;
}

const char *sandbox_path(const struct sandbox *s, const lua_Debug *ar)
{
    return strcmp(ar->short_src, s->short_src) == 0 ? s->path : ar->short_src;
}

/* ---- compiling ---- */

/* Notes how Lua shortens the path: an empty chunk of that name shows it, even if the file's own
 * text does not compile. */
static void note_short_path(lua_State *L, struct sandbox *s, const char *chunk_name)
{
    lua_Debug ar;
    if (luaL_loadbufferx(L, "", 0, chunk_name, "t") != LUA_OK)
        lua_error(L);
    lua_getinfo(L, ">S", &ar);
    memcpy(s->short_src, ar.short_src, sizeof s->short_src);
}

void sandbox_compile(lua_State *L, const char *text, size_t len)
{
    struct sandbox *s = sandbox_of(L);
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        len -= 3;
    }
    if (len > 0 && *text == '#') { /* the line break stays, so that line numbers stay correct */
        const char *line_break = memchr(text, '\n', len);
        len = line_break ? (size_t)(text + len - line_break) : 0;
        text = line_break ? line_break : "";
    }
    if (len > 0 && *text == *LUA_SIGNATURE) {
        lua_pushfstring(L, "%s: cannot load a compiled chunk: a script is text", s->path);
        lua_error(L);
    }
    lua_pushfstring(L, "@%s", s->path);
    note_short_path(L, s, lua_tostring(L, -1));
    if (luaL_loadbufferx(L, text, len, lua_tostring(L, -1), "t") != LUA_OK) {
        if (!has_place(lua_tostring(L, -1))) /* "C stack overflow": too many levels of brackets */
            lua_pushfstring(L, "%s: %s", s->path, lua_tostring(L, -1));
        lua_error(L);
    }
    lua_remove(L, -2);
}
