/* What a script says, planned from a catalog that is made by hand: films, their language, and their
 * actors by a link. And that it stays Lua and SQL, whatever the names are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "init/candidates.h"
#include "init/plan.h"
#include "init/write.h"
#include "torture.h"

#define INT(n)                                                                                     \
    {                                                                                              \
        .name = n, .type = "integer", .base = "int4", .schema = "pg_catalog", .kind = 'b',         \
        .modifier = -1, .not_null = true, .readable = true                                         \
    }
#define TEXT(n)                                                                                    \
    {                                                                                              \
        .name = n, .type = "text", .base = "text", .schema = "pg_catalog", .kind = 'b',            \
        .modifier = -1, .readable = true                                                           \
    }
#define TIME(n)                                                                                    \
    {                                                                                              \
        .name = n, .type = "timestamp with time zone", .base = "timestamptz",                      \
        .schema = "pg_catalog", .kind = 'b', .modifier = -1, .not_null = true, .readable = true    \
    }
#define ON(...)                                                                                    \
    {                                                                                              \
        sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t),                                          \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define TABLE(n, c, i)                                                                             \
    {                                                                                              \
        .schema = "public", .name = n, .kind = 'r', .identity = 'd', .rows = -1, .visible = true,  \
        .readable = true, .owned = true, .logged = true, .columns = c,                             \
        .n_columns = sizeof c / sizeof *c, .indexes = i, .n_indexes = sizeof i / sizeof *i         \
    }

struct films { /* a catalog, and what it points to */
    struct catalog_column film[4], language[3], actor[2], film_actor[4];
    struct catalog_index film_key[1], language_key[1], actor_key[1], film_actor_key[1];
    struct catalog_table tables[4];
    struct catalog_reference references[3];
    const char *keywords[2];
    struct catalog catalog;
};
enum { ACTOR, FILM, FILM_ACTOR, LANGUAGE };

static void make_films(struct films *f)
{
    *f = (struct films){
        .film = {INT("id"), TEXT("title"), INT("language_id"), TIME("modified")},
        .language = {INT("id"), TEXT("name"), TIME("modified")},
        .actor = {INT("id"), TEXT("name")},
        .film_actor = {INT("id"), INT("film_id"), INT("actor_id"), TEXT("role")},
        .film_key = {{.columns = ON(0), .unique = true, .primary = true}},
        .language_key = {{.columns = ON(0), .unique = true, .primary = true}},
        .actor_key = {{.columns = ON(0), .unique = true, .primary = true}},
        .film_actor_key = {{.columns = ON(0), .unique = true, .primary = true}},
        .keywords = {"order", "user"},
    };
    f->tables[ACTOR] = (struct catalog_table)TABLE("actor", f->actor, f->actor_key);
    f->tables[FILM] = (struct catalog_table)TABLE("film", f->film, f->film_key);
    f->tables[FILM_ACTOR] =
        (struct catalog_table)TABLE("film_actor", f->film_actor, f->film_actor_key);
    f->tables[LANGUAGE] = (struct catalog_table)TABLE("language", f->language, f->language_key);
    f->references[0] = (struct catalog_reference){
        "a", &f->tables[FILM], &f->tables[LANGUAGE], ON(2), ON(0), false};
    f->references[1] = (struct catalog_reference){
        "b", &f->tables[FILM_ACTOR], &f->tables[FILM], ON(1), ON(0), false};
    f->references[2] = (struct catalog_reference){
        "c", &f->tables[FILM_ACTOR], &f->tables[ACTOR], ON(2), ON(0), false};
    f->catalog = (struct catalog){.tables = f->tables,
                                  .n_tables = 4,
                                  .references = f->references,
                                  .n_references = 3,
                                  .keywords = f->keywords,
                                  .n_keywords = 2,
                                  .version = 150000,
                                  .wal_level = "logical",
                                  .role = "etl",
                                  .database = "films",
                                  .may_replicate = true,
                                  .may_publish = true,
                                  .has_slots = true};
}

static bool write_films(struct films *f, const struct plan_options *o, struct buf *b, struct err *e)
{
    struct plan p;
    buf_init(b, 1 << 20);
    if (!plan_make(&p, &f->catalog, o, e))
        return false;
    bool ok = write_script(&p, &(struct write_options){"postgresql:///films", false}, b, e);
    plan_free(&p);
    return ok;
}

/* The script of a table. Owned by the caller. */
static struct buf script_of(struct films *f, const struct plan_options *o)
{
    struct buf b;
    struct err e = {0};
    if (!write_films(f, o, &b, &e))
        fail_msg("%s", e.text);
    return b;
}

static void says(struct buf *b, const char *text)
{
    if (!strstr(buf_cstr(b), text))
        fail_msg("'%s' is not in:\n%s", text, buf_cstr(b));
}

static const struct plan_options film = {.table = "film", .depth = 2};

static void a_document_has_objects_arrays_and_what_lies_behind_links(void **state)
{
    (void)state;
    struct films f;
    make_films(&f);
    struct buf b = script_of(&f, &film);
    says(&b, "to_json(language) AS language,\n             actors.list AS actors\n");
    says(&b, "SELECT l.id, l.name\n");
    says(&b, "FROM film_actor fa\n                       JOIN actor a ON a.id = fa.actor_id\n");
    says(&b, "ORDER BY a.id, fa.id) actor\n");
    says(&b, "affects = \"SELECT id FROM film WHERE language_id = ANY($1)\" }");
    says(&b, "affects = \"SELECT film_id FROM film_actor WHERE actor_id = ANY($1)\" }");
    says(&b, "--   CREATE INDEX ON film (language_id);\n");
    says(&b, "capture = \"wal\"");
    says(&b, "index_field = \"actors.film_actor_id\"");
    buf_free(&b);
}

static void polls_use_the_cursor_and_ask_the_index_nothing(void **state)
{
    (void)state;
    struct films f;
    make_films(&f);
    f.catalog.wal_level = "replica";
    struct buf b = script_of(&f, &film);
    says(&b, "cursor  = \"modified\"");
    says(&b, "key = \"id\", cursor = \"modified\"");
    says(&b, "{ table = \"film_actor\", key = \"id\", affects = \"film_id\" },");
    says(&b, "wal_level is 'replica': ALTER SYSTEM SET wal_level = logical");
    says(&b, "--   CREATE INDEX ON film (modified, id);\n");
    assert_null(strstr(buf_cstr(&b), "index_field"));
    buf_free(&b);
}

static void any_name_is_quoted(void **state)
{
    (void)state;
    struct films f;
    make_films(&f);
    f.tables[FILM].name = "user";
    f.tables[FILM].comment = "]]\nreturn 1";
    f.film[1].name = "a\"b]]";
    f.film[1].comment = "x\ny";
    struct buf b = script_of(&f, &(struct plan_options){.table = "user", .depth = 2});
    says(&b, "FROM \"user\" u\n");
    says(&b, "query = [=[\n");
    says(&b, "u.\"a\"\"b]]\"");
    says(&b, "['a\"b]]']   = 'a\"b]]', -- x y\n");
    says(&b, "-- ]] return 1\n");
    buf_free(&b);
}

static void what_is_wrong_is_told_with_what_was_meant(void **state)
{
    (void)state;
    struct films f;
    struct plan p;
    struct err e = {0};
    make_films(&f);
    assert_false(plan_make(&p, &f.catalog, &(struct plan_options){.table = "flim"}, &e));
    assert_string_equal(e.text, "database 'films' has no table 'flim', did you mean 'film'?");
    assert_int_equal(e.kind, ERR_USAGE);
    assert_false(
        plan_make(&p, &f.catalog, &(struct plan_options){.table = "film", .key = "ids"}, &e));
    assert_string_equal(e.text, "table 'film' has no column 'ids', did you mean 'id'?");
    f.tables[ACTOR].n_indexes = 0;
    f.actor[0].name = "n";
    assert_false(plan_make(&p, &f.catalog, &(struct plan_options){.table = "actor"}, &e));
    assert_non_null(strstr(e.hint, "--key COLUMN"));
}

static void tables_are_found_as_users_write_them(void **state)
{
    (void)state;
    struct films f;
    struct err e = {0};
    make_films(&f);
    const struct catalog_table *t = &f.tables[FILM];
    assert_ptr_equal(plan_find_table(&f.catalog, "public.film", &e), t);
    assert_ptr_equal(plan_find_table(&f.catalog, "\"film\"", &e), t);
    assert_ptr_equal(plan_find_table(&f.catalog, "FILM", &e), t);
    f.tables[FILM].name = "a.b\"c";
    assert_ptr_equal(plan_find_table(&f.catalog, "public.\"a.b\"\"c\"", &e), t);
    assert_null(plan_find_table(&f.catalog, "other.film", &e));
}

static void arrays_that_grow_without_end_are_left_out(void **state)
{
    (void)state;
    struct films f;
    make_films(&f);
    f.tables[FILM].rows = 10;
    f.tables[FILM_ACTOR].rows = 100000;
    struct buf b = script_of(&f, &film);
    says(&b, "-- left out: film_actor: some 10000 rows for each film\n");
    assert_null(strstr(buf_cstr(&b), "actors"));
    buf_free(&b);
}

static void the_likeliest_table_is_first(void **state)
{
    (void)state;
    struct films f;
    struct buf b;
    struct err e = {0};
    const char *first;
    make_films(&f);
    buf_init(&b, 1 << 20);
    assert_true(candidates_list(&f.catalog, &b, &first, &e));
    assert_string_equal(first, "film");
    says(&b, "language, actors\n");
    buf_free(&b);
    arena_free(&f.catalog.arena);
}

static void without_memory_there_is_an_error_and_no_half_of_a_script(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct films f;
        struct buf b;
        struct err e = {0};
        make_films(&f);
        allocations_left = n;
        done = write_films(&f, &film, &b, &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_has_objects_arrays_and_what_lies_behind_links),
        cmocka_unit_test(polls_use_the_cursor_and_ask_the_index_nothing),
        cmocka_unit_test(any_name_is_quoted),
        cmocka_unit_test(what_is_wrong_is_told_with_what_was_meant),
        cmocka_unit_test(tables_are_found_as_users_write_them),
        cmocka_unit_test(arrays_that_grow_without_end_are_left_out),
        cmocka_unit_test(the_likeliest_table_is_first),
        cmocka_unit_test(without_memory_there_is_an_error_and_no_half_of_a_script),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
