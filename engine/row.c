#include "row.h"

#include "json.h"
#include "value.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIMENSIONS = 6,   /* PostgreSQL's MAXDIM: arrays have no more */
    EXACT_DIGITS = 15 /* a double keeps any decimal number of so many digits ... */
};
static const int exact_from = -300, exact_to = 300; /* ... if its exponent is well within its range */

/* A value's text as PostgreSQL prints it. Behind text[len] there is always one byte more, and no digit. */
struct piece {
    const char *text;
    size_t len;
};

static bool is(struct piece p, const char *text)
{
    return p.len == strlen(text) && memcmp(p.text, text, p.len) == 0;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- one value: each pushes it, or returns false if the text is not what its type says ---- */

static bool push_text(lua_State *L, struct piece p)
{
    lua_pushlstring(L, p.text, p.len);
    return true;
}

/* False: not a whole number, or not within int64. */
static bool read_int(struct piece p, lua_Integer *out)
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
    *out = (lua_Integer)(negative ? 0 - n : n);
    return true;
}

static bool push_int(lua_State *L, struct piece p)
{
    lua_Integer n;
    if (!read_int(p, &n))
        return false;
    lua_pushinteger(L, n);
    return true;
}

/* Most floats are short decimals: n / 10^k, both exact as doubles, so that one division rounds correctly.
 * False: it is none, or longer. */
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

/* strtod alone would take "0x1", "nanny" and " 1" too. */
static bool read_float(struct piece p, double *out)
{
    if (read_short_decimal(p, out))
        return true;
    if (is(p, "NaN") || is(p, "Infinity") || is(p, "-Infinity")) {
        *out = strtod(p.text, NULL);
        return true;
    }
    for (size_t i = 0; i < p.len; i++)
        if (!digit(p.text[i]) && !memchr("+-.e", p.text[i], 4))
            return false;
    char *end;
    *out = strtod(p.text, &end);
    return p.len > 0 && end == p.text + p.len;
}

static bool push_float(lua_State *L, struct piece p)
{
    double x;
    if (!read_float(p, &x))
        return false;
    lua_pushnumber(L, x);
    return true;
}

/* Whether a double keeps the number: few digits between the first and the last that are not 0, and no extreme
 * size. */
static bool fits_float(struct piece p)
{
    int first = 0, last = 0, at = 0, point = 0; /* places of digits, from 1; 0: none yet */
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

static bool push_numeric(lua_State *L, struct piece p)
{
    if (push_int(L, p))
        return true;
    double x;
    if (!read_float(p, &x))
        return false;
    bool special = !digit(p.text[p.len - 1]); /* NaN, Infinity */
    if (special || (memchr(p.text, '.', p.len) && fits_float(p))) {
        lua_pushnumber(L, x);
        return true;
    }
    if (!json_is_number(p.text, p.len)) /* it goes into documents as it is */
        return false;
    value_push_decimal(L, p.text, p.len);
    return true;
}

static bool push_bool(lua_State *L, struct piece p)
{
    lua_pushboolean(L, p.text[0] == 't');
    return is(p, "t") || is(p, "f");
}

static int hex(char c)
{
    return digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \x48656c6c6f: the session's bytea_output is hex */
static bool push_bytea(lua_State *L, struct piece p)
{
    if (p.len < 2 || p.len % 2 != 0 || memcmp(p.text, "\\x", 2) != 0)
        return false;
    luaL_Buffer b;
    size_t n = p.len / 2 - 1;
    char *out = luaL_buffinitsize(L, &b, n);
    for (size_t i = 0; i < n; i++) {
        int high = hex(p.text[2 + 2 * i]), low = hex(p.text[3 + 2 * i]);
        if (high < 0 || low < 0)
            return false; /* what lies on the stack goes with the error */
        out[i] = (char)(high << 4 | low);
    }
    luaL_pushresultsize(&b, n);
    return true;
}

static bool push_json(lua_State *L, struct piece p)
{
    value_push_json(L, p.text, p.len);
    return true;
}

/* ---- dates: ISO 8601, with the years that PostgreSQL knows ---- */

enum { MOMENT = 64 }; /* bytes; the longest, a timestamptz BC with an offset in seconds, has 42 */

/* Moves *p behind two digits. */
static bool two_digits(const char **p)
{
    if (!digit((*p)[0]) || !digit((*p)[1]))
        return false;
    *p += 2;
    return true;
}

/* Writes the year as ISO 8601 has it: 4 digits; more of them, and those before the year 0 (1 BC), with a
 * sign. */
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

/* "-03-15", "-03-15 20:14:09.221855", "-03-15 20:14:09+00": copies it, with a T. NULL: damaged. */
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

static bool push_moment(lua_State *L, struct piece p, enum pg_kind kind)
{
    if (is(p, "infinity") || is(p, "-infinity"))
        return push_text(L, p);
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
    char out[MOMENT], *end = write_year(out, bc ? 1 - year : year);
    end = copy_rest(end, (struct piece){p.text + n, p.len - n}, kind);
    if (!end)
        return false;
    lua_pushlstring(L, out, (size_t)(end - out));
    return true;
}

static bool push_date(lua_State *L, struct piece p)
{
    return push_moment(L, p, PG_DATE);
}

static bool push_timestamp(lua_State *L, struct piece p)
{
    return push_moment(L, p, PG_TIMESTAMP);
}

static bool push_timestamptz(lua_State *L, struct piece p)
{
    return push_moment(L, p, PG_TIMESTAMPTZ);
}

/* ---- the table of types ---- */

typedef bool push_value(lua_State *L, struct piece p);

static push_value *const push_kind[] = {
    [PG_TEXT] = push_text,           [PG_INT] = push_int,
    [PG_FLOAT] = push_float,         [PG_NUMERIC] = push_numeric,
    [PG_BOOL] = push_bool,           [PG_BYTEA] = push_bytea,
    [PG_JSON] = push_json,           [PG_DATE] = push_date,
    [PG_TIMESTAMP] = push_timestamp, [PG_TIMESTAMPTZ] = push_timestamptz,
};

/* ---- arrays: {1,2,NULL,"a\"b"}, {{1,2},{3,4}}, [0:1]={5,6} ---- */

struct array {
    const char *p, *end;
    char delimiter;
    push_value *push;
    int scratch; /* place on the stack: nil, or a userdata, perhaps with room for any element without its
                    backslashes */
    size_t room; /* which is so much */
};

/* How many elements an array of one dimension has at most, so that its table is made once; texts that hold
 * delimiters themselves count for more, within reason. */
static int guess_elements(const struct array *a)
{
    enum { MOST = 1 << 16 };
    int n = 1;
    const char *p = a->p;
    while (n < MOST && (p = memchr(p, a->delimiter, (size_t)(a->end - p)))) {
        p++;
        n++;
    }
    return n;
}

/* text[0..len): with backslashes. It is copied without them into memory that Lua owns. */
static struct piece unescape(lua_State *L, const struct array *a, struct piece p)
{
    if (lua_rawlen(L, a->scratch) < a->room) {
        lua_newuserdatauv(L, a->room, 0);
        lua_replace(L, a->scratch);
    }
    char *out = lua_touserdata(L, a->scratch);
    size_t n = 0;
    for (size_t i = 0; i < p.len; i++) {
        i += p.text[i] == '\\'; /* the closing quote lies behind, so there is a character */
        out[n++] = p.text[i];
    }
    out[n] = '\0';
    return (struct piece){out, n};
}

static bool push_quoted(lua_State *L, struct array *a)
{
    const char *begin = ++a->p, *quote = memchr(begin, '"', (size_t)(a->end - begin));
    if (!quote)
        return false;
    bool escaped = memchr(begin, '\\', (size_t)(quote - begin)) != NULL;
    if (escaped) { /* then the quote may be one of the text's own */
        for (quote = begin; quote < a->end && *quote != '"'; quote++)
            if (*quote == '\\' && ++quote == a->end)
                return false;
        if (quote == a->end)
            return false;
    }
    struct piece p = {begin, (size_t)(quote - begin)};
    a->p = quote + 1;
    return a->push(L, escaped ? unescape(L, a, p) : p);
}

static bool push_bare(lua_State *L, struct array *a)
{
    const char *begin = a->p;
    while (a->p < a->end && *a->p != a->delimiter && *a->p != '{' && *a->p != '}' && *a->p != '"' &&
           *a->p != '\\')
        a->p++;
    struct piece p = {begin, (size_t)(a->p - begin)};
    if (!is(p, "NULL"))
        return p.len > 0 && a->push(L, p);
    value_push_null(L);
    return true;
}

/* Fills the table on the top, which belongs to the brace that was just passed. The tables that are open lie
 * on the stack. */
static bool fill(lua_State *L, struct array *a)
{
    lua_Integer n[DIMENSIONS] = {0};
    int depth = 1;
    while (a->p < a->end) {
        if (*a->p == '{') {
            if (depth == DIMENSIONS)
                return false;
            a->p++;
            lua_newtable(L);
            n[depth++] = 0;
            continue;
        }
        bool empty = *a->p == '}' && n[depth - 1] == 0;
        if (!empty) {
            if (!(*a->p == '"' ? push_quoted(L, a) : push_bare(L, a)))
                return false;
            lua_rawseti(L, -2, ++n[depth - 1]);
        }
        while (a->p < a->end && *a->p == '}') {
            a->p++;
            if (--depth == 0)
                return a->p == a->end;
            lua_rawseti(L, -2, ++n[depth - 1]);
        }
        if (a->p == a->end || *a->p++ != a->delimiter)
            return false;
    }
    return false;
}

static bool push_array(lua_State *L, const struct pg_column *column, struct piece p, int scratch)
{
    struct array a = {.p = p.text,
                      .end = p.text + p.len,
                      .delimiter = column->delimiter,
                      .push = push_kind[column->kind],
                      .scratch = scratch,
                      .room = p.len + 1};
    if (p.len > 0 && p.text[0] == '[') { /* bounds: a list knows no others than 1..n */
        const char *equals = memchr(p.text, '=', p.len);
        if (!equals)
            return false;
        a.p = equals + 1;
    }
    if (a.p == a.end || *a.p++ != '{')
        return false;
    bool flat = a.p < a.end && *a.p != '{' && *a.p != '}';
    lua_createtable(L, flat ? guess_elements(&a) : 0, 0);
    return fill(L, &a);
}

/* ---- rows ---- */

static int damaged(lua_State *L, const struct pg_column *column, struct piece p)
{
    enum { SHOWN = 40 };
    bool cut = p.len > SHOWN;
    size_t shown = cut ? SHOWN : p.len;
    while (cut && shown > 0 && (p.text[shown] & 0xC0) == 0x80) /* amid a character */
        shown--;
    lua_pushlstring(L, p.text, shown);
    return luaL_error(L, "column '%s': '%s%s' is not a value of type %s", column->name, lua_tostring(L, -1),
                      cut ? "..." : "", column->type ? column->type : "its own");
}

void row_push_names(lua_State *L, const struct pg_columns *columns)
{
    luaL_checkstack(L, 4, NULL);
    lua_createtable(L, (int)columns->n, 0);
    for (int i = 0; i < (int)columns->n; i++) {
        lua_pushstring(L, columns->list[i].name);
        lua_rawseti(L, -2, i + 1);
    }
}

void row_push(lua_State *L, const struct pg_columns *columns, int names, const PGresult *res, int n)
{
    names = lua_absindex(L, names);
    luaL_checkstack(L, DIMENSIONS + 12, NULL);
    lua_pushnil(L);
    int scratch = lua_gettop(L); /* of all arrays */
    lua_createtable(L, 0, (int)columns->n);
    for (int i = 0; i < (int)columns->n; i++) {
        int len = PQgetlength(res, n, i);
        if (len == 0 && PQgetisnull(res, n, i))
            continue;
        const struct pg_column *column = &columns->list[i];
        struct piece p = {PQgetvalue(res, n, i), (size_t)len};
        lua_rawgeti(L, names, i + 1);
        if (!(column->array ? push_array(L, column, p, scratch) : push_kind[column->kind](L, p)))
            damaged(L, column, p);
        lua_rawset(L, -3);
    }
    lua_remove(L, scratch);
}

bool row_fits(const struct pg_columns *columns, const PGresult *res)
{
    if (PQnfields(res) != (int)columns->n)
        return false;
    for (int i = 0; i < (int)columns->n; i++)
        if (PQftype(res, i) != columns->list[i].oid || strcmp(PQfname(res, i), columns->list[i].name) != 0)
            return false;
    return true;
}
