/* feed_poll: what changed in one table, in pages ordered by (cursor, key), as the root's keys that
 * it affects.
 *
 * watermark.h has the rule: which rows are looked at, and which of them are new. Here it is applied
 * in passes:
 *
 *   a whole pass   reads the window. When it is over, the window moves on. Passes over what is dear
 *                  to read take at most a tenth of the time
 *   a quick pass   reads what lies above everything seen, while the next whole pass has to wait
 *
 * A row that a later pass may bring again is remembered with its version, and passed over then. A
 * pass whose reports say that its window was too small does not count, and is followed by a larger
 * one at once. A whole pass that is broken off is gone on with behind its last page (mark.pass),
 * and a page's fan behind its last key (mark.fanout).
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/keyset.h"
#include "base/log.h"
#include "feed/feed.h"
#include "index/index.h"
#include "model/batch.h"
#include "model/watermark.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"
#include "source/source.h"
#include "store/state.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 1000,           /* rows */
    BATCH = 1000,          /* keys; batches of 250 to 4,000 cost the same (measured) */
    VERSION_MAX = 1 << 20, /* bytes: a numeric may have 150,000 digits */
    FAN_PAGE = 10000,      /* keys that are affected, in memory at a time */
    /* bytes of delivered rows; beyond, they are delivered again in each pass */
    MEMORY = 24 << 20,
    WHOLE_SHARE = 10, /* whole passes take at most 1/10 of the time */
    TOLD_ROWS = 3,    /* of a page, that no document can be found for */
};

struct poll {
    struct feed feed; /* first */
    size_t table;
    struct watermark_rule rule;
    struct checkpoint mark; /* as it is once all that was read is acknowledged */
    struct position limit;  /* where to end; cursor NULL: with the last row */
    /* of this pass: the end of its last page; cursor NULL: no page yet */
    struct position behind;
    struct source_report report;   /* the last page's */
    struct watermark_report began; /* the first page's of this pass; its sessions are not kept */
    char *sessions;                /* owned: those, or NULL */
    char *server;                  /* owned: what mark's transaction ids are of; NULL: not known */
    struct keyset *memory;         /* delivered rows that may come again: key -> version */
    struct buf version;            /* of the row being looked at: what stands in the memory */
    uint32_t generation;           /* of whole passes */
    bool whole, resumed;           /* this pass; resumed: it was begun by another process */
    bool void_pass;                /* its window was too small */
    bool failed;                   /* a question failed: the server may be another one */
    bool no_versions;              /* of a view, of which a column raises on some row */
    bool finished;                 /* the pass is over */
    /* of whole passes: this one's questions so far; those of the last two */
    int64_t took_us, costs_us[2];
    int64_t whole_ended_us;

    /* the page being delivered: */
    struct checkpoint before;               /* what holds while it is not */
    struct position end;                    /* of the page */
    struct keylist rows;                    /* its changed rows' keys, of this table */
    struct keylist affected;                /* of the root: a part of the fan */
    size_t next;                            /* of affected */
    bool fan_over, asked_index, from_index; /* from_index: affected came from there */
    /* of the rows that the fan is made of, and their cursors */
    uint64_t rows_hash;
    uint64_t resume_hash;      /* what it was when the fan was broken off */
    bool news;                 /* the mark is worth a save */
    char *after;               /* the fan's last key so far; NULL: none */
    struct position resume_to; /* the end of the page whose fan was broken off; cursor NULL: none */
};

static bool is_root(const struct poll *p)
{
    return p->table == 0;
}

static const struct source_table *table_of(const struct poll *p)
{
    return &p->feed.source->tables[p->table];
}

/* ---- passes ---- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The cheaper one of the last two passes counts: a server that stalled makes one dear. */
static bool is_whole_due(const struct poll *p)
{
    int64_t cost = least(p->costs_us[0], p->costs_us[1]);
    return p->void_pass || clock_mono_us() - p->whole_ended_us >= WHOLE_SHARE * cost;
}

static void begin_pass(struct poll *p)
{
    p->whole = is_whole_due(p);
    p->resumed = p->void_pass = p->finished = false;
    p->took_us = 0;
    p->generation += p->whole;
    position_free(&p->behind);
}

static bool same_window(const struct window *a, const struct window *b)
{
    return position_same(&a->from, &b->from) && a->us == b->us && a->fence.us == b->fence.us;
}

/* Whether a restart would go on differently, but for transaction ids: those alone are not worth a
 * save. */
static bool is_news(const struct checkpoint *a, const struct checkpoint *b)
{
    return !position_same(&a->at, &b->at) || !position_same(&a->seen, &b->seen) ||
           !same_window(&a->window, &b->window) || !same_window(&a->candidate, &b->candidate) ||
           !same_window(&a->rewind, &b->rewind) || !position_same(&a->pass, &b->pass);
}

static bool end_whole_pass(struct poll *p)
{
    p->whole_ended_us = clock_mono_us();
    p->costs_us[1] = p->costs_us[0];
    p->costs_us[0] = p->took_us;
    position_free(&p->mark.pass);
    if (p->void_pass)
        return true;
    if (p->resumed) {
        watermark_end_resumed(&p->mark);
        return true;
    }
    keyset_drop(p->memory, p->generation); /* what was not met again cannot come again */
    p->began.sessions = p->sessions;
    return watermark_end_pass(&p->rule, &p->mark, &p->began);
}

static bool end_pass(struct poll *p)
{
    p->finished = true;
    return !p->whole || end_whole_pass(p);
}

/* The pass is under way: what is above its last page is still to be read. */
static bool note_pass(struct poll *p)
{
    if (!p->whole || p->void_pass)
        return true;
    if (!p->resumed)
        p->mark.pass_xid = p->began.xid;
    return position_copy(&p->mark.pass, &p->end);
}

/* ---- a page ---- */

/* FNV-1a: tells whether a fan that is continued after a restart is still made of the same rows. */
static void add_to_hash(uint64_t *hash, const char *text)
{
    do
        *hash = (*hash ^ (unsigned char)*text) * 1099511628211u;
    while (*text++);
}

/* What tells this row, as it is, from what it may become. */
static bool read_version(struct poll *p, const PGresult *page, int row)
{
    buf_clear(&p->version);
    return buf_addf(&p->version, "%s %s", p->end.cursor,
                    source_page_version(table_of(p), page, row)) &&
           buf_cstr(&p->version);
}

/* Takes the rows of a page that have not been delivered yet. */
static bool take_rows(struct poll *p, const PGresult *page)
{
    const struct source_table *t = table_of(p);
    struct position highest = {0};
    bool ok = true;
    p->rows_hash = 14695981039346656037u;
    for (int i = 0; ok && i < PQntuples(page); i++) {
        if (!source_page_position(t, page, i, &p->end) || !read_version(p, page, i))
            ok = false;
        else if (source_page_is_above(t, page, i))
            ok = position_copy(&highest, &p->end);
        if (!ok || (!p->no_versions &&
                    keyset_match(p->memory, p->end.key, p->version.data, p->generation)))
            continue;
        /* without room: again, then */
        if (!p->whole || source_page_returns(t, page, i, &p->began))
            keyset_put(p->memory, p->end.key, p->version.data, p->generation);
        add_to_hash(&p->rows_hash, p->end.key);
        add_to_hash(&p->rows_hash, p->version.data);
        ok = keylist_add(&p->rows, p->end.key);
    }
    ok = ok &&
         (!highest.cursor || watermark_see(&p->rule, &p->mark, &highest, &p->report.watermark));
    position_free(&highest);
    return ok && position_copy(&p->behind, &p->end);
}

/* After a failure another server may answer, whose transaction ids mean something else. */
static bool check_server(struct poll *p, struct pg *pg, struct err *e)
{
    if (!p->failed || !p->server)
        return true;
    struct source_reader r = source_reader(p->feed.source, p->table, pg);
    char *server = source_server(&r, e);
    if (!server)
        return false;
    if (strcmp(server, p->server) != 0) {
        log_info("another PostgreSQL server answers: reading table '%s' again from %s",
                 table_of(p)->label,
                 p->mark.window.from.cursor ? p->mark.window.from.cursor : "the beginning");
        watermark_forget_xids(&p->mark);
        p->void_pass = true;
    }
    free(p->server);
    p->server = server;
    return true;
}

static bool fetch_page(struct poll *p, PGresult **page, struct err *e)
{
    const struct checkpoint *m = &p->mark;
    bool first = !p->behind.cursor;
    struct source_page_request look = {.from = p->whole ? &m->window.from
                                                        : checkpoint_highest(&p->mark),
                                       .slack = p->whole ? watermark_slack(&p->rule, m) : 0,
                                       .seen = checkpoint_highest(&p->mark),
                                       .xid = m->window.xid,
                                       .behind = &p->behind,
                                       .rows = PAGE,
                                       .to = p->resume_to.cursor ? &p->resume_to : &p->limit,
                                       .sessions = p->whole && first && !p->resumed,
                                       .no_versions = p->no_versions};
    if (look.sessions && p->report.watermark.clock_us != 0) /* not the very first report */
        look.sessions = watermark_wants_sessions(&p->rule, m, p->report.watermark.clock_us);
    struct pg *pg = pg_acquire(p->feed.pool, e);
    bool ok = pg && check_server(p, pg, e);
    int64_t began_us = clock_mono_us();
    struct source_reader r = source_reader(p->feed.source, p->table, pg);
    ok = ok && source_page(&r, &look, &p->report, page, e);
    p->took_us += clock_mono_us() - began_us;
    p->report.watermark.mono_us = began_us;
    pg_release(p->feed.pool, pg);
    p->failed = !ok;
    return ok;
}

/* The pass begins with this page: what it saw, and the report before it, tell which transactions
 * had ended. */
static bool begin_with(struct poll *p, const PGresult *page)
{
    p->began = p->report.watermark;
    if (PQntuples(page) > 0) {
        uint64_t xid = source_page_xid(table_of(p), page);
        p->began.xid = xid > p->began.xid ? xid : p->began.xid;
    }
    free(p->sessions);
    p->sessions = p->report.sessions ? strdup(p->report.sessions) : NULL;
    p->began.sessions = NULL;
    return p->sessions || !p->report.sessions;
}

/* A fan that was broken off goes on behind its last key, if it is still made of the same rows:
 * another one that has appeared among them affects keys before it, too. Any other fan begins with
 * the first key. */
static void begin_fan(struct poll *p, bool resumed)
{
    p->fan_over = p->rows.n == 0;
    p->asked_index = false;
    if (resumed && p->rows_hash == p->resume_hash)
        return;
    free(p->after);
    p->after = NULL;
}

static bool judge_report(struct poll *p)
{
    bool again;
    bool ok = watermark_judge(&p->rule, &p->mark, &p->report.watermark, &again);
    p->void_pass |= again;
    return ok;
}

static bool judge_page(struct poll *p, const PGresult *page)
{
    bool resumed = p->resume_to.cursor != NULL, over = PQntuples(page) < PAGE;
    bool ok = checkpoint_copy(&p->before, &p->mark) && (p->behind.cursor || begin_with(p, page)) &&
              judge_report(p) && (PQntuples(page) == 0 || take_rows(p, page));
    if (!ok)
        return false;
    begin_fan(p, resumed);
    /* whatever the fan's page has become, it is not needed any more; the pass goes on behind it */
    if (resumed && over) {
        position_move(&p->behind, &p->resume_to);
        p->news = true;
        return true;
    }
    ok = over ? end_pass(p) : note_pass(p);
    p->news |= ok && is_news(&p->before, &p->mark);
    return ok;
}

static bool read_page(struct poll *p, struct err *e)
{
    PGresult *page = NULL;
    if (!fetch_page(p, &page, e)) {
        bool again = !p->no_versions && !table_of(p)->has_xmin && e->kind == ERR_FINAL &&
                     e->fault == ERR_FAULT_ROW;
        if (again)
            log_warn("table '%s': %s: its rows' versions cannot be told, so they are compared at "
                     "each look",
                     table_of(p)->label, e->text);
        p->no_versions |= again;
        if (!again || !fetch_page(p, &page, e))
            return false;
    }
    bool ok = judge_page(p, page);
    PQclear(page);
    return ok || err_memory(e);
}

/* ---- from rows to the documents that they affect ---- */

static bool ask_about(struct poll *p, char *const *rows, size_t n, const char *after,
                      struct keylist *affected, struct err *e)
{
    struct pg *pg = pg_acquire(p->feed.pool, e);
    struct source_reader r = source_reader(p->feed.source, p->table, pg);
    struct source_changed changed = {(const char *const *)rows, n, after, FAN_PAGE};
    bool ok = pg && source_affected(&r, &changed, affected, e);
    pg_release(p->feed.pool, pg);
    return ok;
}

struct sieve {
    struct keylist good; /* rows that `affects` can be asked about */
    size_t bad;
};

/* Halves find the rows on which the script's `affects` raises. */
static bool sift(struct poll *p, char **rows, size_t n, struct sieve *s, struct err *e)
{
    struct keylist ignored = {0};
    bool ok = ask_about(p, rows, n, NULL, &ignored, e);
    keylist_free(&ignored);
    for (size_t i = 0; ok && i < n; i++)
        ok = keylist_add(&s->good, rows[i]) || err_memory(e);
    if (ok || e->kind != ERR_FINAL || e->fault != ERR_FAULT_ROW)
        return ok;
    if (n > 1)
        return sift(p, rows, n / 2, s, e) && sift(p, rows + n / 2, n - n / 2, s, e);
    if (s->bad++ < TOLD_ROWS)
        log_warn("cannot tell which documents row '%s' of '%s' affects: %s; a sweep compares them",
                 rows[0], table_of(p)->label, e->text);
    return true;
}

/* One row never stops the others; but what fails for each of them, or for none, is the script's
 * mistake: *e stays as it is. */
static bool leave_out_bad_rows(struct poll *p, struct err *e)
{
    struct sieve s = {0};
    struct err why = *e, other;
    struct keylist ignored = {0};
    bool ok = ask_about(p, p->rows.keys, 0, NULL, &ignored, &other) &&
              sift(p, p->rows.keys, p->rows.n, &s, &other);
    keylist_free(&ignored);
    if (!ok || (s.good.n == 0 && s.bad > TOLD_ROWS)) {
        keylist_free(&s.good);
        *e = ok || other.kind == ERR_FINAL ? why : other;
        return false;
    }
    if (s.bad > TOLD_ROWS)
        log_warn("and %zu more such rows of '%s'", s.bad - TOLD_ROWS, table_of(p)->label);
    keylist_free(&p->rows);
    p->rows = s.good;
    return true;
}

static bool ask_source(struct poll *p, struct err *e)
{
    bool ok = ask_about(p, p->rows.keys, p->rows.n, p->after, &p->affected, e);
    if (!ok && e->kind == ERR_FINAL && e->fault == ERR_FAULT_ROW)
        ok = leave_out_bad_rows(p, e) &&
             ask_about(p, p->rows.keys, p->rows.n, p->after, &p->affected, e);
    if (!ok)
        return false;
    p->fan_over = p->affected.n < FAN_PAGE;
    if (p->affected.n == 0)
        return true;
    free(p->after);
    p->after = strdup(p->affected.keys[p->affected.n - 1]);
    return p->after || err_memory(e);
}

/* Documents that still hold one of these rows, though no row leads to them any more. */
static bool ask_index(struct poll *p, struct err *e)
{
    const char *field = table_of(p)->related->index_field;
    if (!field || !p->feed.es)
        return true;
    struct index_scan *scan =
        index_scan_open(p->feed.es, p->feed.source->pipeline->sink.indices, field,
                        (const char *const *)p->rows.keys, p->rows.n, e);
    const char *const *keys;
    size_t n = 1;
    bool ok = scan != NULL;
    while (ok && n > 0 && (ok = index_scan_next(scan, &keys, &n, e)))
        for (size_t i = 0; ok && i < n; i++)
            ok = keylist_add(&p->affected, keys[i]) || err_memory(e);
    index_scan_close(scan);
    return ok;
}

/* Fills `affected` with the next part of the fan; may find nothing. */
static bool fill_affected(struct poll *p, struct err *e)
{
    keylist_free(&p->affected);
    p->next = 0;
    if (is_root(p)) {
        p->affected = p->rows;
        p->rows = (struct keylist){0};
        p->fan_over = true;
        return true;
    }
    p->from_index = !p->asked_index;
    bool ok = p->asked_index ? ask_source(p, e) : ask_index(p, e);
    if (ok)
        p->asked_index = true;
    else
        keylist_free(&p->affected);
    return ok;
}

/* The mark that holds when this batch is acknowledged: with the page's last batch, the page's;
 * until then the one before it, and how far the fan has come. */
static bool set_done(struct poll *p, struct batch *b, bool last)
{
    if (!checkpoint_copy(&b->done, last ? &p->mark : &p->before))
        return false;
    b->skip_unchanged = !table_of(p)->has_xmin; /* what a window brings again has not changed */
    if (last || !p->after || p->from_index)     /* the index's keys come in no order */
        return true;
    b->done.fanout_hash = p->rows_hash;
    b->done.after = strdup(b->keys[b->n - 1]);
    return b->done.after && position_copy(&b->done.fanout, &p->end);
}

static bool make_batch(struct poll *p, struct batch **out, struct err *e)
{
    struct batch *b = batch_new();
    bool ok = b != NULL;
    size_t next = p->next;
    for (; ok && b->n < BATCH && next < p->affected.n; next++)
        ok = batch_add_key(b, p->affected.keys[next]);
    bool last = next == p->affected.n && p->fan_over;
    ok = ok && set_done(p, b, last);
    if (!ok) {
        batch_free(b);
        return err_memory(e);
    }
    p->next = next;
    if (last) {
        keylist_free(&p->rows);
        p->news = false;
    }
    *out = b;
    return true;
}

static bool poll_next(struct feed *f, struct batch **out, struct err *e)
{
    struct poll *p = (struct poll *)f;
    for (;;) {
        if (p->next < p->affected.n)
            return make_batch(p, out, e);
        if (p->rows.n > 0 && !p->fan_over) {
            if (!fill_affected(p, e))
                return false;
            continue;
        }
        keylist_free(&p->affected);
        keylist_free(&p->rows);
        p->next = 0;
        if (p->news) /* nothing to fetch, but the mark has moved */
            return make_batch(p, out, e);
        if (p->finished && !p->void_pass)
            return true;
        if (p->finished)
            begin_pass(p);
        if (!read_page(p, e))
            return false;
    }
}

void feed_poll_again(struct feed *f)
{
    begin_pass((struct poll *)f);
}

const struct source_report *feed_poll_report(const struct feed *f)
{
    return &((const struct poll *)f)->report;
}

static void poll_free(struct feed *f)
{
    struct poll *p = (struct poll *)f;
    checkpoint_free(&p->mark);
    checkpoint_free(&p->before);
    position_free(&p->limit);
    position_free(&p->behind);
    position_free(&p->end);
    position_free(&p->resume_to);
    source_report_free(&p->report);
    keylist_free(&p->rows);
    keylist_free(&p->affected);
    keyset_free(p->memory);
    buf_free(&p->version);
    free(p->sessions);
    free(p->server);
    free(p->after);
    free(p);
}

/* ---- beginning ---- */

/* A pass that was broken off goes on behind its last page; its fan, at the page's beginning, behind
 * its last key. */
static bool resume(struct poll *p)
{
    struct checkpoint *m = &p->mark;
    p->resumed = m->pass.cursor;
    if (p->resumed && !position_copy(&p->behind, &m->pass))
        return false;
    p->resume_hash = m->fanout_hash;
    if (m->fanout.cursor && m->after) {
        position_move(&p->resume_to, &m->fanout);
        p->after = m->after;
        m->after = NULL;
    }
    position_free(&m->fanout);
    free(m->after);
    m->after = NULL;
    return true;
}

struct feed *feed_poll(const struct source *s, struct pg_pool *pool, struct es *es, size_t table,
                       const struct checkpoint *mark, const struct feed_poll_start *place,
                       bool to_the_limit, struct err *e)
{
    struct poll *p = calloc(1, sizeof *p);
    if (!p) {
        err_memory(e);
        return NULL;
    }
    p->feed = (struct feed){poll_next, poll_free, s, pool, es};
    p->table = table;
    p->rule = source_rule(s, table, place->report.standby);
    buf_init(&p->version, VERSION_MAX);
    p->memory = keyset_new(MEMORY);
    begin_pass(p);
    p->finished = to_the_limit && !place->last.cursor; /* no row has a cursor */
    p->server = place->server ? strdup(place->server) : NULL;
    if (p->memory && (p->server || !place->server) && checkpoint_copy(&p->mark, mark) &&
        (!to_the_limit || position_copy(&p->limit, &place->last)) && resume(p))
        return &p->feed;
    poll_free(&p->feed);
    err_memory(e);
    return NULL;
}

bool feed_poll_start_read(const struct source *s, struct pg_pool *pool, size_t table,
                          struct feed_poll_start *place, struct err *e)
{
    struct pg *pg = pg_acquire(pool, e);
    feed_poll_start_free(place);
    struct source_reader r = source_reader(s, table, pg);
    bool ok = pg && source_last(&r, &place->last, &place->report, e);
    if (ok && !(place->server = source_server(&r, e)))
        ok = e->kind == ERR_FINAL; /* not every server tells; then nobody compares */
    pg_release(pool, pg);
    return ok;
}

void feed_poll_start_free(struct feed_poll_start *p)
{
    position_free(&p->last);
    source_report_free(&p->report);
    free(p->server);
    *p = (struct feed_poll_start){0};
}
