/* sandbox: a Lua state whose memory, instructions and time are limited.
 *
 * Uses     Lua, slab, log, err, stop, clock. It knows neither the script's form nor the API:
 *          sandbox_stdlib and lua_etl are opened inside of it, and find it by their lua_State.
 * Threads  one for each sandbox.
 * Promise  no script can crash the process or occupy it for long: a call ends at the limits below,
 *          and a pcall within the call cannot hide that error from the caller. One gap is left: a C
 *          function of Lua's library that loops without executing instructions is not interrupted;
 *          sandbox_stdlib replaces or checks the functions that can do so.
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
    /* bytes of one state: a thousand times what our scripts need; several fit on one machine */
    SANDBOX_MEMORY = 256 << 20,
    /* instructions of one call, about a second; a document() needs some thousands */
    SANDBOX_INSTRUCTIONS = 100000000,
    /* microseconds of one call: processor time of the thread, measured once the call has lasted
     * this long */
    SANDBOX_US = 5000000,
};

/* What the API can use; all borrowed, for as long as the sandbox lives. Each may be NULL: a call
 * that needs it then raises an error that says when it is available. */
struct sandbox_services {
    struct pg_pool *pg;
    struct es *es;
    const char *state_path; /* for etl.state.read */
};

struct sandbox;

/* Returns an empty state, which the caller owns. path is the script's, for messages; borrowed.
 * NULL: no memory. */
struct sandbox *sandbox_new(const char *path, struct err *e);
/* Closes the state and frees its memory; s may be NULL. */
void sandbox_free(struct sandbox *s);
/* Sets the services; the struct is copied. */
void sandbox_serve(struct sandbox *s, const struct sandbox_services *services);

/* Calls body, which finds arg at index 1 as light userdata; C enters Lua only this way. body may
 * raise; arg belongs to the caller and survives the error. The limits start again with each call.
 * False: e has one line of text, "FILE:LINE: ..." if Lua knows the place. Its kind is ERR_USAGE,
 * or, if a server's error or a stop ended the call (sandbox_raise), the kind of that error. */
bool sandbox_call(struct sandbox *s, lua_CFunction body, void *arg, struct err *e);
/* The same for the call that runs the script's file: sandbox_is_loading is true within it. */
bool sandbox_load(struct sandbox *s, lua_CFunction body, void *arg, struct err *e);

/* Nothing is logged of what the file prints while it runs, within sandbox_load: another state runs
 * the same file, and logs it. */
void sandbox_mute(struct sandbox *s);
/* Whether it has printed something. s may be NULL. */
bool sandbox_was_mute(const struct sandbox *s);

/* Returns the state, for functions that cannot raise outside of a call. */
lua_State *sandbox_state(const struct sandbox *s);
/* Returns the path of the function's file as the user wrote it; Lua shortens long paths. Borrowed
 * from s or from ar. */
const char *sandbox_path(const struct sandbox *s, const lua_Debug *ar);

/* ---- for C functions that run inside ---- */

/* Pushes the script's text of len bytes as a function, or raises. It skips a byte order mark and a
 * first line "#!...". */
void sandbox_compile(lua_State *L, const char *text, size_t len);
/* Returns the services; borrowed from the sandbox. */
const struct sandbox_services *sandbox_services(lua_State *L);
/* Whether the script's file is running: within sandbox_load. */
bool sandbox_is_loading(lua_State *L);
/* Whether what the script prints now is not to be logged. */
bool sandbox_is_mute(lua_State *L);

/* Raises e, and does not return. If the script does not catch it, the call ends with e's kind, and
 * not as a mistake in the script. */
int sandbox_raise(lua_State *L, const struct err *e);
/* Whether an error must reach the caller: a limit is reached, or a stop was requested. */
bool sandbox_must_end(lua_State *L);
/* Whether a limit is reached. */
bool sandbox_is_over(lua_State *L);
/* Counts instructions for work that the hook does not see. */
void sandbox_charge(lua_State *L, int64_t instructions);
/* The same; raises if a limit is reached. */
void sandbox_spend(lua_State *L, int64_t instructions);
