/* The log of a real server: changes stream in as they are committed, what is confirmed is what the
 * slot forgets, and every end of a stream is an error with a reason.
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

#include <unistd.h>

#include "admin.h"
#include "base/clock.h"
#include "base/err.h"
#include "pg/pg.h"
#include "pg/pg_replication.h"
#include "pg/pgoutput.h"

enum { SOON_US = 20 * 1000000 };

static char name[40]; /* of table, slot and publication */

static int set_up(void **state)
{
    (void)state;
    if (admin_connect() != 0)
        return -1;
    snprintf(name, sizeof name, "replicated_%d", (int)getpid());
    runs(NULL, "CREATE TABLE %s (id int PRIMARY KEY)", name);
    runs(NULL, "CREATE PUBLICATION %s FOR TABLE %s", name, name);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    runs(NULL, "DROP TABLE %s CASCADE", name);
    runs(NULL, "DROP PUBLICATION %s", name);
    admin_disconnect();
    return 0;
}

static int make_slot(void **state)
{
    (void)state;
    runs(NULL, "SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", name);
    return 0;
}

static int drop_slot(void **state)
{
    (void)state;
    char active[ADMIN_TEXT] = "t";
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end; usleep(10000))
        if (runs(active, "SELECT active FROM pg_replication_slots WHERE slot_name = '%s'",
                 name)[0] != 't')
            break;
    if (active[0])
        runs(NULL, "SELECT pg_drop_replication_slot('%s')", name);
    return 0;
}

static struct pg_replication *start(struct err *e)
{
    const struct pg_replication_options options = {.slot = name, .publication = name};
    return pg_replication_start(&server, &options, e);
}

static struct pg_replication *must_start(void)
{
    struct err e = {0};
    struct pg_replication *r = start(&e);
    if (!r)
        fail_msg("%s", e.text);
    return r;
}

/* The next message of that kind; others are passed over. */
static void expect(struct pg_replication *r, enum pgoutput_kind kind, struct pgoutput_event *event)
{
    struct err e = {0};
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end;) {
        struct pg_replication_message m;
        if (!pg_replication_next(r, 1000, &m, &e))
            fail_msg("%s", e.text);
        if (m.kind != PG_REPLICATION_DATA)
            continue;
        if (!pgoutput_read(m.data, m.len, event, &e))
            fail_msg("%s", e.text);
        if (event->kind == kind)
            return;
    }
    fail_msg("no message of type %c", (char)kind);
}

static void expect_insert(struct pg_replication *r, const char *id)
{
    struct pgoutput_event event;
    struct pgoutput_value v;
    expect(r, PGOUTPUT_INSERT, &event);
    assert_true(pgoutput_value(&event.new_row, 0, &v));
    assert_int_equal(v.len, strlen(id));
    assert_memory_equal(v.text, id, v.len);
}

static void changes_stream_in_and_are_forgotten_once_confirmed(void **state)
{
    (void)state;
    struct pgoutput_event commit;
    struct err e = {0};
    char text[PG_LSN_TEXT], is[ADMIN_TEXT] = "";
    runs(NULL, "INSERT INTO %s VALUES (1)", name);
    struct pg_replication *r = must_start();
    expect_insert(r, "1");
    expect(r, PGOUTPUT_COMMIT, &commit);
    runs(NULL, "INSERT INTO %s VALUES (2)", name);
    expect_insert(r, "2");
    assert_true(pg_replication_confirm(r, commit.end, false, &e));
    pg_lsn_text(commit.end, text);
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end; usleep(10000))
        if (runs(is,
                 "SELECT confirmed_flush_lsn = '%s' FROM pg_replication_slots"
                 " WHERE slot_name = '%s'",
                 text, name)[0] == 't')
            break;
    assert_string_equal(is, "t");
    pg_replication_end(r);
    r = must_start(); /* the first transaction does not come again, the second does */
    expect_insert(r, "2");
    pg_replication_end(r);
}

static void nothing_comes_within_the_time_given(void **state)
{
    (void)state;
    struct pg_replication *r = must_start();
    struct pg_replication_message m;
    struct err e = {0};
    do /* a keepalive may come first */
        assert_true(pg_replication_next(r, 50, &m, &e));
    while (m.kind == PG_REPLICATION_KEEPALIVE);
    assert_int_equal(m.kind, PG_REPLICATION_NOTHING);
    pg_replication_end(r);
}

static void a_slot_in_use_names_who_has_it(void **state)
{
    (void)state;
    struct err e = {0};
    struct pg_replication *r = must_start();
    assert_null(start(&e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_non_null(strstr(e.text, "is active for PID"));
    assert_non_null(strstr(e.hint, "wal_sender_timeout"));
    pg_replication_end(r);
}

static void a_missing_slot_is_final(void **state)
{
    (void)state;
    struct err e = {0};
    runs(NULL, "SELECT pg_drop_replication_slot('%s')", name);
    assert_null(start(&e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "does not exist"));
    assert_non_null(strstr(e.text, name));
}

static void a_connection_that_is_ended_is_passing(void **state)
{
    (void)state;
    struct err e = {0};
    struct pg_replication_message m;
    struct pg_replication *r = must_start();
    runs(NULL,
         "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
         " WHERE slot_name = '%s'",
         name);
    while (pg_replication_next(r, 1000, &m, &e))
        ;
    assert_int_equal(e.kind, ERR_PASSING);
    assert_non_null(strstr(e.text, "lost the connection"));
    pg_replication_end(r);
}

static void positions_are_read_as_they_are_written(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",    "/",           "1",     "1/",  "/1",
                                        "1/x", "123456789/0", "1/2/3", "-1/1"};
    char text[PG_LSN_TEXT];
    uint64_t lsn;
    assert_string_equal(pg_lsn_text(UINT64_C(0x16B374D848), text), "16/B374D848");
    assert_string_equal(pg_lsn_text(UINT64_MAX, text), "FFFFFFFF/FFFFFFFF");
    assert_true(pg_lsn_read("16/b374d848", &lsn) && lsn == UINT64_C(0x16B374D848));
    assert_true(pg_lsn_read("0/0", &lsn) && lsn == 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(pg_lsn_read(wrong[i], &lsn));
}

int main(void)
{
#define WITH_SLOT(test) cmocka_unit_test_setup_teardown(test, make_slot, drop_slot)
    const struct CMUnitTest tests[] = {
        WITH_SLOT(changes_stream_in_and_are_forgotten_once_confirmed),
        WITH_SLOT(nothing_comes_within_the_time_given),
        WITH_SLOT(a_slot_in_use_names_who_has_it),
        WITH_SLOT(a_missing_slot_is_final),
        WITH_SLOT(a_connection_that_is_ended_is_passing),
        cmocka_unit_test(positions_are_read_as_they_are_written),
    };
    return cmocka_run_group_tests_name("pg_replication", tests, set_up, tear_down);
}
