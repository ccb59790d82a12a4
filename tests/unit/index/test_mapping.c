/* What a mapping lacks is put, as little as possible and with all that the index says besides; what
 * a server writes in another form is no difference; what it refuses is said in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json_tree.h"
#include "index/mapping.h"
#include "index/settings_left.h"
#include "torture.h"

static struct json_tree tree_of(const char *text)
{
    struct json_tree t;
    struct err e;
    assert_true(json_tree_read(&t, text, strlen(text), &e));
    return t;
}

static void what_is_lacking_is_put(void **state)
{
    (void)state;
    static const struct {
        const char *has, *wants, *put;
        bool certain;
    } cases[] = {
        {"{}", "{}", "", false},
        {"{}", "{\"dynamic\":true,\"properties\":{}}", "", false},
        {"{\"dynamic\":\"false\"}", "{\"dynamic\":false}", "", false},
        {"{\"dynamic\":\"strict\"}", "{\"dynamic\":true}", "{\"dynamic\":true}", true},
        {"{}", "{\"_meta\":{\"a\":1}}", "", false},
        {"{}", "{\"properties\":{\"a\":{\"type\":\"long\"}}}",
         "{\"properties\":{\"a\":{\"type\":\"long\"}}}", true},
        {"{\"properties\":{\"a\":{\"type\":\"long\"},\"b\":{\"type\":\"long\"}}}",
         "{\"properties\":{\"a\":{\"type\":\"long\",\"index\":true}}}", "", false},
        {"{\"properties\":{\"a\":{\"type\":\"text\"}}}",
         "{\"properties\":{\"a\":{\"type\":\"text\",\"norms\":\"true\"}}}", "", false},
        {"{\"properties\":{\"a\":{\"type\":\"date\"}}}",
         "{\"properties\":{\"a\":{\"type\":\"date\",\"format\":\"x\"}}}",
         "{\"properties\":{\"a\":{\"type\":\"date\",\"format\":\"x\"}}}", false},
        {"{\"properties\":{\"a\":{\"type\":\"keyword\",\"ignore_above\":9}}}",
         "{\"properties\":{\"a\":{\"type\":\"keyword\",\"fields\":{\"b\":{\"type\":\"text\"}}}}}",
         "{\"properties\":{\"a\":{\"type\":\"keyword\",\"ignore_above\":9,\"fields\":{\"b\":{"
         "\"type\":"
         "\"text\"}}}}}",
         true},
        {"{\"properties\":{\"a\":{\"type\":\"text\",\"fields\":{\"x\":{\"type\":\"keyword\"}}}}}",
         "{\"properties\":{\"a\":{\"type\":\"text\",\"fields\":{\"b\":{\"type\":\"text\"}}}}}",
         "{\"properties\":{\"a\":{\"type\":\"text\",\"fields\":{\"b\":{\"type\":\"text\"},\"x\":{"
         "\"type\":"
         "\"keyword\"}}}}}",
         true},
        {"{\"properties\":{\"a\":{\"properties\":{\"x\":{\"type\":\"long\"},\"y\":{\"type\":"
         "\"long\"}}}}}",
         "{\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"long\"},"
         "\"z\":{"
         "\"type\":\"long\"}}}}}",
         "{\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{\"z\":{\"type\":\"long\"}}}}"
         "}",
         true},
        {"{\"properties\":{\"a\":{\"properties\":{}}}}",
         "{\"properties\":{\"a\":{\"type\":\"nested\"}}}",
         "{\"properties\":{\"a\":{\"type\":\"nested\"}}}", true},
        {"{\"properties\":{\"a\":{\"type\":\"keyword\",\"ignore_above\":9}}}",
         "{\"properties\":{\"a\":{\"type\":\"long\"}}}",
         "{\"properties\":{\"a\":{\"type\":\"long\"}}}", true},
        {"{\"properties\":{\"s\":{\"type\":\"scaled_float\",\"scaling_factor\":100.0}}}",
         "{\"properties\":{\"s\":{\"type\":\"scaled_float\",\"scaling_factor\":100}}}", "", false},
        {"{\"dynamic_templates\":[{\"t\":{\"match\":\"a*\",\"mapping\":{\"type\":\"long\"}}}]}",
         "{\"dynamic_templates\":[{\"t\":{\"mapping\":{\"type\":\"long\"},\"match\":\"a*\"}}]}", "",
         false},
        {"{\"dynamic_templates\":[{\"t\":{\"match\":\"a*\"}},{\"u\":{}}]}",
         "{\"dynamic_templates\":[{\"t\":{\"match\":\"a*\"}}]}",
         "{\"dynamic_templates\":[{\"t\":{\"match\":\"a*\"}}]}", true},
        {"{\"properties\":{\"a\":{\"type\":\"text\",\"copy_to\":[\"b\"]}}}",
         "{\"properties\":{\"a\":{\"type\":\"text\",\"copy_to\":\"b\"}}}", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_tree t = tree_of(cases[i].has);
        struct buf out;
        struct err e;
        bool certain;
        buf_init(&out, 10000);
        assert_true(
            mapping_lacking(&(struct mapping_part){&t, 1}, cases[i].wants, &out, &certain, &e));
        assert_string_equal(buf_cstr(&out) ? buf_cstr(&out) : "", cases[i].put);
        assert_int_equal(certain, cases[i].certain);
        buf_free(&out);
        json_tree_free(&t);
    }
}

static void a_refusal_is_told_by_its_field(void **state)
{
    (void)state;
    static const char has[] =
        "{\"properties\":{\"a\":{\"type\":\"keyword\",\"ignore_above\":9},\"o\":{\"properties\":{"
        "\"t\":{"
        "\"type\":\"text\",\"analyzer\":\"en\"},\"u\":{\"type\":\"text\"}}}}}";
    static const char wants[] =
        "{\"properties\":{\"a\":{\"type\":\"keyword\",\"ignore_above\":10},\"o\":{\"properties\":{"
        "\"t\":{"
        "\"type\":\"text\",\"analyzer\":\"ru\"},\"u\":{\"type\":\"text\",\"analyzer\":\"en\"}}}}}";
    static const struct {
        const char *reason, *told;
    } cases[] = {
        {"Mapper for [o.t] conflicts with existing mapper: Cannot update parameter [analyzer] from "
         "[en] to "
         "[ru]",
         "field 'o.t' has analyzer 'en', the script wants 'ru'"},
        {"Mapper for [o.u] conflicts with existing mapper: Cannot update parameter [analyzer] from "
         "[default] "
         "to [en]",
         "field 'o.u' has no analyzer, the script wants 'en'"},
        {"who knows", ""}, /* no type differs */
    };
    struct json_tree t = tree_of(has);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char told[MAPPING_TEXT];
        struct err e;
        assert_true(
            mapping_difference(&(struct mapping_part){&t, 1}, wants, cases[i].reason, told, &e));
        assert_string_equal(told, cases[i].told);
    }
    json_tree_free(&t);
}

static void settings_that_are_fixed_are_compared(void **state)
{
    (void)state;
    static const char has[] =
        "{\"index.analysis.analyzer.a.filter\":[\"x\"],\"index.number_of_shards\":\"1\","
        "\"index.analysis.filter.f.min_gram\":\"2\",\"index.refresh_interval\":\"1s\"}";
    static const struct {
        const char *wants, *told;
    } cases[] = {
        {"{}", ""},
        {"{\"analysis\":{\"analyzer\":{\"a\":{\"filter\":\"x\",\"char_filter\":[]}}}}", ""},
        {"{\"index\":{\"analysis\":{\"filter\":{\"f\":{\"min_gram\":2}}},\"number_of_shards\":1}}",
         ""},
        {"{\"index.refresh_interval\":\"9s\",\"number_of_replicas\":3}", ""},
        {"{\"index.number_of_shards\":2}",
         "setting 'number_of_shards' is '1', the script wants '2'"},
        {"{\"index\":{\"analysis.filter\":{\"f\":{\"min_gram\":3}}}}",
         "setting 'analysis.filter.f.min_gram' is '2', the script wants '3'"},
        {"{\"analysis\":{\"filter\":{\"g\":{\"type\":\"t\"}}}}",
         "it has no setting 'analysis.filter.g.type', the script wants 't'"},
    };
    struct json_tree t = tree_of(has);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char told[MAPPING_TEXT];
        struct err e;
        assert_true(
            mapping_settings_difference(&(struct mapping_part){&t, 1}, cases[i].wants, told, &e));
        assert_string_equal(told, cases[i].told);
    }
    json_tree_free(&t);
}

static void a_setting_is_found_however_it_is_nested(void **state)
{
    (void)state;
    static const struct {
        const char *settings, *value;
    } cases[] = {
        {NULL, "null"},
        {"{}", "null"},
        {"{\"a\":{\"number_of_replicas\":1}}", "null"},
        {"{\"number_of_replicas\":1}", "1"},
        {"{\"x\":[1],\"index\":{\"number_of_replicas\":\"2\"}}", "\"2\""},
        {"{\"index.number_of_replicas\":3}", "3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct err e;
        buf_init(&out, 1000);
        assert_true(mapping_add_setting(&out, cases[i].settings, "number_of_replicas", &e));
        assert_string_equal(buf_cstr(&out), cases[i].value);
        buf_free(&out);
    }
}

static bool list_left(const char *from, const char *to, const char *script, char *out,
                      struct err *e)
{
    struct json_tree a = {0}, b = {0};
    bool ok = json_tree_read(&a, from, strlen(from), e) && json_tree_read(&b, to, strlen(to), e) &&
              settings_left(&(struct settings_left){{&a, 1}, {&b, 1}, script}, out, e);
    json_tree_free(&a);
    json_tree_free(&b);
    return ok;
}

static void settings_that_a_successor_lacks_are_listed(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *script, *left;
    } cases[] = {
        {"{}", "{}", NULL, ""},
        {"{\"index.uuid\":\"a\",\"index.version.created\":\"1\",\"index.blocks.write\":\"true\"}",
         "{\"index.uuid\":\"b\"}", NULL, ""},
        {"{\"index.number_of_replicas\":\"1\"}", "{\"index.number_of_replicas\":\"1\"}", NULL, ""},
        {"{\"index.number_of_replicas\":\"2\"}", "{\"index.number_of_replicas\":\"1\"}", NULL,
         "index.number_of_replicas"},
        {"{\"index.number_of_replicas\":\"2\"}", "{\"index.number_of_replicas\":\"1\"}",
         "{\"index\":{\"number_of_replicas\":1}}", ""},
        {"{\"index.number_of_replicas\":\"0\",\"index.auto_expand_replicas\":\"0-1\"}",
         "{\"index.number_of_replicas\":\"1\"}", "{}", "index.auto_expand_replicas"},
        {"{\"index.final_pipeline\":\"_none\",\"index.default_pipeline\":\"p\"}", "{}", "{}",
         "index.default_pipeline"},
        {"{\"index.analysis.filter.x.type\":\"stop\",\"index.analysis.filter.x.stopwords\":[\"a\"],"
         "\"index.refresh_interval\":\"1s\"}",
         "{}", "{\"refresh_interval\":\"2s\"}", "index.analysis.filter.x"},
        {"{\"index.analysis.filter.x.stopwords\":[\"a\"]}",
         "{\"index.analysis.filter.x.stopwords\":[\"a\"]}", NULL, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char left[INDEX_SETTINGS_LEFT];
        struct err e;
        assert_true(list_left(cases[i].from, cases[i].to, cases[i].script, left, &e));
        assert_string_equal(left, cases[i].left);
    }
}

static void a_list_of_settings_is_short(void **state)
{
    (void)state;
    char left[INDEX_SETTINGS_LEFT];
    struct buf from;
    struct err e;
    buf_init(&from, 1 << 20);
    for (int i = 0; i < 100; i++)
        buf_addf(&from, "%s\"index.setting_%02d\":1", i ? "," : "{", i);
    buf_adds(&from, "}");
    assert_true(list_left(buf_cstr(&from), "{}", NULL, left, &e));
    assert_non_null(strstr(left, "index.setting_00, index.setting_01, "));
    assert_non_null(strstr(left, " more"));
    buf_free(&from);
}

static bool add_meta(const char *has, const char *wants, bool whole, struct buf *out, struct err *e)
{
    struct json_tree t = {0};
    bool ok = !has || json_tree_read(&t, has, strlen(has), e);
    ok =
        ok && mapping_add_meta(out,
                               &(struct mapping_meta){
                                   {has ? &t : NULL, has ? 1 : 0}, wants, whole, "us", "{\"v\":2}"},
                               e);
    json_tree_free(&t);
    return ok;
}

static void the_note_leaves_all_else_alone(void **state)
{
    (void)state;
    static const struct {
        const char *has, *wants, *out;
        bool whole;
    } cases[] = {
        {NULL, NULL, "{\"_meta\":{\"us\":{\"v\":2}}}", true},
        {NULL, "{\"a\":1,\"_meta\":{\"x\":1,\"us\":0}}",
         "{\"a\":1,\"_meta\":{\"x\":1,\"us\":{\"v\":2}}}", true},
        {"{\"_meta\":{\"us\":{\"v\":1},\"x\":0,\"y\":[1]},\"b\":2}",
         "{\"a\":1,\"_meta\":{\"x\":1}}", "{\"_meta\":{\"y\":[1],\"x\":1,\"us\":{\"v\":2}}}",
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct err e;
        buf_init(&out, 1000);
        assert_true(add_meta(cases[i].has, cases[i].wants, cases[i].whole, &out, &e));
        assert_string_equal(buf_cstr(&out), cases[i].out);
        buf_free(&out);
    }
}

static bool everything(struct err *e)
{
    static const char has[] = "{\"properties\":{\"a\":{\"type\":\"long\"}}}";
    static const char wants[] = "{\"properties\":{\"a\":{\"type\":\"text\"},\"b\":{}}}";
    struct json_tree t;
    struct buf out;
    char told[MAPPING_TEXT];
    bool certain;
    buf_init(&out, 1000);
    bool ok = json_tree_read(&t, has, strlen(has), e) &&
              mapping_lacking(&(struct mapping_part){&t, 1}, wants, &out, &certain, e) &&
              mapping_difference(&(struct mapping_part){&t, 1}, wants, "[a]", told, e) &&
              mapping_settings_difference(&(struct mapping_part){&t, 1}, wants, told, e) &&
              mapping_add_setting(&out, wants, "x", e) && add_meta(has, wants, true, &out, e);
    buf_free(&out);
    json_tree_free(&t);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct err e = {0};
        allocations_left = n;
        done = everything(&e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_lacking_is_put),
        cmocka_unit_test(a_refusal_is_told_by_its_field),
        cmocka_unit_test(settings_that_are_fixed_are_compared),
        cmocka_unit_test(a_setting_is_found_however_it_is_nested),
        cmocka_unit_test(settings_that_a_successor_lacks_are_listed),
        cmocka_unit_test(a_list_of_settings_is_short),
        cmocka_unit_test(the_note_leaves_all_else_alone),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
