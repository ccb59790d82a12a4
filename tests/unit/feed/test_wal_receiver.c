/* The keys of a real server's log come into the journal: all of them, once they are committed, also
 * across lost connections; and the slot follows what is synced.
 *
 * DATABASE_URL names a server with wal_level = logical, where the user may create slots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "admin.h"
#include "base/clock.h"
#include "base/err.h"
#include "feed/wal_keys.h"
#include "feed/wal_receiver.h"
#include "feed/wal_writer.h"
#include "pg/pg.h"
#include "pg/pg_replication.h"
#include "store/journal.h"

enum { SOON_US = 30 * 1000000 };

static char name[40], folder[64], prefix[96]; /* of tables, slot and publication; of the journal */

static const char *const id[] = {"id"}, *const labels[] = {"product", "tag"};

static void waits_until(const char *format, ...)
{
    char sql[ADMIN_TEXT], is[ADMIN_TEXT] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end; usleep(10000))
        if (runs(is, "%s", sql)[0] == 't')
            return;
    fail_msg("never true: %s", sql);
}

static int connect_admin(void **state)
{
    (void)state;
    return admin_connect();
}

static int disconnect_admin(void **state)
{
    (void)state;
    admin_disconnect();
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(name, sizeof name, "received_%d", (int)getpid());
    snprintf(folder, sizeof folder, "/tmp/receiver.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(prefix, sizeof prefix, "%s/state.journal", folder);
    runs(NULL, "CREATE SCHEMA %s", name);
    runs(NULL, "CREATE TABLE %s.product (id int PRIMARY KEY, v int)", name);
    runs(NULL, "CREATE TABLE %s.tag (id text PRIMARY KEY)", name);
    runs(NULL, "CREATE PUBLICATION %s FOR TABLE %s.product, %s.tag", name, name, name);
    runs(NULL, "SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", name);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct err e = {0};
    waits_until("SELECT NOT coalesce(bool_or(active), false) FROM pg_replication_slots"
                " WHERE slot_name = '%s'",
                name);
    runs(NULL,
         "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
         " WHERE slot_name = '%s'",
         name);
    runs(NULL, "DROP SCHEMA %s CASCADE", name);
    runs(NULL, "DROP PUBLICATION IF EXISTS %s", name);
    return journal_remove(prefix, &e) && rmdir(folder) == 0 ? 0 : -1;
}

/* ---- a receiver at work ---- */

struct work {
    struct journal *journal;
    struct wal_receiver *receiver;
    struct wal_member *member;
};

static void wake(void *arg)
{
    (void)arg;
}

static void start(struct work *w)
{
    struct err e = {0};
    const struct wal_table tables[] = {
        {.schema = name, .name = "product", .is_root = true, .key = {id, 1}},
        {.schema = name, .name = "tag", .key = {id, 1}},
    };
    w->journal = journal_open(prefix, (struct journal_position){0, 0}, &e);
    struct wal_keys *keys = wal_keys_new();
    assert_non_null(w->journal);
    assert_true(wal_keys_add(keys, &tables[0], &e) && wal_keys_add(keys, &tables[1], &e));
    const struct wal_writer_config writing = {w->journal, keys, labels, 2};
    const struct wal_receiver_config config = {
        .server = &server, .slot = name, .publication = name};
    const struct wal_reader reader = {.wake = wake};
    w->receiver = wal_receiver_new(&config, &e);
    assert_non_null(w->receiver);
    w->member = wal_receiver_add(w->receiver, "shop", 1 << 30, &e);
    assert_non_null(w->member);
    assert_true(wal_member_join(w->member, wal_writer_new(&writing, &e), &reader, &e));
}

static void stop(struct work *w)
{
    wal_receiver_free(w->receiver);
}

/* The next record; `from` the last one: until then others may come again. */
static struct journal_record next(struct work *w)
{
    struct err e = {0};
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end; usleep(1000)) {
        struct journal_record r;
        bool found;
        if (!journal_next(w->journal, &r, &found, &e) || wal_member_failed(w->member, &e))
            fail_msg("%s", e.text);
        if (found && r.kind != WAL_POSITION)
            return r;
    }
    fail_msg("no record");
    return (struct journal_record){0};
}

static void expect(struct work *w, enum wal_kind kind, const char *label, const char *key)
{
    struct journal_record r = next(w);
    assert_int_equal(r.kind, kind);
    assert_string_equal(r.label, label);
    assert_int_equal(r.n, key ? 1 : 0);
    if (key)
        assert_string_equal(r.keys, key);
    assert_true(r.xid > 0 && r.lsn > 0 && r.commit_us > INT64_C(1600000000000000));
}

static void keys_come_as_they_are_committed(void **state)
{
    (void)state;
    struct work w;
    runs(NULL, "INSERT INTO %s.product VALUES (1)", name);
    start(&w);
    expect(&w, WAL_ROOT, "product", "1");
    runs(NULL, "INSERT INTO %s.tag VALUES ('new')", name);
    expect(&w, WAL_RELATED, "tag", "new");
    runs(NULL, "BEGIN; INSERT INTO %s.product VALUES (2); ROLLBACK", name);
    runs(NULL, "TRUNCATE %s.product", name);
    expect(&w, WAL_SWEEP, "product", NULL);
    stop(&w);
}

static void a_key_that_a_transaction_repeats_comes_once(void **state)
{
    (void)state;
    struct work w;
    start(&w);
    runs(NULL, "INSERT INTO %s.product VALUES (1, 0)", name);
    expect(&w, WAL_ROOT, "product", "1");
    runs(NULL, "DO $$ BEGIN FOR i IN 1..100 LOOP UPDATE %s.product SET v = i; END LOOP; END $$",
         name);
    expect(&w, WAL_ROOT, "product", "1");
    runs(NULL, "DELETE FROM %s.product", name);
    expect(&w, WAL_ROOT, "product", "1");
    stop(&w);
}

static void a_large_transaction_is_several_records(void **state)
{
    (void)state;
    enum { ROWS = 100000 };
    struct work w;
    int rows = 0, records = 0;
    start(&w);
    runs(NULL, "INSERT INTO %s.product SELECT generate_series(1, %d)", name, ROWS);
    for (struct journal_record r = {0}; r.lsn == 0; records++) {
        r = next(&w);
        assert_int_equal(r.kind, WAL_ROOT);
        assert_true(r.keys_len <= 64 << 10);
        rows += (int)r.n;
    }
    assert_int_equal(rows, ROWS);
    assert_true(records > 5);
    stop(&w);
}

static void the_slot_follows_what_is_synced(void **state)
{
    (void)state;
    struct work w;
    char lsn[ADMIN_TEXT];
    start(&w);
    runs(NULL, "INSERT INTO %s.product VALUES (1)", name);
    runs(lsn, "SELECT pg_current_wal_flush_lsn()");
    waits_until("SELECT confirmed_flush_lsn >= '%s' FROM pg_replication_slots"
                " WHERE slot_name = '%s'",
                lsn, name);
    expect(&w, WAL_ROOT, "product", "1");
    /* nothing of ours: the server's keepalives tell how far it has come */
    runs(NULL, "CREATE TABLE %s.other AS SELECT generate_series(1, 10000)", name);
    runs(lsn, "SELECT pg_current_wal_flush_lsn()");
    waits_until("SELECT confirmed_flush_lsn >= '%s' FROM pg_replication_slots"
                " WHERE slot_name = '%s'",
                lsn, name);
    uint64_t there;
    assert_true(pg_lsn_read(lsn, &there));
    wal_member_ask(w.member);
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end; usleep(1000))
        if (wal_member_received(w.member) >= there)
            break;
    assert_true(wal_member_received(w.member) >= there);
    stop(&w);
}

static void nothing_is_lost_with_a_connection(void **state)
{
    (void)state;
    struct work w;
    char key[24];
    start(&w);
    for (int i = 1; i <= 200; i++) {
        runs(NULL, "INSERT INTO %s.product VALUES (%d)", name, i);
        if (i % 50 == 0)
            runs(NULL,
                 "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                 " WHERE slot_name = '%s' AND active",
                 name);
    }
    for (int i = 1; i <= 200;) {
        struct journal_record r = next(&w);
        snprintf(key, sizeof key, "%d", i);
        if (strcmp(r.keys, key) == 0) /* else it comes again, from before a lost connection */
            i++;
        else
            assert_true(strtol(r.keys, NULL, 10) < i);
    }
    stop(&w);
}

static void a_position_that_is_confirmed_stands_in_the_journal(void **state)
{
    (void)state;
    struct work w;
    char confirmed[ADMIN_TEXT];
    uint64_t lsn;
    start(&w);
    runs(NULL, "CREATE TABLE %s.other AS SELECT generate_series(1, 10000)", name);
    runs(confirmed, "SELECT pg_current_wal_flush_lsn()");
    waits_until("SELECT confirmed_flush_lsn >= '%s' FROM pg_replication_slots"
                " WHERE slot_name = '%s'",
                confirmed, name);
    stop(&w);
    runs(confirmed, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '%s'",
         name);
    assert_true(pg_lsn_read(confirmed, &lsn));
    struct err e = {0};
    w.journal = journal_open(prefix, (struct journal_position){0, 0}, &e);
    assert_non_null(w.journal);
    assert_true(journal_lsn(w.journal) >= lsn);
    journal_close(w.journal);
}

static void what_is_confirmed_does_not_come_again(void **state)
{
    (void)state;
    struct work w;
    start(&w);
    runs(NULL, "INSERT INTO %s.product VALUES (1)", name);
    expect(&w, WAL_ROOT, "product", "1");
    stop(&w); /* syncs and confirms */
    runs(NULL, "INSERT INTO %s.product VALUES (2)", name);
    start(&w); /* nothing of the journal was released */
    expect(&w, WAL_ROOT, "product", "1");
    expect(&w, WAL_ROOT, "product", "2");
    stop(&w);
}

static void a_missing_slot_ends_it(void **state)
{
    (void)state;
    struct work w;
    struct err e = {0};
    runs(NULL, "SELECT pg_drop_replication_slot('%s')", name);
    start(&w);
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end; usleep(1000))
        if (wal_member_failed(w.member, &e))
            break;
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "does not exist"));
    stop(&w);
}

int main(void)
{
#define WITH_SLOT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_SLOT(keys_come_as_they_are_committed),
        WITH_SLOT(a_key_that_a_transaction_repeats_comes_once),
        WITH_SLOT(a_large_transaction_is_several_records),
        WITH_SLOT(the_slot_follows_what_is_synced),
        WITH_SLOT(nothing_is_lost_with_a_connection),
        WITH_SLOT(a_position_that_is_confirmed_stands_in_the_journal),
        WITH_SLOT(what_is_confirmed_does_not_come_again),
        WITH_SLOT(a_missing_slot_ends_it),
    };
    return cmocka_run_group_tests_name("wal_receiver", tests, connect_admin, disconnect_admin);
}
