#include "base/alike.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1000, KEY = 100, NUMBERS = 6 }; /* of a line that is left out: what is kept */
static const int64_t WINDOW_US = (int64_t)60 * 1000000;

struct kind {
    uint64_t hash;
    enum log_level level;
    bool mixed;       /* it stands for all that have no place of their own */
    int64_t began_us; /* the window */
    int whole;        /* lines that may still be logged as they are, in it */
    uint64_t left_out;
    /* of the first line that was left out */
    char text[TEXT];
    struct log_field numbers[NUMBERS];
    size_t n_numbers;
    char first_key[KEY], last_key[KEY]; /* "": they have none */
};

struct alike {
    pthread_mutex_t lock;
    int64_t (*clock_us)(void);
    /* owned, made when they are needed; the last one is for what is of no other kind */
    struct kind *kinds[ALIKE_KINDS];
};

static _Thread_local struct alike *used;

struct alike *alike_new(int64_t (*clock_us)(void), struct err *e)
{
    struct alike *a = calloc(1, sizeof *a);
    if (!a) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&a->lock, NULL);
    a->clock_us = clock_us ? clock_us : clock_mono_us;
    return a;
}

void alike_use(struct alike *a)
{
    used = a;
}

struct alike *alike_used(void)
{
    return used;
}

/* ---- what was left out ---- */

/* The keys, as a part of a line. */
static void describe_keys(const struct kind *k, char *out, size_t size)
{
    out[0] = '\0';
    if (k->first_key[0])
        snprintf(out, size, " (first key '%s', last key '%s')", k->first_key, k->last_key);
}

static void log_rest(struct kind *k)
{
    struct log_field fields[NUMBERS + 4] = {0};
    char keys[2 * KEY + 40];
    bool several = k->left_out > 1;
    size_t n = k->n_numbers;
    memcpy(fields, k->numbers, n * sizeof *fields);
    fields[n++] = log_if(several, log_int("lines", (long long)k->left_out));
    if (k->first_key[0]) {
        fields[n++] = log_text(several ? "first_key" : "key", k->first_key);
        fields[n] = log_if(several, log_text("last_key", k->last_key));
    }
    describe_keys(k, keys, sizeof keys);
    if (several)
        log_line_with(k->level, fields, "%s; and %" PRIu64 " more %s%s", k->text, k->left_out - 1,
                      k->mixed ? "of other kinds" : "like it", keys);
    else if (k->left_out == 1)
        log_line_with(k->level, fields, "%s", k->text);
    k->left_out = 0;
}

/* Begins a window. Of a kind that goes on, all lines in it are counted. */
static void begin_window(struct kind *k, int64_t now)
{
    k->whole = k->left_out > 0 ? 0 : ALIKE_WHOLE;
    k->began_us = now;
    log_rest(k);
}

static bool is_over(const struct kind *k, int64_t now)
{
    return now - k->began_us >= WINDOW_US;
}

/* all: also of windows that have not ended. */
static void log_all(struct alike *a, bool all)
{
    pthread_mutex_lock(&a->lock);
    int64_t now = a->clock_us();
    for (size_t i = 0; i < ALIKE_KINDS; i++) {
        struct kind *k = a->kinds[i];
        if (k && k->left_out > 0 && (all || is_over(k, now)))
            begin_window(k, now);
    }
    pthread_mutex_unlock(&a->lock);
}

void alike_tick(void)
{
    if (used)
        log_all(used, false);
}

void alike_flush(void)
{
    if (used)
        log_all(used, true);
}

void alike_free(struct alike *a)
{
    if (!a)
        return;
    log_all(a, true);
    if (used == a)
        used = NULL;
    for (size_t i = 0; i < ALIKE_KINDS; i++)
        free(a->kinds[i]);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* ---- kinds ---- */

/* Of the characters that count. */
uint64_t alike_kind(const char *text)
{
    uint64_t hash = HASH_START;
    const char *end = strstr(text, " (key ");
    size_t len = end ? (size_t)(end - text) : strlen(text);
    bool quoted = false, line = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool digit = c >= '0' && c <= '9';
        line = digit ? line || (i > 0 && text[i - 1] == ':') : false; /* "script.lua:12:" */
        quoted ^= c == '\'' || c == '"';
        if ((!quoted && (!digit || line)) || c == '\'' || c == '"')
            hash = hash_byte(hash, (unsigned char)c);
    }
    return hash;
}

/* A place for a new kind: an empty one, or that of a kind that is silent. */
static struct kind *make(struct alike *a, int64_t now)
{
    struct kind **at = &a->kinds[ALIKE_KINDS - 1];
    for (size_t i = 0; i < ALIKE_KINDS - 1; i++) {
        struct kind *k = a->kinds[i];
        if (!k || (k->left_out == 0 && is_over(k, now))) {
            at = &a->kinds[i];
            break;
        }
    }
    bool mixed = at == &a->kinds[ALIKE_KINDS - 1];
    if (mixed && *at)
        return *at;
    if (!*at)
        *at = malloc(sizeof **at);
    if (*at)
        **at = (struct kind){.began_us = now - WINDOW_US, .mixed = mixed};
    return *at;
}

/* NULL: no memory. */
static struct kind *find(struct alike *a, enum log_level level, uint64_t hash, int64_t now)
{
    for (size_t i = 0; i < ALIKE_KINDS - 1; i++)
        if (a->kinds[i] && a->kinds[i]->hash == hash && a->kinds[i]->level == level)
            return a->kinds[i];
    struct kind *k = make(a, now);
    if (k) {
        k->hash = hash;
        k->level = k->mixed && level == LOG_DEBUG ? k->level : level; /* that of lines it counts */
    }
    return k;
}

/* ---- a line ---- */

static const char *key_of(const struct log_field *fields)
{
    for (; fields->type != LOG_END; fields++)
        if (fields->type == LOG_TEXT && strcmp(fields->name, "key") == 0)
            return fields->text;
    return "";
}

static void leave_out(struct kind *k, const char *text, const struct log_field *fields)
{
    const char *key = key_of(fields);
    snprintf(k->last_key, sizeof k->last_key, "%s", key);
    if (k->left_out++ > 0)
        return;
    snprintf(k->text, sizeof k->text, "%s", text);
    snprintf(k->first_key, sizeof k->first_key, "%s", key);
    k->n_numbers = 0;
    for (; fields->type != LOG_END && k->n_numbers < NUMBERS; fields++)
        if (fields->type == LOG_INT || fields->type == LOG_REAL || fields->type == LOG_WORD)
            k->numbers[k->n_numbers++] = *fields;
}

/* Whether the line is counted. */
static bool count(struct alike *a, struct kind *k, const char *text, const struct log_field *fields)
{
    int64_t now = a->clock_us();
    if (is_over(k, now))
        begin_window(k, now);
    if (k->whole > 0) {
        k->whole--;
        return false;
    }
    leave_out(k, text, fields);
    return true;
}

enum log_level alike_level(const char *kind)
{
    struct alike *a = used;
    if (!a)
        return LOG_WARN;
    pthread_mutex_lock(&a->lock);
    int64_t now = a->clock_us();
    /* LOG_DEBUG: alike_line, which counts no such lines, has other kinds. */
    struct kind *k = find(a, LOG_DEBUG, alike_kind(kind), now);
    bool due = !k || is_over(k, now);
    if (k && due)
        begin_window(k, now);
    pthread_mutex_unlock(&a->lock);
    return due ? LOG_WARN : LOG_DEBUG;
}

void alike_line(enum log_level level, const char *kind, const struct log_field *fields,
                const char *format, ...)
{
    static const struct log_field none[1];
    char text[TEXT];
    va_list args;
    if (!log_enabled(level))
        return;
    fields = fields ? fields : none;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct alike *a = used;
    if (a)
        pthread_mutex_lock(&a->lock);
    struct kind *k = a ? find(a, level, alike_kind(kind ? kind : text), a->clock_us()) : NULL;
    if (!k || !count(a, k, text, fields))
        log_line_with(level, fields, "%s", text);
    if (a)
        pthread_mutex_unlock(&a->lock);
}
