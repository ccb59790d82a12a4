/* feed_poll: the documents that changed rows of one table affect, since a checkpoint.
 *
 * A poll reads the table in passes (pass.h), and each pass in pages ordered by cursor and key. The
 * rule is in watermark.h: which rows a pass reads, which of them are new, and how the window moves
 * on. What a page's changed rows affect is a fan-out (fanout.h), delivered in batches.
 *
 * poll_next is in one of these states, tried in this order:
 *
 *   the page's fan-out is not over    deliver its next keys
 *   the checkpoint has moved          deliver it with a batch without keys
 *   the pass is over                  there is no more for now: feed_again begins the next pass
 *   otherwise                         read the next page
 *
 * A row that a later pass may read again is remembered with its version, and skipped then. A pass
 * whose window turns out to be too small is void, and another one follows at once. A later process
 * continues a whole pass after its last page (checkpoint.pass), and a page's fan-out after its last
 * key (checkpoint.fanout).
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/keyset.h"
#include "base/log.h"
#include "base/text.h"
#include "feed/fanout.h"
#include "feed/fanout_table.h"
#include "feed/feed.h"
#include "feed/pass.h"
#include "index/index.h"
#include "model/batch.h"
#include "model/watermark.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 1000,           /* rows */
    VERSION_MAX = 1 << 20, /* bytes: a numeric may have 150,000 digits */
    /* bytes of delivered rows; rows beyond are delivered again in each pass */
    MEMORY = 24 << 20,
};

struct poll {
    struct feed feed; /* first */
    size_t table;
    struct watermark_rule rule;
    struct position limit;        /* where to end; cursor NULL: with the last row */
    int64_t limit_us;             /* the server's clock when the limit was read; 0: no limit */
    struct checkpoint checkpoint; /* once all that was read is acknowledged */
    struct source_report report;  /* of the last page */
    char *server;          /* owned; which server the transaction ids are of; NULL: not known */
    bool reconnects;       /* the last query failed: another server may answer */
    uint64_t checked;      /* pg_serial of the last connection that was asked for its server */
    bool no_versions;      /* of a view: one of its columns raises, so versions cannot be read */
    struct keyset *memory; /* delivered rows that may be read again: key -> version */
    struct buf version;    /* of the present row, as it is remembered */

    struct pass pass;
    struct position read_to;       /* the end of its last page; cursor NULL: no page yet */
    struct watermark_report began; /* the report of its first page, without sessions */
    char *sessions;                /* owned: the sessions of that report; NULL: not asked */

    struct checkpoint before;  /* while the page is being delivered */
    struct position page_end;  /* the page's last row */
    bool moved;                /* the checkpoint has moved, and no batch says so yet */
    struct position resume_to; /* the end of the page whose fan-out is resumed; cursor NULL: none */
    struct fanout_table asked; /* the fan-out's queries */
    struct fanout fanout;      /* the page's */
    struct change_times changed; /* of the page's new rows */
};

static const struct source_table *table_of(const struct poll *p)
{
    return &p->feed.origin.source->tables[p->table];
}

/* ---- passes ---- */

static void begin_pass(struct poll *p)
{
    pass_begin(&p->pass, clock_mono_us());
    position_free(&p->read_to);
}

static bool same_window(const struct window *a, const struct window *b)
{
    return position_same(&a->from, &b->from) && a->us == b->us && a->fence.us == b->fence.us;
}

/* Whether a later process would continue differently. Transaction ids are left out: they alone are
 * not worth a save. */
static bool has_moved(const struct checkpoint *a, const struct checkpoint *b)
{
    return !position_same(&a->at, &b->at) || !position_same(&a->seen, &b->seen) ||
           !same_window(&a->window, &b->window) || !same_window(&a->candidate, &b->candidate) ||
           !same_window(&a->rewind, &b->rewind) || !position_same(&a->pass, &b->pass);
}

/* The pass has read its last page. False: no memory. */
static bool end_pass(struct poll *p)
{
    switch (pass_end(&p->pass, clock_mono_us())) {
    case PASS_IS_NOTHING:
        return true;
    case PASS_IS_VOID:
        position_free(&p->read_to);
        position_free(&p->checkpoint.pass);
        return true;
    case PASS_COUNTS_RESUMED:
        watermark_end_resumed(&p->checkpoint);
        return true;
    case PASS_COUNTS:
        break;
    }
    position_free(&p->checkpoint.pass);
    keyset_drop(p->memory, p->pass.generation); /* rows that were not read again never will be */
    p->began.sessions = p->sessions;
    p->checkpoint.whole_us = p->limit_us ? p->limit_us : p->began.clock_us;
    p->moved |= p->limit_us || p->feed.eager;
    return watermark_end_pass(&p->rule, &p->checkpoint, &p->began);
}

/* The pass continues above the page. False: no memory. */
static bool save_pass(struct poll *p)
{
    if (!pass_is_whole(&p->pass) || pass_is_void(&p->pass))
        return true;
    if (p->pass.state != PASS_RESUMED)
        p->checkpoint.pass_xid = p->began.xid;
    return position_copy(&p->checkpoint.pass, &p->page_end);
}

/* ---- reading a page ---- */

/* After a failure, or at another connection, another server may answer, where transaction ids mean
 * something else. */
static bool check_server(struct poll *p, const struct source_reader *r, struct err *e)
{
    const struct position *from = &p->checkpoint.window.from;
    if (!p->server || !(p->reconnects || pg_serial(r->pg) != p->checked))
        return true;
    char *server = source_server(r, e);
    if (!server)
        return false;
    if (strcmp(server, p->server) != 0) {
        log_info_with(
            LOG_FIELDS(log_text("table", r->table->label), log_text("since", from->cursor)),
            "another PostgreSQL server answers: reading table '%s' again from %s", r->table->label,
            from->cursor ? from->cursor : "the beginning");
        watermark_forget_xids(&p->checkpoint);
        pass_void(&p->pass);
        p->feed.moved++;
    }
    free(p->server);
    p->server = server;
    p->checked = pg_serial(r->pg);
    return true;
}

/* Open transactions are named in the report of a whole pass's first page, if they are of use. */
static bool wants_sessions(const struct poll *p)
{
    int64_t clock_us = p->report.watermark.clock_us; /* 0: this is the first report */
    return pass_is_whole(&p->pass) && !p->read_to.cursor &&
           (clock_us == 0 || watermark_wants_sessions(&p->rule, &p->checkpoint, clock_us));
}

static struct source_page_request next_page(const struct poll *p)
{
    const struct checkpoint *c = &p->checkpoint;
    const struct position *seen = checkpoint_highest(c);
    bool whole = pass_is_whole(&p->pass);
    return (struct source_page_request){.from = whole ? &c->window.from : seen,
                                        .slack = whole ? watermark_slack(&p->rule, c) : 0,
                                        .seen = seen,
                                        .xid = c->window.xid,
                                        .after = &p->read_to,
                                        .to = p->resume_to.cursor ? &p->resume_to : &p->limit,
                                        .rows = PAGE,
                                        .sessions = wants_sessions(p),
                                        .no_versions = p->no_versions};
}

static bool query_page(struct poll *p, PGresult **page, struct err *e)
{
    struct source_page_request request = next_page(p);
    struct pg *pg = pg_acquire(p->feed.origin.pool, e);
    struct source_reader r = source_reader(p->feed.origin.source, p->table, pg);
    bool ok = pg && check_server(p, &r, e);
    int64_t began_us = clock_mono_us();
    ok = ok && source_page(&r, &request, &p->report, page, e);
    pass_spend(&p->pass, clock_mono_us() - began_us);
    p->report.watermark.mono_us = began_us;
    pg_release(p->feed.origin.pool, pg);
    p->reconnects = !ok;
    return ok;
}

/* The versions of a view's rows are made of all its columns, of which one may raise. */
static bool fetch_page(struct poll *p, PGresult **page, struct err *e)
{
    if (query_page(p, page, e))
        return true;
    if (p->no_versions || table_of(p)->has_xmin || e->kind != ERR_FINAL ||
        e->fault != ERR_FAULT_ROW)
        return false;
    log_warn_with(
        LOG_FIELDS(log_text("table", table_of(p)->label), LOG_ERR(e)),
        "table '%s': cannot read the versions of its rows: %s; their documents are compared "
        "at each poll",
        table_of(p)->label, e->text);
    p->no_versions = true;
    return query_page(p, page, e);
}

/* ---- judging a page ---- */

/* The pass begins with this page: its snapshot, and the report before it, say which transactions
 * had ended. False: no memory. */
static bool begin_with(struct poll *p, const PGresult *page)
{
    p->began = p->report.watermark;
    if (PQntuples(page) > 0) {
        uint64_t xid = source_page_xid(table_of(p), page);
        p->began.xid = xid > p->began.xid ? xid : p->began.xid;
    }
    p->began.sessions = NULL;
    return text_set(&p->sessions, p->report.sessions);
}

static bool judge_report(struct poll *p)
{
    bool again;
    bool ok = watermark_judge(&p->rule, &p->checkpoint, &p->report.watermark, &again);
    if (ok && again)
        pass_void(&p->pass);
    return ok;
}

/* Differs between versions of a row, also where only the cursor differs. False: no memory. */
static bool read_version(struct poll *p, const PGresult *page, int row)
{
    buf_clear(&p->version);
    return buf_addf(&p->version, "%s %s", p->page_end.cursor,
                    source_page_version(table_of(p), page, row)) &&
           buf_cstr(&p->version);
}

/* When the row was committed: its cursor, but not before the last whole pass began, which would
 * have found it then; or this look, where the cursor is no such time. (Of a transaction that was
 * open during that pass this is too late: it may have written the cursor long before.) Without such
 * a pass, as after `state set`, the row is read for another reason than a change. In the first
 * whole pass, a row that is not above all others may have been delivered by a process before this
 * one: then nothing is known, either. above: it is. */
static void note_change(struct poll *p, bool above)
{
    const struct watermark_report *look = &p->report.watermark;
    int64_t whole_us = p->checkpoint.whole_us, since_us = look->clock_us;
    if (whole_us == 0 || !(above || p->pass.generation > 1))
        return;
    if (p->rule.is_instant && p->page_end.has_us)
        since_us = p->page_end.us > whole_us ? p->page_end.us : whole_us;
    int64_t age = look->clock_us - since_us;
    change_times_add(&p->changed, look->mono_us - (age > 0 ? age : 0));
}

/* Adds a row to the fan-out, unless it is delivered already. False: no memory. */
static bool take_row(struct poll *p, const PGresult *page, int row)
{
    const char *key = p->page_end.key, *version = p->version.data;
    uint32_t generation = p->pass.generation;
    if (!p->no_versions && keyset_match(p->memory, key, version, generation))
        return true;
    if (!pass_is_whole(&p->pass) || source_page_returns(table_of(p), page, row, &p->began))
        keyset_put(p->memory, key, version, generation); /* without room it is delivered again */
    note_change(p, source_page_is_above(table_of(p), page, row));
    return fanout_add(&p->fanout, key, version);
}

/* False: no memory. */
static bool take_rows(struct poll *p, const PGresult *page)
{
    const struct source_table *t = table_of(p);
    struct position highest = {0};
    bool ok = true;
    for (int i = 0; ok && i < PQntuples(page); i++) {
        ok = source_page_position(t, page, i, &p->page_end) && read_version(p, page, i);
        if (ok && source_page_is_above(t, page, i))
            ok = position_copy(&highest, &p->page_end);
        ok = ok && take_row(p, page, i);
    }
    ok = ok && (!highest.cursor ||
                watermark_see(&p->rule, &p->checkpoint, &highest, &p->report.watermark));
    position_free(&highest);
    return ok && (PQntuples(page) == 0 || position_copy(&p->read_to, &p->page_end));
}

/* What the page means for the checkpoint and the pass. False: no memory. */
static bool judge_page(struct poll *p, const PGresult *page)
{
    bool resumed = p->resume_to.cursor != NULL, over = PQntuples(page) < PAGE;
    fanout_clear(&p->fanout);
    p->changed = (struct change_times){0};
    bool ok = checkpoint_copy(&p->before, &p->checkpoint) &&
              (p->read_to.cursor || begin_with(p, page)) && judge_report(p) && take_rows(p, page);
    if (!ok)
        return false;
    fanout_begin(&p->fanout, resumed);
    if (resumed && over) { /* the page whose fan-out was broken off; the pass continues above it */
        position_move(&p->read_to, &p->resume_to);
        p->moved = true;
        return true;
    }
    ok = over ? end_pass(p) : save_pass(p);
    p->moved |= ok && has_moved(&p->before, &p->checkpoint);
    return ok;
}

static bool read_page(struct poll *p, struct err *e)
{
    PGresult *page = NULL;
    if (!fetch_page(p, &page, e))
        return false;
    bool ok = judge_page(p, page);
    PQclear(page);
    return ok || err_memory(e);
}

/* ---- batches ---- */

/* The page's last batch brings the checkpoint after the page. Batches before it bring the one
 * before the page, and how far its fan-out has come. False: no memory. */
static bool set_done(struct poll *p, struct batch *b, bool last)
{
    b->skip_unchanged = !table_of(p)->has_xmin; /* rows that are read again may not have changed */
    if (!checkpoint_copy(&b->done, last ? &p->checkpoint : &p->before))
        return false;
    if (last || !fanout_can_resume(&p->fanout))
        return true;
    b->done.fanout_hash = p->fanout.hash;
    return text_set(&b->done.after, b->keys[b->n - 1]) &&
           position_copy(&b->done.fanout, &p->page_end);
}

static bool make_batch(struct poll *p, struct batch **out, struct err *e)
{
    struct batch *b = batch_new();
    bool ok = b && fanout_copy(&p->fanout, b);
    bool last = ok && fanout_ends_after(&p->fanout, b->n);
    ok = ok && set_done(p, b, last);
    if (!ok) {
        batch_free(b);
        return err_memory(e);
    }
    fanout_advance(&p->fanout, b->n);
    b->changed = p->changed;
    if (last)
        p->moved = false;
    *out = b;
    return true;
}

static bool poll_next(struct feed *f, struct batch **out, struct err *e)
{
    struct poll *p = (struct poll *)f;
    for (;;) {
        if (!fanout_fill(&p->fanout, e))
            return false;
        if (fanout_has_keys(&p->fanout))
            return make_batch(p, out, e);
        if (!fanout_is_over(&p->fanout)) /* that part was empty */
            continue;
        if (p->moved)
            return make_batch(p, out, e);
        if (p->pass.state == PASS_OVER)
            return true;
        if (!read_page(p, e))
            return false;
    }
}

static void poll_again(struct feed *f)
{
    begin_pass((struct poll *)f);
}

static const struct source_report *poll_report(const struct feed *f)
{
    return &((const struct poll *)f)->report;
}

static void poll_free(struct feed *f)
{
    struct poll *p = (struct poll *)f;
    fanout_free(&p->fanout);
    checkpoint_free(&p->checkpoint);
    checkpoint_free(&p->before);
    position_free(&p->limit);
    position_free(&p->read_to);
    position_free(&p->page_end);
    position_free(&p->resume_to);
    source_report_free(&p->report);
    keyset_free(p->memory);
    buf_free(&p->version);
    free(p->sessions);
    free(p->server);
    free(p);
}

/* ---- beginning ---- */

/* Continues a pass after its last page, and that page's fan-out after its last key. False: no
 * memory. */
static bool resume(struct poll *p)
{
    struct checkpoint *c = &p->checkpoint;
    if (c->pass.cursor && p->pass.state == PASS_WHOLE)
        pass_resume(&p->pass);
    if (c->pass.cursor && !position_copy(&p->read_to, &c->pass))
        return false;
    if (c->fanout.cursor && c->after) {
        position_move(&p->resume_to, &c->fanout);
        fanout_resume_after(&p->fanout, c->after, c->fanout_hash);
        c->after = NULL;
    }
    position_free(&c->fanout);
    return text_set(&c->after, NULL);
}

static bool init(struct poll *p, const struct feed_poll_start *start, const struct checkpoint *from,
                 bool to_the_limit)
{
    bool is_related = table_of(p)->related != NULL;
    p->rule = source_rule(p->feed.origin.source, p->table, start->report.standby);
    buf_init(&p->version, VERSION_MAX);
    fanout_table_init(&p->asked, &p->feed.origin, p->table);
    fanout_init(&p->fanout, is_related ? &p->asked.queries : NULL);
    p->memory = keyset_new(MEMORY);
    bool any = start->last.cursor || !to_the_limit; /* else no row has a cursor */
    if (any)
        begin_pass(p);
    p->limit_us = to_the_limit ? start->report.watermark.clock_us : 0;
    p->moved = !any;
    bool ok = p->memory && text_set(&p->server, start->server) &&
              checkpoint_copy(&p->checkpoint, from) &&
              (!to_the_limit || position_copy(&p->limit, &start->last)) && resume(p);
    if (!any)
        p->checkpoint.whole_us = p->limit_us;
    return ok;
}

struct feed *feed_poll(const struct feed_origin *origin, const struct feed_poll_start *start,
                       const struct checkpoint *from, bool to_the_limit, struct err *e)
{
    struct poll *p = calloc(1, sizeof *p);
    if (!p) {
        err_memory(e);
        return NULL;
    }
    p->feed = (struct feed){.origin = *origin,
                            .next = poll_next,
                            .again = poll_again,
                            .report = poll_report,
                            .free = poll_free};
    p->table = start->table;
    if (init(p, start, from, to_the_limit))
        return &p->feed;
    poll_free(&p->feed);
    err_memory(e);
    return NULL;
}

bool feed_poll_start_read(const struct feed_origin *origin, size_t table,
                          struct feed_poll_start *start, struct err *e)
{
    struct pg *pg = pg_acquire(origin->pool, e);
    struct source_reader r = source_reader(origin->source, table, pg);
    feed_poll_start_free(start);
    start->table = table;
    bool ok = pg && source_last(&r, &start->last, &start->report, e);
    if (ok && !(start->server = source_server(&r, e)))
        ok = e->kind == ERR_FINAL; /* not every server says; then servers are not compared */
    pg_release(origin->pool, pg);
    return ok;
}

void feed_poll_start_free(struct feed_poll_start *start)
{
    position_free(&start->last);
    source_report_free(&start->report);
    free(start->server);
    *start = (struct feed_poll_start){0};
}
