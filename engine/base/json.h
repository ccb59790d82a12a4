/* json: JSON text, written and read. No tree: a writer appends to a buf, a reader pulls one token
 * at a time.
 *
 * Uses     buf.
 * Promise  written numbers read back as the same value; written text is valid UTF-8. The reader
 *          takes any bytes, never reads past them, and knows no recursion.
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

/* Adds text as a JSON string, quotes included. False: text is not valid UTF-8 (nothing of it stays
 * in b). Whether the buffer is full is told by b->failed alone. */
bool json_add_string(struct buf *b, const char *text, size_t len);
void json_add_int(struct buf *b, int64_t n);
/* The shortest form that reads back the same; always looks like a float (12.0, 1e+23). False: NaN
 * or infinite. */
bool json_add_double(struct buf *b, double x);
/* Adds JSON text as it is, but for raw line breaks, which become spaces (a bulk body is made of
 * lines). */
void json_add_raw(struct buf *b, const char *text, size_t len);
/* The bytes of the valid UTF-8 character that text begins with; 0: it does not (or left is 0). */
size_t json_character(const char *text, size_t left);
/* Whether text is one JSON number, as JSON writes it. */
bool json_is_number(const char *text, size_t len);

/* ---- reading ---- */

enum json_token {
    /* sticky: r->error says what, r->at where; the text, or memory, or more asked of it than it
     * holds */
    JSON_ERROR,
    JSON_NULL,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NUMBER, /* r->text: its digits as written */
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
    /* static text, NULL while all is well: "damaged", "cut off" (all is well up to the end of the
     * text), "nested too deep", "out of memory" */
    const char *error;
    size_t at; /* byte offset of the error, or of the last token's first byte */

    /* the reader's own: */
    const char *start, *p, *end;
    struct buf scratch;
    size_t depth;
    bool want_value, first, loose;
    unsigned char stack[JSON_DEPTH / 8]; /* a bit a level: 1 object, 0 array */
};

/* text: borrowed. Allocates nothing yet. */
void json_open(struct json_reader *r, const char *text, size_t len);
/* The same, of text that quotes what others wrote, which is to be passed over rather than judged:
 * half of a surrogate pair reads as U+FFFD, within strings control characters and bytes that are no
 * UTF-8 stand for themselves, and what json_skip and json_leave pass over is looked at for its
 * quotes, brackets and comments alone, however deep it is. */
void json_open_loose(struct json_reader *r, const char *text, size_t len);
void json_close(struct json_reader *r);
enum json_token json_next(struct json_reader *r);
/* Passes over the value that begins with the next token (after a key, or in an array), nested ones
 * whole. False: an error, or the array had no more: r->token is its end. */
bool json_skip(struct json_reader *r);
/* Passes over the rest of the object or array that is open, its end included. False: an error. */
bool json_leave(struct json_reader *r);
/* the value is read, only white space follows; if not, r->error is set */
bool json_end(struct json_reader *r);
/* the last string, key or number is exactly this */
bool json_is(const struct json_reader *r, const char *text);
/* the last token is a whole number in int64's range */
bool json_int(const struct json_reader *r, int64_t *out);
/* byte offset behind the last token: a value's text lies between two of these */
size_t json_offset(const struct json_reader *r);
