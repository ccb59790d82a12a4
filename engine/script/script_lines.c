#include "script/script_lines.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum token_type { END, NAME, STRING, NUMBER, SYMBOL };

struct token {
    enum token_type type;
    const char *text; /* of a string: without its quotes, escapes as written */
    size_t len;
    int line;      /* on which it begins */
    int text_line; /* of a string: on which its text begins */
};

struct scanner {
    const char *p, *end;
    int line;
    struct token token; /* the present one */
};

/* ---- tokens ---- */

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char at(const struct scanner *s, size_t n)
{
    return n < (size_t)(s->end - s->p) ? s->p[n] : '\0';
}

static void step(struct scanner *s)
{
    if (s->p < s->end && *s->p++ == '\n')
        s->line++;
}

/* At "[[" or "[==[": the number of '='; else -1. */
static int long_bracket(const struct scanner *s)
{
    size_t n = 1;
    if (at(s, 0) != '[')
        return -1;
    while (at(s, n) == '=')
        n++;
    return at(s, n) == '[' ? (int)(n - 1) : -1;
}

static bool closes(const struct scanner *s, int level)
{
    if (at(s, 0) != ']' || at(s, (size_t)level + 1) != ']')
        return false;
    for (int i = 1; i <= level; i++)
        if (at(s, (size_t)i) != '=')
            return false;
    return true;
}

/* Leaves the text between the brackets in s->token. */
static void scan_long(struct scanner *s, int level)
{
    s->p += level + 2;
    if (at(s, 0) == '\r')
        step(s);
    if (at(s, 0) == '\n')
        step(s);
    s->token.text = s->p;
    s->token.text_line = s->line;
    while (s->p < s->end && !closes(s, level))
        step(s);
    s->token.len = (size_t)(s->p - s->token.text);
    s->p = s->end - s->p < level + 2 ? s->end : s->p + level + 2;
}

static void scan_quoted(struct scanner *s)
{
    char quote = *s->p++;
    s->token.text = s->p;
    s->token.text_line = s->line;
    while (s->p < s->end && *s->p != quote && *s->p != '\n') {
        if (*s->p == '\\')
            step(s);
        step(s);
    }
    s->token.len = (size_t)(s->p - s->token.text);
    if (at(s, 0) == quote)
        s->p++;
}

static void skip_space(struct scanner *s)
{
    for (;;) {
        while (s->p < s->end && strchr(" \t\r\n\f\v", *s->p))
            step(s);
        if (at(s, 0) != '-' || at(s, 1) != '-')
            return;
        s->p += 2;
        int level = long_bracket(s);
        if (level >= 0)
            scan_long(s, level);
        else
            while (s->p < s->end && *s->p != '\n')
                s->p++;
    }
}

static void next(struct scanner *s)
{
    skip_space(s);
    s->token = (struct token){.type = END, .text = s->p, .line = s->line};
    if (s->p >= s->end)
        return;
    int level = long_bracket(s);
    if (level >= 0) {
        s->token.type = STRING;
        scan_long(s, level);
        return;
    }
    char c = *s->p;
    if (c == '"' || c == '\'') {
        s->token.type = STRING;
        scan_quoted(s);
        return;
    }
    if (is_name(c)) {
        s->token.type = is_digit(c) ? NUMBER : NAME;
        while (is_name(at(s, 0)) || (is_digit(c) && at(s, 0) == '.'))
            s->p++;
    } else {
        s->token.type = SYMBOL;
        s->p += c == '=' && at(s, 1) == '=' ? 2 : 1;
    }
    s->token.len = (size_t)(s->p - s->token.text);
}

static bool is(const struct scanner *s, const char *text)
{
    return (s->token.type == NAME || s->token.type == SYMBOL) && s->token.len == strlen(text) &&
           memcmp(s->token.text, text, s->token.len) == 0;
}

/* How much deeper the nesting of blocks (`for` and `while` have a `do`) and brackets is behind this
 * token. */
static int deeper(const struct scanner *s)
{
    static const char *const opening[] = {"function", "do", "if", "repeat", "(", "[", "{"};
    static const char *const closing[] = {"end", "until", ")", "]", "}"};
    for (size_t i = 0; i < sizeof opening / sizeof *opening; i++)
        if (is(s, opening[i]))
            return 1;
    for (size_t i = 0; i < sizeof closing / sizeof *closing; i++)
        if (is(s, closing[i]))
            return -1;
    return 0;
}

/* ---- tables ---- */

/* From a value's first token to the ',' ';' or '}' behind it. */
static void skip_value(struct scanner *s)
{
    for (int depth = 0; s->token.type != END; next(s)) {
        if (depth == 0 && (is(s, ",") || is(s, ";") || is(s, "}")))
            return;
        depth += deeper(s);
    }
}

struct part { /* of a path: a name, or an index where name is NULL */
    const char *name;
    size_t len;
    long index;
};

/* Takes the first part off the path. */
static struct part take_part(const char **path)
{
    struct part part = {0};
    char *end;
    if (**path == '.')
        (*path)++;
    if (**path == '[') {
        part.index = strtol(*path + 1, &end, 10);
        *path = *end == ']' ? end + 1 : end;
        return part;
    }
    part.name = *path;
    part.len = strcspn(*path, ".[");
    *path += part.len;
    return part;
}

/* At an element's first token: whether the element is the one looked for. Leaves s at the value's
 * first token. */
static bool element_is(struct scanner *s, const struct part *want, long *position)
{
    struct scanner ahead = *s;
    struct token key = s->token;
    next(&ahead);
    if (is(s, "[")) {
        key = ahead.token;
        next(&ahead);
        if (!is(&ahead, "]")) /* a longer expression: not one of our fields */
            return false;
        next(&ahead);
    }
    bool named = (key.type == NAME || is(s, "[")) && is(&ahead, "=");
    if (!named)
        return ++*position == want->index && !want->name;
    next(&ahead);
    *s = ahead;
    if (key.type == NUMBER)
        return !want->name && strtol(key.text, NULL, 10) == want->index;
    return want->name && key.len == want->len && memcmp(key.text, want->name, key.len) == 0;
}

/* Behind a table's '{': goes to the value of the element. *line: that of the element's first
 * token. */
static bool find_element(struct scanner *s, const struct part *want, int *line)
{
    long position = 0;
    while (s->token.type != END && !is(s, "}")) {
        int first = s->token.line;
        if (element_is(s, want, &position)) {
            *line = first;
            return true;
        }
        skip_value(s);
        if (is(s, ",") || is(s, ";"))
            next(s);
    }
    return false;
}

/* Goes behind the '{' of the last `return {` that stands in no block. */
static bool find_return(struct scanner *s, int *line)
{
    struct scanner found;
    bool any = false;
    int depth = 0;
    next(s);
    while (s->token.type != END) {
        bool at_return = depth == 0 && is(s, "return");
        int at_line = s->token.line;
        depth += deeper(s);
        next(s);
        if (!at_return || !is(s, "{"))
            continue;
        found = *s;
        *line = at_line;
        any = true;
    }
    if (!any)
        return false;
    *s = found;
    next(s);
    return true;
}

/* Leaves s at the value's first token, if found. */
static bool find(struct scanner *s, const char *text, size_t len, const char *path, int *line)
{
    *s = (struct scanner){.p = text, .end = text + len, .line = 1};
    *line = 0;
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        s->p += 3;
    if (at(s, 0) == '#')
        while (s->p < s->end && *s->p != '\n')
            s->p++;
    if (!find_return(s, line))
        return false;
    while (*path) {
        struct part part = take_part(&path);
        if (!find_element(s, &part, line))
            return false;
        if (!*path)
            return true;
        if (!is(s, "{"))
            return false;
        next(s);
    }
    return true;
}

int script_lines_find(const char *text, size_t len, const char *path)
{
    struct scanner s;
    int line;
    find(&s, text, len, path, &line);
    return line;
}

int script_lines_text(const char *text, size_t len, const char *path)
{
    struct scanner s;
    int line;
    if (!*path || !find(&s, text, len, path, &line) || s.token.type != STRING)
        return 0;
    return s.token.text_line;
}
