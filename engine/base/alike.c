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
/* between two lines of a kind, once it is known */
static const int64_t PAUSE_US = (int64_t)60 * 1000000;

struct kind {
    uint64_t hash;
    uint64_t logged, untold; /* untold: since the last line of it */
    int64_t logged_us;       /* when that was */
    char text[TEXT];         /* the last one that was not logged */
};

struct alike {
    pthread_mutex_t lock;
    size_t n;
    struct kind kinds[ALIKE_KINDS];
};

struct alike *alike_new(struct err *e)
{
    struct alike *r = calloc(1, sizeof *r);
    if (!r) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void tell_rest(struct kind *k)
{
    if (k->untold == 1)
        log_warn("%s", k->text);
    else if (k->untold > 1)
        log_warn("%s (and %" PRIu64 " more like it)", k->text, k->untold - 1);
    k->untold = 0;
}

void alike_free(struct alike *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        tell_rest(&r->kinds[i]);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* FNV-1a, of what makes a line's kind. */
static uint64_t hash_kind(const char *text)
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

static struct kind *find(struct alike *r, const char *text)
{
    uint64_t hash = hash_kind(text);
    size_t i = 0;
    while (i < r->n && r->kinds[i].hash != hash)
        i++;
    if (i == ALIKE_KINDS)
        return &r->kinds[ALIKE_KINDS - 1];
    if (i == r->n)
        r->kinds[r->n++] = (struct kind){.hash = hash};
    return &r->kinds[i];
}

void alike_warn(struct alike *r, const char *kind, const char *format, ...)
{
    char text[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&r->lock);
    struct kind *k = find(r, kind);
    int64_t now_us = clock_mono_us();
    k->untold++;
    memcpy(k->text, text, sizeof text);
    if (k->logged < ALIKE_WHOLE || now_us - k->logged_us >= PAUSE_US) {
        tell_rest(k);
        k->logged++;
        k->logged_us = now_us;
    }
    pthread_mutex_unlock(&r->lock);
}
