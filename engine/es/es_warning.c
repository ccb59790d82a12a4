#include "es/es_warning.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/log.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct es_warnings {
    pthread_mutex_t lock;
    size_t n;
    uint64_t kinds[ES_WARNINGS];
};

struct es_warnings *es_warnings_new(struct err *e)
{
    struct es_warnings *w = calloc(1, sizeof *w);
    if (w)
        pthread_mutex_init(&w->lock, NULL);
    else
        err_memory(e);
    return w;
}

void es_warnings_free(struct es_warnings *w)
{
    if (!w)
        return;
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* ---- reading ---- */

static void skip_any(const char **at, const char *end, const char *of)
{
    while (*at < end && **at && strchr(of, **at))
        ++*at;
}

static bool continues(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* Ends a text before the character that `next` is a part of. */
static void end_text(char *out, size_t len, char next)
{
    while (continues(next) && len > 0)
        next = out[--len];
    out[len] = '\0';
}

/* Reads "TEXT", in which \ takes the next byte as it is. False: its last quote is missing. */
static bool read_quoted(const char **at, const char *end, char *out, size_t size)
{
    size_t len = 0;
    char next = '\0'; /* the first byte that has no room */
    if (*at == end || **at != '"')
        return false;
    for (++*at; *at < end && **at != '"'; ++*at) {
        *at += **at == '\\';
        if (*at == end)
            return false;
        if (len < size - 1)
            out[len++] = **at ? **at : ' ';
        else if (!next)
            next = **at;
    }
    end_text(out, len, next);
    if (*at == end)
        return false;
    ++*at;
    return true;
}

/* Whether it is 299, a warning that stays true: the others are those of caches. */
static bool read_code(const char **at, const char *end, bool *lasting)
{
    if (end - *at < 4 || (*at)[3] != ' ')
        return false;
    *lasting = memcmp(*at, "299", 3) == 0;
    *at += 4;
    return true;
}

bool es_warning_next(const char **at, const char *end, char out[ES_WARNING_TEXT])
{
    char date[40];
    bool lasting;
    skip_any(at, end, " \t,\r\n");
    if (!read_code(at, end, &lasting))
        return false;
    while (*at < end && **at != ' ' && **at != '"') /* the agent */
        ++*at;
    skip_any(at, end, " ");
    if (!read_quoted(at, end, out, ES_WARNING_TEXT))
        return false;
    skip_any(at, end, " ");
    if (*at < end && **at == '"' && !read_quoted(at, end, date, sizeof date))
        return false;
    if (!lasting)
        out[0] = '\0';
    return true;
}

/* ---- telling ---- */

/* False: it was told before, or too many were. */
static bool is_news(struct es_warnings *w, uint64_t kind)
{
    bool news = true;
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->n && news; i++)
        news = w->kinds[i] != kind;
    news = news && w->n < ES_WARNINGS;
    if (news)
        w->kinds[w->n++] = kind;
    pthread_mutex_unlock(&w->lock);
    return news;
}

void es_warnings_tell(struct es_warnings *w, const char *value, size_t len, const char *node)
{
    char text[ES_WARNING_TEXT];
    const char *at = value, *end = value + len;
    while (es_warning_next(&at, end, text))
        if (*text && is_news(w, alike_kind(text)))
            log_warn_with(LOG_FIELDS(log_text("node", node)), "the search server warns: %s", text);
}
