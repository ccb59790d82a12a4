#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/witness.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    /* bytes; with time and name a text line is below 4096, so a write to a pipe is atomic */
    MESSAGE = 3800,
    FIELD = 320, /* bytes of a field's text: as many as a hint may have */
    NAME = 40,   /* of a field's name, with what is around it */
    /* as JSON each byte may become two; 600 for time and names, or for a status line with its
     * escapes */
    ROOM = 2 * MESSAGE + LOG_FIELDS_MAX * (2 * FIELD + NAME) + 600,
    STATUS = 400,
};

static const char CLEAR[] = "\r\x1b[K";
static const char *const names[] = {"error", "warn", "info", "debug"};
static const char *const colors[] = {"\x1b[31m", "\x1b[33m", "", "\x1b[2m"};

static struct log_options how = {.level = LOG_INFO}; /* read-only once threads have started */
static bool naming;                                  /* likewise */
static _Thread_local char thread[16], pipeline[64];
static _Thread_local log_take *divert; /* NULL: lines are written */
static _Thread_local void *divert_arg;
/* guards `status`, and every write */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char status[STATUS];

void log_setup(const struct log_options *options)
{
    how = *options;
}

bool log_enabled(enum log_level level)
{
    return level <= how.level;
}

void log_thread(const char *name)
{
    snprintf(thread, sizeof thread, "%s", name ? name : "");
}

void log_pipeline(const char *name)
{
    snprintf(pipeline, sizeof pipeline, "%s", name ? name : "");
}

void log_name_pipelines(void)
{
    naming = true;
}

void log_divert(log_take *take, void *arg)
{
    divert = take;
    divert_arg = arg;
}

/* Makes the text one line of valid UTF-8: control characters (also those of two bytes) become
 * spaces, and bytes that are not UTF-8 become '?'. The text never grows. cut: the text may end with
 * an incomplete character, which is removed. */
static void clean(char *text, bool cut)
{
    char *o = text;
    for (char *p = text, *end = text + strlen(text); p < end;) {
        size_t n = json_character(p, (size_t)(end - p));
        if (n == 0 && cut && end - p < 4)
            break;
        bool control = n == 1 ? (unsigned char)*p < 0x20 || *p == 0x7F
                              : n == 2 && *p == '\xC2' && p[1] < '\xA0';
        if (n == 0 || control) {
            *o++ = n == 0 ? '?' : ' ';
            p += n == 0 ? 1 : n;
        } else {
            memmove(o, p, n);
            o += n;
            p += n;
        }
    }
    *o = '\0';
}

/* A buffer on the stack, so that errors are logged without memory. It never grows, so it is never
 * freed. */
static struct buf on_stack(char *memory, size_t size)
{
    return (struct buf){.data = memory, .cap = size, .max = size - 1};
}

/* ---- fields ---- */

struct log_field log_int(const char *name, long long n)
{
    return (struct log_field){.name = name, .type = LOG_INT, .number = n};
}

struct log_field log_real(const char *name, double x)
{
    return (struct log_field){.name = name, .type = LOG_REAL, .real = x};
}

struct log_field log_text(const char *name, const char *text)
{
    return (struct log_field){.name = name, .type = text ? LOG_TEXT : LOG_NOTHING, .text = text};
}

struct log_field log_if(bool condition, struct log_field field)
{
    if (!condition)
        field.type = LOG_NOTHING;
    return field;
}

struct log_field log_kind(const struct err *e)
{
    static const char *const kinds[] = {[ERR_PASSING] = "passing",
                                        [ERR_FINAL] = "final",
                                        [ERR_USAGE] = "usage",
                                        [ERR_STOPPED] = "stopped"};
    return (struct log_field){.name = "kind",
                              .type = e->kind == ERR_NONE ? LOG_NOTHING : LOG_WORD,
                              .text = kinds[e->kind]};
}

struct log_field log_hint(const struct err *e)
{
    return (struct log_field){
        .name = "hint", .type = e->hint[0] ? LOG_HINT : LOG_NOTHING, .text = e->hint};
}

static const char *hint_of(const struct log_field *fields)
{
    for (; fields && fields->type != LOG_END; fields++)
        if (fields->type == LOG_HINT)
            return fields->text;
    return NULL;
}

static void add_text_field(struct buf *b, const char *text)
{
    char copy[FIELD + sizeof "…"];
    bool cut = snprintf(copy, FIELD, "%s", text) >= FIELD;
    clean(copy, cut);
    if (cut)
        memcpy(copy + strlen(copy), "…", sizeof "…");
    json_add_string(b, copy, strlen(copy));
}

static void add_field(struct buf *b, const struct log_field *f)
{
    if (f->type == LOG_NOTHING || (f->type == LOG_REAL && !isfinite(f->real)))
        return;
    buf_addf(b, ",\"%.*s\":", NAME - 4, f->name);
    if (f->type == LOG_INT)
        json_add_int(b, f->number);
    else if (f->type == LOG_REAL)
        buf_addf(b, "%.15g", fabs(f->real) < 1e9 ? round(f->real * 1e6) / 1e6 : f->real);
    else
        add_text_field(b, f->text);
}

/* ---- lines ---- */

static void add_json(struct buf *b, enum log_level level, const char *message,
                     const struct log_field *fields)
{
    char time[CLOCK_TEXT];
    buf_addf(b, "{\"time\":\"%s\",\"level\":\"%s\"", clock_text(clock_wall_us(), time),
             names[level]);
    if (pipeline[0]) {
        buf_adds(b, ",\"pipeline\":");
        json_add_string(b, pipeline, strlen(pipeline));
    }
    if (thread[0]) {
        buf_adds(b, ",\"worker\":");
        json_add_string(b, thread, strlen(thread));
    }
    buf_adds(b, ",\"message\":");
    json_add_string(b, message, strlen(message));
    for (int i = 0; fields && fields[i].type != LOG_END && i < LOG_FIELDS_MAX; i++)
        add_field(b, &fields[i]);
    buf_adds(b, "}\n");
}

static bool begins_with_name(const char *message)
{
    size_t len = strlen(pipeline);
    return strncmp(message, pipeline, len) == 0 && message[len] == ':';
}

static void add_text(struct buf *b, enum log_level level, const char *message)
{
    char time[CLOCK_TEXT];
    clock_text(clock_wall_us(), time);
    const char *color = how.color ? colors[level] : "";
    buf_addf(b, "%.*sZ %s%-5s%s ", (int)sizeof "2026-11-24T12:01:07.123" - 1, time, color,
             names[level], color[0] ? "\x1b[0m" : "");
    if (thread[0])
        buf_addf(b, "%-3s ", thread);
    if (naming && pipeline[0] && !begins_with_name(message))
        buf_addf(b, "%s: ", pipeline);
    buf_addf(b, "%s\n", message);
}

static void write_all(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, data, len);
        /* another process made the terminal non-blocking: wait a second */
        if (n < 0 && errno == EAGAIN)
            n = poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, 1000) > 0 ? 0
                                                                                            : -1;
        else if (n < 0 && errno == EINTR)
            n = 0;
        if (n < 0)
            return; /* nowhere to report it */
        data += n;
        len -= (size_t)n;
    }
}

/* Writes the lines above the status line. */
static void write_lines(const struct buf *lines)
{
    static char memory[ROOM + STATUS + 16]; /* guarded by `lock` */
    pthread_mutex_lock(&lock);
    struct buf b = on_stack(memory, sizeof memory);
    if (status[0])
        buf_adds(&b, CLEAR);
    buf_add(&b, lines->data, lines->len);
    buf_adds(&b, status);
    write_all(b.data, b.len);
    pthread_mutex_unlock(&lock);
}

struct message {
    char text[MESSAGE + sizeof "…"];
};

/* hint: follows in parentheses, if there is room; NULL: none. */
static void format_message(struct message *m, const char *hint, const char *format, va_list args)
{
    int n = vsnprintf(m->text, MESSAGE, format, args);
    if (n < 0)
        m->text[0] = '\0';
    if (n >= 0 && hint && (size_t)n + strlen(hint) < MESSAGE - 20)
        snprintf(m->text + n, MESSAGE - (size_t)n, " (hint: %s)", hint);
    clean(m->text, n >= MESSAGE);
    if (n >= MESSAGE)
        memcpy(m->text + strlen(m->text), "…", sizeof "…");
}

static void write_message(enum log_level level, const struct log_field *fields, const char *text)
{
    char memory[ROOM];
    struct buf b = on_stack(memory, sizeof memory);
    if (how.json)
        add_json(&b, level, text, fields);
    else
        add_text(&b, level, text);
    write_lines(&b);
}

static void log_message(enum log_level level, const struct log_field *fields, const char *format,
                        va_list args)
{
    if (!log_enabled(level) && level > LOG_WARN)
        return;
    int saved = errno;
    struct message m;
    format_message(&m, how.json && !divert ? NULL : hint_of(fields), format, args);
    if (!divert && level <= LOG_WARN)
        witness_line(level == LOG_ERROR, m.text);
    if (log_enabled(level) && divert)
        divert(level, m.text, divert_arg);
    else if (log_enabled(level))
        write_message(level, fields, m.text);
    errno = saved;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(level, NULL, format, args);
    va_end(args);
}

void log_line_with(enum log_level level, const struct log_field *fields, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(level, fields, format, args);
    va_end(args);
}

void log_fatal(const struct err *e)
{
    int saved = errno;
    struct err copy = *e;
    clean(copy.text, false);
    clean(copy.hint, false);
    log_status(NULL);
    char memory[ROOM];
    struct buf b = on_stack(memory, sizeof memory);
    if (how.json) {
        add_json(&b, LOG_ERROR, copy.text, LOG_FIELDS(LOG_ERR(&copy)));
    } else {
        buf_addf(&b, "etl-engine: %serror:%s %s\n", how.color ? colors[LOG_ERROR] : "",
                 how.color ? "\x1b[0m" : "", copy.text);
        if (copy.hint[0])
            buf_addf(&b, "hint: %s\n", copy.hint);
    }
    write_lines(&b);
    errno = saved;
}

/* A line that wraps could not be cleared: cuts it to one column less than the terminal has. */
static void cut_to_terminal(char *text)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return;
    size_t columns = 0;
    for (char *p = text; *p; p++)
        if (((unsigned char)*p & 0xC0) != 0x80 && ++columns >= size.ws_col) {
            *p = '\0';
            return;
        }
}

void log_status(const char *text)
{
    int saved = errno;
    char memory[STATUS + 16], next[STATUS];
    bool cut = snprintf(next, sizeof next, "%s", text ? text : "") >= STATUS;
    clean(next, cut);
    cut_to_terminal(next);
    pthread_mutex_lock(&lock);
    if (strcmp(status, next) != 0) {
        struct buf b = on_stack(memory, sizeof memory);
        buf_adds(&b, CLEAR);
        buf_adds(&b, next);
        memcpy(status, next, sizeof status);
        write_all(b.data, b.len);
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
}
