/* What arrived whole is an answer, whatever it says; all else is an error, and each is
 * classified. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"
#include "es/es.h"
#include "fake_http.h"
#include "torture.h"

static struct fake_http fake, other;

#define STEPS(...)                                                                                 \
    (struct fake_step[]){__VA_ARGS__},                                                             \
        sizeof((struct fake_step[]){__VA_ARGS__}) / sizeof(struct fake_step)

/* One request to the fake server, with small limits. */
static bool get(const char *url, struct es_answer *a, struct err *e)
{
    struct es_server s;
    assert_true(es_server_init(&s, &(struct es_config){.url = url}, e));
    s.limits.connect_ms = 2000;
    s.limits.request_ms = 2500;
    s.limits.stall_s = 1;
    s.limits.max_body = 1 << 20;
    struct es *es = es_open(&s, e);
    assert_non_null(es);
    bool ok = es_request(es, &(struct es_call){.method = "GET", .path = "/"}, a, e);
    es_close(es);
    es_server_free(&s);
    return ok;
}

/* ---- where requests go ---- */

static void loopback_is_never_asked_for_through_a_proxy(void **state)
{
    (void)state;
    fake_start(&fake, STEPS({.status = 200, .body = "hello"}));
    setenv("http_proxy", "http://joe:s3cret@127.0.0.1:1", 1);
    struct es_answer a = {0};
    struct err e = {0};
    assert_true(get(fake.url, &a, &e));
    assert_false(get("http://192.0.2.1:9200", &a, &e)); /* through the proxy that is not there */
    unsetenv("http_proxy");
    assert_int_equal(e.kind, ERR_PASSING);
    assert_string_equal(e.text, "could not reach http://192.0.2.1:9200: Connection refused");
    es_answer_free(&a);
    fake_stop(&fake);
}

static void paths_are_escaped(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    es_add_escaped(&b, "a-Z_0.~/?%*\xC3\xA9");
    assert_string_equal(buf_cstr(&b), "a-Z_0.~%2F%3F%25%2A%C3%A9");
    buf_free(&b);
}

/* ---- several nodes ---- */

static void requests_go_round_the_nodes_each_with_its_own_password(void **state)
{
    (void)state;
    fake_start(&fake, STEPS({.status = 200, .body = "ok"}));
    fake_start(&other, STEPS({.status = 200, .body = "ok"}));
    char urls[300];
    snprintf(urls, sizeof urls, "http://joe:s3cret@%.50s/p,%.50s", fake.url + 7, other.url);
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = urls}, &e));
    struct es *es = es_open(&s, &e);
    for (int i = 0; i < 6; i++)
        assert_true(es_request(
            es, &(struct es_call){.method = "POST", .path = "/x", .body = "{}", .len = 2}, &a, &e));
    assert_int_equal(atomic_load(&fake.served), 3);
    assert_int_equal(atomic_load(&other.served), 3);
    assert_int_equal(atomic_load(&fake.accepted), 1);
    assert_int_equal(atomic_load(&other.accepted), 1);
    fake_look(&fake);
    assert_memory_equal(fake.head, "POST /p/x ", 10);
    assert_non_null(strstr(fake.head, "Authorization: Basic am9lOnMzY3JldA==\r\n"));
    fake_look(&other);
    assert_memory_equal(other.head, "POST /x ", 8);
    assert_null(strstr(other.head, "Authorization:"));
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
    fake_stop(&fake);
    fake_stop(&other);
}

static void another_node_takes_over_where_one_gives_no_answer(void **state)
{
    (void)state;
    static const struct fake_step failures[] = {
        {.status = 0, .end = FAKE_RESET},
        {.status = 0, .end = FAKE_HANG},
        {.status = 200, .body = "0123456789", .missing = 5, .end = FAKE_CLOSE},
    };
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        fake_start(&fake, &failures[i], 1);
        fake_start(&other, STEPS({.status = 200, .body = "ok"}));
        char urls[300];
        snprintf(urls, sizeof urls, "http://127.0.0.1:1,%.50s,%.50s", fake.url, other.url);
        struct es_answer a = {0};
        struct err e = {0};
        assert_true(get(urls, &a, &e));
        assert_string_equal(buf_cstr(&a.body), "ok");
        assert_int_equal(atomic_load(&fake.served), 1);
        es_answer_free(&a);
        fake_stop(&fake);
        fake_stop(&other);
    }
}

static void an_answer_is_taken_unless_it_says_that_nobody_is_there(void **state)
{
    (void)state;
    static const struct {
        int first, second, taken, served;
    } cases[] = {{404, 200, 404, 0},
                 {429, 200, 429, 0},
                 {503, 200, 200, 1},
                 {502, 404, 404, 1},
                 {504, 503, 503, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_start(&fake, STEPS({.status = cases[i].first, .body = "first"}));
        fake_start(&other, STEPS({.status = cases[i].second, .body = "second"}));
        char urls[300];
        snprintf(urls, sizeof urls, "%.50s,%.50s", fake.url, other.url);
        struct es_answer a = {0};
        struct err e = {0};
        assert_true(get(urls, &a, &e));
        assert_int_equal(a.status, cases[i].taken);
        assert_int_equal(atomic_load(&other.served), cases[i].served);
        es_answer_free(&a);
        fake_stop(&fake);
        fake_stop(&other);
    }
}

static void with_no_node_left_the_last_failure_is_told(void **state)
{
    (void)state;
    struct es_answer a = {0};
    struct err e = {0};
    assert_false(get("http://127.0.0.1:1,http://joe:s3cret@[::1]:1", &a, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_memory_equal(e.text, "could not reach http://[::1]:1: ", 32);
    es_answer_free(&a);
}

/* ---- names and connections ---- */

static atomic_int asked; /* how often "moved.test" was */

/* libcurl's, too. Each time that name is asked for it is somewhere else, and comes back the third
 * time. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **out)
{
    static const char *const places[] = {"127.0.0.2", "127.0.0.3", "127.0.0.1"};
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    if (host && strcmp(host, "moved.test") == 0)
        host = places[atomic_fetch_add(&asked, 1) % 3];
    return real(host, port, hints, out);
}

static void each_connection_asks_where_the_name_is_now(void **state)
{
    (void)state;
    fake_start(&fake, STEPS({.status = 200, .body = "ok", .end = FAKE_CLOSE}));
    char url[100];
    snprintf(url, sizeof url, "http://moved.test:%s", strrchr(fake.url, ':') + 1);
    setenv("no_proxy", "*", 1);
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = url}, &e));
    struct es *es = es_open(&s, &e);
    for (int i = 0; i < 6; i++) /* fake listens on 127.0.0.1 alone */
        assert_int_equal(es_request(es, &(struct es_call){.method = "GET", .path = "/"}, &a, &e),
                         i % 3 == 2);
    assert_int_equal(atomic_load(&asked), 6);
    unsetenv("no_proxy");
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
    fake_stop(&fake);
}

static void a_connection_is_not_used_for_ever(void **state)
{
    (void)state;
    fake_start(&fake, STEPS({.status = 200, .body = "ok"}));
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = fake.url}, &e));
    s.limits.connection_s = 1;
    struct es *es = es_open(&s, &e);
    int64_t begun = clock_mono_us();
    while (atomic_load(&fake.accepted) < 2 && clock_mono_us() - begun < 60 * 1000 * 1000) {
        assert_true(es_request(es, &(struct es_call){.method = "GET", .path = "/"}, &a, &e));
        usleep(10 * 1000);
    }
    assert_int_equal(atomic_load(&fake.accepted), 2);
    assert_true(atomic_load(&fake.served) > 2);
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
    fake_stop(&fake);
}

static void a_server_may_have_an_ipv6_address(void **state)
{
    (void)state;
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int port = fake_start_at(&fake, STEPS({.status = 200, .body = "six"}), (struct sockaddr *)&at,
                             sizeof at);
    if (port == 0)
        skip();
    char url[100];
    snprintf(url, sizeof url, "http://[::1]:%d/", port);
    struct es_answer a = {0};
    struct err e = {0};
    assert_true(get(url, &a, &e));
    assert_string_equal(buf_cstr(&a.body), "six");
    es_answer_free(&a);
    fake_stop(&fake);
}

/* ---- compression ---- */

static void sends(int compress, const char *body, bool packed)
{
    fake_start(&fake, STEPS({.status = 200, .body = "ok"}));
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = fake.url, .compress = compress}, &e));
    struct es *es = es_open(&s, &e);
    assert_true(es_request(
        es,
        &(struct es_call){.method = "POST", .path = "/_bulk", .body = body, .len = strlen(body)},
        &a, &e));
    fake_look(&fake);
    assert_int_equal(strstr(fake.head, "Accept-Encoding: gzip\r\n") != NULL, compress > 0);
    assert_int_equal(strstr(fake.head, "Content-Encoding: gzip\r\n") != NULL, packed);
    unsigned char text[10000] = "";
    z_stream z = {.next_in = (Bytef *)fake.body,
                  .avail_in = sizeof fake.body,
                  .next_out = text,
                  .avail_out = sizeof text - 1};
    if (packed) {
        assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        inflateEnd(&z);
    }
    assert_string_equal(packed ? (char *)text : fake.body, body);
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
    fake_stop(&fake);
}

static void bodies_are_compressed_where_it_is_worth_it(void **state)
{
    (void)state;
    static char body[5000];
    memset(body, 'x', sizeof body - 1);
    sends(1, body, true);
    sends(1, "{}", false);
    sends(0, body, false); /* on this machine itself */
    sends(-1, body, false);
    static const struct {
        const char *url;
        int compress;
        bool is;
    } cases[] = {
        {"http://es.example.org", 0, true},
        {"http://localhost:1,http://es.example.org", 0, true},
        {"http://localhost:1,http://127.0.0.1:2,http://[::1]:3", 0, false},
        {"http://es.example.org", -1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct es_server s;
        struct err e = {0};
        struct es_config c = {.url = cases[i].url, .compress = cases[i].compress};
        assert_true(es_server_init(&s, &c, &e));
        assert_int_equal(s.compress, cases[i].is);
        es_server_free(&s);
    }
}

/* ---- answers that arrive ---- */

static void requests_share_one_connection_and_carry_what_they_should(void **state)
{
    (void)state;
    fake_start(&fake, STEPS({.status = 200, .body = "first"}, {.status = 404, .body = ""},
                            {.status = 200, .body = "3"}));
    char url[200];
    snprintf(url, sizeof url, "http://joe:s3cret@%.50s/prefix/", fake.url + 7);
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = url}, &e));
    struct es *es = es_open(&s, &e);
    assert_true(es_request(es,
                           &(struct es_call){.method = "POST",
                                             .path = "/x/_bulk",
                                             .body = "{}\n",
                                             .len = 3,
                                             .type = "application/x-ndjson"},
                           &a, &e));
    assert_int_equal(a.status, 200);
    assert_string_equal(buf_cstr(&a.body), "first");
    fake_look(&fake);
    assert_memory_equal(fake.head, "POST /prefix/x/_bulk HTTP/1.1\r\n", 31);
    assert_non_null(strstr(fake.head, "Authorization: Basic am9lOnMzY3JldA==\r\n"));
    assert_non_null(strstr(fake.head, "Content-Type: application/x-ndjson\r\n"));
    assert_non_null(strstr(fake.head, "User-Agent: etl-engine\r\n"));
    assert_null(strcasestr(fake.head, "Expect:"));
    assert_string_equal(fake.body, "{}\n");
    assert_true(es_request(es, &(struct es_call){.method = "PUT", .path = "/y"}, &a, &e));
    assert_int_equal(a.status, 404);
    assert_int_equal(a.body.len, 0);
    fake_look(&fake);
    assert_memory_equal(fake.head, "PUT /prefix/y ", 14);
    assert_non_null(strstr(fake.head, "Content-Length: 0\r\n"));
    assert_true(es_request(es, &(struct es_call){.method = "DELETE", .path = "/y"}, &a, &e));
    fake_look(&fake);
    assert_memory_equal(fake.head, "DELETE /prefix/y ", 17);
    assert_true(es_request(es, &(struct es_call){.method = "HEAD", .path = "/y"}, &a, &e));
    assert_true(es_request(es, &(struct es_call){.method = "GET", .path = "/y"}, &a, &e));
    fake_look(&fake);
    assert_memory_equal(fake.head, "GET /prefix/y ", 14);
    assert_string_equal(buf_cstr(&a.body), "3");
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
    fake_stop(&fake);
}

static void checks_as(struct fake_step step, enum err_kind kind, int64_t retry_ms, const char *text)
{
    struct es_answer a = {0};
    struct err e = {0};
    fake_start(&fake, &step, 1);
    assert_true(get(fake.url, &a, &e));
    assert_int_equal(es_check(&a, &e), kind == ERR_NONE);
    assert_int_equal(e.kind, kind);
    assert_int_equal(e.retry_after_ms, retry_ms);
    assert_string_equal(e.text, text);
    es_answer_free(&a);
    fake_stop(&fake);
}

static void statuses_are_classified(void **state)
{
    (void)state;
    checks_as((struct fake_step){.status = 200, .body = ""}, ERR_NONE, 0, "");
    checks_as((struct fake_step){.status = 201, .body = "x"}, ERR_NONE, 0, "");
    checks_as((struct fake_step){.status = 429,
                                 .body = "busy\nsecond line",
                                 .headers = "Retry-After: 7\r\n"},
              ERR_PASSING, 7000, "the search server answered 429: busy");
    checks_as((struct fake_step){.status = 502, .body = ""}, ERR_PASSING, 0,
              "the search server answered 502: no reason given");
    checks_as((struct fake_step){.status = 503,
                                 .body = "\r\n <html>\x1B[2J\r\n",
                                 .headers = "Retry-After: 999999999\r\n"},
              ERR_PASSING, 3600000, "the search server answered 503: <html> [2J");
    checks_as((struct fake_step){.status = 400,
                                 .body = "<html>\n<head><title>400 No certificate</title></head>"},
              ERR_FINAL, 0, "the search server answered 400: 400 No certificate");
    checks_as((struct fake_step){.status = 504, .body = "{\"error\":\"text\",\"status\":504}"},
              ERR_PASSING, 0, "the search server answered 504: text");
    checks_as((struct fake_step){.status = 500,
                                 .body = "{\"error\":{\"type\":\"t\",\"reason\":\"r\\ns\"}}"},
              ERR_FINAL, 0, "the search server answered 500: t: r s");
    checks_as((struct fake_step){.status = 302,
                                 .body = "",
                                 .headers = "Location: http://127.0.0.1:1/\r\n"},
              ERR_FINAL, 0, "the search server answered 302: it redirects to http://127.0.0.1:1/");
    checks_as(
        (struct fake_step){.status = 403,
                           .body =
                               "{\"error\":{\"root_cause\":[{\"type\":\"a\"}],\"type\":\"cluster_"
                               "block_exception\",\"reason\":\"[FORBIDDEN/12/x]\"}}"},
        ERR_PASSING, 0,
        "the search server answered 403: cluster_block_exception: [FORBIDDEN/12/x]");
    checks_as(
        (struct fake_step){.status = 500,
                           .body = "{\"error\":{\"root_cause\":[{\"type\":\"exception\","
                                   "\"reason\":\"too many\",\"index\":null}],\"type\":\"s\","
                                   "\"reason\":\"all shards failed\",\"failed_shards\":[{}]}}"},
        ERR_FINAL, 0,
        "the search server answered 500: s: all shards failed (caused by exception: too many)");
    checks_as(
        (struct fake_step){
            .status = 400,
            .body = "{\"error\":{\"type\":\"t\",\"reason\":\"r\",\"caused_by\":{\"type\":\"u\","
                    "\"reason\":\"s\",\"caused_by\":{\"type\":\"v\",\"reason\":\"w\"}},"
                    "\"more\":[1]}}"},
        ERR_FINAL, 0, "the search server answered 400: t: r (caused by v: w)");
}

static void a_redirect_is_told_without_its_secrets(void **state)
{
    (void)state;
    static const int statuses[] = {301, 302, 303, 307, 308};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct es_answer a = {0};
        struct err e = {0};
        fake_start(
            &fake,
            STEPS({.status = statuses[i],
                   .body = "<html>moved</html>",
                   .headers = "Location: "
                              "https://joe:s3cret@login.example.org:8443/s3cret?s3cret#s3cret\r\n"},
                  {.status = 200, .body = "{}"}));
        assert_true(get(fake.url, &a, &e));
        assert_false(es_check(&a, &e));
        assert_int_equal(e.kind, ERR_FINAL);
        assert_non_null(strstr(e.text, "it redirects to https://login.example.org:8443/"));
        assert_null(strstr(e.text, "s3cret"));
        assert_non_null(strstr(e.hint, "redirects are not followed"));
        assert_true(get(fake.url, &a, &e));
        assert_true(es_check(&a, &e));
        assert_string_equal(a.redirect, ""); /* of the one before */
        es_answer_free(&a);
        fake_stop(&fake);
    }
}

#define GZIPPED                                                                                    \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00" \
    "\x00\x00"

static void an_answer_that_comes_compressed_is_unpacked(void **state)
{
    (void)state;
    struct es_answer a = {0};
    struct err e = {0};
    struct fake_step step = {.status = 200,
                             .headers = "Content-Encoding: gzip\r\n",
                             .body = GZIPPED,
                             .body_len = sizeof GZIPPED - 1};
    fake_start(&fake, &step, 1);
    assert_true(get(fake.url, &a, &e));
    assert_string_equal(buf_cstr(&a.body), "hello");
    fake_look(&fake);
    assert_non_null(strstr(fake.head, "Accept-Encoding: identity\r\n"));
    fake_stop(&fake);
    step.body = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03hello";
    step.body_len = 15;
    fake_start(&fake, &step, 1);
    assert_false(get(fake.url, &a, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    fake_stop(&fake);
    es_answer_free(&a);
}

/* ---- the table ---- */

static void each_row_of_the_table_decides_about_something(void **state)
{
    (void)state;
    static const struct {
        unsigned parts;
        int status;
        const char *type, *reason;
        enum es_verdict verdict;
    } cases[] = {
#define ANY (ES_WHOLE | ES_DOCUMENTS | ES_ITEM)
#define DATA (ES_DOCUMENTS | ES_ITEM)
#define REQUEST (ES_WHOLE | ES_DOCUMENTS)
        {ANY, 403, "cluster_block_exception",
         "index [x] blocked by: [FORBIDDEN/12/index read-only];", ES_AGAIN},
        {ANY, 403, "cluster_block_exception", "blocked by: [FORBIDDEN/4/index preparing to close];",
         ES_AGAIN},
        {ANY, 403, "cluster_block_exception", "blocked by: [FORBIDDEN/5/index read-only (api)];",
         ES_AGAIN},
        {ANY, 403, "cluster_block_exception", "blocked by: [FORBIDDEN/7/index read (api)];",
         ES_AGAIN},
        {ANY, 403, "cluster_block_exception", "blocked by: [FORBIDDEN/9/index metadata (api)];",
         ES_AGAIN},
        {ANY, 403, "cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)];",
         ES_AGAIN},
        {ANY, 403, "index_closed_exception", "closed", ES_AGAIN},
        {ANY, 400, "index_closed_exception", "closed", ES_AGAIN},
        {ANY, 429, "cluster_block_exception", "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk];",
         ES_AGAIN},
        {ANY, 403, "index_create_block_exception",
         "blocked by: [FORBIDDEN/10/cluster create-index];", ES_AGAIN},
        {ANY, 429, "", "", ES_OVERLOADED},
        {ANY, 429, "circuit_breaking_exception", "[parent] Data too large", ES_OVERLOADED},
        {ANY, 400, "es_rejected_execution_exception", "", ES_OVERLOADED},
        {ANY, 429, "es_rejected_execution_exception", "rejected execution of x", ES_OVERLOADED},
        {ANY, 400, "rejected_execution_exception", "", ES_OVERLOADED},
        {ES_DOCUMENTS, 413, "", "", ES_TOO_LARGE},
        {ES_WHOLE, 413, "", "", ES_BROKEN},
        {ES_ITEM, 413, "", "", ES_REJECTED},
        {ANY, 408, "", "", ES_AGAIN},
        {REQUEST, 425, "", "", ES_AGAIN},
        {ES_ITEM, 404, "shard_not_found_exception", "no such shard", ES_AGAIN},
        {ES_ITEM, 500, "fail_processor_exception", "no", ES_REJECTED},
        {DATA, 500, "node_closed_exception", "", ES_AGAIN},
        {ES_WHOLE, 500, "exception", "", ES_BROKEN},
        {ANY, 502, "", "", ES_AGAIN},
        {ANY, 503, "", "", ES_AGAIN},
        {ANY, 503, "cluster_block_exception", "[SERVICE_UNAVAILABLE/2/no master];", ES_AGAIN},
        {ES_ITEM, 503, "unavailable_shards_exception", "primary shard is not active", ES_AGAIN},
        {ANY, 504, "", "", ES_AGAIN},
        {DATA, 599, "", "", ES_AGAIN},
        {ES_ITEM, 409, "version_conflict_engine_exception", "", ES_STALE},
        {ES_ITEM, 409, "other_exception", "", ES_REJECTED},
        {ANY, 401, "", "", ES_BROKEN},
        {ANY, 403, "security_exception", "", ES_BROKEN},
        {REQUEST, 407, "", "", ES_BROKEN},
        {ES_ITEM, 404, "index_not_found_exception", "no such index [x]", ES_BROKEN},
        {ES_ITEM, 400, "illegal_argument_exception", "no write index is defined for alias [x].",
         ES_BROKEN},
        {ES_ITEM, 400, "illegal_argument_exception",
         "only write ops with an op_type of create are allowed in data streams", ES_BROKEN},
        {ES_ITEM, 400, "illegal_argument_exception",
         "Limit of total fields [1000] has been exceeded", ES_REJECTED},
        {ES_ITEM, 400, "illegal_argument_exception", "pipeline with id [x] does not exist",
         ES_NO_PIPELINE},
        {ES_ITEM, 500, "illegal_state_exception",
         "Pipeline processor configured for non-existent pipeline [x]", ES_NO_PIPELINE},
        {ES_ITEM, 500, "illegal_state_exception", "Cycle detected for pipeline: a", ES_NO_PIPELINE},
        {ES_ITEM, 500, "graph_structure_exception", "Cycle detected for pipeline: a",
         ES_NO_PIPELINE},
        {ES_ITEM, 500, "illegal_state_exception",
         "index cycle detected while processing pipeline [r1] for document [2]: [z1, z2, z1]",
         ES_BROKEN},
        {ES_ITEM, 409, "version_conflict_engine_exception",
         "[1]: version conflict, required seqNo [3], primary term [0]. but no document was found",
         ES_BROKEN},
        {ES_ITEM, 500, "illegal_state_exception",
         "final pipeline [x] can't change the target index", ES_BROKEN},
        {ES_ITEM, 500, "find_match", "Unable to find match for dissect pattern", ES_REJECTED},
        {ES_ITEM, 500, "class_cast_exception", "", ES_REJECTED},
        {ES_ITEM, 500, "null_pointer_exception", "", ES_REJECTED},
        {ES_ITEM, 500, "arithmetic_exception", "", ES_REJECTED},
        {ES_ITEM, 500, "unsupported_operation_exception", "", ES_REJECTED},
        {ES_ITEM, 500, "ingest_processor_exception", "", ES_REJECTED},
        {ES_ITEM, 409, "version_conflict_engine_exception",
         "[1]: version conflict, document does not exist (expected version [5])", ES_BROKEN},
        {ES_ITEM, 409, "version_conflict_engine_exception",
         "[1]: version conflict, current version [6] is different than the one provided [5]",
         ES_BROKEN},
        {DATA, 500, "illegal_state_exception",
         "There are no ingest nodes in this cluster, unable to forward request", ES_AGAIN},
        {ES_ITEM, 400, "mapper_parsing_exception", "failed to parse", ES_REJECTED},
        {ES_ITEM, 400, "strict_dynamic_mapping_exception", "not allowed", ES_REJECTED},
        {ES_ITEM, 404, "resource_not_found_exception", "", ES_REJECTED},
        {REQUEST, 301, "", "", ES_BROKEN},
        {REQUEST, 400, "illegal_argument_exception", "explicit index in bulk is not allowed",
         ES_BROKEN},
        {REQUEST, 400, "", "no handler found for uri [/x] and method [GET]", ES_BROKEN},
        {REQUEST, 404, "", "", ES_BROKEN},
        {REQUEST, 405, "", "", ES_BROKEN},
    };
    size_t n;
    const struct es_rule *rules = es_rules(&n);
    bool *seen = calloc(n, sizeof *seen);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned part = ES_WHOLE; part <= ES_ITEM; part <<= 1) {
            struct es_error error = {0};
            if (!(cases[i].parts & part))
                continue;
            snprintf(error.type, sizeof error.type, "%s", cases[i].type);
            snprintf(error.reason, sizeof error.reason, "%s", cases[i].reason);
            const struct es_rule *rule = es_judge(part, cases[i].status, &error);
            if (!rule || rule->verdict != cases[i].verdict)
                fail_msg("case %zu of part %u: not so", i, part);
            seen[rule - rules] = true;
        }
    for (size_t i = 0; i < n; i++)
        if (!seen[i])
            fail_msg("row %zu of the table: no case here needs it", i + 1);
    free(seen);
    struct es_error none = {0};
    assert_null(es_judge(ES_ITEM, 199, &none));
    assert_null(es_judge(ES_ITEM, 200, &none));
    assert_null(es_judge(ES_ITEM, 302, &none));
    assert_null(es_judge(ES_ITEM, 600, &none));
    assert_null(es_judge(ES_WHOLE, 101, &none));
    assert_null(es_judge(ES_ITEM, INT64_MAX, &none));
}

static void a_request_about_documents_outlives_a_node_that_leaves(void **state)
{
    (void)state;
    struct es_answer a = {.status = 500};
    struct err e = {0};
    assert_false(es_check(&a, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_false(es_check_documents(&a, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    a.status = 100;
    assert_false(es_check_documents(&a, &e));
    assert_int_equal(e.kind, ERR_FINAL);
}

static void what_comes_with_200_and_does_not_fit_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum err_kind kind;
        const char *text;
    } cases[] = {
        {"", ERR_PASSING, "damaged answer: WHY"},
        {"{\"a\":1}", ERR_PASSING, "damaged answer: WHY"},
        {"\r\n<html>\r\n<title>Sign in", ERR_PASSING,
         "damaged answer: WHY; it begins with '<html>'"},
        {"{\"error\":{\"type\":\"t\",\"reason\":\"r\"}}", ERR_PASSING,
         "the search server answered 200, but with an error: t: r"},
        {"{\"error\":{\"type\":\"t\",\"reason\":\"r\"},\"status\":503}", ERR_PASSING,
         "the search server answered 200, but with an error: t: r"},
        {"{\"status\":401,\"error\":\"Unauthorized\"}", ERR_FINAL,
         "the search server answered 200, but with an error: Unauthorized"},
        {"{\"error\":{\"type\":\"t\",\"reason\":\"r\"},\"status\":\"400\"", ERR_PASSING,
         "the search server answered 200, but with an error: t: r"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        assert_false(es_unfit(cases[i].body, strlen(cases[i].body), "WHY", &e));
        assert_int_equal(e.kind, cases[i].kind);
        assert_string_equal(e.text, cases[i].text);
    }
}

static void retry_after_may_be_a_date(void **state)
{
    (void)state;
    char header[100], date[60];
    time_t then = time(NULL) + 30;
    struct tm tm;
    gmtime_r(&then, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    snprintf(header, sizeof header, "Retry-After: %s\r\n", date);
    struct es_answer a = {0};
    struct err e = {0};
    fake_start(&fake, STEPS({.status = 429, .body = "", .headers = header}));
    assert_true(get(fake.url, &a, &e));
    assert_in_range(a.retry_after_ms, 20000, 31000);
    es_answer_free(&a);
    fake_stop(&fake);
}

static void refusals_have_a_hint(void **state)
{
    (void)state;
    struct es_answer a = {.status = 401};
    struct err e = {0};
    assert_false(es_check(&a, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_true(e.hint[0]);
    a.status = 403;
    a.privilege = "'write'";
    assert_false(es_check(&a, &e));
    assert_string_equal(e.hint, "it requires the privilege 'write'");
}

/* Elasticsearch 7.10 quotes the request it could not parse, with its headers. */
static void reason_never_holds_the_credentials_that_a_server_quotes(void **state)
{
    (void)state;
    struct es_answer a = {.status = 400};
    buf_init(&a.body, 10000);
    buf_adds(
        &a.body,
        "{\"error\":{\"type\":\"t\",\"reason\":\"end of input\\n at [Source: (byte[])\\\"POST /x "
        "HTTP/1.1\\r\\nAuthorization: Basic am9lOnMzY3JldA==\\r\\n\\\"; line: 1]\"}}");
    char out[300];
    es_reason(&a, out, sizeof out);
    assert_string_equal(out, "t: end of input  at");
    buf_clear(&a.body);
    buf_adds(&a.body, "GET / authorization: Basic am9lOnMzY3JldA==");
    es_reason(&a, out, sizeof out);
    assert_null(strstr(out, "am9l"));
    es_answer_free(&a);
}

static void reason_is_cut_at_a_character_and_keeps_its_cause(void **state)
{
    (void)state;
    struct es_answer a = {.status = 400};
    buf_init(&a.body, 10000);
    buf_adds(&a.body, "{\"error\":{\"type\":\"t\",\"reason\":\"");
    for (int i = 0; i < 400; i++)
        buf_adds(&a.body, "\xD0\xB6");
    buf_adds(&a.body, "\",\"caused_by\":{\"type\":\"c\",\"reason\":\"why\"}}}");
    for (size_t size = 40; size < 400; size++) {
        char out[400];
        es_reason(&a, out, size);
        size_t len = strlen(out);
        assert_true(len < size && len <= 300);
        assert_non_null(strstr(out, "\xD0\xB6 (caused by c: why)"));
    }
    es_answer_free(&a);
}

static void a_cut_error_never_harms(void **state)
{
    (void)state;
    static const char whole[] = "{\"error\":{\"root_cause\":[{\"type\":\"a\"}],\"type\":\"t\","
                                "\"reason\":\"r\",\"caused_by\":"
                                "{\"type\":\"\\u0436\",\"reason\":null}},\"status\":400}";
    for (size_t n = 0; n < sizeof whole; n++) {
        struct es_answer a = {.status = 400};
        buf_init(&a.body, 10000);
        char *exact = malloc(n + 1); /* the sanitizer sees a read behind it */
        memcpy(exact, whole, n);
        a.body.data = exact;
        a.body.len = n;
        char out[300];
        es_reason(&a, out, sizeof out);
        assert_true(out[0]);
        struct err e;
        assert_false(es_check(&a, &e));
        free(exact);
    }
}

/* ---- answers that don't ---- */

static void fails_as(struct fake_step step, enum err_kind kind, const char *part)
{
    struct es_answer a = {0};
    struct err e = {0};
    fake_start(&fake, &step, 1);
    assert_false(get(fake.url, &a, &e));
    assert_int_equal(e.kind, kind);
    if (!strstr(e.text, part))
        fail_msg("'%s' lacks '%s'", e.text, part);
    assert_non_null(strstr(e.text, fake.url));
    assert_int_equal(a.status, 0);
    assert_int_equal(a.body.len, 0);
    es_answer_free(&a);
    fake_stop(&fake);
}

static void what_is_not_whole_is_no_answer(void **state)
{
    (void)state;
    fails_as(
        (struct fake_step){.status = 200, .body = "0123456789", .missing = 1, .end = FAKE_CLOSE},
        ERR_PASSING, "cut off");
    fails_as(
        (struct fake_step){.status = 200, .body = "0123456789", .missing = 10, .end = FAKE_RESET},
        ERR_PASSING, "could not reach");
    fails_as(
        (struct fake_step){
            .raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
            .end = FAKE_CLOSE},
        ERR_PASSING, "could not reach");
    fails_as((struct fake_step){.raw = "", .end = FAKE_CLOSE}, ERR_PASSING, "without an answer");
    fails_as((struct fake_step){.raw = "HTTP/1.1 200 O", .end = FAKE_RESET}, ERR_PASSING,
             "could not");
    fails_as((struct fake_step){.raw = "SSH-2.0-OpenSSH_9.2\r\n", .end = FAKE_CLOSE}, ERR_FINAL,
             "cannot reach");
}

static void an_answer_has_a_ceiling(void **state)
{
    (void)state;
    static char large[1 << 20] = "";
    memset(large, 'x', sizeof large - 1);
    struct fake_step step = {.status = 200, .body = large};
    fake_start(&fake, &step, 1);
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = fake.url}, &e));
    s.limits.max_body = sizeof large - 2;
    struct es *es = es_open(&s, &e);
    assert_false(es_request(es, &(struct es_call){.method = "GET", .path = "/"}, &a, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    es_answer_free(&a);
    es_close(es);
    s.limits.max_body = sizeof large - 1;
    es = es_open(&s, &e);
    assert_true(es_request(es, &(struct es_call){.method = "GET", .path = "/"}, &a, &e));
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
    fake_stop(&fake);
}

static void a_server_that_is_not_there_is_passing(void **state)
{
    (void)state;
    struct es_answer a = {0};
    struct err e = {0};
    fake_start(&fake, STEPS({.status = 200, .body = ""}));
    fake_stop(&fake);
    char url[100], text[200];
    snprintf(url, sizeof url, "http://joe:s3cret@%.50s", fake.url + 7);
    assert_false(get(url, &a, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    snprintf(text, sizeof text, "could not reach %.60s: Connection refused", fake.url);
    assert_string_equal(e.text, text);
    assert_false(get("http://joe:s3cret@no-such-host.invalid:9200", &a, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_null(strstr(e.text, "s3cret"));
    es_answer_free(&a);
}

static void a_frozen_server_is_passing(void **state)
{
    (void)state;
    fails_as((struct fake_step){.end = FAKE_HANG}, ERR_PASSING, "not a byte moved for 1 s");
}

static void tls_to_a_server_without_it_fails(void **state)
{
    (void)state;
    fake_start(&fake, STEPS({.raw = "HTTP/1.1 400 Bad\r\n\r\n", .early = true, .end = FAKE_CLOSE}));
    char url[100];
    snprintf(url, sizeof url, "https://joe:s3cret@%.50s", fake.url + 7);
    struct es_answer a = {0};
    struct err e = {0};
    assert_false(get(url, &a, &e));
    assert_null(strstr(e.text, "s3cret"));
    es_answer_free(&a);
    fake_stop(&fake);
}

/* How often a 413 was seen in 10 requests whose body the server does not read. */
static int send_large(struct fake_step step)
{
    static char large[8 << 20];
    memset(large, 'x', sizeof large);
    fake_start(&fake, &step, 1);
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = fake.url}, &e));
    struct es *es = es_open(&s, &e);
    int seen = 0;
    for (int i = 0; i < 10; i++) {
        bool ok = es_request(
            es,
            &(struct es_call){.method = "POST", .path = "/", .body = large, .len = sizeof large},
            &a, &e);
        assert_true(ok ? a.status == 413 : e.kind == ERR_PASSING);
        seen += ok;
    }
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
    fake_stop(&fake);
    return seen;
}

static void a_413_counts_even_if_the_connection_breaks(void **state)
{
    (void)state;
    struct fake_step step = {
        .status = 413, .body = "no", .early = true, .end = FAKE_RESET, .pause_ms = 100};
    assert_int_equal(send_large(step), 10);
    step.missing = 1;
    assert_int_equal(send_large(step), 10);
    step.pause_ms = 0; /* here the kernel may have thrown the answer away: passing, then */
    send_large(step);
}

/* ---- stopping: in a child, a process is stopped only once ---- */

#define CHECK(condition)                                                                           \
    do                                                                                             \
        if (!(condition)) {                                                                        \
            dprintf(2, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                     \
            _exit(100);                                                                            \
        }                                                                                          \
    while (0)

static void *stop_soon(void *arg)
{
    (void)arg;
    usleep(200000);
    kill(getpid(), SIGTERM);
    return NULL;
}

static void child_in_flight(void)
{
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    fake_start(&fake, STEPS({.end = FAKE_HANG}));
    CHECK(stop_init(&e) && es_server_init(&s, &(struct es_config){.url = fake.url}, &e));
    s.limits.stop_ms = 400;
    struct es *es = es_open(&s, &e);
    pthread_t t;
    pthread_create(&t, NULL, stop_soon, NULL);
    int64_t start = clock_mono_us();
    CHECK(!es_request(es, &(struct es_call){.method = "GET", .path = "/"}, &a, &e));
    int64_t spent = clock_mono_us() - start;
    pthread_join(t, NULL);
    CHECK(e.kind == ERR_STOPPED);
    CHECK(spent >= 550000 && spent < 5000000);
    fake_stop(&fake);
}

static void child_after_stop(void)
{
    struct es_server s;
    struct err e = {0};
    struct es_answer a = {0};
    fake_start(&fake, STEPS({.status = 200, .body = "ok"}));
    CHECK(stop_init(&e) && es_server_init(&s, &(struct es_config){.url = fake.url}, &e));
    struct es *es = es_open(&s, &e);
    raise(SIGTERM);
    CHECK(es_request(es, &(struct es_call){.method = "GET", .path = "/"}, &a, &e));
    CHECK(a.status == 200);
    fake_stop(&fake);
}

static void in_child(void (*body)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_stop_leaves_a_request_a_little_time_and_then_ends_it(void **state)
{
    (void)state;
    in_child(child_in_flight);
}

static void a_request_begun_after_the_stop_is_still_made(void **state)
{
    (void)state;
    in_child(child_after_stop);
}

/* What is done while a request waits. */
struct meanwhile {
    int pipe[2];
    int most, done; /* bytes: to be read, and that were */
};

static int meanwhile_fd(void *arg)
{
    const struct meanwhile *m = arg;
    return m->done < m->most ? m->pipe[0] : -1;
}

static void meanwhile_ready(void *arg)
{
    struct meanwhile *m = arg;
    char byte;
    assert_int_equal(read(m->pipe[0], &byte, 1), 1);
    m->done++;
}

static void something_else_is_read_while_an_answer_is_awaited(void **state)
{
    (void)state;
    struct es_server s;
    struct err e;
    struct es_answer a = {0};
    struct meanwhile m = {.most = 3};
    assert_int_equal(pipe(m.pipe), 0);
    assert_int_equal(write(m.pipe[1], "12345", 5), 5);
    fake_start(
        &fake,
        STEPS({.status = 200, .body = "ok", .missing = 1, .pause_ms = 300, .end = FAKE_CLOSE},
              {.status = 200, .body = "ok"}));
    assert_true(es_server_init(&s, &(struct es_config){.url = fake.url}, &e));
    struct es *es = es_open(&s, &e);
    es_set_meanwhile(es, &(struct es_meanwhile){meanwhile_fd, meanwhile_ready, &m});
    struct es_call call = {.method = "GET", .path = "/"};
    assert_false(es_request(es, &call, &a, &e)); /* half an answer, for a while */
    assert_int_equal(m.done, 3);                 /* and no more than was asked for */
    es_set_meanwhile(es, NULL);
    m.most = 5;
    assert_true(es_request(es, &call, &a, &e));
    assert_int_equal(m.done, 3);
    es_close(es);
    es_answer_free(&a);
    es_server_free(&s);
    fake_stop(&fake);
    close(m.pipe[0]);
    close(m.pipe[1]);
}

static bool walk(struct err *e)
{
    struct es_server s;
    struct es_answer a = {0};
    static const char body[2000];
    char urls[200]; /* the first node is not there */
    snprintf(urls, sizeof urls, "http://joe:x@127.0.0.1:1/p/, http://joe:x@%.50s", fake.url + 7);
    bool ok = es_server_init(&s, &(struct es_config){.url = urls, .compress = 1}, e);
    if (ok) {
        struct es *es = es_open(&s, e);
        ok = es && es_request(es,
                              &(struct es_call){
                                  .method = "POST", .path = "/", .body = body, .len = sizeof body},
                              &a, e);
        es_close(es);
    }
    es_answer_free(&a);
    es_server_free(&s);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    fake_start(&fake, STEPS({.status = 200, .body = "ok"}));
    bool done = false;
    for (int n = 0; !done; n++) {
        struct err e = {0};
        allocations_left = n;
        done = walk(&e);
        allocations_left = -1;
    }
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_is_never_asked_for_through_a_proxy),
        cmocka_unit_test(paths_are_escaped),
        cmocka_unit_test(requests_go_round_the_nodes_each_with_its_own_password),
        cmocka_unit_test(another_node_takes_over_where_one_gives_no_answer),
        cmocka_unit_test(an_answer_is_taken_unless_it_says_that_nobody_is_there),
        cmocka_unit_test(with_no_node_left_the_last_failure_is_told),
        cmocka_unit_test(each_connection_asks_where_the_name_is_now),
        cmocka_unit_test(a_connection_is_not_used_for_ever),
        cmocka_unit_test(a_server_may_have_an_ipv6_address),
        cmocka_unit_test(bodies_are_compressed_where_it_is_worth_it),
        cmocka_unit_test(requests_share_one_connection_and_carry_what_they_should),
        cmocka_unit_test(statuses_are_classified),
        cmocka_unit_test(a_redirect_is_told_without_its_secrets),
        cmocka_unit_test(an_answer_that_comes_compressed_is_unpacked),
        cmocka_unit_test(each_row_of_the_table_decides_about_something),
        cmocka_unit_test(a_request_about_documents_outlives_a_node_that_leaves),
        cmocka_unit_test(what_comes_with_200_and_does_not_fit_is_told),
        cmocka_unit_test(retry_after_may_be_a_date),
        cmocka_unit_test(refusals_have_a_hint),
        cmocka_unit_test(reason_never_holds_the_credentials_that_a_server_quotes),
        cmocka_unit_test(reason_is_cut_at_a_character_and_keeps_its_cause),
        cmocka_unit_test(a_cut_error_never_harms),
        cmocka_unit_test(what_is_not_whole_is_no_answer),
        cmocka_unit_test(an_answer_has_a_ceiling),
        cmocka_unit_test(a_server_that_is_not_there_is_passing),
        cmocka_unit_test(a_frozen_server_is_passing),
        cmocka_unit_test(tls_to_a_server_without_it_fails),
        cmocka_unit_test(a_413_counts_even_if_the_connection_breaks),
        cmocka_unit_test(a_stop_leaves_a_request_a_little_time_and_then_ends_it),
        cmocka_unit_test(a_request_begun_after_the_stop_is_still_made),
        cmocka_unit_test(something_else_is_read_while_an_answer_is_awaited),
        cmocka_unit_test(every_allocation_may_fail),
    };
    signal(SIGPIPE, SIG_IGN); /* as stop_init does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
