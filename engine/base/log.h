/* log: one event, one line, on stderr.
 *
 * Uses     clock, err, buf, json (to write JSON lines). Never allocates: it works when memory is
 *          gone.
 * Threads  any; each line is one write.
 * Promise  a message is one line of valid UTF-8, whatever is in it; one above 3,800 bytes is cut,
 *          and ends in "…". errno is left as it was.
 *
 *     log_warn("document '%s' rejected: %s", key, reason);
 *
 * text:  2026-11-24T12:01:07.123Z warn  w2  document '7' rejected: ...
 * json:  {"time":"2026-11-24T12:01:07.123456Z","level":"warn","worker":"w2","message":"document '7'
 *        rejected: ..."}
 */
#pragma once
#include <stdbool.h>

struct err;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_options {
    enum log_level level; /* what is less urgent is not printed */
    bool json;
    bool color; /* the caller has looked at NO_COLOR and at the terminal */
};

/* once, from main, before any thread; until then LOG_INFO, text */
void log_setup(const struct log_options *options);
bool log_enabled(enum log_level level);
/* names this thread in its lines ("w1"); copied, at most 15 bytes */
void log_thread(const char *name);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* The error that ends the command: "etl-engine: error: TEXT", then "hint: HINT" on a line of its
 * own (as JSON: one object with "hint"). Printed on every level. */
void log_fatal(const struct err *e);

/* A line that is overwritten in place, below all others, for a terminal, and no wider than it. NULL
 * takes it away. */
void log_status(const char *text);
