/* A document that comes back otherwise than it was sent is noticed, and nothing else is taken for
 * one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "es/es.h"
#include "fake_http.h"
#include "index/bulk.h"
#include "index/echo.h"
#include "index/index.h"
#include "torture.h"

static struct fake_http fake;
static struct es_server server;
static struct es *es;

static void begin(const struct fake_step *steps, size_t n)
{
    struct err e;
    fake_start(&fake, steps, n);
    assert_true(es_server_init(&server, &(struct es_config){.url = fake.url}, &e));
    es = es_open(&server, &e);
    assert_non_null(es);
}

static void end(void)
{
    es_close(es);
    es_server_free(&server);
    fake_stop(&fake);
}

static void add(struct bulk *b, const char *key, const char *document)
{
    struct err e;
    if (!document) {
        assert_true(bulk_delete(b, key, 7, &e));
        return;
    }
    bulk_begin(b, key, 7);
    buf_adds(bulk_body(b), document);
    assert_true(bulk_commit(b, &e));
}

/* What is known once {"a":1,"b":2} of key k, version 7, was answered by that. */
static void hear(struct echo *echo, const char *answer)
{
    struct fake_step steps[] = {{.status = 200, .body = answer}, {.status = 503, .body = ""}};
    struct err e;
    struct bulk *b = bulk_new(1 << 20, &e);
    struct echo_sample s;
    add(b, "k", "{\"a\":1,\"b\":2}");
    echo_sample_take(&s, b);
    bulk_free(b);
    begin(steps, 2);
    assert_true(echo_check(echo, &s, es, "movies", &e));
    echo_sample_free(&s);
    end();
}

static void only_another_document_of_the_very_version_is_another_one(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        bool heard, told;
    } cases[] = {
        {"{\"docs\":[{\"_id\":\"k\",\"found\":true,\"_version\":7,\"_source\":{\"a\":1,\"b\":2}}]}",
         true, false},
        {"{\"docs\":[{\"_id\":\"k\",\"found\":true,\"_version\":7,\"_source\":{\"b\":2,\"a\":1}}]}",
         false, true},
        {"{\"docs\":[{\"_id\":\"k\",\"found\":true,\"_version\":7,\"_source\":{}}]}", false, true},
        {"{\"docs\":[{\"_id\":\"k\",\"found\":true,\"_version\":7}]}", false, true},
        {"{\"docs\":[{\"_id\":\"k\",\"found\":true,\"_version\":8,\"_source\":{}}]}", false, false},
        {"{\"docs\":[{\"_id\":\"k\",\"found\":false}]}", false, false},
        {"{\"docs\":[{\"_id\":\"k\",\"error\":{\"type\":\"x\",\"reason\":\"y\"}}]}", false, false},
        {"{\"docs\":[", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct echo echo = {0};
        hear(&echo, cases[i].answer);
        assert_int_equal(atomic_load(&echo.confirmed), cases[i].heard);
        assert_int_equal(atomic_load(&echo.warned), cases[i].told);
    }
}

static void the_last_document_of_a_key_of_its_own_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *pairs[4][2], *key;
    } cases[] = {
        {{{"a", "{}"}, {"b", "{\"n\":1}"}, {"c", NULL}}, "b"},
        /* the other one may be written last */
        {{{"a", "{}"}, {"b", "{\"n\":1}"}, {"b", "{\"n\":2}"}}, NULL},
        {{{"c", NULL}}, NULL},
        {{{0}}, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        struct bulk *b = bulk_new(1 << 20, &e);
        struct echo_sample s;
        for (size_t k = 0; cases[i].pairs[k][0]; k++)
            add(b, cases[i].pairs[k][0], cases[i].pairs[k][1]);
        echo_sample_take(&s, b);
        assert_int_equal(s.key != NULL, cases[i].key != NULL);
        if (s.key) {
            assert_string_equal(s.key, cases[i].key);
            assert_int_equal(s.len, 7);
            assert_memory_equal(s.document, "{\"n\":1}", 7);
        }
        echo_sample_free(&s);
        bulk_free(b);
    }
}

static void why_is_read_from_mapping_and_settings(void **state)
{
    (void)state;
    static const struct {
        const char *mappings, *settings, *why, *remedy;
    } cases[] = {
        {"{\"_source\":{\"includes\":[\"a\"]}}", "{}",
         "its mapping has _source {\"includes\":[\"a\"]}", "reindex"},
        {"{}", "{\"index.derived_source.enabled\":\"true\"}",
         "its setting index.derived_source.enabled is 'true'", "reindex"},
        {"{}", "{\"index.mapping.source.mode\":\"synthetic\"}",
         "its setting index.mapping.source.mode is 'synthetic'", "reindex"},
        {"{}", "{\"index.default_pipeline\":\"p\"}", "its setting index.default_pipeline is 'p'",
         "pipeline does"},
        {"{}", "{\"index.default_pipeline\":\"_none\",\"index.final_pipeline\":\"q\"}",
         "its setting index.final_pipeline is 'q'", "pipeline does"},
        {"{}", "{\"index.derived_source.enabled\":\"false\",\"index.mode\":\"standard\"}",
         "an ingest pipeline or the server changes them", "document()"},
        {"[", "", "an ingest pipeline or the server changes them", "document()"}, /* damaged */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[300];
        struct index_other o;
        snprintf(body, sizeof body, "{\"m-1\":{\"aliases\":{},\"mappings\":%s,\"settings\":%s}}",
                 cases[i].mappings, cases[i].settings);
        struct fake_step step = {.status = 200, .body = body};
        begin(&step, 1);
        index_why_other(es, "m", &o);
        end();
        assert_true(strncmp(o.why, cases[i].why, strlen(cases[i].why)) == 0);
        assert_non_null(strstr(o.remedy, cases[i].remedy));
    }
}

static void without_memory_there_is_no_sample_or_a_whole_one(void **state)
{
    (void)state;
    struct err e;
    struct bulk *b = bulk_new(1 << 20, &e);
    add(b, "k", "{}");
    bool done = false;
    for (int n = 0; !done; n++) {
        struct echo_sample s;
        allocations_left = n;
        echo_sample_take(&s, b);
        allocations_left = -1;
        done = s.key != NULL;
        assert_int_equal(done, s.document != NULL);
        echo_sample_free(&s);
    }
    bulk_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_another_document_of_the_very_version_is_another_one),
        cmocka_unit_test(the_last_document_of_a_key_of_its_own_is_taken),
        cmocka_unit_test(why_is_read_from_mapping_and_settings),
        cmocka_unit_test(without_memory_there_is_no_sample_or_a_whole_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
