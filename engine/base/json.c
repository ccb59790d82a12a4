#include "base/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

/* Whether 8 bytes can be copied unchanged: ASCII without control characters, quotes and
 * backslashes. A subtraction sets the top bit of the lowest byte that would become negative; its
 * borrow only reaches the bytes above that one. */
static inline bool plain_word(uint64_t w)
{
    const uint64_t each = 0x0101010101010101, top = each * 0x80;
    uint64_t quote = w ^ each * '"', backslash = w ^ each * '\\';
    return ((w | (w - each * 0x20) | (quote - each) | (backslash - each)) & top) == 0;
}

static inline bool plain8(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return plain_word(w);
}

/* The same for 4 bytes and 4 others. */
static inline bool plain4s(const char *p, const char *q)
{
    uint32_t w[2];
    memcpy(&w[0], p, 4);
    memcpy(&w[1], q, 4);
    return plain_word((uint64_t)w[0] << 32 | w[1]);
}

/* The same for 16 bytes, which most processors compare at once; as signed bytes, those beyond ASCII
 * are below 0x20, too. */
typedef signed char bytes16 __attribute__((vector_size(16)));

static inline bool plain16(const char *p)
{
    bytes16 v;
    memcpy(&v, p, sizeof v);
    bytes16 special = (v < 0x20) | (v == '"') | (v == '\\');
    uint64_t half[2];
    memcpy(half, &special, sizeof half);
    return (half[0] | half[1]) == 0;
}

static inline bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The length of the UTF-8 character at s; 0: not valid; -1: it may be valid, but is cut off. The
 * second byte excludes overlong forms, surrogates, and all beyond U+10FFFF. */
static int character(const char *s, size_t left)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80)
        return 1;
    if (u[0] < 0xC2 || u[0] > 0xF4)
        return 0;
    size_t n = u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4;
    unsigned char low = u[0] == 0xE0 ? 0xA0 : u[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = u[0] == 0xED ? 0x9F : u[0] == 0xF4 ? 0x8F : 0xBF;
    if (left > 1 && (u[1] < low || u[1] > high))
        return 0;
    for (size_t i = 2; i < n && i < left; i++)
        if ((u[i] & 0xC0) != 0x80)
            return 0;
    return left < n ? -1 : (int)n;
}

/* Whether a character of two bytes begins at p, such as Cyrillic, Greek and accented letters. */
static inline bool pair(const char *p, const char *end)
{
    unsigned char lead = (unsigned char)*p;
    return lead >= 0xC2 && lead < 0xE0 && end - p > 1 && ((unsigned char)p[1] & 0xC0) == 0x80;
}

size_t json_character(const char *text, size_t left)
{
    int n = left > 0 ? character(text, left) : 0;
    return n > 0 ? (size_t)n : 0;
}

/* ---- writing ---- */

static size_t write_escape(char out[6], unsigned char c)
{
    static const char hex[] = "0123456789abcdef", letters[] = "btn?fr"; /* of 8 to 13 */
    out[0] = '\\';
    if (c == '"' || c == '\\') {
        out[1] = (char)c;
        return 2;
    }
    if (c >= '\b' && c <= '\r' && c != '\v') {
        out[1] = letters[c - '\b'];
        return 2;
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

/* Writes an escape at o, the string's next free byte; b->len is set at the string's end. rest: how
 * many bytes are still to be written. Returns the next free byte. NULL: the buffer is full. */
static char *put_escape(struct buf *b, char *o, unsigned char c, size_t rest)
{
    char escape[6];
    size_t n = write_escape(escape, c);
    b->len = (size_t)(o - b->data);
    if (!buf_reserve(b, n + rest))
        return NULL;
    o = b->data + b->len;
    memcpy(o, escape, n);
    return o + n;
}

/* Reserves what the text needs without escapes; each escape reserves what it needs more. So a text
 * that just fits below the ceiling is written. False: not valid UTF-8. */
static bool put_string(struct buf *b, const char *p, size_t len)
{
    if (!buf_reserve(b, len + 2))
        return true;
    const char *end = p + len;
    char *o = b->data + b->len;
    *o++ = '"';
    while (p < end) {
        while (end - p >= 8 && plain8(p)) {
            memcpy(o, p, 8);
            p += 8;
            o += 8;
        }
        const char *near = end - p > 16 ? p + 16 : end; /* then try 8 bytes at once again */
        while (p < near) {
            unsigned char c = (unsigned char)*p;
            if (plain(c)) {
                *o++ = *p++;
            } else if (c < 0x80) {
                if (!(o = put_escape(b, o, c, (size_t)(end - ++p) + 1)))
                    return true;
            } else if (pair(p, end)) {
                memcpy(o, p, 2);
                p += 2;
                o += 2;
            } else {
                int n = character(p, (size_t)(end - p));
                if (n <= 0)
                    return false;
                for (; n > 0; n--)
                    *o++ = *p++;
            }
        }
    }
    *o++ = '"';
    b->len = (size_t)(o - b->data);
    return true;
}

static bool add_closely(struct buf *b, const char *text, size_t len)
{
    size_t before = b->len;
    bool valid = put_string(b, text, len);
    if (!valid || b->failed)
        b->len = before;
    return valid;
}

/* Copies the text if all of it is plain. The last 4 or 8 bytes are checked and copied together with
 * some that were copied before. */
static bool copy_plain(char *o, const char *p, size_t len)
{
    size_t n = 0;
    for (; len - n >= 16; n += 16) {
        if (!plain16(p + n))
            return false;
        memcpy(o + n, p + n, 16);
    }
    if (len - n >= 8) {
        if (!plain8(p + n))
            return false;
        memcpy(o + n, p + n, 8);
    }
    if (len >= 8) {
        memcpy(o + len - 8, p + len - 8, 8);
        return plain8(p + len - 8);
    }
    if (len >= 4) {
        memcpy(o, p, 4);
        memcpy(o + len - 4, p + len - 4, 4);
        return plain4s(p, p + len - 4);
    }
    while (n < len && plain((unsigned char)p[n])) {
        o[n] = p[n];
        n++;
    }
    return n == len;
}

/* Nearly every text is plain, so that is tried first. */
bool json_add_string(struct buf *b, const char *text, size_t len)
{
    if (!buf_reserve(b, len + 2) || !copy_plain(b->data + b->len + 1, text, len))
        return add_closely(b, text, len);
    char *o = b->data + b->len;
    o[0] = o[len + 1] = '"';
    b->len += len + 2;
    return true;
}

/* Writes n so that it ends before `end`; returns its first digit. */
static char *write_digits(char *end, uint64_t n)
{
    do {
        *--end = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return end;
}

void json_add_int(struct buf *b, int64_t n)
{
    char text[20], *end = text + sizeof text; /* 19 digits and a sign */
    char *p = write_digits(end, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
    if (n < 0)
        *--p = '-';
    buf_add(b, p, (size_t)(end - p));
}

/* Outside this range, a form with an exponent is shorter. */
static bool is_plain_size(double size)
{
    return size >= 1e-4 && size < 1e15;
}

/* Most floats in databases are short decimals: n / 10^k with n < 10^15. Both are exact doubles, and
 * one division rounds correctly; if it gives x, the decimal is read as x, and the smallest k gives
 * the shortest text. False: x has more than 15 digits, or needs an exponent. */
static bool add_short_decimal(struct buf *b, double x)
{
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                                   1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};
    double size = fabs(x);
    if (size != 0 && !is_plain_size(size))
        return false;
    for (size_t k = 0; k < sizeof power / sizeof *power && size * power[k] < 1e15; k++) {
        uint64_t n = (uint64_t)(size * power[k] + 0.5);
        if ((double)n / power[k] != size)
            continue;
        char text[40], *end = text + sizeof text, *p = end;
        for (size_t i = 0; i < k; i++, n /= 10)
            *--p = (char)('0' + n % 10);
        if (k == 0)
            *--p = '0';
        *--p = '.';
        p = write_digits(p, n);
        if (signbit(x))
            *--p = '-';
        buf_add(b, p, (size_t)(end - p));
        return true;
    }
    return false;
}

/* A script may have set a locale: its decimal separator, of any number of bytes, becomes a
 * point. */
static void use_point(char *text)
{
    char *o = text;
    for (char *p = text; *p; p++)
        if (strchr("+-0123456789e", *p))
            *o++ = *p;
        else if (o == text || o[-1] != '.')
            *o++ = '.';
    *o = '\0';
}

bool json_add_double(struct buf *b, double x)
{
    if (!isfinite(x))
        return false;
    if (add_short_decimal(b, x))
        return true;
    char text[64];
    int precision = fabs(x) < DBL_MIN ? 1 : is_plain_size(fabs(x)) ? 16 : 15;
    for (; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, x);
        if (strtod(text, NULL) == x) /* both use the same locale */
            break;
    }
    use_point(text);
    buf_adds(b, text);
    if (!strpbrk(text, ".e"))
        buf_adds(b, ".0");
    return true;
}

void json_add_raw(struct buf *b, const char *text, size_t len)
{
    size_t before = b->len;
    if (!buf_add(b, text, len))
        return;
    for (int i = 0; i < 2; i++)
        for (char *p = b->data + before, *end = b->data + b->len;
             (p = memchr(p, "\n\r"[i], (size_t)(end - p))); p++)
            *p = ' ';
}

/* ---- numbers ---- */

static bool digit_at(const char *p, const char *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

/* These two move *p to the first byte after the number, or to the byte that is wrong. */
static bool pass_digits(const char **p, const char *end)
{
    if (!digit_at(*p, end))
        return false;
    while (digit_at(*p, end))
        ++*p;
    return true;
}

static bool pass_number(const char **p, const char *end)
{
    if (*p < end && **p == '-')
        ++*p;
    if (*p < end && **p == '0') {
        ++*p;
        if (digit_at(*p, end))
            return false;
    } else if (!pass_digits(p, end)) {
        return false;
    }
    if (*p < end && **p == '.') {
        ++*p;
        if (!pass_digits(p, end))
            return false;
    }
    if (*p < end && (**p == 'e' || **p == 'E')) {
        ++*p;
        if (*p < end && (**p == '+' || **p == '-'))
            ++*p;
        return pass_digits(p, end);
    }
    return true;
}

bool json_is_number(const char *text, size_t len)
{
    if (len == 0)
        return false;
    const char *p = text, *end = text + len;
    return pass_number(&p, end) && p == end;
}

/* ---- reading ---- */

void json_open(struct json_reader *r, const char *text, size_t len)
{
    *r = (struct json_reader){.token = JSON_NULL, .want_value = true};
    r->start = r->p = len > 0 ? text : "";
    r->end = r->start + len;
    buf_init(&r->scratch, len); /* an unescaped string is never longer */
}

void json_open_loose(struct json_reader *r, const char *text, size_t len)
{
    json_open(r, text, len);
    r->loose = true;
}

void json_close(struct json_reader *r)
{
    buf_free(&r->scratch);
}

static enum json_token fail(struct json_reader *r, const char *error)
{
    r->error = error;
    r->at = (size_t)(r->p - r->start);
    r->text = NULL;
    r->len = 0;
    return r->token = JSON_ERROR;
}

/* The byte at r->p is not allowed there, or the text ends too early. */
static enum json_token unexpected(struct json_reader *r)
{
    return fail(r, r->p == r->end ? "cut off" : "damaged");
}

/* Skips a comment: search servers accept comments and return them. One without an end reaches to
 * the end of the text. False: there is none. */
static bool pass_comment(struct json_reader *r)
{
    size_t left = (size_t)(r->end - r->p);
    if (left < 2 || r->p[0] != '/' || (r->p[1] != '*' && r->p[1] != '/'))
        return false;
    const char *mark = r->p[1] == '*' ? "*/" : "\n";
    const char *end = memmem(r->p + 2, left - 2, mark, strlen(mark));
    r->p = end ? end + strlen(mark) : r->end;
    return true;
}

static void pass_space(struct json_reader *r)
{
    do
        while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
            r->p++;
    while (r->loose && pass_comment(r));
}

static bool pass(struct json_reader *r, char c)
{
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* Skips the characters of a string up to an escape, its end, or a byte that is not allowed. */
static void pass_run(struct json_reader *r)
{
    for (;;) {
        while (r->end - r->p >= 8 && plain8(r->p))
            r->p += 8;
        if (r->p == r->end)
            return;
        int n = plain((unsigned char)*r->p)    ? 1
                : r->loose                     ? *r->p != '"' && *r->p != '\\'
                : (unsigned char)*r->p >= 0x80 ? character(r->p, (size_t)(r->end - r->p))
                                               : 0;
        if (n <= 0)
            return;
        r->p += n;
    }
}

static bool hex4(struct json_reader *r, unsigned *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, r->p++) {
        if (r->p == r->end)
            return false;
        char c = *r->p;
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0)
            return false;
        *out = *out << 4 | (unsigned)digit;
    }
    return true;
}

static void add_character(struct buf *b, unsigned c)
{
    if (c >= 0x10000) {
        buf_addc(b, (char)(0xF0 | c >> 18));
        buf_addc(b, (char)(0x80 | (c >> 12 & 0x3F)));
    } else if (c >= 0x800) {
        buf_addc(b, (char)(0xE0 | c >> 12));
    }
    if (c >= 0x800)
        buf_addc(b, (char)(0x80 | (c >> 6 & 0x3F)));
    else if (c >= 0x80)
        buf_addc(b, (char)(0xC0 | c >> 6));
    buf_addc(b, (char)(c < 0x80 ? c : 0x80 | (c & 0x3F)));
}

/* Half of a surrogate pair; next: where to continue, or the byte that is wrong. */
static bool half_pair(struct json_reader *r, const char *next)
{
    r->p = next;
    if (r->loose)
        add_character(&r->scratch, 0xFFFD);
    return r->loose;
}

/* After "\u". A character beyond U+FFFF is a pair of these; half of a pair is an error. */
static bool pass_unicode(struct json_reader *r)
{
    unsigned c, low;
    const char *digits = r->p;
    if (!hex4(r, &c))
        return false;
    if (c >= 0xDC00 && c <= 0xDFFF)
        return half_pair(r, r->loose ? r->p : digits);
    if (c >= 0xD800 && c <= 0xDBFF) {
        const char *next = r->p;
        if (!pass(r, '\\') || !pass(r, 'u'))
            return half_pair(r, r->loose ? next : r->p);
        digits = r->p;
        if (!hex4(r, &low))
            return false;
        if (low < 0xDC00 || low > 0xDFFF)
            return half_pair(r, r->loose ? next : digits);
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    add_character(&r->scratch, c);
    return true;
}

/* After a backslash. */
static bool pass_escape(struct json_reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (pass(r, 'u'))
        return pass_unicode(r);
    const char *found = r->p < r->end && *r->p != '\0' ? strchr(from, *r->p) : NULL;
    if (!found)
        return false;
    buf_addc(&r->scratch, to[found - from]);
    r->p++;
    return true;
}

/* Reads a string, from its opening quote to its closing one. Without escapes, r->text is a slice of
 * the input. */
static bool pass_string(struct json_reader *r)
{
    const char *run = ++r->p;
    bool escaped = false;
    buf_clear(&r->scratch);
    for (pass_run(r); pass(r, '\\'); pass_run(r)) {
        escaped = true;
        buf_add(&r->scratch, run, (size_t)(r->p - 1 - run));
        if (!pass_escape(r))
            return unexpected(r);
        run = r->p;
    }
    size_t len = (size_t)(r->p - run);
    if (!pass(r, '"')) {
        if (r->p < r->end && character(r->p, (size_t)(r->end - r->p)) < 0)
            return fail(r, "cut off");
        return unexpected(r);
    }
    r->text = run;
    r->len = len;
    if (!escaped)
        return true;
    if (!buf_add(&r->scratch, run, len))
        return fail(r, "out of memory");
    r->text = r->scratch.data;
    r->len = r->scratch.len;
    return true;
}

static enum json_token read_word(struct json_reader *r, const char *word, enum json_token token)
{
    for (; *word; word++)
        if (!pass(r, *word))
            return unexpected(r);
    return r->token = token;
}

static enum json_token read_number(struct json_reader *r)
{
    const char *begin = r->p;
    if (!pass_number(&r->p, r->end))
        return unexpected(r);
    r->text = begin;
    r->len = (size_t)(r->p - begin);
    return r->token = JSON_NUMBER;
}

static bool in_object(const struct json_reader *r)
{
    return r->stack[(r->depth - 1) / 8] >> (r->depth - 1) % 8 & 1;
}

static enum json_token open_level(struct json_reader *r, bool object)
{
    if (r->depth == JSON_DEPTH)
        return fail(r, "nested too deep");
    unsigned char bit = (unsigned char)(1 << r->depth % 8), *byte = &r->stack[r->depth / 8];
    *byte = (unsigned char)(object ? *byte | bit : *byte & ~bit);
    r->depth++;
    r->first = true;
    r->p++;
    return r->token = object ? JSON_OBJECT : JSON_ARRAY;
}

static enum json_token read_value(struct json_reader *r)
{
    r->want_value = false;
    r->first = false;
    r->at = (size_t)(r->p - r->start);
    switch (r->p < r->end ? *r->p : '\0') {
    case '{':
        return open_level(r, true);
    case '[':
        return open_level(r, false);
    case '"':
        return pass_string(r) ? r->token = JSON_STRING : JSON_ERROR;
    case 't':
        return read_word(r, "true", JSON_TRUE);
    case 'f':
        return read_word(r, "false", JSON_FALSE);
    case 'n':
        return read_word(r, "null", JSON_NULL);
    default:
        return read_number(r);
    }
}

static enum json_token read_key(struct json_reader *r)
{
    r->at = (size_t)(r->p - r->start);
    if (r->p == r->end || *r->p != '"')
        return unexpected(r);
    if (!pass_string(r))
        return JSON_ERROR;
    pass_space(r);
    if (!pass(r, ':'))
        return unexpected(r);
    r->want_value = true;
    return r->token = JSON_KEY;
}

/* Reads the end of the open object or array, or its next key or value. */
static enum json_token read_member(struct json_reader *r)
{
    bool object = in_object(r);
    r->at = (size_t)(r->p - r->start);
    if (pass(r, object ? '}' : ']')) {
        r->depth--;
        r->first = false;
        return r->token = object ? JSON_OBJECT_END : JSON_ARRAY_END;
    }
    if (!r->first) {
        if (!pass(r, ','))
            return unexpected(r);
        pass_space(r);
    }
    return object ? read_key(r) : read_value(r);
}

enum json_token json_next(struct json_reader *r)
{
    if (r->error)
        return JSON_ERROR;
    r->text = NULL;
    r->len = 0;
    pass_space(r);
    if (r->want_value)
        return read_value(r);
    return r->depth > 0 ? read_member(r) : unexpected(r);
}

/* Skips a string, from its opening quote, without checking its content. */
static bool pass_quotes(struct json_reader *r)
{
    for (r->p++; r->p < r->end; r->p++) {
        while (r->end - r->p > 8 && plain8(r->p))
            r->p += 8;
        if (pass(r, '"'))
            return true;
        if (*r->p == '\\' && r->end - r->p > 1)
            r->p++;
    }
    return false;
}

/* Skips to the end of the open object or array, by counting brackets. */
static bool leave_loosely(struct json_reader *r)
{
    size_t open = 1;
    while (open > 0) {
        if (r->p == r->end)
            return unexpected(r);
        if (*r->p == '"') {
            if (!pass_quotes(r))
                return unexpected(r);
        } else if (!pass_comment(r)) {
            open += *r->p == '{' || *r->p == '[';
            open -= *r->p == '}' || *r->p == ']';
            r->p++;
        }
    }
    r->at = (size_t)(r->p - 1 - r->start);
    r->token = in_object(r) ? JSON_OBJECT_END : JSON_ARRAY_END;
    r->depth--;
    r->first = r->want_value = false;
    r->text = NULL;
    r->len = 0;
    return true;
}

bool json_leave(struct json_reader *r)
{
    size_t depth = r->depth;
    if (r->error || depth == 0)
        return false;
    if (r->loose)
        return leave_loosely(r);
    while (r->depth >= depth)
        if (json_next(r) == JSON_ERROR)
            return false;
    return true;
}

bool json_skip(struct json_reader *r)
{
    switch (json_next(r)) {
    case JSON_ERROR:
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
        return false;
    case JSON_OBJECT:
    case JSON_ARRAY:
        return json_leave(r);
    default:
        return true;
    }
}

bool json_end(struct json_reader *r)
{
    if (r->error)
        return false;
    pass_space(r);
    if (r->depth > 0 || r->want_value || r->p < r->end)
        unexpected(r);
    return !r->error;
}

bool json_is(const struct json_reader *r, const char *text)
{
    return r->text && strlen(text) == r->len && memcmp(r->text, text, r->len) == 0;
}

bool json_next_text(struct json_reader *r, char *out, size_t size)
{
    if (json_next(r) != JSON_STRING || r->len >= size)
        return false;
    memcpy(out, r->text, r->len);
    out[r->len] = '\0';
    return true;
}

bool json_next_beginning(struct json_reader *r, char *out, size_t size)
{
    bool text = json_next(r) == JSON_STRING;
    size_t len = !text ? 0 : r->len < size ? r->len : size - 1;
    if (len > 0)
        memcpy(out, r->text, len);
    out[len] = '\0';
    return text || r->token == JSON_NULL;
}

bool json_int(const struct json_reader *r, int64_t *out)
{
    if (r->token != JSON_NUMBER)
        return false;
    bool negative = r->text[0] == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX, n = 0;
    for (size_t i = negative; i < r->len; i++) {
        if (r->text[i] < '0' || r->text[i] > '9')
            return false;
        unsigned digit = (unsigned)(r->text[i] - '0');
        if (n > (limit - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

size_t json_offset(const struct json_reader *r)
{
    return (size_t)(r->p - r->start);
}
