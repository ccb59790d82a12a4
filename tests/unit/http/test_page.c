/* The policy names the page's own scripts and styles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "http/page.h"

#define REST                                                                                       \
    "; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "                   \
    "frame-ancestors 'none'"

static void check(const char *html, const char *expected)
{
    struct buf b;
    buf_init(&b, 10000);
    page_policy(html, strlen(html), &b);
    assert_string_equal(buf_cstr(&b), expected);
    buf_free(&b);
}

static void each_script_and_style_is_named_by_its_hash(void **state)
{
    (void)state;
    /* printf %s 'alert(1)' | openssl dgst -sha256 -binary | base64 */
    check("<style></style><p><script>alert(1)</script><script>alert(1)</script>",
          "default-src 'none'; script-src"
          " 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
          " 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
          "; style-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='" REST);
}

static void what_is_no_whole_element_is_not_named(void **state)
{
    (void)state;
    check("<script>alert(1)", "default-src 'none'; script-src; style-src" REST);
    check("", "default-src 'none'; script-src; style-src" REST);
}

static void the_page_in_the_binary_is_the_file(void **state)
{
    (void)state;
    const char start[] = "<!DOCTYPE html>";
    assert_true(page_html_size > sizeof start);
    assert_memory_equal(page_html, start, sizeof start - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_script_and_style_is_named_by_its_hash),
        cmocka_unit_test(what_is_no_whole_element_is_not_named),
        cmocka_unit_test(the_page_in_the_binary_is_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
