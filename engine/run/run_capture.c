#include "run/run_capture.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/text.h"
#include "feed/feed_wal.h"
#include "feed/wal_keys.h"
#include "feed/wal_receiver.h"
#include "flow/progress.h"
#include "flow/queue.h"
#include "pg/pg_pool.h"
#include "pg/pg_replication.h"
#include "run/run.h"
#include "run/run_state.h"
#include "source/source_capture.h"
#include "store/journal.h"
#include "store/quiesce.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEND_US = 1000 * 1000,
    TABLES_US = 30 * 1000 * 1000, /* between two checks that the tables are still published */
    LIMIT_US = 60 * 1000 * 1000,  /* between two tries to shorten the journal */
    ASK_US = 200 * 1000,          /* between two questions how far the server's log goes */
    LOOK_US = 10 * 1000,          /* between two looks whether another process waits */
    WAIT_MS = 50,
    FAILURES = 3, /* of the thread within a minute: then the reason is not a slot that was lost */
    MINUTE_US = 60 * 1000 * 1000,
};

struct run_capture {
    char *prefix;                      /* owned: of the journal's files */
    char *server;                      /* owned: see source_server; NULL: it does not say */
    struct source_relation *relations; /* owned, as are the names; for each table */
    const char **labels;               /* owned: of the journal's records, for each table */
    struct wal_keys *keys;
    struct journal *journal;
    struct wal_receiver *receiver;
    struct feed_wal *feeds;
    struct journal_position from;     /* the place from which the journal is read */
    struct journal_position released; /* the place up to which it was released */
    uint64_t tables_lsn;              /* how far the log was when the tables were checked */
    int64_t tended_us, tables_us, limit_us;
    /* for a process that waits: once the state is at `end`, all before `lsn` is delivered. 0:
     * none */
    struct {
        uint64_t lsn;
        struct journal_position end;
        int64_t looked_us, asked_us;
    } mark;
    bool feeding; /* the coordinator has the feeds */
    bool limited; /* the feeds end where the run ends */
};

bool run_captures(const struct run *r)
{
    return r->user.pipeline.source.wal && !r->options.dry_run && !run_is_partial(r) &&
           !r->options.since;
}

char *run_reindex_slot(const char *slot)
{
    enum { LONGEST = 63 };
    static const char suffix[] = "_reindex";
    char *name;
    int most = LONGEST - (int)sizeof suffix + 1;
    return asprintf(&name, "%.*s%s", most, slot, suffix) < 0 ? NULL : name;
}

char *run_journal_prefix(const char *state)
{
    char *prefix;
    return asprintf(&prefix, "%s.journal", state) < 0 ? NULL : prefix;
}

static const char *name_of(const struct run *r)
{
    return r->user.pipeline.name;
}

static const char *slot_of(const struct run *r)
{
    return r->user.pipeline.source.slot;
}

/* ---- places in the journal ---- */

/* How many tables of the state hold a place: that of their lane. */
static size_t count_lanes(const struct run *r)
{
    return r->user.source.n_tables > 1 ? FEED_WAL_LANES : 1;
}

static struct journal_position highest_place(const struct state_data *d)
{
    struct journal_position at = {0};
    for (size_t i = 0; i < d->n_tables; i++)
        if (journal_is_before(at, d->tables[i].checkpoint.journal))
            at = d->tables[i].checkpoint.journal;
    return at;
}

/* Never moves a place back. */
static bool set_places(struct run *r, struct journal_position to, struct err *e)
{
    const struct source *s = &r->user.source;
    for (size_t i = 0; i < s->n_tables; i++) {
        struct state_table *t = state_table(&r->state.data, s->tables[i].state_name);
        if (!t)
            return err_memory(e);
        if (i >= count_lanes(r))
            t->checkpoint.journal = (struct journal_position){0};
        else if (journal_is_before(t->checkpoint.journal, to))
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
           ((text_set(&r->state.data.slot, slot_of(r)) &&
             (!c->server || text_set(&r->state.data.server, c->server))) ||
            err_memory(e));
}

/* ---- a sweep is owed ---- */

static void owe_sweep(struct run *r, const char *why)
{
    bool loading = r->state.data.phase == STATE_NEW || run_why_full(r);
    bool first = !r->state.data.slot; /* it captures for the first time: as the user wanted */
    if (!loading)                     /* else everything is read anyway */
        log_line(first ? LOG_INFO : LOG_WARN, "%s: %s: a sweep finds what the log does not tell",
                 name_of(r), why);
    run_state_owe_sweep(&r->state);
    r->state.data.log_lsn = 0;
    if (r->work.coordinator.lanes)
        coordinator_must_save(&r->work.coordinator);
}

static void want_sweep(void *arg, size_t table)
{
    struct run *r = arg;
    const struct source *s = &r->user.source;
    char why[300];
    if (table < s->n_tables)
        snprintf(why, sizeof why, "changes of '%.200s' have no keys (TRUNCATE)",
                 s->tables[table].label);
    else
        snprintf(why, sizeof why,
                 "the log has changes of a table that the script does not name "
                 "any more");
    owe_sweep(r, why);
}

/* ---- opening: the server ---- */

struct opening {
    struct run *run;
    struct run_capture *capture;
    struct pg *pg;
    struct source_published published;
    struct source_slot slot;
    struct journal_position floor; /* a place below which batches in work may still have theirs */
    bool remake;                   /* the slot, whatever it looks like */
    bool is_other_server;          /* than the state's */
    char why[300];                 /* a sweep is owed; empty: none is */
};

static void set_why(struct opening *o, const char *text)
{
    if (!*o->why)
        snprintf(o->why, sizeof o->why, "%s", text);
}

static bool find_server(struct opening *o, struct err *e)
{
    const struct source_reader root = source_reader(&o->run->user.source, 0, o->pg);
    const char *before = o->run->state.data.server;
    struct run_capture *c = o->capture;
    if (!(c->server = source_server(&root, e)))
        return e->kind == ERR_FINAL; /* not every server says; then servers are not compared */
    o->is_other_server = before && strcmp(before, c->server) != 0;
    if (o->is_other_server)
        set_why(o, "this is another PostgreSQL server than before");
    return true;
}

static bool publish(struct opening *o, struct err *e)
{
    const struct pipeline *p = &o->run->user.pipeline;
    const struct source_capture_names names = {p->source.slot, p->source.publication};
    if (!source_capture_publish(&o->run->user.source, o->pg, &names, &o->published, e))
        return false;
    if (o->published.made)
        log_info("%s: created publication '%s'", p->name, names.publication);
    if (o->published.grew)
        set_why(o, "the publication lacked tables of the script");
    return true;
}

static bool refuse_slot(const struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    err_set(e, ERR_USAGE, "slot '%s' is of another plugin, or of another database", slot_of(r));
    pipeline_at_line(e, p, p->source.capture_line);
    return err_hint(e, "name another one in source.slot: it is created if it does not exist");
}

static void warn_left_slot(const struct run *r, const char *why)
{
    const char *slot = r->state.data.slot;
    log_warn("%s: %s: slot '%s' is still on the server, and holds back its log; SELECT "
             "pg_drop_replication_slot('%s') drops it",
             name_of(r), why, slot, slot);
}

/* The script names another slot than before, or captured from none. */
static void compare_slot(struct opening *o)
{
    const char *before = o->run->state.data.slot;
    if (!before && !o->run->state.data.mtime.cursor)
        set_why(o, "changes were polled until now");
    if (!before || strcmp(before, slot_of(o->run)) == 0)
        return;
    warn_left_slot(o->run, "the script names another slot than before");
    set_why(o, "this is another slot than before");
}

static bool make_slot(struct opening *o, struct err *e)
{
    struct run *r = o->run;
    if (!source_capture_make_slot(o->pg, slot_of(r), e) ||
        !source_capture_find_slot(o->pg, slot_of(r), &o->slot, e))
        return false;
    log_info("%s: created slot '%s'", name_of(r), slot_of(r));
    return true;
}

static bool replace_slot(struct opening *o, const char *why, struct err *e)
{
    set_why(o, why);
    return source_capture_drop_slot(o->pg, slot_of(o->run), e) && make_slot(o, e);
}

/* A slot cannot be read with a publication that is younger than what it has to read. */
static bool open_slot(struct opening *o, struct err *e)
{
    struct run *r = o->run;
    char why[300];
    compare_slot(o);
    if (!source_capture_find_slot(o->pg, slot_of(r), &o->slot, e))
        return false;
    switch (o->slot.status) {
    case SOURCE_SLOT_FOREIGN:
        return refuse_slot(r, e);
    case SOURCE_SLOT_LOST:
        snprintf(why, sizeof why,
                 "slot '%s' is lost: the server has removed a part of its log "
                 "(max_slot_wal_keep_size?)",
                 slot_of(r));
        return replace_slot(o, why, e);
    case SOURCE_SLOT_MISSING:
        snprintf(why, sizeof why, "slot '%s' does not exist", slot_of(r));
        set_why(o, why);
        return make_slot(o, e);
    case SOURCE_SLOT_READY:
        break;
    }
    if (o->slot.confirmed == 0) /* rows that are read before it is whole would be missed */
        return err_set(e, ERR_PASSING,
                       "slot '%s' is still being created, by process %d, which waits until the "
                       "transactions that are open have ended",
                       slot_of(r), o->slot.pid);
    if (!o->published.made && !o->remake)
        return true;
    snprintf(why, sizeof why, "slot '%s' cannot be read with publication '%s', which is younger",
             slot_of(r), r->user.pipeline.source.publication);
    return replace_slot(o, why, e);
}

/* ---- opening: the journal ---- */

/* A new slot's position is noted, so that the next run knows where the log continues. */
static bool note_position(struct opening *o, struct err *e)
{
    struct journal *j = o->capture->journal;
    const struct journal_record record = {
        .lsn = o->slot.confirmed, .kind = WAL_POSITION, .label = "", .keys = ""};
    return journal_lsn(j) >= o->slot.confirmed ||
           (journal_append(j, &record, e) && journal_sync(j, e));
}

/* A server that was restored from a copy of its folder has the same name, timeline and slot. */
static bool check_position(struct opening *o, struct err *e)
{
    uint64_t position;
    if (!source_capture_position(o->pg, &position, e))
        return false;
    if (position >= journal_lsn(o->capture->journal))
        return true;
    set_why(o, "the server's log ends before what was read of it: the database was set back");
    o->is_other_server = true;
    return true;
}

static bool open_files(struct opening *o, struct journal_position from, struct err *e)
{
    struct run_capture *c = o->capture;
    if (!o->is_other_server) {
        if (!(c->journal = journal_open(c->prefix, from, e)) || !check_position(o, e))
            return false;
        if (!o->is_other_server)
            return true;
        journal_close(c->journal);
        c->journal = NULL;
    }
    /* the transactions in it may not have happened here */
    from = highest_place(&o->run->state.data);
    from = journal_is_before(from, o->floor) ? o->floor : from;
    return journal_remove(c->prefix, e) && (c->journal = journal_open(c->prefix, from, e));
}

static bool open_journal(struct opening *o, struct err *e)
{
    struct run_capture *c = o->capture;
    const struct state_data *d = &o->run->state.data;
    struct journal_position from = state_place(d);
    char why[300];
    if (from.segment == 0 && d->mtime.cursor)
        set_why(o, "the state was set to an earlier time");
    else if (from.segment == 0)
        set_why(o, "the state has no place in the log");
    if (!open_files(o, from, e))
        return false;
    uint64_t known = journal_lsn(c->journal);
    snprintf(why, sizeof why,
             "slot '%s' was moved by others, or the journal '%.100s.*' is not complete",
             slot_of(o->run), c->prefix);
    c->from = c->released = journal_at(c->journal);
    if (o->slot.confirmed > known || (from.segment != 0 && c->from.segment != from.segment))
        set_why(o, why);
    return note_position(o, e);
}

/* ---- opening: the thread and the feeds ---- */

static struct wal_names names_of(const struct pipeline_names *names)
{
    return (struct wal_names){(const char *const *)names->list, names->n};
}

static bool add_table(struct opening *o, size_t i, struct err *e)
{
    const struct run *r = o->run;
    const struct pipeline *p = &r->user.pipeline;
    struct run_capture *c = o->capture;
    const struct pipeline_related *related = i > 0 ? &p->source.related[i - 1] : NULL;
    const struct source_table *of = &r->user.source.tables[i];
    struct source_relation *relation = &c->relations[i];
    if (!source_capture_relation(&r->user.source, i, o->pg, relation, e))
        return false;
    const struct wal_table table = {.oids = relation->oids,
                                    .n_oids = relation->names.n,
                                    .schema = relation->schema,
                                    .name = relation->name,
                                    .is_root = !related,
                                    .key = names_of(related ? &related->key : &p->source.key),
                                    .affects = related && of->affects_as_is
                                                   ? names_of(&related->affects)
                                                   : (struct wal_names){0},
                                    .asks_index = related && related->index_field};
    c->labels[i] = r->user.source.tables[i].state_name;
    return wal_keys_add(c->keys, &table, e);
}

static bool open_keys(struct opening *o, struct err *e)
{
    struct run_capture *c = o->capture;
    size_t n = o->run->user.source.n_tables;
    c->relations = calloc(n, sizeof *c->relations);
    c->labels = calloc(n, sizeof *c->labels);
    c->keys = wal_keys_new();
    if (!c->relations || !c->labels || !c->keys)
        return err_memory(e);
    for (size_t i = 0; i < n; i++)
        if (!add_table(o, i, e))
            return false;
    return true;
}

static void wake(void *arg)
{
    struct run *r = arg;
    queue_wake(r->work.flow.queue);
}

static bool is_visible(void *arg, const uint64_t *xids, size_t n, bool *visible, struct err *e)
{
    struct run *r = arg;
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    bool ok = pg && source_capture_visible(pg, xids, n, visible, e);
    pg_release(&r->servers.pool, pg);
    return ok;
}

static bool start(struct opening *o, struct err *e)
{
    struct run *r = o->run;
    struct run_capture *c = o->capture;
    const struct wal_receiver_config config = {
        .pipeline = name_of(r),
        .server = &r->servers.pg,
        .slot = slot_of(r),
        .publication = r->user.pipeline.source.publication,
        .from = o->slot.confirmed,
        .journal = c->journal,
        .keys = c->keys,
        .labels = c->labels,
        .give_up_after = r->servers.give_up_after,
        .wake = wake,
        .arg = r,
    };
    const struct state_data *d = &r->state.data;
    const struct feed_wal_config feed = {
        .journal = c->journal,
        .labels = c->labels,
        .since_us = d->n_tables > 0 ? d->tables[0].checkpoint.at.us : 0,
        .visible = is_visible,
        .want_sweep = want_sweep,
        .arg = r,
    };
    struct feed_origin origin = run_feed_origin(r);
    return (c->feeds = feed_wal_new(&origin, &feed, e)) &&
           (c->receiver = wal_receiver_start(&config, e));
}

/* ---- opening: all of it ---- */

static void close_capture(struct run_capture *c, size_t n_tables)
{
    if (!c)
        return;
    wal_receiver_stop(c->receiver);
    feed_wal_free(c->feeds);
    journal_close(c->journal);
    wal_keys_free(c->keys);
    for (size_t i = 0; c->relations && i < n_tables; i++)
        source_relation_free(&c->relations[i]);
    free(c->relations);
    free(c->labels);
    free(c->server);
    free(c->prefix);
    free(c);
}

static bool set_up(struct opening *o, struct err *e)
{
    struct run *r = o->run;
    struct run_capture *c = o->capture;
    if (!c || !(c->prefix = run_journal_prefix(r->user.pipeline.state)))
        return err_memory(e);
    c->tables_us = clock_mono_us();
    return (o->pg = pg_acquire(&r->servers.pool, e)) &&
           source_capture_check(&r->user.source, o->pg, e) && find_server(o, e) && publish(o, e) &&
           open_slot(o, e) && open_journal(o, e) && open_keys(o, e) && start(o, e);
}

static bool tend(void *arg, struct err *e);

/* o: its first fields are given. */
static bool open_capture(struct opening *o, struct err *e)
{
    struct run *r = o->run;
    o->capture = calloc(1, sizeof *o->capture);
    *o->why = '\0';
    bool ok = set_up(o, e);
    pg_release(&r->servers.pool, o->pg);
    o->pg = NULL;
    /* also if the rest failed: the reason for the sweep does not show a second time */
    if (*o->why)
        owe_sweep(r, o->why);
    if (!ok) {
        close_capture(o->capture, r->user.source.n_tables);
        return false;
    }
    r->capture = o->capture;
    r->work.coordinator.each_round = tend;
    r->work.coordinator.arg = r;
    return true;
}

bool run_open_capture(struct run *r, struct err *e)
{
    struct opening o = {.run = r};
    return r->capture || !run_captures(r) || open_capture(&o, e);
}

void run_close_capture(struct run *r)
{
    if (!r->capture)
        return;
    r->work.coordinator.each_round = NULL;
    if (r->capture->feeding)
        for (size_t i = 0; i < count_lanes(r); i++)
            coordinator_set_feed(&r->work.coordinator, i, NULL);
    close_capture(r->capture, r->user.source.n_tables);
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
    struct opening o = {.run = r, .floor = journal_end(r->capture->journal), .remake = remake};
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
 * are made again. */
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
    log_warn("%s: %s: setting up the capture again", name_of(r), why->text);
    return reopen(r, r->capture_failures.n > 1, e);
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
    owe_sweep(r, why);
    state_data_free(&r->work.coordinator.clean);
    return set_places(r, to, e) && coordinator_save(&r->work.coordinator, e) && release(r, e);
}

/* A table may have been dropped and made again, and is not in the publication then. On a server
 * where nothing happens, nothing is asked. */
static bool check_tables(struct run *r, int64_t now, struct err *e)
{
    struct run_capture *c = r->capture;
    struct wal_progress progress = wal_receiver_progress(c->receiver);
    if (now - c->tables_us < TABLES_US || progress.received == c->tables_lsn)
        return true;
    struct opening o = {.run = r, .capture = c, .pg = pg_acquire(&r->servers.pool, e)};
    bool ok = o.pg && publish(&o, e);
    pg_release(&r->servers.pool, o.pg);
    c->tables_us = now;
    if (!ok && e->kind == ERR_FINAL)
        e->fault = ERR_FAULT_SCHEMA; /* a table is gone: is the script still right? */
    if (!ok)
        return e->kind == ERR_PASSING;
    c->tables_lsn = progress.received;
    if (*o.why)
        owe_sweep(r, o.why);
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
        c->mark.lsn = wal_receiver_progress(c->receiver).received;
        c->mark.end = journal_end(c->journal);
    }
    if (now - c->mark.asked_us >= ASK_US) {
        wal_receiver_ask(c->receiver);
        c->mark.asked_us = now;
    }
}

/* Called in each round of the coordinator. */
static bool tend(void *arg, struct err *e)
{
    struct run *r = arg;
    struct err why;
    int64_t now = clock_mono_us();
    if (wal_receiver_failed(r->capture->receiver, &why))
        return replace_failed(r, &why, e);
    if (wal_receiver_is_outdated(r->capture->receiver, e))
        return false;
    tell_position(r, now);
    if (now - r->capture->tended_us < TEND_US)
        return true;
    r->capture->tended_us = now;
    return release(r, e) && shorten(r, now, e) && check_tables(r, now, e);
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
    if (wal_receiver_progress(c->receiver).received >= position) {
        struct journal_position end = journal_end(c->journal);
        feed_wal_limit(c->feeds, &end);
        c->limited = true;
    } else if (clock_mono_us() - *asked_us >= ASK_US) {
        wal_receiver_ask(c->receiver);
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
        for (size_t i = 0; i < count_lanes(r); i++)
            coordinator_set_feed(&r->work.coordinator, i, NULL);
        r->capture->feeding = false;
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
    bool ok = pg && source_capture_drop_slot(pg, slot_of(r), e);
    pg_release(&r->servers.pool, pg);
    return ok;
}

bool run_drop_capture(struct run *r, struct err *e)
{
    assert(!r->capture);
    char *prefix = run_journal_prefix(r->user.pipeline.state);
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
    char *prefix = run_journal_prefix(r->user.pipeline.state);
    if (prefix)
        journal_remove(prefix, &ignored);
    free(prefix);
    warn_left_slot(r, "changes are polled now, and were captured from the log before");
    free(r->state.data.slot);
    r->state.data.slot = NULL;
}
