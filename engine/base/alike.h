/* alike: lines of the log that repeat. Of lines that differ only in keys and numbers, the first few
 * are logged as they are; the rest are counted, and logged as one line a minute.
 *
 * Uses     log, clock, err, hash.
 * Threads  any; one mutex for each struct alike. A pipeline has one, and each of its threads is
 *          told to use it; so modules that log need not know it.
 * Promise  no kind of line is logged more often than ALIKE_WHOLE times and once a minute, however
 *          long it goes on. What is left out is counted, and the count is logged before
 *          alike_free returns. A kind that has been silent for a minute is new again.
 *
 *     struct alike *a = alike_new(NULL, e);
 *     alike_use(a);                                     // on each thread
 *     alike_warn(reason, LOG_FIELDS(log_text("key", key)), "document '%s' rejected: %s", ...);
 *     alike_tick();                                     // now and then
 *     alike_free(a);
 *
 * "document '4' rejected: no such column; and 246 more like it (first key '4', last key '250')"
 *
 * As JSON, such a line has the fields "lines" (247), "first_key" and "last_key", and the first
 * one's other fields that are numbers.
 */
#pragma once
#include "base/log.h"

#include <stdint.h>

struct err;
struct alike;

enum {
    ALIKE_WHOLE = 5, /* lines of one kind that are logged as they are */
    ALIKE_KINDS = 20 /* kinds that are distinguished at a time; all others count as one */
};

/* clock_us: NULL: clock_mono_us. NULL: no memory. */
struct alike *alike_new(int64_t (*clock_us)(void), struct err *e);
/* Logs what has been left out. No thread uses it any more, except the calling one, which then uses
 * none. NULL is fine. */
void alike_free(struct alike *a);

/* The calling thread's, from now on (borrowed); NULL: each line is logged as it is. */
void alike_use(struct alike *a);
/* The calling thread's, for a thread that it starts. */
struct alike *alike_used(void);

/* Logs a line, or counts it. kind: the part of the line that decides which lines are alike (NULL:
 * all of it); in it, quoted text, numbers (except line numbers, after a colon) and everything from
 * " (key " on are ignored. The field "key" is the one that is counted by its first and last. */
void alike_line(enum log_level level, const char *kind, const struct log_field *fields,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
#define alike_warn(kind, fields, ...) alike_line(LOG_WARN, kind, fields, __VA_ARGS__)
#define alike_info(kind, fields, ...) alike_line(LOG_INFO, kind, fields, __VA_ARGS__)

/* For a line that nobody needs twice, since what it tells goes on until another line says how it
 * ended: LOG_WARN for the first one of its kind, and then once a minute; LOG_DEBUG for the others.
 * Without a struct alike always LOG_WARN. */
enum log_level alike_level(const char *kind);

/* Logs what has been left out for a minute, of the calling thread's; cheap. */
void alike_tick(void);
/* Logs what has been left out until now: something has ended. */
void alike_flush(void);

/* The same number for all texts that are alike in that sense. */
uint64_t alike_kind(const char *text);
