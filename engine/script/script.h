/* script: a user's Lua file in a fenced lua_State.
 *
 * Uses     Lua, value, encode, row, projection, suggest; fence installs the standard library,
 *          lua_etl the
 * API. Threads  one state for each thread; a script_text is read once and shared. Promise  a script
 *               cannot crash, hang or leave the process: its memory and the instructions of each
 *               call are limited (a pcall does not catch the limit for long), it has no way to the
 *               debug library, to C modules, binary chunks, finalizers, os.exit or the locale. What
 *               it prints goes to stderr, as log lines. One gap is left: a string pattern that
 *               backtracks for hours is not interrupted.
 */
#pragma once
#include "base/buf.h"
#include "pg/pg.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct es;
struct pipeline;

enum {
    SCRIPT_MEMORY =
        256
        /* bytes of one state: a thousand times what a script of ours needs; several fit a
         * machine */
        << 20,
    /* of one call, about a second: a document() needs some thousands */
    SCRIPT_INSTRUCTIONS = 100000000,
    /* of one call: this thread's work, once the call has lasted as long */
    SCRIPT_US = 5000000,
};

struct script_text {
    char *path; /* owned */
    struct buf text;
};
/* Whether a file that begins like that was saved as UTF-16, as some editors do. */
bool script_is_utf16(const char *text, size_t len);
/* Reads the file. False, ERR_USAGE: it cannot be read. */
bool script_read(struct script_text *t, const char *path, struct err *e);
void script_text_free(struct script_text *t); /* bears a zeroed struct */

/* What the API reaches; all borrowed, for as long as the script is open. Each may be NULL: a call
 * that needs it then is a Lua error that says when it is available. */
struct script_services {
    struct pg_pool *pg;
    struct es *es;
    const char *state_path; /* for etl.state.read */
};

struct script;

/* Makes a state, installs the API and runs the file; what it returned is kept. t: borrowed. NULL,
 * ERR_USAGE: "FILE:LINE: ..." */
struct script *script_open(const struct script_text *t, struct err *e);
void script_close(struct script *s);                                         /* NULL is fine */
void script_serve(struct script *s, const struct script_services *services); /* copied */
const struct script_services *script_services_of(lua_State *L);              /* for lua_etl */

/* Pushes the table that the script returned: for pipeline. */
void script_push_table(struct script *s);
const struct script_text *script_source(const struct script *s);

/* The one door from C into Lua. body may raise; what arg points to is the caller's and survives.
 * The limits start afresh. False: text "FILE:LINE: ..." where Lua knows it; ERR_USAGE, or, where a
 * server's error or a stop ended it (script_raise), the kind of that. */
bool script_call(struct script *s, lua_CFunction body, void *arg, struct err *e);

struct script_meta { /* what document() said besides; empty: nothing */
    char index[256]; /* bytes: what servers allow */
    char routing[513], pipeline[257];
    bool nothing; /* not even nil: it came to its end without a return */
};

/* Runs document() on row n of res, or does what it would do (projection), and adds the document's
 * JSON to out. *present false: it gave nil (a delete). False: e names script and line, key and the
 * row's columns, and nothing of the document stays in out; ERR_FINAL is about this document,
 * ERR_PASSING and ERR_STOPPED are about a server that document() asked; ERR_USAGE is about the
 * script: its very first row was asked for a column that the query does not have. */
bool script_document(struct script *s, const struct pg_columns *columns, const PGresult *res, int n,
                     const char *key, struct buf *out, struct script_meta *meta, bool *present,
                     struct err *e);

/* Whether document() has no `return` that gives anything, not even nil: it was forgotten, unless
 * all that it does is to raise. */
bool script_never_returns(const struct script *s);
/* Whether it only returns what other functions do, which may have forgotten theirs. */
bool script_returns_calls(const struct script *s);
/* That a document() should have returned something: ERR_USAGE, with file and line. Always false. */
bool script_returned_nothing(struct script *s, struct err *e);

struct script_run { /* what the hooks are told */
    const char *pipeline;
    bool dry_run;
    bool ended; /* what follows is known, and told */
    bool ok;
    uint64_t documents, deleted, rejected;
    double seconds;
};
/* Calls hook "before_run" or "after_run", if the script has it. */
bool script_hook(struct script *s, const char *name, const struct script_run *run, struct err *e);

/* ---- for C functions that a script calls ---- */

/* Raises e. Where it ends the call, the call ends with e's kind, not as a mistake in the script. */
int script_raise(lua_State *L, const struct err *e);
/* Whether an error must not be kept from the caller: the limit of instructions is reached, or a
 * stop was asked. */
bool script_must_end(lua_State *L);
bool script_is_over(lua_State *L);                      /* the limit of instructions is reached */
void script_charge(lua_State *L, int64_t instructions); /* counts work that the hook does not see */
/* the same, and raises if that was the last of it */
void script_spend(lua_State *L, int64_t instructions);
bool script_is_loading(lua_State *L); /* the file runs: script_open */
