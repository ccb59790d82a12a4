#include "feed/wal_receiver.h"

#include "base/alike.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/repeats.h"
#include "base/retry.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "base/witness.h"
#include "feed/wal_keys.h"
#include "pg/pg_replication.h"
#include "pg/pgoutput.h"
#include "store/journal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MS = 500,               /* for a message, before the time is looked at */
    CONFIRM_US = 500 * 1000,     /* between two syncs, while something was appended */
    KEEPALIVE_US = 10 * 1000000, /* between two confirmations at least */
    RECORD = 64 << 10,           /* bytes of keys; more begin another record */
    DISK_MS = 1000,              /* between two tries to append to a full disk */
};

struct wal_receiver {
    struct wal_receiver_config config;
    pthread_t thread;
    const struct witness *witness; /* borrowed: of the thread that started it */
    atomic_bool stopping, asked;
    pthread_mutex_t lock;
    struct pg_replication *connection; /* under the lock where it changes, and for others */
    struct wal_progress progress;      /* under the lock */
    struct err error, outdated;        /* under the lock; ERR_NONE: none */
    bool ended;                        /* under the lock */

    /* The rest is the thread's own. */
    char *server;     /* owned; of the first connection; NULL: there was none yet */
    bool open, wrote; /* within a transaction, of which something is appended */
    struct pgoutput_event begin;
    enum wal_kind kind; /* of the keys that are not appended yet */
    size_t table, n;
    struct buf block, mark;
    struct repeats repeats;
    struct alike *alike; /* borrowed: that of the thread that starts it */
    uint64_t complete;   /* the end of what is appended, and of nothing that is not */
    bool unsynced;
    int64_t confirmed_at_us; /* clock_mono_us */
};

/* ---- progress ---- */

static void set_received(struct wal_receiver *r, uint64_t lsn, int64_t commit_us)
{
    pthread_mutex_lock(&r->lock);
    if (lsn > r->progress.received)
        r->progress.received = lsn;
    if (commit_us)
        r->progress.received_us = commit_us;
    pthread_mutex_unlock(&r->lock);
}

struct wal_progress wal_receiver_progress(struct wal_receiver *r)
{
    pthread_mutex_lock(&r->lock);
    struct wal_progress p = r->progress;
    pthread_mutex_unlock(&r->lock);
    return p;
}

bool wal_receiver_failed(struct wal_receiver *r, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    bool failed = r->ended && r->error.kind != ERR_NONE;
    if (failed)
        *e = r->error;
    pthread_mutex_unlock(&r->lock);
    return failed;
}

bool wal_receiver_is_outdated(struct wal_receiver *r, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    bool outdated = r->outdated.kind != ERR_NONE;
    if (outdated)
        *e = r->outdated;
    pthread_mutex_unlock(&r->lock);
    return outdated;
}

/* ---- the journal ---- */

/* A full disk: the log waits at the server, whose questions are answered meanwhile. */
static bool append(struct wal_receiver *r, const struct journal_record *record, struct err *e)
{
    bool warned = false;
    while (!journal_append(r->config.journal, record, e)) {
        if (e->kind != ERR_PASSING || r->stopping)
            return false;
        if (!warned)
            log_warn_with(
                LOG_FIELDS(log_text("slot", r->config.slot), LOG_ERR(e)),
                "slot '%s': its changes cannot be stored for now, and wait at the server: %s",
                r->config.slot, e->text);
        warned = true;
        if (!stop_sleep(DISK_MS))
            return stop_err(e);
        if (!pg_replication_confirm(r->connection, 0, false, e))
            return false;
    }
    r->unsynced = true;
    return true;
}

/* Writes what is collected. lsn: 0: more of the transaction follows. */
static bool append_block(struct wal_receiver *r, uint64_t lsn, struct err *e)
{
    if (r->block.failed)
        return err_memory(e);
    const struct journal_record record = {.xid = r->begin.xid,
                                          .lsn = lsn,
                                          .commit_us = r->begin.commit_us,
                                          .kind = r->kind,
                                          .label = r->config.labels[r->table],
                                          .keys = r->block.data,
                                          .keys_len = r->block.len,
                                          .n = r->n};
    r->wrote = true;
    buf_clear(&r->block);
    r->n = 0;
    r->kind = 0;
    return append(r, &record, e);
}

/* Whether the transaction has announced that key before. */
static bool is_repeated(struct wal_receiver *r, enum wal_kind kind, size_t table, const char *key)
{
    buf_clear(&r->mark);
    /* a root's key is the same document, whichever table announces it */
    buf_addf(&r->mark, "%d %zu ", (int)kind, kind == WAL_ROOT ? 0 : table);
    buf_adds(&r->mark, key);
    return !r->mark.failed && repeats_add(&r->repeats, r->mark.data, r->mark.len);
}

static bool announce(void *arg, enum wal_kind kind, size_t table, const char *key, struct err *e)
{
    struct wal_receiver *r = arg;
    size_t len = key ? strlen(key) + 1 : 0;
    if (key && is_repeated(r, kind, table, key))
        return true;
    bool other = r->kind != kind || (r->table != table && kind != WAL_ROOT);
    if (r->kind != 0 && (other || r->block.len + len > RECORD) && !append_block(r, 0, e))
        return false;
    if (len > JOURNAL_RECORD_MAX / 2)
        return err_set(e, ERR_FINAL, "cannot follow table '%s': a key has %zu bytes",
                       r->config.labels[table], len);
    if (r->kind == 0) {
        r->kind = kind;
        r->table = table;
    }
    buf_add(&r->block, key, len);
    r->n += key != NULL;
    return true;
}

/* ---- messages ---- */

static void begin_transaction(struct wal_receiver *r, const struct pgoutput_event *event)
{
    r->begin = *event;
    r->open = true;
    r->wrote = false;
    r->kind = 0;
    r->n = 0;
    buf_clear(&r->block);
    repeats_begin(&r->repeats);
}

static bool end_transaction(struct wal_receiver *r, const struct pgoutput_event *event,
                            struct err *e)
{
    if (r->kind == 0 && r->wrote) /* the last record says where the transaction ends */
        r->kind = WAL_ROOT;
    if (r->kind != 0 && !append_block(r, event->end, e))
        return false;
    r->open = false;
    r->complete = event->end;
    set_received(r, event->end, event->commit_us);
    r->config.wake(r->config.arg);
    return true;
}

static bool note_outdated(struct wal_receiver *r)
{
    struct err e;
    if (wal_keys_is_outdated(r->config.keys, &e)) {
        pthread_mutex_lock(&r->lock);
        r->outdated = e;
        pthread_mutex_unlock(&r->lock);
    }
    return true;
}

static bool take_data(struct wal_receiver *r, const struct pg_replication_message *m, struct err *e)
{
    struct pgoutput_event event;
    if (!pgoutput_read(m->data, m->len, &event, e))
        return false;
    if (event.kind == PGOUTPUT_COMMIT)
        return end_transaction(r, &event, e);
    if (event.kind == PGOUTPUT_BEGIN)
        begin_transaction(r, &event);
    return wal_keys_event(r->config.keys, &event, announce, r, e) &&
           (event.kind != PGOUTPUT_RELATION || note_outdated(r));
}

/* Outside of a transaction a keepalive says that the log has nothing of ours up to there. */
static void take_keepalive(struct wal_receiver *r, const struct pg_replication_message *m)
{
    if (r->open || m->end <= r->complete)
        return;
    r->complete = m->end;
    set_received(r, m->end, 0);
    r->config.wake(r->config.arg);
}

static bool append_position(struct wal_receiver *r, struct err *e)
{
    const struct journal_record record = {
        .lsn = r->complete, .kind = WAL_POSITION, .label = "", .keys = ""};
    return append(r, &record, e);
}

/* Syncs, and confirms what that covers. */
static bool confirm(struct wal_receiver *r, struct err *e)
{
    bool ask = atomic_exchange(&r->asked, false);
    if (r->complete > journal_lsn(r->config.journal) && !append_position(r, e))
        return false;
    if (r->unsynced && !journal_sync(r->config.journal, e))
        return false;
    r->unsynced = false;
    r->confirmed_at_us = clock_mono_us();
    if (!pg_replication_confirm(r->connection, r->complete, ask, e))
        return false;
    pthread_mutex_lock(&r->lock);
    r->progress.confirmed = r->complete;
    pthread_mutex_unlock(&r->lock);
    return true;
}

static bool is_due(const struct wal_receiver *r, const struct pg_replication_message *m)
{
    int64_t since_us = clock_mono_us() - r->confirmed_at_us;
    bool news = r->complete > r->progress.confirmed; /* this thread alone writes it */
    return m->reply || r->asked || (news && since_us >= CONFIRM_US) || since_us >= KEEPALIVE_US;
}

/* Until the connection is lost, or the thread is to stop. */
static bool receive(struct wal_receiver *r, struct err *e)
{
    struct pg_replication_message m;
    while (!r->stopping) {
        watchdog_sign();
        if (!pg_replication_next(r->connection, WAIT_MS, &m, e))
            return false;
        if (m.kind == PG_REPLICATION_DATA && !take_data(r, &m, e))
            return false;
        if (m.kind == PG_REPLICATION_KEEPALIVE)
            take_keepalive(r, &m);
        if (is_due(r, &m) && !confirm(r, e))
            return false;
    }
    return true;
}

/* ---- the thread ---- */

static void set_connection(struct wal_receiver *r, struct pg_replication *connection)
{
    pthread_mutex_lock(&r->lock);
    struct pg_replication *old = r->connection;
    r->connection = connection;
    if (connection && r->stopping)
        pg_replication_interrupt(connection);
    pthread_mutex_unlock(&r->lock);
    pg_replication_end(old);
}

/* Also one that was restored from a backup. */
static bool is_same_server(struct wal_receiver *r, struct err *e)
{
    const char *server = pg_replication_server(r->connection);
    if (!r->server && !(r->server = strdup(server)))
        return err_memory(e);
    if (strcmp(r->server, server) != 0)
        return err_set(e, ERR_FINAL, "another PostgreSQL server answers than before");
    uint64_t known = journal_lsn(r->config.journal);
    if (pg_replication_position(r->connection) < known)
        return err_set(e, ERR_FINAL, "the server's log ends before what was read of it");
    if (r->complete > known)
        r->complete = known;
    return true;
}

/* One connection, from its start to its end. */
static bool connect_and_receive(struct wal_receiver *r, struct retry *retry, struct err *e)
{
    const struct pg_replication_options options = {
        .slot = r->config.slot, .publication = r->config.publication, .from = r->config.from};
    struct pg_replication *connection = pg_replication_start(r->config.server, &options, e);
    if (!connection)
        return false;
    set_connection(r, connection);
    if (!is_same_server(r, e)) {
        set_connection(r, NULL);
        return false;
    }
    retry_moved(retry);
    wal_keys_forget(r->config.keys);
    r->open = false;
    bool ok = receive(r, e);
    struct err ignored;
    if (r->stopping || stop_asked())
        confirm(r, &ignored);
    set_connection(r, NULL);
    return ok;
}

static bool is_stopping(void *arg)
{
    struct wal_receiver *r = arg;
    return r->stopping;
}

static void *run(void *arg)
{
    struct wal_receiver *r = arg;
    struct err e = {0};
    struct retry retry;
    struct watchdog_task task;
    witness_set(r->witness);
    log_thread("wal");
    log_pipeline(r->config.pipeline);
    alike_use(r->alike);
    watchdog_begin(&task, "wal");
    retry_start(&retry, r->config.give_up_after);
    retry.over = is_stopping;
    retry.arg = r;
    retry.once = true; /* another process has the slot, perhaps for as long as it lives */
    bool ok = false;
    while (!r->stopping && !(ok = connect_and_receive(r, &retry, &e)))
        if (r->stopping || !retry_again(&retry, &e))
            break;
    watchdog_end(&task);
    witness_set(NULL);
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    if (!ok && !r->stopping)
        r->error = e;
    pthread_mutex_unlock(&r->lock);
    r->config.wake(r->config.arg);
    return NULL;
}

static void free_receiver(struct wal_receiver *r)
{
    buf_free(&r->block);
    buf_free(&r->mark);
    repeats_free(&r->repeats);
    free(r->server);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

struct wal_receiver *wal_receiver_start(const struct wal_receiver_config *config, struct err *e)
{
    struct wal_receiver *r = calloc(1, sizeof *r);
    if (!r) {
        err_memory(e);
        return NULL;
    }
    r->config = *config;
    r->confirmed_at_us = clock_mono_us();
    r->witness = witness_get();
    pthread_mutex_init(&r->lock, NULL);
    buf_init(&r->block, JOURNAL_RECORD_MAX / 2 + RECORD);
    buf_init(&r->mark, JOURNAL_RECORD_MAX);
    r->alike = alike_used();
    int code = pthread_create(&r->thread, NULL, run, r);
    if (code == 0)
        return r;
    free_receiver(r);
    err_set(e, ERR_FINAL, "cannot start a thread: %s", strerror(code));
    return NULL;
}

void wal_receiver_ask(struct wal_receiver *r)
{
    r->asked = true;
}

void wal_receiver_stop(struct wal_receiver *r)
{
    if (!r)
        return;
    r->stopping = true;
    pthread_mutex_lock(&r->lock);
    if (r->connection)
        pg_replication_interrupt(r->connection);
    pthread_mutex_unlock(&r->lock);
    watchdog_rest();
    pthread_join(r->thread, NULL);
    free_receiver(r);
}
