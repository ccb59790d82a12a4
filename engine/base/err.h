/* err: what went wrong, as a value that travels up to whoever decides.
 *
 * Uses     nothing. Never allocates: it works when memory is gone.
 * Promise  the text is complete enough to be printed as it is, and never holds a password. What is
 *          too long is cut, never in the middle of a UTF-8 character. Arguments may point into the
 *          error itself.
 *
 *     if (!pg_exec(pg, sql, 0, NULL, &res, e))
 *         return err_wrap(e, "could not read table '%s'", table);
 *
 * What can fail returns bool and fills a struct err; no errno, SQLSTATE or HTTP status leaves the
 * module that met it. Log it or return it, never both.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What to do about it, not what it was. */
enum err_kind {
    ERR_NONE,
    ERR_PASSING, /* the same again may succeed later: wait and retry ("could not ...") */
    ERR_FINAL,   /* the same again fails again ("cannot ...") */
    ERR_USAGE,   /* the user's command line or script is wrong */
    ERR_STOPPED, /* a signal asked us to end */
};

/* What of the request it was about, where that is known: something else may then work. */
enum err_fault {
    ERR_FAULT_UNKNOWN,
    ERR_FAULT_SIZE,    /* passing: it took too long, or too much: less at a time may work at once */
    ERR_FAULT_ROW,     /* final: a row raised it, so that the others may do without it */
    ERR_FAULT_REQUEST, /* final: what was asked, as the script says it */
    /* final: a table or column is not what it was when the query was described */
    ERR_FAULT_SCHEMA,
};

struct err {
    enum err_kind kind;
    enum err_fault fault;
    int64_t retry_after_ms; /* the server's own word on when to come back (Retry-After); 0: none */
    bool overloaded;        /* the search server is: the same again, but less at a time */
    char text[600];
    char hint[300]; /* the remedy, if we know one; else empty */
};

/* Sets kind and text, clears the rest. Always returns false, so that a failing function can `return
 * err_set(...)`. */
bool err_set(struct err *e, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts context in front: "CONTEXT: TEXT". Keeps all else; a very long context is cut. Always
 * returns false. */
bool err_wrap(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds the remedy. Always returns false. */
bool err_hint(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets ERR_FINAL "out of memory". Always returns false. */
bool err_memory(struct err *e);
