/* What is written reads back as the same; what is read may be any bytes at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "torture.h"

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

/* ---- writing ---- */

static void assert_string_becomes(const char *text, size_t len, const char *expected)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_adds(&b, "x");
    bool valid = json_add_string(&b, text, len);
    assert_false(b.failed);
    if (expected)
        assert_string_equal(buf_cstr(&b) + 1, expected);
    else
        assert_int_equal(b.len, 1); /* nothing of it stays */
    assert_true(valid == (expected != NULL));
    buf_free(&b);
}

static void only_what_must_be_escaped_is_escaped(void **state)
{
    (void)state;
    assert_string_becomes(NULL, 0, "\"\"");
    assert_string_becomes("a/b'<>&\x7f", 8, "\"a/b'<>&\x7f\"");
    assert_string_becomes("\"\\\b\t\n\f\r", 7, "\"\\\"\\\\\\b\\t\\n\\f\\r\"");
    assert_string_becomes("\0\x01\v\x0e\x1f", 5, "\"\\u0000\\u0001\\u000b\\u000e\\u001f\"");
    assert_string_becomes("é€😀 \xe2\x80\xa8", 13, "\"é€😀 \xe2\x80\xa8\"");
}

static void assert_byte_is_seen(size_t len, char around, size_t at, char c)
{
    static const char from[] = "\b\t\n\f\r\"\\", to[] = "btnfr\"\\";
    char text[50], expected[60], *o = expected;
    memset(text, around, len);
    text[at] = c;
    *o++ = '"';
    for (size_t i = 0; i < len; i++) {
        const char *found = text[i] != '\0' ? strchr(from, text[i]) : NULL;
        if (found) {
            *o++ = '\\';
            *o++ = to[found - from];
        } else if ((unsigned char)text[i] < 0x20) {
            o += snprintf(o, 7, "\\u%04x", (unsigned)c);
        } else {
            *o++ = text[i];
        }
    }
    memcpy(o, "\"", 2);
    assert_string_becomes(text, len, expected);
}

/* The fast path looks at 16, 8 or 4 bytes at once: each byte at each place of them, among
 * neighbours that could mislead it. */
static void every_byte_is_seen_at_every_place(void **state)
{
    (void)state;
    static const char around[] = {'a', '~', ' ', '\x7f', '!', '#', '[', ']'};
    static const size_t lengths[] = {1, 3, 4, 6, 7, 8, 9, 16, 20, 31, 45};
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
        for (size_t s = 0; s < sizeof around; s++)
            for (int c = 0; c < 0x80; c++)
                for (size_t at = 0; at < lengths[n]; at++)
                    assert_byte_is_seen(lengths[n], around[s], at, (char)c);
}

/* Independent of json.c: decodes, and encodes again to see that the form was the shortest. */
static bool is_one_character(const unsigned char *u, size_t n)
{
    static const unsigned first[] = {0, 0, 0x80, 0x800, 0x10000};
    if (n == 1)
        return u[0] < 0x80;
    if (n < 2 || n > 4 || (unsigned)u[0] >> (7 - n) != (1u << (n + 1)) - 2)
        return false;
    unsigned c = u[0] & ((1u << (7 - n)) - 1);
    for (size_t i = 1; i < n; i++) {
        if (u[i] >> 6 != 2)
            return false;
        c = c << 6 | (u[i] & 0x3F);
    }
    return c >= first[n] && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
}

static void utf8_is_valid_or_refused(void **state)
{
    (void)state;
    for (unsigned lead = 0x80; lead <= 0xFF; lead++)
        for (unsigned second = 0; second <= 0xFF; second++)
            for (unsigned tail = 0; tail < 16; tail++)
                for (size_t n = 1; n <= 4; n++) {
                    static const unsigned char tails[] = {0x7F, 0x80, 0xBF, 0xC0};
                    unsigned char u[4] = {(unsigned char)lead, (unsigned char)second,
                                          tails[tail / 4], tails[tail % 4]};
                    assert_true((json_character((const char *)u, n) == n) ==
                                is_one_character(u, n));
                    assert_true(json_character((const char *)u, n) <= n);
                }
    assert_int_equal(json_character("", 0), 0);
    static const char *const bad[] = {"\x80",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xC3",
                                      "\xE2\x82",
                                      "\xF0\x9F\x98",
                                      "\xFF"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int before = 0; before < 20; before++) {
            char text[100];
            int len = snprintf(text, sizeof text, "%.*s%s", before, "....................", bad[i]);
            assert_string_becomes(text, (size_t)len, NULL);
            len = snprintf(text, sizeof text, "%.*s%s.........", before, "\n...................",
                           bad[i]);
            assert_string_becomes(text, (size_t)len, NULL);
        }
}

static void a_string_that_just_fits_is_written_and_no_other(void **state)
{
    (void)state;
    static const char text[] = "123456789\n\x01 é \"quoted\" and more of it";
    struct buf b;
    buf_init(&b, 1000);
    json_add_string(&b, text, sizeof text - 1);
    size_t need = b.len;
    buf_free(&b);
    for (size_t max = 0; max <= need; max++) {
        buf_init(&b, max);
        assert_true(json_add_string(&b, text, sizeof text - 1));
        assert_true(b.failed == (max < need));
        assert_int_equal(b.len, max < need ? 0 : need);
        buf_free(&b);
    }
}

static void integers_are_exact(void **state)
{
    (void)state;
    int64_t values[200] = {
        0, 1, -1, 9, 10, -10, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1, 9007199254740993};
    uint64_t seed = 3;
    for (size_t i = 11; i < 200; i++)
        values[i] = (int64_t)(next_random(&seed) >> i % 64);
    for (size_t i = 0; i < 200; i++) {
        struct buf b;
        char expected[30];
        buf_init(&b, 100);
        json_add_int(&b, values[i]);
        snprintf(expected, sizeof expected, "%lld", (long long)values[i]);
        assert_string_equal(buf_cstr(&b), expected);
        buf_free(&b);
    }
}

static const char *double_text(struct buf *b, double x)
{
    buf_clear(b);
    assert_true(json_add_double(b, x));
    return buf_cstr(b);
}

static void doubles_are_short_and_look_like_doubles(void **state)
{
    (void)state;
    static const struct {
        double x;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {12, "12.0"},
        {-1, "-1.0"},
        {0.1, "0.1"},
        {7.9, "7.9"},
        {-123.456, "-123.456"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {0.0001, "0.0001"},
        {0.00123, "0.00123"},
        {0.00001, "1e-05"},
        {123456789012345, "123456789012345.0"},
        {999999999999999, "999999999999999.0"},
        {1e15, "1e+15"},
        {9007199254740993.0, "9007199254740992.0"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {1e308, "1e+308"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {5e-324, "5e-324"},
        {-1.5e-320, "-1.5e-320"},
        {(double)1.1f, "1.100000023841858"},
    };
    struct buf b;
    buf_init(&b, 100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(double_text(&b, cases[i].x), cases[i].text);
    buf_clear(&b);
    assert_false(json_add_double(&b, NAN));
    assert_false(json_add_double(&b, INFINITY));
    assert_false(json_add_double(&b, -INFINITY));
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

/* Reads back to the last bit, is JSON, looks like a float, and no fewer digits would do. */
static void check_double(struct buf *b, double x)
{
    const char *text = double_text(b, x);
    double back = strtod(text, NULL);
    if (memcmp(&back, &x, sizeof x) != 0 || !json_is_number(text, b->len) || !strpbrk(text, ".e"))
        fail_msg("%a became %s", x, text);
    char shorter[40];
    for (int precision = fabs(x) < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
        snprintf(shorter, sizeof shorter, "%.*g", precision, x);
        if (strtod(shorter, NULL) == x)
            break;
    }
    if (!strpbrk(shorter, ".e"))
        snprintf(shorter + strlen(shorter), 3, ".0");
    if (strcmp(shorter, text) != 0)
        fail_msg("%a became %s, not %s", x, text, shorter);
}

static void doubles_read_back_to_the_last_bit(void **state)
{
    (void)state;
    uint64_t seed = 20210616;
    struct buf b;
    buf_init(&b, 100);
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = next_random(&seed), more = next_random(&seed);
        double x;
        memcpy(&x, &bits, sizeof x);
        if (isfinite(x))
            check_double(&b, x);
        bits &= 0x800FFFFFFFFFFFFF; /* subnormal */
        memcpy(&x, &bits, sizeof x);
        check_double(&b, x);
        x = (double)(int64_t)(bits >> more % 54) /
            pow(10, (double)(more / 64 % 24)); /* short decimals, nearly */
        check_double(&b, x);
        check_double(&b, nextafter(x, 1e300));
        check_double(&b, ldexp(1, (int)(more % 2000) - 1000));
    }
    buf_free(&b);
}

static void a_locale_does_not_change_numbers(void **state)
{
    (void)state;
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8", "de_DE",
                                          "ps_AF.UTF-8"};
    bool found = false;
    for (size_t i = 0; i < sizeof locales / sizeof *locales && !found; i++)
        found =
            setlocale(LC_ALL, locales[i]) != NULL && strcmp(localeconv()->decimal_point, ".") != 0;
    struct buf b;
    buf_init(&b, 100);
    assert_string_equal(double_text(&b, 1.5), "1.5");
    assert_string_equal(double_text(&b, 0.1 + 0.2), "0.30000000000000004");
    assert_string_equal(double_text(&b, 1.25e-300), "1.25e-300");
    buf_free(&b);
    setlocale(LC_ALL, "C");
    if (!found)
        print_message("no locale with a decimal comma here\n");
}

static void raw_json_keeps_to_its_line(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_adds(&b, "\n");
    json_add_raw(&b, "{\n\"a\":\r\n[1, \"\\n\"]}", 19);
    json_add_raw(&b, "", 0);
    assert_string_equal(buf_cstr(&b), "\n{ \"a\":  [1, \"\\n\"]}");
    buf_free(&b);
}

static void numbers_are_what_json_calls_numbers(void **state)
{
    (void)state;
    static const char *const good[] = {"0",     "-0",  "1",    "-12",  "0.5",
                                       "10.01", "1e5", "1E+5", "0e-0", "-1.5e300"};
    static const char *const bad[] = {"",    "-",   "+1",   "01",    "-01",     "1.", ".5",
                                      "1e",  "1e+", "1.e5", "0x1",   "1 ",      " 1", "NaN",
                                      "1,5", "--1", "1e5.", "1e1e1", "Infinity"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(json_is_number(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(json_is_number(bad[i], strlen(bad[i])));
    assert_false(json_is_number(NULL, 0));
}

/* ---- reading ---- */

/* Reads all of a text, kept in memory of exactly its size so that a step beyond it is noticed. The
 * tokens are written into out, if there is one: a letter each, and the text of those that have one.
 * The text may be damaged. */
static const char *read_all(const char *text, size_t len, struct buf *out, size_t *at)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, text, len);
    struct json_reader r;
    json_open(&r, copy, len);
    size_t depth = 0;
    do {
        enum json_token token = json_next(&r);
        depth += token == JSON_OBJECT || token == JSON_ARRAY;
        depth -= token == JSON_OBJECT_END || token == JSON_ARRAY_END;
        if (out)
            buf_addc(out, "!ntf#'k{}[]"[token]);
        if (out && r.text)
            buf_add(out, r.text, r.len);
        assert_true(json_offset(&r) <= len && r.at <= len);
    } while (!r.error && (depth > 0 || r.token == JSON_KEY));
    json_end(&r);
    const char *error = r.error;
    *at = r.at;
    if (error) {
        assert_int_equal(json_next(&r), JSON_ERROR); /* sticky */
        assert_false(json_end(&r));
        assert_true(r.error == error && r.at == *at);
    }
    json_close(&r);
    free(copy);
    return error;
}

static void assert_reads(const char *text, const char *expected)
{
    struct buf out;
    size_t at;
    buf_init(&out, 10000);
    const char *error = read_all(text, strlen(text), &out, &at);
    if (error)
        fail_msg("%s: %s at %zu", text, error, at);
    assert_string_equal(buf_cstr(&out), expected);
    buf_free(&out);
}

static void every_kind_of_value_is_read(void **state)
{
    (void)state;
    assert_reads("null", "n");
    assert_reads(" true\n", "t");
    assert_reads("\t\r\n false ", "f");
    assert_reads("-0.5e+10", "#-0.5e+10");
    assert_reads("0", "#0");
    assert_reads("\"\"", "'");
    assert_reads("[]", "[]");
    assert_reads("{}", "{}");
    assert_reads(" [ [ ] , { } , 1 ] ", "[[]{}#1]");
    assert_reads("{\"a\":1,\"b\":[true,{\"c\":null}],\"\":\"x\"}", "{ka#1kb[t{kcn}]k'x}");
    assert_reads("[\"a long text with é, € and 😀 in it, and \\\"more\\\" behind\"]",
                 "['a long text with é, € and 😀 in it, and \"more\" behind]");
    assert_reads(
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\\uffff\\ud7ff\\ue000\"",
        "'\"\\/\b\f\n\r\tAé€😀\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80");
    assert_reads("{\"\\u006b\" : \"\\n\"}", "{kk'\n}");
}

static void strings_may_hold_zero_bytes(void **state)
{
    (void)state;
    struct json_reader r;
    json_open(&r, "\"a\\u0000b\"", 10);
    assert_int_equal(json_next(&r), JSON_STRING);
    assert_int_equal(r.len, 3);
    assert_memory_equal(r.text, "a\0b", 3);
    assert_false(json_is(&r, "a"));
    assert_true(json_end(&r));
    json_close(&r);
}

static void strings_without_escapes_are_borrowed(void **state)
{
    (void)state;
    static const char text[] = "[\"plain text, é\", 12.50]";
    struct json_reader r;
    allocations_left = 0;
    json_open(&r, text, sizeof text - 1);
    json_next(&r);
    assert_int_equal(json_next(&r), JSON_STRING);
    assert_true(r.text == text + 2 && r.len == 14 && r.at == 1);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(r.text == strchr(text, '1') && r.len == 5 && json_is(&r, "12.50"));
    allocations_left = -1;
    json_close(&r);
}

static void what_is_not_json_is_damaged_and_says_where(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len, at;
    } cases[] = {
#define BAD(text, at) {text, sizeof text - 1, at}
        BAD("[1,]", 3),
        BAD("{\"a\":1,}", 7),
        BAD("[,1]", 1),
        BAD("{,}", 1),
        BAD("[1 2]", 3),
        BAD("{\"a\" 1}", 5),
        BAD("{\"a\":}", 5),
        BAD("{1:2}", 1),
        BAD("{a:1}", 1),
        BAD("{\"a\":1 \"b\":2}", 7),
        BAD("[1}", 2),
        BAD("{\"a\":1]", 6),
        BAD("{\"a\"}", 4),
        BAD("]", 0),
        BAD("}", 0),
        BAD(",", 0),
        BAD("01", 1),
        BAD("-01", 2),
        BAD("[+1]", 1),
        BAD("[.5]", 1),
        BAD("[1.]", 3),
        BAD("[1e]", 3),
        BAD("[-]", 2),
        BAD("[0x10]", 2),
        BAD("NaN", 0),
        BAD("[Infinity]", 1),
        BAD("nul!", 3),
        BAD("True", 0),
        BAD("truee", 4),
        BAD("1 2", 2),
        BAD("{}{}", 2),
        BAD("'a'", 0),
        BAD("\"\n\"", 1),
        BAD("\"a\0\"", 2),
        BAD("\"\x1f\"", 1),
        BAD("\0", 0),
        BAD("[1,\0]", 3),
        BAD("1\0", 1),
        BAD("\"\\x\"", 2),
        BAD("\"\\\0\"", 2),
        BAD("\"\\u12g4\"", 5),
        BAD("\"\\ud800\"", 7),
        BAD("\"\\udc00\"", 3),
        BAD("\"\\ud800\\n\"", 8),
        BAD("\"\\ud800x\"", 7),
        BAD("\"\\ud800\\u0041\"", 9),
        BAD("\"\\ud800\\ud800\"", 9),
        BAD("\"\xff\"", 1),
        BAD("\"\xc0\x80\"", 1),
        BAD("\"\xed\xa0\x80\"", 1),
        BAD("\"\xc3\"", 1),
        BAD("\"\xf4\x90\x80\x80\"", 1),
        BAD("\xef\xbb\xbf{}", 0),
        BAD("// x\n1", 0),
        BAD("\v1", 0),
        BAD("[\"a\",\"\\n\xe2\x82\"]", 8),
        BAD("\xc2\xa0 1", 0),
        BAD("[1]]", 3),
        BAD("{\"a\":1}}", 7),
        BAD("[\"a\" : 1]", 5),
#undef BAD
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t at;
        const char *error = read_all(cases[i].text, cases[i].len, NULL, &at);
        if (!error || strcmp(error, "damaged") != 0 || at != cases[i].at)
            fail_msg("%s: %s at %zu, not %zu", cases[i].text, error ? error : "accepted", at,
                     cases[i].at);
    }
}

static const char sample[] =
    " {\"took\": 12, \"errors\": false, \"items\": [{\"index\": {\"_id\": "
    "\"tt\\u00e9\\ud83d\\ude00\","
    " \"status\": 201, \"n\": [-0.5e+10, 10, true, null, [], {}]}}, \"é€😀\\n\"],"
    " \"last\\t\": \"long enough for the fast path\"}";

static void every_cut_is_noticed_at_its_place(void **state)
{
    (void)state;
    size_t at;
    assert_null(read_all(sample, sizeof sample - 1, NULL, &at));
    for (size_t len = 0; len < sizeof sample - 1; len++) {
        const char *error = read_all(sample, len, NULL, &at);
        if (!error || strcmp(error, "cut off") != 0)
            fail_msg("%.*s: %s", (int)len, sample, error ? error : "accepted");
        assert_true(at <= len && at + 4 > len); /* or where half a character begins */
    }
}

static void nesting_has_its_limit(void **state)
{
    (void)state;
    char text[3 * JSON_DEPTH + 10];
    size_t at, n = JSON_DEPTH;
    memset(text, '[', n);
    memset(text + n, ']', n);
    assert_null(read_all(text, 2 * n, NULL, &at));
    assert_string_equal(read_all(text, n, NULL, &at), "cut off");
    memset(text, '[', n + 1);
    assert_string_equal(read_all(text, n + 1, NULL, &at), "nested too deep");
    assert_int_equal(at, n);
    size_t len = 0; /* objects and arrays in turn: each level remembers what it is */
    for (size_t i = 0; i < 60; i++, len += 5)
        memcpy(text + len, "{\"\":[", 5);
    for (size_t i = 0; i < 60; i++, len += 2)
        memcpy(text + len, "]}", 2);
    assert_null(read_all(text, len, NULL, &at));
    text[len - 1] = ']';
    assert_string_equal(read_all(text, len, NULL, &at), "damaged");
}

static void json_skip_passes_over_whole_values(void **state)
{
    (void)state;
    struct json_reader r;
    int64_t n = 0;
    bool errors = true;
    json_open(&r, sample, sizeof sample - 1);
    assert_int_equal(json_next(&r), JSON_OBJECT);
    while (json_next(&r) == JSON_KEY)
        if (json_is(&r, "errors"))
            errors = json_next(&r) == JSON_TRUE;
        else if (json_is(&r, "took"))
            assert_true(json_next(&r) == JSON_NUMBER && json_int(&r, &n));
        else
            assert_true(json_skip(&r));
    assert_int_equal(r.token, JSON_OBJECT_END);
    assert_true(json_end(&r));
    assert_false(errors);
    assert_int_equal(n, 12);
    json_close(&r);
}

static void json_skip_counts_an_array_and_stops_at_its_end(void **state)
{
    (void)state;
    struct json_reader r;
    static const char text[] = "[1, [2, [3]], {\"a\": []}, \"x\"]";
    json_open(&r, text, sizeof text - 1);
    json_next(&r);
    int count = 0;
    while (json_skip(&r))
        count++;
    assert_true(count == 4 && r.token == JSON_ARRAY_END && json_end(&r));
    json_close(&r);
    json_open(&r, "[1, [2, ", 8);
    json_next(&r);
    assert_true(json_skip(&r));
    assert_false(json_skip(&r));
    assert_int_equal(r.token, JSON_ERROR);
    json_close(&r);
}

static void the_text_of_a_value_can_be_told(void **state)
{
    (void)state;
    static const char text[] = "{\"a\" :{\"b\": [1]} , \"c\":2}";
    struct json_reader r;
    json_open(&r, text, sizeof text - 1);
    json_next(&r);
    json_next(&r);
    size_t begin = json_offset(&r);
    json_skip(&r);
    assert_int_equal(json_offset(&r) - begin, strlen("{\"b\": [1]}"));
    assert_memory_equal(text + begin, "{\"b\": [1]}", strlen("{\"b\": [1]}"));
    json_close(&r);
}

/* What other programs put into an index, which gives it back as it is. */
static void a_loose_reader_passes_over_what_it_need_not_understand(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "\"\\ud800\"",        "{\"\\udfff\":\"\\ud83d\\ud83d\"}",
        "[1e,-,nul]",         "[\"\x01\t\xff\xc3\"]",
        "{\"a\":\"]}\\\\\"}", "/* \" { */ {\"a\": // [\n1 /*]*/ }",
        "[\"\\u12\"]",        "{\"a\":1,\"a\":2,,}",
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        char text[200];
        struct json_reader r;
        snprintf(text, sizeof text, "{\"_source\":%s,\"after\":7}", odd[i]);
        json_open_loose(&r, text, strlen(text));
        assert_int_equal(json_next(&r), JSON_OBJECT);
        assert_int_equal(json_next(&r), JSON_KEY);
        assert_true(json_skip(&r));
        assert_int_equal(json_next(&r), JSON_KEY);
        assert_true(json_is(&r, "after"));
        assert_int_equal(json_next(&r), JSON_NUMBER);
        assert_int_equal(json_next(&r), JSON_OBJECT_END);
        assert_true(json_end(&r));
        json_close(&r);
    }
}

static void a_loose_reader_bears_any_depth_and_notices_a_cut(void **state)
{
    (void)state;
    enum { DEEP = 3 * JSON_DEPTH };
    char text[2 * DEEP + 2];
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    for (size_t len = 1; len <= 2 * DEEP; len += 7) {
        struct json_reader r;
        json_open_loose(&r, text, len);
        assert_false(json_skip(&r));
        assert_string_equal(r.error, "cut off");
        json_close(&r);
    }
    struct json_reader r;
    json_open_loose(&r, text, 2 * DEEP);
    assert_true(json_skip(&r) && json_end(&r));
    json_close(&r);
    static const char *const cut[] = {"[\"a", "[\"a\\", "[\"a\\\"", "[/*", "[//", "{\"a\":{}"};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        json_open_loose(&r, cut[i], strlen(cut[i]));
        assert_false(json_skip(&r));
        json_close(&r);
    }
}

static void a_loose_reader_has_a_sign_for_half_a_pair(void **state)
{
    (void)state;
    static const char text[] = "\"a\\ud800b\\udc00\\ud800\\u0041\\ud83d\\ude00\"";
    struct json_reader r;
    json_open_loose(&r, text, sizeof text - 1);
    assert_int_equal(json_next(&r), JSON_STRING);
    assert_true(json_is(&r, "a\xEF\xBF\xBD"
                            "b\xEF\xBF\xBD\xEF\xBF\xBD"
                            "A\xF0\x9F\x98\x80"));
    json_close(&r);
    json_open(&r, text, sizeof text - 1);
    assert_int_equal(json_next(&r), JSON_ERROR);
    json_close(&r);
}

static void json_end_wants_a_value_and_nothing_behind(void **state)
{
    (void)state;
    struct json_reader r;
    json_open(&r, "", 0);
    assert_false(json_end(&r));
    assert_string_equal(r.error, "cut off");
    json_close(&r);
    json_open(&r, NULL, 0);
    assert_int_equal(json_next(&r), JSON_ERROR);
    json_close(&r);
    json_open(&r, "1 ", 2);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(json_end(&r) && json_end(&r));
    assert_int_equal(json_next(&r), JSON_ERROR); /* there is no second value */
    json_close(&r);
    json_open(&r, "[1]", 3);
    json_next(&r);
    assert_false(json_end(&r)); /* not read yet */
    json_close(&r);
}

static void json_next_text_takes_a_string_that_fits(void **state)
{
    (void)state;
    struct json_reader r;
    char out[4];
    const char *text = "[\"abc\",\"a\\u0062\",\"\",\"abcd\",12]";
    json_open(&r, text, strlen(text));
    assert_int_equal(json_next(&r), JSON_ARRAY);
    assert_true(json_next_text(&r, out, sizeof out));
    assert_string_equal(out, "abc");
    assert_true(json_next_text(&r, out, sizeof out));
    assert_string_equal(out, "ab");
    assert_true(json_next_text(&r, out, sizeof out));
    assert_string_equal(out, "");
    assert_false(json_next_text(&r, out, sizeof out)); /* no room for the zero byte */
    assert_false(json_next_text(&r, out, sizeof out)); /* a number */
    assert_int_equal(json_next(&r), JSON_ARRAY_END);
    json_close(&r);
}

static void json_next_beginning_takes_what_fits_of_a_string(void **state)
{
    (void)state;
    struct json_reader r;
    char out[4];
    const char *text = "[\"abc\",\"abcd\",\"\",null,12]";
    json_open(&r, text, strlen(text));
    assert_int_equal(json_next(&r), JSON_ARRAY);
    for (int i = 0; i < 2; i++) {
        assert_true(json_next_beginning(&r, out, sizeof out));
        assert_string_equal(out, "abc");
    }
    for (int i = 0; i < 2; i++) {
        assert_true(json_next_beginning(&r, out, sizeof out));
        assert_string_equal(out, "");
    }
    assert_false(json_next_beginning(&r, out, sizeof out));
    assert_int_equal(json_next(&r), JSON_ARRAY_END);
    json_close(&r);
}

static void json_int_is_exact_or_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t n;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-17", true, -17},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"92233720368547758070", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"\"1\"", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_reader r;
        int64_t n = 0;
        json_open(&r, cases[i].text, strlen(cases[i].text));
        json_next(&r);
        assert_true(json_int(&r, &n) == cases[i].ok);
        assert_true(n == cases[i].n);
        json_close(&r);
    }
}

/* Any bytes: what a fuzzer would do, for a moment and with a seed. */
static void any_bytes_are_borne(void **state)
{
    (void)state;
    static const char pieces[] = "{}[]\",:\\u0123dD8cC0e.-+tfn \n\xc3\xa9\xf0\x9f\x98\x80\xff\0";
    uint64_t seed = 7;
    for (int i = 0; i < 100000; i++) {
        char text[sizeof sample];
        size_t at, len = next_random(&seed) % (sizeof sample - 1);
        memcpy(text, sample, len);
        for (uint64_t changes = next_random(&seed) % 8; changes > 0 && len > 0; changes--)
            text[next_random(&seed) % len] = pieces[next_random(&seed) % (sizeof pieces - 1)];
        read_all(text, len, NULL, &at);
    }
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int i = 0; i < 20000; i++) {
        char text[60];
        size_t len = 0, n = next_random(&seed) % 40;
        while (len < n) {
            static const char *const some[] = {"a",  "é",  "€",    "😀",     "\"",
                                               "\\", "\n", "\x01", "plain", "/"};
            const char *piece = some[next_random(&seed) % 10];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        struct buf b;
        struct json_reader r;
        buf_init(&b, 1000);
        assert_true(json_add_string(&b, text, len));
        json_open(&r, b.data, b.len);
        assert_int_equal(json_next(&r), JSON_STRING);
        assert_int_equal(r.len, len);
        assert_memory_equal(r.text, text, len);
        assert_true(json_end(&r));
        json_close(&r);
        buf_free(&b);
    }
}

/* ---- memory ---- */

static void every_allocation_of_the_reader_may_fail(void **state)
{
    (void)state;
    char text[3000];
    size_t len = 0;
    text[len++] = '"';
    while (len < 2990) {
        memcpy(text + len, "\\nabcd", 6);
        len += 6;
    }
    text[len++] = '"';
    bool done = false;
    for (int n = 0; !done; n++) {
        struct json_reader r;
        json_open(&r, text, len);
        allocations_left = n;
        done = json_next(&r) == JSON_STRING;
        allocations_left = -1;
        if (!done)
            assert_string_equal(r.error, "out of memory");
        json_close(&r);
    }
}

static void every_allocation_of_the_writer_may_fail(void **state)
{
    (void)state;
    char text[3000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "\n\x01\"a"[i % 4];
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        allocations_left = n;
        /* it is valid, though there is no room for it */
        assert_true(json_add_string(&b, text, sizeof text));
        json_add_int(&b, 1);
        assert_true(json_add_double(&b, 1.5));
        json_add_raw(&b, text, sizeof text);
        allocations_left = -1;
        done = !b.failed;
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_must_be_escaped_is_escaped),
        cmocka_unit_test(every_byte_is_seen_at_every_place),
        cmocka_unit_test(utf8_is_valid_or_refused),
        cmocka_unit_test(a_string_that_just_fits_is_written_and_no_other),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(doubles_are_short_and_look_like_doubles),
        cmocka_unit_test(doubles_read_back_to_the_last_bit),
        cmocka_unit_test(a_locale_does_not_change_numbers),
        cmocka_unit_test(raw_json_keeps_to_its_line),
        cmocka_unit_test(numbers_are_what_json_calls_numbers),
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(strings_may_hold_zero_bytes),
        cmocka_unit_test(strings_without_escapes_are_borrowed),
        cmocka_unit_test(what_is_not_json_is_damaged_and_says_where),
        cmocka_unit_test(every_cut_is_noticed_at_its_place),
        cmocka_unit_test(nesting_has_its_limit),
        cmocka_unit_test(json_skip_passes_over_whole_values),
        cmocka_unit_test(json_skip_counts_an_array_and_stops_at_its_end),
        cmocka_unit_test(a_loose_reader_passes_over_what_it_need_not_understand),
        cmocka_unit_test(a_loose_reader_bears_any_depth_and_notices_a_cut),
        cmocka_unit_test(a_loose_reader_has_a_sign_for_half_a_pair),
        cmocka_unit_test(the_text_of_a_value_can_be_told),
        cmocka_unit_test(json_end_wants_a_value_and_nothing_behind),
        cmocka_unit_test(json_next_text_takes_a_string_that_fits),
        cmocka_unit_test(json_next_beginning_takes_what_fits_of_a_string),
        cmocka_unit_test(json_int_is_exact_or_refuses),
        cmocka_unit_test(any_bytes_are_borne),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(every_allocation_of_the_reader_may_fail),
        cmocka_unit_test(every_allocation_of_the_writer_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
