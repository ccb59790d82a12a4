/* Every mistake in a script's table is one clear line with file and line; what is right arrives as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline.h"
#include "script_text.h"
#include "sqltext.h"
#include "suggest.h"
#include "torture.h"

#include <stdio.h>

static const char GOOD[] =
    "return {\n"
    "  name = 'movies',\n"
    "  source = {\n"
    "    url = 'postgresql:///movies', table = 'content.film_work',\n"
    "    key = 'id',\n"
    "    cursor = 'modified',\n"
    "    query = [[\n"
    "      SELECT id, ';' AS x -- why; not\n"
    "        FROM film_work; -- the end\n"
    "      /* really /* ; */ */ ;\n"
    "    ]],\n"
    "    related = {\n"
    "      { table = 'a', key = 'id', cursor = 'm', affects = 'film_id' },\n"
    "      { table = 'b', key = 'id', affects = [[ (SELECT 1) ; ]], index_field = 'b.id' },\n"
    "      { table = 'c', key = 'id', affects = 'withdrawn' },\n"
    "    },\n"
    "  },\n"
    "  document = function(row) return row end,\n"
    "  before_run = function() end,\n"
    "  sink = { url = 'http://h:1', index = 'movies', settings = {},\n"
    "    mappings = { dynamic = 'strict', properties = { id = { type = 'keyword' } } } },\n"
    "  state = 'st',\n"
    "}\n";

/* Opens the script and reads its pipeline. True: it was right, and is for the caller to free. */
static bool read_text(const char *text, struct pipeline *p, struct err *e)
{
    struct script_text t = text_of("x.lua", text);
    struct script *s = script_open(&t, e);
    bool ok = s && pipeline_read(p, s, e);
    script_close(s);
    script_text_free(&t);
    return ok;
}

static void a_good_script_arrives_as_it_is(void **state)
{
    (void)state;
    struct pipeline p;
    struct err e;
    if (!read_text(GOOD, &p, &e))
        fail_msg("%s", e.text);
    assert_string_equal(p.name, "movies");
    assert_string_equal(p.source.url, "postgresql:///movies");
    assert_string_equal(p.source.table, "content.film_work");
    assert_string_equal(p.source.key, "id");
    assert_string_equal(p.source.cursor, "modified");
    assert_string_equal(p.source.query, "      SELECT id, ';' AS x -- why; not\n        FROM film_work");
    assert_int_equal(p.source.query_line, 8);
    assert_int_equal(p.source.key_line, 5);
    assert_int_equal(p.source.cursor_line, 6);
    assert_int_equal(p.source.table_line, 4);
    assert_int_equal(p.sink.index_line, 20);
    assert_int_equal(p.source.n_related, 3);
    assert_string_equal(p.source.related[0].affects, "film_id");
    assert_false(p.source.related[0].affects_is_query);
    assert_null(p.source.related[0].index_field);
    assert_string_equal(p.source.related[1].affects, " (SELECT 1)");
    assert_true(p.source.related[1].affects_is_query);
    assert_string_equal(p.source.related[1].index_field, "b.id");
    assert_null(p.source.related[1].cursor);
    assert_false(p.source.related[2].affects_is_query);
    assert_string_equal(p.sink.url, "http://h:1");
    assert_string_equal(p.sink.settings, "{}");
    assert_string_equal(p.sink.mappings,
                        "{\"dynamic\":\"strict\",\"properties\":{\"id\":{\"type\":\"keyword\"}}}");
    assert_string_equal(p.state, "st");
    pipeline_free(&p);
}

static const char SMALLEST[] =
    "return { name = 'm', source = { table = 't', key = 'id', query = 'SELECT 1' },\n"
    "  document = function() end, sink = { index = 'i' } }";

static void what_may_be_left_out_comes_from_the_environment_or_a_default(void **state)
{
    (void)state;
    struct pipeline p;
    struct err e;
    unsetenv("DATABASE_URL");
    setenv("ELASTICSEARCH_URL", "", 1);
    unsetenv("FILE_PATH_STATE");
    assert_true(read_text(SMALLEST, &p, &e));
    assert_string_equal(p.source.url, "");
    assert_string_equal(p.sink.url, "http://127.0.0.1:9200");
    assert_string_equal(p.state, "postgres_to_es/es/es_data/state");
    assert_null(p.source.cursor);
    assert_null(p.sink.mappings);
    pipeline_free(&p);

    setenv("DATABASE_URL", "postgresql:///d", 1);
    setenv("ELASTICSEARCH_URL", "http://e:9", 1);
    setenv("FILE_PATH_STATE", "/s", 1);
    assert_true(read_text(SMALLEST, &p, &e));
    assert_string_equal(p.source.url, "postgresql:///d");
    assert_string_equal(p.sink.url, "http://e:9");
    assert_string_equal(p.state, "/s");
    pipeline_free(&p);
}

static void the_scripts_of_this_repository_are_right(void **state)
{
    (void)state;
    static const char *const paths[] = {"scripts/movies.lua", "scripts/genres.lua", "scripts/persons.lua"};
    for (size_t i = 0; i < 3; i++) {
        struct script_text t;
        struct pipeline p;
        struct err e;
        if (!script_read(&t, paths[i], &e))
            skip(); /* run from elsewhere */
        struct script *s = script_open(&t, &e);
        if (!s || !pipeline_read(&p, s, &e))
            fail_msg("%s", e.text);
        assert_true(p.source.query_line > p.source.key_line);
        pipeline_free(&p);
        script_close(s);
        script_text_free(&t);
    }
}

/* GOOD with `old` replaced by `new`. */
static const char *changed(const char *old, const char *new, char out[4096])
{
    const char *at = strstr(GOOD, old);
    if (!at)
        fail_msg("no '%s' in the script", old);
    snprintf(out, 4096, "%.*s%s%s", (int)(at - GOOD), GOOD, new, at + strlen(old));
    return out;
}

static void every_mistake_is_one_line_that_names_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new, *message;
    } cases[] = {
        {"cursor = 'modified'", "curser = 'modified'",
         "x.lua:6: unknown field 'curser' in source, did you mean 'cursor'?"},
        {"name = 'movies'", "nmae = 'movies'", "x.lua:2: unknown field 'nmae', did you mean 'name'?"},
        {"state = 'st'", "state = 'st', index = 'movies'",
         "x.lua:22: unknown field 'index', did you mean 'sink.index'?"},
        {"index = 'movies'", "index = 'movies', ca = 1", "x.lua:20: unknown field 'ca' in sink"},
        {"cursor = 'm',", "cursor = 'm', affect = 1,",
         "x.lua:13: unknown field 'affect' in source.related[1], did you mean 'affects'?"},
        {"state = 'st'", "state = 'st', 5", "x.lua:22: unexpected element [1]: fields have names"},
        {"key = 'id',\n", "\n", "x.lua:3: missing field 'key' in source"},
        {"name = 'movies',", "", "x.lua:1: missing field 'name'"},
        {"table = 'b', ", "", "x.lua:14: missing field 'table' in source.related[2]"},
        {"document = function(row) return row end,", "", "x.lua:1: missing field 'document'"},
        {"index = 'movies', ", "", "x.lua:20: missing field 'index' in sink"},
        {"cursor = 'modified'", "cursor = 5",
         "x.lua:6: field 'cursor' in source must be a string, is a number"},
        {"key = 'id',\n", "key = { 'id' },\n",
         "x.lua:5: field 'key' in source must be a string, is a table: keys of several columns are not "
         "supported"},
        {"key = 'id',\n", "key = '',\n", "x.lua:5: field 'key' in source is empty"},
        {"key = 'id',\n", "key = 'i\\0d',\n", "x.lua:5: field 'key' in source holds a zero byte"},
        {"document = function(row) return row end", "document = {}",
         "x.lua:18: field 'document' must be a function, is a table"},
        {"before_run = function() end", "before_run = true",
         "x.lua:19: field 'before_run' must be a function, is a boolean"},
        {"{ table = 'c', key = 'id', affects = 'withdrawn' }", "'c'",
         "x.lua:15: field 'related[3]' in source must be a table, is a string"},
        {"related = {\n", "related = { x = 1,\n",
         "x.lua:12: field 'related' in source must be a list of tables: { { table = ... }, { table = ... } "
         "}"},
        {"settings = {}", "settings = 'x'",
         "x.lua:20: field 'settings' in sink must be a table, is a string"},
        {"settings = {}", "settings = { 1, 2 }",
         "x.lua:20: field 'settings' in sink must be a table with names, is a list"},
        {"type = 'keyword'", "type = print",
         "x.lua:21: field 'mappings' in sink: properties.id.type: cannot encode a function"},
        {"FROM film_work; -- the end", "FROM film_work; SELECT 2",
         "x.lua:9: field 'query' in source: one statement only: there is more behind a semicolon"},
        {"FROM film_work; -- the end", "FROM 'film_work",
         "x.lua:9: field 'query' in source: a quote is not closed"},
        {"*/ */", "*/", "x.lua:9: field 'query' in source: a comment is not closed"},
        {"affects = 'film_id'", "affects = ';'", "x.lua:13: field 'affects' in source.related[1] is empty"},
        {"document = function(row) return row end", "document = setmetatable", NULL},
        {"url = 'postgresql:///movies'", "url = ''", NULL},
        {"url = 'http://h:1'", "url = ''", "x.lua:20: field 'url' in sink is empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pipeline p = {0};
        struct err e = {.text = ""};
        char text[4096];
        bool ok = read_text(changed(cases[i].old, cases[i].new, text), &p, &e);
        pipeline_free(&p);
        if (ok != !cases[i].message || (!ok && e.kind != ERR_USAGE) ||
            (!ok && strcmp(e.text, cases[i].message) != 0))
            fail_msg("got:  %s\nnot: %s", e.text, cases[i].message);
    }
}

static void tables_built_by_other_means_are_named_without_a_line(void **state)
{
    (void)state;
    struct pipeline p;
    struct err e;
    assert_false(read_text("local t = { nam = 1 } return t", &p, &e));
    assert_string_equal(e.text, "x.lua: unknown field 'nam', did you mean 'name'?");
    assert_false(read_text("return setmetatable({}, { __index = function() error 'no luck' end })", &p, &e));
    assert_string_equal(e.text, "x.lua:1: no luck");
}

static void sql_ends_at_its_last_word(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len; /* 0: a mistake, on that line */
        int line;
    } cases[] = {
        {"SELECT 1", 8, 0},
        {"SELECT 1 ;; -- x", 8, 0},
        {"SELECT 'it''s; fine'", 20, 0},
        {"SELECT E'\\'; ' ;", 14, 0},
        {"SELECT 'a\\' ;", 11, 0},
        {"SELECT $1, $$ ; ' $$", 20, 0},
        {"SELECT $tag$ $$ ; $tag$;", 23, 0},
        {"SELECT a$b$c;", 12, 0},
        {"SELECT \"a;\"\"b\"", 14, 0},
        {"SELECT 1 -- it's", 8, 0},
        {"SELECT 1; SELECT 2", 0, 1},
        {"SELECT 1;\n--x\nSELECT 2", 0, 3},
        {"SELECT\n'", 0, 2},
        {"SELECT $a$ $b$", 0, 1},
        {"SELECT /* /* */", 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqltext s;
        bool ok = sqltext_read(&s, cases[i].text, strlen(cases[i].text));
        if (ok != (cases[i].len > 0) || (ok ? s.len != cases[i].len : s.line != cases[i].line))
            fail_msg("%s: %zu, line %d", cases[i].text, s.len, s.line);
    }
}

static void suggestions_are_near(void **state)
{
    (void)state;
    static const char *const names[] = {"url", "table", "key", "cursor", "query", "related"};
    static const char *const cases[][2] = {{"curser", "cursor"}, {"tabel", "table"},    {"kye", "key"},
                                           {"keys", "key"},      {"relatd", "related"}, {"ulr", "url"},
                                           {"document", NULL},   {"x", NULL},           {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *near = suggest(cases[i][0], names, 6);
        if ((near == NULL) != (cases[i][1] == NULL) || (near && strcmp(near, cases[i][1]) != 0))
            fail_msg("%s: %s", cases[i][0], near ? near : "none");
    }
}

static void reading_bears_any_allocation_to_fail(void **state)
{
    (void)state;
    struct script_text t = text_of("x.lua", GOOD);
    struct err e;
    struct script *s = script_open(&t, &e);
    assert_non_null(s);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct pipeline p;
        allocations_left = n;
        done = pipeline_read(&p, s, &e);
        allocations_left = -1;
        if (done)
            pipeline_free(&p);
        else
            assert_non_null(strstr(e.text, "memory"));
    }
    script_close(s);
    script_text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_script_arrives_as_it_is),
        cmocka_unit_test(what_may_be_left_out_comes_from_the_environment_or_a_default),
        cmocka_unit_test(the_scripts_of_this_repository_are_right),
        cmocka_unit_test(every_mistake_is_one_line_that_names_its_place),
        cmocka_unit_test(tables_built_by_other_means_are_named_without_a_line),
        cmocka_unit_test(sql_ends_at_its_last_word),
        cmocka_unit_test(suggestions_are_near),
        cmocka_unit_test(reading_bears_any_allocation_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
