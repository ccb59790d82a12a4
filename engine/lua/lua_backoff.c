#include "lua/lua_backoff.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"
#include "base/suggest.h"
#include "lua/sandbox.h"

#include <lauxlib.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { OPTIONS = 1, FUNCTION = 2 }; /* arguments */

/* ---- options ---- */

enum option_type { NUMBER, COUNT, CHOICE, CALLBACK };

static const char *const generators[] = {
    [BACKOFF_EXPO] = "expo", [BACKOFF_FIBO] = "fibo", [BACKOFF_CONSTANT] = "constant", NULL};
static const char *const jitters[] = {
    [BACKOFF_FULL] = "full", [BACKOFF_RANDOM] = "random", [BACKOFF_NO_JITTER] = "none", NULL};
static const char *const causes[] = {"error", NULL};

static const struct option {
    const char *name;
    enum option_type type;
    const char *const *choices;
    size_t offset; /* of a number, in struct backoff_policy */
} options[] = {
    {"wait", CHOICE, generators, 0},
    {"base", NUMBER, NULL, offsetof(struct backoff_policy, base)},
    {"factor", NUMBER, NULL, offsetof(struct backoff_policy, factor)},
    {"max_value", NUMBER, NULL, offsetof(struct backoff_policy, max_value)},
    {"interval", NUMBER, NULL, offsetof(struct backoff_policy, interval)},
    {"max_tries", COUNT, NULL, offsetof(struct backoff_policy, max_tries)},
    {"max_time", NUMBER, NULL, offsetof(struct backoff_policy, max_time)},
    {"jitter", CHOICE, jitters, 0},
    {"retry_on", CHOICE, causes, 0},
    {"retry_if", CALLBACK, NULL, 0},
    {"giveup", CALLBACK, NULL, 0},
    {"on_backoff", CALLBACK, NULL, 0},
    {"on_success", CALLBACK, NULL, 0},
    {"on_giveup", CALLBACK, NULL, 0},
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

static void check_names(lua_State *L)
{
    const char *names[OPTION_COUNT];
    for (size_t i = 0; i < OPTION_COUNT; i++)
        names[i] = options[i].name;
    for (lua_pushnil(L); lua_next(L, OPTIONS); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "etl.backoff: options are named, such as max_tries = 5");
        const char *name = lua_tostring(L, -2);
        bool known = false;
        for (size_t i = 0; i < OPTION_COUNT && !known; i++)
            known = strcmp(name, names[i]) == 0;
        const char *near = known ? NULL : suggest(name, names, OPTION_COUNT);
        if (near)
            luaL_error(L, "etl.backoff: unknown option '%s', did you mean '%s'?", name, near);
        if (!known)
            luaL_error(L, "etl.backoff: unknown option '%s'", name);
    }
}

/* The option's value is on top of the stack. */
static int check_choice(lua_State *L, const struct option *o)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1);
    for (int i = 0; o->choices[i]; i++)
        if (strcmp(text, o->choices[i]) == 0)
            return i;
    lua_pushfstring(L, "etl.backoff: option '%s' must be \"%s\"", o->name, o->choices[0]);
    for (int i = 1; o->choices[i]; i++) {
        lua_pushfstring(L, "%s\"%s\"", o->choices[i + 1] ? ", " : " or ", o->choices[i]);
        lua_concat(L, 2);
    }
    return luaL_error(L, "%s, is '%s'", lua_tostring(L, -1), text);
}

static void read_number(lua_State *L, const struct option *o, struct backoff_policy *p)
{
    double x = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
    if (!(x > 0 && isfinite(x)))
        luaL_error(L, "etl.backoff: option '%s' must be a number above 0", o->name);
    if (o->type == COUNT && (x != floor(x) || x > 1e9))
        luaL_error(L, "etl.backoff: option '%s' must be a whole number", o->name);
    if (o->type == COUNT)
        *(int *)((char *)p + o->offset) = (int)x;
    else
        *(double *)((char *)p + o->offset) = x;
}

static void read_option(lua_State *L, const struct option *o, struct backoff_policy *p)
{
    if (lua_getfield(L, OPTIONS, o->name) != LUA_TNIL) {
        int choice = o->type == CHOICE ? check_choice(L, o) : 0;
        if (o->choices == generators)
            p->generator = (enum backoff_generator)choice;
        else if (o->choices == jitters)
            p->jitter = (enum backoff_jitter)choice;
        else if (o->type == CALLBACK && !lua_isfunction(L, -1))
            luaL_error(L, "etl.backoff: option '%s' must be a function, is a %s", o->name,
                       luaL_typename(L, -1));
        else if (o->type == NUMBER || o->type == COUNT)
            read_number(L, o, p);
    }
    lua_pop(L, 1);
}

/* ---- handlers: they may raise through backoff_failed, which owns nothing ---- */

struct retry {
    lua_State *L;
    int args;      /* index of the table of fn's arguments */
    int value;     /* index of the value that fn returned or raised; 0: it returned none */
    bool is_error; /* fn raised the value */
};

static void call_handler(const struct retry *r, const char *name, const struct backoff_details *d,
                         bool waits)
{
    lua_State *L = r->L;
    if (lua_getfield(L, OPTIONS, name) == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, d->tries);
    lua_setfield(L, -2, "tries");
    lua_pushnumber(L, d->elapsed);
    lua_setfield(L, -2, "elapsed");
    if (waits) {
        lua_pushnumber(L, d->wait);
        lua_setfield(L, -2, "wait");
    }
    if (r->value) {
        lua_pushvalue(L, r->value);
        lua_setfield(L, -2, r->is_error ? "error" : "value");
    }
    lua_pushvalue(L, r->args);
    lua_setfield(L, -2, "args");
    lua_call(L, 1, 0);
}

static void on_backoff(const struct backoff_details *d, void *arg)
{
    call_handler(arg, "on_backoff", d, true);
}

static void on_success(const struct backoff_details *d, void *arg)
{
    call_handler(arg, "on_success", d, false);
}

static void on_giveup(const struct backoff_details *d, void *arg)
{
    call_handler(arg, "on_giveup", d, false);
}

/* Calls the function in the option `name` with fn's value. Whether it returns true; false if the
 * option is not set. */
static bool ask(const struct retry *r, const char *name)
{
    lua_State *L = r->L;
    bool yes = false;
    if (lua_getfield(L, OPTIONS, name) != LUA_TNIL) {
        if (r->value)
            lua_pushvalue(L, r->value);
        else
            lua_pushnil(L);
        lua_call(L, 1, 1);
        yes = lua_toboolean(L, -1);
    }
    lua_pop(L, 1);
    return yes;
}

static bool giveup(const struct err *error, void *arg)
{
    (void)error;
    return ask(arg, "giveup");
}

/* ---- trying ---- */

static bool has_option(lua_State *L, const char *name)
{
    bool has = lua_getfield(L, OPTIONS, name) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

/* Sleeps for the policy's wait. False: the policy gives up. Raises if a stop is requested. */
static bool wait_for_next(lua_State *L, struct backoff *b, const struct err *error)
{
    double seconds = backoff_failed(b, error);
    if (seconds < 0)
        return false;
    if (!stop_sleep((int64_t)ceil(seconds * 1000))) {
        struct err e;
        stop_err(&e);
        sandbox_raise(L, &e);
    }
    return true;
}

/* Calls fn with its arguments. Leaves the values that it returned or raised above `base`. */
static int try_once(lua_State *L, int base, int n_args)
{
    lua_settop(L, base);
    for (int i = 0; i <= n_args; i++)
        lua_pushvalue(L, FUNCTION + i);
    return lua_pcall(L, n_args, LUA_MULTRET, 0);
}

static void push_arguments(lua_State *L, int n_args)
{
    lua_createtable(L, n_args, 0);
    for (int i = 1; i <= n_args; i++) {
        lua_pushvalue(L, FUNCTION + i);
        lua_rawseti(L, -2, i);
    }
}

/* etl.backoff(options, fn, ...): calls fn(...) until it succeeds, with longer and longer waits
 * between the tries; returns the values that fn returned. Without `retry_if`, a try fails if fn
 * raises; after the last try, the last error is raised unchanged. With `retry_if`, a try fails if
 * that function returns true for fn's result; after the last try, that result is returned. Errors
 * are then retried only with retry_on = "error".
 * Options: wait ("expo", "fibo", "constant"), base, factor, max_value, interval, max_tries,
 * max_time, jitter ("full", "random", "none"), retry_on, retry_if, giveup, on_backoff, on_success,
 * on_giveup. Times are seconds. A signal that ends the engine ends the wait.
 *
 *     local rate = etl.backoff({ max_tries = 5, max_value = 10 }, fetch_rate, "EUR")
 */
int lua_backoff(lua_State *L)
{
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    luaL_checktype(L, FUNCTION, LUA_TFUNCTION);
    int n_args = lua_gettop(L) - FUNCTION;
    luaL_checkstack(L, n_args + 20, "too many arguments");
    check_names(L);
    struct retry retry = {.L = L};
    struct backoff_policy policy = {.giveup = giveup,
                                    .on_backoff = on_backoff,
                                    .on_success = on_success,
                                    .on_giveup = on_giveup,
                                    .arg = &retry};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        read_option(L, &options[i], &policy);
    bool predicate = has_option(L, "retry_if"), on_error = !predicate || has_option(L, "retry_on");
    push_arguments(L, n_args);
    int base = retry.args = lua_gettop(L);

    struct backoff b;
    backoff_start(&b, &policy, (uint64_t)clock_mono_us() ^ (uintptr_t)L);
    for (;;) {
        int status = try_once(L, base, n_args);
        retry.is_error = status != LUA_OK;
        retry.value = lua_gettop(L) > base ? base + 1 : 0;
        luaL_checkstack(L, 20, NULL);
        if (retry.is_error) {
            static const struct err failed = {.kind = ERR_PASSING};
            if (status == LUA_ERRMEM || sandbox_must_end(L) || !on_error ||
                !wait_for_next(L, &b, &failed))
                return lua_error(L);
        } else if (!predicate || !ask(&retry, "retry_if")) {
            backoff_done(&b);
            return lua_gettop(L) - base;
        } else if (!wait_for_next(L, &b, NULL)) {
            return lua_gettop(L) - base;
        }
    }
}
