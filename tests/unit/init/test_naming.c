/* What init calls things, and that no password gets into a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "init/naming.h"
#include "init/safe_url.h"

static void plurals_and_singulars_are_those_of_english(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"film", "films"},         {"category", "categories"},  {"day", "days"},
        {"address", "addresses"},  {"status", "statuses"},      {"box", "boxes"},
        {"branch", "branches"},    {"staff", "staff"},          {"child", "children"},
        {"FilmWork", "FilmWorks"}, {"film_work", "film_works"}, {"Größe", "Größes"}};
    struct arena a = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_string_equal(naming_plural(&a, pairs[i][0]), pairs[i][1]);
        assert_string_equal(naming_singular(&a, pairs[i][1]), pairs[i][0]);
    }
    assert_string_equal(naming_plural(&a, "orders"), "orders");
    arena_free(&a);
}

static void a_reference_is_named_by_what_it_refers_to(void **state)
{
    (void)state;
    struct arena a = {0};
    assert_string_equal(naming_referred(&a, "language_id", "language"), "language");
    assert_string_equal(naming_referred(&a, "original_language_id", "language"),
                        "original_language");
    assert_string_equal(naming_referred(&a, "makerId", "maker"), "maker");
    assert_string_equal(naming_referred(&a, "sizeunitmeasurecode", "unitmeasure"),
                        "sizeunitmeasure");
    assert_null(naming_referred(&a, "capital", "city"));
    assert_null(naming_referred(&a, "paid", "film"));
    arena_free(&a);
}

static void names_suit_what_they_are_for(void **state)
{
    (void)state;
    struct arena a = {0};
    assert_string_equal(naming_alias(&a, "film_work"), "fw");
    assert_string_equal(naming_alias(&a, "FilmWork"), "fw");
    assert_string_equal(naming_alias(&a, "1"), "t");
    assert_string_equal(naming_field(&a, "_id"), "id");
    assert_string_equal(naming_field(&a, " a.b\n "), "a_b_");
    assert_string_equal(naming_field(&a, "..."), "field");
    assert_string_equal(naming_index(&a, "FilmWorks 2!"), "film_works_2");
    assert_string_equal(naming_index(&a, "Ü"), "documents");
    assert_string_equal(naming_words(&a, "film_work"), "film work");
    arena_free(&a);
}

static void no_password_stays_in_a_url(void **state)
{
    (void)state;
    static const char *const urls[][2] = {
        {"postgresql://u:s3cret@h:5/db?a=b", "postgresql://u@h:5/db?a=b"},
        {"postgresql://u@h/db", "postgresql://u@h/db"},
        {"postgresql://:s3cret@h/db", "postgresql://h/db"},
        {"postgres://h/db?password=s3cret&a=b&sslpassword=x", "postgres://h/db?a=b"},
        {"postgresql:///db", "postgresql:///db"},
        {"host=h password='s3 cret' dbname='a b'", "dbname='a b' host=h"}};
    struct arena a = {0};
    bool had;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        assert_string_equal(safe_url(&a, urls[i][0], &had), urls[i][1]);
        assert_int_equal(had, strstr(urls[i][0], "cret") != NULL);
    }
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plurals_and_singulars_are_those_of_english),
        cmocka_unit_test(a_reference_is_named_by_what_it_refers_to),
        cmocka_unit_test(names_suit_what_they_are_for),
        cmocka_unit_test(no_password_stays_in_a_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
