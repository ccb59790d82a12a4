/* What an index holds is believed only from answers that are whole: nothing is visited out of a
 * damaged one, and a walk that came out short is an error.
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
#include "torture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

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

static void begin(const struct fake_step *steps, size_t n)
{
    fake_start(&fake, steps, n);
    open_es(fake.url);
}

static void end(void)
{
    close_es();
    fake_stop(&fake);
}

/* ---- counting ---- */

static bool count_at(int status, const char *body, int64_t *count, struct err *e)
{
    struct fake_step step = {.status = status, .body = body};
    begin(&step, 1);
    *count = -1;
    *e = (struct err){0};
    bool ok = index_count(es, "movies", count, e);
    end();
    return ok;
}

#define SOUND "\"_shards\":{\"total\":2,\"successful\":2,\"skipped\":0,\"failed\":0}"

static void only_a_whole_count_is_believed(void **state)
{
    (void)state;
    static const char whole[] = "{\"count\":12," SOUND "}";
    static const struct {
        int status;
        const char *body;
        enum err_kind kind;
    } cases[] = {
        {200, "{\"count\":12}", ERR_PASSING},
        {200, "{" SOUND "}", ERR_PASSING},
        {200, "{\"count\":-1," SOUND "}", ERR_PASSING},
        {200, "{\"count\":1.5," SOUND "}", ERR_PASSING},
        {200, "{\"count\":1,\"count\":2," SOUND "}", ERR_PASSING},
        {200, "{\"count\":1," SOUND "}}", ERR_PASSING},
        {200, "{\"count\":1,\"_shards\":{\"total\":2,\"successful\":1,\"failed\":0}}", ERR_PASSING},
        {200, "{\"count\":1,\"_shards\":{\"total\":2,\"successful\":2,\"failed\":1}}", ERR_PASSING},
        {200, "{\"count\":1,\"_shards\":{\"total\":2,\"successful\":2}}", ERR_PASSING},
        {500, "", ERR_PASSING},
        {503, "", ERR_PASSING},
        {404, "", ERR_FINAL},
        {403, "", ERR_FINAL},
    };
    int64_t count;
    struct err e;
    assert_true(count_at(200, whole, &count, &e));
    assert_int_equal(count, 12);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_false(count_at(cases[i].status, cases[i].body, &count, &e));
        assert_int_equal(e.kind, cases[i].kind);
        assert_int_equal(count, -1);
    }
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char cut[sizeof whole];
        snprintf(cut, sizeof cut, "%.*s", (int)n, whole);
        assert_false(count_at(200, cut, &count, &e));
        assert_int_equal(e.kind, ERR_PASSING);
    }
}

static void a_shard_that_failed_is_told_with_its_reason(void **state)
{
    (void)state;
    int64_t count;
    struct err e;
    assert_false(count_at(
        200,
        "{\"count\":1,\"_shards\":{\"total\":3,\"successful\":1,\"failed\":2,\"failures\":["
        "{\"shard\":0,\"reason\":{\"type\":\"t\",\"reason\":\"r\"}},{\"reason\":{}}]}}",
        &count, &e));
    assert_string_equal(e.text, "count of index 'movies': 2 of 3 shards did not answer: t: r");
}

static void a_refresh_that_failed_on_a_shard_is_passing(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool ok;
    } cases[] = {
        /* a replica without a node */
        {"{\"_shards\":{\"total\":2,\"successful\":1,\"failed\":0}}", true},
        {"{\"_shards\":{\"total\":2,\"successful\":1,\"failed\":1,\"failures\":[{\"reason\":\"r\"}]"
         "}}",
         false},
        {"{\"_shards\":{\"total\":2", false},
        {"{\"_shards\":[]}", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fake_step step = {.status = 200, .body = cases[i].body};
        struct err e = {0};
        begin(&step, 1);
        assert_int_equal(index_refresh(es, "movies", &e), cases[i].ok);
        assert_int_equal(e.kind, cases[i].ok ? ERR_NONE : ERR_PASSING);
        end();
    }
}

/* ---- documents by key ---- */

struct seen {
    size_t n, refuse_at;
    char text[4000];
};

/* Writes "KEY@VERSION=SOURCE " or "KEY- ". */
static bool see(const struct index_document *d, void *arg, struct err *e)
{
    struct seen *s = arg;
    if (++s->n == s->refuse_at)
        return err_set(e, ERR_STOPPED, "enough");
    size_t len = strlen(s->text);
    if (!d->found)
        snprintf(s->text + len, sizeof s->text - len, "%s- ", d->key);
    else
        snprintf(s->text + len, sizeof s->text - len, "%s@%lld=%.*s ", d->key,
                 (long long)d->version, (int)d->source_len, d->source ? d->source : "");
    if (!d->found || !d->source) {
        assert_null(d->source);
        assert_int_equal(d->source_len, 0);
    }
    return true;
}

static const char *const two[] = {"a", "b\"\xC3\xA9"};

static bool get_at(int status, const char *body, bool with_source, struct seen *seen, struct err *e)
{
    struct fake_step step = {.status = status, .body = body};
    begin(&step, 1);
    *e = (struct err){0};
    seen->n = 0;
    seen->text[0] = '\0';
    bool ok = index_get_documents(
        es, "mo/vies",
        &(struct index_lookup){
            .keys = two, .n = 2, .with_source = with_source, .visit = see, .arg = seen},
        e);
    fake_look(&fake);
    end();
    return ok;
}

#define A "{\"_id\":\"a\",\"_version\":5,\"found\":true,\"_source\":{}}"
#define B "{\"_id\":\"b\\\"\\u00e9\",\"found\":false}"

static void documents_come_in_order_and_byte_for_byte(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct err e;
    assert_true(get_at(200,
                       "{\"x\":[],\"docs\":[{\"_index\":\"m\",\"_source\" : { "
                       "\"n\":1.10,\"t\":\"}\\u00e9\\/\",\"o\":[{}] } "
                       ",\"_version\":9007199254740993,\"found\":true,\"_id\":\"a\"}, " B " ]}",
                       true, &seen, &e));
    assert_string_equal(
        seen.text,
        "a@9007199254740993={ \"n\":1.10,\"t\":\"}\\u00e9\\/\",\"o\":[{}] } b\"\xC3\xA9- ");
    assert_memory_equal(fake.head, "POST /mo%2Fvies/_mget?_source=true HTTP", 39);
    assert_string_equal(fake.body, "{\"ids\":[\"a\",\"b\\\"\xC3\xA9\"]}");
    assert_true(get_at(200, "{\"docs\":[" A "," B "]}", false, &seen, &e));
    assert_string_equal(seen.text, "a@5= b\"\xC3\xA9- ");
    assert_non_null(strstr(fake.head, "?_source=false&filter_path="));
}

static void nothing_of_a_damaged_answer_is_visited(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{\"docs\":[" B "," A "]}",
        "{\"docs\":[" A "]}",
        "{\"docs\":[]}",
        "{}",
        "[]",
        "{\"docs\":[" A "," B "," B "]}",
        "{\"docs\":[" A "," B "],\"docs\":[" A "," B "]}",
        "{\"docs\":[" A "," B "]} x",
        "{\"docs\":[" A ",null]}",
        "{\"docs\":[" A ",{\"_id\":\"b\",\"found\":false}]}",
        "{\"docs\":[" A ",{\"_id\":\"b\\\"\\u00e9\\u0000\",\"found\":false}]}",
        "{\"docs\":[" A ",{\"found\":false}]}",
        "{\"docs\":[" A ",{\"_id\":\"b\\\"\\u00e9\"}]}",
        "{\"docs\":[" A ",{\"_id\":\"b\\\"\\u00e9\",\"found\":null}]}",
        "{\"docs\":[" A ",{\"_id\":\"b\\\"\\u00e9\",\"found\":false,\"error\":{}}]}",
        "{\"docs\":[" A ",{\"_id\":\"b\\\"\\u00e9\",\"found\":true,\"_source\":{}}]}",
        "{\"docs\":[" A
        ",{\"_id\":\"b\\\"\\u00e9\",\"found\":true,\"_version\":1.5,\"_source\":{}}]}",
        "{\"docs\":[" A
        ",{\"_id\":\"b\\\"\\u00e9\",\"found\":true,\"_version\":1,\"_source\":[]}]}",
        "{\"docs\":[" A
        ",{\"_id\":\"b\\\"\\u00e9\",\"found\":true,\"_version\":1,\"_source\":{},\"_source\":{}}]}",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct seen seen = {0};
        struct err e;
        assert_false(get_at(200, cases[i], true, &seen, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        assert_int_equal(seen.n, 0);
    }
    static const char whole[] = "{\"docs\":[" A "," B "]}";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char cut[sizeof whole];
        struct seen seen = {0};
        struct err e;
        snprintf(cut, sizeof cut, "%.*s", (int)n, whole);
        assert_false(get_at(200, cut, true, &seen, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        assert_int_equal(seen.n, 0);
    }
}

static void a_document_s_error_is_passing_unless_it_would_stay(void **state)
{
    (void)state;
    static const struct {
        const char *type, *reason;
        enum err_kind kind;
    } cases[] = {
        {"no_shard_available_action_exception", "r", ERR_PASSING},
        {"node_disconnected_exception", "r", ERR_PASSING},
        {"circuit_breaking_exception", "r", ERR_PASSING},
        {"cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered];",
         ERR_PASSING},
        {"cluster_block_exception", "blocked by: [FORBIDDEN/7/index read (api)];", ERR_PASSING},
        {"cluster_block_exception", "blocked by: [FORBIDDEN/12/index read-only];", ERR_PASSING},
        {"index_not_found_exception", "r", ERR_FINAL},
        {"index_closed_exception", "r", ERR_PASSING},
        {"illegal_argument_exception", "alias [x] has more than one index", ERR_FINAL},
        {"security_exception", "r", ERR_FINAL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[500];
        struct seen seen = {0};
        struct err e;
        snprintf(body, sizeof body,
                 "{\"docs\":[" A ",{\"_id\":\"b\\\"\\u00e9\",\"error\":{\"root_cause\":[{}],"
                 "\"type\":\"%s\",\"reason\":\"%s\"}}]}",
                 cases[i].type, cases[i].reason);
        assert_false(get_at(200, body, true, &seen, &e));
        assert_int_equal(e.kind, cases[i].kind);
        assert_int_equal(seen.n, 0);
        assert_non_null(strstr(e.text, cases[i].type));
    }
    struct seen seen = {0};
    struct err e;
    assert_false(get_at(200,
                        "{\"docs\":[{\"_id\":\"a\",\"error\":{\"type\":\"passes\"}},"
                        "{\"_id\":\"b\\\"\\u00e9\",\"error\":{\"type\":\"security_exception\"}}]}",
                        true, &seen, &e));
    assert_int_equal(e.kind, ERR_FINAL); /* the worst of them */
    assert_string_equal(e.text, "documents of index 'mo/vies': cannot read document 'b\"\xC3\xA9': "
                                "security_exception");
    for (int status = 400; status <= 504; status++) {
        bool passing = status == 429 || status >= 500;
        if (status > 404 && status < 429)
            continue;
        assert_false(get_at(status, "{}", true, &seen, &e));
        assert_int_equal(e.kind, passing ? ERR_PASSING : ERR_FINAL);
    }
}

static void an_index_without_source_has_none_for_the_visitor(void **state)
{
    (void)state;
    static const char body[] = "{\"docs\":[{\"_id\":\"a\",\"_version\":1,\"found\":true}," B "]}";
    struct seen seen = {0};
    struct err e;
    assert_true(get_at(200, body, true, &seen, &e));
    assert_true(strncmp(seen.text, "a@1= ", 5) == 0);
    assert_true(get_at(200, body, false, &seen, &e));
    assert_int_equal(seen.n, 2);
}

static void the_visitor_may_end_the_call(void **state)
{
    (void)state;
    struct seen seen = {.refuse_at = 2};
    struct err e;
    assert_false(get_at(200, "{\"docs\":[" A "," B "]}", true, &seen, &e));
    assert_int_equal(e.kind, ERR_STOPPED);
    assert_string_equal(e.text, "enough");
    assert_int_equal(seen.n, 2);
}

static void keys_that_no_document_can_have(void **state)
{
    (void)state;
    static const char *const empty[] = {""}, *const bad[] = {"\xFF"};
    struct fake_step step = {.status = 200,
                             .body =
                                 "{\"docs\":[{\"_id\":\"\",\"error\":{\"type\":\"illegal_argument_"
                                 "exception\",\"reason\":\"Ids can't be empty\"}}]}"};
    struct seen seen = {0};
    struct err e = {0};
    begin(&step, 1);
    assert_true(index_get_documents(
        es, "m",
        &(struct index_lookup){
            .keys = empty, .n = 1, .with_source = true, .visit = see, .arg = &seen},
        &e));
    assert_string_equal(seen.text, "- ");
    assert_false(index_get_documents(
        es, "m",
        &(struct index_lookup){
            .keys = bad, .n = 1, .with_source = true, .visit = see, .arg = &seen},
        &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_true(index_get_documents(
        es, "m",
        &(struct index_lookup){
            .keys = NULL, .n = 0, .with_source = true, .visit = see, .arg = &seen},
        &e));
    assert_int_equal(atomic_load(&fake.served), 1);
    end();
}

/* The answer to n keys "k0001"... from the first on; its sources padded. Owned. */
static char *answer_to(size_t first, size_t n, size_t padding)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 4);
    buf_adds(&b, "{\"docs\":[");
    for (size_t i = 0; i < n; i++) {
        buf_addf(&b, "%s{\"_id\":\"k%04zu\",\"_version\":1,\"found\":true,\"_source\":{\"p\":\"",
                 i ? "," : "", first + i);
        for (size_t j = 0; j < padding; j += 50)
            buf_adds(&b, "..................................................");
        buf_adds(&b, "\"}}");
    }
    buf_adds(&b, "]}");
    assert_non_null(buf_cstr(&b));
    return b.data;
}

struct counted {
    size_t n, source;
};

static bool count_one(const struct index_document *d, void *arg, struct err *e)
{
    struct counted *c = arg;
    char key[20];
    (void)e;
    snprintf(key, sizeof key, "k%04zu", c->n++);
    assert_string_equal(d->key, key);
    c->source += d->source_len;
    return true;
}

static bool get_many(size_t n, struct counted *c, struct err *e)
{
    char(*text)[8] = calloc(n, sizeof *text);
    const char **keys = calloc(n, sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        snprintf(text[i], sizeof text[i], "k%04zu", i % 10000);
        keys[i] = text[i];
    }
    *c = (struct counted){0};
    *e = (struct err){0};
    bool ok = index_get_documents(
        es, "m",
        &(struct index_lookup){
            .keys = keys, .n = n, .with_source = true, .visit = count_one, .arg = c},
        e);
    free(keys);
    free(text);
    return ok;
}

static void many_keys_are_asked_for_in_parts(void **state)
{
    (void)state;
    char *answers[] = {answer_to(0, 500, 0), answer_to(500, 500, 0), answer_to(1000, 1, 0)};
    struct fake_step steps[] = {{.status = 200, .body = answers[0]},
                                {.status = 200, .body = answers[1]},
                                {.status = 200, .body = answers[2]}};
    struct counted c;
    struct err e;
    begin(steps, 3);
    assert_true(get_many(1001, &c, &e));
    assert_int_equal(c.n, 1001);
    assert_int_equal(atomic_load(&fake.served), 3);
    end();
    steps[1] = (struct fake_step){.status = 503, .body = ""};
    begin(steps, 3);
    assert_false(get_many(1001, &c, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_int_equal(c.n, 500); /* the first keys, in order */
    end();
    for (size_t i = 0; i < 3; i++)
        free(answers[i]);
}

static void too_large_an_answer_is_asked_for_in_smaller_parts(void **state)
{
    (void)state;
    enum { LARGE = 5 << 20 };
    char *answers[] = {answer_to(0, 4, LARGE), answer_to(0, 2, LARGE), answer_to(2, 2, LARGE),
                       answer_to(0, 1, 20 << 20)};
    struct fake_step steps[] = {
        {.status = 200, .body = answers[0]}, /* above 16 MB */
        {.status = 413, .body = ""},         /* or so says a proxy */
        {.status = 200, .body = answers[3]}, /* a single one may be as large as it is */
        {.status = 413, .body = ""}};
    struct counted c;
    struct err e;
    begin(steps, 3);
    steps[1] = (struct fake_step){.status = 200, .body = answers[1]};
    steps[2] = (struct fake_step){.status = 200, .body = answers[2]};
    assert_true(get_many(4, &c, &e));
    assert_int_equal(c.n, 4);
    assert_true(c.source > 4 * (size_t)LARGE);
    assert_int_equal(atomic_load(&fake.served), 3);
    end();
    steps[0] = (struct fake_step){.status = 413, .body = ""};
    steps[1] = (struct fake_step){.status = 200, .body = answers[3]};
    steps[2] = (struct fake_step){.status = 413, .body = ""};
    begin(steps, 3);
    assert_false(get_many(2, &c, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_int_equal(c.n, 1);
    end();
    for (size_t i = 0; i < 4; i++)
        free(answers[i]);
}

/* ---- the walk ---- */

#define HEAD "{\"_scroll_id\":\"S+/=\",\"timed_out\":false," SOUND ","
#define PAGE1                                                                                      \
    HEAD "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"hits\":[{\"_id\":\"a\"},{\"_"    \
         "id\":"                                                                                   \
         "\"\\u00e9\"}]}}"
#define PAGE2                                                                                      \
    HEAD "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"hits\":[{\"_id\":\"c\"}]}}"
#define NO_PAGE HEAD "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"}}}"
#define OK(text)                                                                                   \
    {                                                                                              \
        .status = 200, .body = text                                                                \
    }

/* All keys, with a space behind each and a bar behind each page. */
static bool walk(const char *field, const char *const *values, size_t n, char *out, size_t size,
                 struct err *e)
{
    *e = (struct err){0};
    out[0] = '\0';
    struct index_scan *s = index_scan_open(es, "movies", field, values, n, e);
    bool ok = s != NULL, more = ok;
    while (more) {
        const char *const *keys;
        ok = index_scan_next(s, &keys, &n, e);
        more = ok && n > 0;
        for (size_t i = 0; more && i < n; i++)
            snprintf(out + strlen(out), size - strlen(out), "%s ", keys[i]);
        if (more)
            snprintf(out + strlen(out), size - strlen(out), "|");
    }
    index_scan_close(s);
    return ok;
}

static void a_walk_gives_all_keys_and_is_closed(void **state)
{
    (void)state;
    struct fake_step steps[] = {OK("{" SOUND "}"), OK(PAGE1), OK(PAGE2),
                                OK("{\"succeeded\":true}")};
    char out[100];
    struct err e;
    begin(steps, 4);
    assert_true(walk(NULL, NULL, 0, out, sizeof out, &e));
    assert_string_equal(out, "a \xC3\xA9 |c |");
    /* the count is reached: no page is turned for nothing */
    assert_int_equal(atomic_load(&fake.served), 4);
    fake_look(&fake);
    assert_memory_equal(fake.head, "DELETE /_search/scroll HTTP", 27);
    assert_string_equal(fake.body, "{\"scroll_id\":\"S+/=\"}");
    end();
    begin(steps, 3);
    struct index_scan *s = index_scan_open(es, "mo/vies", NULL, NULL, 0, &e);
    assert_non_null(s);
    fake_look(&fake);
    assert_memory_equal(
        fake.head, "POST /mo%2Fvies/_search?scroll=5m&allow_partial_search_results=false&", 69);
    assert_string_equal(
        fake.body,
        "{\"size\":2000,\"sort\":[\"_doc\"],\"_source\":false,\"track_total_hits\":true}");
    const char *const *keys;
    size_t n;
    assert_true(index_scan_next(s, &keys, &n, &e));
    assert_true(index_scan_next(s, &keys, &n, &e));
    fake_look(&fake);
    assert_memory_equal(fake.head, "POST /_search/scroll?filter_path=", 33);
    assert_string_equal(fake.body, "{\"scroll\":\"5m\",\"scroll_id\":\"S+/=\"}");
    for (int i = 0; i < 2; i++) { /* the end stays the end */
        assert_true(index_scan_next(s, &keys, &n, &e));
        assert_int_equal(n, 0);
    }
    index_scan_close(s);
    end();
    index_scan_close(NULL);
}

static void an_empty_index_is_an_empty_walk(void **state)
{
    (void)state;
    static const char *const answers[] = {
        HEAD "\"hits\":{\"total\":{\"value\":0,\"relation\":\"eq\"}}}",
        HEAD "\"hits\":{\"total\":{\"value\":0,\"relation\":\"eq\"},\"hits\":[]}}"};
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct fake_step steps[] = {OK("{" SOUND "}"), OK(answers[i]), OK("{}")};
        char out[100];
        struct err e;
        begin(steps, 3);
        assert_true(walk(NULL, NULL, 0, out, sizeof out, &e));
        assert_string_equal(out, "");
        end();
    }
}

static void a_walk_that_is_not_whole_is_an_error(void **state)
{
    (void)state;
#define H "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"hits\":[{\"_id\":\"c\"}]}}"
#define S "\"_scroll_id\":\"S\","
#define T "\"timed_out\":false,"
    static const struct {
        int status;
        const char *body;
        enum err_kind kind;
    } cases[] = {
        {200, NO_PAGE, ERR_PASSING}, /* short */
        {200, PAGE1, ERR_PASSING},   /* more than there are */
        {200, "{" T SOUND "," H, ERR_PASSING},
        {200, "{" S SOUND "," H, ERR_PASSING},
        {200, "{" S T H, ERR_PASSING},
        {200, "{" S T SOUND "}", ERR_PASSING},
        {200, "{" S S T SOUND "," H, ERR_PASSING},
        {200, "{\"_scroll_id\":\"\"," T SOUND "," H, ERR_PASSING},
        {200, "{" S "\"timed_out\":true," SOUND "," H, ERR_PASSING},
        {200, "{" S "\"timed_out\":null," SOUND "," H, ERR_PASSING},
        {200, "{" S T "\"_shards\":{\"total\":2,\"successful\":1,\"failed\":1}," H, ERR_PASSING},
        {200, "{" S T "\"_shards\":{\"total\":2,\"successful\":1,\"failed\":0}," H, ERR_PASSING},
        {200, "{" S T "\"_shards\":{}," H, ERR_PASSING},
        {200, HEAD "\"hits\":{\"hits\":[{\"_id\":\"c\"}]}}", ERR_PASSING},
        {200, HEAD "\"hits\":{\"total\":3,\"hits\":[{\"_id\":\"c\"}]}}", ERR_PASSING},
        {200,
         HEAD "\"hits\":{\"total\":{\"value\":3,\"relation\":\"gte\"},\"hits\":[{\"_id\":\"c\"}]}}",
         ERR_PASSING},
        {200, HEAD "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"hits\":[{}]}}",
         ERR_PASSING},
        {200, HEAD "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"hits\":[{\"_id\":1}]}}",
         ERR_PASSING},
        {200, HEAD "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"hits\":[\"c\"]}}",
         ERR_PASSING},
        {200,
         HEAD
         "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"hits\":[{\"_id\":\"\\u0000\"}]}}",
         ERR_FINAL},
        {404, "{\"error\":{\"type\":\"search_context_missing_exception\"}}", ERR_PASSING},
        {500, "{}", ERR_PASSING},
        {503, "{}", ERR_PASSING},
        {429, "{}", ERR_PASSING},
        {403, "{}", ERR_FINAL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fake_step steps[] = {OK("{" SOUND "}"),
                                    OK(PAGE1),
                                    {.status = cases[i].status, .body = cases[i].body},
                                    OK(PAGE2)};
        struct err e = {0};
        begin(steps, 4);
        struct index_scan *s = index_scan_open(es, "movies", NULL, NULL, 0, &e);
        const char *const *keys;
        size_t n;
        assert_non_null(s);
        assert_true(index_scan_next(s, &keys, &n, &e));
        assert_int_equal(n, 2);
        assert_false(index_scan_next(s, &keys, &n, &e));
        assert_int_equal(e.kind, cases[i].kind);
        assert_int_equal(n, 0);
        assert_false(index_scan_next(s, &keys, &n, &e)); /* the next page would be another */
        assert_int_equal(e.kind, ERR_PASSING);
        assert_int_equal(atomic_load(&fake.served), 3);
        index_scan_close(s);
        assert_int_equal(atomic_load(&fake.served), 4);
        end();
    }
}

static void a_cut_page_is_passing(void **state)
{
    (void)state;
    static const char whole[] = PAGE1;
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char cut[sizeof whole], out[100];
        struct err e;
        snprintf(cut, sizeof cut, "%.*s", (int)n, whole);
        struct fake_step steps[] = {OK("{" SOUND "}"), OK(cut), OK(PAGE2)};
        begin(steps, 3);
        assert_false(walk(NULL, NULL, 0, out, sizeof out, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        assert_string_equal(out, "");
        end();
    }
}

/* libcurl sends a request again when a kept connection breaks before the answer: the server then
 * turns two pages. */
static void a_page_that_got_lost_on_the_way_is_noticed(void **state)
{
    (void)state;
    struct fake_step steps[] = {
        OK("{" SOUND "}"), OK(PAGE1), {.status = 0, .end = FAKE_CLOSE}, OK(NO_PAGE)};
    char out[100];
    struct err e;
    begin(steps, 4);
    assert_false(walk(NULL, NULL, 0, out, sizeof out, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_string_equal(e.text, "scan of index 'movies': it had 2 keys instead of 3");
    assert_string_equal(out, "a \xC3\xA9 |");
    end();
}

static void a_server_that_is_gone_is_not_told_of_the_end(void **state)
{
    (void)state;
    struct fake_step steps[] = {OK("{" SOUND "}"),
                                OK(PAGE1),
                                {.status = 200, .body = PAGE2, .missing = 5, .end = FAKE_CLOSE}};
    char out[100];
    struct err e;
    begin(steps, 3);
    assert_false(walk(NULL, NULL, 0, out, sizeof out, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_int_equal(atomic_load(&fake.served), 3);
    end();
}

static void a_refresh_that_is_forbidden_is_done_without(void **state)
{
    (void)state;
    struct fake_step steps[] = {{.status = 403, .body = "{}"}, OK(PAGE1), OK(PAGE2), OK("{}")};
    char out[100];
    struct err e;
    begin(steps, 4);
    assert_true(walk(NULL, NULL, 0, out, sizeof out, &e));
    assert_string_equal(out, "a \xC3\xA9 |c |");
    end();
    steps[0].status = 503;
    begin(steps, 4);
    assert_false(walk(NULL, NULL, 0, out, sizeof out, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_int_equal(atomic_load(&fake.served), 1);
    end();
}

#define MAPPING(properties)                                                                        \
    "{\"m-1\":{\"mappings\":{\"dynamic\":\"strict\",\"properties\":{" properties "}}}}"

static void a_field_is_asked_for_as_it_is_mapped(void **state)
{
    (void)state;
    static const char terms[] =
        "{\"bool\":{\"should\":[{\"terms\":{\"%s\":[\"p\\\"1\",\"p2\"]}}]}}";
    static const struct {
        const char *mapping, *nested, *asked;
    } cases[] = {
        {"{\"m-1\":{\"mappings\":{}}}", NULL, "a.b.c"},
        {MAPPING("\"x\":{\"type\":\"nested\"}"), NULL, "a.b.c"},
        {MAPPING("\"a\":{\"properties\":{\"b\":{\"properties\":{\"c\":{\"type\":\"keyword\"}}}}}"),
         NULL, "a.b.c"},
        {MAPPING("\"a\":{\"type\":\"nested\",\"properties\":{\"b\":{\"properties\":{\"c\":{"
                 "\"type\":\"long\"}"
                 "}}}}"),
         "a", "a.b.c"},
        {MAPPING("\"a\":{\"properties\":{\"b\":{\"properties\":{\"c\":{}},\"type\":\"nested\"}}}"),
         "a.b", "a.b.c"},
        {MAPPING("\"a\":{\"properties\":{\"b\":{\"type\":\"nested\",\"properties\":{\"c\":{}}}},"
                 "\"type\":"
                 "\"nested\"}"),
         "a.b", "a.b.c"},
        {MAPPING(
             "\"a\":{\"properties\":{\"b\":{\"properties\":{\"c\":{\"type\":\"text\",\"fields\":{"
             "\"t\":{\"type\":\"text\"},\"raw\":{\"type\":\"keyword\",\"ignore_above\":256},"
             "\"k\":{\"type\":\"keyword\"}}}}}}}"),
         NULL, "a.b.c.raw"},
        {MAPPING("\"a.b.c\":{\"type\":\"keyword\"},\"a\":{\"type\":\"object\"}"), NULL, "a.b.c"},
        {MAPPING("\"a\":{\"type\":\"flattened\"},\"ab\":{\"type\":\"nested\"}"), NULL, "a.b.c"},
    };
    static const char *const values[] = {"p\"1", "p2"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fake_step steps[] = {OK("{" SOUND "}"), OK(cases[i].mapping), OK(PAGE1)};
        char bare[300], query[600], want[800];
        struct err e = {0};
        snprintf(bare, sizeof bare, terms, cases[i].asked);
        if (cases[i].nested)
            snprintf(
                query, sizeof query,
                "{\"nested\":{\"path\":\"%s\",\"ignore_unmapped\":true,\"score_mode\":\"none\","
                "\"query\":%s}}",
                cases[i].nested, bare);
        snprintf(want, sizeof want,
                 "{\"size\":2000,\"sort\":[\"_doc\"],\"_source\":false,\"track_total_hits\":true,"
                 "\"query\":%s}",
                 cases[i].nested ? query : bare);
        begin(steps, 3);
        struct index_scan *s = index_scan_open(es, "movies", "a.b.c", values, 2, &e);
        assert_non_null(s);
        fake_look(&fake);
        assert_string_equal(fake.body, want);
        index_scan_close(s);
        end();
    }
}

static void a_field_that_cannot_be_searched_is_told(void **state)
{
    (void)state;
    static const char *const values[] = {"p1"}, *const bad[] = {"\xFF"};
    static const char mapping[] = MAPPING("\"a\":{\"type\":\"text\"}");
    struct fake_step steps[] = {OK("{" SOUND "}"), OK(mapping)};
    char out[100];
    struct err e;
    begin(steps, 2);
    assert_false(walk("a", values, 1, out, sizeof out, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(e.text, "scan of index 'movies': cannot search for documents by 'a': it "
                                "is mapped as analysed text");
    assert_non_null(strstr(e.hint, "keyword"));
    end();
    begin(steps, 2);
    assert_false(walk("b", bad, 1, out, sizeof out, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    end();
    for (size_t n = 0; n < sizeof mapping - 1; n++) {
        char cut[sizeof mapping];
        snprintf(cut, sizeof cut, "%.*s", (int)n, mapping);
        struct fake_step some[] = {OK("{" SOUND "}"), OK(cut), OK(PAGE1)};
        begin(some, 3);
        assert_false(walk("a", values, 1, out, sizeof out, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        assert_int_equal(atomic_load(&fake.served), 2);
        end();
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const keys[] = {"a\n"}, *const values[] = {"p1"};
    /* One answer that fits every request. */
    struct fake_step step = OK(
        "{\"count\":1,\"_scroll_id\":\"\\u0053\",\"timed_out\":false," SOUND
        ",\"hits\":{\"total\":{\"value\":1,\"relation\":\"eq\"},\"hits\":[{\"_id\":\"a\\n\"}]},"
        "\"docs\":[{\"_id\":\"a\\n\",\"_version\":1,\"found\":true,\"_source\":{\"\\u0061\":1}}],"
        "\"m\":{\"mappings\":{\"properties\":{\"f\":{\"type\":\"text\",\"fields\":{\"k\":{\"type\":"
        "\"keyword\"}}}}}}}");
    /* A mapping's answer is an object of objects: this one serves for all but that. */
    struct fake_step mapping = OK("{\"m\":{\"mappings\":{\"properties\":{\"f\":{\"type\":\"text\","
                                  "\"fields\":{\"k\":{\"type\":"
                                  "\"\\u006beyword\"}}}}}}}");
    for (int part = 0; part < 2; part++) {
        bool done = false;
        begin(part == 0 ? &step : &mapping, 1);
        for (int n = 0; !done; n++) {
            struct seen seen = {0};
            struct err e = {0};
            int64_t count;
            char out[100];
            allocations_left = n;
            if (part == 0)
                done =
                    index_count(es, "m", &count, &e) &&
                    index_get_documents(
                        es, "m",
                        &(struct index_lookup){
                            .keys = keys, .n = 1, .with_source = true, .visit = see, .arg = &seen},
                        &e) &&
                    walk(NULL, NULL, 0, out, sizeof out, &e);
            else /* as far as to the page, which is none */
                done = !walk("f", values, 1, out, sizeof out, &e) &&
                       strstr(e.text, ": damaged answer") != NULL && !strstr(e.text, "mapping") &&
                       !strstr(e.text, "refresh");
            allocations_left = -1;
            assert_true(done || e.kind == ERR_FINAL || e.kind == ERR_PASSING);
            assert_true(n < 10000);
        }
        end();
    }
}

/* ---- a real one ---- */

static const char *real;
#define NAME "etl-engine-test-index-read"

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

static void remove_all(void)
{
    call("DELETE", "/" NAME, NULL);
    call("DELETE", "/" NAME "-2", NULL);
}

static int connect_real(void **state)
{
    (void)state;
    if (!real)
        return 0;
    open_es(real);
    remove_all();
    return 0;
}

static int leave_real(void **state)
{
    (void)state;
    if (!real)
        return 0;
    remove_all();
    close_es();
    return 0;
}

static void put(const char *key, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "/" NAME "/_doc/%s", key);
    int status = call("PUT", path, text);
    assert_true(status == 200 || status == 201);
}

static void server_gives_documents_byte_for_byte(void **state)
{
    (void)state;
    if (!real)
        skip();
    static const char *const keys[] = {"1", "nope", "", "gone", "1"};
    static const char source[] =
        "{ \"z\":1.10,\"big\":12345678901234567890123, \"f\":1e2,\"e\":\"\\u00e9\\/\"}";
    char want[400];
    struct seen seen = {0};
    struct err e = {0};
    assert_true(index_create(es, NAME, "{\"number_of_shards\":3,\"refresh_interval\":\"-1\"}",
                             "{\"dynamic\":false}", &e));
    put("1?version=77&version_type=external_gte", source);
    put("gone", "{}");
    assert_int_equal(call("DELETE", "/" NAME "/_doc/gone", NULL), 200);
    assert_true(index_get_documents(
        es, NAME,
        &(struct index_lookup){
            .keys = keys, .n = COUNT(keys), .with_source = true, .visit = see, .arg = &seen},
        &e));
    snprintf(want, sizeof want, "1@77=%s nope- - gone- 1@77=%s ", source, source);
    assert_string_equal(seen.text, want);
    assert_int_equal(call("PUT", "/" NAME "/_alias/" NAME "-alias", NULL), 200);
    seen.text[0] = '\0';
    assert_true(index_get_documents(
        es, NAME "-alias",
        &(struct index_lookup){.keys = keys, .n = COUNT(keys), .visit = see, .arg = &seen}, &e));
    assert_string_equal(seen.text, "1@77= nope- - gone- 1@77= ");
    int64_t count;
    assert_true(index_count(es, NAME, &count, &e));
    assert_int_equal(count, 0); /* not yet searchable */
    assert_true(index_refresh(es, NAME, &e) && index_count(es, NAME, &count, &e));
    assert_int_equal(count, 1);
}

static void server_says_what_it_does_not_have(void **state)
{
    (void)state;
    if (!real)
        skip();
    static const char *const keys[] = {"1"};
    struct seen seen = {0};
    struct err e = {0};
    int64_t count;
    assert_false(index_get_documents(
        es, NAME,
        &(struct index_lookup){
            .keys = keys, .n = 1, .with_source = true, .visit = see, .arg = &seen},
        &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "index_not_found_exception"));
    assert_false(index_count(es, NAME, &count, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_null(index_scan_open(es, NAME, NULL, NULL, 0, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_null(index_scan_open(es, NAME, "a", keys, 1, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_true(index_create(es, NAME, NULL, NULL, &e) &&
                index_create(es, NAME "-2", NULL, NULL, &e));
    assert_int_equal(call("PUT", "/" NAME "," NAME "-2/_alias/" NAME "-alias", NULL), 200);
    assert_false(index_get_documents(
        es, NAME "-alias",
        &(struct index_lookup){
            .keys = keys, .n = 1, .with_source = true, .visit = see, .arg = &seen},
        &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "more than one"));
    remove_all();
    assert_true(index_create(es, NAME, NULL, "{\"_source\":{\"enabled\":false}}", &e));
    put("1", "{}");
    assert_true(index_get_documents(
        es, NAME,
        &(struct index_lookup){
            .keys = keys, .n = 1, .with_source = true, .visit = see, .arg = &seen},
        &e));
    assert_int_equal(seen.n, 1);
    remove_all(); /* no node will take its shards */
    assert_int_equal(call("PUT", "/" NAME "?wait_for_active_shards=0",
                          "{\"settings\":{\"index.routing.allocation.include._name\":\"none\"}}"),
                     200);
    assert_false(index_get_documents(
        es, NAME,
        &(struct index_lookup){
            .keys = keys, .n = 1, .with_source = true, .visit = see, .arg = &seen},
        &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_false(index_count(es, NAME, &count, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_null(index_scan_open(es, NAME, NULL, NULL, 0, &e));
    assert_int_equal(e.kind, ERR_PASSING);
}

/* Documents "0" to "n-1". */
static void fill(size_t n)
{
    struct buf b;
    struct err e;
    struct es_answer a = {0};
    buf_init(&b, 10 << 20);
    for (size_t i = 0; i < n; i++)
        buf_addf(&b, "{\"index\":{\"_id\":\"%zu\"}}\n{\"n\":%zu}\n", i, i);
    assert_true(es_request(es,
                           &(struct es_call){.method = "POST",
                                             .path = "/" NAME "/_bulk",
                                             .body = b.data,
                                             .len = b.len,
                                             .type = "application/x-ndjson"},
                           &a, &e));
    assert_int_equal(a.status, 200);
    es_answer_free(&a);
    buf_free(&b);
}

static void server_walks_through_all_documents_as_they_were(void **state)
{
    (void)state;
    if (!real)
        skip();
    enum { N = 12345 }; /* more than a search counts unless asked to */
    static char seen[N];
    struct err e = {0};
    memset(seen, 0, sizeof seen);
    assert_true(
        index_create(es, NAME, "{\"number_of_shards\":3,\"refresh_interval\":\"-1\"}", NULL, &e));
    fill(N);
    struct index_scan *s = index_scan_open(es, NAME, NULL, NULL, 0, &e);
    assert_non_null(s);
    assert_int_equal(call("DELETE", "/" NAME "/_doc/5", NULL), 200);
    put("later?refresh=true", "{}");
    size_t pages = 0, n, all = 0;
    const char *const *keys;
    for (; assert_true(index_scan_next(s, &keys, &n, &e)), n > 0; pages++, all += n)
        for (size_t i = 0; i < n; i++) {
            size_t k = strtoul(keys[i], NULL, 10);
            assert_true(k < N && !seen[k]);
            seen[k] = 1;
        }
    assert_int_equal(all, N);
    assert_int_equal(pages, 7);
    index_scan_close(s);
    s = index_scan_open(es, NAME, NULL, NULL, 0, &e);
    assert_non_null(s);
    assert_int_equal(call("DELETE", "/_search/scroll/_all", NULL), 200);
    assert_true(index_scan_next(s, &keys, &n, &e));
    assert_int_equal(n, 2000);
    assert_false(index_scan_next(s, &keys, &n, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_non_null(strstr(e.text, "the server no longer has it"));
    index_scan_close(s);
}

/* The only key that a walk by field gives; "-": none; "?": several. */
static const char *only(const char *field, const char *value, struct err *e)
{
    static char key[20];
    const char *const *keys;
    size_t n = 0;
    *e = (struct err){0};
    struct index_scan *s = index_scan_open(es, NAME, field, &value, value ? 1 : 0, e);
    if (!s || !index_scan_next(s, &keys, &n, e))
        snprintf(key, sizeof key, "error");
    else
        snprintf(key, sizeof key, "%s", n == 0 ? "-" : n > 1 ? "?" : keys[0]);
    index_scan_close(s);
    return key;
}

static void server_finds_documents_by_field(void **state)
{
    (void)state;
    if (!real)
        skip();
    static const char mappings[] =
        "{\"properties\":{\"a\":{\"type\":\"nested\",\"properties\":{\"id\":{\"type\":\"keyword\"},"
        "\"b\":{\"type\":\"nested\",\"properties\":{\"n\":{\"type\":\"long\"}}},\"o\":{"
        "\"properties\":{"
        "\"id\":{\"type\":"
        "\"keyword\"}}}}},\"o\":{\"properties\":{\"id\":{\"type\":\"keyword\"}}},\"t\":{\"type\":"
        "\"text\"}}}";
    struct err e = {0};
    assert_true(index_create(es, NAME, "{\"number_of_shards\":2,\"refresh_interval\":\"-1\"}",
                             mappings, &e));
    put("1",
        "{\"a\":[{\"id\":\"x-1\",\"b\":[{\"n\":7}]},{\"id\":\"x-2\",\"o\":{\"id\":\"q\"}}],\"o\":[{"
        "\"id\":\"y-1\"}],"
        "\"free\":[{\"id\":\"00000000-0000-4000-8000-000000000001\"},{\"id\":\"z-2\"}],\"n\":5}");
    put("2",
        "{\"a\":[{\"id\":\"x-3\"}],\"o\":{\"id\":\"y-3\"},\"free\":{\"id\":\"z-3\"},\"n\":[6,7]}");
    assert_string_equal(only("a.id", "x-2", &e), "1"); /* nested */
    assert_string_equal(only("a.id", "x-3", &e), "2");
    assert_string_equal(only("a.b.n", "7", &e), "1"); /* nested in nested */
    assert_string_equal(only("a.o.id", "q", &e), "1");
    assert_string_equal(only("o.id", "y-1", &e), "1"); /* a plain object */
    assert_string_equal(only("free.id", "00000000-0000-4000-8000-000000000001", &e),
                        "1"); /* text, by itself */
    assert_string_equal(only("free.id.keyword", "z-3", &e), "2");
    assert_string_equal(only("n", "7", &e), "2");
    assert_string_equal(only("n", "8", &e), "-");
    assert_string_equal(only("no.such.field", "7", &e), "-");
    assert_string_equal(only("a.id", NULL, &e), "-"); /* no values: no documents */
    assert_string_equal(only("o.id", NULL, &e), "-");
    assert_string_equal(only("t", "7", &e), "error");
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(only("n", "seven", &e), "error"); /* no such value is possible */
    assert_int_equal(e.kind, ERR_FINAL);
    static const char *values[25000]; /* more than one "terms" */
    for (size_t i = 0; i < COUNT(values); i++)
        values[i] = i == 24999 ? "x-3" : "none";
    struct index_scan *s = index_scan_open(es, NAME, "a.id", values, COUNT(values), &e);
    const char *const *keys;
    size_t n;
    assert_non_null(s);
    assert_true(index_scan_next(s, &keys, &n, &e));
    assert_int_equal(n, 1);
    assert_string_equal(keys[0], "2");
    index_scan_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_whole_count_is_believed),
        cmocka_unit_test(a_shard_that_failed_is_told_with_its_reason),
        cmocka_unit_test(a_refresh_that_failed_on_a_shard_is_passing),
        cmocka_unit_test(documents_come_in_order_and_byte_for_byte),
        cmocka_unit_test(nothing_of_a_damaged_answer_is_visited),
        cmocka_unit_test(a_document_s_error_is_passing_unless_it_would_stay),
        cmocka_unit_test(an_index_without_source_has_none_for_the_visitor),
        cmocka_unit_test(the_visitor_may_end_the_call),
        cmocka_unit_test(keys_that_no_document_can_have),
        cmocka_unit_test(many_keys_are_asked_for_in_parts),
        cmocka_unit_test(too_large_an_answer_is_asked_for_in_smaller_parts),
        cmocka_unit_test(a_walk_gives_all_keys_and_is_closed),
        cmocka_unit_test(an_empty_index_is_an_empty_walk),
        cmocka_unit_test(a_walk_that_is_not_whole_is_an_error),
        cmocka_unit_test(a_cut_page_is_passing),
        cmocka_unit_test(a_page_that_got_lost_on_the_way_is_noticed),
        cmocka_unit_test(a_server_that_is_gone_is_not_told_of_the_end),
        cmocka_unit_test(a_refresh_that_is_forbidden_is_done_without),
        cmocka_unit_test(a_field_is_asked_for_as_it_is_mapped),
        cmocka_unit_test(a_field_that_cannot_be_searched_is_told),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test_setup_teardown(server_gives_documents_byte_for_byte, connect_real,
                                        leave_real),
        cmocka_unit_test_setup_teardown(server_says_what_it_does_not_have, connect_real,
                                        leave_real),
        cmocka_unit_test_setup_teardown(server_walks_through_all_documents_as_they_were,
                                        connect_real, leave_real),
        cmocka_unit_test_setup_teardown(server_finds_documents_by_field, connect_real, leave_real),
    };
    signal(SIGPIPE, SIG_IGN); /* as stop_init does */
    real = getenv("ELASTICSEARCH_URL");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
