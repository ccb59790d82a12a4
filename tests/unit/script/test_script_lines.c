/* Messages point to the line on which a field is written, however the script is laid out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "script/script_lines.h"

#include <string.h>

static int find(const char *text, const char *path)
{
    return script_lines_find(text, strlen(text), path);
}

static int text_line(const char *text, const char *path)
{
    return script_lines_text(text, strlen(text), path);
}

static const char SCRIPT[] = "local etl = require 'etl' -- return { name = 1 }\n" /* 1 */
                             "--[[ return {\n"                                    /* 2 */
                             "  name = 'no' } ]]\n"                               /* 3 */
                             "local function f()\n"                               /* 4 */
                             "  return { name = 'inner' }\n"                      /* 5 */
                             "end\n"                                              /* 6 */
                             "return {\n"                                         /* 7 */
                             "  name = \"a } \\\" name = 1\",\n"                  /* 8 */
                             "  ['state'] = 's', [\"sink\"] =\n"                  /* 9 */
                             "    { url = [==[ ]] } ]==], index = f{1, 2}, },\n"  /* 10 */
                             "  document = function(row)\n"                       /* 11 */
                             "    local source = { 1, 2 }\n"                      /* 12 */
                             "    if row.a == 1 then return { source = 1 } end\n" /* 13 */
                             "    for i = 1, 2 do repeat local x until true end\n"
                             "    return { key = 1, }\n" /* 15 */
                             "  end,\n"                  /* 16 */
                             "  source = {\n"            /* 17 */
                             "    table = 't';\n"        /* 18 */
                             "    query = [[\n"          /* 19 */
                             "      SELECT 1\n"          /* 20 */
                             "    ]],\n"                 /* 21 */
                             "    related = {\n"         /* 22 */
                             "      { table = 'a' },\n"  /* 23 */
                             "      -- nothing\n"        /* 24 */
                             "      { table = 'b',\n"    /* 25 */
                             "        cursor = 'm' },\n" /* 26 */
                             "      [3] = { key = 1 },\n"
                             "    },\n"
                             "  },\n"
                             "}\n";

static void fields_are_found_on_their_lines(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int line;
    } cases[] = {
        {"", 7},
        {"name", 8},
        {"state", 9},
        {"sink", 9},
        {"sink.url", 10},
        {"sink.index", 10},
        {"document", 11},
        {"source", 17},
        {"source.table", 18},
        {"source.query", 19},
        {"source.related", 22},
        {"source.related[1]", 23},
        {"source.related[2]", 25},
        {"source.related[2].table", 25},
        {"source.related[2].cursor", 26},
        {"source.related[3].key", 27},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (find(SCRIPT, cases[i].path) != cases[i].line)
            fail_msg("%s: line %d, not %d", cases[i].path, find(SCRIPT, cases[i].path),
                     cases[i].line);
}

static void what_is_missing_gives_the_innermost_table(void **state)
{
    (void)state;
    assert_int_equal(find(SCRIPT, "source.key"), 17);
    assert_int_equal(find(SCRIPT, "source.related[2].key"), 25);
    assert_int_equal(find(SCRIPT, "source.related[9].key"), 22);
    assert_int_equal(find(SCRIPT, "missing"), 7);
    assert_int_equal(find(SCRIPT, "name.deeper"), 8);
}

static void a_text_begins_behind_the_line_break_that_lua_skips(void **state)
{
    (void)state;
    assert_int_equal(text_line(SCRIPT, "source.query"), 20);
    assert_int_equal(text_line(SCRIPT, "source.table"), 18);
    assert_int_equal(text_line("return {\n q =\n [[ SELECT ]] }", "q"), 3);
    assert_int_equal(text_line("return {\n q =\n [[\r\n SELECT ]] }", "q"), 4);
    assert_int_equal(text_line("return { q = other.query }", "q"), 0);
    assert_int_equal(text_line("return { q = 1 }", "missing"), 0);
}

static void other_layouts_give_no_line(void **state)
{
    (void)state;
    assert_int_equal(find("", "name"), 0);
    assert_int_equal(find("local t = { name = 1 } return t", "name"), 0);
    assert_int_equal(find("return setmetatable({ name = 1 }, {})", "name"), 0);
    assert_int_equal(find("if true then return { name = 1 } end", "name"), 0);
    assert_int_equal(find("#!/usr/bin/env etl-engine\nreturn { name = 1 }", "name"), 2);
    assert_int_equal(find("\xEF\xBB\xBF# it's\nreturn { name = 1 }", "name"), 2);
}

/* The scanner reads what users write, before Lua has judged it. */
static void no_text_makes_it_read_past_the_end(void **state)
{
    (void)state;
    char copy[sizeof SCRIPT];
    for (size_t len = 0; len < sizeof SCRIPT; len++) {
        char *exact = test_malloc(len + 1);
        memcpy(exact, SCRIPT, len);
        exact[len] = 'x';
        script_lines_find(exact, len, "source.related[2].cursor");
        script_lines_text(exact, len, "source.query");
        test_free(exact);
    }
    for (size_t i = 0; i + 1 < sizeof SCRIPT; i++) {
        memcpy(copy, SCRIPT, sizeof SCRIPT);
        copy[i] = "\0[]{}'\"\\"[i % 8];
        script_lines_find(copy, sizeof SCRIPT - 1, "source.related[2].cursor");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_on_their_lines),
        cmocka_unit_test(what_is_missing_gives_the_innermost_table),
        cmocka_unit_test(a_text_begins_behind_the_line_break_that_lua_skips),
        cmocka_unit_test(other_layouts_give_no_line),
        cmocka_unit_test(no_text_makes_it_read_past_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
