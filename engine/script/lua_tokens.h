/* lua_tokens: a scanner of Lua's tokens; it knows comments, strings and long brackets.
 *
 * Uses     nothing.
 * Promise  of any text it makes tokens and an end: what is no Lua gives tokens that mean nothing.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct lua_token {
    enum {
        LUA_TOKEN_END,
        LUA_TOKEN_NAME, /* or a reserved word */
        LUA_TOKEN_STRING,
        LUA_TOKEN_NUMBER,
        LUA_TOKEN_SYMBOL, /* one character, or == */
    } type;
    const char *text; /* of a string: without its quotes, escapes as written */
    size_t len;
    int line;      /* on which it begins */
    int text_line; /* of a string: on which its text begins */
};

struct lua_tokens {
    const char *p, *end; /* the text that is left; borrowed */
    int line;
    struct lua_token token; /* the present one */
};

/* Before the first token. A byte order mark and a first line "#!..." are skipped. */
struct lua_tokens lua_tokens_open(const char *text, size_t len);
void lua_tokens_next(struct lua_tokens *s);
/* Whether the present token is that name or symbol. */
bool lua_tokens_is(const struct lua_tokens *s, const char *text);
/* By how much the present token changes the depth of blocks (`for` and `while` have a `do`) and
 * brackets: 1, 0, -1. */
int lua_tokens_deeper(const struct lua_tokens *s);
