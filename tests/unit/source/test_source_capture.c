/* The publication and the slot on a real server: made once, extended when the script names more
 * tables, refused with the ADMIN_TEXT to run; and no table of the user's stops being writable.
 *
 * DATABASE_URL names a server with wal_level = logical, where the user may create roles and slots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "admin.h"
#include "base/err.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"
#include "source/source.h"
#include "source/source_capture.h"

static struct pg_server poor; /* poor: a role that owns nothing, without REPLICATION */
static char name[40];         /* of schema, slot, publication and role */
static struct source_capture_names names;

static int connect_admin(void **state)
{
    (void)state;
    struct err e = {0};
    char url[ADMIN_TEXT];
    if (admin_connect() != 0)
        return -1;
    snprintf(name, sizeof name, "captured_%d", (int)getpid());
    names = (struct source_capture_names){name, name};
    runs(NULL, "CREATE ROLE %s LOGIN PASSWORD 'poor'", name);
    snprintf(url, sizeof url, "host=%s port=%s dbname=%s user=%s password=poor", PQhost(admin),
             PQport(admin), PQdb(admin), name);
    return pg_server_init(&poor, url, &e) ? 0 : -1;
}

static int disconnect_admin(void **state)
{
    (void)state;
    runs(NULL, "DROP ROLE %s", name);
    admin_disconnect();
    pg_server_free(&poor);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    runs(NULL, "CREATE SCHEMA %s", name);
    runs(NULL, "CREATE TABLE %s.product (id int PRIMARY KEY, v int)", name);
    runs(NULL, "CREATE TABLE %s.link (product_id int, tag text, PRIMARY KEY (product_id, tag))",
         name);
    runs(NULL, "CREATE TABLE %s.note (product_id int, v int)", name);
    runs(NULL, "GRANT USAGE ON SCHEMA %s TO %s", name, name);
    runs(NULL, "GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s", name, name);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    runs(NULL, "DROP SCHEMA %s CASCADE", name);
    runs(NULL, "DROP PUBLICATION IF EXISTS %s", name);
    runs(NULL,
         "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
         " WHERE slot_name = '%s'",
         name);
    return 0;
}

/* ---- a script ---- */

struct script {
    char root[60], query[200], link[60], note[60];
    char *key[1], *link_key[2], *affects[1];
    struct pipeline_related related[2];
    struct pipeline pipeline;
    struct source source;
    struct pg_pool pool;
    struct pg *pg;
};

/* related: how many of link and note it names. */
static void open_script(struct script *s, struct pg_server *as, const char *root, size_t related)
{
    struct err e = {0};
    *s = (struct script){
        .key = {"id"}, .link_key = {"product_id", "tag"}, .affects = {"product_id"}};
    snprintf(s->root, sizeof s->root, "%s.%s", name, root);
    snprintf(s->query, sizeof s->query, "SELECT id FROM %s.%s", name, root);
    snprintf(s->link, sizeof s->link, "%s.link", name);
    snprintf(s->note, sizeof s->note, "%s.note", name);
    s->related[0] = (struct pipeline_related){
        .table = s->link, .key = {s->link_key, 2}, .affects = {s->affects, 1}, .table_line = 8};
    s->related[1] = (struct pipeline_related){
        .table = s->note, .key = {s->affects, 1}, .affects = {s->affects, 1}, .table_line = 9};
    s->pipeline.script = "shop.lua";
    s->pipeline.source.table = s->root;
    s->pipeline.source.table_line = 4;
    s->pipeline.source.query = s->query;
    s->pipeline.source.key = (struct pipeline_names){s->key, 1};
    s->pipeline.source.related = s->related;
    s->pipeline.source.n_related = related;
    pg_pool_init(&s->pool, as);
    s->pg = pg_acquire(&s->pool, &e);
    if (!s->pg || !source_open(&s->source, &s->pipeline, s->pg, &e))
        fail_msg("%s", e.text);
}

static void close_script(struct script *s)
{
    source_free(&s->source);
    pg_release(&s->pool, s->pg);
    pg_pool_free(&s->pool);
}

static bool publishes(struct script *s)
{
    struct err e = {0};
    struct source_published published = {0};
    if (!source_capture_check(&s->source, s->pg, &e) ||
        !source_capture_publish(&s->source, s->pg, &names, &published, &e))
        fail_msg("%s (%s)", e.text, e.hint);
    return published.made || published.grew;
}

static void has_tables(const char *expected)
{
    char is[ADMIN_TEXT];
    runs(is,
         "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_publication_tables"
         " WHERE pubname = '%s'",
         name);
    assert_string_equal(is, expected);
}

/* ---- the publication ---- */

static void it_is_made_once_and_grows_with_the_script(void **state)
{
    (void)state;
    struct script s;
    open_script(&s, &server, "product", 0);
    assert_true(publishes(&s));
    has_tables("product");
    assert_false(publishes(&s));
    close_script(&s);
    open_script(&s, &server, "product", 1);
    assert_true(publishes(&s));
    has_tables("link product");
    assert_false(publishes(&s));
    close_script(&s);
}

static bool has_publication(struct pg *pg)
{
    struct err e = {0};
    bool has = false;
    if (!source_capture_has_publication(pg, name, &has, &e))
        fail_msg("%s", e.text);
    return has;
}

static void it_is_found_and_dropped(void **state)
{
    (void)state;
    struct script s;
    struct err e = {0};
    open_script(&s, &server, "product", 0);
    assert_false(has_publication(s.pg));
    assert_true(publishes(&s));
    assert_true(has_publication(s.pg));
    for (int i = 0; i < 2; i++) { /* the second time, there is none */
        assert_true(source_capture_drop_publication(s.pg, name, &e));
        assert_false(has_publication(s.pg));
    }
    close_script(&s);
}

static void a_table_without_an_identity_stays_writable(void **state)
{
    (void)state;
    struct script s;
    open_script(&s, &server, "product", 2);
    assert_true(publishes(&s));
    has_tables("link product"); /* a published note would refuse the next two */
    runs(NULL, "INSERT INTO %s.note VALUES (1, 1)", name);
    runs(NULL, "UPDATE %s.note SET v = 2", name);
    runs(NULL, "DELETE FROM %s.note", name);
    runs(NULL, "ALTER TABLE %s.note REPLICA IDENTITY FULL", name);
    assert_true(publishes(&s));
    has_tables("link note product");
    close_script(&s);
}

static void refuses_root(const char *root, const char *text, const char *hint)
{
    struct script s;
    struct err e = {0};
    open_script(&s, &server, root, 0);
    assert_false(source_capture_check(&s.source, s.pg, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    assert_non_null(strstr(e.text, "shop.lua:4: "));
    assert_non_null(strstr(e.text, text));
    assert_non_null(strstr(e.hint, hint));
    close_script(&s);
}

static void a_root_needs_an_identity(void **state)
{
    (void)state;
    runs(NULL, "CREATE TABLE %s.plain (id int NOT NULL)", name);
    runs(NULL, "CREATE VIEW %s.view AS SELECT 1 AS id", name);
    runs(NULL, "CREATE UNLOGGED TABLE %s.fast (id int PRIMARY KEY)", name);
    refuses_root("plain", "no replica identity", "REPLICA IDENTITY FULL");
    refuses_root("view", "not an ordinary table", "capture = \"poll\"");
    refuses_root("fast", "not an ordinary table", "capture = \"poll\"");
}

static void partitions_are_published_as_one_table(void **state)
{
    (void)state;
    struct script s;
    runs(NULL, "CREATE TABLE %s.parted (id int PRIMARY KEY) PARTITION BY RANGE (id)", name);
    runs(NULL, "CREATE TABLE %s.low PARTITION OF %s.parted FOR VALUES FROM (0) TO (10)", name,
         name);
    open_script(&s, &server, "parted", 0);
    assert_true(publishes(&s));
    has_tables("parted");
    assert_false(publishes(&s));
    close_script(&s);
    runs(NULL, "ALTER PUBLICATION %s SET (publish_via_partition_root = false)", name);
    struct err e = {0};
    struct source_published published;
    open_script(&s, &server, "parted", 0);
    assert_false(source_capture_publish(&s.source, s.pg, &names, &published, &e));
    assert_non_null(strstr(e.hint, "publish_via_partition_root = true"));
    close_script(&s);
}

static void tables_that_inherit_are_published_too(void **state)
{
    (void)state;
    struct script s;
    struct err e = {0};
    struct source_relation relation = {0};
    runs(NULL, "CREATE TABLE %s.old (PRIMARY KEY (id)) INHERITS (%s.product)", name, name);
    open_script(&s, &server, "product", 0);
    assert_true(publishes(&s));
    has_tables("old product");
    assert_true(source_capture_relation(&s.source, 0, s.pg, &relation, &e));
    assert_string_equal(relation.name, "product");
    assert_int_equal(relation.names.n, 2);
    assert_true(relation.oids[0] != relation.oids[1]);
    /* published, it would refuse UPDATE and DELETE */
    runs(NULL, "CREATE TABLE %s.bare () INHERITS (%s.product)", name, name);
    assert_false(source_capture_check(&s.source, s.pg, &e));
    assert_non_null(strstr(e.text, ".bare have no replica identity"));
    source_relation_free(&relation);
    close_script(&s);
}

static void a_generated_key_is_refused(void **state)
{
    (void)state;
    if (PQserverVersion(admin) < 120000 || PQserverVersion(admin) >= 180000)
        return;
    runs(NULL,
         "CREATE TABLE %s.made (v int, id int GENERATED ALWAYS AS (v + 1) STORED PRIMARY KEY)",
         name);
    refuses_root("made", "generated columns: id", "not generated");
}

static void one_that_hides_changes_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *options, *text;
    } cases[] = {
        {"FOR TABLE %s.product WITH (publish = 'insert')", "all kinds of changes"},
        {"FOR TABLE %s.product WHERE (id > 5)", "a row filter"},
        {"FOR TABLE %s.product (id)", "a column list"},
    };
    char sql[ADMIN_TEXT], options[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct script s;
        struct err e = {0};
        struct source_published published;
        if (i > 0 && PQserverVersion(admin) < 150000)
            return;
        snprintf(options, sizeof options, cases[i].options, name);
        snprintf(sql, sizeof sql, "CREATE PUBLICATION %s %s", name, options);
        runs(NULL, "%s", sql);
        open_script(&s, &server, "product", 0);
        assert_false(source_capture_publish(&s.source, s.pg, &names, &published, &e));
        assert_int_equal(e.kind, ERR_USAGE);
        assert_non_null(strstr(e.text, cases[i].text));
        close_script(&s);
        runs(NULL, "DROP PUBLICATION %s", name);
    }
}

static void who_may_not_is_told_the_statement(void **state)
{
    (void)state;
    struct script s;
    struct err e = {0};
    struct source_published published;
    open_script(&s, &poor, "product", 1);
    assert_false(source_capture_publish(&s.source, s.pg, &names, &published, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    const char *sql = strstr(e.hint, "CREATE PUBLICATION");
    assert_non_null(sql);
    runs(NULL, "%s", sql);
    assert_false(publishes(&s));
    has_tables("link product");
    close_script(&s);
}

/* ---- the slot ---- */

static struct source_slot find_slot(struct pg *pg)
{
    struct source_slot slot;
    struct err e = {0};
    if (!source_capture_find_slot(pg, name, &slot, &e))
        fail_msg("%s", e.text);
    return slot;
}

static void a_slot_is_made_found_and_dropped(void **state)
{
    (void)state;
    struct script s;
    struct err e = {0};
    uint64_t now;
    open_script(&s, &server, "product", 0);
    assert_int_equal(find_slot(s.pg).status, SOURCE_SLOT_MISSING);
    if (!source_capture_make_slot(s.pg, name, &e))
        fail_msg("%s", e.text);
    struct source_slot slot = find_slot(s.pg);
    assert_int_equal(slot.status, SOURCE_SLOT_READY);
    assert_true(source_capture_position(s.pg, &now, &e));
    assert_true(slot.confirmed > 0 && slot.confirmed <= now);
    assert_int_equal(slot.pid, 0);
    assert_true(source_capture_drop_slot(s.pg, name, &e));
    assert_int_equal(find_slot(s.pg).status, SOURCE_SLOT_MISSING);
    assert_true(source_capture_drop_slot(s.pg, name, &e)); /* there is none */
    close_script(&s);
}

static void a_slot_of_another_database_is_foreign(void **state)
{
    (void)state;
    struct script s;
    open_script(&s, &server, "product", 0);
    runs(NULL, "SELECT pg_create_physical_replication_slot('%s')", name);
    assert_int_equal(find_slot(s.pg).status, SOURCE_SLOT_FOREIGN);
    close_script(&s);
}

static void who_may_not_make_a_slot_is_told_how(void **state)
{
    (void)state;
    struct script s;
    struct err e = {0};
    char statement[100];
    open_script(&s, &poor, "product", 0);
    assert_false(source_capture_make_slot(s.pg, name, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    snprintf(statement, sizeof statement, "ALTER ROLE %s REPLICATION", name);
    assert_non_null(strstr(e.hint, statement));
    close_script(&s);
}

int main(void)
{
#define WITH_TABLES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_TABLES(it_is_made_once_and_grows_with_the_script),
        WITH_TABLES(it_is_found_and_dropped),
        WITH_TABLES(a_table_without_an_identity_stays_writable),
        WITH_TABLES(a_root_needs_an_identity),
        WITH_TABLES(partitions_are_published_as_one_table),
        WITH_TABLES(tables_that_inherit_are_published_too),
        WITH_TABLES(a_generated_key_is_refused),
        WITH_TABLES(one_that_hides_changes_is_refused),
        WITH_TABLES(who_may_not_is_told_the_statement),
        WITH_TABLES(a_slot_is_made_found_and_dropped),
        WITH_TABLES(a_slot_of_another_database_is_foreign),
        WITH_TABLES(who_may_not_make_a_slot_is_told_how),
    };
    return cmocka_run_group_tests_name("source_capture", tests, connect_admin, disconnect_admin);
}
