/* A signature is the one that Amazon computes, from the request as it is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "es/sigv4.h"
#include "torture.h"

#include <stdio.h>
#include <string.h>

enum { THEN = 1440938160 }; /* 2015-08-30T12:36:00Z, as in Amazon's own examples */

static struct sigv4 example(const char *token)
{
    return (struct sigv4){.key_id = "AKIDEXAMPLE",
                          .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                          .token = token,
                          .region = "us-east-1",
                          .service = "es"};
}

static void assert_signature(const char *method, const char *url, const char *body,
                             const char *token, const char *signature)
{
    struct sigv4 s = example(token);
    struct buf out;
    struct err e;
    buf_init(&out, 10000);
    assert_true(
        sigv4_sign(&s, &(struct sigv4_request){method, url, body, strlen(body)}, THEN, &out, &e));
    const char *text = buf_cstr(&out), *found = strstr(text, "Signature=");
    assert_non_null(found);
    assert_memory_equal(found + 10, signature, 64);
    assert_null(strstr(text, "wJalr"));
    assert_non_null(strstr(text, "\nX-Amz-Date: 20150830T123600Z\n"));
    assert_true(!token || strstr(text, "\nX-Amz-Security-Token: TOKEN\n"));
    buf_free(&out);
}

/* Expected: computed by a program of its own, which also gives the signature of Amazon's example
 * get-vanilla. */
static void the_request_is_signed_in_its_canonical_form(void **state)
{
    (void)state;
    assert_signature("GET", "https://example.amazonaws.com/", "", NULL,
                     "8d90246b87822be8b1a6611cf037eed27ccd13549d8bb32d4a29f8012c87f55c");
    assert_signature("GET", "https://example.amazonaws.com:443", "", NULL,
                     "8d90246b87822be8b1a6611cf037eed27ccd13549d8bb32d4a29f8012c87f55c");
    assert_signature("POST", "http://h:9200/a%3Ab/_settings/x,y?b=2&a=1,%2c&c&a=%20&a-b=1", "{}\n",
                     "TOKEN", "0da2bb927febaf4dd5abfebea4e15a77892802d8e7d735b9fd96bf87c80cb9ad");
}

static void the_host_is_named_as_libcurl_does(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"https://h:443/x", "h"},
        {"http://h:80", "h"},
        {"http://h:443/x", "h:443"},
        {"https://h:80", "h:80"},
        {"http://[::1]:9200/", "[::1]:9200"},
        {"https://h?q", "h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 100);
        sigv4_add_host(&b, cases[i][0]);
        assert_string_equal(buf_cstr(&b), cases[i][1]);
        buf_free(&b);
    }
}

static void scope_is_read(void **state)
{
    (void)state;
    struct sigv4 s;
    assert_true(sigv4_scope(&s, "aws:amz:eu-central-1:es"));
    assert_string_equal(s.region, "eu-central-1");
    assert_string_equal(s.service, "es");
    static const char *const bad[] = {
        "", "aws:amz", "aws:amz::es", "aws:amz:r:", "aws:amz:r", "osc:osc:r:s", "aws:amz:r:s:t"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(sigv4_scope(&s, bad[i]));
}

static void signing_bears_any_allocation_to_fail(void **state)
{
    (void)state;
    struct sigv4 s = example("TOKEN");
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf out;
        struct err e;
        buf_init(&out, 10000);
        allocations_left = n;
        done = sigv4_sign(&s, &(struct sigv4_request){"GET", "http://h/x?a=1&b", NULL, 0}, THEN,
                          &out, &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_signed_in_its_canonical_form),
        cmocka_unit_test(the_host_is_named_as_libcurl_does),
        cmocka_unit_test(scope_is_read),
        cmocka_unit_test(signing_bears_any_allocation_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
