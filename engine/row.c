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

enum { MOMENT = 64 }; /* bytes; the longest, a timestamptz BC with an offset in seconds, has 42 */

struct value {
    enum { TEXT, INTEGER, FLOAT, DECIMAL, BOOLEAN, BYTES, JSON } type;
    union {
        lua_Integer integer;
        double number;
        bool boolean;
    };
    struct piece text; /* of the other types */
    char room[MOMENT];
};

/* ---- one value: each reads it, or returns false if the text is not what its type says ---- */

static bool read_text(struct piece p, struct value *v)
{
    v->type = TEXT;
    v->text = p;
    return true;
}

/* False: not a whole number, or not within int64. */
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
    v->integer = (lua_Integer)(negative ? 0 - n : n);
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

/* Whether a float's text is what json_add_double would write for it: the server, too, takes the fewest digits
 * that read back the same, and no exponent between 1e-4 and 1e15. Those of up to 15 digits are found quickly,
 * and the server writes 12.0 without a point. */
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
    return json_is_number(p.text, p.len) && read_digits(p, v); /* it goes into documents as it is */
}

static bool read_bool(struct piece p, struct value *v)
{
    v->type = BOOLEAN;
    v->boolean = p.text[0] == 't';
    return is(p, "t") || is(p, "f");
}

static int hex(char c)
{
    return digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \x48656c6c6f: the session's bytea_output is hex */
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

/* ---- dates: ISO 8601, with the years that PostgreSQL knows ---- */

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

/* ---- where values go: onto the Lua stack, or into JSON text. Of JSON, what Lua would be asked about is not
 * put: false ---- */

struct target {
    lua_State *L; /* NULL: json */
    int scratch;  /* place on the stack: nil, or a userdata, perhaps with room for any element without its
                     backslashes */
    struct buf *json, *json_scratch;
};

static void push_bytes(lua_State *L, struct piece p)
{
    luaL_Buffer b;
    size_t n = p.len / 2;
    char *out = luaL_buffinitsize(L, &b, n);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(hex(p.text[2 * i]) << 4 | hex(p.text[2 * i + 1]));
    luaL_pushresultsize(&b, n);
}

static void push_value(lua_State *L, const struct value *v)
{
    switch (v->type) {
    case TEXT:
        lua_pushlstring(L, v->text.text, v->text.len);
        return;
    case INTEGER:
        lua_pushinteger(L, v->integer);
        return;
    case FLOAT:
        lua_pushnumber(L, v->number);
        return;
    case DECIMAL:
        value_push_decimal(L, v->text.text, v->text.len);
        return;
    case BOOLEAN:
        lua_pushboolean(L, v->boolean);
        return;
    case BYTES:
        push_bytes(L, v->text);
        return;
    case JSON:
        value_push_json(L, v->text.text, v->text.len);
        return;
    }
}

static bool add_value(struct buf *b, const struct value *v)
{
    switch (v->type) {
    case TEXT:
        return json_add_string(b, v->text.text, v->text.len);
    case INTEGER:
        json_add_int(b, v->integer);
        return true;
    case FLOAT:
        return json_add_double(b, v->number);
    case DECIMAL:
        buf_add(b, v->text.text, v->text.len);
        return true;
    case BOOLEAN:
        buf_adds(b, v->boolean ? "true" : "false");
        return true;
    case BYTES:
        return false;
    case JSON:
        json_add_raw(b, v->text.text, v->text.len);
        return true;
    }
    return false;
}

static bool put_value(const struct target *t, const struct value *v)
{
    if (!t->L)
        return add_value(t->json, v);
    push_value(t->L, v);
    return true;
}

static bool put_null(const struct target *t)
{
    if (t->L)
        value_push_null(t->L);
    else
        buf_adds(t->json, "null");
    return true;
}

/* Begins the array's element n (1: the first one). */
static void put_element(const struct target *t, lua_Integer n)
{
    if (!t->L && n > 1)
        buf_addc(t->json, ',');
}

static void end_element(const struct target *t, lua_Integer n)
{
    if (t->L)
        lua_rawseti(t->L, -2, n);
}

/* elements: how many there are, perhaps. */
static void put_array(const struct target *t, int elements)
{
    if (t->L)
        lua_createtable(t->L, elements, 0);
    else
        buf_addc(t->json, '[');
}

static void end_array(const struct target *t)
{
    if (!t->L)
        buf_addc(t->json, ']');
}

static bool put_text(const struct target *t, read_value *read, struct piece p)
{
    struct value v;
    if (!t->L && read == read_float && is_shortest(p))
        read = read_digits;
    return read(p, &v) && put_value(t, &v);
}

/* Room for so many bytes, until it is asked for again. NULL: no memory, and for Lua an error. */
static char *scratch(const struct target *t, size_t size)
{
    if (!t->L) {
        buf_clear(t->json_scratch);
        return buf_reserve(t->json_scratch, size) ? t->json_scratch->data : NULL;
    }
    if (lua_rawlen(t->L, t->scratch) < size) {
        lua_newuserdatauv(t->L, size, 0);
        lua_replace(t->L, t->scratch);
    }
    return lua_touserdata(t->L, t->scratch);
}

/* ---- arrays: {1,2,NULL,"a\"b"}, {{1,2},{3,4}}, [0:1]={5,6} ---- */

struct array {
    const char *p, *end;
    char delimiter;
    read_value *read;
    struct target target;
    size_t room; /* any element without its backslashes has room in it */
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

/* With backslashes: it is copied without them. */
static bool put_escaped(const struct array *a, struct piece p)
{
    char *out = scratch(&a->target, a->room);
    size_t n = 0;
    if (!out)
        return false;
    for (size_t i = 0; i < p.len; i++) {
        i += p.text[i] == '\\'; /* the closing quote lies behind, so there is a character */
        out[n++] = p.text[i];
    }
    out[n] = '\0';
    return put_text(&a->target, a->read, (struct piece){out, n});
}

static bool put_quoted(struct array *a)
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
    return escaped ? put_escaped(a, p) : put_text(&a->target, a->read, p);
}

static bool put_bare(struct array *a)
{
    const char *begin = a->p;
    while (a->p < a->end && *a->p != a->delimiter && *a->p != '{' && *a->p != '}' && *a->p != '"' &&
           *a->p != '\\')
        a->p++;
    struct piece p = {begin, (size_t)(a->p - begin)};
    return is(p, "NULL") ? put_null(&a->target) : p.len > 0 && put_text(&a->target, a->read, p);
}

/* Puts the array that belongs to the brace that was just passed. Those that are open lie on the stack. */
static bool put_elements(struct array *a, int guess)
{
    const struct target *t = &a->target;
    lua_Integer n[DIMENSIONS] = {0};
    int depth = 1;
    put_array(t, guess);
    while (a->p < a->end) {
        bool empty = *a->p == '}' && n[depth - 1] == 0;
        if (!empty)
            put_element(t, ++n[depth - 1]);
        if (*a->p == '{') {
            if (depth == DIMENSIONS)
                return false;
            a->p++;
            put_array(t, 0);
            n[depth++] = 0;
            continue;
        }
        if (!empty) {
            if (!(*a->p == '"' ? put_quoted(a) : put_bare(a)))
                return false;
            end_element(t, n[depth - 1]);
        }
        while (a->p < a->end && *a->p == '}') {
            a->p++;
            end_array(t);
            if (--depth == 0)
                return a->p == a->end;
            end_element(t, n[depth - 1]);
        }
        if (a->p == a->end || *a->p++ != a->delimiter)
            return false;
    }
    return false;
}

static bool put_list(const struct target *t, const struct pg_column *column, struct piece p)
{
    struct array a = {.p = p.text,
                      .end = p.text + p.len,
                      .delimiter = column->delimiter,
                      .read = read_kind[column->kind],
                      .target = *t,
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
    return put_elements(&a, flat && t->L ? guess_elements(&a) : 0);
}

static bool put_column(const struct target *t, const struct pg_column *column, struct piece p)
{
    return column->array ? put_list(t, column, p) : put_text(t, read_kind[column->kind], p);
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
    struct target t = {.L = L, .scratch = lua_gettop(L)};
    lua_createtable(L, 0, (int)columns->n);
    for (int i = 0; i < (int)columns->n; i++) {
        int len = PQgetlength(res, n, i);
        if (len == 0 && PQgetisnull(res, n, i))
            continue;
        const struct pg_column *column = &columns->list[i];
        struct piece p = {PQgetvalue(res, n, i), (size_t)len};
        lua_rawgeti(L, names, i + 1);
        if (!put_column(&t, column, p))
            damaged(L, column, p);
        lua_rawset(L, -3);
    }
    lua_remove(L, t.scratch);
}

bool row_add_json(struct buf *out, const struct pg_column *column, const char *text, size_t len,
                  struct buf *scratch)
{
    struct target t = {.json = out, .json_scratch = scratch};
    return put_column(&t, column, (struct piece){text, len});
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
