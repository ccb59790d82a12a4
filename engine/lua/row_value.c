#include "lua/row_value.h"

#include "base/json.h"

#include <stdlib.h>

enum { EXACT_DIGITS = 15 }; /* a double keeps any decimal number of this many digits ... */
/* ... if the exponent lies within these limits */
static const int exact_from = -300, exact_to = 300;

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- one value. Each function reads one type; false: the text does not have its form ---- */

static bool read_text(struct piece p, struct value *v)
{
    v->type = TEXT;
    v->text = p;
    return true;
}

/* False: the text is not a whole number, or is not within int64. */
static bool read_int(struct piece p, struct value *v)
{
    bool negative = p.len > 0 && p.text[0] == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX, n = 0;
    if (p.len == negative)
        return false;
    for (size_t i = negative; i < p.len; i++) {
        if (!digit(p.text[i]))
            return false;
        unsigned d = (unsigned)(p.text[i] - '0');
        if (n > (limit - d) / 10)
            return false;
        n = n * 10 + d;
    }
    v->type = INTEGER;
    v->integer = (int64_t)(negative ? 0 - n : n);
    return true;
}

/* Reads a short decimal number, which most floats are: n / 10^k. Both are exact as doubles, so one
 * division rounds correctly. False: the text is longer, or is not such a number. */
static bool read_short_decimal(struct piece p, double *out)
{
    static const double power[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6, 1e7,
                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
    bool negative = p.len > 0 && p.text[0] == '-';
    const char *at = p.text + negative, *end = p.text + p.len, *point = NULL;
    int64_t n = 0;
    if (end - at < 1 || end - at > EXACT_DIGITS)
        return false;
    for (; at < end; at++)
        if (digit(*at))
            n = n * 10 + (*at - '0');
        else if (*at == '.' && !point)
            point = at + 1;
        else
            return false;
    *out = (double)n / power[point ? end - point : 0];
    if (negative)
        *out = -*out;
    return digit(end[-1]);
}

/* Checks the characters first: strtod also accepts "0x1", "nanny" and " 1". */
static bool read_float(struct piece p, struct value *v)
{
    v->type = FLOAT;
    if (read_short_decimal(p, &v->number))
        return true;
    if (is(p, "NaN") || is(p, "Infinity") || is(p, "-Infinity")) {
        v->number = strtod(p.text, NULL);
        return true;
    }
    for (size_t i = 0; i < p.len; i++)
        if (!digit(p.text[i]) && !memchr("+-.e", p.text[i], 4))
            return false;
    char *end;
    v->number = strtod(p.text, &end);
    return p.len > 0 && end == p.text + p.len;
}

/* Whether a double keeps the number: there are few digits from the first to the last that is not 0,
 * and its exponent is not extreme. */
static bool fits_float(struct piece p)
{
    int first = 0, last = 0, at = 0, point = 0; /* positions of digits, from 1; 0: none yet */
    for (size_t i = 0; i < p.len; i++) {
        if (p.text[i] == '.')
            point = at;
        if (!digit(p.text[i]))
            continue;
        at++;
        if (p.text[i] != '0')
            last = at;
        if (first == 0)
            first = last;
    }
    int exponent = point - first;
    return last - first < EXACT_DIGITS && exponent > exact_from && exponent < exact_to;
}

/* Whether a float's text is the one that json_add_double would write. The server, too, writes the
 * fewest digits that read back as the same float, and no exponent between 1e-4 and 1e15. False for
 * texts of up to 15 digits, which are quick to read, and for those without a point: the server
 * writes 12.0 as 12. */
static bool is_shortest(struct piece p)
{
    const char *at = p.text + (p.len > 0 && *p.text == '-'), *end = p.text + p.len;
    size_t point = 0;
    for (const char *c = at; c < end; c++)
        if (*c == '.' && c > at && point == 0)
            point = (size_t)(c - at);
        else if (!digit(*c))
            return false;
    return point > 0 && end - at > EXACT_DIGITS + 1 && end[-1] != '0' && (*at != '0' || point == 1);
}

static bool read_digits(struct piece p, struct value *v)
{
    v->type = DECIMAL;
    v->text = p;
    return true;
}

static bool read_numeric(struct piece p, struct value *v)
{
    if (read_int(p, v))
        return true;
    if (!read_float(p, v))
        return false;
    bool special = !digit(p.text[p.len - 1]); /* NaN, Infinity */
    if (special || (memchr(p.text, '.', p.len) && fits_float(p)))
        return true;
    return json_is_number(p.text, p.len) && read_digits(p, v); /* copied into documents */
}

static bool read_bool(struct piece p, struct value *v)
{
    v->type = BOOLEAN;
    v->boolean = p.text[0] == 't';
    return is(p, "t") || is(p, "f");
}

/* Reads "\x48656c6c6f": the session's bytea_output is hex. */
static bool read_bytea(struct piece p, struct value *v)
{
    if (p.len < 2 || p.len % 2 != 0 || memcmp(p.text, "\\x", 2) != 0)
        return false;
    for (size_t i = 2; i < p.len; i++)
        if (hex(p.text[i]) < 0)
            return false;
    v->type = BYTES;
    v->text = (struct piece){p.text + 2, p.len - 2};
    return true;
}

static bool read_json(struct piece p, struct value *v)
{
    v->type = JSON;
    v->text = p;
    return true;
}

/* ---- dates: ISO 8601, with all years that PostgreSQL supports ---- */

/* Moves *p past two digits. */
static bool two_digits(const char **p)
{
    if (!digit((*p)[0]) || !digit((*p)[1]))
        return false;
    *p += 2;
    return true;
}

/* Writes the year in the form of ISO 8601: 4 digits, with a sign if there are more digits or the
 * year is before 0 (1 BC). Returns the end. */
static char *write_year(char *out, int year)
{
    if (year < 0 || year > 9999)
        *out++ = year < 0 ? '-' : '+';
    int left = year < 0 ? -year : year, width = 4;
    for (int limit = 10000; left >= limit && width < 8; limit *= 10)
        width++;
    for (int i = width - 1; i >= 0; i--, left /= 10)
        out[i] = (char)('0' + left % 10);
    return out + width;
}

/* Copies the text after the year, with a T for the space: "-03-15", "-03-15 20:14:09.221855",
 * "-03-15 20:14:09+00". Returns the end. NULL: the text is damaged. */
static char *copy_rest(char *out, struct piece p, enum pg_kind kind)
{
    const char *at = p.text, *end = p.text + p.len;
    if (p.len < 6 || *at++ != '-' || !two_digits(&at) || *at++ != '-' || !two_digits(&at))
        return NULL;
    if (kind != PG_DATE) {
        if (end - at < 9 || *at++ != ' ' || !two_digits(&at) || *at++ != ':' || !two_digits(&at) ||
            *at++ != ':' || !two_digits(&at))
            return NULL;
        if (*at == '.')
            for (at++; at < end && digit(*at);)
                at++;
    }
    size_t n = (size_t)(at - p.text);
    memcpy(out, p.text, n);
    if (kind != PG_DATE)
        out[6] = 'T';
    out += n;
    size_t zone = (size_t)(end - at);
    if (kind != PG_TIMESTAMPTZ)
        return zone == 0 ? out : NULL;
    if (zone == 3 && memcmp(at, "+00", 3) == 0) {
        *out++ = 'Z';
        return out;
    }
    if (zone < 3 || (*at != '+' && *at != '-'))
        return NULL;
    memcpy(out, at, zone);
    if (zone > 3)
        return out + zone;
    memcpy(out + zone, ":00", 3);
    return out + zone + 3;
}

static bool read_moment(struct piece p, struct value *v, enum pg_kind kind)
{
    if (is(p, "infinity") || is(p, "-infinity"))
        return read_text(p, v);
    if (p.len >= MOMENT - 8)
        return false;
    bool bc = p.len > 3 && memcmp(p.text + p.len - 3, " BC", 3) == 0;
    if (bc)
        p.len -= 3;
    int year = 0;
    size_t n = 0;
    for (; n < p.len && n < 8 && digit(p.text[n]); n++)
        year = year * 10 + (p.text[n] - '0');
    if (n < 4 || (bc && year == 0))
        return false;
    char *end = write_year(v->room, bc ? 1 - year : year);
    end = copy_rest(end, (struct piece){p.text + n, p.len - n}, kind);
    return end && read_text((struct piece){v->room, (size_t)(end - v->room)}, v);
}

static bool read_date(struct piece p, struct value *v)
{
    return read_moment(p, v, PG_DATE);
}

static bool read_timestamp(struct piece p, struct value *v)
{
    return read_moment(p, v, PG_TIMESTAMP);
}

static bool read_timestamptz(struct piece p, struct value *v)
{
    return read_moment(p, v, PG_TIMESTAMPTZ);
}

/* ---- the table of types ---- */

typedef bool read_value(struct piece p, struct value *v);

static read_value *const read_kind[] = {
    [PG_TEXT] = read_text,           [PG_INT] = read_int,
    [PG_FLOAT] = read_float,         [PG_NUMERIC] = read_numeric,
    [PG_BOOL] = read_bool,           [PG_BYTEA] = read_bytea,
    [PG_JSON] = read_json,           [PG_DATE] = read_date,
    [PG_TIMESTAMP] = read_timestamp, [PG_TIMESTAMPTZ] = read_timestamptz,
};

bool row_read(enum pg_kind kind, struct piece p, bool digits, struct value *v)
{
    if (digits && kind == PG_FLOAT && is_shortest(p))
        return read_digits(p, v);
    return read_kind[kind](p, v);
}
