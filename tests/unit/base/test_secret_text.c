/* A text is made again when a secret in it has another value in its file, and only then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/secret_text.h"
#include "torture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/test_secret_text_XXXXXX";

static void write_secret(const char *name, const char *text)
{
    char path[200], variable[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(variable, sizeof variable, "%s_FILE", name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    setenv(variable, path, 1);
}

/* As a script does that asks for it. */
static void read_secret(const char *name)
{
    struct buf b;
    struct err e;
    bool found;
    buf_init(&b, SECRET_MAX);
    assert_true(secret_read(name, &b, &found, &e) && found);
    buf_free(&b);
}

static void set_secret(const char *name, const char *text)
{
    write_secret(name, text);
    read_secret(name);
}

static void becomes(struct secret_text *t, const char *text)
{
    struct err e;
    bool changed;
    assert_true(secret_text_renew(t, &changed, &e) && changed);
    assert_string_equal(t->text, text);
}

static void stays(struct secret_text *t, const char *text)
{
    struct err e;
    bool changed;
    assert_true(secret_text_renew(t, &changed, &e) && !changed);
    assert_string_equal(t->text, text);
}

static void secrets_in_a_text_are_found_and_replaced(void **state)
{
    (void)state;
    struct secret_text t;
    set_secret("T_USER", "v-token-1\n");
    set_secret("T_PASSWORD", "one");
    assert_true(secret_text_set(&t, "postgresql://v-token-1:one@host/movies"));
    stays(&t, "postgresql://v-token-1:one@host/movies");
    write_secret("T_PASSWORD", "a longer one");
    becomes(&t, "postgresql://v-token-1:a longer one@host/movies");
    stays(&t, "postgresql://v-token-1:a longer one@host/movies");
    write_secret("T_USER", "v-token-2");
    write_secret("T_PASSWORD", "2");
    becomes(&t, "postgresql://v-token-2:2@host/movies");
    char path[200];
    assert_true(secret_text_file(&t, path, sizeof path) && strstr(path, folder));
    secret_text_free(&t);
}

static void a_whole_text_is_one_secret(void **state)
{
    (void)state;
    struct secret_text t;
    set_secret("T_PASSWORD", "part");
    set_secret("T_URL", "http://etl:part@host");
    assert_true(secret_text_set(&t, "http://etl:part@host"));
    write_secret("T_PASSWORD", "other");
    stays(&t, "http://etl:part@host");
    write_secret("T_URL", "http://other:part@host");
    becomes(&t, "http://other:part@host");
    secret_text_free(&t);
}

static void what_may_be_something_else_stays(void **state)
{
    (void)state;
    struct secret_text t;
    char path[200];
    set_secret("T_PASSWORD", "twice");
    assert_true(secret_text_set(&t, "postgresql://twice:twice@host/movies"));
    write_secret("T_PASSWORD", "other");
    stays(&t, "postgresql://twice:twice@host/movies");
    assert_false(secret_text_file(&t, path, sizeof path));
    secret_text_free(&t);
    assert_true(secret_text_set(&t, NULL));
    assert_null(t.text);
    secret_text_free(&t);
}

static void a_file_that_cannot_be_read_changes_nothing(void **state)
{
    (void)state;
    struct secret_text t;
    struct err e;
    bool changed;
    set_secret("T_PASSWORD", "present");
    assert_true(secret_text_set(&t, "present"));
    write_secret("T_PASSWORD", "");
    assert_false(secret_text_renew(&t, &changed, &e));
    assert_false(changed);
    assert_string_equal(t.text, "present");
    assert_null(strstr(e.text, "present"));
    write_secret("T_PASSWORD", "next");
    becomes(&t, "next");
    secret_text_free(&t);
}

static void it_bears_any_allocation_to_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct secret_text t;
        struct err e;
        bool changed;
        set_secret("T_PASSWORD", "present");
        allocations_left = n;
        done = secret_text_set(&t, "a present text");
        allocations_left = -1;
        write_secret("T_PASSWORD", "absent");
        allocations_left = n;
        done = done && secret_text_renew(&t, &changed, &e);
        allocations_left = -1;
        if (done)
            assert_string_equal(t.text, "a absent text");
        secret_text_free(&t);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"T_USER", "T_PASSWORD", "T_URL"};
    char path[200];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_in_a_text_are_found_and_replaced),
        cmocka_unit_test(a_whole_text_is_one_secret),
        cmocka_unit_test(what_may_be_something_else_stays),
        cmocka_unit_test(a_file_that_cannot_be_read_changes_nothing),
        cmocka_unit_test(it_bears_any_allocation_to_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
