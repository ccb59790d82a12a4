/* Every mistake in a script's table is one clear line with file and line; what is right arrives as
 * it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/suggest.h"
#include "pg/sqltext.h"
#include "script/pipeline.h"
#include "script_text.h"
#include "torture.h"

#include <stdio.h>

static const char GOOD[] =
    "return {\n"
    "  name = 'movies',\n"
    "  source = {\n"
    "    url = 'postgresql:///movies', table = 'content.film_work',\n"
    "    key = 'id',\n"
    "    cursor = 'modified', lookback = 0,\n"
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
    "  sink = { url = 'http://h:1', index = 'movies', indices = 'm-*', settings = {}, compress = "
    "false, user "
    "= 'u', password = "
    "'p', verify = "
    "false,\n"
    "    mappings = { dynamic = 'strict', properties = { id = { type = 'keyword' } } } },\n"
    "  state = 'st',\n"
    "  sweep = 0, max_rejected = 1e3, poll_interval = 0.01,\n"
    "}\n";

/* Two columns: in the root, in a related table, and on the way from one to the other. */
static const char COMPOSITE[] =
    "return { name = 'm', document = function() end, sink = { url = 'http://h', index = 'i' }, "
    "state = 's', "
    "source = {\n"
    "  url = '', table = 't', key = { 'a', 'b' }, query = 'SELECT 1', horizon_limit = 0.5,\n"
    "  related = {\n"
    "    { table = 'r', key = 'id', affects = { 'ta', 'tb' } },\n"
    "    { table = 's', key = { 'x', 'y', 'z' },\n"
    "      affects = [[\n"
    "        /* films */\n"
    "        With q AS (SELECT 1, 2) SELECT * FROM q; ]],\n"
    "      index_field = 'r.id' },\n"
    "  } } }\n";

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

static void assert_columns(const struct pipeline_names *names, const char *const *expected,
                           size_t n)
{
    assert_int_equal(names->n, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(names->list[i], expected[i]);
}

static void assert_column(const struct pipeline_names *names, const char *expected)
{
    assert_columns(names, &expected, 1);
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
    assert_column(&p.source.key, "id");
    assert_string_equal(p.source.cursor, "modified");
    assert_string_equal(p.source.query,
                        "      SELECT id, ';' AS x -- why; not\n        FROM film_work");
    assert_int_equal(p.source.query_line, 8);
    assert_int_equal(p.source.key_line, 5);
    assert_int_equal(p.source.cursor_line, 6);
    assert_int_equal(p.source.table_line, 4);
    assert_int_equal(p.sink.index_line, 20);
    assert_int_equal(p.source.n_related, 3);
    assert_column(&p.source.related[0].key, "id");
    assert_column(&p.source.related[0].affects, "film_id");
    assert_null(p.source.related[0].affects_query);
    assert_null(p.source.related[0].index_field);
    assert_string_equal(p.source.related[1].affects_query, " (SELECT 1)");
    assert_int_equal(p.source.related[1].affects.n, 0);
    assert_string_equal(p.source.related[1].index_field, "b.id");
    assert_null(p.source.related[1].cursor);
    assert_column(&p.source.related[2].affects, "withdrawn");
    assert_null(p.source.related[2].affects_query);
    assert_string_equal(p.sink.url, "http://h:1");
    assert_string_equal(p.sink.security.user, "u");
    assert_string_equal(p.sink.security.password, "p");
    assert_true(!p.sink.security.api_key && !p.sink.security.verify);
    assert_int_equal(p.sink.compress, -1);
    assert_string_equal(p.sink.settings, "{}");
    assert_string_equal(p.sink.mappings,
                        "{\"dynamic\":\"strict\",\"properties\":{\"id\":{\"type\":\"keyword\"}}}");
    assert_string_equal(p.state, "st");
    assert_true(p.source.lookback == 0 && p.sweep == 0 && p.poll_interval == 0.01);
    assert_int_equal(p.max_rejected, 1000);
    pipeline_free(&p);
}

static void documents_may_be_in_several_indexes(void **state)
{
    (void)state;
    static const struct {
        const char *given, *indices, *index;
        bool has;
    } cases[] = {
        {"nil", "films", "films", true},
        {"nil", "films", "film", false},
        {"'films'", "films", "films", true},
        {"'films-*'", "films,films-*", "films", true},
        {"'films-*'", "films,films-*", "films-2024", true},
        {"'films-*'", "films,films-*", "films-", true},
        {"'films-*'", "films,films-*", "films2", false},
        {"'films*'", "films*", "films-2024", true},
        {"'*'", "*", "x", true},
        {"'a-*-z*,b'", "films,a-*-z*,b", "a-1-2-zz", true},
        {"'a-*-z*,b'", "films,a-*-z*,b", "a-1-2", false},
        {"'a-*-z*,b'", "films,a-*-z*,b", "b", true},
        {"'a-*-z*,b'", "films,a-*-z*,b", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[500];
        struct pipeline p;
        struct err e;
        snprintf(text, sizeof text,
                 "return { name = 'm', document = function() end, state = 's', sink = { url = "
                 "'http://h',\n"
                 "  index = 'films', indices = %s }, source = { url = '', table = 't', key = 'id', "
                 "query = "
                 "'SELECT 1' } }",
                 cases[i].given);
        if (!read_text(text, &p, &e))
            fail_msg("%s", e.text);
        assert_string_equal(p.sink.indices, cases[i].indices);
        assert_int_equal(p.sink.multi_index, strcmp(cases[i].given, "nil") != 0);
        assert_int_equal(pipeline_has_index(&p, cases[i].index), cases[i].has);
        pipeline_free(&p);
    }
}

static void a_key_may_have_several_columns(void **state)
{
    (void)state;
    struct pipeline p;
    struct err e;
    if (!read_text(COMPOSITE, &p, &e))
        fail_msg("%s", e.text);
    assert_columns(&p.source.key, (const char *[]){"a", "b"}, 2);
    const struct pipeline_related *r = p.source.related, *s = r + 1;
    assert_column(&r->key, "id");
    assert_columns(&r->affects, (const char *[]){"ta", "tb"}, 2);
    assert_null(r->affects_query);
    assert_columns(&s->key, (const char *[]){"x", "y", "z"}, 3);
    assert_int_equal(s->affects.n, 0);
    assert_string_equal(s->affects_query,
                        "        /* films */\n        With q AS (SELECT 1, 2) SELECT * FROM q");
    assert_true(r->table_line == 4 && r->key_line == 4 && r->affects_line == 4 &&
                r->cursor_line == 4);
    assert_true(s->table_line == 5 && s->key_line == 5 && s->affects_line == 7 &&
                s->index_field_line == 9);
    assert_true(p.source.horizon_limit == 0.5);
    pipeline_free(&p);
}

static const char SMALLEST[] =
    "return { name = 'm', source = { url = '', table = 't', key = 'id', query = 'SELECT 1' },\n"
    "  document = function() end, sink = { url = 'http://h:1', index = 'i' }, state = 's' }";

static void what_may_be_left_out_has_a_default(void **state)
{
    (void)state;
    struct pipeline p;
    struct err e;
    assert_true(read_text(SMALLEST, &p, &e));
    assert_string_equal(p.source.url, "");
    assert_true(!p.sink.security.user && p.sink.security.verify);
    assert_true(p.sink.compress == 0 && p.sink.max_rate == 0 && p.sink.batch_bytes == 5 << 20);
    assert_null(p.source.cursor);
    assert_null(p.sink.mappings);
    assert_true(p.source.lookback < 0 && p.source.horizon_limit == 600);
    assert_true(p.poll_interval == 1 && p.sweep == 3600);
    assert_int_equal(p.max_rejected, 1000);
    pipeline_free(&p);
}

/* Another database, index or folder must not be taken in silence. */
static void an_unset_variable_is_no_default(void **state)
{
    (void)state;
    static const char script[] = "return { name = 'm', document = function() end,\n"
                                 "  source = { %s, table = 't', key = 'id', query = 'SELECT 1' },\n"
                                 "  sink = { index = 'i', %s },\n"
                                 "  %s }";
    static const struct {
        const char *source, *sink, *state, *text, *hint;
    } cases[] = {
        {"url = os.getenv 'ETL_TEST_URI'", "url = 'http://h'", "state = 's'",
         "x.lua:2: missing field 'url' in source",
         "the environment variable ETL_TEST_URI is not set, did you mean ETL_TEST_URL?"},
        {"url = ''", "url=os.getenv(\"NO_SUCH_VARIABLE\")", "state = 's'",
         "x.lua:3: missing field 'url' in sink",
         "the environment variable NO_SUCH_VARIABLE is not set"},
        {"url = ''", "url = 'http://h'", "state = require 'etl'.secret 'NO_SUCH_VARIABLE'",
         "x.lua:4: missing field 'state'",
         "it has no default, and an os.getenv whose variable is not set gives nil"},
        {"url = ''", "url = 'http://h'", "sweep = 0", "x.lua:1: missing field 'state'",
         "it has no default, and an os.getenv whose variable is not set gives nil"},
    };
    setenv("ETL_TEST_URL", "postgresql:///d", 1);
    setenv("DATABASE_URL", "postgresql:///d", 1);
    setenv("ELASTICSEARCH_URL", "http://e:9", 1);
    setenv("FILE_PATH_STATE", "/s", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1000];
        struct pipeline p;
        struct err e = {0};
        snprintf(text, sizeof text, script, cases[i].source, cases[i].sink, cases[i].state);
        assert_false(read_text(text, &p, &e));
        assert_int_equal(e.kind, ERR_USAGE);
        assert_string_equal(e.text, cases[i].text);
        assert_string_equal(e.hint, cases[i].hint);
    }
}

static void the_sink_may_have_several_nodes(void **state)
{
    (void)state;
    static const struct {
        const char *url, *text;
    } cases[] = {
        {"'http://a,http://b'", "http://a,http://b"},
        {"{ 'http://a:1' }", "http://a:1"},
        {"{ 'http://a:1', 'http://b:2/p', 'http://c' }", "http://a:1,http://b:2/p,http://c"},
        {"5", "x.lua:1: field 'url' in sink must be a string or a list of strings, is a number"},
        {"''", "x.lua:1: field 'url' in sink is empty"},
        {"{}", "x.lua:1: field 'url' in sink is empty"},
        {"{ 'http://a', '' }", "x.lua:1: field 'url[2]' in sink is empty"},
        {"{ 'http://a', 5 }", "x.lua:1: field 'url[2]' in sink must be a string, is a number"},
        {"{ 'http://a', nil, 'http://c' }",
         "x.lua:1: field 'url[2]' in sink must be a string, is nil"},
        {"{ x = 'http://a' }", "x.lua:1: field 'url' in sink must be a list of URLs: "
                               "{ \"http://a\", \"http://b\" }"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char script[500];
        struct pipeline p;
        struct err e = {0};
        snprintf(
            script, sizeof script,
            "return { name = 'm', sink = { index = 'i', url = %s }, document = function() end,"
            "  state = 's', source = { url = '', table = 't', key = 'id', query = 'SELECT 1' } }",
            cases[i].url);
        bool ok = read_text(script, &p, &e);
        assert_string_equal(ok ? p.sink.url : e.text, cases[i].text);
        if (ok)
            pipeline_free(&p);
    }
}

static void the_scripts_of_this_repository_are_right(void **state)
{
    (void)state;
    static const char *const paths[] = {"scripts/movies.lua", "scripts/genres.lua",
                                        "scripts/persons.lua"};
    for (size_t i = 0; i < 3; i++) {
        struct script_text t;
        struct pipeline p;
        struct err e;
        if (!script_text_read(&t, paths[i], &e))
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

/* A script with `old` replaced by `new`. */
static const char *changed(const char *script, const char *old, const char *new, char out[4096])
{
    const char *at = strstr(script, old);
    if (!at)
        fail_msg("no '%s' in the script", old);
    snprintf(out, 4096, "%.*s%s%s", (int)(at - script), script, new, at + strlen(old));
    return out;
}

struct change {
    const char *old, *new, *message; /* NULL: it is right */
};

static void judge(const char *script, const struct change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct pipeline p = {0};
        struct err e = {.text = ""};
        char text[4096];
        bool ok = read_text(changed(script, changes[i].old, changes[i].new, text), &p, &e);
        pipeline_free(&p);
        if (ok != !changes[i].message || (!ok && e.kind != ERR_USAGE) ||
            (!ok && strcmp(e.text, changes[i].message) != 0))
            fail_msg("got:  %s\nnot: %s", e.text, changes[i].message);
    }
}

static void every_mistake_is_one_line_that_names_its_place(void **state)
{
    (void)state;
    static const struct change cases[] = {
        {"cursor = 'modified'", "curser = 'modified'",
         "x.lua:6: unknown field 'curser' in source, did you mean 'cursor'?"},
        {"name = 'movies'", "nmae = 'movies'",
         "x.lua:2: unknown field 'nmae', did you mean 'name'?"},
        {"state = 'st'", "state = 'st', index = 'movies'",
         "x.lua:22: unknown field 'index', did you mean 'sink.index'?"},
        {"index = 'movies'", "index = 'movies', zz = 1", "x.lua:20: unknown field 'zz' in sink"},
        {"index = 'movies'", "index = 'movies', ca = 1",
         "x.lua:20: field 'ca' in sink must be a string, is a number"},
        {"compress = false", "compress = 'no'",
         "x.lua:20: field 'compress' in sink must be true or false, is a string"},
        {"compress = false", "max_rate = 9",
         "x.lua:20: field 'max_rate' in sink must be at least 10, is 9"},
        {"compress = false", "batch_bytes = 1",
         "x.lua:20: field 'batch_bytes' in sink must be at least 65536, is 1"},
        {"verify = false", "verify = 'no'",
         "x.lua:20: field 'verify' in sink must be true or false, is a string"},
        {"index = 'movies'", "index = 'movies', passwort = 's3cret'",
         "x.lua:20: unknown field 'passwort' in sink, did you mean 'password'?"},
        {"cursor = 'm',", "cursor = 'm', affect = 1,",
         "x.lua:13: unknown field 'affect' in source.related[1], did you mean 'affects'?"},
        {"state = 'st'", "state = 'st', 5", "x.lua:22: unexpected element [1]: fields have names"},
        {"key = 'id',\n", "\n", "x.lua:3: missing field 'key' in source"},
        {"name = 'movies',", "", "x.lua:1: missing field 'name'"},
        {"table = 'b', ", "", "x.lua:14: missing field 'table' in source.related[2]"},
        {"document = function(row) return row end,", "", NULL},
        {"document = function(row) return row end,", "document = nowhere,",
         "x.lua:18: field 'document' must be a table of fields or a function, is nil"},
        {"index = 'movies', ", "", "x.lua:20: missing field 'index' in sink"},
        {"cursor = 'modified'", "cursor = 5",
         "x.lua:6: field 'cursor' in source must be a string, is a number"},
        {"key = 'id',\n", "key = '',\n", "x.lua:5: field 'key' in source is empty"},
        {"key = 'id',\n", "key = 'i\\0d',\n", "x.lua:5: field 'key' in source holds a zero byte"},
        {"document = function(row) return row end", "document = 'x'",
         "x.lua:18: field 'document' must be a table of fields or a function, is a string"},
        {"document = function(row) return row end", "document = {}",
         "x.lua:18: document has no fields"},
        {"document = function(row) return row end", "document = { a = 'b' }", NULL},
        {"before_run = function() end", "before_run = true",
         "x.lua:19: field 'before_run' must be a function, is a boolean"},
        {"{ table = 'c', key = 'id', affects = 'withdrawn' }", "'c'",
         "x.lua:15: field 'related[3]' in source must be a table, is a string"},
        {"related = {\n", "related = { x = 1,\n",
         "x.lua:12: field 'related' in source must be a list of tables: { { table = ... }, { table "
         "= ... } "
         "}"},
        {"settings = {}", "settings = 'x'",
         "x.lua:20: field 'settings' in sink must be a table, is a string"},
        {"settings = {}", "settings = { 1, 2 }",
         "x.lua:20: field 'settings' in sink must be a table with names, is a list"},
        {"type = 'keyword'", "type = print",
         "x.lua:21: field 'mappings' in sink: properties.id.type: cannot encode a function"},
        {"FROM film_work; -- the end", "FROM film_work; SELECT 2",
         "x.lua:9: field 'query' in source: there is more than one statement: text follows a "
         "semicolon"},
        {"FROM film_work; -- the end", "FROM 'film_work",
         "x.lua:9: field 'query' in source: a quote is not closed"},
        {"*/ */", "*/", "x.lua:9: field 'query' in source: a comment is not closed"},
        {"document = function(row) return row end", "document = setmetatable", NULL},
        {"url = 'postgresql:///movies'", "url = ''", NULL},
        {"url = 'http://h:1'", "url = ''", "x.lua:20: field 'url' in sink is empty"},
    };
    judge(GOOD, cases, sizeof cases / sizeof *cases);
}

#define LIST_32                                                                                    \
    "'1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17','18','19','20','" \
    "21','22',"                                                                                    \
    "'23','24','25','26','27','28','29','30','31','32'"

static void columns_are_a_name_or_a_list_of_distinct_names(void **state)
{
    (void)state;
    static const char key[] = "key = 'id',\n", two[] = "key = { 'a', 'b' }",
                      affects[] = "{ 'ta', 'tb' }";
    static const struct change one[] = {
        {key, "key = { 'id' },\n", NULL},
        {key, "key = 5,\n",
         "x.lua:5: field 'key' in source must be a string or a list of strings, is a number"},
        {key, "key = {},\n", "x.lua:5: field 'key' in source is empty"},
        {key, "key = { a = 'id' },\n",
         "x.lua:5: field 'key' in source must be a list of columns: { \"a\", \"b\" }"},
        {key, "key = { 'id', 'b' },\n",
         "x.lua:13: field 'affects' in source.related[1] has 1 column, but the key in source has "
         "2"},
        {"affects = 'film_id'", "affects = { 'film_id' }", NULL},
        {"affects = 'film_id'", "affects = { 'a', 'b' }",
         "x.lua:13: field 'affects' in source.related[1] has 2 columns, but the key in source has "
         "1"},
        {"affects = 'film_id'", "affects = ''",
         "x.lua:13: field 'affects' in source.related[1] is empty"},
        {"affects = 'film_id'", "affects = {}",
         "x.lua:13: field 'affects' in source.related[1] is empty"},
        {"affects = 'film_id'", "affects = true",
         "x.lua:13: field 'affects' in source.related[1] must be a string or a list of strings, is "
         "a "
         "boolean"},
        {"affects = 'film_id'", "affects = 'SELECT 1; SELECT 2'",
         "x.lua:13: field 'affects' in source.related[1]: there is more than one statement: "
         "text follows a semicolon"},
        {"affects = 'film_id'", "affects = '/* SELECT 1'",
         "x.lua:13: field 'affects' in source.related[1]: a comment is not closed"},
        {"affects = 'film_id'", "affects = 'SELECT\\0 1'",
         "x.lua:13: field 'affects' in source.related[1] holds a zero byte"},
    };
    static const struct change several[] = {
        {two, "key = { 'a',\n'a' }", "x.lua:3: field 'key[2]' in source names column 'a' again"},
        {two, "key = { 'a', '' }", "x.lua:2: field 'key[2]' in source is empty"},
        {two, "key = { 'a', 5 }",
         "x.lua:2: field 'key[2]' in source must be a string, is a number"},
        {two, "key = { 'a', nil, 'c' }",
         "x.lua:2: field 'key[2]' in source must be a string, is nil"},
        {two, "key = { 'a', '\\0' }", "x.lua:2: field 'key[2]' in source holds a zero byte"},
        {two, "key = { 'a', 'b', x = 1 }",
         "x.lua:2: field 'key' in source must be a list of columns: { \"a\", \"b\" }"},
        {two, "key = { " LIST_32 " }",
         "x.lua:4: field 'affects' in source.related[1] has 2 columns, but the key in source has "
         "32"},
        {two, "key = { " LIST_32 ", '33' }",
         "x.lua:2: field 'key' in source has more than 32 elements"},
        {"key = { 'x', 'y', 'z' }", "key = { 'x', 'y', 'x' }",
         "x.lua:5: field 'key[3]' in source.related[2] names column 'x' again"},
        {affects, "{ 'ta', 'ta' }",
         "x.lua:4: field 'affects[2]' in source.related[1] names column 'ta' again"},
        {affects, "'ta'",
         "x.lua:4: field 'affects' in source.related[1] has 1 column, but the key in source has 2"},
        {"* FROM q;", "* FROM\n';",
         "x.lua:9: field 'affects' in source.related[2]: a quote is not closed"},
    };
    judge(GOOD, one, sizeof one / sizeof *one);
    judge(COMPOSITE, several, sizeof several / sizeof *several);
}

static void numbers_are_finite_and_in_their_range(void **state)
{
    (void)state;
    static const char lookback[] = "lookback = 0", interval[] = "poll_interval = 0.01",
                      rejected[] = "max_rejected = 1e3";
    static const struct change cases[] = {
        {lookback, "lookback = 2^-30", NULL},
        {lookback, "lookback = 1e9", NULL},
        {lookback, "lookback = '60'",
         "x.lua:6: field 'lookback' in source must be a number, is a string"},
        {lookback, "lookback = -1",
         "x.lua:6: field 'lookback' in source must be at least 0, is -1"},
        {lookback, "lookback = -0.5",
         "x.lua:6: field 'lookback' in source must be at least 0, is -0.5"},
        {lookback, "lookback = 0/0",
         "x.lua:6: field 'lookback' in source must be a finite number, is nan"},
        {lookback, "lookback = -(0/0)",
         "x.lua:6: field 'lookback' in source must be a finite number, is nan"},
        {lookback, "lookback = 1/0",
         "x.lua:6: field 'lookback' in source must be a finite number, is inf"},
        {lookback, "lookback = -1/0",
         "x.lua:6: field 'lookback' in source must be a finite number, is -inf"},
        {lookback, "lookback = 1e10",
         "x.lua:6: field 'lookback' in source must be at most 1000000000, is 10000000000.0"},
        {lookback, "horizon_limit = 1e-9", NULL},
        {lookback, "horizon_limit = 0",
         "x.lua:6: field 'horizon_limit' in source must be above 0, is 0"},
        {lookback, "horizon_limit = -2",
         "x.lua:6: field 'horizon_limit' in source must be above 0, is -2"},
        {lookback, "horizon_limit = true",
         "x.lua:6: field 'horizon_limit' in source must be a number, is a boolean"},
        {lookback, "horizon_limt = 1",
         "x.lua:6: unknown field 'horizon_limt' in source, did you mean 'horizon_limit'?"},
        {lookback, "poll_interval = 1",
         "x.lua:6: unknown field 'poll_interval' in source, it belongs next to 'source'"},
        {interval, "poll_interval = 0",
         "x.lua:23: field 'poll_interval' must be at least 0.01, is 0"},
        {interval, "poll_interval = 0.009",
         "x.lua:23: field 'poll_interval' must be at least 0.01, is 0.009"},
        {interval, "poll_interval = 2, lookback = 1",
         "x.lua:23: unknown field 'lookback', did you mean 'source.lookback'?"},
        {"index = 'movies'", "index = 'a*'",
         "x.lua:20: field 'index' in sink must be the name of one index: it cannot hold '*'"},
        {"index = 'movies'", "index = 'a,b'",
         "x.lua:20: field 'index' in sink must be the name of one index: it cannot hold ','"},
        {"index = 'movies'", "index = 'Movies'",
         "x.lua:20: field 'index' in sink must be in lower case, as index names are"},
        {"index = 'movies'", "index = '_all'",
         "x.lua:20: field 'index' in sink cannot begin with '_'"},
        {"index = 'movies'", "index = '..'",
         "x.lua:20: field 'index' in sink is no name that an index can have"},
        {"index = 'movies'", "index = ('x'):rep(255)", NULL},
        {"index = 'movies'", "index = ('x'):rep(256)",
         "x.lua:20: field 'index' in sink is no name that an index can have"},
        {"sweep = 0", "sweep = -1", "x.lua:23: field 'sweep' must be at least 0, is -1"},
        {"sweep = 0", "sweep = {}", "x.lua:23: field 'sweep' must be a number, is a table"},
        {"sweep = 0", "sweep = math.huge",
         "x.lua:23: field 'sweep' must be a finite number, is inf"},
        {rejected, "max_rejected = 0", NULL},
        {rejected, "max_rejected = 2^53", NULL},
        {rejected, "max_rejected = 1.5",
         "x.lua:23: field 'max_rejected' must be a whole number, is 1.5"},
        {rejected, "max_rejected = -1", "x.lua:23: field 'max_rejected' must be at least 0, is -1"},
        {rejected, "max_rejected = math.maxinteger",
         "x.lua:23: field 'max_rejected' must be at most 9007199254740992, is 9223372036854775807"},
        {rejected, "max_rejected = 0/0",
         "x.lua:23: field 'max_rejected' must be a finite number, is nan"},
    };
    judge(GOOD, cases, sizeof cases / sizeof *cases);
}

static void tables_built_by_other_means_are_named_without_a_line(void **state)
{
    (void)state;
    struct pipeline p;
    struct err e;
    assert_false(read_text("local t = { nam = 1 } return t", &p, &e));
    assert_string_equal(e.text, "x.lua: unknown field 'nam', did you mean 'name'?");
    assert_false(
        read_text("return setmetatable({}, { __index = function() error 'no luck' end })", &p, &e));
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

static void a_query_begins_with_select_or_with(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_query;
    } cases[] = {
        {"SELECT 1", true},
        {"select", true},
        {"With x AS (SELECT 1) TABLE x", true},
        {"\n\tSeLeCt*", true},
        {"((select(1)))", true},
        {"-- a\n--b\n select 1", true},
        {"/* /* */ */WITH", true},
        {"(/*a*/ SELECT 1)", true},
        {"SELECT'x'", true},
        {"select\"x\"", true},
        {"SELECT--x", true},
        {"/* SELECT", true},
        {"selected", false},
        {"with_x", false},
        {"select$1", false},
        {"id", false},
        {"-- SELECT 1", false},
        {"", false},
        {"(", false},
        {"\"select\"", false},
        {"UPDATE x", false},
        {"film id", false},
        {"selec", false},
        {"/* a */ id", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (sqltext_is_query(cases[i].text, strlen(cases[i].text)) != cases[i].is_query)
            fail_msg("%s", cases[i].text);
    assert_false(sqltext_is_query("SELECT", 5)); /* the length counts */
}

static void suggestions_are_near(void **state)
{
    (void)state;
    static const char *const names[] = {"url", "table", "key", "cursor", "query", "related"};
    static const char *const cases[][2] = {
        {"curser", "cursor"}, {"tabel", "table"},    {"kye", "key"},
        {"keys", "key"},      {"relatd", "related"}, {"ulr", "url"},
        {"document", NULL},   {"x", NULL},           {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *near = suggest(cases[i][0], names, 6);
        if ((near == NULL) != (cases[i][1] == NULL) || (near && strcmp(near, cases[i][1]) != 0))
            fail_msg("%s: %s", cases[i][0], near ? near : "none");
    }
}

static void torture(const char *text)
{
    struct script_text t = text_of("x.lua", text);
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

static void reading_bears_any_allocation_to_fail(void **state)
{
    (void)state;
    torture(GOOD);
    torture(COMPOSITE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_script_arrives_as_it_is),
        cmocka_unit_test(documents_may_be_in_several_indexes),
        cmocka_unit_test(a_key_may_have_several_columns),
        cmocka_unit_test(what_may_be_left_out_has_a_default),
        cmocka_unit_test(an_unset_variable_is_no_default),
        cmocka_unit_test(the_sink_may_have_several_nodes),
        cmocka_unit_test(the_scripts_of_this_repository_are_right),
        cmocka_unit_test(every_mistake_is_one_line_that_names_its_place),
        cmocka_unit_test(columns_are_a_name_or_a_list_of_distinct_names),
        cmocka_unit_test(numbers_are_finite_and_in_their_range),
        cmocka_unit_test(tables_built_by_other_means_are_named_without_a_line),
        cmocka_unit_test(sql_ends_at_its_last_word),
        cmocka_unit_test(a_query_begins_with_select_or_with),
        cmocka_unit_test(suggestions_are_near),
        cmocka_unit_test(reading_bears_any_allocation_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
