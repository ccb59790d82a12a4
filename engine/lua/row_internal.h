/* row_internal: what the files of the module row share; nobody else includes it.
 *
 *     row_value.c  a value's text, by the type of its column
 *     row.c        where values go: onto the Lua stack, or into JSON; arrays; rows
 */
#pragma once
#include "lua/row.h"

#include <string.h>

/* A value's text as PostgreSQL prints it. Behind text[len] there is always one byte more, and no
 * digit. */
struct piece {
    const char *text;
    size_t len;
};

static inline bool is(struct piece p, const char *text)
{
    return p.len == strlen(text) && memcmp(p.text, text, p.len) == 0;
}

enum { MOMENT = 64 }; /* bytes; the longest, a timestamptz BC with an offset in seconds, has 42 */

struct value {
    enum { TEXT, INTEGER, FLOAT, DECIMAL, BOOLEAN, BYTES, JSON } type;
    union {
        lua_Integer integer;
        double number;
        bool boolean;
    };
    struct piece text; /* of the other types; bytes as hexadecimal digits */
    char room[MOMENT];
};

/* Reads what is no array. False: the text is not what its type says. digits: those of a float are
 * the shortest ones, and may stay as they are. */
bool row_read(enum pg_kind kind, struct piece p, bool digits, struct value *v);

/* -1: it is no hexadecimal digit. */
static inline int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
