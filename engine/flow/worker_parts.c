#include "flow/worker_parts.h"

#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/stop.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/worker.h"
#include "flow/worker_rows.h"
#include "script/pipeline.h"
#include "source/source.h"

#include <stdlib.h>
#include <string.h>

enum {
    UNKNOWN_SIZE = 1 << 20, /* keys of a range that nobody has counted */
    PAUSE_MS = 100,
};

/* One key is left of it: its row is the one. */
struct reading {
    bool single;
    bool probed; /* it is known to be a row's fault */
};

static bool load(struct worker *w, struct reading how, struct err *e);

static int64_t size_of(const struct batch *b)
{
    return !b->is_range ? (int64_t)b->n : b->chunk > 0 ? b->chunk : UNKNOWN_SIZE;
}

static bool can_split(const struct worker *w, struct reading how)
{
    return !how.single && (w->batch->is_range || w->batch->n > 1);
}

/* ---- parts ---- */

/* part: its keys and bounds are borrowed from whoever made it. */
static bool load_part(struct worker *w, struct batch *part, bool *seen, struct reading how,
                      struct err *e)
{
    struct batch *whole = w->batch;
    bool *all_seen = w->seen;
    if (queue_ended(w->flow->queue))
        return true; /* whoever ended it knows why */
    w->batch = part;
    w->seen = seen;
    bool ok = load(w, how, e);
    w->batch = whole;
    w->seen = all_seen;
    if (ok && !rejections_move(&whole->rejections, &part->rejections))
        ok = err_memory(e);
    rejections_free(&part->rejections);
    return ok;
}

/* A part as its batch is, but for the keys. */
static struct batch part_of(const struct batch *b)
{
    return (struct batch){.lane = b->lane,
                          .seq = b->seq,
                          .is_range = b->is_range,
                          .skip_unchanged = b->skip_unchanged,
                          .again = b->again,
                          .no_rows = b->no_rows};
}

static bool load_halves(struct worker *w, struct reading how, struct err *e)
{
    const struct batch *b = w->batch;
    size_t half = b->n / 2;
    struct batch first = part_of(b), second = part_of(b);
    first.keys = b->keys;
    first.n = half;
    second.keys = b->keys + half;
    second.n = b->n - half;
    bool *seen = w->seen;
    return load_part(w, &first, seen, how, e) &&
           load_part(w, &second, seen ? seen + half : NULL, how, e);
}

static bool find_bound(struct worker *w, const char *from, int64_t keys, char **to, struct err *e)
{
    struct retry retry;
    bool ok;
    worker_start_retry(w, &retry);
    do {
        struct pg *pg = pg_acquire(&w->pool, e);
        struct source_reader root = source_reader(w->config->source, 0, pg);
        ok = pg && source_chunk_end(&root, from, keys, to, e);
        pg_release(&w->pool, pg);
    } while (!ok && retry_again(&retry, e));
    if (ok)
        retry_done(&retry);
    return ok;
}

/* Keys up to `to`, and those above it, up to the range's end. */
static bool load_ranges(struct worker *w, char *to, int64_t keys, struct reading how, struct err *e)
{
    const struct batch *b = w->batch;
    struct batch first = part_of(b), second = part_of(b);
    first.from = b->from;
    first.to = second.from = to;
    second.to = b->to;
    first.chunk = keys;
    second.chunk = size_of(b) > keys ? size_of(b) - keys : 1;
    struct reading lower = how;
    lower.single = keys == 1;
    return load_part(w, &first, NULL, lower, e) && load_part(w, &second, NULL, how, e);
}

/* The key that ends the lower half; where fewer are left than were counted, of what is left. *to:
 * NULL: no key is left at all. */
static bool find_middle(struct worker *w, int64_t *keys, char **to, struct err *e)
{
    const struct batch *b = w->batch;
    for (*keys = size_of(b) > 1 ? (size_of(b) + 1) / 2 : 1;; *keys = (*keys + 1) / 2) {
        *to = NULL;
        if (!find_bound(w, b->from, *keys, to, e))
            return false;
        if ((*to && !(b->to && strcmp(*to, b->to) == 0)) || *keys == 1)
            return true;
        free(*to);
    }
}

static bool split(struct worker *w, struct reading how, struct err *e)
{
    int64_t keys;
    char *to;
    if (!w->batch->is_range)
        return load_halves(w, how, e);
    if (!find_middle(w, &keys, &to, e))
        return false;
    bool is_last = to && w->batch->to && strcmp(to, w->batch->to) == 0;
    if (!to || is_last) {
        free(to);
        how.single = true;
        return load(w, how, e);
    }
    bool ok = load_ranges(w, to, keys, how, e);
    free(to);
    return ok;
}

/* ---- why ---- */

/* False: no key is needed for it to fail. */
static bool probe(struct worker *w, struct err *e)
{
    struct err found;
    struct pg *pg = pg_acquire(&w->pool, &found);
    struct source_reader root = source_reader(w->config->source, 0, pg);
    bool ok = pg && source_probe(&root, &found);
    pg_release(&w->pool, pg);
    if (!ok)
        *e = found;
    return ok;
}

/* Of a batch of one row; NULL: its key is none of the table's. */
static const char *key_of(const struct batch *b)
{
    return !b->is_range ? b->keys[0] : b->to;
}

static bool reject_row(struct worker *w, struct err *e)
{
    const struct batch *b = w->batch;
    const char *key = key_of(b);
    char reason[sizeof e->text];
    struct err full = *e;
    if (key)
        err_wrap(&full, "the query fails on its row");
    else if (b->from)
        err_wrap(&full, "the query fails on a row behind key '%.100s' that the table does not have",
                 b->from);
    else
        err_wrap(&full, "the query fails on a row that the table does not have");
    memcpy(reason, full.text, sizeof reason);
    return worker_reject(w, key ? key : "", reason, e);
}

/* What a standby replays may break off several queries one after the other, of whatever size: that
 * is let pass. */
static bool make_smaller(struct worker *w, struct err *e)
{
    long long keys = size_of(w->batch);
    bool tell = chunk_size_too_large(w->config->chunk, keys);
    if (tell)
        log_warn("%s; going on with fewer than %lld keys at a time%s%s%s", e->text, keys,
                 e->hint[0] ? " (hint: " : "", e->hint, e->hint[0] ? ")" : "");
    else
        log_debug("%s; going on with fewer than %lld keys at a time", e->text, keys);
    return stop_sleep(PAUSE_MS) || stop_err(e);
}

static bool load(struct worker *w, struct reading how, struct err *e)
{
    struct retry retry;
    if (can_split(w, how) && !chunk_size_fits(w->config->chunk, size_of(w->batch)))
        return split(w, how, e);
    worker_start_retry(w, &retry);
    while (!worker_try(w, e)) {
        if (w->attempt.gave_up)
            return false;
        if (e->kind == ERR_PASSING && e->fault == ERR_FAULT_SIZE && can_split(w, how)) {
            return make_smaller(w, e) && split(w, how, e);
        }
        if (e->kind == ERR_FINAL && e->fault == ERR_FAULT_ROW && (how.probed || probe(w, e))) {
            how.probed = true;
            return can_split(w, how) ? split(w, how, e) : reject_row(w, e);
        }
        if (e->fault == ERR_FAULT_SIZE && size_of(w->batch) == 1 &&
            key_of(w->batch)) /* it will not get smaller */
            err_wrap(e, "the row of key '%.100s' alone", key_of(w->batch));
        if (!retry_again(&retry, e))
            return false;
    }
    retry_done(&retry);
    return true;
}

bool worker_load(struct worker *w, struct err *e)
{
    struct batch *b = w->batch;
    if (!b->is_range && b->n == 0) /* its checkpoint is all that it brings */
        return true;
    if (!b->is_range) {
        batch_sort_keys(b);
        w->seen = calloc(b->n, sizeof *w->seen);
        if (!w->seen)
            return err_memory(e);
    }
    bool ok = load(w, (struct reading){0}, e);
    free(w->seen);
    w->seen = NULL;
    return ok;
}
