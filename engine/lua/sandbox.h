/* sandbox: a Lua state whose memory, instructions and time are limited.
 *
 * Uses     Lua, slab, log, stop, clock. It knows neither the script's form nor the API: those are
 *          opened inside of it (sandbox_stdlib, lua_etl), and reach it by their lua_State.
 * Threads  one for each sandbox.
 * Promise  whatever runs inside cannot crash the process or hold it for long: a call ends at the
 *          limits below, and a pcall within the call cannot keep that error from the caller. One
 *          gap is left: a C function of Lua's library that loops without executing instructions is
 *          not interrupted; sandbox_stdlib replaces or checks the ones that can.
 *
 *     struct sandbox *s = sandbox_new(path, &e);
 *     ok = s && sandbox_load(s, open_libraries_and_run, arg, &e);
 *     ok = ok && sandbox_call(s, body, arg, &e);
 *     sandbox_free(s);
 */
#pragma once
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct es;
struct pg_pool;

enum {
    /* bytes of one state: a thousand times what a script of ours needs; several fit a machine */
    SANDBOX_MEMORY = 256 << 20,
    /* of one call, about a second: a document() needs some thousands */
    SANDBOX_INSTRUCTIONS = 100000000,
    /* microseconds of one call: the thread's processor time, once the call has lasted as long */
    SANDBOX_US = 5000000,
};

/* What the API reaches; all borrowed, for as long as the sandbox lives. Each may be NULL: a call
 * that needs it is then a Lua error that says when it is available. */
struct sandbox_services {
    struct pg_pool *pg;
    struct es *es;
    const char *state_path; /* for etl.state.read */
};

struct sandbox;

/* An empty state. path: of the script, for messages; borrowed. NULL: no memory. */
struct sandbox *sandbox_new(const char *path, struct err *e);
void sandbox_free(struct sandbox *s);                                           /* NULL is fine */
void sandbox_serve(struct sandbox *s, const struct sandbox_services *services); /* copied */

/* The one door from C into Lua: calls body, which finds arg at index 1 as light userdata. body may
 * raise; what arg points to is the caller's and survives. The limits start afresh. False: e's text
 * is one line, "FILE:LINE: ..." where Lua knows it; its kind is ERR_USAGE, or, where a server's
 * error or a stop ended the call (sandbox_raise), the kind of that. */
bool sandbox_call(struct sandbox *s, lua_CFunction body, void *arg, struct err *e);
/* The same, for the call that runs the script's file: sandbox_is_loading is true within it. */
bool sandbox_load(struct sandbox *s, lua_CFunction body, void *arg, struct err *e);

/* The state, for what cannot raise outside of a call. */
lua_State *sandbox_state(const struct sandbox *s);
/* The path of the function's file as the user wrote it: Lua shortens long ones. Borrowed from s or
 * from ar. */
const char *sandbox_path(const struct sandbox *s, const lua_Debug *ar);

/* ---- for C functions that run inside ---- */

/* Pushes the script's text as a function, or raises. A byte order mark and a first line "#!..." are
 * skipped. */
void sandbox_compile(lua_State *L, const char *text, size_t len);
const struct sandbox_services *sandbox_services(lua_State *L);
bool sandbox_is_loading(lua_State *L); /* the script's file runs */

/* Raises e. If nothing catches it, the call ends with e's kind, not as a mistake in the script. */
int sandbox_raise(lua_State *L, const struct err *e);
/* Whether an error must not be kept from the caller: a limit is reached, or a stop was asked. */
bool sandbox_must_end(lua_State *L);
bool sandbox_is_over(lua_State *L); /* a limit is reached */
/* Counts work that the hook does not see. */
void sandbox_charge(lua_State *L, int64_t instructions);
/* The same, and raises if that reached the limit. */
void sandbox_spend(lua_State *L, int64_t instructions);
