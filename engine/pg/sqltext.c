#include "pg/sqltext.h"

#include <string.h>
#include <strings.h>

struct scanner {
    const char *start, *p, *end;
};

static char at(const struct scanner *s, size_t n)
{
    return n < (size_t)(s->end - s->p) ? s->p[n] : '\0';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* After an opening '/' and '*'; comments nest. */
static bool skip_comment(struct scanner *s)
{
    for (int depth = 1; s->p < s->end;) {
        if (at(s, 0) == '*' && at(s, 1) == '/') {
            s->p += 2;
            if (--depth == 0)
                return true;
        } else if (at(s, 0) == '/' && at(s, 1) == '*') {
            s->p += 2;
            depth++;
        } else {
            s->p++;
        }
    }
    return false;
}

/* After an opening quote. A doubled quote ends the text and opens it again, which has the same
 * effect. */
static bool skip_quoted(struct scanner *s, char quote, bool escapes)
{
    while (s->p < s->end) {
        char c = *s->p++;
        if (c == quote)
            return true;
        if (escapes && c == '\\' && s->p < s->end)
            s->p++;
    }
    return false;
}

/* At "$tag$": its length with both dollar signs; 0: no tag ("$1", or a dollar within a word). */
static size_t dollar_tag(const struct scanner *s)
{
    size_t n = 1;
    if (at(s, 1) >= '0' && at(s, 1) <= '9')
        return 0;
    while (is_word(at(s, n)))
        n++;
    return at(s, n) == '$' ? n + 1 : 0;
}

static bool skip_dollar_quoted(struct scanner *s, size_t n)
{
    const char *tag = s->p;
    for (s->p += n; (size_t)(s->end - s->p) >= n; s->p++)
        if (memcmp(s->p, tag, n) == 0) {
            s->p += n;
            return true;
        }
    return false;
}

/* A word, and a string that follows it at once: E'...' has backslash escapes. */
static bool skip_word(struct scanner *s)
{
    const char *word = s->p;
    while (is_word(at(s, 0)) || at(s, 0) == '$')
        s->p++;
    bool escapes = s->p - word == 1 && (*word == 'e' || *word == 'E');
    if (!escapes || at(s, 0) != '\'')
        return true;
    s->p++;
    return skip_quoted(s, '\'', true);
}

/* One token that is neither space nor comment. False: it does not end. */
static bool skip_token(struct scanner *s)
{
    char c = *s->p;
    if (is_word(c))
        return skip_word(s);
    size_t tag = c == '$' ? dollar_tag(s) : 0;
    if (tag)
        return skip_dollar_quoted(s, tag);
    s->p++;
    return c == '\'' || c == '"' ? skip_quoted(s, c, false) : true;
}

/* False: a comment does not end. */
static bool skip_space(struct scanner *s)
{
    for (;;) {
        while (s->p < s->end && is_space(*s->p))
            s->p++;
        if (at(s, 0) == '-' && at(s, 1) == '-') {
            while (s->p < s->end && *s->p != '\n')
                s->p++;
        } else if (at(s, 0) == '/' && at(s, 1) == '*') {
            s->p += 2;
            if (!skip_comment(s))
                return false;
        } else {
            return true;
        }
    }
}

static bool mistake(struct sqltext *sql, const struct scanner *s, const char *where,
                    const char *text)
{
    sql->line = 1;
    for (const char *p = s->start; p < where; p++)
        sql->line += *p == '\n';
    sql->mistake = text;
    return false;
}

bool sqltext_read(struct sqltext *sql, const char *text, size_t len)
{
    struct scanner s = {text, text, text + len};
    bool ended = false; /* by a semicolon */
    *sql = (struct sqltext){0};
    for (;;) {
        const char *here = s.p;
        if (!skip_space(&s))
            return mistake(sql, &s, here, "a comment is not closed");
        if (s.p >= s.end)
            return true;
        here = s.p;
        if (*s.p == ';') {
            ended = true;
            s.p++;
            continue;
        }
        if (ended)
            return mistake(sql, &s, here,
                           "there is more than one statement: text follows a semicolon");
        if (!skip_token(&s))
            return mistake(sql, &s, here, "a quote is not closed");
        sql->len = (size_t)(s.p - text);
    }
}

static bool is_parameter(const struct scanner *s)
{
    return at(s, 0) == '$' && at(s, 1) >= '0' && at(s, 1) <= '9';
}

bool sqltext_next_parameter(struct sqltext_parameter *p, const char *text, size_t len)
{
    struct scanner s = {text, text + p->to, text + len};
    for (;;) {
        if (!skip_space(&s) || s.p >= s.end)
            return false;
        if (is_parameter(&s))
            break;
        if (!skip_token(&s))
            return false;
    }
    *p = (struct sqltext_parameter){.from = (size_t)(s.p - text)};
    for (s.p++; at(&s, 0) >= '0' && at(&s, 0) <= '9'; s.p++)
        p->n = p->n < 100000 ? p->n * 10 + (*s.p - '0') : p->n;
    p->to = (size_t)(s.p - text);
    return true;
}

bool sqltext_is_query(const char *text, size_t len)
{
    struct scanner s = {text, text, text + len};
    for (;; s.p++) {
        if (!skip_space(&s))
            return true;
        if (at(&s, 0) != '(')
            break;
    }
    const char *word = s.p;
    if (s.p < s.end && is_word(*s.p))
        skip_word(&s);
    size_t n = (size_t)(s.p - word);
    return (n == 6 && strncasecmp(word, "select", n) == 0) ||
           (n == 4 && strncasecmp(word, "with", n) == 0);
}
