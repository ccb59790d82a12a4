#include "script/script_lines.h"

#include "script/lua_tokens.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

/* From a value's first token to the ',' ';' or '}' after it. */
static void skip_value(struct lua_tokens *s)
{
    for (int depth = 0; s->token.type != LUA_TOKEN_END; lua_tokens_next(s)) {
        if (depth == 0 && (lua_tokens_is(s, ",") || lua_tokens_is(s, ";") || lua_tokens_is(s, "}")))
            return;
        depth += lua_tokens_deeper(s);
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
    if (strncmp(*path, "[\"", 2) == 0 && (end = strstr(*path, "\"]"))) {
        part.name = *path + 2;
        part.len = (size_t)(end - part.name);
        *path = end + 2;
        return part;
    }
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
static bool element_is(struct lua_tokens *s, const struct part *want, long *position)
{
    struct lua_tokens ahead = *s;
    struct lua_token key = s->token;
    lua_tokens_next(&ahead);
    if (lua_tokens_is(s, "[")) {
        key = ahead.token;
        lua_tokens_next(&ahead);
        if (!lua_tokens_is(&ahead, "]")) /* a longer expression: not one of our fields */
            return false;
        lua_tokens_next(&ahead);
    }
    bool named =
        (key.type == LUA_TOKEN_NAME || lua_tokens_is(s, "[")) && lua_tokens_is(&ahead, "=");
    if (!named)
        return ++*position == want->index && !want->name;
    lua_tokens_next(&ahead);
    *s = ahead;
    if (key.type == LUA_TOKEN_NUMBER)
        return !want->name && strtol(key.text, NULL, 10) == want->index;
    return want->name && key.len == want->len && memcmp(key.text, want->name, key.len) == 0;
}

/* After a table's '{': goes to the value of the element. *line: that of the element's first
 * token. */
static bool find_element(struct lua_tokens *s, const struct part *want, int *line)
{
    long position = 0;
    while (s->token.type != LUA_TOKEN_END && !lua_tokens_is(s, "}")) {
        int first = s->token.line;
        if (element_is(s, want, &position)) {
            *line = first;
            return true;
        }
        skip_value(s);
        if (lua_tokens_is(s, ",") || lua_tokens_is(s, ";"))
            lua_tokens_next(s);
    }
    return false;
}

/* Goes to the first token after the '{' of the last `return {` that is in no block. */
static bool find_return(struct lua_tokens *s, int *line)
{
    struct lua_tokens found;
    bool any = false;
    int depth = 0;
    lua_tokens_next(s);
    while (s->token.type != LUA_TOKEN_END) {
        bool at_return = depth == 0 && lua_tokens_is(s, "return");
        int at_line = s->token.line;
        depth += lua_tokens_deeper(s);
        lua_tokens_next(s);
        if (!at_return || !lua_tokens_is(s, "{"))
            continue;
        found = *s;
        *line = at_line;
        any = true;
    }
    if (!any)
        return false;
    *s = found;
    lua_tokens_next(s);
    return true;
}

/* Leaves s at the value's first token, if found. */
static bool find(struct lua_tokens *s, const char *text, size_t len, const char *path, int *line)
{
    *s = lua_tokens_open(text, len);
    *line = 0;
    if (!find_return(s, line))
        return false;
    while (*path) {
        struct part part = take_part(&path);
        if (!find_element(s, &part, line))
            return false;
        if (!*path)
            return true;
        if (!lua_tokens_is(s, "{"))
            return false;
        lua_tokens_next(s);
    }
    return true;
}

int script_lines_find(const char *text, size_t len, const char *path)
{
    struct lua_tokens s;
    int line;
    find(&s, text, len, path, &line);
    return line;
}

int script_lines_text(const char *text, size_t len, const char *path)
{
    struct lua_tokens s;
    int line;
    if (!*path || !find(&s, text, len, path, &line) || s.token.type != LUA_TOKEN_STRING)
        return 0;
    return s.token.text_line;
}

bool script_lines_has(const char *text, size_t len, const char *path)
{
    struct lua_tokens s;
    int line;
    return find(&s, text, len, path, &line);
}
