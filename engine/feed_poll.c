/* feed_poll: what changed in one table since a position, in pages ordered by (cursor, key), as the root's
 * keys that it affects.
 *
 * Rows become visible when their transaction commits, but got their cursor before. So a pass begins at the
 * mark, and the mark never passes the bound: the place below which nothing new can appear.
 *
 *   a cursor with a time zone   its bound is the horizon, the start of the oldest open transaction
 *   any other (a local time, a number)   cannot be compared with that. Its bound is where some earlier pass
 * ended, once all transactions have ended that were open when that pass was over
 *
 * What lies above the bound is delivered at once all the same, and remembered: the next pass meets it again,
 * and passes over what has not changed. A horizon is used one look after it was read, and no further than the
 * second look agrees: a transaction that had begun, but did not show yet when the sessions were first looked
 * at, has shown by then.
 *
 * A transaction that is open for longer than horizon_limit is not waited for. Where the mark stood then is
 * remembered, in the state too, as owed: once it has ended, all rows from there on are looked at again.
 */
#include "clock.h"
#include "err.h"
#include "feed.h"
#include "index.h"
#include "keyset.h"
#include "pg.h"
#include "pipeline.h"
#include "queue.h"
#include "source.h"
#include "state.h"
#include "stop.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 1000,            /* rows */
    BATCH = 1000,           /* keys; batches of 250 to 4,000 cost the same (measured) */
    VERSION_MAX = 1 << 20,  /* bytes: a numeric may have 150,000 digits */
    FAN_PAGE = 10000,       /* keys that are affected, in memory at a time */
    MEMORY = 24 << 20,      /* bytes of delivered rows; beyond, they are delivered again in each pass */
    GRACE_US = 1000 * 1000, /* a transaction that has begun shows among the sessions well within that time */
    FULL_SHARE = 10, /* passes over the whole of what is above the mark take at most 1/10 of the time */
};

struct poll {
    struct feed feed; /* first */
    size_t table;
    struct source_grain grain;     /* of the table's cursor */
    struct position mark, bound;   /* bound, cursor NULL: not known yet */
    struct position limit;         /* where to end; cursor NULL: with the last row */
    struct position scan, seen;    /* where the next page begins; where the last one ended */
    struct source_horizon horizon; /* of the page before */
    struct position
        sample; /* becomes the bound once transactions older than sample_us have ended; 0: not read yet */
    int64_t sample_us;
    struct position
        owed; /* where the mark stood when it passed a transaction that is over its limit, which began at: */
    int64_t owed_us;       /* 0: none */
    struct keyset *memory; /* delivered rows above the bound: key -> cursor and version */
    struct buf version;    /* of the row being looked at: what stands in the memory */
    uint32_t generation;   /* of passes */
    bool full;             /* this pass began at the mark, not where the last one ended */
    bool held;             /* in this pass the mark has met the bound */
    bool above;            /* the last pass ended above the mark */
    bool finished;         /* the pass is over */
    int64_t pass_began_us, full_took_us, full_ended_us;

    /* the page being delivered: */
    struct position before;                 /* the mark that holds while it is not */
    struct position end;                    /* of the page */
    struct source_list rows;                /* its changed rows' keys, of this table */
    struct source_list affected;            /* of the root: a part of the fan */
    size_t next;                            /* of affected */
    bool fan_over, asked_index, from_index; /* from_index: affected came from there */
    uint64_t rows_hash;                     /* of the rows that the fan is made of, and their cursors */
    uint64_t resume_hash;                   /* what it was when the fan was broken off */
    bool news;                              /* the mark moved */
    char *after;                            /* the fan's last key so far; NULL: none */
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

static bool is_instant(const struct poll *p)
{
    return table_of(p)->cursor_is_instant;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_place(const struct position *a, const struct position *b)
{
    return same_text(a->cursor, b->cursor) && same_text(a->key, b->key);
}

/* ---- the bound ---- */

/* Where a later change may get the very value that the last one had, rows at that value are never done. */
static void settle_coarse(const struct source_grain *g, struct position *p)
{
    if (g->coarse) {
        free(p->key);
        p->key = NULL;
    }
}

/* A time at which no row is done. */
static bool set_time(struct position *p, int64_t us)
{
    char text[CLOCK_TEXT];
    position_free(p);
    *p = (struct position){.cursor = strdup(clock_text(us, text)), .us = us, .has_us = true};
    return p->cursor != NULL;
}

/* A time that was rounded may lie that far below the moment it was made of. */
static int64_t bound_us(const struct source_horizon *h, const struct source_grain *g)
{
    return h->horizon_us - g->step_us;
}

static bool choose_bound(struct poll *p)
{
    if (is_instant(p))
        return set_time(&p->bound, bound_us(&p->horizon, &p->grain));
    if (p->sample.cursor && p->sample_us != 0 && p->horizon.horizon_us >= p->sample_us) {
        position_move(&p->bound, &p->sample);
        p->sample_us = 0;
    }
    return true;
}

static bool move_mark(struct poll *p, const struct position *to)
{
    if (same_place(&p->mark, to) || (p->mark.has_us && to->has_us && to->us < p->mark.us))
        return true;
    p->news = true;
    return position_copy(&p->mark, to);
}

/* After a page with rows. */
static bool advance(struct poll *p, bool below)
{
    if (p->held || !p->full || !p->bound.cursor)
        return true;
    p->held = !below;
    return move_mark(p, below ? &p->end : &p->bound);
}

/* ---- transactions that are over their limit ---- */

/* From where on the oldest one may still bring rows. */
static bool note_owed(struct poll *p)
{
    int64_t began = p->horizon.oldest_us;
    if (!p->horizon.over_limit || p->owed_us != 0)
        return true;
    p->owed_us = began;
    return is_instant(p) && p->mark.has_us && p->mark.us > began ? set_time(&p->owed, began)
                                                                 : position_copy(&p->owed, &p->mark);
}

static bool owed_is_due(const struct poll *p)
{
    return p->owed_us != 0 && (p->horizon.oldest_us == 0 || p->horizon.oldest_us > p->owed_us);
}

/* It has ended: back, to what it may have brought. */
static void pay_owed(struct poll *p)
{
    position_move(&p->mark, &p->owed);
    position_free(&p->resume_to);
    p->owed_us = 0;
    p->above = false; /* so that the pass begins at the mark */
    p->fan_over = p->news = true;
}

/* ---- passes ---- */

static bool begin_pass(struct poll *p)
{
    int64_t now = clock_mono_us();
    if (owed_is_due(p))
        pay_owed(p);
    p->full = !p->above || now - p->full_ended_us >= FULL_SHARE * p->full_took_us;
    p->pass_began_us = now;
    p->held = false;
    p->finished = false;
    p->generation += p->full;
    return note_owed(p) && choose_bound(p) && position_copy(&p->scan, p->full ? &p->mark : &p->seen);
}

static bool end_pass(struct poll *p)
{
    int64_t now = clock_mono_us();
    p->finished = true;
    p->above = p->seen.cursor && !same_place(&p->seen, &p->mark);
    if (p->full) {
        p->full_ended_us = now;
        p->full_took_us = now - p->pass_began_us;
        keyset_drop(p->memory,
                    p->generation); /* what was not met again has changed, or lies below the mark */
    }
    if (is_instant(p) || p->sample.cursor || !p->above)
        return true;
    p->sample_us = 0;
    if (!position_copy(&p->sample, &p->seen))
        return false;
    settle_coarse(&p->grain, &p->sample);
    return true;
}

/* ---- a page ---- */

/* FNV-1a: tells whether a fan that is continued after a restart is still made of the same rows. */
static void add_to_hash(uint64_t *hash, const char *text)
{
    do
        *hash = (*hash ^ (unsigned char)*text) * 1099511628211u;
    while (*text++);
}

/* What tells this row, as it is, from what it may become; empty: a coarse cursor alone does not. */
static bool read_version(struct poll *p, const PGresult *page, int row)
{
    const char *version = source_page_version(p->feed.source, p->table, page, row);
    buf_clear(&p->version);
    if (!version && p->grain.coarse)
        return buf_cstr(&p->version) != NULL;
    return buf_adds(&p->version, p->end.cursor) && (!version || buf_addf(&p->version, " %s", version)) &&
           buf_cstr(&p->version);
}

/* Takes the rows of a page that have not been delivered yet. *below: the last row lies below the bound. */
static bool take_rows(struct poll *p, const PGresult *page, bool *below)
{
    p->rows_hash = 14695981039346656037u;
    for (int i = 0; i < PQntuples(page); i++) {
        if (!source_page_position(p->feed.source, p->table, page, i, &p->end) || !read_version(p, page, i))
            return false;
        const char *version = p->version.data;
        *below =
            is_instant(p) ? p->end.us < p->bound.us : source_page_below(p->feed.source, p->table, page, i);
        if (*version && keyset_match(p->memory, p->end.key, version, p->generation))
            continue;
        if (*version && (!*below || !p->full)) /* if there is no room for it, it is delivered again */
            keyset_put(p->memory, p->end.key, version, p->generation);
        if (!source_list_add(&p->rows, p->end.key))
            return false;
        add_to_hash(&p->rows_hash, p->end.key);
        add_to_hash(&p->rows_hash, *version ? version : p->end.cursor);
    }
    return position_copy(&p->scan, &p->end) && position_copy(&p->seen, &p->end);
}

static bool fetch_page(struct poll *p, PGresult **page, struct source_horizon *now, struct err *e)
{
    struct pg *pg = pg_take(p->feed.pool, e);
    const struct position *to = p->resume_to.cursor ? &p->resume_to : &p->limit;
    bool ok = pg && source_page(p->feed.source, pg, p->table, &p->scan, to, &p->bound, PAGE, now, page, e);
    pg_give(p->feed.pool, pg);
    return ok;
}

/* A fan that was broken off goes on behind its last key, if it is still made of the same rows: another one
 * that has appeared among them affects keys before it, too. Any other fan begins with the first key. */
static void begin_fan(struct poll *p, bool resumed)
{
    p->fan_over = p->rows.n == 0;
    p->asked_index = false;
    if (resumed && p->rows_hash == p->resume_hash)
        return;
    free(p->after);
    p->after = NULL;
}

static bool judge_page(struct poll *p, const PGresult *page)
{
    bool resumed = p->resume_to.cursor != NULL, over = PQntuples(page) < PAGE, below = false;
    if (!position_copy(&p->before, &p->mark))
        return false;
    if (PQntuples(page) > 0 && (!take_rows(p, page, &below) || !advance(p, below)))
        return false;
    begin_fan(p, resumed);
    if (resumed && over) { /* whatever the fan's page has become, it is not needed any more; the pass goes on
                              behind it */
        position_free(&p->resume_to);
        p->news = true;
        return true;
    }
    return !over || end_pass(p);
}

static bool read_page(struct poll *p, struct err *e)
{
    PGresult *page = NULL;
    struct source_horizon now;
    if (!fetch_page(p, &page, &now, e))
        return false;
    if (p->sample.cursor && p->sample_us == 0)
        p->sample_us = now.clock_us; /* read after that pass was over */
    bool ok = true;
    if (is_instant(p) && bound_us(&now, &p->grain) < p->bound.us) /* one that did not show before */
        ok = set_time(&p->bound, bound_us(&now, &p->grain));
    ok = ok && judge_page(p, page);
    p->horizon = now;
    PQclear(page);
    return ok || err_memory(e);
}

/* ---- from rows to the documents that they affect ---- */

static bool ask_source(struct poll *p, struct err *e)
{
    struct pg *pg = pg_take(p->feed.pool, e);
    bool ok = pg && source_affected(p->feed.source, pg, p->table, (const char *const *)p->rows.keys,
                                    p->rows.n, p->after, FAN_PAGE, &p->affected, e);
    pg_give(p->feed.pool, pg);
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
    struct index_scan *scan = index_scan_open(p->feed.es, p->feed.source->pipeline->sink.indices, field,
                                              (const char *const *)p->rows.keys, p->rows.n, e);
    const char *const *keys;
    size_t n = 1;
    bool ok = scan != NULL;
    while (ok && n > 0 && (ok = index_scan_next(scan, &keys, &n, e)))
        for (size_t i = 0; ok && i < n; i++)
            ok = source_list_add(&p->affected, keys[i]) || err_memory(e);
    index_scan_close(scan);
    return ok;
}

/* Fills `affected` with the next part of the fan; may find nothing. */
static bool fill_affected(struct poll *p, struct err *e)
{
    source_list_free(&p->affected);
    p->next = 0;
    if (is_root(p)) {
        p->affected = p->rows;
        p->rows = (struct source_list){0};
        p->fan_over = true;
        return true;
    }
    p->from_index = !p->asked_index;
    bool ok = p->asked_index ? ask_source(p, e) : ask_index(p, e);
    if (ok)
        p->asked_index = true;
    else
        source_list_free(&p->affected);
    return ok;
}

/* The mark that holds when this batch is acknowledged: with the page's last batch, the page's; until then the
 * one before it, and how far the fan has come. */
static bool set_done(struct poll *p, struct batch *b, bool last)
{
    if (!position_copy(&b->done.at, last ? &p->mark : &p->before) || !position_copy(&b->done.owed, &p->owed))
        return false;
    b->done.owed_us = p->owed_us;
    if (last || !p->after || p->from_index) /* the index's keys come in no order */
        return true;
    b->done.fan_hash = p->rows_hash;
    b->done.after = strdup(b->keys[b->n - 1]);
    return b->done.after && position_copy(&b->done.fan, &p->end);
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
        source_list_free(&p->rows);
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
        source_list_free(&p->affected);
        source_list_free(&p->rows);
        p->next = 0;
        if (p->news) /* nothing to fetch, but the mark has moved */
            return make_batch(p, out, e);
        if (p->finished && !owed_is_due(p))
            return true;
        if (p->finished && !begin_pass(p))
            return err_memory(e);
        if (!p->news && !read_page(p, e))
            return false;
    }
}

bool feed_poll_again(struct feed *f)
{
    return begin_pass((struct poll *)f);
}

const struct source_horizon *feed_poll_horizon(const struct feed *f)
{
    return &((const struct poll *)f)->horizon;
}

static void poll_free(struct feed *f)
{
    struct poll *p = (struct poll *)f;
    position_free(&p->mark);
    position_free(&p->bound);
    position_free(&p->limit);
    position_free(&p->scan);
    position_free(&p->seen);
    position_free(&p->sample);
    position_free(&p->before);
    position_free(&p->end);
    position_free(&p->resume_to);
    position_free(&p->owed);
    source_list_free(&p->rows);
    source_list_free(&p->affected);
    keyset_free(p->memory);
    buf_free(&p->version);
    free(p->after);
    free(p);
}

/* ---- beginning ---- */

struct feed *feed_poll(const struct source *source, struct pg_pool *pool, struct es *es, size_t table,
                       const struct mark *mark, const struct feed_place *place, bool to_the_limit,
                       struct err *e)
{
    struct poll *p = calloc(1, sizeof *p);
    if (!p) {
        err_memory(e);
        return NULL;
    }
    p->feed = (struct feed){poll_next, poll_free, source, pool, es};
    p->table = table;
    p->horizon = place->horizon;
    p->grain = place->grain;
    buf_init(&p->version, VERSION_MAX);
    p->finished = to_the_limit && !place->last.cursor; /* no row has a cursor */
    p->memory = keyset_new(MEMORY);
    bool resume = mark->fan.cursor && mark->after;
    p->resume_hash = mark->fan_hash;
    p->owed_us = mark->owed_us;
    bool ok = p->memory && position_copy(&p->mark, &mark->at) && position_copy(&p->owed, &mark->owed) &&
              position_copy(&p->bound, &place->settled) &&
              (!to_the_limit || position_copy(&p->limit, &place->last)) &&
              (!resume || (position_copy(&p->resume_to, &mark->fan) && (p->after = strdup(mark->after)))) &&
              (p->finished || begin_pass(p));
    if (ok)
        return &p->feed;
    poll_free(&p->feed);
    err_memory(e);
    return NULL;
}

/* For a cursor that cannot be compared with the clock: waits a moment for the transactions to end that are
 * open now, and may still bring a row below the last one. */
static bool wait_settled(const struct source *s, struct pg *pg, size_t table, struct feed_place *place,
                         struct err *e)
{
    enum { TRIES = 40, PAUSE_MS = 50 };
    struct position ignored = {0};
    struct source_horizon now;
    int64_t read_us = 0;
    bool ok = true, settled = false;
    for (int i = 0; ok && !settled && i < TRIES; i++) {
        ok = (i == 0 || stop_sleep(PAUSE_MS) || stop_err(e)) && source_last(s, pg, table, &ignored, &now, e);
        if (!ok)
            break;
        read_us = read_us ? read_us : now.clock_us;
        settled = now.horizon_us >= read_us;
    }
    position_free(&ignored);
    if (ok && settled) {
        ok = position_copy(&place->settled, &place->last) || err_memory(e);
        settle_coarse(&place->grain, &place->settled);
    }
    return ok;
}

bool feed_place_read(const struct source *s, struct pg_pool *pool, size_t table, struct feed_place *place,
                     struct err *e)
{
    struct pg *pg = pg_take(pool, e);
    feed_place_free(place);
    bool ok = pg && source_grain(s, pg, table, &place->grain, e) &&
              source_last(s, pg, table, &place->last, &place->horizon, e);
    int64_t settled_us = ok ? bound_us(&place->horizon, &place->grain) - GRACE_US : 0;
    if (ok && !s->tables[table].cursor_is_instant)
        ok = !place->last.cursor || wait_settled(s, pg, table, place, e);
    else if (ok && place->last.cursor && place->last.us < settled_us)
        ok = position_copy(&place->settled, &place->last) || err_memory(e);
    else if (ok)
        ok = set_time(&place->settled, settled_us) || err_memory(e);
    pg_give(pool, pg);
    return ok;
}

void feed_place_free(struct feed_place *p)
{
    position_free(&p->last);
    position_free(&p->settled);
    *p = (struct feed_place){0};
}
