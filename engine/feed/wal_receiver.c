#include "feed/wal_receiver.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/grow.h"
#include "base/log.h"
#include "base/repeats.h"
#include "base/retry.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "base/witness.h"
#include "feed/wal_share.h"
#include "feed/wal_writer.h"
#include "pg/pg_replication.h"
#include "pg/pgoutput.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MS = 500,               /* for a message, before the time is looked at */
    CONFIRM_US = 500 * 1000,     /* between two syncs, while something was appended */
    KEEPALIVE_US = 10 * 1000000, /* between two confirmations at least */
    STEADY_US = 10 * 1000000,    /* a connection that lasts so long is of use */
    SILENT_US = 5 * 1000000,     /* of the server, until it is asked, and asked again */
    DISK_MS = 1000,              /* between two tries to append to a full disk */
    JOIN_US = 200 * 1000,        /* in which others may join by the same new connection */
    WITHIN_US = 10 * 1000000,    /* likewise, if a transaction is under way */
};

struct wal_member {
    struct wal_receiver *receiver;
    char *name; /* owned */
    uint64_t limit;
    struct wal_part part;
    struct wal_writer *writer; /* owned; NULL: none */
    struct wal_reader reader;  /* no `wake`: nobody reads */
    char *server;              /* owned: the reader's; NULL: not known */
    struct err error;          /* ERR_NONE: it has not failed */
    uint64_t received;
    bool asked, leaving;
    bool set_up;   /* it will join: what its journal needs is kept, however much that is */
    bool given_up; /* what it needs is not in the log any more, since it was let go */
};

struct wal_receiver {
    struct wal_receiver_config config;
    pthread_t thread;
    bool started; /* the thread is to be joined */
    /* borrowed: of the thread that made the receiver, which outlives it */
    const struct witness *witness;
    struct alike *alike;
    atomic_bool stopping, asked;
    _Atomic int64_t heard_us; /* clock_mono_us: see wal_member_heard */

    /* The thread lets others have the lock before it takes it again: they are few, and it is
     * quick. */
    atomic_int callers;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `callers` has gone down, or `blocked` has changed */
    /* The rest is under the lock. */
    bool live; /* the thread will look at the members again */
    struct pg_replication *connection;
    struct wal_member **members; /* owned, each */
    size_t n, cap;
    struct wal_member *blocked; /* the thread waits for its disk, without the lock */
    int64_t restart_us;         /* since when a member waits for a new connection; 0: none does */
    uint64_t confirmed;
    char *server;      /* owned; of the first connection; NULL: there was none yet */
    bool open;         /* within a transaction */
    uint64_t complete; /* all before it was given to each member that is IN */
    uint64_t settled;  /* `complete` at the last confirmation */
    struct repeats repeats;
    int64_t confirmed_at_us; /* clock_mono_us */
    int64_t asked_us;        /* likewise: for a sign of life */
};

/* ---- the lock ---- */

static void enter(struct wal_receiver *r)
{
    atomic_fetch_add(&r->callers, 1);
    pthread_mutex_lock(&r->lock);
}

static void leave(struct wal_receiver *r)
{
    atomic_fetch_sub(&r->callers, 1);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* For the thread. */
static void take_turn(struct wal_receiver *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->callers > 0)
        pthread_cond_wait(&r->changed, &r->lock);
}

/* ---- members ---- */

static void wake(struct wal_member *m)
{
    if (m->reader.wake)
        m->reader.wake(m->reader.arg);
}

/* Its journal has what it has; the slot stays there. */
static void put_out(struct wal_member *m)
{
    if (m->part.is != WAL_OUT)
        m->part = (struct wal_part){WAL_OUT, wal_writer_lsn(m->writer)};
}

static void fail_member(struct wal_member *m, const struct err *why)
{
    put_out(m);
    m->error = *why;
    wake(m);
}

/* Without a reader nobody needs a journal into which nothing comes. */
static void drop_idle_writer(struct wal_member *m)
{
    if (m->part.is != WAL_OUT || m->reader.wake)
        return;
    wal_writer_free(m->writer);
    m->writer = NULL;
}

/* A member that cannot go on is left behind. False: e is not about it alone. */
static bool survive(struct wal_member *m, struct err *e)
{
    if (e->kind != ERR_FINAL && !m->leaving)
        return false;
    fail_member(m, e);
    drop_idle_writer(m);
    return true;
}

static bool has_members(const struct wal_receiver *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->members[i]->part.is != WAL_OUT)
            return true;
    return false;
}

static uint64_t from_where(const struct wal_receiver *r)
{
    uint64_t from = UINT64_MAX;
    for (size_t i = 0; i < r->n; i++)
        from = wal_share_from(from, &r->members[i]->part);
    return from;
}

static void let_go(struct wal_member *m, const char *why)
{
    log_warn_with(LOG_FIELDS(log_text("slot", m->receiver->config.slot)),
                  "slot '%s': the log is not kept for '%s' any more, %s, beyond journal_limit: it "
                  "compares every row once it goes on",
                  m->receiver->config.slot, m->name, why);
    m->part = (struct wal_part){WAL_OUT, WAL_SHARE_NOTHING};
    m->given_up = true;
}

/* The server's disk, and ours, are not filled for one that does not come. */
static void limit_member(struct wal_member *m)
{
    const struct wal_receiver *r = m->receiver;
    const struct wal_part *p = &m->part;
    uint64_t since = p->at > r->confirmed ? p->at : r->confirmed;
    bool kept = p->is == WAL_OUT && p->at != WAL_SHARE_NOTHING && !m->set_up;
    if (kept && r->complete > since && r->complete - since > m->limit)
        let_go(m, "which does not read it");
    if (p->is == WAL_IN && !m->reader.wake && wal_writer_bytes(m->writer) > m->limit)
        let_go(m, "whose journal grows and which does not read it");
    drop_idle_writer(m);
}

/* ---- messages ---- */

/* The thread is busy with the member's journal, which stays open meanwhile. */
static void unlock_for(struct wal_member *m)
{
    m->receiver->blocked = m;
    pthread_mutex_unlock(&m->receiver->lock);
}

static void lock_after(struct wal_member *m)
{
    pthread_mutex_lock(&m->receiver->lock); /* out of turn: a caller may wait for this */
    m->receiver->blocked = NULL;
    pthread_cond_broadcast(&m->receiver->changed);
}

/* A full disk: the log waits at the server, whose questions are answered meanwhile. */
static bool wait_for_disk(void *arg, bool first, struct err *e)
{
    struct wal_member *m = arg;
    struct wal_receiver *r = m->receiver;
    if (first)
        log_warn_with(LOG_FIELDS(log_text("slot", r->config.slot), LOG_ERR(e)),
                      "slot '%s': its changes cannot be stored for now, and wait at the server: %s",
                      r->config.slot, e->text);
    if (r->stopping || m->leaving)
        return false;
    unlock_for(m);
    bool ok =
        (stop_sleep(DISK_MS) || stop_err(e)) && pg_replication_confirm(r->connection, 0, false, e);
    lock_after(m);
    r->heard_us = clock_mono_us();
    return ok && !r->stopping && !m->leaving;
}

static void set_received(struct wal_receiver *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct wal_member *m = r->members[i];
        if (m->part.is == WAL_IN && r->complete > m->received)
            m->received = r->complete;
        if (m->part.is == WAL_IN && m->asked)
            wake(m);
        m->asked = false;
    }
}

static bool take_data(struct wal_receiver *r, const struct pg_replication_message *message,
                      struct err *e)
{
    struct pgoutput_event event;
    if (!pgoutput_read(message->data, message->len, &event, e))
        return false;
    if (event.kind == PGOUTPUT_BEGIN) {
        r->open = true;
        repeats_begin(&r->repeats);
    }
    for (size_t i = 0; i < r->n; i++) {
        struct wal_member *m = r->members[i];
        bool wrote = false;
        if (m->part.is != WAL_IN)
            continue;
        if (!wal_writer_event(m->writer, &event, &wrote, e) && !survive(m, e))
            return false;
        if (wrote)
            wake(m);
    }
    if (event.kind == PGOUTPUT_COMMIT) {
        r->open = false;
        r->complete = event.end > r->complete ? event.end : r->complete;
        set_received(r);
    }
    return true;
}

/* Outside of a transaction a keepalive says that the log has nothing of ours up to there. */
static void take_keepalive(struct wal_receiver *r, const struct pg_replication_message *m)
{
    if (r->open || m->end <= r->complete)
        return;
    r->complete = m->end;
    set_received(r);
}

static bool settle(struct wal_member *m, uint64_t to, struct err *e)
{
    if (!wal_writer_settle(m->writer, to, e))
        return false;
    unlock_for(m);
    bool ok = wal_writer_sync(m->writer, e);
    lock_after(m);
    return ok;
}

/* Syncs, and confirms what that covers. A server that shuts down waits until all is confirmed, or
 * nothing is told of what is: so nothing is told twice while a part of it is kept for a member. */
static bool confirm(struct wal_receiver *r, struct err *e)
{
    uint64_t to = r->complete, before = r->confirmed;
    for (size_t i = 0; i < r->n; i++) {
        struct wal_member *m = r->members[i];
        limit_member(m);
        if (m->part.is == WAL_IN && !settle(m, r->complete, e) && !survive(m, e))
            return false;
    }
    for (size_t i = 0; i < r->n; i++) /* at one moment: others may have had the lock before */
        to = wal_share_confirm(to, &r->members[i]->part);
    if (!has_members(r)) /* nobody has what was read since */
        to = before;
    r->confirmed_at_us = clock_mono_us();
    r->settled = r->complete;
    r->confirmed = to > before ? to : before;
    if (to < r->complete && to <= before)
        return pg_replication_keep(r->connection, r->complete, false, e);
    return pg_replication_confirm(r->connection, to, false, e);
}

/* Each journal is synced: the more there are, the less often. */
static bool is_due(const struct wal_receiver *r, const struct pg_replication_message *m)
{
    int64_t since_us = clock_mono_us() - r->confirmed_at_us;
    bool news = r->complete > r->settled;
    return m->reply || (news && since_us >= CONFIRM_US * (int64_t)r->n) || since_us >= KEEPALIVE_US;
}

/* A server that hangs is silent, and so is one on which nothing happens, unless it is asked. */
static bool is_silent(const struct wal_receiver *r, int64_t now_us)
{
    return now_us - r->heard_us >= SILENT_US && now_us - r->asked_us >= SILENT_US;
}

static bool ask(struct wal_receiver *r, struct err *e)
{
    int64_t now = clock_mono_us();
    if (!atomic_exchange(&r->asked, false) && !is_silent(r, now))
        return true;
    r->asked_us = now;
    return pg_replication_keep(r->connection, r->confirmed, true, e);
}

static bool take_message(struct wal_receiver *r, const struct pg_replication_message *m,
                         struct err *e)
{
    if (m->kind == PG_REPLICATION_DATA && !take_data(r, m, e))
        return false;
    if (m->kind == PG_REPLICATION_KEEPALIVE)
        take_keepalive(r, m);
    return (!is_due(r, m) || confirm(r, e)) && ask(r, e);
}

/* Members that wait come in with a new connection: between two transactions, unless the one under
 * way takes long. */
static bool has_to_connect_anew(const struct wal_receiver *r)
{
    int64_t for_us = r->restart_us ? clock_mono_us() - r->restart_us : 0;
    return for_us >= (r->open ? WITHIN_US : JOIN_US);
}

/* A connection that was made may fail again at once, and always at the same place. */
static bool is_of_use(const struct wal_receiver *r, uint64_t confirmed, int64_t since_us)
{
    return r->confirmed > confirmed || clock_mono_us() - since_us >= STEADY_US;
}

/* Until the connection is lost, the thread is to stop, or the members are others. retry: done once
 * the connection is of use. */
static bool receive(struct wal_receiver *r, struct retry *retry, struct err *e)
{
    struct pg_replication_message m;
    int64_t since_us = clock_mono_us();
    bool ok = true, over = false;
    take_turn(r);
    uint64_t confirmed = r->confirmed;
    pthread_mutex_unlock(&r->lock);
    while (ok && !over && !r->stopping) {
        watchdog_sign();
        if (!pg_replication_next(r->connection, WAIT_MS, &m, e))
            return false;
        if (m.kind != PG_REPLICATION_NOTHING)
            r->heard_us = clock_mono_us();
        take_turn(r);
        ok = take_message(r, &m, e);
        over = has_to_connect_anew(r) || !has_members(r);
        bool of_use = is_of_use(r, confirmed, since_us);
        pthread_mutex_unlock(&r->lock);
        if (retry && of_use) {
            retry_done(retry);
            retry = NULL;
        }
    }
    return ok;
}

/* ---- the thread ---- */

static void set_connection(struct wal_receiver *r, struct pg_replication *connection)
{
    take_turn(r);
    struct pg_replication *old = r->connection;
    r->connection = connection;
    if (connection && r->stopping)
        pg_replication_interrupt(connection);
    pthread_mutex_unlock(&r->lock);
    pg_replication_end(old);
}

static bool is_other_server(const char *why, struct err *e)
{
    err_set(e, ERR_FINAL, "%s", why);
    e->fault = ERR_FAULT_SERVER;
    return false;
}

/* Also one that was restored from a backup. */
static bool is_same_server(struct wal_receiver *r, struct err *e)
{
    const char *server = pg_replication_server(r->connection);
    uint64_t position = pg_replication_position(r->connection);
    if (!r->server && !(r->server = strdup(server)))
        return err_memory(e);
    bool same = strcmp(r->server, server) == 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct wal_member *m = r->members[i];
        if (m->part.is != WAL_IN)
            continue;
        same = same && (!m->server || pg_replication_is_of(server, m->server));
        if (same && position < wal_writer_lsn(m->writer))
            return is_other_server("the server's log ends before what was read of it", e);
    }
    return same || is_other_server("another PostgreSQL server answers than before", e);
}

/* All who wait are in. Returns from where the log is to be read. */
static uint64_t let_in(struct wal_receiver *r)
{
    r->restart_us = 0;
    r->open = false;
    for (size_t i = 0; i < r->n; i++) {
        struct wal_member *m = r->members[i];
        const struct wal_writer_help help = {&r->repeats, wait_for_disk, m};
        if (m->part.is == WAL_OUT)
            continue;
        wal_writer_begin(m->writer, &help);
        m->part = (struct wal_part){WAL_IN, wal_writer_lsn(m->writer)};
    }
    r->complete = r->settled = from_where(r);
    return r->complete;
}

/* One connection, from its start to its end. */
static bool connect_and_receive(struct wal_receiver *r, struct retry *retry, struct err *e)
{
    struct pg_replication_options options = {.slot = r->config.slot,
                                             .publication = r->config.publication};
    take_turn(r);
    options.from = let_in(r);
    pthread_mutex_unlock(&r->lock);
    if (options.from == UINT64_MAX) /* all have gone meanwhile */
        return true;
    struct pg_replication *connection = pg_replication_start(r->config.server, &options, e);
    if (!connection)
        return false;
    set_connection(r, connection);
    r->heard_us = clock_mono_us();
    take_turn(r);
    bool ok = is_same_server(r, e);
    if (ok)
        set_received(r);
    pthread_mutex_unlock(&r->lock);
    if (ok)
        retry_moved(retry);
    ok = ok && receive(r, retry, e);
    struct err ignored;
    take_turn(r);
    if (ok || r->stopping || stop_asked())
        confirm(r, &ignored);
    pthread_mutex_unlock(&r->lock);
    set_connection(r, NULL);
    return ok;
}

static bool is_stopping(void *arg)
{
    struct wal_receiver *r = arg;
    return r->stopping;
}

/* The thread ends. NULL: by no failure. */
static void end(struct wal_receiver *r, const struct err *why)
{
    r->live = false;
    if (why) /* it may be another server */
        r->confirmed = 0;
    for (size_t i = 0; why && i < r->n; i++) {
        struct wal_member *m = r->members[i];
        if (m->part.is != WAL_OUT)
            fail_member(m, why);
        drop_idle_writer(m);
    }
}

/* Whether the thread has nothing to do any more; it has ended then. */
static bool has_ended(struct wal_receiver *r)
{
    take_turn(r);
    bool over = r->stopping || !has_members(r);
    if (over)
        end(r, NULL);
    pthread_mutex_unlock(&r->lock);
    return over;
}

static void *run(void *arg)
{
    struct wal_receiver *r = arg;
    struct err e = {0};
    struct retry retry;
    struct watchdog_task task;
    witness_set(r->witness);
    log_thread("wal");
    log_pipeline(r->n > 1 ? NULL : r->config.pipeline);
    alike_use(r->alike);
    watchdog_begin(&task, "wal");
    retry_start(&retry, r->config.give_up_after);
    retry.over = is_stopping;
    retry.arg = r;
    retry.once = true; /* another process has the slot, perhaps for as long as it lives */
    bool ok = true;
    while (ok && !has_ended(r))
        ok = connect_and_receive(r, &retry, &e) || r->stopping || retry_again(&retry, &e);
    watchdog_end(&task);
    witness_set(NULL);
    if (!ok) {
        take_turn(r);
        end(r, r->stopping ? NULL : &e);
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

static bool start(struct wal_receiver *r, struct err *e)
{
    if (r->started)
        pthread_join(r->thread, NULL);
    free(r->server);
    r->server = NULL;
    r->stopping = false;
    r->live = true;
    r->heard_us = r->confirmed_at_us = clock_mono_us();
    int code = pthread_create(&r->thread, NULL, run, r);
    r->started = r->live = code == 0;
    return r->started || err_set(e, ERR_FINAL, "cannot start a thread: %s", strerror(code));
}

static void stop(struct wal_receiver *r)
{
    r->stopping = true;
    enter(r);
    if (r->connection)
        pg_replication_interrupt(r->connection);
    leave(r);
    watchdog_rest();
    if (r->started)
        pthread_join(r->thread, NULL);
    r->started = r->live = false;
}

/* ---- for its owner ---- */

struct wal_receiver *wal_receiver_new(const struct wal_receiver_config *config, struct err *e)
{
    struct wal_receiver *r = calloc(1, sizeof *r);
    if (!r) {
        err_memory(e);
        return NULL;
    }
    r->config = *config;
    r->witness = witness_get();
    r->alike = alike_used();
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    return r;
}

void wal_receiver_free(struct wal_receiver *r)
{
    if (!r)
        return;
    stop(r);
    for (size_t i = 0; i < r->n; i++) {
        wal_writer_free(r->members[i]->writer);
        free(r->members[i]->name);
        free(r->members[i]->server);
        free(r->members[i]);
    }
    free(r->members);
    free(r->server);
    repeats_free(&r->repeats);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void wal_receiver_halt(struct wal_receiver *r, const struct err *why)
{
    stop(r);
    enter(r);
    end(r, why);
    leave(r);
}

uint64_t wal_receiver_confirmed(struct wal_receiver *r, uint64_t slot)
{
    enter(r);
    uint64_t confirmed = r->confirmed > slot ? r->confirmed : slot;
    r->confirmed = confirmed;
    leave(r);
    return confirmed;
}

struct wal_member *wal_receiver_add(struct wal_receiver *r, const char *name, uint64_t limit,
                                    struct err *e)
{
    struct wal_member *m = calloc(1, sizeof *m);
    enter(r);
    struct wal_member **list = grow(r->members, r->n, &r->cap, 4, sizeof *list);
    r->members = list ? list : r->members;
    bool ok = m && list && (m->name = strdup(name));
    if (ok) {
        m->receiver = r;
        m->limit = limit;
        r->members[r->n++] = m;
    }
    leave(r);
    if (ok)
        return m;
    free(m);
    err_memory(e);
    return NULL;
}

/* ---- for a member ---- */

bool wal_member_join(struct wal_member *m, struct wal_writer *writer,
                     const struct wal_reader *reader, struct err *e)
{
    struct wal_receiver *r = m->receiver;
    char *server = reader->server ? strdup(reader->server) : NULL; /* without memory: not known */
    enter(r);
    m->writer = writer;
    m->reader = *reader;
    free(m->server);
    m->server = server;
    m->error = (struct err){0};
    m->received = 0;
    m->given_up = m->set_up = false;
    m->part = (struct wal_part){WAL_PENDING, wal_writer_lsn(writer)};
    bool live = r->live;
    if (live && r->restart_us == 0)
        r->restart_us = clock_mono_us();
    leave(r);
    return live || start(r, e);
}

void wal_member_leave(struct wal_member *m)
{
    enter(m->receiver);
    m->reader = (struct wal_reader){0};
    m->set_up = false;
    drop_idle_writer(m);
    if (m->part.is == WAL_OUT && m->given_up)
        m->part.at = WAL_SHARE_NOTHING;
    leave(m->receiver);
}

void wal_member_retire(struct wal_member *m)
{
    struct wal_receiver *r = m->receiver;
    struct err ignored;
    enter(r);
    m->leaving = true;
    while (r->blocked == m)
        pthread_cond_wait(&r->changed, &r->lock);
    m->reader = (struct wal_reader){0};
    /* or it joins from further back */
    if (m->part.is == WAL_IN && wal_writer_settle(m->writer, r->complete, &ignored))
        wal_writer_sync(m->writer, &ignored);
    put_out(m);
    drop_idle_writer(m);
    if (m->part.at == WAL_SHARE_NOTHING)
        m->part.at = 0;
    m->leaving = false;
    m->set_up = true;
    leave(r);
}

bool wal_member_failed(struct wal_member *m, struct err *e)
{
    enter(m->receiver);
    bool failed = m->error.kind != ERR_NONE;
    if (failed)
        *e = m->error;
    leave(m->receiver);
    return failed;
}

bool wal_member_is_outdated(struct wal_member *m, struct err *e)
{
    enter(m->receiver);
    bool outdated = m->writer && wal_writer_is_outdated(m->writer, e);
    leave(m->receiver);
    return outdated;
}

uint64_t wal_member_received(struct wal_member *m)
{
    enter(m->receiver);
    uint64_t received = m->received;
    leave(m->receiver);
    return received;
}

int64_t wal_member_heard(const struct wal_member *m)
{
    return m->receiver->heard_us;
}

void wal_member_ask(struct wal_member *m)
{
    enter(m->receiver);
    m->asked = true;
    m->receiver->asked = true;
    leave(m->receiver);
}
