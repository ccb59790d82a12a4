#include "script/fingerprint.h"

#include "base/err.h"
#include "base/hash.h"
#include "script/pipeline.h"
#include "script/script.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

enum {
    DEPTH = 3,          /* of functions that call functions */
    TEXT_MAX = 8 << 20, /* bytes of a template */
};

static void add(uint64_t *hash, const char *text, size_t len)
{
    /* 0xff is no byte of UTF-8: "ab", "c" is not "a", "bc" */
    *hash = hash_byte(hash_bytes(*hash, text, len), 0xff);
}

static void add_text(uint64_t *hash, const char *text)
{
    add(hash, text ? text : "", text ? strlen(text) : 0);
}

/* ---- functions ---- */

struct hashing {
    struct script *script;
    uint64_t hash;
};

/* Lines first to last of the script, the first being 1. */
static void add_lines(struct hashing *h, int first, int last)
{
    const struct buf *text = &script_source(h->script)->text;
    const char *p = text->data, *end = p + text->len;
    for (int line = 1; p < end && line <= last; line++) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *next = eol ? eol + 1 : end;
        if (line >= first)
            add(&h->hash, p, (size_t)(next - p));
        p = next;
    }
}

/* Adds the function on top of the stack, and pops it. One that stands in another file, or in C, is
 * passed over. */
static void add_function(lua_State *L, struct hashing *h, int depth)
{
    lua_Debug ar;
    luaL_checkstack(L, 10, NULL);
    int function = lua_gettop(L);
    lua_pushvalue(L, function);
    lua_getinfo(L, ">S", &ar);
    bool ours = *ar.what != 'C' && ar.linedefined > 0;
    if (ours && strcmp(ar.source + 1, script_source(h->script)->path) == 0) {
        add_lines(h, ar.linedefined, ar.lastlinedefined);
        for (int i = 1; depth < DEPTH && lua_getupvalue(L, function, i); i++)
            if (lua_isfunction(L, -1) && !lua_rawequal(L, -1, function))
                add_function(L, h, depth + 1);
            else
                lua_pop(L, 1);
    }
    lua_settop(L, function - 1);
}

static int add_document(lua_State *L)
{
    struct hashing *h = lua_touserdata(L, 1);
    script_push_functions(h->script);
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) == LUA_TFUNCTION; i++)
        add_function(L, h, 0);
    return 0;
}

/* A function has none, so that its hash is what it always was. */
static bool add_template(struct hashing *h, struct err *e)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    script_describe_template(h->script, &text);
    bool ok = !text.failed || err_memory(e);
    if (ok && text.len > 0)
        add(&h->hash, text.data, text.len);
    buf_free(&text);
    return ok;
}

static uint32_t fold(uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32);
}

bool fingerprint_read(struct script *s, const struct pipeline *p, char out[FINGERPRINT_TEXT],
                      struct err *e)
{
    struct hashing h = {.script = s, .hash = HASH_START};
    uint64_t index = HASH_START;
    add_text(&h.hash, p->source.query);
    for (size_t i = 0; i < p->source.key.n; i++)
        add_text(&h.hash, p->source.key.list[i]);
    add_text(&index, p->sink.settings);
    add_text(&index, p->sink.mappings);
    if (!add_template(&h, e) || !script_call(s, add_document, &h, e))
        return false;
    snprintf(out, FINGERPRINT_TEXT, "%08" PRIx32 "%08" PRIx32, fold(h.hash), fold(index));
    return true;
}
