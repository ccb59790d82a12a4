/* A template gives the bytes, and the errors, of the function that does the same; its mistakes are
 * found before there is any row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "result_row.h"
#include "script/fingerprint.h"
#include "script/pipeline.h"
#include "script_text.h"
#include "torture.h"

static const struct cell full[] = {
    {"id", PG_INT, false, "7"},
    {"title", PG_TEXT, false, "Say \"hello\"\n\xd0\xb0"},
    {"tags", PG_TEXT, true, "{\"a\\\"b\",NULL,c}"},
    {"meta", PG_JSON, false, "{\"b\": [1.10, {}], \"a\": null}"},
    {"seen", PG_TIMESTAMPTZ, false, "2021-06-16 20:14:09.2+00"},
    {"rating", PG_FLOAT, false, "0.14285714285714285"},
    {"a quoted \"name\"", PG_BOOL, false, "t"},
};
static const struct cell sparse[] = {
    {"id", PG_INT, false, "8"},
    {"title", PG_TEXT, false, ""},
    {"tags", PG_TEXT, true, "{}"},
    {"meta", PG_JSON, false, NULL},
    {"seen", PG_TIMESTAMPTZ, false, NULL},
    {"rating", PG_FLOAT, false, "5"},
    {"a quoted \"name\"", PG_BOOL, false, NULL},
};
static const struct cell empty[] = {
    {"id", PG_INT, false, NULL},
    {"title", PG_TEXT, false, NULL},
    {"tags", PG_TEXT, true, NULL},
    {"meta", PG_JSON, false, NULL},
    {"seen", PG_TIMESTAMPTZ, false, NULL},
    {"rating", PG_FLOAT, false, NULL},
    {"a quoted \"name\"", PG_BOOL, false, NULL},
};
static const struct cell odd[] = {
    {"id", PG_NUMERIC, false, "12345678901234567890.50"},
    {"title", PG_BYTEA, false, "\\x48656c6c6f"},
    {"tags", PG_FLOAT, true, "{{1.5,2},{3,NULL}}"},
    {"meta", PG_JSON, false, " [1, 2]"},
    {"seen", PG_DATE, false, "0044-03-15 BC"},
    {"rating", PG_FLOAT, false, "-0"},
    {"a quoted \"name\"", PG_BYTEA, true, "{\"\\\\x61\",NULL}"},
};
static const struct cell *const rows[] = {full, sparse, empty, odd};
enum { N = sizeof full / sizeof *full, ROWS = sizeof rows / sizeof *rows };

/* ---- a script's documents ---- */

struct made {
    struct script_text text;
    struct script *script;
    struct script_made made;
    struct buf out;
    struct err e;
    bool ok;
};

static void open_script(struct made *m, const char *document)
{
    char text[4000];
    snprintf(text, sizeof text, "local etl = require 'etl'\nreturn {\n%s%s\n}",
             *document ? "document = " : "", document);
    *m = (struct made){.text = text_of("x.lua", text)};
    buf_init(&m->out, 1 << 20);
    m->script = script_open(&m->text, &m->e);
    if (!m->script)
        fail_msg("%s", m->e.text);
}

static void make(struct made *m, const struct row *row)
{
    struct script_row from = {&row->columns, row->res, 0, "k"};
    buf_clear(&m->out);
    buf_adds(&m->out, "before");
    m->e = (struct err){.kind = ERR_NONE};
    m->ok = script_document(m->script, &from, &m->out, &m->made, &m->e);
}

static void close_script(struct made *m)
{
    buf_free(&m->out);
    script_close(m->script);
    script_text_free(&m->text);
}

/* The message without "x.lua:7: ", or "x.lua: ". */
static const char *message(const struct err *e)
{
    const char *text = e->text;
    if (strncmp(text, "x.lua: ", 7) == 0)
        return text + 7;
    if (strncmp(text, "x.lua:", 6) != 0)
        return text;
    text += 6 + strspn(text + 6, "0123456789");
    return strncmp(text, ": ", 2) == 0 ? text + 2 : e->text;
}

static void gives_the_same(const char *template, const char *function, const struct cell *cells,
                           size_t n)
{
    struct row row;
    struct made a, b;
    row_make(&row, cells, n);
    open_script(&a, template);
    open_script(&b, function);
    for (int twice = 0; twice < 2; twice++) {
        make(&a, &row);
        make(&b, &row);
        if (a.ok != b.ok || strcmp(message(&a.e), message(&b.e)) != 0)
            fail_msg("%s: '%s', but %s: '%s'", template, a.e.text, function, b.e.text);
        assert_int_equal(a.e.kind, b.e.kind);
        assert_string_equal(buf_cstr(&a.out), buf_cstr(&b.out));
        assert_int_equal(a.made.present, b.made.present);
        assert_false(a.made.nothing);
    }
    close_script(&a);
    close_script(&b);
    PQclear(row.res);
}

static void a_template_gives_what_the_function_gives(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "function(r) return r end"},
        {"nil", "function(r) return r end"},
        {"{ id = 'id' }", "function(r) return { id = r.id } end"},
        {"{ id = 'id', title = 'title', tags = 'tags', m = 'meta', s = 'seen', r = 'rating',"
         " n = 'a quoted \"name\"' }",
         "function(r) return { id = r.id, title = r.title, tags = r.tags, m = r.meta, s = r.seen,"
         " r = r.rating, n = r['a quoted \"name\"'] } end"},
        {"{ b = 'id', ab = 'id', a = 'id', ['a.b'] = 'id', ['a\\0b'] = 'id', ['\"'] = 'id' }",
         "function(r) return { b = r.id, ab = r.id, a = r.id, ['a.b'] = r.id, ['a\\0b'] = r.id,"
         " ['\"'] = r.id } end"},
        {"{ o = { meta = 'meta', p = { seen = 'seen' } }, q = { id = 'id' } }",
         "function(r) return { o = { meta = r.meta, p = { seen = r.seen } }, q = { id = r.id } } "
         "end"},
        {"{ a = { b = { c = 'title' }, d = 'rating' }, ['x y'] = { z = 'tags' } }",
         "function(r) return { a = { b = { c = r.title }, d = r.rating }, ['x y'] = { z = r.tags } "
         "} end"},
        {"{ f = function(r) return r.title end }", "function(r) return { f = r.title } end"},
        {"{ a = 'id', f = function(r) return r end, z = { g = function(r) return r.tags end } }",
         "function(r) return { a = r.id, f = r, z = { g = r.tags } } end"},
        {"{ f = function() return nil end, o = { g = function(r) if r == 1 then return 1 end end } "
         "}",
         "function(r) return { o = {} } end"},
        {"{ n = function() return etl.null end, x = function() return etl.array {}, 7 end }",
         "function(r) return { n = etl.null, x = etl.array {} } end"},
        {"{ d = function() return etl.decimal '1.50' end, j = function() return etl.json.raw '{ }' "
         "end, t = function() return true end, f = function() return { false, { 1.5, 'x' } } end }",
         "function(r) return { d = etl.decimal '1.50', j = etl.json.raw '{ }', t = true, f = { "
         "false, { 1.5, 'x' } } } end"},
        {"{ f = function(r) local n = 0 for k, v in pairs(r) do n = n + 1 end return n end }",
         "function(r) local n = 0 for k, v in pairs(r) do n = n + 1 end return { f = n } end"},
        {"{ f = function(r) local k = next(r) return k and rawget(r, k) ~= nil end }",
         "function(r) local k = next(r) return { f = k and rawget(r, k) ~= nil } end"},
        {"{ f = function() return print end }", "function(r) return { f = print } end"},
        {"{ a = { f = function() return { { b = print } } end } }",
         "function(r) return { a = { f = { { b = print } } } } end"},
        {"{ ['x y'] = function() return { 1, 0/0 } end }",
         "function(r) return { ['x y'] = { 1, 0/0 } } end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int j = 0; j < ROWS; j++)
            gives_the_same(cases[i][0], cases[i][1], rows[j], N);
}

static void what_no_document_can_hold_is_the_same_error(void **state)
{
    (void)state;
    static const struct cell cells[][2] = {
        {{"id", PG_INT, false, "1"}, {"x", PG_FLOAT, false, "NaN"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_FLOAT, false, "Infinity"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_FLOAT, true, "{1,NaN}"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_NUMERIC, false, "NaN"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_BYTEA, false, "\\x00ff"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_BYTEA, false, "\\x00"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_TEXT, false, "\xff"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_TEXT, true, "{\"\xff\"}"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_TEXT, true, "{a"}},
        {{"id", PG_INT, false, "1"}, {"x", PG_INT, false, "one"}},
    };
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        gives_the_same("{ x = 'x' }", "function(r) return { x = r.x } end", cells[i], 2);
        gives_the_same("{ o = { x = 'x' }, id = 'id' }",
                       "function(r) return { o = { x = r.x }, id = r.id } end", cells[i], 2);
        gives_the_same("", "function(r) return r end", cells[i], 2);
    }
}

/* ---- mistakes ---- */

static void every_mistake_is_one_line_that_names_the_field(void **state)
{
    (void)state;
#define TYPE " must be a column's name, a function of the row or a table of fields, is "
    static const struct {
        const char *document, *message, *hint;
    } cases[] = {
        {"{}", "3: document has no fields",
         "without document every column of the query is a field"},
        {"{ id = 'id',\n a = {} }", "4: document.a has no fields", ""},
        {"{ 'id' }", "3: unexpected element [1] in document: fields have names", ""},
        {"{\n a = { b = 'id',\n [7] = 'id' } }",
         "4: unexpected element [7] in document.a: fields have names", ""},
        {"{\n id = 'id',\n n = 5 }", "5: field 'n' in document" TYPE "a number",
         "a constant is given by a function: function() return 5 end"},
        {"{ id = 'id', o = {\n yes = true } }", "4: field 'o.yes' in document" TYPE "a boolean",
         "a constant is given by a function: function() return 5 end"},
        {"{ ['x y'] = {\n ['a.b'] = etl.null } }",
         "4: field '[\"x y\"][\"a.b\"]' in document" TYPE "etl.null",
         "a constant is given by a function: function() return 5 end"},
        {"{ j = etl.json.raw '{}' }", "3: field 'j' in document" TYPE "a userdata", ""},
        {"{ id = '' }", "3: field 'id' in document must be a column's name, is an empty text", ""},
        {"{ id = 'i\\0d' }", "3: field 'id' in document must be a column's name, holds a zero byte",
         ""},
        {"{ [''] = 'id' }", "3: a field in document has an empty name", ""},
        {"{ ['\\xff'] = 'id' }", "3: the name of a field in document is not valid UTF-8", ""},
        {"{ id = 'id',\n f = function(r)\n local x = r.id\n end }",
         "4: the function of field 'f' in document returns nothing", "did it forget 'return'?"},
        {"(function() local t = {} t.t = t return t end)()",
         "3: tables in document are nested deeper than 32", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made m;
        struct err e = {.kind = ERR_NONE};
        open_script(&m, cases[i].document);
        assert_false(script_check(m.script, NULL, &e));
        if (strncmp(e.text, "x.lua:", 6) != 0 || strcmp(e.text + 6, cases[i].message) != 0 ||
            strcmp(e.hint, cases[i].hint) != 0 || e.kind != ERR_USAGE)
            fail_msg("%s: %s (%s)", cases[i].document, e.text, e.hint);
        close_script(&m);
    }
}

static void what_grows_without_end_is_a_mistake(void **state)
{
    (void)state;
    static const struct {
        const char *document, *message;
    } cases[] = {
        {"(function() local t = { x = 'id' } for i = 1, 29 do t = { a = t, b = t } end return t "
         "end)()",
         "the template is too large"},
        {"(function() local t = { x = 'id' } for i = 1, 30 do t = { [('n'):rep(2000)] = t } end "
         "return t "
         "end)()",
         "the names of fields in document are too long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made m;
        struct err e = {.kind = ERR_NONE};
        open_script(&m, cases[i].document);
        assert_false(script_check(m.script, NULL, &e));
        if (strncmp(e.text, "x.lua:", 6) != 0 || !strstr(e.text, cases[i].message) ||
            e.kind != ERR_USAGE)
            fail_msg("%d: %s", (int)e.kind, e.text);
        close_script(&m);
    }
}

static void a_column_that_the_query_lacks_is_a_mistake(void **state)
{
    (void)state;
    struct row row;
    struct made m;
    struct err e = {.kind = ERR_NONE};
    row_make(&row, full, N);
    open_script(&m, "{ id = 'id',\n o = {\n t = 'titel' } }");
    assert_true(script_check(m.script, NULL, &e));
    assert_false(script_check(m.script, &row.columns, &e));
    assert_string_equal(e.text, "x.lua:5: field 'o.t' in document: the query has no column "
                                "'titel', did you mean 'title'?");
    assert_int_equal(e.kind, ERR_USAGE);
    make(&m, &row);
    assert_false(m.ok);
    assert_int_equal(m.e.kind, ERR_USAGE);
    close_script(&m);
    open_script(&m, "{ x = 'quite different' }");
    assert_false(script_check(m.script, &row.columns, &e));
    assert_string_equal(
        e.text, "x.lua:3: field 'x' in document: the query has no column 'quite different'");
    close_script(&m);
    PQclear(row.res);
}

static void a_field_that_fails_is_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{ id = 'id',\n o = { f = function(r)\n return r.id.x.y end } }",
         "x.lua:5: attempt to index a number value (field 'id') (field 'o.f'; key 'k'; columns id"},
        {"{ f = function(r) return r.titel end }",
         "x.lua:3: the query has no column 'titel', did you mean 'title'? (field 'f'; key 'k'; "
         "columns id"},
        {"{ id = 'id',\n f = function(r) return { print } end }",
         "x.lua:4: f[1]: cannot encode a function (key 'k'; columns id"},
        {"{ f = function() while true do end return 1 end }",
         "x.lua:3: stopped after 100 million instructions: a loop that never ends? (key 'k'; "
         "columns id"},
    };
    struct row row;
    row_make(&row, full, N);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made m;
        open_script(&m, cases[i][0]);
        make(&m, &row);
        assert_false(m.ok);
        if (strncmp(m.e.text, cases[i][1], strlen(cases[i][1])) != 0)
            fail_msg("%s", m.e.text);
        assert_string_equal(buf_cstr(&m.out), "before");
        close_script(&m);
    }
    PQclear(row.res);
}

static void other_columns_are_bound_again(void **state)
{
    (void)state;
    struct row one, two;
    struct made m;
    row_make(&one, full, N);
    row_make(&two, full, 2);
    for (int all = 0; all < 2; all++) {
        open_script(&m, all ? "" : "{ t = 'title', i = 'id' }");
        make(&m, &one);
        assert_true(m.ok);
        make(&m, &two);
        assert_string_equal(buf_cstr(&m.out), all ? "before{\"id\":7,\"title\":\"Say "
                                                    "\\\"hello\\\"\\n\xd0\xb0\"}"
                                                  : "before{\"i\":7,\"t\":\"Say "
                                                    "\\\"hello\\\"\\n\xd0\xb0\"}");
        close_script(&m);
    }
    PQclear(one.res);
    PQclear(two.res);
}

static void a_document_that_does_not_fit_says_so(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "{ o = { s = 'seen' }, meta = 'meta', title = 'title' }",
        "{ o = { s = 'seen' }, meta = 'meta', title = function(r) return r.title end }"};
    struct row row;
    row_make(&row, full, N);
    for (size_t i = 0; i < 2; i++) {
        struct made m;
        open_script(&m, documents[i]);
        make(&m, &row);
        size_t whole = m.out.len;
        for (size_t max = 100; max-- > 6;) {
            buf_free(&m.out);
            buf_init(&m.out, max);
            make(&m, &row);
            assert_int_equal(m.ok, max >= whole);
            assert_true(m.ok || strncmp(m.e.text, "the document does not fit", 25) == 0);
        }
        close_script(&m);
    }
    PQclear(row.res);
}

/* ---- the fingerprint ---- */

static void print(const char *document, char out[FINGERPRINT_TEXT])
{
    char text[2000];
    snprintf(text, sizeof text,
             "return { name = 'n', %s%s,\n source = { url = '', table = 't', key = 'id', "
             "query = 'SELECT 1' },\n sink = { url = 'http://h', index = 'i' }, state = 's' }",
             *document ? "document = " : "sweep = 5", document);
    struct script_text t = text_of("x.lua", text);
    struct err e;
    struct pipeline p = {0};
    struct script *s = script_open(&t, &e);
    if (!s || !pipeline_read(&p, s, &e) || !fingerprint_read(s, &p, out, &e))
        fail_msg("%s", e.text);
    pipeline_free(&p);
    script_close(s);
    script_text_free(&t);
}

static void the_fingerprint_knows_fields_columns_and_functions(void **state)
{
    (void)state;
    static const char *const different[] = {
        "",
        "{ a = 'x' }",
        "{ a = 'y' }",
        "{ b = 'x' }",
        "{ a = { a = 'x' } }",
        "{ a = 'x', b = 'y' }",
        "{ a = 'x',\n b = function(r) return r.y\n end }",
        "{ a = 'x',\n b = function(r) return r.z\n end }",
        "function(row) return { a = row.x } end",
    };
    enum { KINDS = sizeof different / sizeof *different };
    char prints[KINDS][FINGERPRINT_TEXT], same[FINGERPRINT_TEXT];
    for (size_t i = 0; i < KINDS; i++) {
        print(different[i], prints[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(prints[i], prints[j]) == 0)
                fail_msg("%s is like %s", different[i], different[j]);
    }
    print("{\n b = 'y', -- a remark\n a = 'x' }", same);
    assert_string_equal(same, prints[5]);
}

static void no_failing_allocation_leaks_or_crashes(void **state)
{
    (void)state;
    struct row row;
    row_make(&row, full, N);
    for (int all = 0; all < 2; all++) {
        struct script_text t =
            text_of("x.lua", all ? "return {}"
                                 : "return { document = { a = 'title', b = 'tags', o = { c = "
                                   "'id', f = function(r) return { r.title } end } } }");
        bool done = false;
        for (int n = 0; !done; n++) {
            struct err e = {.kind = ERR_NONE};
            struct buf out;
            struct script_made made;
            struct script_row from = {&row.columns, row.res, 0, "k"};
            buf_init(&out, 1 << 20);
            allocations_left = n;
            struct script *s = script_open(&t, &e);
            done = s && script_check(s, &row.columns, &e) &&
                   script_document(s, &from, &out, &made, &e);
            allocations_left = -1;
            assert_int_equal(done, e.kind == ERR_NONE);
            buf_free(&out);
            script_close(s);
        }
        script_text_free(&t);
    }
    PQclear(row.res);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_template_gives_what_the_function_gives),
        cmocka_unit_test(what_no_document_can_hold_is_the_same_error),
        cmocka_unit_test(every_mistake_is_one_line_that_names_the_field),
        cmocka_unit_test(what_grows_without_end_is_a_mistake),
        cmocka_unit_test(a_column_that_the_query_lacks_is_a_mistake),
        cmocka_unit_test(a_field_that_fails_is_named),
        cmocka_unit_test(other_columns_are_bound_again),
        cmocka_unit_test(a_document_that_does_not_fit_says_so),
        cmocka_unit_test(the_fingerprint_knows_fields_columns_and_functions),
        cmocka_unit_test(no_failing_allocation_leaks_or_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
