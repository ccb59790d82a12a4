/* The rule of a shared slot (feed/wal_share.h), by a model: one log, one slot, and three pipelines
 * with a journal each, which join, fail, stay away and come back; the process is killed at any
 * moment, and goes on with some of the pipelines. Journals, feeds and the rule are the real ones.
 * However the events fall, each index has the last version of each row in the end.
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

#include <unistd.h>

#include "base/err.h"
#include "dice.h"
#include "feed/feed_wal.h"
#include "feed/wal_keys.h"
#include "feed/wal_share.h"
#include "model/batch.h"
#include "source/source.h"
#include "store/journal.h"

enum { PIPES = 3, ROWS = 8, COMMITS = 80, STEPS = 1500, EPISODES = 200, SIZE = 16 };

enum leave_out {
    NOTHING,
    OTHERS,   /* the slot is confirmed as soon as one journal has something */
    KEEPING,  /* nothing is kept for who is out */
    JOINING,  /* nothing is kept for who waits for the next connection */
    LOWEST,   /* the log is read again from the highest position that a journal names */
    GAP,      /* who joins does not look whether the slot is past its journal */
    HAS_ALL,  /* a journal has what the others have */
    EVIDENCE, /* a gap does not stand in the journal */
    POSITION, /* what is confirmed does not stand in each journal */
};

struct pipe {
    char prefix[96];
    /* on disk, next to the journal */
    struct journal_position saved;
    bool saved_owes;
    int index[ROWS];
    /* of the process */
    bool looked, runs; /* it is set up; somebody reads the journal */
    struct wal_part part;
    struct journal *journal; /* NULL: it is closed */
    struct feed_wal *wal;
    struct journal_position place;
    bool owes, told;
};

static struct {
    uint64_t seed;
    enum leave_out without;
    int rows[COMMITS], versions[COMMITS]; /* what each commit changes: the position after it is */
    int committed;                        /* (its number + 1) * SIZE */
    int latest[ROWS];
    uint64_t slot; /* the position to which it is confirmed */
    uint64_t read; /* of this connection */
    struct pipe pipes[PIPES];
    int gaps, kills;
} m;

static char folder[64];

static uint32_t any(uint32_t n)
{
    return dice(&m.seed, n);
}

static void commit(void)
{
    if (m.committed == COMMITS)
        return;
    int row = (int)any(ROWS);
    m.rows[m.committed] = row;
    m.versions[m.committed++] = ++m.latest[row];
}

static bool is_visible(void *arg, const uint64_t *xids, size_t n, bool *visible, struct err *e)
{
    (void)arg;
    (void)xids;
    (void)e;
    for (size_t i = 0; i < n; i++)
        visible[i] = true;
    return true;
}

static void want_sweep(void *arg, size_t table)
{
    struct pipe *p = arg;
    assert_true(table == FEED_WAL_GAP);
    p->owes |= !p->told;
}

/* ---- the log is read ---- */

static void append(struct pipe *p, uint32_t kind, uint64_t lsn, const char *key)
{
    struct err e = {0};
    const struct journal_record r = {.xid = lsn,
                                     .lsn = lsn,
                                     .kind = kind,
                                     .label = "row",
                                     .keys = key,
                                     .keys_len = key ? strlen(key) + 1 : 0,
                                     .n = key ? 1 : 0};
    assert_true(journal_append(p->journal, &r, &e));
}

static uint64_t highest(void)
{
    uint64_t at = 0;
    for (int i = 0; i < PIPES; i++)
        if (m.pipes[i].part.is != WAL_OUT && m.pipes[i].part.at > at)
            at = m.pipes[i].part.at;
    return at;
}

/* A new connection: whoever waits is in. */
static void let_in(void)
{
    uint64_t from = UINT64_MAX;
    for (int i = 0; i < PIPES; i++) {
        struct pipe *p = &m.pipes[i];
        if (p->part.is != WAL_OUT)
            p->part = (struct wal_part){WAL_IN, journal_lsn(p->journal)};
        from = wal_share_from(from, &p->part);
    }
    from = m.without == LOWEST ? highest() : from;
    if (from != UINT64_MAX) /* the server does not go back behind what is confirmed */
        m.read = from > m.slot ? from : m.slot;
}

static bool has_members(void)
{
    for (int i = 0; i < PIPES; i++)
        if (m.pipes[i].part.is == WAL_IN)
            return true;
    return false;
}

static void receive(void)
{
    int n = (int)(m.read / SIZE);
    char key[12];
    uint64_t top = 0;
    if (!has_members() || n >= m.committed)
        return;
    snprintf(key, sizeof key, "%d", m.rows[n]);
    m.read = (uint64_t)(n + 1) * SIZE;
    for (int i = 0; i < PIPES; i++)
        if (m.pipes[i].part.is == WAL_IN && journal_lsn(m.pipes[i].journal) > top)
            top = journal_lsn(m.pipes[i].journal);
    for (int i = 0; i < PIPES; i++) {
        struct pipe *p = &m.pipes[i];
        uint64_t at = p->part.is == WAL_IN ? journal_lsn(p->journal) : 0;
        at = m.without == HAS_ALL ? top : at;
        /* a pipeline's own table: the others' changes are nothing to it, but for one row */
        bool concerns = m.rows[n] % PIPES == i || m.rows[n] == 0;
        if (p->part.is == WAL_IN && concerns && !wal_share_has(at, m.read - SIZE / 2))
            append(p, WAL_ROOT, m.read, key);
    }
}

static void confirm(void)
{
    struct err e = {0};
    uint64_t to = m.read;
    if (!has_members())
        return;
    for (int i = 0; i < PIPES; i++) {
        struct pipe *p = &m.pipes[i];
        if (p->part.is == WAL_IN && m.without != POSITION && journal_lsn(p->journal) < m.read)
            append(p, WAL_POSITION, m.read, NULL);
        if (p->part.is == WAL_IN)
            assert_true(journal_sync(p->journal, &e));
        bool counts = m.without != OTHERS && !(m.without == KEEPING && p->part.is == WAL_OUT) &&
                      !(m.without == JOINING && p->part.is == WAL_PENDING);
        to = counts ? wal_share_confirm(to, &p->part) : to;
    }
    m.slot = to > m.slot ? to : m.slot;
}

/* Past a limit nothing is kept for who is out. */
static void let_go(struct pipe *p)
{
    if (p->part.is == WAL_OUT && !p->looked && any(2) == 0)
        p->part.at = WAL_SHARE_NOTHING;
}

/* ---- a pipeline ---- */

static void close_reader(struct pipe *p)
{
    feed_wal_free(p->wal);
    p->wal = NULL;
    p->runs = false;
}

static void retire(struct pipe *p)
{
    if (p->part.is == WAL_IN && journal_lsn(p->journal) < m.read)
        append(p, WAL_POSITION, m.read, NULL);
    if (p->part.is != WAL_OUT)
        p->part = (struct wal_part){WAL_OUT, journal_lsn(p->journal)};
    if (p->part.at == WAL_SHARE_NOTHING)
        p->part.at = 0;
    journal_close(p->journal);
    p->journal = NULL;
    p->looked = false;
}

static void note_gap(struct pipe *p)
{
    m.gaps++;
    append(p, m.without == EVIDENCE ? WAL_POSITION : WAL_GAP, m.slot, NULL);
    p->owes = p->told = true;
}

/* First it looks at the slot, and joins later. */
static void look(struct pipe *p)
{
    struct err e = {0};
    retire(p);
    assert_non_null(p->journal = journal_open(p->prefix, p->saved, &e));
    p->place = journal_at(p->journal);
    p->owes = p->saved_owes;
    p->told = false;
    p->looked = true;
    if (m.without != GAP && wal_share_is_gap(m.slot, journal_lsn(p->journal)))
        note_gap(p);
}

static void join(struct pipe *p)
{
    static struct source_table table = {.state_name = (char *)"row"};
    static const struct source source = {.tables = &table, .n_tables = 1};
    static const char *const labels[] = {"row"};
    struct feed_origin origin = {&source, NULL, NULL};
    struct err e = {0};
    const struct feed_wal_config config = {.journal = p->journal,
                                           .labels = labels,
                                           .visible = is_visible,
                                           .want_sweep = want_sweep,
                                           .arg = p,
                                           .impatient = true};
    assert_non_null(p->wal = feed_wal_new(&origin, &config, &e));
    p->part = (struct wal_part){WAL_PENDING, journal_lsn(p->journal)};
    p->runs = true;
    p->looked = false;
}

static void open_pipe(struct pipe *p)
{
    if (!p->runs && !p->looked)
        look(p);
    else if (!p->runs)
        join(p);
}

static void deliver(struct pipe *p)
{
    struct err e = {0};
    struct batch *b;
    if (!p->runs)
        return;
    assert_true(feed_next(feed_wal_feed(p->wal, FEED_WAL_DIRECT), &b, &e));
    for (size_t i = 0; b && i < b->n; i++)
        p->index[atoi(b->keys[i])] = m.latest[atoi(b->keys[i])];
    if (b)
        p->place = b->done.journal;
    batch_free(b);
}

static void sweep(struct pipe *p)
{
    if (p->runs && p->owes)
        memcpy(p->index, m.latest, sizeof p->index);
    p->owes &= !p->runs;
}

static void save(struct pipe *p)
{
    struct err e = {0};
    if (!p->runs)
        return;
    p->saved = p->place;
    p->saved_owes = p->owes;
    assert_true(journal_release(p->journal, p->saved, &e));
}

/* A failure: the run ends, and the journal goes on receiving; or that fails, too. */
static void fail_pipe(struct pipe *p)
{
    if (p->runs)
        close_reader(p);
    if (any(3) == 0)
        retire(p);
}

static void start_process(void)
{
    m.read = 0;
    for (int i = 0; i < PIPES; i++) /* of some it does not know */
        m.pipes[i].part = (struct wal_part){WAL_OUT, any(2) == 0 ? WAL_SHARE_NOTHING : 0};
}

static void kill_process(void)
{
    for (int i = 0; i < PIPES; i++) {
        if (m.pipes[i].runs)
            close_reader(&m.pipes[i]);
        journal_close(m.pipes[i].journal);
        m.pipes[i].journal = NULL;
        m.pipes[i].looked = false;
    }
    m.kills++;
}

/* ---- an episode ---- */

static void step(void)
{
    struct pipe *p = &m.pipes[any(PIPES)];
    switch (any(18)) {
    case 0:
    case 1:
        commit();
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        receive();
        break;
    case 6:
    case 7:
        confirm();
        break;
    case 8:
    case 9:
        open_pipe(p);
        break;
    case 10:
        let_in();
        break;
    case 11:
        save(p);
        break;
    case 12:
        if (any(4) == 0)
            fail_pipe(p);
        break;
    case 13:
        if (any(4) == 0)
            let_go(p);
        break;
    case 14:
        if (any(4) == 0) {
            kill_process();
            start_process();
        }
        break;
    case 15:
        if (any(4) == 0)
            sweep(p);
        break;
    default:
        deliver(p);
        break;
    }
}

static bool is_complete(void)
{
    for (int i = 0; i < PIPES; i++)
        for (int row = 0; row < ROWS; row++)
            if ((row % PIPES == i || row == 0) && m.pipes[i].index[row] != m.latest[row])
                return false;
    return true;
}

static bool ends_well(void)
{
    for (int i = 0; i < 2 * PIPES; i++)
        open_pipe(&m.pipes[i / 2]);
    let_in();
    for (int k = 0; k < 2 * COMMITS; k++) {
        receive();
        for (int i = 0; i < PIPES; i++) {
            deliver(&m.pipes[i]);
            sweep(&m.pipes[i]);
        }
    }
    return is_complete();
}

static bool runs_well(uint64_t seed, enum leave_out without)
{
    struct err e = {0};
    memset(&m, 0, sizeof m);
    m.seed = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    m.without = without;
    for (int i = 0; i < PIPES; i++)
        snprintf(m.pipes[i].prefix, sizeof m.pipes[i].prefix, "%s/%d.journal", folder, i);
    start_process();
    for (int i = 0; i < STEPS; i++)
        step();
    bool well = ends_well();
    kill_process();
    for (int i = 0; i < PIPES; i++)
        assert_true(journal_remove(m.pipes[i].prefix, &e));
    return well;
}

/* ---- tests ---- */

static void nothing_is_lost(void **state)
{
    (void)state;
    int kills = 0, gaps = 0;
    for (uint64_t seed = 1; seed <= EPISODES; seed++) {
        if (!runs_well(seed, NOTHING))
            fail_msg("seed %llu: a change is lost", (unsigned long long)seed);
        kills += m.kills;
        gaps += m.gaps;
    }
    if (kills < EPISODES || gaps < EPISODES / 2)
        fail_msg("%d kills, %d gaps", kills, gaps);
}

static void loses_without(enum leave_out part)
{
    for (uint64_t seed = 1; seed <= 20 * EPISODES; seed++)
        if (!runs_well(seed, part))
            return;
    fail_msg("nothing is lost without part %d", (int)part);
}

static int count_gaps(enum leave_out without)
{
    int gaps = 0;
    for (uint64_t seed = 1; seed <= EPISODES; seed++) {
        runs_well(seed, without);
        gaps += m.gaps;
    }
    return gaps;
}

/* Without it nothing is lost, but everything is compared again and again. */
static void a_journal_that_names_the_position_has_no_gap(void **state)
{
    (void)state;
    int with = count_gaps(NOTHING), without = count_gaps(POSITION);
    if (without < 2 * with)
        fail_msg("%d gaps, and %d without positions", with, without);
}

static void each_part_of_the_rule_is_needed(void **state)
{
    (void)state;
    for (int part = OTHERS; part < POSITION; part++)
        loses_without((enum leave_out)part);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/dev/shm/model.XXXXXX"); /* nothing is cut here: no disk */
    if (mkdtemp(folder))
        return 0;
    snprintf(folder, sizeof folder, "/tmp/model.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
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
        cmocka_unit_test(a_journal_that_names_the_position_has_no_gap),
    };
    return cmocka_run_group_tests_name("shared_model", tests, make_folder, remove_folder);
}
