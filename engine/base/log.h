/* log: one event, one line, on stderr.
 *
 * Uses     clock, err, witness, buf, json (to write JSON lines). It never allocates, so it works
 *          without memory.
 * Threads  any; each line is one write.
 * Promise  every message becomes one line of valid UTF-8; a message above 3,800 bytes is cut, and
 *          ends in "…". A line of JSON has all of its fields, however long its message is. errno is
 *          unchanged.
 *
 *     log_warn_with(LOG_FIELDS(log_text("key", key), log_int("status", status)),
 *                   "document '%s' rejected: %s", key, reason);
 *
 * text:  2026-11-24T12:01:07.123Z warn  w2  document '7' rejected: ...
 * json:  {"time":"2026-11-24T12:01:07.123456Z","level":"warn","pipeline":"movies","worker":"w2",
 *        "message":"document '7' rejected: ...","key":"7","status":400}
 *
 * A number that a message names is a field, too; a key, an index or a slot is one where somebody
 * may look for it. A name always means the same, in the same unit (seconds, bytes, a number of
 * things); etl-engine-monitor(7) says what each one is, and a test compares the code with it:
 *
 *     documents indexed printed deleted unchanged superseded rejected dropped repeated dead_letters
 *     doing expected seconds_left seconds documents_per_second lag_seconds
 *     requests request_bytes retried_items requests_at_once request_bytes_most node status
 *     attempt wait_seconds give_up_seconds kind hint
 *     lines first_key last_key
 *     key keys next_keys rows bytes
 *     index alias table related_tables slot publication since transactions
 *     script line field path place thread process address port
 *     settings interval_seconds lookback_seconds gc_deletes_seconds behind_seconds
 *     horizon_seconds held_by
 *     errors warnings notes failed pipelines
 */
#pragma once
#include <stdbool.h>

struct err;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_options {
    enum log_level level; /* less urgent messages are not logged */
    bool json;
    bool color; /* the caller has checked NO_COLOR and the terminal */
};

/* Called once, from main, before any thread starts. The default is text, from LOG_INFO on. */
void log_setup(const struct log_options *options);
bool log_enabled(enum log_level level);
/* Sets the calling thread's name in its lines ("w1"); copied, at most 15 bytes. NULL: none. */
void log_thread(const char *name);
/* Sets the pipeline of the calling thread's lines; copied, at most 63 bytes. NULL: none. */
void log_pipeline(const char *name);
/* From now on text lines name the pipeline, too, unless they begin with it. Called before any
 * thread starts. */
void log_name_pipelines(void);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

enum log_type {
    LOG_END,     /* after the last field */
    LOG_NOTHING, /* left out */
    LOG_INT,
    LOG_REAL,
    LOG_TEXT,
    LOG_WORD, /* a text that lives as long as the process */
    LOG_HINT, /* an error's remedy: a line of text shows it, too, in parentheses */
};

struct log_field {
    const char *name; /* lives as long as the process */
    enum log_type type;
    long long number;
    double real;
    const char *text; /* borrowed */
};

enum { LOG_FIELDS_MAX = 16 }; /* of one line; more are left out */

#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {0}})
struct log_field log_int(const char *name, long long n);
struct log_field log_real(const char *name, double x);
struct log_field log_text(const char *name, const char *text); /* NULL: left out */
/* The field, or nothing. */
struct log_field log_if(bool condition, struct log_field field);
/* An error: what kind it is, and the remedy. Two fields. */
#define LOG_ERR(e) log_kind(e), log_hint(e)
struct log_field log_kind(const struct err *e); /* "kind": "passing", "final", "usage", "stopped" */
struct log_field log_hint(const struct err *e); /* "hint"; left out if it is empty */
/* A place in the user's script. Two fields. */
#define LOG_PLACE(path, line) log_text("script", path), log_int("line", line)

/* A line with fields: fields ends with a zeroed one. */
void log_line_with(enum log_level level, const struct log_field *fields, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define log_error_with(fields, ...) log_line_with(LOG_ERROR, fields, __VA_ARGS__)
#define log_warn_with(fields, ...) log_line_with(LOG_WARN, fields, __VA_ARGS__)
#define log_info_with(fields, ...) log_line_with(LOG_INFO, fields, __VA_ARGS__)
#define log_debug_with(fields, ...) log_line_with(LOG_DEBUG, fields, __VA_ARGS__)

/* From now on the calling thread's lines go to `take`, and are not written; NULL: they are written.
 * For a command that reports them in a form of its own. */
typedef void log_take(enum log_level level, const char *text, void *arg);
void log_divert(log_take *take, void *arg);

/* Logs the error that ends the command: "etl-engine: error: TEXT", then "hint: HINT" on a line of
 * its own (as JSON: one object with "kind" and "hint"). Logged at every level. */
void log_fatal(const struct err *e);

/* Shows a status line on the terminal, below all log lines; it replaces the last one, and is cut to
 * the terminal's width. NULL removes it. */
void log_status(const char *text);
