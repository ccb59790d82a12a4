#include "script/lua_tokens.h"

#include <string.h>

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char at(const struct lua_tokens *s, size_t n)
{
    return n < (size_t)(s->end - s->p) ? s->p[n] : '\0';
}

static void step(struct lua_tokens *s)
{
    if (s->p < s->end && *s->p++ == '\n')
        s->line++;
}

/* At "[[" or "[==[": the number of '='; else -1. */
static int long_bracket(const struct lua_tokens *s)
{
    size_t n = 1;
    if (at(s, 0) != '[')
        return -1;
    while (at(s, n) == '=')
        n++;
    return at(s, n) == '[' ? (int)(n - 1) : -1;
}

static bool closes(const struct lua_tokens *s, int level)
{
    if (at(s, 0) != ']' || at(s, (size_t)level + 1) != ']')
        return false;
    for (int i = 1; i <= level; i++)
        if (at(s, (size_t)i) != '=')
            return false;
    return true;
}

/* Leaves the text between the brackets in s->token. */
static void scan_long(struct lua_tokens *s, int level)
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

static void scan_quoted(struct lua_tokens *s)
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

static void skip_space(struct lua_tokens *s)
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

void lua_tokens_next(struct lua_tokens *s)
{
    skip_space(s);
    s->token = (struct lua_token){.type = LUA_TOKEN_END, .text = s->p, .line = s->line};
    if (s->p >= s->end)
        return;
    int level = long_bracket(s);
    if (level >= 0) {
        s->token.type = LUA_TOKEN_STRING;
        scan_long(s, level);
        return;
    }
    char c = *s->p;
    if (c == '"' || c == '\'') {
        s->token.type = LUA_TOKEN_STRING;
        scan_quoted(s);
        return;
    }
    if (is_name(c)) {
        s->token.type = is_digit(c) ? LUA_TOKEN_NUMBER : LUA_TOKEN_NAME;
        while (is_name(at(s, 0)) || (is_digit(c) && at(s, 0) == '.'))
            s->p++;
    } else {
        s->token.type = LUA_TOKEN_SYMBOL;
        s->p += c == '=' && at(s, 1) == '=' ? 2 : 1;
    }
    s->token.len = (size_t)(s->p - s->token.text);
}

bool lua_tokens_is(const struct lua_tokens *s, const char *text)
{
    return (s->token.type == LUA_TOKEN_NAME || s->token.type == LUA_TOKEN_SYMBOL) &&
           s->token.len == strlen(text) && memcmp(s->token.text, text, s->token.len) == 0;
}

int lua_tokens_deeper(const struct lua_tokens *s)
{
    static const char *const opening[] = {"function", "do", "if", "repeat", "(", "[", "{"};
    static const char *const closing[] = {"end", "until", ")", "]", "}"};
    for (size_t i = 0; i < sizeof opening / sizeof *opening; i++)
        if (lua_tokens_is(s, opening[i]))
            return 1;
    for (size_t i = 0; i < sizeof closing / sizeof *closing; i++)
        if (lua_tokens_is(s, closing[i]))
            return -1;
    return 0;
}

struct lua_tokens lua_tokens_open(const char *text, size_t len)
{
    struct lua_tokens s = {.p = text, .end = text + len, .line = 1};
    if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        s.p += 3;
    if (at(&s, 0) == '#')
        while (s.p < s.end && *s.p != '\n')
            s.p++;
    return s;
}
