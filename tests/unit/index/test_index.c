/* An index is looked at, created and refreshed; what a server says of it is believed only where it
 * is clear.
 *
 * With ELASTICSEARCH_URL in the environment the last tests ask such a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "es/es.h"
#include "fake_http.h"
#include "index/index.h"
#include "index/index_alias.h"
#include "torture.h"

static struct fake_http fake;

static struct es_server server;
static struct es *es;

static void open_es(const char *url)
{
    struct err e;
    assert_true(es_server_init(&server, &(struct es_config){.url = url}, &e));
    es = es_open(&server, &e);
    assert_non_null(es);
}

static void close_es(void)
{
    es_close(es);
    es_server_free(&server);
}

/* ---- the fake server ---- */

static bool look_at(int status, const char *body, struct index_info *info, struct err *e)
{
    struct fake_step step = {.status = status, .body = body};
    fake_start(&fake, &step, 1);
    open_es(fake.url);
    *e = (struct err){0};
    bool ok = index_get_info(es, "movies", info, e);
    close_es();
    fake_stop(&fake);
    return ok;
}

static bool list_of(int status, const char *body, struct buf *out)
{
    struct fake_step step = {.status = status, .body = body};
    struct err e = {0};
    fake_start(&fake, &step, 1);
    open_es(fake.url);
    bool ok = index_list(es, "movies-*", out, &e);
    close_es();
    fake_stop(&fake);
    assert_int_equal(ok, !*e.text);
    return ok;
}

static void a_list_has_each_index_with_its_uuid(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body, *list; /* NULL: refused */
    } cases[] = {
        {200,
         "{\"movies-1\":{\"settings\":{\"index.uuid\":\"U\"}},"
         "\"movies-2\":{\"settings\":{\"index.uuid\":\"V\"}}}",
         "movies-1=U,movies-2=V,"},
        {200, "{}", ""},
        {404, "{\"error\":{\"type\":\"index_not_found_exception\"},\"status\":404}", ""},
        {404, "<html>", NULL},
        {403, "{\"error\":{\"type\":\"security_exception\"},\"status\":403}", NULL},
        {200, "{\"movies-1\":{\"settings\":{\"index.uuid\":\"U\"}}", NULL},
        {200, "{\"movies-1\":7}", NULL},
        {200, "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, 1 << 16);
        bool ok = list_of(cases[i].status, cases[i].body, &out);
        assert_int_equal(ok, cases[i].list != NULL);
        if (ok)
            assert_string_equal(buf_cstr(&out), cases[i].list);
        buf_free(&out);
    }
}

static void times_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"60s", 60000},   {"1h", 3600000},   {"1m", 60000},
                 {"1500ms", 1500}, {"2d", 172800000}, {"1.5h", 5400000},
                 {"0s", 0},        {"-1", 0},         {"60000000micros", 60000},
                 {"soon", -1},     {"", -1},          {"5 x", -1},
                 {"nan", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"movies-1\":{\"settings\":{\"index.uuid\":\"U\"},\"defaults\":{\"index.gc_"
                 "deletes\":\"%s\"}}}",
                 cases[i].text);
        struct index_info info;
        struct err e;
        bool ok = look_at(200, body, &info, &e);
        assert_int_equal(ok, cases[i].ms >= 0);
        assert_int_equal(info.exists, ok);
        if (ok)
            assert_int_equal(info.gc_deletes_ms, cases[i].ms);
        else
            assert_int_equal(e.kind, ERR_FINAL);
    }
}

static void answers_to_a_look_are_told_apart(void **state)
{
    (void)state;
    struct index_info info;
    struct err e;
    assert_true(look_at(404, "{}", &info, &e));
    assert_false(info.exists);
    assert_true(look_at(200, "{}", &info, &e));
    assert_false(info.exists);
    assert_false(look_at(404, "<title>Gone fishing</title>", &info, &e)); /* a gateway's word */
    assert_int_equal(e.kind, ERR_PASSING);
    assert_non_null(strstr(e.text, "404, no content type: 'Gone fishing'"));
    assert_false(look_at(503, "", &info, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_false(look_at(403, "", &info, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_false(look_at(200, "", &info, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_false(look_at(
        200, "{\"a\":{\"settings\":{\"index.uuid\":\"U\",\"index.gc_deletes\":\"1h\"}},\"b\":{}}",
        &info, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(
        e.text, "cannot write to 'movies': it is an alias of several indexes, none of which is "
                "its write index");
}

static void a_cut_answer_to_a_look_is_passing(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"m\":{\"settings\":{\"index.uuid\":\"U\",\"index.gc_deletes\":\"1h\"},\"x\":[1]}}";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char cut[sizeof whole];
        snprintf(cut, sizeof cut, "%.*s", (int)n, whole);
        struct index_info info;
        struct err e;
        assert_false(look_at(200, cut, &info, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        assert_false(info.exists);
    }
}

static bool create_at(int status, const char *body, const char *settings, const char *mappings,
                      struct err *e)
{
    struct fake_step step = {.status = status, .body = body};
    fake_start(&fake, &step, 1);
    open_es(fake.url);
    *e = (struct err){0};
    bool ok = index_create(es, "movies", settings, mappings, e);
    close_es();
    fake_stop(&fake);
    return ok;
}

static void gc_deletes_is_added_unless_it_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *settings, *sent;
    } cases[] = {
        {NULL, "{\"index.gc_deletes\":\"1h\"}"},
        {"{}", "{\"index.gc_deletes\":\"1h\"}"},
        {" { } ", "{\"index.gc_deletes\":\"1h\"}"},
        {"{\"a\":{\"gc_deletes\":1}}", "{\"index.gc_deletes\":\"1h\",\"a\":{\"gc_deletes\":1}}"},
        {"{\"index\":{\"x\":[{}]},\"y\":1}",
         "{\"index.gc_deletes\":\"1h\",\"index\":{\"x\":[{}]},\"y\":1}"},
        {"{\"index\":{}}", "{\"index.gc_deletes\":\"1h\",\"index\":{}}"},
        {"{\"gc_deletes\":\"2h\"}", "{\"gc_deletes\":\"2h\"}"},
        {"{\"index.gc_deletes\":\"2h\"}", "{\"index.gc_deletes\":\"2h\"}"},
        {"{\"b\":1,\"index\":{\"x\":{},\"gc_deletes\":\"2h\"}}",
         "{\"b\":1,\"index\":{\"x\":{},\"gc_deletes\":\"2h\"}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        char want[300];
        assert_true(create_at(200, "{\"acknowledged\":true}", cases[i].settings, NULL, &e));
        snprintf(want, sizeof want, "{\"settings\":%s}", cases[i].sent);
        fake_look(&fake);
        assert_string_equal(fake.body, want);
        assert_memory_equal(fake.head, "PUT /movies HTTP", 16);
    }
    struct err e;
    assert_true(create_at(200, "{\"acknowledged\":true}", NULL, "{\"m\":1}", &e));
    fake_look(&fake);
    assert_string_equal(fake.body,
                        "{\"settings\":{\"index.gc_deletes\":\"1h\"},\"mappings\":{\"m\":1}}");
    assert_false(create_at(200, "{}", "[]", NULL, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    assert_false(create_at(200, "{}", "{\"a\":", NULL, &e));
    assert_int_equal(e.kind, ERR_USAGE);
}

static void answers_to_a_creation_are_told_apart(void **state)
{
    (void)state;
    struct err e;
    assert_true(create_at(
        400, "{\"error\":{\"type\":\"resource_already_exists_exception\",\"reason\":\"r\"}}", NULL,
        NULL, &e));
    assert_false(create_at(400,
                           "{\"error\":{\"type\":\"mapper_parsing_exception\",\"reason\":\"r\"}}",
                           NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_int_equal(e.fault, ERR_FAULT_REQUEST);
    assert_string_equal(e.text, "cannot create index 'movies': the search server answered 400: "
                                "mapper_parsing_exception: r");
    assert_false(create_at(400,
                           "{\"error\":{\"type\":\"validation_exception\",\"reason\":\"shards\"}}",
                           NULL, NULL, &e));
    assert_true(e.kind == ERR_FINAL && e.fault == ERR_FAULT_UNKNOWN);
    assert_false(create_at(200, "{\"acknowledged\":false}", NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_false(create_at(503, "", NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_PASSING);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct fake_step step = {.status = 200,
                             .body = "{\"m\":{\"settings\":{\"index.uuid\":\"\\u0055\",\"index.gc_"
                                     "deletes\":\"1\\u0068\"}}}"};
    fake_start(&fake, &step, 1);
    open_es(fake.url);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct index_info info;
        struct err e = {0};
        allocations_left = n;
        done = index_create(es, "movies", "{\"index\":{\"\\u0061\":1}}", "{}", &e) &&
               index_get_info(es, "movies", &info, &e) && index_refresh(es, "movies", &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL || e.kind == ERR_PASSING || e.kind == ERR_USAGE);
    }
    close_es();
    fake_stop(&fake);
}

/* ---- a real one ---- */

static const char *real;
#define NAME "etl-engine-test-index"

static int call(const char *method, const char *path, const char *text)
{
    struct err e;
    struct es_answer a = {0};
    assert_true(es_request(
        es,
        &(struct es_call){
            .method = method, .path = path, .body = text, .len = text ? strlen(text) : 0},
        &a, &e));
    int status = a.status;
    es_answer_free(&a);
    return status;
}

static int connect_real(void **state)
{
    (void)state;
    if (!real)
        return 0;
    open_es(real);
    call("DELETE", "/" NAME, NULL);
    call("DELETE", "/" NAME "-2", NULL);
    return 0;
}

static int leave_real(void **state)
{
    (void)state;
    if (!real)
        return 0;
    call("DELETE", "/" NAME, NULL);
    call("DELETE", "/" NAME "-2", NULL);
    close_es();
    return 0;
}

static void server_creates_and_shows_an_index(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct index_info info, again;
    struct err e = {0};
    assert_true(index_get_info(es, NAME, &info, &e));
    assert_false(info.exists);
    static const char settings[] = "{\"number_of_shards\":1,\"index\":{\"number_of_replicas\":0}}";
    static const char mappings[] =
        "{\"dynamic\":\"strict\",\"properties\":{\"n\":{\"type\":\"integer\"}}}";
    assert_true(index_create(es, NAME, settings, mappings, &e));
    assert_true(index_create(es, NAME, settings, mappings, &e)); /* somebody was faster */
    assert_true(index_get_info(es, NAME, &info, &e));
    assert_true(info.exists);
    assert_int_equal(info.gc_deletes_ms, 3600000);
    assert_true(strlen(info.uuid) >= 20);
    assert_true(index_refresh(es, NAME, &e));
    call("DELETE", "/" NAME, NULL);
    assert_true(index_create(es, NAME, "{\"index\":{\"gc_deletes\":\"90s\"}}", NULL, &e));
    assert_true(index_get_info(es, NAME, &again, &e));
    assert_int_equal(again.gc_deletes_ms, 90000);
    assert_string_not_equal(info.uuid, again.uuid);
    call("DELETE", "/" NAME, NULL);
    assert_int_equal(call("PUT", "/" NAME, NULL), 200);
    assert_true(index_get_info(es, NAME, &again, &e));
    assert_int_equal(again.gc_deletes_ms, 60000); /* the server's default */
}

static void server_knows_aliases(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct index_info info, alias;
    struct err e = {0};
    assert_true(index_create(es, NAME, NULL, NULL, &e));
    assert_true(index_create(es, NAME "-2", NULL, NULL, &e));
    assert_int_equal(call("PUT", "/" NAME "/_alias/" NAME "-alias", NULL), 200);
    assert_true(index_get_info(es, NAME, &info, &e));
    assert_true(index_get_info(es, NAME "-alias", &alias, &e));
    assert_string_equal(info.uuid, alias.uuid);
    assert_int_equal(call("PUT", "/" NAME "-2/_alias/" NAME "-alias", NULL), 200);
    assert_false(index_get_info(es, NAME "-alias", &alias, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "it is an alias of several indexes"));
    assert_int_equal(call("PUT", "/" NAME "-2/_alias/" NAME "-alias", "{\"is_write_index\":true}"),
                     200);
    assert_true(index_get_info(es, NAME "-alias", &alias, &e));
    assert_true(alias.exists && alias.several);
    assert_string_equal(alias.name, NAME "-2");
}

static void server_says_what_is_wrong_with_a_mapping(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct err e = {0};
    assert_false(
        index_create(es, NAME, NULL, "{\"properties\":{\"n\":{\"type\":\"no_such_type\"}}}", &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "no_such_type"));
    assert_false(index_create(es, NAME, "{\"no_such_setting\":1}", NULL, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "no_such_setting"));
    assert_false(index_create(es, "Not A Name", NULL, NULL, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_false(index_refresh(es, NAME, &e));
    assert_int_equal(e.kind, ERR_FINAL);
}

/* ---- whether it fits the script ---- */

static struct index_meta note(void)
{
    return (struct index_meta){.known = true,
                               .pipeline = "films \"of\" ours",
                               .fingerprint = "0123456789abcdef",
                               .version = 1764000000000001,
                               .predecessors = {"A", "B"},
                               .n_predecessors = 2};
}

static void server_keeps_the_note(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct index_meta m = note(), found;
    struct err e = {0};
    struct buf mappings;
    buf_init(&mappings, 1000);
    assert_true(index_add_meta(&mappings, "{\"_meta\":{\"theirs\":1}}", &m, &e));
    assert_true(index_create(es, NAME, NULL, buf_cstr(&mappings), &e));
    buf_free(&mappings);
    assert_true(index_read_meta(es, NAME, &found, &e));
    assert_memory_equal(&m, &found, sizeof m);
    m.version++;
    m.n_predecessors = 1;
    memset(m.predecessors[1], 0, INDEX_UUID);
    assert_true(index_write_meta(es, NAME, NULL, &m, &e));
    assert_true(index_read_meta(es, NAME, &found, &e));
    assert_memory_equal(&m, &found, sizeof m);
    assert_int_equal(
        call("PUT", "/" NAME "/_mapping", "{\"_meta\":{\"etl_engine\":{\"format\":\"x\"}}}"), 200);
    assert_true(index_read_meta(es, NAME, &found, &e));
    assert_false(found.known);
    assert_int_equal(
        call("PUT", "/" NAME "/_mapping",
             "{\"_meta\":{\"etl_engine\":{\"format\":1,\"version\":9223372036854775807}}}"),
        200);
    assert_true(index_read_meta(es, NAME, &found, &e));
    assert_false(found.known || found.version != 0);
    assert_int_equal(call("PUT", "/" NAME "/_mapping",
                          "{\"_meta\":{\"etl_engine\":{\"format\":2,\"version\":1}}}"),
                     200);
    assert_false(index_read_meta(es, NAME, &found, &e));
    assert_non_null(strstr(e.text, "a newer version"));
}

static void server_adds_what_a_mapping_lacks_and_refuses_the_rest(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct index_fit fit;
    struct err e = {0};
    assert_true(index_create(es, NAME, NULL, "{\"properties\":{\"n\":{\"type\":\"long\"}}}", &e));
    assert_true(
        index_fit(es, NAME, NULL, "{\"properties\":{\"n\":{\"type\":\"long\"}}}", &fit, &e));
    assert_false(fit.added);
    assert_true(
        index_fit(es, NAME, "{}", "{\"properties\":{\"m\":{\"type\":\"long\"}}}", &fit, &e));
    assert_true(fit.added);
    assert_false(
        index_fit(es, NAME, NULL, "{\"properties\":{\"m\":{\"type\":\"text\"}}}", &fit, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    assert_string_equal(e.text,
                        "index '" NAME
                        "' does not fit: field 'm' has type 'long', the script wants 'text'");
    assert_false(fit.of_settings);
    /* Of an index that somebody else has made, settings are only told. */
    assert_true(index_fit(es, NAME, "{\"number_of_shards\":3}", NULL, &fit, &e));
    assert_non_null(strstr(fit.lacks, "number_of_shards"));
    struct index_meta m = note();
    assert_true(index_write_meta(es, NAME, NULL, &m, &e));
    assert_false(index_fit(es, NAME, "{\"number_of_shards\":3}", NULL, &fit, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    assert_true(fit.of_settings);
}

/* ---- in place of another ---- */

static bool remember(const char *index, void *arg, struct err *e)
{
    (void)e;
    strncat(arg, index + strlen(NAME), 20);
    return true;
}

static void server_swaps_an_alias(void **state)
{
    (void)state;
    if (!real)
        skip();
    static const char old[] = NAME "-20260101-000000", fresh[] = NAME "-20260101-000001";
    struct index_info info;
    struct err e = {0};
    char names[100] = "";
    call("DELETE", "/" NAME "-20260101-000000", NULL);
    call("DELETE", "/" NAME "-20260101-000001", NULL);
    assert_true(index_create(es, NAME, NULL, NULL, &e));
    assert_true(index_create(es, old, NULL, NULL, &e));
    assert_true(index_set_loading(es, old, true, NULL, &e));
    assert_true(index_swap(es, NAME, NAME, old, &e)); /* an index becomes an alias */
    assert_true(index_get_info(es, NAME, &info, &e));
    assert_string_equal(info.name, old);
    assert_true(index_swap(es, NAME, NAME, old, &e)); /* it came through, but its answer was lost */
    assert_true(index_create(es, fresh, NULL, NULL, &e));
    assert_true(index_create(es, NAME "-2", NULL, NULL, &e));
    assert_true(index_each_old(es, NAME, remember, names, &e));
    assert_string_equal(names, "-20260101-000001");
    assert_true(index_swap(es, NAME, old, fresh, &e));
    assert_true(index_get_info(es, NAME, &info, &e));
    assert_string_equal(info.name, fresh);
    assert_true(index_set_loading(es, fresh, false, "{\"refresh_interval\":\"3s\"}", &e));
    names[0] = '\0';
    assert_true(index_each_old(es, NAME, remember, names, &e));
    assert_string_equal(names, "-20260101-000000");
    assert_true(index_delete(es, old, &e));
    assert_true(index_delete(es, old, &e));
    assert_true(index_delete(es, fresh, &e));
}

static bool fit_and_swap(struct err *e)
{
    struct index_meta m = note();
    struct index_fit fit;
    char names[100] = "";
    struct buf out;
    buf_init(&out, 1000);
    bool ok = index_add_meta(&out, NULL, &m, e) &&
              index_fit(es, "m", "{\"a\":1}", "{\"properties\":{\"a\":{}}}", &fit, e) &&
              index_write_meta(es, "m", NULL, &m, e) && index_set_loading(es, "m", true, NULL, e) &&
              index_swap(es, NAME, "m", "n", e) && index_each_old(es, NAME, remember, names, e);
    buf_free(&out);
    return ok;
}

static void every_allocation_of_the_rest_may_fail(void **state)
{
    (void)state;
    struct fake_step step = {.status = 200,
                             .body = "{\"m\":{\"aliases\":{\"" NAME
                                     "\":{\"a\":1}},\"mappings\":{},\"settings\":{}}}"};
    fake_start(&fake, &step, 1);
    open_es(fake.url);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct err e = {0};
        allocations_left = n;
        done = fit_and_swap(&e);
        allocations_left = -1;
        assert_true(done || e.kind != ERR_NONE);
    }
    close_es();
    fake_stop(&fake);
}

static void damaged_answers_are_passing(void **state)
{
    (void)state;
    static const char *const bodies[] = {"", "{}", "{\"m\":{}}", "{\"m\":{\"mappings\":{}", "[]"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct fake_step step = {.status = 200, .body = bodies[i]};
        struct index_meta m;
        struct err e = {0};
        fake_start(&fake, &step, 1);
        open_es(fake.url);
        assert_false(index_read_meta(es, "m", &m, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        close_es();
        fake_stop(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_each_index_with_its_uuid),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(answers_to_a_look_are_told_apart),
        cmocka_unit_test(a_cut_answer_to_a_look_is_passing),
        cmocka_unit_test(gc_deletes_is_added_unless_it_is_named),
        cmocka_unit_test(answers_to_a_creation_are_told_apart),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_the_rest_may_fail),
        cmocka_unit_test(damaged_answers_are_passing),
        cmocka_unit_test_setup_teardown(server_creates_and_shows_an_index, connect_real,
                                        leave_real),
        cmocka_unit_test_setup_teardown(server_knows_aliases, connect_real, leave_real),
        cmocka_unit_test_setup_teardown(server_keeps_the_note, connect_real, leave_real),
        cmocka_unit_test_setup_teardown(server_adds_what_a_mapping_lacks_and_refuses_the_rest,
                                        connect_real, leave_real),
        cmocka_unit_test_setup_teardown(server_swaps_an_alias, connect_real, leave_real),
        cmocka_unit_test_setup_teardown(server_says_what_is_wrong_with_a_mapping, connect_real,
                                        leave_real),
    };
    signal(SIGPIPE, SIG_IGN); /* as stop_init does */
    real = getenv("ELASTICSEARCH_URL");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
