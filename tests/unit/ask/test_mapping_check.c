/* What a mapping refuses is named, and nothing that it accepts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ask/mapping_check.h"
#include "base/err.h"
#include "torture.h"

#include <stdio.h>
#include <string.h>

struct report {
    char text[2000];
};

/* "unknown a.b; unfilled c; " */
static void add(const struct mapping_check_problem *p, void *arg)
{
    static const char *const kinds[] = {"none",   "unknown", "unindexed", "value",   "object",
                                        "scalar", "rounded", "mixed",     "unfilled"};
    struct report *r = arg;
    size_t len = strlen(r->text);
    snprintf(r->text + len, sizeof r->text - len, "%s %s; ", kinds[p->kind], p->path);
}

static bool check_into(struct report *r, const char *mappings, const char *document, struct err *e)
{
    struct mapping_check *m = mapping_check_new(mappings, e);
    struct json_tree_text text = {document, strlen(document)};
    bool ok = m && mapping_check_document(m, text, "k", e);
    r->text[0] = '\0';
    if (ok)
        mapping_check_report(m, add, r);
    mapping_check_free(m);
    return ok;
}

static void each_value_is_judged_by_its_type(void **state)
{
    (void)state;
    static const struct {
        const char *type, *value, *said;
    } cases[] = {
        {"integer", "5", ""},
        {"integer", "\"5\"", ""},
        {"integer", "5.5", "rounded a; "},
        {"integer", "\"x\"", "value a; "},
        {"integer", "3000000000", "value a; "},
        {"integer", "true", "value a; "},
        {"byte", "200", "value a; "},
        {"long", "9007199254740993", ""},
        {"float", "1e3", ""},
        {"float", "\"N/A\"", "value a; "},
        {"boolean", "\"true\"", ""},
        {"boolean", "1", "value a; "},
        {"boolean", "\"yes\"", "value a; "},
        {"keyword", "[1, \"x\", null]", ""},
        {"keyword", "{\"b\":1}", "object a; "},
        {"text", "{\"b\":1}", "object a; "},
        {"date", "\"2024-01-02T03:04:05Z\"", ""},
        {"date", "\"2024\"", ""},
        {"date", "1700000000000", ""},
        {"date", "\"2024-01-02 03:04:05\"", "value a; "},
        {"date", "\"02.01.2024\"", "value a; "},
        {"ip", "\"10.0.0.1\"", ""},
        {"ip", "\"10.0.0.0/8\"", "value a; "},
        {"geo_point", "\"(1,2)\"", "value a; "},
        {"geo_point", "{\"lat\":1,\"lon\":2}", ""},
        {"nested", "[{\"x\":1}]", ""},
        {"nested", "\"x\"", "scalar a; "},
        {"flattened", "{\"x\":{\"y\":1}}", ""},
        {"knn_vector", "[0.1, 0.2]", ""},
        {"a_plugin_s", "\"anything\"", ""},
        {"integer", "[]", "unfilled a; "},
        {"integer", "null", "unfilled a; "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char mapping[200], document[200];
        struct report r;
        struct err e;
        snprintf(mapping, sizeof mapping, "{\"properties\":{\"a\":{\"type\":\"%s\"}}}",
                 cases[i].type);
        snprintf(document, sizeof document, "{\"a\":%s}", cases[i].value);
        assert_true(check_into(&r, mapping, document, &e));
        if (strcmp(r.text, cases[i].said) != 0)
            fail_msg("%s %s: %s", cases[i].type, cases[i].value, r.text);
    }
}

static void what_the_mapping_lacks_depends_on_dynamic(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"{\"dynamic\":\"strict\",\"properties\":{\"a\":{\"type\":\"object\"}}}",
         "{\"a\":{\"b\":1},\"c\":1}", "unknown a.b; unknown c; "},
        {"{\"dynamic\":false}", "{\"a\":{\"b\":1}}", "unindexed a; "},
        {"{\"dynamic\":\"strict\",\"properties\":{\"a\":{\"dynamic\":true,\"properties\":{}}}}",
         "{\"a\":{\"b\":1}}", ""},
        {"{\"properties\":{\"a\":{\"enabled\":false}},\"dynamic\":\"strict\"}", "{\"a\":{\"b\":1}}",
         ""},
        {"{\"dynamic\":\"strict\",\"properties\":{\"a\":{\"properties\":{\"b\":{\"type\":\"long\"}}"
         "}"
         "}}",
         "{\"a.b\":1}", ""},
        {"{\"properties\":{\"a\":{\"type\":\"text\",\"copy_to\":\"all\"},\"all\":{\"type\":"
         "\"text\"},\"o\":{\"properties\":{\"x\":{\"type\":\"text\"}}}}}",
         "{\"a\":\"x\"}", "unfilled o; "},
        {NULL, "{\"a\":[1,{\"b\":2}]}", "mixed a; "},
        {NULL, "{\"a\":[{\"b\":2}],\"c\":1}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct report r;
        struct err e;
        assert_true(check_into(&r, cases[i][0], cases[i][1], &e));
        assert_string_equal(r.text, cases[i][2]);
    }
}

static void a_template_names_fields_without_values(void **state)
{
    (void)state;
    static const char mapping[] =
        "{\"dynamic\":\"strict\",\"properties\":{\"a\":{\"type\":\"keyword\"},\"b\":{\"type\":"
        "\"keyword\"},\"o\":{\"properties\":{\"x\":{\"type\":\"long\"}}}}}";
    static const char fields[] = "{\"a\":\"\",\"b\":{\"c\":\"\"},\"d\":\"\",\"o\":\"\"}";
    struct err e;
    struct report r = {""};
    struct mapping_check *m = mapping_check_new(mapping, &e);
    assert_true(mapping_check_template(m, (struct json_tree_text){fields, sizeof fields - 1}, &e));
    mapping_check_report(m, add, &r);
    assert_string_equal(r.text, "object b; unknown d; unfilled a; unfilled o; ");
    mapping_check_free(m);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct report r;
        struct err e = {0};
        allocations_left = n;
        done = check_into(&r, "{\"properties\":{\"a\":{\"type\":\"long\"}}}",
                          "{\"a\":\"x\",\"b\":{\"c\":1}}", &e);
        allocations_left = -1;
        if (!done)
            assert_true(*e.text);
        else
            assert_string_equal(r.text, "value a; ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_is_judged_by_its_type),
        cmocka_unit_test(what_the_mapping_lacks_depends_on_dynamic),
        cmocka_unit_test(a_template_names_fields_without_values),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
