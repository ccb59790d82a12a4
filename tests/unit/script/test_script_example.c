/* A row that is written by hand gives the document that the same row of a server would give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "script/pipeline.h"
#include "script/query_columns.h"
#include "script/script_example.h"
#include "script_text.h"
#include "torture.h"

#include <stdio.h>

#define SCRIPT(query, document, examples)                                                          \
    "local etl = require 'etl'\n"                                                                  \
    "return { name = 'x', source = { table = 't', key = 'id', query = '" query "' },\n" document   \
    " sink = { index = \'i\' },\n"                                                                 \
    "examples = {\n" examples "\n} }"

struct opened {
    struct script_text text;
    struct script *script;
    struct pipeline pipeline;
    struct script_examples examples;
};

static bool open_examples(struct opened *o, const char *text, struct err *e)
{
    struct err lacking;
    *o = (struct opened){.text = text_of("x.lua", text)};
    return (o->script = script_open(&o->text, e)) &&
           pipeline_read_offline(&o->pipeline, o->script, &lacking, e) &&
           script_examples_read(&o->examples, o->script, &o->pipeline, e);
}

static void close_examples(struct opened *o)
{
    script_examples_free(&o->examples);
    script_close(o->script);
    pipeline_free(&o->pipeline);
    script_text_free(&o->text);
}

/* The first example's document, or its error; "none" if the row has none. */
static bool make_first(const char *text, char *out, size_t size)
{
    struct opened o;
    struct err e = {0};
    struct buf b;
    struct script_made made;
    buf_init(&b, 1 << 20);
    bool ok = open_examples(&o, text, &e) &&
              script_example_make(o.script, &o.examples.list[0], &b, &made, &e);
    if (ok && made.present)
        snprintf(out, size, "%.*s", (int)b.len, b.data);
    else
        snprintf(out, size, "%s", ok ? "none" : e.text);
    buf_free(&b);
    close_examples(&o);
    return ok;
}

static void assert_made(const char *text, const char *document)
{
    char out[2000];
    make_first(text, out, sizeof out);
    assert_string_equal(out, document);
}

static void values_arrive_as_from_a_server(void **state)
{
    (void)state;
    assert_made(SCRIPT("SELECT *", "",
                       "{ row = { id = 7, f = 0.5, g = 2.0, b = true, n = etl.null, s = 'a\"b',"
                       " d = etl.decimal '12345678901234567890.10', } }"),
                "{\"b\":true,\"d\":12345678901234567890.10,\"f\":0.5,\"g\":2.0,\"id\":7,"
                "\"s\":\"a\\\"b\"}");
    assert_made(SCRIPT("SELECT *", "",
                       "{ row = { id = 1, a = {}, b = { 'x', '\"\\\\,{}', etl.null },"
                       " c = { 1, 2.5, etl.decimal '3' }, d = { true, false }, e = { { 1 } },"
                       " f = { k = 1 }, g = { 1, 'a' }, h = etl.array({ 1, nil }, 2),"
                       " i = etl.json.raw '{\"q\": 1}' } }"),
                "{\"a\":[],\"b\":[\"x\",\"\\\"\\\\,{}\",null],\"c\":[1,2.5,3],\"d\":[true,false],"
                "\"e\":[[1]],\"f\":{\"k\":1},\"g\":[1,\"a\"],\"h\":[1,null],\"i\":{\"q\": 1},"
                "\"id\":1}");
}

static void a_function_sees_lists_texts_and_objects(void **state)
{
    (void)state;
    assert_made(SCRIPT("SELECT id, tags, people, gone FROM t",
                       "document = function(row) return { t = table.concat(row.tags, \"+\"),"
                       " p = row.people[1].name, g = row.gone == nil, m = math.type(row.id) } end,",
                       "{ row = { id = 1, tags = { 'a', 'b' }, people = { { name = 'N' } } } }"),
                "{\"g\":true,\"m\":\"integer\",\"p\":\"N\",\"t\":\"a+b\"}");
    assert_made(SCRIPT("SELECT id FROM t", "document = function(row) return nil end,",
                       "{ row = { id = 1 } }"),
                "none");
}

static void a_column_that_no_row_has_is_null_if_the_query_may_have_it(void **state)
{
    (void)state;
    assert_made(SCRIPT("SELECT t.id, \"Say \"\"x\"\"\" FROM t",
                       "document = { a = 'id', b = 'Say \"x\"' },", "{ row = { id = 1 } }"),
                "{\"a\":1}");
    char out[2000];
    assert_false(make_first(SCRIPT("SELECT id, title FROM t", "document = { a = 'titel' },",
                                   "{ row = { id = 1, title = 'x' } }"),
                            out, sizeof out));
    assert_non_null(strstr(out, "the query has no column 'titel', did you mean 'title'?"));
}

static void a_query_s_text_tells_what_is_no_column(void **state)
{
    (void)state;
    static const struct {
        const char *query, *column;
        bool may;
    } cases[] = {
        {"SELECT id, Title FROM t", "title", true},
        {"SELECT id FROM t", "title", false},
        {"SELECT id, count(*) FROM t", "title", false},
        {"SELECT id, a * b AS ab FROM t", "title", false},
        {"SELECT id, (a + b) * c AS ab FROM t", "title", false},
        {"SELECT * FROM t", "title", true},
        {"SELECT DISTINCT ON (id) * FROM t", "title", true},
        {"SELECT t.*, 1 AS one FROM t", "title", true},
        {"SELECT id, t.* FROM t", "title", true},
        {"TABLE t", "title", true},
        {"SELECT id AS \"a \"\"b\"\"\" FROM t", "a \"b\"", true},
        {"SELECT id AS \"a \"\"b\"\"\" FROM t", "a \"b", false},
        {"SELECT id AS \"open", "closed", false},
        {"", "id", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (query_may_have_column(cases[i].query, cases[i].column) != cases[i].may)
            fail_msg("%s: %s", cases[i].query, cases[i].column);
}

static void mistakes_have_a_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{ row = { id = 1 } },\n{ rwo = {} }",
         "x.lua:5: example 2: unknown field 'rwo', did you mean 'row'?"},
        {"5", "x.lua:4: example 1: expected { row = { ... }, document = { ... } }"},
        {"{ document = {} }", "x.lua:4: example 1: row must be a table: column = value"},
        {"{ row = { 1 } }",
         "x.lua:4: example 1: row must be a table with the columns' names, is a list"},
        {"{ row = { id = 1 },\n document = 'x' }",
         "x.lua:5: example 1: document must be a table, or nil for none, is a string"},
        {"{ row = { id = print } }", "x.lua:4: example 1: row.id: cannot encode a function"},
        {"{ row = { ident = 1 } }", "x.lua:4: example 1: the query has no column 'ident'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct opened o;
        struct err e = {0};
        char text[1000];
        snprintf(text, sizeof text,
                 "return { name = 'x', source = { table = 't', key = 'id', query = 'SELECT id' },\n"
                 "sink = { index = 'i' },\nexamples = {\n%s\n} }",
                 cases[i][0]);
        assert_false(open_examples(&o, text, &e));
        assert_string_equal(e.text, cases[i][1]);
        assert_int_equal(e.kind, ERR_USAGE);
        close_examples(&o);
    }
}

static void rows_come_as_json_too(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"id\": 1, \"a\": [1, 2], \"b\": null, \"c\": {\"d\": []}, \"e\": 1.5}",
         "{\"a\":[1,2],\"c\":{\"d\":[]},\"e\":1.5,\"id\":1}"},
        {"[1]", "expected a JSON object: column and value"},
        {"7", "expected a JSON object: column and value"},
        {"{", "damaged JSON at byte 1: cut off"},
        {"", "damaged JSON at byte 0: cut off"},
    };
    struct opened o;
    struct err e;
    assert_true(open_examples(&o, SCRIPT("SELECT *", "", ""), &e));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct script_example x;
        struct script_made made;
        struct buf json, out;
        buf_init(&json, 1000);
        buf_init(&out, 1000);
        buf_adds(&json, cases[i][0]);
        if (script_example_read_json(&x, o.script, &o.pipeline, &json, &e)) {
            assert_true(script_example_make(o.script, &x, &out, &made, &e));
            assert_string_equal(buf_cstr(&out), cases[i][1]);
            script_example_free(&x);
        } else {
            assert_string_equal(e.text, cases[i][1]);
        }
        buf_free(&json);
        buf_free(&out);
    }
    close_examples(&o);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char text[] =
        SCRIPT("SELECT id, tags, gone FROM t", "document = { a = 'id', t = 'tags', g = 'gone' },",
               "{ row = { id = 1, tags = { 'a' } }, document = { a = 1 } }");
    bool done = false;
    for (int n = 0; !done; n++) {
        struct opened o;
        struct err e = {0};
        struct buf out;
        struct script_made made;
        buf_init(&out, 1 << 16);
        struct script_text before = text_of("x.lua", text);
        o = (struct opened){.text = before};
        struct err lacking;
        allocations_left = n;
        done = (o.script = script_open(&o.text, &e)) &&
               pipeline_read_offline(&o.pipeline, o.script, &lacking, &e) &&
               script_examples_read(&o.examples, o.script, &o.pipeline, &e) &&
               script_example_make(o.script, &o.examples.list[0], &out, &made, &e);
        allocations_left = -1;
        if (done)
            assert_string_equal(buf_cstr(&out), "{\"a\":1,\"t\":[\"a\"]}");
        else
            assert_true(*e.text);
        buf_free(&out);
        close_examples(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_arrive_as_from_a_server),
        cmocka_unit_test(a_function_sees_lists_texts_and_objects),
        cmocka_unit_test(a_column_that_no_row_has_is_null_if_the_query_may_have_it),
        cmocka_unit_test(a_query_s_text_tells_what_is_no_column),
        cmocka_unit_test(mistakes_have_a_line),
        cmocka_unit_test(rows_come_as_json_too),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
