/* What is given is settled once: who is stronger, what excludes what, and what the headers say
 * then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "es/es_security.h"
#include "es/sigv4.h"
#include "torture.h"

#include <stdlib.h>
#include <string.h>

#define FINGERPRINT "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static const char *const variables[] = {"USER",       "PASSWORD", "API_KEY",        "BEARER_TOKEN",
                                        "AWS_SIGV4",  "CA",       "CA_FINGERPRINT", "CLIENT_CERT",
                                        "CLIENT_KEY", "VERIFY"};

static void forget(void)
{
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        char name[60];
        snprintf(name, sizeof name, "ELASTICSEARCH_%s", variables[i]);
        unsetenv(name);
    }
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("CREDENTIALS_DIRECTORY");
}

static int fresh(void **state)
{
    (void)state;
    forget();
    return 0;
}

#define GIVEN(...) (&(struct es_security){.verify = true, __VA_ARGS__})

static void the_environment_is_stronger_than_the_script(void **state)
{
    (void)state;
    struct es_security s;
    struct err e;
    assert_true(es_security_read(&s, GIVEN(.user = NULL), false, &e));
    assert_true(!s.user && !s.password && !s.api_key && !s.ca && s.verify);
    es_security_free(&s);
    setenv("ELASTICSEARCH_PASSWORD", "stronger", 1);
    assert_true(es_security_read(&s, GIVEN(.user = "joe", .password = "weaker"), false, &e));
    assert_string_equal(s.user, "joe");
    assert_string_equal(s.password, "stronger");
    es_security_free(&s);
    es_security_free(&s);
    assert_true(es_security_read(&s, GIVEN(.user = NULL), true, &e)); /* to the user in the URL */
    es_security_free(&s);
}

static void verification_is_off_only_where_that_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *variable;
        bool given, settled;
    } cases[] = {{"", true, true},      {"", false, false},     {"true", true, true},
                 {"true", false, true}, {"false", true, false}, {"false", false, false}};
    struct es_security s;
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("ELASTICSEARCH_VERIFY", cases[i].variable, 1);
        assert_true(
            es_security_read(&s, &(struct es_security){.verify = cases[i].given}, false, &e));
        assert_int_equal(s.verify, cases[i].settled);
        es_security_free(&s);
    }
    setenv("ELASTICSEARCH_VERIFY", "no", 1);
    assert_false(es_security_read(&s, GIVEN(.user = NULL), false, &e));
    assert_string_equal(e.text, "ELASTICSEARCH_VERIFY must be 'true' or 'false', not 'no'");
}

static void refuses(const struct es_security *given, bool in_url, const char *text)
{
    struct es_security s;
    struct err e = {0};
    assert_false(es_security_read(&s, given, in_url, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    assert_string_equal(e.text, text);
    es_security_free(&s);
}

static void contradictions_are_told(void **state)
{
    (void)state;
#define BOTH(a, b) "the search server is given " a " and " b ", which exclude each other"
    refuses(GIVEN(.api_key = "k", .password = "s3cret"), false, BOTH("api_key", "password"));
    refuses(GIVEN(.api_key = "k", .user = "u"), false, BOTH("api_key", "user"));
    refuses(GIVEN(.api_key = "k", .bearer_token = "t"), false, BOTH("api_key", "bearer_token"));
    refuses(GIVEN(.bearer_token = "t"), true, BOTH("bearer_token", "a user in the url"));
    refuses(GIVEN(.api_key = "k", .aws_sigv4 = "aws:amz:r:es"), false,
            BOTH("api_key", "aws_sigv4"));
    refuses(GIVEN(.aws_sigv4 = "aws:amz:r:es"), true, BOTH("aws_sigv4", "a user in the url"));
    refuses(GIVEN(.password = "s3cret"), false,
            "the search server is given a password, but no user");
    refuses(GIVEN(.aws_sigv4 = "aws:amz:r:es"), false,
            "sink.aws_sigv4 needs an access key, and none is set");
    refuses(GIVEN(.aws_sigv4 = "es", .user = "u", .password = "p"), false,
            "sink.aws_sigv4 is 'es' instead of aws:amz:REGION:SERVICE");
    refuses(
        GIVEN(.api_key = "a\r\nX: y"), false,
        "sink.api_key (ELASTICSEARCH_API_KEY) contains a line break or another control character");
    refuses(GIVEN(.api_key = "ApiKey s3cret"), false,
            "sink.api_key (ELASTICSEARCH_API_KEY) begins with 'ApiKey '");
    refuses(GIVEN(.bearer_token = "bearer s3cret"), false,
            "sink.bearer_token (ELASTICSEARCH_BEARER_TOKEN) begins with 'Bearer '");
    refuses(GIVEN(.ca_fingerprint = "00:11"), false,
            "sink.ca_fingerprint is not a SHA-256 fingerprint of 64 hexadecimal digits");
    refuses(GIVEN(.ca_fingerprint = FINGERPRINT, .ca = "/etc/hostname"), false,
            BOTH("ca", "ca_fingerprint"));
    refuses(GIVEN(.client_key = "/etc/hostname"), false,
            "the search server is given client_key, but no client_cert");
    refuses(GIVEN(.ca = "/no/such"), false,
            "cannot read sink.ca from file '/no/such': No such file or directory");
    setenv("ELASTICSEARCH_API_KEY", "k", 1);
    refuses(GIVEN(.user = "u", .password = "s3cret"), false, BOTH("api_key", "user"));
}

/* The headers of one request, each on a line. */
static const char *headers(const struct es_security *given)
{
    static char text[2000];
    struct es_security s;
    struct err e;
    struct curl_slist *list = NULL;
    assert_true(es_security_read(&s, given, false, &e));
    assert_true(es_security_headers(&s, &(struct sigv4_request){"GET", "http://h:1/x", NULL, 0},
                                    &list, &e));
    text[0] = '\0';
    size_t len = 0;
    for (struct curl_slist *i = list; i; i = i->next)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s\n", i->data);
    curl_slist_free_all(list);
    es_security_free(&s);
    return text;
}

static void headers_say_who_we_are(void **state)
{
    (void)state;
    assert_string_equal(headers(GIVEN(.user = NULL)), "");
    /* libcurl's own affair */
    assert_string_equal(headers(GIVEN(.user = "u", .password = "p")), "");
    assert_string_equal(headers(GIVEN(.bearer_token = "t")), "Authorization: Bearer t\n");
    assert_string_equal(headers(GIVEN(.api_key = "aWQ6a2V5")), "Authorization: ApiKey aWQ6a2V5\n");
    assert_string_equal(headers(GIVEN(.api_key = "id:key")), "Authorization: ApiKey aWQ6a2V5\n");
    setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s3cret", 1);
    setenv("AWS_SESSION_TOKEN", "token", 1);
    const char *text = headers(GIVEN(.aws_sigv4 = "aws:amz:r:es"));
    assert_non_null(strstr(text, "Host: h:1\n"));
    assert_non_null(strstr(text, "X-Amz-Security-Token: token\n"));
    assert_non_null(strstr(text, "Authorization: AWS4-HMAC-SHA256 Credential=AKID/"));
    assert_null(strstr(text, "s3cret"));
    text = headers(GIVEN(.aws_sigv4 = "aws:amz:r:es", .user = "OTHER", .password = "p"));
    assert_non_null(strstr(text, "Credential=OTHER/"));
    assert_null(strstr(text, "X-Amz-Security-Token")); /* that of another key */
}

static void an_api_key_without_an_id_is_doubted(void **state)
{
    (void)state;
    assert_null(es_security_doubt(GIVEN(.bearer_token = "t")));
    assert_null(es_security_doubt(GIVEN(.api_key = "id:key")));
    assert_null(es_security_doubt(GIVEN(.api_key = "aWQ6a2V5"))); /* "id:key" */
    const char *wrong[] = {"", "key", "keys", "a2V5", "====", "aWQ6a2V5x", "aWQ6 2V5"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_non_null(es_security_doubt(GIVEN(.api_key = (char *)wrong[i])));
}

static void the_first_difference_is_named(void **state)
{
    (void)state;
    assert_null(es_security_changed(GIVEN(.user = "a"), GIVEN(.user = "a")));
    assert_string_equal(es_security_changed(GIVEN(.user = "a"), GIVEN(.user = "b")), "sink.user");
    assert_string_equal(es_security_changed(GIVEN(.user = "a"), GIVEN(.user = "a", .ca = "c")),
                        "sink.ca");
    assert_string_equal(
        es_security_changed(GIVEN(.user = NULL), &(struct es_security){.verify = false}),
        "sink.verify");
}

/* kind ERR_NONE: it is none of TLS's affairs. */
static void fails_as(struct es_handshake h, CURLcode code, enum err_kind kind, const char *text,
                     bool hint)
{
    CURL *curl = curl_easy_init();
    struct es_security s = {.verify = true};
    struct err e = {0};
    h.security = &s;
    assert_int_equal(es_security_failed(&h, curl, code, "https://h", &e), kind != ERR_NONE);
    assert_int_equal(e.kind, kind);
    assert_string_equal(e.text, text);
    assert_int_equal(e.hint[0] != '\0', hint);
    curl_easy_cleanup(curl);
}

/* Certificates themselves: tests/test_security_search.py. */
static void a_failed_handshake_is_final_only_if_somebody_refused(void **state)
{
    (void)state;
    fails_as((struct es_handshake){0}, CURLE_COULDNT_CONNECT, ERR_NONE, "", false);
    fails_as((struct es_handshake){0}, CURLE_RECV_ERROR, ERR_NONE, "", false);
    fails_as((struct es_handshake){0}, CURLE_SSL_CONNECT_ERROR, ERR_PASSING,
             "could not reach https://h: the TLS handshake broke off", false);
    fails_as((struct es_handshake){.alert = 80}, CURLE_SSL_CONNECT_ERROR, ERR_PASSING,
             "could not reach https://h: the TLS handshake broke off (internal error)", false);
    fails_as((struct es_handshake){.alert = 116}, CURLE_RECV_ERROR, ERR_FINAL,
             "cannot reach https://h: it refuses our TLS handshake (certificate required)", true);
    fails_as((struct es_handshake){.alert = 48}, CURLE_SSL_CONNECT_ERROR, ERR_FINAL,
             "cannot reach https://h: it refuses our TLS handshake (unknown CA)", true);
    fails_as((struct es_handshake){.alert = 70}, CURLE_SSL_CONNECT_ERROR, ERR_FINAL,
             "cannot reach https://h: it refuses our TLS handshake (protocol version)", false);
    fails_as((struct es_handshake){.our_alert = true}, CURLE_SSL_CONNECT_ERROR, ERR_FINAL,
             "cannot reach https://h: OpenSSL on this machine accepts none of its TLS versions and "
             "ciphers",
             false);
    fails_as((struct es_handshake){.not_tls = true}, CURLE_SSL_CONNECT_ERROR, ERR_FINAL,
             "cannot reach https://h: the server does not speak TLS", true);
}

static void a_forbidden_request_names_its_privilege(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"POST", "/movies/_bulk", "'write'"},
        {"POST", "/a/prefix/movies/_refresh", "'maintenance'"},
        {"POST", "/movies/_mget?_source=true", "'read'"},
        {"POST", "/movies/_search?scroll=5m", "'read'"},
        {"POST", "/_search/scroll", "'read'"},
        {"DELETE", "/_search/scroll", "'read'"},
        {"GET", "/movies/_settings/index.uuid,index.gc_deletes?flat_settings=true",
         "'view_index_metadata'"},
        {"GET", "/movies/_mapping", "'view_index_metadata'"},
        {"GET", "/movies", "'view_index_metadata'"},
        {"PUT", "/movies", "'create_index'"},
        {"DELETE", "/movies", "'delete_index'"},
        {"PUT", "/movies/_settings", "'manage'"},
        {"POST", "/_aliases", "'manage'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *privilege = es_security_privilege(cases[i][0], cases[i][1]);
        if (!privilege || strncmp(privilege, cases[i][2], strlen(cases[i][2])) != 0)
            fail_msg("%s %s: %s", cases[i][0], cases[i][1], privilege ? privilege : "none");
    }
    assert_null(es_security_privilege("POST", "/movies"));
}

static void reading_bears_any_allocation_to_fail(void **state)
{
    (void)state;
    setenv("ELASTICSEARCH_PASSWORD", "p", 1);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct es_security s;
        struct err e;
        struct curl_slist *list = NULL;
        allocations_left = n;
        done = es_security_read(&s, GIVEN(.aws_sigv4 = "aws:amz:r:es", .user = "u"), false, &e) &&
               es_security_headers(&s, &(struct sigv4_request){"GET", "http://h/", NULL, 0}, &list,
                                   &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
        curl_slist_free_all(list);
        es_security_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_environment_is_stronger_than_the_script, fresh),
        cmocka_unit_test_setup(verification_is_off_only_where_that_is_said, fresh),
        cmocka_unit_test_setup(contradictions_are_told, fresh),
        cmocka_unit_test_setup(headers_say_who_we_are, fresh),
        cmocka_unit_test_setup(an_api_key_without_an_id_is_doubted, fresh),
        cmocka_unit_test_setup(the_first_difference_is_named, fresh),
        cmocka_unit_test_setup(a_failed_handshake_is_final_only_if_somebody_refused, fresh),
        cmocka_unit_test_setup(a_forbidden_request_names_its_privilege, fresh),
        cmocka_unit_test_setup(reading_bears_any_allocation_to_fail, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
