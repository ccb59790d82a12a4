/* A journal's keys become batches once their transactions are visible to others, and the places in
 * their checkpoints never pass what is not handed over.
 *
 * DATABASE_URL names a server where the user may create tables.
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
#include "feed/feed_wal.h"
#include "feed/wal_keys.h"
#include "model/batch.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"
#include "source/source_capture.h"
#include "store/journal.h"

static char schema[40], folder[64], prefix[96];
static const char *const labels[] = {"product", "tag"};

static int connect_admin(void **state)
{
    (void)state;
    if (admin_connect() != 0)
        return -1;
    snprintf(schema, sizeof schema, "fed_%d", (int)getpid());
    runs(NULL, "CREATE SCHEMA %s", schema);
    runs(NULL, "CREATE TABLE %s.product (id int PRIMARY KEY, tag int)", schema);
    runs(NULL, "CREATE TABLE %s.tag (id int PRIMARY KEY)", schema);
    /* tag 1 has 2,500 products, tag 2 has one */
    runs(NULL, "INSERT INTO %s.product SELECT i, 1 FROM generate_series(1, 2500) i", schema);
    runs(NULL, "INSERT INTO %s.product VALUES (7001, 2)", schema);
    return 0;
}

static int disconnect_admin(void **state)
{
    (void)state;
    runs(NULL, "DROP SCHEMA %s CASCADE", schema);
    admin_disconnect();
    return 0;
}

/* ---- a script, its journal, its feeds ---- */

struct work {
    char root[60], tag[60], query[120], affects[120];
    char *key[1];
    struct pipeline_related related;
    struct pipeline pipeline;
    struct source source;
    struct pg_pool pool;
    struct journal *journal;
    struct feed_wal *wal;
    int sweeps;
};

static struct work w;

static bool is_visible(void *arg, const uint64_t *xids, size_t n, bool *visible, struct err *e)
{
    (void)arg;
    struct pg *pg = pg_acquire(&w.pool, e);
    bool ok = pg && source_capture_visible(pg, xids, n, visible, e);
    pg_release(&w.pool, pg);
    return ok;
}

static void want_sweep(void *arg, size_t table)
{
    (void)arg;
    (void)table;
    w.sweeps++;
}

static int open_work(void **state)
{
    (void)state;
    struct err e = {0};
    w = (struct work){.key = {"id"}};
    snprintf(folder, sizeof folder, "/tmp/fed.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(prefix, sizeof prefix, "%s/state.journal", folder);
    snprintf(w.root, sizeof w.root, "%s.product", schema);
    snprintf(w.tag, sizeof w.tag, "%s.tag", schema);
    snprintf(w.query, sizeof w.query, "SELECT id FROM %s.product", schema);
    snprintf(w.affects, sizeof w.affects, "SELECT id FROM %s.product WHERE tag = ANY($1)", schema);
    w.related =
        (struct pipeline_related){.table = w.tag, .key = {w.key, 1}, .affects_query = w.affects};
    w.pipeline.script = "shop.lua";
    w.pipeline.source.table = w.root;
    w.pipeline.source.query = w.query;
    w.pipeline.source.key = (struct pipeline_names){w.key, 1};
    w.pipeline.source.related = &w.related;
    w.pipeline.source.n_related = 1;
    pg_pool_init(&w.pool, &server);
    struct pg *pg = pg_acquire(&w.pool, &e);
    if (!pg || !source_open(&w.source, &w.pipeline, pg, &e))
        fail_msg("%s", e.text);
    pg_release(&w.pool, pg);
    w.journal = journal_open(prefix, (struct journal_position){0, 0}, &e);
    struct feed_origin origin = {&w.source, &w.pool, NULL};
    const struct feed_wal_config config = {
        .journal = w.journal, .labels = labels, .visible = is_visible, .want_sweep = want_sweep};
    w.wal = feed_wal_new(&origin, &config, &e);
    return w.wal ? 0 : -1;
}

static int close_work(void **state)
{
    (void)state;
    struct err e = {0};
    feed_wal_free(w.wal);
    journal_close(w.journal);
    source_free(&w.source);
    pg_pool_free(&w.pool);
    return journal_remove(prefix, &e) && rmdir(folder) == 0 ? 0 : -1;
}

/* The id of a transaction that has ended. */
static uint64_t ended(void)
{
    char xid[ADMIN_TEXT];
    return strtoull(runs(xid, "SELECT txid_current() %% 4294967296"), NULL, 10);
}

static void append(uint64_t xid, enum wal_kind kind, const char *label, const char *key)
{
    struct err e = {0};
    const struct journal_record r = {.xid = xid,
                                     .lsn = xid,
                                     .commit_us = 1000000,
                                     .kind = kind,
                                     .label = label,
                                     .keys = key,
                                     .keys_len = key ? strlen(key) + 1 : 0,
                                     .n = key != NULL};
    if (!journal_append(w.journal, &r, &e))
        fail_msg("%s", e.text);
}

/* The next batch of the lane, in one line of its keys; NULL: there is none. */
static const char *next(enum feed_wal_lane lane, struct journal_position *done)
{
    static char text[ADMIN_TEXT];
    struct batch *b;
    struct err e = {0};
    if (!feed_next(feed_wal_feed(w.wal, lane), &b, &e))
        fail_msg("%s", e.text);
    if (!b)
        return NULL;
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < b->n && i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? " " : "", b->keys[i]);
    if (b->n > 20)
        snprintf(text, sizeof text, "%s... %zu", b->keys[0], b->n);
    if (done)
        *done = b->done.journal;
    batch_free(b);
    return text;
}

/* Whether all that the journal has is handed over, once both feeds have said so. */
static bool is_done(void)
{
    struct journal_position end = journal_end(w.journal);
    feed_wal_limit(w.wal, &end);
    while (next(FEED_WAL_DIRECT, NULL))
        ;
    while (next(FEED_WAL_FANOUT, NULL))
        ;
    bool done = feed_wal_is_done(w.wal);
    feed_wal_limit(w.wal, NULL);
    return done;
}

/* ---- tests ---- */

static void keys_of_the_root_come_together_each_once(void **state)
{
    (void)state;
    uint64_t xid = ended();
    assert_null(next(FEED_WAL_DIRECT, NULL));
    assert_true(is_done());
    append(xid, WAL_ROOT, "product", "3");
    append(xid, WAL_ROOT, "product", "1");
    append(ended(), WAL_ROOT, "product", "3");
    assert_string_equal(next(FEED_WAL_DIRECT, NULL), "1 3");
    assert_null(next(FEED_WAL_DIRECT, NULL));
    assert_true(is_done());
}

static void what_is_not_visible_waits_and_nothing_waits_for_it(void **state)
{
    (void)state;
    char text[ADMIN_TEXT];
    struct journal_position before, after;
    PGconn *other = PQconnectdb(getenv("DATABASE_URL"));
    runs_on(other, NULL, "BEGIN");
    uint64_t open = strtoull(runs_on(other, text, "SELECT txid_current() %% 4294967296"), NULL, 10);
    append(ended(), WAL_ROOT, "product", "1");
    append(open, WAL_ROOT, "product", "2");
    append(ended(), WAL_ROOT, "product", "3");
    assert_string_equal(next(FEED_WAL_DIRECT, &before), "1 3");
    assert_int_equal(feed_wal_held(w.wal), 1);
    assert_true(is_done()); /* a run that ends leaves it to the next one */
    append(ended(), WAL_ROOT, "product", "4");
    assert_string_equal(next(FEED_WAL_DIRECT, &after), "4");
    /* a later process reads 2 again, and so 3 and 4 */
    assert_true(before.segment == after.segment && before.offset == after.offset);
    runs_on(other, NULL, "COMMIT");
    PQfinish(other);
    append(ended(), WAL_ROOT, "product", "5");
    assert_string_equal(next(FEED_WAL_DIRECT, &after), "2 5");
    assert_true(journal_is_before(before, after));
    assert_int_equal(feed_wal_held(w.wal), 0);
}

static void it_becomes_visible_without_anything_new(void **state)
{
    (void)state;
    char text[ADMIN_TEXT];
    PGconn *other = PQconnectdb(getenv("DATABASE_URL"));
    runs_on(other, NULL, "BEGIN");
    uint64_t open = strtoull(runs_on(other, text, "SELECT txid_current() %% 4294967296"), NULL, 10);
    append(open, WAL_ROOT, "product", "2");
    assert_null(next(FEED_WAL_DIRECT, NULL));
    runs_on(other, NULL, "COMMIT");
    PQfinish(other);
    const char *keys = NULL;
    for (int i = 0; i < 1000 && !keys; i++, usleep(10000)) /* it is asked now and then */
        keys = next(FEED_WAL_DIRECT, NULL);
    assert_string_equal(keys, "2");
}

static void a_fan_out_does_not_delay_others(void **state)
{
    (void)state;
    struct journal_position direct, fanned, first;
    uint64_t xid = ended();
    append(xid, WAL_RELATED, "tag", "1");
    assert_string_equal(next(FEED_WAL_DIRECT, &direct), "");
    assert_string_equal(next(FEED_WAL_FANOUT, &first), "1... 1000");
    assert_true(journal_is_before(first, direct));
    append(ended(), WAL_ROOT, "product", "7");
    assert_string_equal(next(FEED_WAL_DIRECT, &direct), "7");
    assert_string_equal(next(FEED_WAL_FANOUT, &fanned), "1001... 1000");
    assert_true(fanned.offset == first.offset); /* a later process begins it again */
    assert_string_equal(next(FEED_WAL_FANOUT, &fanned), "2001... 500");
    assert_true(fanned.offset == direct.offset);
    assert_null(next(FEED_WAL_FANOUT, NULL));
}

static void changed_rows_are_asked_for_together(void **state)
{
    (void)state;
    uint64_t xid = ended();
    append(xid, WAL_RELATED, "tag", "2");
    append(xid, WAL_RELATED, "tag", "3"); /* has no product */
    append(ended(), WAL_RELATED, "tag", "2");
    assert_string_equal(next(FEED_WAL_DIRECT, NULL), "");
    assert_string_equal(next(FEED_WAL_FANOUT, NULL), "7001");
    assert_null(next(FEED_WAL_FANOUT, NULL));
    assert_true(is_done());
}

static void a_truncate_and_an_unknown_table_want_a_sweep(void **state)
{
    (void)state;
    append(ended(), WAL_SWEEP, "product", NULL);
    assert_string_equal(next(FEED_WAL_DIRECT, NULL), "");
    assert_int_equal(w.sweeps, 1);
    append(ended(), WAL_RELATED, "another", "1");
    assert_true(is_done());
    assert_int_equal(w.sweeps, 2);
}

static void nothing_is_read_beyond_the_limit(void **state)
{
    (void)state;
    append(ended(), WAL_ROOT, "product", "1");
    struct journal_position end = journal_end(w.journal), done;
    append(ended(), WAL_ROOT, "product", "2");
    feed_wal_limit(w.wal, &end);
    assert_string_equal(next(FEED_WAL_DIRECT, &done), "1");
    assert_int_equal(done.offset, end.offset);
    assert_null(next(FEED_WAL_DIRECT, NULL));
    assert_string_equal(next(FEED_WAL_FANOUT, &done), "");
    assert_int_equal(done.offset, end.offset);
    assert_true(feed_wal_is_done(w.wal));
    feed_wal_limit(w.wal, NULL);
    assert_string_equal(next(FEED_WAL_DIRECT, NULL), "2");
}

static void what_is_skipped_is_visible(void **state)
{
    (void)state;
    char text[ADMIN_TEXT];
    struct err e = {0};
    struct journal_position first, to;
    PGconn *other = PQconnectdb(getenv("DATABASE_URL"));
    runs_on(other, NULL, "BEGIN");
    uint64_t open = strtoull(runs_on(other, text, "SELECT txid_current() %% 4294967296"), NULL, 10);
    append(ended(), WAL_ROOT, "product", "1");
    append(ended(), WAL_RELATED, "tag", "1");
    first = journal_end(w.journal);
    append(open, WAL_ROOT, "product", "2");
    append(ended(), WAL_ROOT, "product", "3");
    assert_true(feed_wal_skip(w.wal, &to, &e));
    assert_int_equal(to.offset, first.offset);
    assert_string_equal(next(FEED_WAL_DIRECT, NULL), "3");
    runs_on(other, NULL, "COMMIT");
    PQfinish(other);
    assert_true(feed_wal_skip(w.wal, &to, &e));
    assert_int_equal(to.offset, journal_end(w.journal).offset);
    assert_true(is_done());
}

static void positions_alone_are_no_work(void **state)
{
    (void)state;
    append(0, WAL_POSITION, "", NULL);
    append(0, WAL_POSITION, "", NULL);
    while (next(FEED_WAL_DIRECT, NULL)) /* a checkpoint now and then */
        ;
    append(0, WAL_POSITION, "", NULL);
    assert_null(next(FEED_WAL_DIRECT, NULL));
    assert_true(is_done());
}

static void many_keys_are_several_batches(void **state)
{
    (void)state;
    enum { KEYS = 2500 };
    char keys[KEYS * 6];
    size_t len = 0;
    struct err e = {0};
    struct journal_position first, last;
    for (int i = 0; i < KEYS; i++)
        len += (size_t)snprintf(keys + len, 6, "%d", 10000 + i) + 1;
    const struct journal_record r = {.xid = ended(),
                                     .kind = WAL_ROOT,
                                     .label = "product",
                                     .keys = keys,
                                     .keys_len = len,
                                     .n = KEYS,
                                     .commit_us = 1};
    assert_true(journal_append(w.journal, &r, &e));
    assert_string_equal(next(FEED_WAL_DIRECT, &first), "10000... 1000");
    assert_string_equal(next(FEED_WAL_DIRECT, &last), "11000... 1000");
    assert_true(first.offset == last.offset);
    assert_string_equal(next(FEED_WAL_DIRECT, &last), "12000... 500");
    assert_true(journal_is_before(first, last));
}

int main(void)
{
#define WITH_WORK(test) cmocka_unit_test_setup_teardown(test, open_work, close_work)
    const struct CMUnitTest tests[] = {
        WITH_WORK(keys_of_the_root_come_together_each_once),
        WITH_WORK(what_is_not_visible_waits_and_nothing_waits_for_it),
        WITH_WORK(it_becomes_visible_without_anything_new),
        WITH_WORK(a_fan_out_does_not_delay_others),
        WITH_WORK(changed_rows_are_asked_for_together),
        WITH_WORK(a_truncate_and_an_unknown_table_want_a_sweep),
        WITH_WORK(nothing_is_read_beyond_the_limit),
        WITH_WORK(what_is_skipped_is_visible),
        WITH_WORK(positions_alone_are_no_work),
        WITH_WORK(many_keys_are_several_batches),
    };
    return cmocka_run_group_tests_name("feed_wal", tests, connect_admin, disconnect_admin);
}
