/* err: what went wrong, as a value that is returned up to the caller that decides what to do.
 *
 * Uses     text. It never allocates, so it works without memory.
 * Threads  any, each with errors of its own.
 * Promise  the text can be printed as it is, and never holds a password. A text that is too long is
 *          cut, never in the middle of a UTF-8 character. Arguments may point into the error
 *          itself.
 *
 *     if (!pg_exec(pg, sql, 0, NULL, &res, e))
 *         return err_wrap(e, "could not read table '%s'", table);
 *
 * A function that can fail returns bool and fills a struct err. No errno, SQLSTATE or HTTP status
 * leaves the module that received it. An error is logged or returned, never both.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What to do about the error, not what it was. */
enum err_kind {
    ERR_NONE,
    ERR_PASSING, /* the same request may succeed later: wait and retry ("could not ...") */
    ERR_FINAL,   /* the same request fails again ("cannot ...") */
    ERR_USAGE,   /* the user's command line or script is wrong */
    ERR_STOPPED, /* a signal asked us to end */
};

/* Which part of the request caused the error, if that is known: another request may then work. */
enum err_fault {
    ERR_FAULT_UNKNOWN,
    ERR_FAULT_SIZE,    /* passing: it took too long, or too much memory: a smaller one may work */
    ERR_FAULT_ROW,     /* final: one row; without it, the others may work */
    ERR_FAULT_REQUEST, /* final: the request itself, as the script has it */
    ERR_FAULT_HELD,    /* final: another process has the lock; it may do what was asked */
    ERR_FAULT_SCHEMA,  /* final: a table or column has changed since the query was described */
    ERR_FAULT_DENIED,  /* final: a privilege is missing */
    ERR_FAULT_SERVER,  /* final: another server answers than before, or the same one set back */
    ERR_FAULT_ACCESS,  /* final: the user may not do this */
};

enum { ERR_TEXT = 600 }; /* bytes, with the final zero */

struct err {
    enum err_kind kind;
    enum err_fault fault;
    int64_t retry_after_ms; /* the wait that the server asks for (Retry-After); 0: none */
    bool overloaded;        /* the search server is overloaded: send less at a time */
    char text[ERR_TEXT];
    char hint[300]; /* the remedy, if one is known; else empty */
};

/* Sets kind and text, without a full stop at its end, and clears all other fields. Always returns
 * false, for `return err_set(...)`. */
bool err_set(struct err *e, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prepends context: "CONTEXT: TEXT". Keeps all other fields; cuts a very long context. Always
 * returns false. */
bool err_wrap(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets the remedy. Always returns false. */
bool err_hint(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets ERR_FINAL "out of memory". Always returns false. */
bool err_memory(struct err *e);
