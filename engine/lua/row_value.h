/* row_value: reads the text of one value, as PostgreSQL prints it, by the type of its column.
 *
 * Uses     pg (types), json. Only row includes it.
 * Owns     nothing: texts are borrowed from the result, or lie in struct value.
 * Promise  values are exact, as row promises.
 */
#pragma once
#include "pg/pg.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The text of a value, as PostgreSQL prints it; borrowed. The byte text[len] can always be read and
 * is not a digit. */
struct piece {
    const char *text;
    size_t len;
};

/* Whether the piece equals text. */
static inline bool is(struct piece p, const char *text)
{
    return p.len == strlen(text) && memcmp(p.text, text, p.len) == 0;
}

enum { MOMENT = 64 }; /* bytes; the longest text, a timestamptz BC with seconds in its offset: 42 */

struct value {
    enum { TEXT, INTEGER, FLOAT, DECIMAL, BOOLEAN, BYTES, JSON } type;
    union {
        int64_t integer;
        double number;
        bool boolean;
    };
    struct piece text; /* of the other types; for BYTES, hexadecimal digits */
    char room[MOMENT]; /* holds the text of dates and times */
};

/* Reads one value that is not an array into v, which borrows the text of p. digits: a float may be
 * returned as DECIMAL, with the digits of p, if they are the shortest ones. False: the text does
 * not have the form of its type. */
bool row_read(enum pg_kind kind, struct piece p, bool digits, struct value *v);

/* Returns the value of a hexadecimal digit in lower case, or -1 for any other character. */
static inline int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
