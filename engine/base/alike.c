#include "base/alike.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1000 }; /* bytes of a line that are kept */
/* between two lines of one kind, after the first few */
static const int64_t PAUSE_US = (int64_t)60 * 1000000;

struct kind {
    uint64_t hash;
    uint64_t logged;
    int64_t logged_us; /* when the last line was logged; monotonic */
    uint64_t left_out; /* lines since then */
    char text[TEXT];   /* the last of these */
};

struct alike {
    pthread_mutex_t lock;
    size_t n;
    struct kind kinds[ALIKE_KINDS];
};

struct alike *alike_new(struct err *e)
{
    struct alike *a = calloc(1, sizeof *a);
    if (!a) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&a->lock, NULL);
    return a;
}

static void log_rest(struct kind *k)
{
    if (k->left_out == 1)
        log_warn("%s", k->text);
    else if (k->left_out > 1)
        log_warn("%s (and %" PRIu64 " more like it)", k->text, k->left_out - 1);
    k->left_out = 0;
}

void alike_free(struct alike *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++)
        log_rest(&a->kinds[i]);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* FNV-1a of the characters that count. */
uint64_t alike_kind(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    const char *end = strstr(text, " (key ");
    size_t len = end ? (size_t)(end - text) : strlen(text);
    bool quoted = false, line = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool digit = c >= '0' && c <= '9';
        line = digit ? line || (i > 0 && text[i - 1] == ':') : false; /* "script.lua:12:" */
        quoted ^= c == '\'' || c == '"';
        if ((!quoted && (!digit || line)) || c == '\'' || c == '"')
            hash = (hash ^ (unsigned char)c) * 1099511628211u;
    }
    return hash;
}

static struct kind *find(struct alike *a, const char *text)
{
    uint64_t hash = alike_kind(text);
    size_t i = 0;
    while (i < a->n && a->kinds[i].hash != hash)
        i++;
    if (i == ALIKE_KINDS)
        return &a->kinds[ALIKE_KINDS - 1];
    if (i == a->n)
        a->kinds[a->n++] = (struct kind){.hash = hash};
    return &a->kinds[i];
}

void alike_warn(struct alike *a, const char *kind, const char *format, ...)
{
    char text[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&a->lock);
    struct kind *k = find(a, kind);
    int64_t now_us = clock_mono_us();
    k->left_out++;
    memcpy(k->text, text, sizeof text);
    if (k->logged < ALIKE_WHOLE || now_us - k->logged_us >= PAUSE_US) {
        log_rest(k);
        k->logged++;
        k->logged_us = now_us;
    }
    pthread_mutex_unlock(&a->lock);
}
