/* alike: lines that say the same again and again, but for keys and numbers: the first few as they
 * are, then one a minute, and how many there were besides.
 *
 * Uses     log, clock, err.
 * Threads  any; one mutex.
 *
 *     alike_warn(r, reason, "document '%s' rejected: %s", key, reason);
 *     alike_free(r);    // "document '7' rejected: ...: and 245 more like it"
 */
#pragma once
#include <stdint.h>

struct err;
struct alike;

enum {
    ALIKE_WHOLE = 3, /* of one kind, that are logged as they are */
    ALIKE_KINDS = 20 /* that are told apart; all further ones are one */
};

struct alike *alike_new(struct err *e); /* NULL: no memory */
/* Tells of all that was not logged. NULL is fine. */
void alike_free(struct alike *r);

/* Logs a warning, unless there were some like it: `kind` is the part that tells, in which what
 * stands in quotes, numbers (but for a line's, behind a colon) and what follows " (key " do not
 * count. */
void alike_warn(struct alike *r, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
