/* alike: warnings that repeat. Of lines that differ only in keys and numbers, the first few are
 * logged as they are, then one a minute, with the number of lines left out.
 *
 * Uses     log, clock, err.
 * Threads  any; one mutex.
 *
 *     alike_warn(a, reason, "document '%s' rejected: %s", key, reason);
 *     alike_free(a);    // "document '7' rejected: ... (and 245 more like it)"
 */
#pragma once
#include <stdint.h>

struct err;
struct alike;

enum {
    ALIKE_WHOLE = 3, /* lines of one kind that are logged as they are */
    ALIKE_KINDS = 20 /* kinds that are distinguished; all others count as one */
};

struct alike *alike_new(struct err *e); /* NULL: no memory */
/* Logs what has been left out. NULL is fine. */
void alike_free(struct alike *a);

/* Logs a warning, or counts it. kind: the part of the line that decides which lines are alike; in
 * it, quoted text, numbers (except line numbers, after a colon) and everything from " (key " on are
 * ignored. */
void alike_warn(struct alike *a, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same number for all texts that are alike in that sense. */
uint64_t alike_kind(const char *text);
