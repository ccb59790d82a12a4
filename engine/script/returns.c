#include "script/returns.h"

#include "base/err.h"
#include "script/lua_tokens.h"
#include "script/script_text.h"

#include <stdbool.h>
#include <string.h>

enum { DEPTH = 50 }; /* functions within functions */

struct function { /* one that is open, in the text */
    int line;     /* where it begins */
    int depth;    /* of its statements */
    int values;   /* how many `return`s have a value */
    bool empty;   /* one has none */
    bool at_end;  /* one with a value is its last statement */
};

struct reading {
    struct lua_tokens s;
    int first, last; /* lines of the function that is looked for */
    struct function open[DEPTH];
    int n, depth;
    int found;
    enum returns result;
};

static bool ends_block(const struct lua_tokens *s)
{
    static const char *const ends[] = {"end", "else", "elseif", "until", ";"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (lua_tokens_is(s, ends[i]))
            return true;
    return s->token.type == LUA_TOKEN_END;
}

static enum returns conclude(const struct function *f)
{
    if (f->values == 0)
        return RETURNS_NOTHING;
    return f->at_end && !f->empty ? RETURNS_AT_END : RETURNS_MAYBE;
}

static void close_function(struct reading *r, int line)
{
    const struct function *f = &r->open[--r->n];
    if (f->line != r->first || line != r->last)
        return;
    enum returns result = conclude(f);
    r->result = r->found++ == 0 || r->result == result ? result : RETURNS_MAYBE;
}

/* At `return`. */
static void note_return(struct reading *r)
{
    struct lua_tokens ahead = r->s;
    struct function *f = &r->open[r->n - 1];
    lua_tokens_next(&ahead);
    if (ends_block(&ahead)) {
        f->empty = true;
        return;
    }
    f->values++;
    f->at_end |= r->depth == f->depth;
}

/* False: functions are nested too deeply. */
static bool take_token(struct reading *r)
{
    int line = r->s.token.line;
    if (lua_tokens_is(&r->s, "return") && r->n > 0)
        note_return(r);
    r->depth += lua_tokens_deeper(&r->s);
    if (lua_tokens_is(&r->s, "function")) {
        if (r->n == DEPTH)
            return false;
        r->open[r->n++] = (struct function){.line = line, .depth = r->depth};
    } else if (r->n > 0 && r->depth < r->open[r->n - 1].depth) {
        close_function(r, line);
    }
    return true;
}

static enum returns read_text(const char *text, size_t len, const lua_Debug *ar)
{
    struct reading r = {
        .s = lua_tokens_open(text, len), .first = ar->linedefined, .last = ar->lastlinedefined};
    for (lua_tokens_next(&r.s); r.s.token.type != LUA_TOKEN_END; lua_tokens_next(&r.s))
        if (r.s.token.line > r.last || !take_token(&r))
            break;
    return r.result;
}

static enum returns read_module(const char *path, const lua_Debug *ar)
{
    struct script_text module;
    struct err e;
    if (!script_text_read(&module, path, &e))
        return RETURNS_MAYBE;
    enum returns result = read_text(module.text.data, module.text.len, ar);
    script_text_free(&module);
    return result;
}

enum returns returns_of(lua_State *L, int index, const struct script_text *source)
{
    lua_Debug ar;
    lua_pushvalue(L, index);
    lua_getinfo(L, ">S", &ar);
    if (*ar.what == 'C' || *ar.source == '=')
        return RETURNS_MAYBE;
    if (*ar.source != '@')
        return read_text(ar.source, strlen(ar.source), &ar);
    if (strcmp(ar.source + 1, source->path) != 0)
        return read_module(ar.source + 1, &ar);
    return read_text(source->text.data, source->text.len, &ar);
}
