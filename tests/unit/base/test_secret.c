/* A secret comes from the first place that has one, and a place that cannot be read is told,
 * without its content. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/secret.h"
#include "torture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/test_secret_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text, size_t len)
{
    const char *path = path_of(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, len) == (ssize_t)len);
    close(fd);
    return path;
}

static void forget(void)
{
    unsetenv("MY_SECRET");
    unsetenv("MY_SECRET_FILE");
    unsetenv("CREDENTIALS_DIRECTORY");
}

/* NULL: none is found, or that failed: then e.kind is not ERR_NONE. */
static const char *read_secret(struct err *e)
{
    static char text[1000];
    struct buf b;
    bool found = false;
    buf_init(&b, SECRET_MAX);
    *e = (struct err){0};
    bool ok = secret_read("MY_SECRET", &b, &found, e);
    snprintf(text, sizeof text, "%s", ok && found ? buf_cstr(&b) : "");
    buf_free(&b);
    return ok && found ? text : NULL;
}

static void the_first_place_that_has_it_counts(void **state)
{
    (void)state;
    struct err e;
    forget();
    assert_null(read_secret(&e));
    assert_int_equal(e.kind, ERR_NONE);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    assert_null(read_secret(&e));
    assert_int_equal(e.kind, ERR_NONE);
    write_file("my_secret", "from systemd", 12);
    assert_string_equal(read_secret(&e), "from systemd");
    setenv("MY_SECRET_FILE", write_file("file", "from a file\n", 12), 1);
    assert_string_equal(read_secret(&e), "from a file");
    setenv("MY_SECRET", "", 1);
    assert_string_equal(read_secret(&e), "from a file");
    setenv("MY_SECRET", "from the environment", 1);
    assert_null(read_secret(&e));
    assert_string_equal(e.text, "the variables MY_SECRET and MY_SECRET_FILE exclude each other");
    unsetenv("MY_SECRET_FILE");
    assert_string_equal(read_secret(&e), "from the environment");
}

static void one_final_line_break_is_dropped(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a", "a"},       {"a\n", "a"},     {"a\r\n", "a"},
        {"a\n\n", "a\n"}, {" a \n", " a "}, {"a\nb\n", "a\nb"},
    };
    struct err e;
    forget();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("MY_SECRET_FILE", write_file("file", cases[i][0], strlen(cases[i][0])), 1);
        assert_string_equal(read_secret(&e), cases[i][1]);
    }
}

static void refuses(const char *path, const char *why)
{
    struct err e;
    setenv("MY_SECRET_FILE", path, 1);
    assert_null(read_secret(&e));
    assert_int_equal(e.kind, ERR_USAGE);
    char text[600];
    snprintf(text, sizeof text, "cannot read MY_SECRET from file '%s': %s", path, why);
    assert_string_equal(e.text, text);
}

static void what_cannot_be_read_is_told(void **state)
{
    (void)state;
    static char large[SECRET_MAX + 10];
    forget();
    refuses("/no/such/file", "No such file or directory");
    refuses(folder, "it is a folder");
    refuses(write_file("file", "", 0), "it is empty");
    refuses(write_file("file", "\n", 1), "it is empty");
    refuses(write_file("file", "a\0s3cret", 8), "it has a zero byte");
    memset(large, 'x', sizeof large);
    refuses(write_file("file", large, sizeof large), "it is too long");
    struct err e;
    struct buf b;
    bool found;
    buf_init(&b, SECRET_MAX);
    assert_false(secret_read("a/b", &b, &found, &e));
    assert_false(secret_read("A=B", &b, &found, &e));
    buf_free(&b);
}

static void a_certificate_is_a_path(void **state)
{
    (void)state;
    struct err e;
    struct buf b;
    bool found;
    buf_init(&b, SECRET_MAX);
    forget();
    const char *path = write_file("my_secret", "PEM", 3);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    assert_true(secret_path("MY_SECRET", &b, &found, &e) && found);
    assert_string_equal(buf_cstr(&b), path);
    buf_clear(&b);
    setenv("MY_SECRET_FILE", path, 1);
    assert_true(secret_path("MY_SECRET", &b, &found, &e) && found);
    assert_string_equal(buf_cstr(&b), path);
    buf_clear(&b);
    unsetenv("MY_SECRET_FILE");
    setenv("MY_SECRET", path, 1);
    assert_true(secret_path("MY_SECRET", &b, &found, &e) && found);
    assert_string_equal(buf_cstr(&b), path);
    setenv("MY_SECRET", folder, 1);
    assert_false(secret_path("MY_SECRET", &b, &found, &e));
    buf_free(&b);
}

static void its_place_is_told_in_words(void **state)
{
    (void)state;
    char place[200];
    forget();
    assert_false(secret_place("MY_SECRET", place, sizeof place));
    setenv("MY_SECRET", "s3cret", 1);
    assert_true(secret_place("MY_SECRET", place, sizeof place));
    assert_string_equal(place, "variable MY_SECRET");
    forget();
    setenv("MY_SECRET_FILE", "/a/key", 1);
    assert_true(secret_place("MY_SECRET", place, sizeof place));
    assert_string_equal(place, "file '/a/key'");
    assert_true(secret_place("MY_SECRET", place, 12));
    assert_string_equal(place, "file '/a'");
}

static void reading_bears_any_allocation_to_fail(void **state)
{
    (void)state;
    forget();
    setenv("MY_SECRET_FILE", write_file("file", "x\n", 2), 1);
    bool done = false;
    for (int n = 0; !done; n++) {
        struct buf b;
        struct err e;
        bool found;
        buf_init(&b, SECRET_MAX);
        allocations_left = n;
        done = secret_read("MY_SECRET", &b, &found, &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
        buf_free(&b);
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
    unlink(path_of("my_secret"));
    unlink(path_of("file"));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_place_that_has_it_counts),
        cmocka_unit_test(one_final_line_break_is_dropped),
        cmocka_unit_test(what_cannot_be_read_is_told),
        cmocka_unit_test(a_certificate_is_a_path),
        cmocka_unit_test(its_place_is_told_in_words),
        cmocka_unit_test(reading_bears_any_allocation_to_fail),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
