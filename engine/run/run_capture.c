#include "run/run_capture.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/retry.h"
#include "base/text.h"
#include "feed/feed_wal.h"
#include "feed/wal_receiver.h"
#include "flow/progress.h"
#include "flow/queue.h"
#include "pg/pg_pool.h"
#include "run/run.h"
#include "run/run_capture_internal.h"
#include "run/run_state.h"
#include "run/run_vitals.h"
#include "run/vitals.h"
#include "source/source_capture.h"
#include "store/journal.h"
#include "store/quiesce.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEND_US = 1000 * 1000,
    TABLES_US = 5 * 1000 * 1000,   /* between two checks that the tables are still the same */
    STANDBYS_US = 2 * 1000 * 1000, /* between two looks whether the server waits for standbys */
    LIMIT_US = 30 * 1000 * 1000,   /* between two tries to shorten the journal */
    ASK_US = 200 * 1000,           /* between two questions how far the server's log goes */
    LOOK_US = 10 * 1000,           /* between two looks whether another process waits */
    WAIT_MS = 50,
    FAILURES = 3, /* of the thread within a minute: then the reason is not a slot that was lost */
    MINUTE_US = 60 * 1000 * 1000,
};

bool run_captures(const struct run *r)
{
    return r->user.pipeline.source.wal && !r->options.dry_run && !run_is_partial(r) &&
           !r->options.since;
}

char *run_reindex_slot(const struct pipeline *p)
{
    static const char suffix[] = "_reindex";
    const char *slot = p->source.slot;
    int most = PIPELINE_OBJECT_MAX - (int)sizeof suffix + 1;
    char *name = NULL, *own = pipeline_own_slot(p);
    if (own && strcmp(own, slot) == 0)
        name = asprintf(&name, "%.*s%s", most, slot, suffix) < 0 ? NULL : name;
    else if (own) /* its name without "etl" */
        name = asprintf(&name, "%.*s%.*s%s", most / 2, slot, most / 2, own + 3, suffix) < 0 ? NULL
                                                                                            : name;
    free(own);
    return name;
}

/* ---- places in the journal ---- */

/* How many tables of the state hold a place: that of their lane. */
static size_t count_lanes(const struct run *r)
{
    return r->user.source.n_tables > 1 ? FEED_WAL_LANES : 1;
}

/* Never moves a place back. */
static bool set_places(struct run *r, struct journal_position to, struct err *e)
{
    for (size_t i = 0; i < count_lanes(r); i++) {
        struct state_table *t = state_table(&r->state.data, r->user.source.tables[i].state_name);
        if (!t)
            return err_memory(e);
        if (journal_is_before(t->checkpoint.journal, to))
            t->checkpoint.journal = to;
    }
    return true;
}

bool run_bind_capture(struct run *r, struct err *e)
{
    struct run_capture *c = r->capture;
    if (!c)
        return true;
    for (size_t i = 0; i < r->state.data.n_tables; i++) /* of a lane that was another table's */
        r->state.data.tables[i].checkpoint.journal = (struct journal_position){0};
    return set_places(r, c->from, e) &&
           ((text_set(&r->state.data.slot, capture_slot(r)) &&
             (!c->signature || text_set(&r->state.data.captured, c->signature)) &&
             (!c->server || text_set(&r->state.data.server, c->server))) ||
            err_memory(e));
}

bool run_begin_capture(struct run *r, struct err *e)
{
    int64_t now = clock_wall_us();
    if (!r->capture)
        return true;
    feed_wal_since(r->capture->feeds, now);
    return position_set_time(&r->state.data.tables[0].checkpoint.at, now) || err_memory(e);
}

/* ---- opening and closing ---- */

static bool tend(void *arg, struct err *e);

static bool open_capture(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    if (!capture_open(o, e))
        return false;
    r->capture = o->capture;
    r->work.coordinator.each_round = tend;
    r->work.coordinator.arg = r;
    return true;
}

bool run_open_capture(struct run *r, struct err *e)
{
    struct capture_opening o = {.run = r};
    return r->capture || !run_captures(r) || open_capture(&o, e);
}

static void stop_feeding(struct run *r)
{
    for (size_t i = 0; i < count_lanes(r); i++)
        coordinator_set_feed(&r->work.coordinator, i, NULL);
    r->capture->feeding = false;
}

void run_close_capture(struct run *r)
{
    if (!r->capture)
        return;
    r->work.coordinator.each_round = run_note_round;
    vitals_no_capture(r->vitals);
    vitals_held(r->vitals, NULL);
    if (r->capture->feeding)
        stop_feeding(r);
    capture_close(r->capture, r->user.source.n_tables);
    r->capture = NULL;
}

static bool open_again(void *arg, struct err *e)
{
    return open_capture(arg, e);
}

/* Everything that is open is opened anew. Batches in work stay there. */
static bool reopen(struct run *r, bool remake, struct err *e)
{
    bool feeding = r->capture->feeding;
    struct capture_opening o = {.run = r,
                                .floor = journal_end(r->capture->journal),
                                .remake = remake,
                                .remade = r->capture->remade};
    run_close_capture(r);
    if (!retry_until(r->servers.give_up_after, open_again, &o, e) || !run_bind_capture(r, e))
        return false;
    coordinator_must_save(&r->work.coordinator);
    if (feeding)
        run_capture_feeds(r);
    return true;
}

/* ---- what has to be done now and then ---- */

/* The thread has ended for good. Mostly somebody has dropped the slot or the publication: then they
 * are made again. If it was a failover, the slot that is found there may be as good as the old one,
 * however soon after the last failure that is. */
static bool replace_failed(struct run *r, const struct err *why, struct err *e)
{
    int64_t now = clock_mono_us();
    if (now - r->capture_failures.since_us > MINUTE_US) {
        r->capture_failures.since_us = now;
        r->capture_failures.n = 0;
    }
    bool hopeless = why->kind != ERR_FINAL || r->capture_failures.n++ >= FAILURES;
    if (hopeless) {
        *e = *why;
        return false;
    }
    log_warn_with(LOG_FIELDS(log_text("slot", r->user.pipeline.source.slot), LOG_ERR(why)),
                  "%s: %s: setting up the capture again", capture_name(r), why->text);
    return reopen(r, why->fault != ERR_FAULT_SERVER && r->capture_failures.n > 1, e);
}

/* After a failed run the state goes back before its first rejected document: what follows must
 * still be in the journal then. */
static bool release(struct run *r, struct err *e)
{
    const struct coordinator *c = &r->work.coordinator;
    struct run_capture *capture = r->capture;
    struct journal_position to = state_place(c->clean.tables ? &c->clean : c->data),
                            at = journal_at(capture->journal);
    to = journal_is_before(at, to) ? at : to;
    if (c->unsaved || !journal_is_before(capture->released, to))
        return true;
    capture->released = to;
    return journal_release(capture->journal, to, e);
}

/* The journal is too long: a sweep costs less than what waits in it. */
static bool shorten(struct run *r, int64_t now, struct err *e)
{
    struct run_capture *c = r->capture;
    uint64_t bytes = journal_bytes(c->journal),
             limit = (uint64_t)r->user.pipeline.source.journal_limit;
    struct journal_position to;
    char why[200];
    if (bytes <= limit || now - c->limit_us < LIMIT_US)
        return true;
    c->limit_us = now;
    if (!feed_wal_skip(c->feeds, &to, e))
        return e->kind == ERR_PASSING; /* later, then */
    snprintf(why, sizeof why, "the journal has %.0f MB of keys that wait, more than journal_limit",
             (double)bytes / 1e6);
    capture_owe_sweep(r, why);
    state_data_free(&r->work.coordinator.clean);
    return set_places(r, to, e) && coordinator_save(&r->work.coordinator, e) && release(r, e);
}

/* The connection that reads the log looks idle meanwhile, and the last change has a small lag. */
static void note_held(struct run *r, const struct source_slot *slot)
{
    struct run_capture *c = r->capture;
    char text[300];
    bool held = *slot->held;
    snprintf(text, sizeof text, "PostgreSQL keeps back the log of slot '%s': %s", capture_slot(r),
             slot->held);
    vitals_held(r->vitals, held ? text : NULL);
    if (held)
        notify_status("%s: %s", capture_name(r), text); /* until something moves */
    if (held)
        log_line_with(alike_level(text), LOG_FIELDS(log_text("slot", capture_slot(r))),
                      "%s: %s: changes wait; %s", capture_name(r), text, SOURCE_SLOT_HELD_HINT);
    else if (c->held && slot->status == SOURCE_SLOT_READY)
        log_info_with(LOG_FIELDS(log_text("slot", capture_slot(r))),
                      "%s: PostgreSQL hands out the log of slot '%s' again", capture_name(r),
                      capture_slot(r));
    c->awaits = slot->awaits;
    c->held = held;
}

static bool look_at_slot(struct run *r, struct pg *pg, struct source_slot *slot, struct err *e)
{
    *slot = (struct source_slot){0};
    r->capture->slot_us = clock_mono_us();
    if (!source_capture_find_slot(pg, capture_slot(r), slot, e))
        return false;
    note_held(r, slot);
    return true;
}

static bool note_slot(struct run *r, struct pg *pg, struct err *e)
{
    struct source_slot slot;
    if (!look_at_slot(r, pg, &slot, e))
        return false;
    if (slot.status == SOURCE_SLOT_READY)
        vitals_slot(r->vitals, capture_slot(r), slot.held_bytes > 0 ? (uint64_t)slot.held_bytes : 0,
                    slot.pid != 0);
    return true;
}

/* From a log that is kept back nothing comes, as from a server where nothing happens. */
static bool check_held(struct run *r, int64_t now, struct err *e)
{
    struct run_capture *c = r->capture;
    if (c->slot_us != 0 && (!c->awaits || now - c->slot_us < STANDBYS_US))
        return true;
    struct source_slot slot;
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    bool ok = pg && look_at_slot(r, pg, &slot, e);
    pg_release(&r->servers.pool, pg);
    c->slot_us = now;
    return ok || e->kind == ERR_PASSING;
}

/* A standby that takes over goes on with its log on the same connection: what is read from then on
 * is of its timeline. */
static bool note_promoted(struct run *r, struct pg *pg, struct err *e)
{
    struct run_capture *c = r->capture;
    const struct source_reader root = source_reader(&r->user.source, 0, pg);
    char *server;
    if (!c->is_standby)
        return true;
    if (!source_capture_find_standby(pg, &c->is_standby, e))
        return false;
    if (c->is_standby || !c->server || !(server = source_server(&root, e)))
        return c->is_standby || !c->server;
    free(c->server);
    c->server = server;
    log_info_with(LOG_FIELDS(log_text("slot", capture_slot(r))),
                  "%s: the standby has taken over: its log goes on", capture_name(r));
    coordinator_must_save(&r->work.coordinator);
    return text_set(&r->state.data.server, server) || err_memory(e);
}

/* The publication is completed again if it lacks a table. */
static bool compare_tables(struct run *r, struct capture_opening *o, struct err *e)
{
    struct run_capture *c = o->capture;
    return (o->pg = pg_acquire(&r->servers.pool, e)) &&
           capture_compare_signature(o, r->state.data.captured, e) &&
           (!*o->why || (capture_publish(o, e) && capture_compare_signature(o, NULL, e))) &&
           (text_set(&r->state.data.captured, c->signature) || err_memory(e)) &&
           note_promoted(r, o->pg, e) && note_slot(r, o->pg, e);
}

/* A table may have been dropped and made again, and is not in the publication then; or a partition
 * was dropped, of which the log has nothing. On a server where nothing happens, nothing is
 * asked. */
static bool check_tables(struct run *r, int64_t now, struct err *e)
{
    struct run_capture *c = r->capture;
    uint64_t received = wal_member_received(c->member);
    if (now - c->tables_us < TABLES_US || received == c->tables_lsn || !c->signature)
        return true;
    struct capture_opening o = {.run = r, .capture = c};
    bool ok = compare_tables(r, &o, e);
    pg_release(&r->servers.pool, o.pg);
    c->tables_us = now;
    if (*o.why)
        capture_owe_sweep(r, o.why);
    if (!ok && e->kind == ERR_FINAL)
        e->fault = ERR_FAULT_SCHEMA; /* a table is gone: is the script still right? */
    if (!ok)
        return e->kind == ERR_PASSING;
    c->tables_lsn = received;
    return !o.published.made || reopen(r, true, e);
}

static void tell_delivered(struct run *r, uint64_t lsn)
{
    if (lsn <= r->state.data.log_lsn)
        return;
    r->state.data.log_lsn = lsn;
    coordinator_must_save(&r->work.coordinator);
}

/* Puts into the state up to where in the log all is delivered, while another process waits for
 * that. */
static void tell_position(struct run *r, int64_t now)
{
    struct run_capture *c = r->capture;
    if (now - c->mark.looked_us < LOOK_US || !r->state.file)
        return;
    c->mark.looked_us = now;
    bool awaited = c->feeding && quiesce_is_awaited(r->state.file);
    for (size_t i = 0; i < count_lanes(r); i++)
        feed_wal_feed(c->feeds, (enum feed_wal_lane)i)->eager = awaited;
    if (!awaited) {
        c->mark.lsn = 0;
        return;
    }
    if (c->mark.lsn && !journal_is_before(state_place(&r->state.data), c->mark.end)) {
        tell_delivered(r, c->mark.lsn);
        c->mark.lsn = 0;
    }
    if (!c->mark.lsn) {
        c->mark.lsn = wal_member_received(c->member);
        c->mark.end = journal_end(c->journal);
    }
    if (now - c->mark.asked_us >= ASK_US) {
        wal_member_ask(c->member);
        c->mark.asked_us = now;
    }
}

/* Called in each round of the coordinator. */
static bool tend(void *arg, struct err *e)
{
    struct run *r = arg;
    struct err why;
    int64_t now = clock_mono_us();
    if (wal_member_failed(r->capture->member, &why))
        return replace_failed(r, &why, e);
    if (wal_member_is_outdated(r->capture->member, e))
        return false;
    tell_position(r, now);
    run_note_letters(r);
    vitals_heard(r->vitals, wal_member_heard(r->capture->member));
    vitals_backlog(r->vitals, feed_wal_oldest(r->capture->feeds));
    if (now - r->capture->tended_us < TEND_US)
        return true;
    r->capture->tended_us = now;
    vitals_journal(r->vitals, journal_bytes(r->capture->journal));
    return release(r, e) && shorten(r, now, e) && check_held(r, now, e) && check_tables(r, now, e);
}

/* ---- delivering ---- */

void run_capture_feeds(struct run *r)
{
    struct run_capture *c = r->capture;
    for (size_t i = 0; i < count_lanes(r); i++)
        coordinator_set_feed(&r->work.coordinator, i,
                             feed_wal_feed(c->feeds, (enum feed_wal_lane)i));
    c->feeding = true;
    c->limited = false;
    feed_wal_limit(c->feeds, NULL);
}

void run_capture_again(struct run *r)
{
    struct coordinator *c = &r->work.coordinator;
    for (size_t i = 0; i < count_lanes(r); i++)
        if (coordinator_is_over(c, i))
            coordinator_set_feed(c, i, feed_wal_feed(r->capture->feeds, (enum feed_wal_lane)i));
}

struct position_query {
    struct run *run;
    uint64_t lsn;
};

static bool read_position(void *arg, struct err *e)
{
    struct position_query *q = arg;
    struct pg_pool *pool = &q->run->servers.pool;
    struct pg *pg = pg_acquire(pool, e);
    bool ok = pg && source_capture_position(pg, &q->lsn, e);
    pg_release(pool, pg);
    return ok;
}

/* Once all before the position is in the journal, nothing after it is delivered. *asked_us: when
 * the server was asked last. */
static void limit_feeds(struct run_capture *c, uint64_t position, int64_t *asked_us)
{
    if (c->limited)
        return;
    if (wal_member_received(c->member) >= position) {
        struct journal_position end = journal_end(c->journal);
        feed_wal_limit(c->feeds, &end);
        c->limited = true;
    } else if (clock_mono_us() - *asked_us >= ASK_US) {
        wal_member_ask(c->member);
        *asked_us = clock_mono_us();
    }
}

static bool all_delivered(const struct run *r)
{
    const struct run_capture *c = r->capture;
    bool done = c->limited && feed_wal_is_done(c->feeds);
    for (size_t i = 0; done && i < count_lanes(r); i++)
        done = coordinator_lane_is_done(&r->work.coordinator, i);
    return done;
}

static bool drain(struct run *r, uint64_t position, struct err *e)
{
    struct coordinator *c = &r->work.coordinator;
    int64_t asked_us = 0;
    bool moved;
    for (;;) {
        limit_feeds(r->capture, position, &asked_us);
        run_capture_again(r);
        if (!coordinator_round(c, &moved, e))
            return false;
        if (all_delivered(r)) {
            tell_delivered(r, position);
            return coordinator_collect(c, e) && coordinator_save(c, e);
        }
        if (!moved)
            queue_wait(r->work.flow.queue, WAIT_MS);
    }
}

bool run_catch_up_capture(struct run *r, struct err *e)
{
    struct position_query q = {.run = r};
    if (!retry_until(r->servers.give_up_after, read_position, &q, e))
        return false;
    run_capture_feeds(r);
    if (drain(r, q.lsn, e)) {
        stop_feeding(r);
        return release(r, e);
    }
    if (e->kind != ERR_NONE)
        queue_fail(r->work.flow.queue, e);
    coordinator_abort(&r->work.coordinator, e);
    return e->kind == ERR_NONE;
}

/* ---- a capture that is over ---- */

static bool drop_slot(void *arg, struct err *e)
{
    struct run *r = arg;
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    bool ok = pg && source_capture_drop_slot(pg, capture_slot(r), e);
    pg_release(&r->servers.pool, pg);
    return ok;
}

bool run_drop_capture(struct run *r, struct err *e)
{
    assert(!r->capture);
    char *prefix = journal_prefix(r->user.pipeline.state);
    bool ok = (prefix || err_memory(e)) && retry_until(r->servers.give_up_after, drop_slot, r, e) &&
              journal_remove(prefix, e);
    free(prefix);
    return ok;
}

void run_warn_left_capture(struct run *r)
{
    struct err ignored;
    if (!r->state.data.slot || r->user.pipeline.source.wal || !run_state_to_save(r))
        return;
    char *prefix = journal_prefix(r->user.pipeline.state);
    if (prefix)
        journal_remove(prefix, &ignored);
    free(prefix);
    capture_warn_left_slot(r, "changes are polled now, and were captured from the log before");
    free(r->state.data.slot);
    r->state.data.slot = NULL;
}
