/* row_value: a value's text as PostgreSQL prints it, read by the type of its column.
 *
 * Uses     pg (types), json. Only row includes it.
 * Promise  exact, as row says.
 */
#pragma once
#include "pg/pg.h"

#include <stdbool.h>
#include <stdint.h>
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
        int64_t integer;
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
