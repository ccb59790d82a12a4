/* json: writes and reads JSON text without a tree. A writer appends to a buf; a reader returns one
 * token at a time.
 *
 * Uses     buf.
 * Threads  any, each with readers of its own.
 * Promise  numbers that were written are read as the same values; written text is valid UTF-8. The
 *          reader takes any bytes, never reads past their end, and does not recurse.
 *
 *     struct json_reader r;
 *     json_open(&r, text, len);
 *     json_next(&r);                                   // JSON_OBJECT
 *     while (json_next(&r) == JSON_KEY)
 *         if (json_is(&r, "errors")) errors = json_next(&r) == JSON_TRUE;
 *         else json_skip(&r);
 *     if (r.token != JSON_OBJECT_END || !json_end(&r)) ... r.error, r.at
 *     json_close(&r);
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- writing ---- */

/* Adds text as a JSON string, with its quotes. False: text is not valid UTF-8, and b is unchanged.
 * A full buffer is not an error here: see b->failed. */
bool json_add_string(struct buf *b, const char *text, size_t len);
void json_add_int(struct buf *b, int64_t n);
/* Adds the shortest form that is read as the same value; it always looks like a float (12.0,
 * 1e+23). False: x is NaN or infinite. */
bool json_add_double(struct buf *b, double x);
/* Adds JSON text unchanged, except that raw line breaks become spaces: a bulk body consists of
 * lines. */
void json_add_raw(struct buf *b, const char *text, size_t len);
/* The length of the UTF-8 character that text begins with; 0: it is not valid, or left is 0. */
size_t json_character(const char *text, size_t left);
/* Whether text is exactly one JSON number. */
bool json_is_number(const char *text, size_t len);

/* ---- reading ---- */

enum json_token {
    /* sticky: r->error says what, r->at where: the text is damaged, there is no memory, or the
     * caller asked for more than the text has */
    JSON_ERROR,
    JSON_NULL,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NUMBER, /* r->text: as written */
    JSON_STRING, /* r->text: unescaped, may hold zero bytes */
    JSON_KEY,    /* r->text: the name; its value is the next token */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
};

enum { JSON_DEPTH = 512 }; /* nesting beyond it is an error */

struct json_reader {
    enum json_token token; /* the last one */
    const char *text;      /* of a number, string or key: borrowed, until the next token */
    size_t len;
    /* static text; NULL: no error; "damaged", "cut off" (the text is valid, but incomplete),
     * "nested too deep", "out of memory" */
    const char *error;
    size_t at; /* byte offset of the error, or of the last token's first byte */

    /* private: */
    const char *start, *p, *end;
    struct buf scratch;
    size_t depth;
    bool want_value, first, loose;
    unsigned char stack[JSON_DEPTH / 8]; /* one bit per level: 1 object, 0 array */
};

/* text: borrowed until json_close. Allocates nothing yet. */
void json_open(struct json_reader *r, const char *text, size_t len);
/* The same for text of servers, which may quote documents that are not valid JSON: half of a
 * surrogate pair is read as U+FFFD; in strings, control characters and bytes that are not UTF-8 are
 * kept as they are; comments are white space. json_skip and json_leave check only quotes, brackets
 * and comments, at any depth. */
void json_open_loose(struct json_reader *r, const char *text, size_t len);
void json_close(struct json_reader *r);
enum json_token json_next(struct json_reader *r);
/* Skips the next value (after a key, or in an array) with all that it contains. False: an error, or
 * the array has no more values, and r->token is its end. */
bool json_skip(struct json_reader *r);
/* Skips the rest of the innermost open object or array, including its end. False: an error. */
bool json_leave(struct json_reader *r);
/* Whether the whole value was read, and only white space follows; if not, sets r->error. */
bool json_end(struct json_reader *r);
/* Whether the last string, key or number is exactly this text. */
bool json_is(const struct json_reader *r, const char *text);
/* Whether the last token is a whole number that an int64 can hold; sets *out. */
bool json_int(const struct json_reader *r, int64_t *out);
/* Reads the next token into out, with a zero byte. False: it is no string, or has no room there. */
bool json_next_text(struct json_reader *r, char *out, size_t size);
/* The same, but of a longer string the beginning; of null nothing. False: it is neither. */
bool json_next_beginning(struct json_reader *r, char *out, size_t size);
/* The byte offset after the last token: a value's text lies between two of these. */
size_t json_offset(const struct json_reader *r);
