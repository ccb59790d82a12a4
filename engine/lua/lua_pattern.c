#include "lua/lua_pattern.h"

#include "lua/sandbox.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

enum {
    DEPTH = 200,     /* of recursion, as in Lua */
    CAPTURES = 32,   /* as in Lua */
    STEPS = 10000,   /* between two checks of the limits */
    COST = 1000,     /* instructions of STEPS steps: a step is small, and large texts are allowed */
    UNFINISHED = -1, /* a capture whose ')' was not reached yet */
    POSITION = -2,   /* "()" */
    ESCAPE = '%',
};

struct capture {
    const char *start;
    ptrdiff_t len; /* or UNFINISHED, POSITION */
};

struct match {
    lua_State *L;
    const char *text, *text_end, *pattern_end;
    int depth, steps, n;
    struct capture captures[CAPTURES];
};

static void step(struct match *m)
{
    if (++m->steps < STEPS)
        return;
    m->steps = 0;
    sandbox_spend(m->L, COST);
}

/* ---- one character ---- */

static bool in_class(int c, int class)
{
    bool is;
    switch (tolower(class)) {
    case 'a':
        is = isalpha(c);
        break;
    case 'c':
        is = iscntrl(c);
        break;
    case 'd':
        is = isdigit(c);
        break;
    case 'g':
        is = isgraph(c);
        break;
    case 'l':
        is = islower(c);
        break;
    case 'p':
        is = ispunct(c);
        break;
    case 's':
        is = isspace(c);
        break;
    case 'u':
        is = isupper(c);
        break;
    case 'w':
        is = isalnum(c);
        break;
    case 'x':
        is = isxdigit(c);
        break;
    case 'z': /* from older versions of Lua */
        is = c == 0;
        break;
    default:
        return class == c;
    }
    return is != (isupper(class) != 0);
}

/* Returns the end of the single character class that begins at p. */
static const char *class_end(const struct match *m, const char *p)
{
    if (*p == ESCAPE) {
        if (p + 1 == m->pattern_end)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 2;
    }
    if (*p++ != '[')
        return p;
    if (p < m->pattern_end && *p == '^')
        p++;
    do { /* a ']' in the first place is an ordinary character */
        if (p == m->pattern_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
        if (*p++ == ESCAPE && p < m->pattern_end)
            p++;
    } while (p == m->pattern_end || *p != ']');
    return p + 1;
}

/* Whether the set has the character c. set points to its '[', end to its ']'. */
static bool in_set(int c, const char *set, const char *end)
{
    bool inside = true;
    if (set[1] == '^') {
        inside = false;
        set++;
    }
    while (++set < end) {
        if (*set == ESCAPE) {
            set++;
            if (in_class(c, (unsigned char)*set))
                return inside;
        } else if (set[1] == '-' && set + 2 < end) {
            set += 2;
            if ((unsigned char)set[-2] <= c && c <= (unsigned char)*set)
                return inside;
        } else if ((unsigned char)*set == c) {
            return inside;
        }
    }
    return !inside;
}

/* Whether the class p, which ends at `end`, matches the character at s. */
static bool takes(struct match *m, const char *s, const char *p, const char *end)
{
    step(m);
    if (s >= m->text_end)
        return false;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return true;
    case ESCAPE:
        return in_class(c, (unsigned char)p[1]);
    case '[':
        return in_set(c, p, end - 1);
    default:
        return (unsigned char)*p == c;
    }
}

/* ---- the parts of a pattern: each returns the end of the match, or NULL ---- */

static const char *match(struct match *m, const char *s, const char *p);

/* Matches "%bxy". p points to x. */
static const char *match_balance(struct match *m, const char *s, const char *p)
{
    if (m->pattern_end - p < 2)
        luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    if (s >= m->text_end || *s != *p)
        return NULL;
    int open = 1;
    while (++s < m->text_end) {
        step(m);
        if (*s == p[1]) {
            if (--open == 0)
                return s + 1;
        } else if (*s == *p) {
            open++;
        }
    }
    return NULL;
}

static const char *match_longest(struct match *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t n = 0;
    while (takes(m, s + n, p, end))
        n++;
    for (; n >= 0; n--) {
        const char *found = match(m, s + n, end + 1);
        if (found)
            return found;
    }
    return NULL;
}

static const char *match_shortest(struct match *m, const char *s, const char *p, const char *end)
{
    for (;; s++) {
        const char *found = match(m, s, end + 1);
        if (found)
            return found;
        if (!takes(m, s, p, end))
            return NULL;
    }
}

static const char *open_capture(struct match *m, const char *s, const char *p, ptrdiff_t what)
{
    if (m->n >= CAPTURES)
        luaL_error(m->L, "too many captures");
    m->captures[m->n++] = (struct capture){s, what};
    const char *found = match(m, s, p);
    if (!found)
        m->n--;
    return found;
}

static const char *close_capture(struct match *m, const char *s, const char *p)
{
    int i = m->n - 1;
    while (i >= 0 && m->captures[i].len != UNFINISHED)
        i--;
    if (i < 0)
        luaL_error(m->L, "invalid pattern capture");
    m->captures[i].len = s - m->captures[i].start;
    const char *found = match(m, s, p);
    if (!found)
        m->captures[i].len = UNFINISHED;
    return found;
}

/* Matches "%1" to "%9". */
static const char *match_capture(struct match *m, const char *s, char digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->n || m->captures[i].len == UNFINISHED)
        luaL_error(m->L, "invalid capture index %%%d", i + 1);
    size_t len = (size_t)m->captures[i].len; /* a position is longer than any text */
    step(m);
    if ((size_t)(m->text_end - s) < len || memcmp(m->captures[i].start, s, len) != 0)
        return NULL;
    return s + len;
}

/* Whether "%f[set]" matches at s. p points after the f. Sets *end to the end of the set. */
static bool at_frontier(struct match *m, const char *s, const char *p, const char **end)
{
    if (p == m->pattern_end || *p != '[')
        luaL_error(m->L, "missing '[' after '%%f' in pattern");
    *end = class_end(m, p);
    int before = s == m->text ? '\0' : (unsigned char)s[-1],
        after = s < m->text_end ? (unsigned char)*s : '\0';
    step(m);
    return !in_set(before, p, *end - 1) && in_set(after, p, *end - 1);
}

/* Matches a character class and its suffix. True: the match continues from *s and *p. False: *s is
 * the result. */
static bool match_single(struct match *m, const char **s, const char **p)
{
    const char *end = class_end(m, *p);
    char suffix = end < m->pattern_end ? *end : '\0';
    if (suffix == '*' || suffix == '-') {
        *s = suffix == '*' ? match_longest(m, *s, *p, end) : match_shortest(m, *s, *p, end);
        return false;
    }
    bool taken = takes(m, *s, *p, end);
    if (suffix == '+') {
        *s = taken ? match_longest(m, *s + 1, *p, end) : NULL;
        return false;
    }
    if (suffix == '?' && taken) {
        const char *found = match(m, *s + 1, end + 1);
        if (found) {
            *s = found;
            return false;
        }
    }
    if (!taken && suffix != '?') {
        *s = NULL;
        return false;
    }
    *s += suffix != '?';
    *p = suffix == '?' ? end + 1 : end;
    return true;
}

/* Matches a part that begins with '%'. False: it is a character class. *more: whether the match
 * continues. */
static bool match_special(struct match *m, const char **s, const char **p, bool *more)
{
    const char *end, kind = m->pattern_end - *p > 1 ? (*p)[1] : '\0';
    if (kind == 'b') {
        *s = match_balance(m, *s, *p + 2);
        *p += 4;
    } else if (kind == 'f') {
        *s = at_frontier(m, *s, *p + 2, &end) ? *s : NULL;
        *p = end;
    } else if (kind >= '0' && kind <= '9') {
        *s = match_capture(m, *s, kind);
        *p += 2;
    } else {
        return false;
    }
    *more = *s != NULL;
    return true;
}

/* Matches the pattern from p on against the text from s on. */
static const char *match(struct match *m, const char *s, const char *p)
{
    if (m->depth++ == DEPTH)
        luaL_error(m->L, "pattern too complex");
    bool more = true;
    while (more && p < m->pattern_end) {
        step(m);
        if (*p == '(') {
            bool position = m->pattern_end - p > 1 && p[1] == ')';
            s = open_capture(m, s, p + 1 + position, position ? POSITION : UNFINISHED);
            more = false;
        } else if (*p == ')') {
            s = close_capture(m, s, p + 1);
            more = false;
        } else if (*p == '$' && p + 1 == m->pattern_end) {
            s = s == m->text_end ? s : NULL;
            more = false;
        } else if (*p != ESCAPE || !match_special(m, &s, &p, &more)) {
            more = match_single(m, &s, &p);
        }
    }
    m->depth--;
    return s;
}

/* ---- captures as Lua values ---- */

/* Pushes capture i, from 0. If the pattern has no captures, the whole match is the first. */
static void push_capture(struct match *m, int i, const char *s, const char *end)
{
    if (i >= m->n) {
        if (i > 0)
            luaL_error(m->L, "invalid capture index %%%d", i + 1);
        lua_pushlstring(m->L, s, (size_t)(end - s));
        return;
    }
    const struct capture *c = &m->captures[i];
    if (c->len == UNFINISHED)
        luaL_error(m->L, "unfinished capture");
    if (c->len == POSITION)
        lua_pushinteger(m->L, c->start - m->text + 1);
    else
        lua_pushlstring(m->L, c->start, (size_t)c->len);
}

static int push_captures(struct match *m, const char *s, const char *end)
{
    int n = m->n == 0 && s ? 1 : m->n;
    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++)
        push_capture(m, i, s, end);
    return n;
}

/* ---- find, match ---- */

static void begin(struct match *m, lua_State *L, const char *text, size_t len, const char *pattern,
                  size_t pattern_len)
{
    m->L = L;
    m->text = text;
    m->text_end = text + len;
    m->pattern_end = pattern + pattern_len;
    m->steps = 0;
}

static const char *try_at(struct match *m, const char *s, const char *p)
{
    m->n = m->depth = 0;
    return match(m, s, p);
}

/* Converts a start as Lua gives it (1 is the first character, -1 the last) to an offset, which may
 * lie after the end. */
static size_t start_of(lua_Integer at, size_t len)
{
    if (at > 0)
        return (size_t)at - 1;
    if (at == 0 || at < -(lua_Integer)len)
        return 0;
    return len - (size_t)-at;
}

static int find_plainly(lua_State *L, const char *text, size_t len, size_t start,
                        const char *wanted, size_t wanted_len)
{
    const char *found = memmem(text + start, len - start, wanted, wanted_len);
    sandbox_spend(L, (int64_t)(len - start) / COST);
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, found - text + 1);
    lua_pushinteger(L, found - text + (lua_Integer)wanted_len);
    return 2;
}

static bool is_plain(const char *pattern, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (pattern[i] != '\0' && strchr("^$*+?.([%-", pattern[i]))
            return false;
    return true;
}

static int find_or_match(lua_State *L, bool find)
{
    size_t len, pattern_len;
    const char *text = luaL_checklstring(L, 1, &len),
               *pattern = luaL_checklstring(L, 2, &pattern_len);
    size_t start = start_of(luaL_optinteger(L, 3, 1), len);
    if (start > len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || is_plain(pattern, pattern_len)))
        return find_plainly(L, text, len, start, pattern, pattern_len);
    struct match m;
    begin(&m, L, text, len, pattern, pattern_len);
    bool anchor = pattern_len > 0 && *pattern == '^';
    for (const char *s = text + start; s <= m.text_end; s++) {
        const char *end = try_at(&m, s, pattern + anchor);
        if (end && find) {
            lua_pushinteger(L, s - text + 1);
            lua_pushinteger(L, end - text);
            return 2 + push_captures(&m, NULL, NULL);
        }
        if (end)
            return push_captures(&m, s, end);
        if (anchor)
            break;
    }
    lua_pushnil(L);
    return 1;
}

static int find(lua_State *L)
{
    return find_or_match(L, true);
}

static int match_once(lua_State *L)
{
    return find_or_match(L, false);
}

/* ---- gmatch: the upvalues are the text, the pattern, the offset of the next try, and the offset
 * of the last match's end or -1 ---- */

static int gmatch_next(lua_State *L)
{
    size_t len, pattern_len;
    const char *text = lua_tolstring(L, lua_upvalueindex(1), &len);
    const char *pattern = lua_tolstring(L, lua_upvalueindex(2), &pattern_len);
    lua_Integer from = lua_tointeger(L, lua_upvalueindex(3)),
                last = lua_tointeger(L, lua_upvalueindex(4));
    struct match m;
    begin(&m, L, text, len, pattern, pattern_len);
    for (; from <= (lua_Integer)len; from++) {
        const char *end = try_at(&m, text + from, pattern);
        if (!end || end - text == last) /* an empty match right after the last one */
            continue;
        lua_pushinteger(L, end - text);
        lua_copy(L, -1, lua_upvalueindex(3));
        lua_replace(L, lua_upvalueindex(4));
        return push_captures(&m, text + from, end);
    }
    return 0;
}

static int gmatch(lua_State *L)
{
    size_t len;
    luaL_checklstring(L, 1, &len);
    luaL_checkstring(L, 2);
    size_t start = start_of(luaL_optinteger(L, 3, 1), len);
    lua_settop(L, 2);
    lua_pushinteger(L, (lua_Integer)(start > len ? len + 1 : start));
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, 4);
    return 1;
}

/* ---- gsub ---- */

/* Appends the replacement, a string that may contain %0 to %9. */
static void add_text(struct match *m, luaL_Buffer *b, const char *s, const char *end)
{
    size_t len;
    const char *text = lua_tolstring(m->L, 3, &len), *text_end = text + len, *percent;
    while ((percent = memchr(text, ESCAPE, (size_t)(text_end - text)))) {
        luaL_addlstring(b, text, (size_t)(percent - text));
        char c = percent + 1 < text_end ? percent[1] : '\0';
        if (c == ESCAPE) {
            luaL_addchar(b, c);
        } else if (c == '0') {
            luaL_addlstring(b, s, (size_t)(end - s));
        } else if (isdigit((unsigned char)c)) {
            push_capture(m, c - '1', s, end);
            luaL_tolstring(m->L, -1, NULL); /* a position is a number */
            lua_remove(m->L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(m->L, "invalid use of '%c' in replacement string", ESCAPE);
        }
        text = percent + 2;
    }
    luaL_addlstring(b, text, (size_t)(text_end - text));
}

/* Appends the replacement of the match. False: there is none, and the match was appended
 * unchanged. */
static bool add_replacement(struct match *m, luaL_Buffer *b, const char *s, const char *end,
                            int type)
{
    lua_State *L = m->L;
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(m, s, end), 1);
    } else if (type == LUA_TTABLE) {
        push_capture(m, 0, s, end);
        lua_gettable(L, 3);
    } else {
        add_text(m, b, s, end);
        return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, s, (size_t)(end - s));
        return false;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    luaL_addvalue(b);
    return true;
}

static int gsub(lua_State *L)
{
    size_t len, pattern_len;
    const char *text = luaL_checklstring(L, 1, &len),
               *pattern = luaL_checklstring(L, 2, &pattern_len);
    int type = lua_type(L, 3);
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)len + 1), n = 0;
    if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TFUNCTION && type != LUA_TTABLE)
        return luaL_typeerror(L, 3, "string/function/table");
    bool anchor = pattern_len > 0 && *pattern == '^', changed = false;
    struct match m;
    luaL_Buffer b;
    begin(&m, L, text, len, pattern, pattern_len);
    luaL_buffinit(L, &b);
    const char *s = text, *last = NULL;
    while (n < max) {
        const char *end = try_at(&m, s, pattern + anchor);
        if (end && end != last) {
            n++;
            changed |= add_replacement(&m, &b, s, end, type);
            s = last = end;
        } else if (s < m.text_end) {
            luaL_addchar(&b, *s++);
        } else {
            break;
        }
        if (anchor)
            break;
    }
    if (changed) {
        luaL_addlstring(&b, s, (size_t)(m.text_end - s));
        luaL_pushresult(&b);
    } else {
        lua_pushvalue(L, 1);
    }
    lua_pushinteger(L, n);
    return 2;
}

void lua_pattern_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", find}, {"match", match_once}, {"gmatch", gmatch}, {"gsub", gsub}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
