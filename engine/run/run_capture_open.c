#include "run/run_capture_open.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "feed/feed_wal.h"
#include "feed/wal_keys.h"
#include "feed/wal_receiver.h"
#include "feed/wal_share.h"
#include "feed/wal_writer.h"
#include "flow/queue.h"
#include "pg/pg_pool.h"
#include "pg/pg_replication.h"
#include "pg/pg_timeline.h"
#include "run/capture_hub.h"
#include "run/run_capture_internal.h"
#include "run/run_state.h"
#include "store/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a sweep is owed ---- */

void capture_owe_sweep(struct run *r, const char *why)
{
    bool loading = r->state.data.phase == STATE_NEW || run_why_full(r);
    bool first = !r->state.data.slot; /* it captures for the first time: as the user wanted */
    if (!loading)                     /* else everything is read anyway */
        log_line_with(first ? LOG_INFO : LOG_WARN, LOG_FIELDS(log_text("slot", capture_slot(r))),
                      "%s: %s: a sweep finds what the log does not tell", capture_name(r), why);
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
    if (table == FEED_WAL_GAP && r->capture && r->capture->gap_told)
        return;
    if (table == FEED_WAL_GAP)
        snprintf(why, sizeof why, "an earlier run has found that changes are missing");
    else if (table < s->n_tables)
        snprintf(why, sizeof why, "changes of '%.200s' have no keys (TRUNCATE)",
                 s->tables[table].label);
    else
        snprintf(why, sizeof why,
                 "the log has changes of a table that the script does not name "
                 "any more");
    capture_owe_sweep(r, why);
}

/* ---- the server ---- */

static void set_why(struct capture_opening *o, const char *text)
{
    if (!*o->why)
        snprintf(o->why, sizeof o->why, "%s", text);
}

/* And the same database in it; both are names by source_server. */
static bool is_same_cluster(const char *before, const char *now)
{
    struct pg_timeline a, b;
    const char *before_database = strrchr(before, '-'), *database = strrchr(now, '-');
    return pg_timeline_read(before, &a) && pg_timeline_read(now, &b) && a.system == b.system &&
           strcmp(before_database, database) == 0;
}

static bool find_server(struct capture_opening *o, struct err *e)
{
    const struct source_reader root = source_reader(&o->run->user.source, 0, o->pg);
    const char *before = o->run->state.data.server;
    struct run_capture *c = o->capture;
    if (!(c->server = source_server(&root, e)))
        return e->kind == ERR_FINAL; /* not every server says; then servers are not compared */
    bool same = !before || strcmp(before, c->server) == 0;
    o->is_promoted = !same && is_same_cluster(before, c->server);
    o->is_other_server = !same && !o->is_promoted;
    if (o->is_other_server)
        set_why(o, "this is another PostgreSQL server than before");
    return true;
}

bool capture_publish(struct capture_opening *o, struct err *e)
{
    const struct pipeline *p = &o->run->user.pipeline;
    const struct source_capture_names names = {p->source.slot, p->source.publication};
    if (!source_capture_publish(&o->run->user.source, o->pg, &names, &o->published, e))
        return false;
    if (o->published.made)
        log_info_with(LOG_FIELDS(log_text("publication", names.publication)),
                      "%s: created publication '%s'", p->name, names.publication);
    if (o->published.grew)
        set_why(o, "the publication lacked tables of the script");
    return true;
}

static bool refuse_slot(const struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    err_set(e, ERR_USAGE, "slot '%s' is of another plugin, or of another database",
            capture_slot(r));
    pipeline_at_line(e, p, p->source.capture_line);
    return err_hint(e, "name another one in source.slot: it is created if it does not exist");
}

/* A pipeline that has captured is at a standby for a while at most, until that takes over. */
static enum err_kind kind_at_standby(const struct run *r)
{
    return r->state.data.slot ? ERR_PASSING : ERR_USAGE;
}

static bool refuse_copy(const struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    err_set(e, ERR_USAGE,
            "slot '%s' is a copy of the primary's, and cannot be read: PostgreSQL %s is a standby",
            capture_slot(r), r->servers.pg.label);
    pipeline_at_line(e, p, p->source.capture_line);
    e->kind = kind_at_standby(r);
    return err_hint(e, "source.url has to lead to the primary; or name another slot in "
                       "source.slot, and read the standby's log");
}

static bool find_standby(struct capture_opening *o, struct err *e)
{
    if (source_capture_find_standby(o->pg, &o->is_standby, e))
        return true;
    if (e->kind == ERR_USAGE)
        e->kind = kind_at_standby(o->run);
    return false;
}

/* One that has taken over since it was asked is opened anew, as a primary: a copy of a slot can be
 * read by now, and what comes from it is of another timeline. */
static bool check_standby(struct capture_opening *o, struct err *e)
{
    bool is_standby = false;
    if (!o->is_standby)
        return true;
    return source_capture_find_standby(o->pg, &is_standby, e) &&
           (is_standby ||
            err_set(e, ERR_PASSING, "PostgreSQL %s has just taken over", o->run->servers.pg.label));
}

void capture_warn_left_slot(const struct run *r, const char *why)
{
    const char *slot = r->state.data.slot;
    log_warn_with(LOG_FIELDS(log_text("slot", slot)),
                  "%s: %s: slot '%s' is still on the server, and holds back its log; SELECT "
                  "pg_drop_replication_slot('%s') drops it",
                  capture_name(r), why, slot, slot);
}

/* The script names another slot than before, or captured from none. */
static void compare_slot(struct capture_opening *o)
{
    const char *before = o->run->state.data.slot;
    if (!before && !o->run->state.data.mtime.cursor)
        set_why(o, "changes were polled until now");
    if (!before || strcmp(before, capture_slot(o->run)) == 0)
        return;
    capture_warn_left_slot(o->run, "the script names another slot than before");
    set_why(o, "this is another slot than before");
}

/* What was confirmed last may not have come to the server yet. */
static bool find_slot(struct capture_opening *o, struct err *e)
{
    if (!source_capture_find_slot(o->pg, capture_slot(o->run), &o->slot, e))
        return false;
    if (o->slot.status == SOURCE_SLOT_READY && o->slot.confirmed != 0)
        o->slot.confirmed = capture_hub_confirmed(o->capture->seat, o->slot.confirmed);
    return true;
}

static bool make_slot(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    char why[200];
    snprintf(why, sizeof why, "slot '%s' is made anew", capture_slot(r));
    capture_hub_remake(o->capture->seat, why);
    if (!source_capture_make_slot(o->pg, capture_slot(r), e) ||
        !source_capture_find_slot(o->pg, capture_slot(r), &o->slot, e))
        return false;
    capture_hub_set_visible(o->capture->seat, o->slot.confirmed);
    log_info_with(LOG_FIELDS(log_text("slot", capture_slot(r))), "%s: created slot '%s'",
                  capture_name(r), capture_slot(r));
    return true;
}

static bool replace_slot(struct capture_opening *o, const char *why, struct err *e)
{
    set_why(o, why);
    capture_hub_remake(o->capture->seat, why);
    return source_capture_drop_slot(o->pg, capture_slot(o->run), e) && make_slot(o, e);
}

/* As a copy on a standby that was behind it when that took over. Nothing came from it until the log
 * is as long again, whatever is committed meanwhile. */
static bool is_beyond_log(struct capture_opening *o, bool *is, struct err *e)
{
    uint64_t position;
    *is = false;
    if (o->is_standby) /* there it has yet to be replayed */
        return true;
    if (!source_capture_position(o->pg, &position, e))
        return false;
    *is = o->slot.confirmed > position;
    return true;
}

/* A slot cannot be read with a publication that is younger than what it has to read. */
static bool open_ready_slot(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    char why[300];
    bool beyond;
    if (o->slot.copied)
        return refuse_copy(r, e);
    if (o->slot.confirmed == 0) /* rows that are read before it is whole would be missed */
        return err_set(e, ERR_PASSING,
                       "slot '%s' is still being created, by process %d, which waits until the "
                       "transactions that are open have ended",
                       capture_slot(r), o->slot.pid);
    if (!is_beyond_log(o, &beyond, e))
        return false;
    bool done = capture_hub_remade(o->capture->seat) != o->remade; /* by another pipeline */
    if (!beyond && !o->published.made && (!o->remake || done))
        return true;
    snprintf(why, sizeof why,
             beyond ? "slot '%s' is beyond the end of the server's log"
                    : "slot '%s' cannot be read with publication '%s', which is younger",
             capture_slot(r), r->user.pipeline.source.publication);
    return replace_slot(o, why, e);
}

static bool open_slot(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    char why[300];
    compare_slot(o);
    if (!find_slot(o, e))
        return false;
    switch (o->slot.status) {
    case SOURCE_SLOT_FOREIGN:
        return refuse_slot(r, e);
    case SOURCE_SLOT_LOST:
        snprintf(why, sizeof why, "slot '%s' is lost: %s", capture_slot(r), o->slot.why);
        return replace_slot(o, why, e);
    case SOURCE_SLOT_MISSING:
        snprintf(why, sizeof why, "slot '%s' does not exist", capture_slot(r));
        set_why(o, why);
        return make_slot(o, e);
    case SOURCE_SLOT_READY:
        break;
    }
    return open_ready_slot(o, e);
}

/* ---- the journal ---- */

static struct journal_position highest_place(const struct state_data *d)
{
    struct journal_position at = {0};
    for (size_t i = 0; i < d->n_tables; i++)
        if (journal_is_before(at, d->tables[i].checkpoint.journal))
            at = d->tables[i].checkpoint.journal;
    return at;
}

/* What was committed before the slot's position does not come: a row must not be read before it can
 * be seen. A slot that was just made has waited itself. */
static bool wait_until_visible(struct capture_opening *o, struct err *e)
{
    struct capture_seat *seat = o->capture->seat;
    if (capture_hub_visible(seat) >= o->slot.confirmed)
        return true;
    if (!source_capture_wait(o->pg, capture_slot(o->run), e))
        return false;
    capture_hub_set_visible(seat, o->slot.confirmed);
    return true;
}

/* The slot's position is noted, so that the next run knows where the log continues; and that
 * something is missing before it, should this run be killed before its state says so. */
static bool note_gap(struct capture_opening *o, struct err *e)
{
    bool is_new = o->run->state.data.phase == STATE_NEW; /* it has yet to read everything */
    const struct journal_record record = {
        .lsn = o->slot.confirmed, .kind = is_new ? WAL_POSITION : WAL_GAP, .label = "", .keys = ""};
    o->capture->gap_told = true;
    return wait_until_visible(o, e) && journal_append(o->capture->journal, &record, e) &&
           journal_sync(o->capture->journal, e);
}

/* A server that was restored from a copy of its folder has the same name, timeline and slot. */
static bool check_position(struct capture_opening *o, struct err *e)
{
    uint64_t position;
    if (o->is_other_server)
        return true;
    if (!source_capture_position(o->pg, &position, e))
        return false;
    if (position >= journal_lsn(o->capture->journal))
        return true;
    set_why(o, "the server's log ends before what was read of it: the database was set back");
    o->is_other_server = true;
    return true;
}

/* A standby has taken over. If it had all that the journal has, the log goes on; the rule is in
 * pg_timeline.h. */
static bool check_timeline(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    struct pg_timeline before;
    if (!o->is_promoted)
        return true;
    char *history = pg_replication_history(&r->servers.pg, o->capture->server, e);
    if (!history)
        return false;
    o->is_other_server = !pg_timeline_read(r->state.data.server, &before) ||
                         !pg_timeline_has(history, before.id, journal_lsn(o->capture->journal));
    free(history);
    if (o->is_other_server)
        set_why(o, "a standby has taken over which lacks changes that were read before");
    else
        log_info_with(LOG_FIELDS(log_text("slot", capture_slot(r))),
                      "%s: a standby has taken over: its log has all that was read before",
                      capture_name(r));
    return true;
}

static bool open_files(struct capture_opening *o, struct journal_position from, struct err *e)
{
    struct run_capture *c = o->capture;
    if (!o->is_other_server) {
        if (!(c->journal = journal_open(c->prefix, from, e)) || !check_timeline(o, e) ||
            !check_position(o, e))
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

static bool open_journal(struct capture_opening *o, struct err *e)
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
    bool is_gap = wal_share_is_gap(o->slot.confirmed, known);
    snprintf(why, sizeof why,
             "slot '%s' was moved by others, or the journal '%.100s.*' is not complete",
             capture_slot(o->run), c->prefix);
    c->from = c->released = journal_at(c->journal);
    if (is_gap || (from.segment != 0 && c->from.segment != from.segment))
        set_why(o, why);
    return !is_gap || note_gap(o, e);
}

/* ---- the thread and the feeds ---- */

static struct wal_names names_of(const struct pipeline_names *names)
{
    return (struct wal_names){(const char *const *)names->list, names->n};
}

static bool add_table(struct capture_opening *o, size_t i, struct err *e)
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

static bool open_keys(struct capture_opening *o, struct err *e)
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

static bool join(struct capture_opening *o, void (*wake)(void *arg), struct err *e)
{
    struct run_capture *c = o->capture;
    const struct wal_reader reader = {wake, o->run, o->is_standby ? NULL : c->server};
    const struct wal_writer_config config = {.journal = c->journal,
                                             .keys = c->keys,
                                             .labels = c->labels,
                                             .n_labels = o->run->user.source.n_tables};
    struct wal_writer *writer = wal_writer_new(&config, e);
    c->keys = NULL;
    if (!writer)
        c->journal = NULL;
    c->member = writer ? capture_hub_member(c->seat) : NULL;
    c->is_standby = o->is_standby;
    c->remade = capture_hub_remade(c->seat);
    return writer && wal_member_join(c->member, writer, &reader, e);
}

/* Without a place in the state everything is read, or compared: what the journal has of before is
 * not worth delivering, once it is visible. */
static bool start(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    struct run_capture *c = o->capture;
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
           (state_place(d).segment != 0 || feed_wal_skip(c->feeds, &c->from, e)) &&
           join(o, wake, e);
}

/* ---- all of it ---- */

void capture_close(struct run_capture *c, size_t n_tables)
{
    if (!c)
        return;
    feed_wal_free(c->feeds);
    if (c->seat)
        wal_member_leave(capture_hub_member(c->seat));
    if (!c->member)
        journal_close(c->journal);
    wal_keys_free(c->keys);
    capture_hub_leave(c->seat);
    for (size_t i = 0; c->relations && i < n_tables; i++)
        source_relation_free(&c->relations[i]);
    free(c->relations);
    free(c->labels);
    free(c->server);
    free(c->signature);
    free(c->prefix);
    free(c);
}

/* The log does not tell that a publication was changed, a table made again, a partition dropped. */
bool capture_compare_signature(struct capture_opening *o, const char *before, struct err *e)
{
    struct run_capture *c = o->capture;
    const struct pipeline *p = &o->run->user.pipeline;
    char *now = source_capture_signature(&o->run->user.source, o->pg, p->source.publication, e);
    if (!now)
        return false;
    if (before && strcmp(before, now) != 0)
        set_why(o, "a table, its partitions or the publication have changed");
    free(c->signature);
    c->signature = now;
    return true;
}

/* With the hub's lock. */
static bool set_up_slot(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    return (o->pg = pg_acquire(&r->servers.pool, e)) && find_standby(o, e) &&
           source_capture_check(&r->user.source, o->pg, e) && find_server(o, e) &&
           capture_publish(o, e) && capture_compare_signature(o, r->state.data.captured, e) &&
           open_slot(o, e) && check_standby(o, e) && open_journal(o, e) && open_keys(o, e) &&
           start(o, e);
}

/* What a seat is for: from here on the slot stays where this pipeline needs it. */
static bool take_seat(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    struct run_capture *c = o->capture;
    if (!c || !(c->prefix = journal_prefix(r->user.pipeline.state)))
        return err_memory(e);
    c->seat = capture_hub_enter(&r->user.pipeline, r->servers.give_up_after, e);
    return c->seat && capture_hub_lock(c->seat, e);
}

static bool set_up(struct capture_opening *o,
                   bool (*set_up_slot)(struct capture_opening *, struct err *), struct err *e)
{
    struct run *r = o->run;
    if (!take_seat(o, e))
        return false;
    o->capture->tables_us = clock_mono_us();
    bool ok = set_up_slot(o, e);
    pg_release(&r->servers.pool, o->pg);
    o->pg = NULL;
    capture_hub_unlock(o->capture->seat);
    return ok;
}

bool capture_open(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    o->capture = calloc(1, sizeof *o->capture);
    *o->why = '\0';
    bool ok = set_up(o, set_up_slot, e);
    if (*o->why)
        capture_owe_sweep(r, o->why);
    if (!ok)
        capture_close(o->capture, r->user.source.n_tables);
    return ok;
}

/* ---- before the rest of the run ---- */

static void wake_nobody(void *arg)
{
    (void)arg;
}

/* Nothing is made or found out here: what is not as the state left it is for capture_open. */
static bool set_up_early(struct capture_opening *o, struct err *e)
{
    struct run *r = o->run;
    struct run_capture *c = o->capture;
    const struct state_data *d = &r->state.data;
    return d->slot && strcmp(d->slot, capture_slot(r)) == 0 && state_place(d).segment != 0 &&
           (o->pg = pg_acquire(&r->servers.pool, e)) && find_standby(o, e) && find_server(o, e) &&
           find_slot(o, e) && o->slot.status == SOURCE_SLOT_READY && !o->slot.copied &&
           o->slot.confirmed != 0 && !o->is_other_server && !o->is_promoted &&
           (c->journal = journal_open(c->prefix, state_place(d), e)) && check_position(o, e) &&
           !wal_share_is_gap(o->slot.confirmed, journal_lsn(c->journal)) && !*o->why &&
           open_keys(o, e) && join(o, wake_nobody, e);
}

void run_capture_early(struct run *r)
{
    struct err ignored;
    struct capture_opening o = {.run = r};
    struct run_capture *c = r->early_capture;
    uint64_t limit = (uint64_t)r->user.pipeline.source.journal_limit;
    if (c && journal_bytes(c->journal) > limit)
        run_close_early_capture(r);
    if (c)
        return;
    o.capture = calloc(1, sizeof *o.capture);
    bool ok = o.capture && set_up(&o, set_up_early, &ignored);
    if (ok && journal_bytes(o.capture->journal) <= limit)
        r->early_capture = o.capture;
    else
        capture_close(o.capture, r->user.source.n_tables);
}

void run_close_early_capture(struct run *r)
{
    capture_close(r->early_capture, r->user.source.n_tables);
    r->early_capture = NULL;
}
