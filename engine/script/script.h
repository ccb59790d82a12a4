/* script: a user's Lua file, run in a sandbox, and the table that it returned.
 *
 * Uses     sandbox (limits), sandbox_stdlib and lua_etl (what the file finds in it).
 * Threads  one state for each thread; a script_text is read once and shared.
 * Promise  that of sandbox: a script cannot crash, hang or leave the process. What it prints goes
 *          to stderr, as log lines.
 *
 *     script.c           the file is run, and its table kept
 *     script_document.c  rows to documents
 *     script_hook.c      before_run, after_run
 */
#pragma once
#include "lua/sandbox.h"
#include "pg/pg.h"
#include "script/script_text.h"

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

struct buf;
struct err;
struct keylist;
struct script;

/* Sets the names of the pipelines that the script returns as a list; none: it returns one pipeline,
 * not in a list. What the file prints is logged only if it fails: script_open logs it. names: safe
 * to free. */
bool script_list(const struct script_text *t, struct keylist *names, struct err *e);
/* Finds the pipeline that t->name names, if it names one. */
bool script_choose(struct script_text *t, struct err *e);
/* Runs the file; what it returned is kept. t: borrowed. NULL, ERR_USAGE: "FILE:LINE: ..." */
struct script *script_open(const struct script_text *t, struct err *e);
/* The same, if it is opened elsewhere, too: what the file prints while it runs is not logged. */
struct script *script_open_again(const struct script_text *t, struct err *e);
void script_close(struct script *s);                                          /* NULL is fine */
void script_serve(struct script *s, const struct sandbox_services *services); /* copied */

/* Pushes the table that the script returned. */
void script_push_table(const struct script *s);
const struct script_text *script_source(const struct script *s);
/* See sandbox_call. */
bool script_call(struct script *s, lua_CFunction body, void *arg, struct err *e);

/* ---- documents: `document` is a template, a function, or left out ---- */

/* Checks a template; columns: those of the query, if known, or NULL. False, ERR_USAGE: "FILE:LINE:
 * field 'title' in document: the query has no column 'titel', did you mean 'title'?" */
bool script_check(const struct script *s, const struct pg_columns *columns, struct err *e);

struct script_row {
    const struct pg_columns *columns; /* of res: pg_columns_fit says so */
    const PGresult *res;
    int n;           /* which row of it */
    const char *key; /* for messages */
};

/* What came of a row, besides the document's text. */
struct script_made {
    bool present; /* there is a document; if not, an existing one is to be deleted */
    bool nothing; /* document() came to its end without a return: not even nil */
    /* Metadata, the second value that document() returned; empty: not given. Sizes are those that
     * servers allow. */
    char index[256], routing[513], pipeline[257];
};

/* Makes the row's document and adds its JSON to out. False: e names script and line, key and the
 * row's columns, and nothing of the document stays in out; ERR_FINAL is about this document,
 * ERR_PASSING and ERR_STOPPED are about a server that the script asked; ERR_USAGE is about the
 * script: its very first row was asked for a column that the query does not have. */
bool script_document(struct script *s, const struct script_row *row, struct buf *out,
                     struct script_made *made, struct err *e);

/* Whether document() has no `return` that gives anything, not even nil: it was forgotten, unless
 * all that it does is to raise. */
bool script_never_returns(const struct script *s);
/* Whether each `return` has a value, and one stands at the end: if a call gives nothing, not even
 * nil, a function whose result it returns has forgotten its own `return`. */
bool script_always_returns(const struct script *s);
/* Pushes a list of the functions that documents are made by: document(), or those of the template.
 * Within script_call. */
void script_push_functions(const struct script *s);
/* Adds what a template says besides its functions, as a text. */
void script_describe_template(const struct script *s, struct buf *out);
/* That a document() should have returned something: ERR_USAGE, with file and line. Always false. */
bool script_returned_nothing(struct script *s, struct err *e);

/* ---- hooks ---- */

struct script_run { /* what hooks get, as a table */
    const char *pipeline;
    bool dry_run;
    bool ended; /* the run is over: what follows is known, and passed on */
    bool ok;
    uint64_t documents, deleted, rejected;
    double seconds;
};
/* Calls hook "before_run" or "after_run", if the script has it. */
bool script_hook(struct script *s, const char *name, const struct script_run *run, struct err *e);
