/* The rule of capture from the log (run/run_capture.h, feed/feed_wal.h), by a model: a log, a slot,
 * commits that become visible later, a receiver that is killed at any moment, batches that are
 * acknowledged in any order, a state that is saved now and then. The journal and the feed are the
 * real ones. However the events fall, the index has the last version of each row in the end.
 *
 * Each part of the rule is then left out in turn, and the model has to lose something.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "dice.h"
#include "feed/feed_wal.h"
#include "feed/wal_keys.h"
#include "model/batch.h"
#include "source/source.h"
#include "store/journal.h"

enum { ROWS = 12, COMMITS = 60, STEPS = 900, WORK = 6, EPISODES = 150 };

enum leave_out {
    NOTHING,
    VISIBILITY,     /* rows are fetched as soon as the log has their change */
    SYNC,           /* the slot is confirmed before the journal is on disk */
    ACKNOWLEDGMENT, /* the state says what was handed over */
    REREAD,         /* the slot is read from its end after a crash */
};

struct commit {
    uint64_t xid, end;
    int keys[3], n;
    int version[3];
    bool visible;
};

struct handed { /* a batch in work */
    struct batch *batch;
    int version[ROWS]; /* of the rows when they were fetched */
    bool fetched, acked;
};

static struct {
    uint64_t seed;
    enum leave_out without;
    /* the server */
    struct commit log[COMMITS];
    size_t committed, confirmed; /* commits; `confirmed`: the slot needs none before it */
    int latest[ROWS];            /* versions, by commit */
    /* the process */
    struct journal *journal;
    struct feed_wal *wal;
    size_t received, synced; /* commits in the journal, and on disk */
    struct journal_position synced_end;
    struct handed work[WORK];
    size_t n_work;
    struct journal_position place, saved; /* of the state, and of its file */
    int index[ROWS];
    size_t kills;
} m;

static char folder[64], prefix[96];

static uint32_t any(uint32_t n)
{
    return dice(&m.seed, n);
}

/* ---- the server ---- */

static void commit(void)
{
    if (m.committed == COMMITS)
        return;
    struct commit *c = &m.log[m.committed++];
    *c = (struct commit){.xid = 100 + m.committed, .end = m.committed * 16, .n = 1 + (int)any(3)};
    for (int i = 0; i < c->n; i++) {
        c->keys[i] = (int)any(ROWS);
        c->version[i] = ++m.latest[c->keys[i]];
    }
    c->visible = any(4) > 0;
}

static void show(void)
{
    for (size_t i = 0; i < m.committed; i++)
        if (!m.log[i].visible && any(3) == 0)
            m.log[i].visible = true;
}

static bool is_visible(void *arg, const uint64_t *xids, size_t n, bool *visible, struct err *e)
{
    (void)arg;
    (void)e;
    for (size_t i = 0; i < n; i++)
        visible[i] = m.without == VISIBILITY || m.log[xids[i] - 101].visible;
    return true;
}

/* What a SELECT shows of the row. */
static int row_now(int key)
{
    int version = 0;
    for (size_t i = 0; i < m.committed; i++)
        for (int k = 0; m.log[i].visible && k < m.log[i].n; k++)
            if (m.log[i].keys[k] == key && m.log[i].version[k] > version)
                version = m.log[i].version[k];
    return version;
}

/* ---- the process ---- */

static void want_sweep(void *arg, size_t table)
{
    (void)arg;
    (void)table;
    fail_msg("no sweep is wanted");
}

static void start(void)
{
    static struct source_table table = {.state_name = (char *)"row"};
    static const struct source source = {.tables = &table, .n_tables = 1};
    static const char *const labels[] = {"row"};
    struct err e = {0};
    if (!(m.journal = journal_open(prefix, m.saved, &e)))
        fail_msg("%s", e.text);
    const struct feed_wal_config config = {.journal = m.journal,
                                           .labels = labels,
                                           .visible = is_visible,
                                           .want_sweep = want_sweep,
                                           .impatient = true};
    struct feed_origin origin = {&source, NULL, NULL};
    m.wal = feed_wal_new(&origin, &config, &e);
    assert_non_null(m.wal);
    m.place = journal_at(m.journal);
    m.synced_end = journal_end(m.journal);
    /* the slot's own position, or a later one that the journal names */
    size_t known = (size_t)(journal_lsn(m.journal) / 16);
    m.received = m.synced = known > m.confirmed ? known : m.confirmed;
    if (m.without == REREAD)
        m.received = m.synced = m.committed;
}

static void append(struct commit *c, int first, int n, uint64_t lsn)
{
    char keys[40];
    size_t len = 0;
    struct err e = {0};
    for (int i = first; i < first + n; i++)
        len += (size_t)snprintf(keys + len, sizeof keys - len, "%d", c->keys[i]) + 1;
    const struct journal_record r = {.xid = c->xid,
                                     .lsn = lsn,
                                     .kind = WAL_ROOT,
                                     .label = "row",
                                     .keys = keys,
                                     .keys_len = len,
                                     .n = (size_t)n};
    assert_true(journal_append(m.journal, &r, &e));
}

/* The next commit of the log; large ones are several records. */
static void receive(void)
{
    if (m.received == m.committed)
        return;
    struct commit *c = &m.log[m.received++];
    for (int i = 0; i + 1 < c->n; i++)
        append(c, i, 1, 0);
    append(c, c->n - 1, 1, c->end);
}

static void sync_and_confirm(void)
{
    struct err e = {0};
    if (m.without == SYNC) {
        m.confirmed = m.received;
        return;
    }
    assert_true(journal_sync(m.journal, &e));
    m.synced = m.received;
    m.synced_end = journal_end(m.journal);
    m.confirmed = m.synced;
}

static void hand_over(void)
{
    struct err e = {0};
    struct batch *b;
    if (m.n_work == WORK)
        return;
    assert_true(feed_next(feed_wal_feed(m.wal, FEED_WAL_DIRECT), &b, &e));
    if (!b)
        return;
    m.work[m.n_work++] = (struct handed){.batch = b};
    if (m.without == ACKNOWLEDGMENT)
        m.place = b->done.journal;
}

/* A worker reads the rows of a batch, or the index gets what one has read. */
static void work(void)
{
    if (m.n_work == 0)
        return;
    struct handed *h = &m.work[any((uint32_t)m.n_work)];
    for (size_t i = 0; i < h->batch->n; i++) {
        int key = atoi(h->batch->keys[i]);
        if (!h->fetched)
            h->version[key] = row_now(key);
        else if (h->version[key] > m.index[key]) /* an older one loses */
            m.index[key] = h->version[key];
    }
    h->acked = h->fetched;
    h->fetched = true;
}

static void acknowledge(void)
{
    while (m.n_work > 0 && m.work[0].acked) {
        if (m.without != ACKNOWLEDGMENT)
            m.place = m.work[0].batch->done.journal;
        batch_free(m.work[0].batch);
        memmove(m.work, m.work + 1, --m.n_work * sizeof *m.work);
    }
}

static void save(void)
{
    struct err e = {0};
    acknowledge();
    m.saved = m.place;
    assert_true(journal_release(m.journal, m.saved, &e));
}

/* What was not synced may be on disk, or a part of it. */
static void tear(void)
{
    char path[120];
    struct stat info;
    snprintf(path, sizeof path, "%s.%08u", prefix, (unsigned)m.synced_end.segment);
    if (stat(path, &info) != 0 || (uint64_t)info.st_size <= m.synced_end.offset)
        return;
    uint32_t more = (uint32_t)((uint64_t)info.st_size - m.synced_end.offset);
    assert_int_equal(truncate(path, (off_t)(m.synced_end.offset + any(more + 1))), 0);
}

static void kill_process(void)
{
    for (size_t i = 0; i < m.n_work; i++)
        batch_free(m.work[i].batch);
    m.n_work = 0;
    feed_wal_free(m.wal);
    journal_close(m.journal);
    tear();
    m.kills++;
}

/* ---- an episode ---- */

static void step(void)
{
    switch (any(16)) {
    case 0:
        commit();
        break;
    case 1:
        show();
        break;
    case 2:
    case 3:
    case 4:
        receive();
        break;
    case 5:
        sync_and_confirm();
        break;
    case 6:
    case 7:
    case 8:
        hand_over();
        break;
    case 9:
        save();
        break;
    case 10:
        if (any(12) == 0) {
            kill_process();
            start();
        }
        break;
    default:
        work();
        break;
    }
}

static bool is_complete(void)
{
    for (int i = 0; i < ROWS; i++)
        if (m.index[i] != m.latest[i])
            return false;
    return true;
}

/* Everything has become visible, and everything is delivered. Whether the index is right then. */
static bool ends_well(void)
{
    for (size_t i = 0; i < m.committed; i++)
        m.log[i].visible = true;
    for (int i = 0; i < 4 * COMMITS * WORK && !is_complete(); i++) {
        receive();
        hand_over();
        for (int k = 0; k < 4 * WORK; k++)
            work();
        acknowledge();
    }
    return is_complete();
}

static bool runs_well(uint64_t seed, enum leave_out without)
{
    struct err e = {0};
    memset(&m, 0, sizeof m);
    m.seed = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    m.without = without;
    start();
    for (int i = 0; i < STEPS; i++)
        step();
    bool well = ends_well();
    kill_process();
    assert_true(journal_remove(prefix, &e));
    return well;
}

/* ---- tests ---- */

static void nothing_is_lost(void **state)
{
    (void)state;
    size_t kills = 0;
    for (uint64_t seed = 1; seed <= EPISODES; seed++) {
        if (!runs_well(seed, NOTHING))
            fail_msg("seed %llu: a change is lost", (unsigned long long)seed);
        kills += m.kills;
    }
    assert_true(kills > EPISODES);
}

static void loses_without(enum leave_out part)
{
    for (uint64_t seed = 1; seed <= EPISODES; seed++)
        if (!runs_well(seed, part))
            return;
    fail_msg("nothing is lost without it");
}

static void each_part_of_the_rule_is_needed(void **state)
{
    (void)state;
    loses_without(VISIBILITY);
    loses_without(SYNC);
    loses_without(ACKNOWLEDGMENT);
    loses_without(REREAD);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/model.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(prefix, sizeof prefix, "%s/state.journal", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(each_part_of_the_rule_is_needed),
    };
    return cmocka_run_group_tests_name("capture_model", tests, make_folder, remove_folder);
}
