/* URLs: what may be shown and what may not; one, or several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "es/es_url.h"
#include "torture.h"

static void url_is_split_into_what_may_be_shown_and_what_may_not(void **state)
{
    (void)state;
    static const struct {
        const char *url, *clean, *userpwd;
        bool loopback;
    } cases[] = {
        {"http://127.0.0.1:9200", "http://127.0.0.1:9200", NULL, true},
        {"http://127.0.0.1:9200/", "http://127.0.0.1:9200", NULL, true},
        {"http://127.0.0.1:9200//", "http://127.0.0.1:9200", NULL, true},
        {"http://localhost:9200", "http://localhost:9200", NULL, true},
        {"https://es.example.org", "https://es.example.org", NULL, false},
        {"https://es.example.org/a/b/", "https://es.example.org/a/b", NULL, false},
        {"http://joe:s3%20cr%40t@[::1]:9200/x", "http://[::1]:9200/x", "joe:s3 cr@t", true},
        {"http://[2001:db8::1]:9200", "http://[2001:db8::1]:9200", NULL, false},
        {"http://joe@h:1", "http://h:1", "joe:", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct es_url *list;
        size_t n;
        struct err e = {0};
        assert_true(es_urls_parse(cases[i].url, &list, &n, &e));
        assert_int_equal(n, 1);
        assert_string_equal(list->text, cases[i].clean);
        if (cases[i].userpwd)
            assert_string_equal(list->userpwd, cases[i].userpwd);
        else
            assert_null(list->userpwd);
        assert_int_equal(list->loopback, cases[i].loopback);
        es_urls_free(list, n);
    }
}

static void several_stand_between_commas_and_a_password_may_hold_one(void **state)
{
    (void)state;
    struct es_url *list;
    size_t n;
    struct err e = {0};
    assert_true(
        es_urls_parse("http://joe:a,b@one:1/p , HTTPS://two,http://localhost:3", &list, &n, &e));
    assert_int_equal(n, 3);
    assert_string_equal(list[0].text, "http://one:1/p");
    assert_string_equal(list[0].userpwd, "joe:a,b");
    assert_string_equal(list[1].text, "https://two");
    assert_null(list[1].userpwd);
    assert_string_equal(list[2].text, "http://localhost:3");
    assert_false(list[1].loopback);
    assert_true(list[2].loopback);
    es_urls_free(list, n);
    es_urls_free(NULL, 0);
}

static void spaces_and_commas_too_many_do_not_count(void **state)
{
    (void)state;
    static const char *const lists[] = {"http://a:1,http://b:2", "http://a:1,http://b:2,",
                                        ",http://a:1,,http://b:2", " http://a:1 , http://b:2 ",
                                        "\thttp://a:1\n, ,http://b:2\r\n"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct es_url *list;
        size_t n;
        struct err e = {0};
        assert_true(es_urls_parse(lists[i], &list, &n, &e));
        assert_int_equal(n, 2);
        assert_string_equal(list[0].text, "http://a:1");
        assert_string_equal(list[1].text, "http://b:2");
        es_urls_free(list, n);
    }
}

static void a_list_of_another_form_is_explained(void **state)
{
    (void)state;
    static const char *const lists[] = {"http://a:1,b:2",
                                        "http://a,b",
                                        "http://a:1;http://b:2",
                                        "http://a:1 http://b:2",
                                        "http://joe:s3cret@a:1,b:2",
                                        "http://joe:s3,cret@a:1,b:2"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct es_url *list;
        size_t n;
        struct err e = {0};
        assert_false(es_urls_parse(lists[i], &list, &n, &e));
        assert_null(strstr(e.text, "s3"));
        assert_non_null(strstr(e.text, "it goes on after its host"));
        assert_non_null(strstr(e.hint, "each with its http:// or https://"));
    }
}

static void refused(const char *url)
{
    struct es_url *list;
    size_t n;
    struct err e = {0};
    assert_false(es_urls_parse(url, &list, &n, &e));
    assert_null(list);
    assert_int_equal(n, 0);
    assert_int_equal(e.kind, ERR_USAGE);
    assert_null(strstr(e.text, "s3cret"));
    assert_non_null(strstr(e.text, "not a search server's URL"));
    assert_int_equal(strncmp(e.text, "URL 2 of 2: ", 12) == 0, strstr(url, ",http") != NULL);
}

static void other_urls_are_refused_without_quoting_them(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "", "localhost:9200", "127.0.0.1", "ftp://joe:s3cret@h", "joe:s3cret@h:9200", "http://",
        "http://joe:s3cret@", "http://joe:s3cret@h:99999", "http://joe:s3cret@h/?q=1",
        "http://joe:s3cret@h/#x", "http://joe:12/s3cret@h:9200", "http://joe:a@h/s3cret@h:9200",
        /* an IPv6 zone that is none */
        "https:/10cr%40t@[::1%10cr%40t@[::1]", "http://joe:s3cret%01@h/", "http://joe:s3cret@h h/",
        "file:///etc/passwd", "http://::1:9200", "http://joe:s3cret@2001:db8::1", ",", " ",
        "http://a:1,b:2", "http://c/x,//", "http:/a|b:1", "http://a,http://",
        "http://a,http://joe:s3cret@h/?q=1"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        refused(urls[i]);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct es_url *list;
        size_t many;
        struct err e = {0};
        allocations_left = n;
        done = es_urls_parse("http://joe:x@h:1/p/,https://two", &list, &many, &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
        es_urls_free(list, many);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(url_is_split_into_what_may_be_shown_and_what_may_not),
        cmocka_unit_test(several_stand_between_commas_and_a_password_may_hold_one),
        cmocka_unit_test(spaces_and_commas_too_many_do_not_count),
        cmocka_unit_test(a_list_of_another_form_is_explained),
        cmocka_unit_test(other_urls_are_refused_without_quoting_them),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
