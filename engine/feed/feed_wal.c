#include "feed/feed_wal.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/grow.h"
#include "base/stop.h"
#include "feed/fanout.h"
#include "feed/fanout_table.h"
#include "feed/wal_keys.h"
#include "model/batch.h"
#include "store/journal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 1000,              /* keys */
    HELD_BYTES = 4 << 20,      /* of keys that are read and not handed over */
    HELD_RECORDS = 4096,       /* likewise; as many transactions are asked about at a time */
    GROUP_ROWS = 1000,         /* changed rows of one fan-out */
    PENDING_ROWS = 100 * 1000, /* changed rows whose fan-out waits */
    /* a commit is visible within microseconds, but for one that waits for a standby */
    PATIENCE_MS = 2,
    PATIENCE_TRIES = 5,
    LOOK_US = 200 * 1000, /* between two questions about those that were not visible */
    /* between two checkpoints of a lane that has no keys to deliver, once it may pass changes of
     * the other one, or only parts of the log that concern nobody */
    PASS_CHANGES_US = 1000 * 1000,
    PASS_NOTHING_US = 30 * 1000 * 1000,
};

/* A record of the journal, until it is handed over. */
struct held {
    uint64_t xid;
    int64_t commit_us;
    int64_t committed_us; /* the same, by clock_mono_us */
    uint32_t kind;
    size_t table;
    char *keys;          /* owned */
    size_t n, bytes, at; /* keys; their bytes; where the next one begins */
    struct journal_position end;
    bool visible, done;
};

/* Changed rows of one table, whose documents are asked for together. */
struct group {
    size_t table;
    struct keylist rows;
    struct change_times changed;    /* of the rows */
    struct journal_position before; /* all before it is handed over */
    int64_t before_us;              /* the commit time of the last of that */
};

struct wal_lane {
    struct feed feed;
    struct feed_wal *wal;
};

struct feed_wal {
    struct feed_origin origin;
    struct feed_wal_config config;
    struct wal_lane lanes[FEED_WAL_LANES];

    struct held *held; /* owned: in the journal's order */
    size_t n_held, held_cap, held_bytes;
    struct journal_position read;     /* the last record read ends there */
    struct journal_position consumed; /* all up to there is handed over */
    int64_t consumed_us;              /* the commit time of the last of these */
    int64_t looked_us;                /* clock_mono_us: when visibility was asked last */
    bool empty;                       /* it read the last record that it may */
    bool limited;
    struct journal_position limit;

    struct group *groups; /* owned; the first one's fan-out is under way */
    size_t n_groups, groups_cap, pending_rows;
    struct fanout_table table;
    struct fanout fanout;
    bool fanning;                    /* fanout is of groups[0] */
    struct journal_position changed; /* all changes handed over are before it */
    /* the last checkpoint of each lane, and when it was made (clock_mono_us) */
    struct journal_position passed[FEED_WAL_LANES];
    int64_t passed_us[FEED_WAL_LANES];
    int64_t told_us; /* the commit time in the last checkpoint */
};

/* ---- records ---- */

static void drop_held(struct feed_wal *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        w->held_bytes -= w->held[i].bytes;
        free(w->held[i].keys);
    }
    w->n_held -= n;
    if (n > 0)
        memmove(w->held, w->held + n, w->n_held * sizeof *w->held);
}

/* The table with that label; n_tables: the script does not name it any more. */
static size_t find_table(const struct feed_wal *w, const char *label)
{
    size_t i = 0;
    while (i < w->origin.source->n_tables && strcmp(w->config.labels[i], label) != 0)
        i++;
    return i;
}

/* A server's clock that is ahead of ours does not make a change younger than it is here. */
static int64_t mono_time(int64_t wall_us)
{
    int64_t age = clock_wall_us() - wall_us;
    return clock_mono_us() - (age > 0 ? age : 0);
}

static bool hold(struct feed_wal *w, const struct journal_record *r, struct err *e)
{
    struct held *list = grow(w->held, w->n_held, &w->held_cap, 64, sizeof *list);
    if (!list)
        return err_memory(e);
    w->held = list;
    struct held *h = &list[w->n_held];
    *h = (struct held){.xid = r->xid,
                       .commit_us = r->commit_us,
                       .committed_us = mono_time(r->commit_us),
                       .kind = r->kind,
                       .table = r->kind == WAL_ROOT ? 0 : find_table(w, r->label),
                       .keys = r->keys_len ? malloc(r->keys_len) : NULL,
                       .n = r->n,
                       .bytes = r->keys_len,
                       .end = r->end,
                       .visible = r->kind == WAL_POSITION || r->kind == WAL_GAP};
    if (r->keys_len && !h->keys)
        return err_memory(e);
    if (r->keys_len)
        memcpy(h->keys, r->keys, r->keys_len);
    w->n_held++;
    w->held_bytes += h->bytes;
    w->read = r->end;
    return true;
}

static bool read_journal(struct feed_wal *w, struct err *e)
{
    bool found = true;
    w->empty = false;
    while (w->n_held < HELD_RECORDS && w->held_bytes < HELD_BYTES) {
        struct journal_record r;
        bool may = !w->limited || journal_is_before(w->read, w->limit);
        if (may && !journal_next(w->config.journal, &r, &found, e))
            return false;
        if (!may || !found) {
            w->empty = true;
            return true;
        }
        if (!hold(w, &r, e))
            return false;
    }
    return true;
}

/* ---- visibility ---- */

/* The transactions of held records that were not visible yet, each once where they follow each
 * other. */
static size_t list_xids(const struct feed_wal *w, uint64_t *xids)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_held; i++)
        if (!w->held[i].visible && (n == 0 || xids[n - 1] != w->held[i].xid))
            xids[n++] = w->held[i].xid;
    return n;
}

static void set_visible(struct feed_wal *w, const uint64_t *xids, const bool *visible, size_t n)
{
    size_t x = 0;
    for (size_t i = 0; i < w->n_held && x < n; i++) {
        struct held *h = &w->held[i];
        if (h->visible)
            continue;
        if (h->xid != xids[x])
            x++;
        assert(x < n && h->xid == xids[x]);
        h->visible = visible[x];
    }
}

static bool ask_visible(struct feed_wal *w, bool *all, struct err *e)
{
    uint64_t xids[HELD_RECORDS];
    bool visible[HELD_RECORDS];
    size_t n = list_xids(w, xids);
    *all = true;
    if (n == 0)
        return true;
    if (!w->config.visible(w->config.arg, xids, n, visible, e))
        return false;
    set_visible(w, xids, visible, n);
    for (size_t i = 0; i < n; i++)
        *all &= visible[i];
    return true;
}

static bool has_new(const struct feed_wal *w, size_t before)
{
    return w->n_held > before;
}

/* Reads what there is, and asks whose transactions are visible: soon again for new ones, now and
 * then for those that wait longer. */
static bool look(struct feed_wal *w, struct err *e)
{
    size_t before = w->n_held;
    bool all = true;
    if (!read_journal(w, e))
        return false;
    int64_t now = clock_mono_us();
    if (!has_new(w, before) && now - w->looked_us < LOOK_US && !w->config.impatient)
        return true;
    w->looked_us = now;
    for (int i = 0; i < PATIENCE_TRIES; i++) {
        if (!ask_visible(w, &all, e))
            return false;
        if (all || !has_new(w, before) || w->config.impatient)
            return true;
        if (!stop_sleep(PATIENCE_MS))
            return stop_err(e);
    }
    return true;
}

/* ---- handing over ---- */

static struct batch *new_batch(void)
{
    struct batch *b = batch_new();
    if (b)
        b->from_log = true;
    return b;
}

static struct group *group_for(struct feed_wal *w, size_t table)
{
    struct group *last = w->n_groups ? &w->groups[w->n_groups - 1] : NULL;
    bool open = last && last->table == table && last->rows.n < GROUP_ROWS &&
                !(w->fanning && w->n_groups == 1);
    if (open)
        return last;
    last = grow(w->groups, w->n_groups, &w->groups_cap, 8, sizeof *last);
    if (!last)
        return NULL;
    w->groups = last;
    last = &w->groups[w->n_groups++];
    *last = (struct group){.table = table, .before = w->consumed, .before_us = w->consumed_us};
    return last;
}

/* False: no memory. */
static bool give_rows(struct feed_wal *w, struct held *h)
{
    for (; h->at < h->bytes; h->at += strlen(h->keys + h->at) + 1) {
        struct group *g = group_for(w, h->table);
        if (!g || !keylist_add(&g->rows, h->keys + h->at))
            return false;
        change_times_add(&g->changed, h->committed_us);
        w->pending_rows++;
    }
    return true;
}

static bool give_keys(struct held *h, struct batch *b)
{
    if (h->at < h->bytes)
        change_times_add(&b->changed, h->committed_us);
    for (; h->at < h->bytes && b->n < BATCH; h->at += strlen(h->keys + h->at) + 1)
        if (!batch_add_key(b, h->keys + h->at))
            return false;
    return true;
}

/* False: no memory. */
static bool give(struct feed_wal *w, struct held *h, struct batch *b)
{
    bool ok = true;
    switch (h->kind) {
    case WAL_ROOT:
        ok = give_keys(h, b);
        break;
    case WAL_RELATED:
        if (h->table < w->origin.source->n_tables)
            ok = give_rows(w, h);
        else
            h->at = h->bytes;
        if (h->table >= w->origin.source->n_tables)
            w->config.want_sweep(w->config.arg, h->table);
        break;
    case WAL_SWEEP:
        w->config.want_sweep(w->config.arg, h->table);
        break;
    case WAL_GAP:
        w->config.want_sweep(w->config.arg, FEED_WAL_GAP);
        break;
    default: /* WAL_POSITION */
        break;
    }
    h->done = ok && h->at == h->bytes;
    return ok;
}

/* Moves on past the records at the front that are done. */
static void consume(struct feed_wal *w)
{
    size_t n = 0;
    for (; n < w->n_held && w->held[n].done; n++) {
        w->consumed = w->held[n].end;
        if (w->held[n].kind != WAL_POSITION)
            w->changed = w->consumed;
        if (w->held[n].commit_us)
            w->consumed_us = w->held[n].commit_us;
    }
    drop_held(w, n);
}

/* ---- checkpoints ---- */

/* Where the lane's checkpoint may be. */
static struct journal_position place_of(const struct feed_wal *w, enum feed_wal_lane lane)
{
    return lane == FEED_WAL_FANOUT && w->n_groups ? w->groups[0].before : w->consumed;
}

/* The commit time up to which both lanes have handed over everything; 0: not known. */
static int64_t time_of(const struct feed_wal *w)
{
    return w->n_groups ? w->groups[0].before_us : w->consumed_us;
}

static bool set_done(struct feed_wal *w, enum feed_wal_lane lane, struct batch *b)
{
    b->done.journal = w->passed[lane] = place_of(w, lane);
    w->passed_us[lane] = clock_mono_us();
    if (lane == FEED_WAL_FANOUT)
        return true;
    w->told_us = time_of(w);
    return w->told_us == 0 || position_set_time(&b->done.at, w->told_us);
}

/* Whether the lane's checkpoint says less than it may. */
static bool is_behind(const struct feed_wal *w, enum feed_wal_lane lane)
{
    return journal_is_before(w->passed[lane], place_of(w, lane)) ||
           (lane == FEED_WAL_DIRECT && w->told_us != time_of(w));
}

/* Whether a checkpoint without keys is worth its while. */
static bool should_pass(const struct feed_wal *w, enum feed_wal_lane lane)
{
    bool changes = journal_is_before(w->passed[lane], w->changed) || w->told_us != time_of(w);
    bool at_once = w->limited || w->lanes[lane].feed.eager;
    int64_t wait_us = at_once ? 0 : changes ? PASS_CHANGES_US : PASS_NOTHING_US;
    return is_behind(w, lane) && clock_mono_us() - w->passed_us[lane] >= wait_us;
}

/* ---- the direct lane ---- */

static bool direct_next(struct feed *f, struct batch **out, struct err *e)
{
    struct feed_wal *w = ((struct wal_lane *)f)->wal;
    *out = NULL;
    if (!look(w, e))
        return false;
    struct batch *b = new_batch();
    bool ok = b != NULL;
    for (size_t i = 0; ok && i < w->n_held && b->n < BATCH && w->pending_rows < PENDING_ROWS; i++)
        if (w->held[i].visible && !w->held[i].done)
            ok = give(w, &w->held[i], b);
    consume(w);
    bool some = ok && (b->n > 0 || should_pass(w, FEED_WAL_DIRECT));
    if (!some || !set_done(w, FEED_WAL_DIRECT, b)) {
        batch_free(b);
        return !some && ok ? true : err_memory(e);
    }
    batch_sort_keys(b);
    *out = b;
    return true;
}

/* ---- the fan-out lane ---- */

static bool begin_group(struct feed_wal *w)
{
    struct group *g = &w->groups[0];
    fanout_table_init(&w->table, &w->origin, g->table);
    fanout_init(&w->fanout, &w->table.queries);
    fanout_clear(&w->fanout);
    w->fanning = true;
    for (size_t i = 0; i < g->rows.n; i++)
        if (!fanout_add(&w->fanout, g->rows.keys[i], ""))
            return false;
    fanout_begin(&w->fanout, false);
    return true;
}

static void end_group(struct feed_wal *w)
{
    fanout_free(&w->fanout);
    w->fanning = false;
    w->pending_rows -= w->groups[0].rows.n;
    keylist_free(&w->groups[0].rows);
    w->n_groups--;
    memmove(w->groups, w->groups + 1, w->n_groups * sizeof *w->groups);
}

/* The checkpoint alone: without it the state would stay where the last fan-out ended. */
static bool pass(struct feed_wal *w, struct batch **out, struct err *e)
{
    if (!should_pass(w, FEED_WAL_FANOUT))
        return true;
    *out = new_batch();
    return (*out && set_done(w, FEED_WAL_FANOUT, *out)) || err_memory(e);
}

static bool fanout_next(struct feed *f, struct batch **out, struct err *e)
{
    struct feed_wal *w = ((struct wal_lane *)f)->wal;
    *out = NULL;
    if (w->n_groups == 0)
        return pass(w, out, e);
    if (!w->fanning && !begin_group(w))
        return err_memory(e);
    while (!fanout_is_over(&w->fanout) && !fanout_has_keys(&w->fanout)) /* a part may be empty */
        if (!fanout_fill(&w->fanout, e))
            return false;
    struct batch *b = new_batch();
    if (!b || !fanout_copy(&w->fanout, b)) {
        batch_free(b);
        return err_memory(e);
    }
    fanout_advance(&w->fanout, b->n);
    b->changed = w->groups[0].changed;
    if (fanout_is_over(&w->fanout))
        end_group(w);
    *out = b;
    return set_done(w, FEED_WAL_FANOUT, b);
}

/* ---- both ---- */

static void keep(struct feed *f)
{
    (void)f; /* feed_wal_free frees it */
}

struct feed_wal *feed_wal_new(const struct feed_origin *origin,
                              const struct feed_wal_config *config, struct err *e)
{
    struct feed_wal *w = calloc(1, sizeof *w);
    if (!w) {
        err_memory(e);
        return NULL;
    }
    w->origin = *origin;
    w->config = *config;
    w->lanes[FEED_WAL_DIRECT] =
        (struct wal_lane){{.origin = *origin, .next = direct_next, .free = keep}, w};
    w->lanes[FEED_WAL_FANOUT] =
        (struct wal_lane){{.origin = *origin, .next = fanout_next, .free = keep}, w};
    w->read = w->consumed = w->changed = journal_at(config->journal);
    for (int lane = 0; lane < FEED_WAL_LANES; lane++)
        w->passed[lane] = w->consumed;
    w->consumed_us = w->told_us = config->since_us;
    return w;
}

void feed_wal_free(struct feed_wal *w)
{
    if (!w)
        return;
    drop_held(w, w->n_held);
    while (w->n_groups)
        end_group(w);
    free(w->held);
    free(w->groups);
    free(w);
}

struct feed *feed_wal_feed(struct feed_wal *w, enum feed_wal_lane lane)
{
    return &w->lanes[lane].feed;
}

void feed_wal_since(struct feed_wal *w, int64_t us)
{
    w->consumed_us = w->told_us = us;
}

void feed_wal_limit(struct feed_wal *w, const struct journal_position *to)
{
    w->limited = to != NULL;
    if (to)
        w->limit = *to;
}

/* Drops the visible records at the front. */
static void drop_visible(struct feed_wal *w)
{
    size_t n = 0;
    while (n < w->n_held && w->held[n].visible)
        w->held[n++].done = true;
    consume(w);
}

bool feed_wal_skip(struct feed_wal *w, struct journal_position *to, struct err *e)
{
    bool all = true;
    while (w->n_groups)
        end_group(w);
    do {
        if (!read_journal(w, e) || !ask_visible(w, &all, e))
            return false;
        drop_visible(w);
    } while (all && !w->empty);
    *to = w->consumed;
    return true;
}

size_t feed_wal_held(const struct feed_wal *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_held; i++)
        n += !w->held[i].visible;
    return n;
}

int64_t feed_wal_oldest(const struct feed_wal *w)
{
    struct change_times times = {0};
    if (w->n_groups)
        change_times_add(&times, w->groups[0].changed.oldest_us);
    for (size_t i = 0; i < w->n_held; i++)
        if (!w->held[i].done && w->held[i].n > 0) {
            change_times_add(&times, w->held[i].committed_us);
            break; /* those after it are younger, or almost */
        }
    return times.oldest_us;
}

bool feed_wal_is_done(const struct feed_wal *w)
{
    bool fans_out = w->origin.source->n_tables > 1;
    bool done = w->empty && w->n_groups == 0 && !is_behind(w, FEED_WAL_DIRECT) &&
                !(fans_out && is_behind(w, FEED_WAL_FANOUT));
    for (size_t i = 0; done && i < w->n_held; i++)
        done = !w->held[i].visible || w->held[i].done;
    return done;
}
