#include "flow/worker_parts.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/stop.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/worker.h"
#include "flow/worker_compare.h"
#include "flow/worker_rows.h"
#include "script/pipeline.h"
#include "source/source.h"

#include <stdlib.h>
#include <string.h>

enum {
    UNKNOWN_SIZE = 1 << 20, /* keys of a range that was not counted */
    PAUSE_MS = 100,         /* before smaller queries: a replay conflict passes by itself */
};

/* What is known about the batch, or the part of it, that is loaded. */
struct reading {
    bool single; /* it cannot be split: the query fails on its one row */
    bool probed; /* the query succeeds without keys: a row is at fault */
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

/* part: its keys and bounds are borrowed from the caller. */
static bool load_part(struct worker *w, struct batch *part, bool *seen, struct reading how,
                      struct err *e)
{
    struct batch *whole = w->batch;
    bool *all_seen = w->seen;
    if (queue_ended(w->flow->queue))
        return true; /* the error, if any, is the queue's */
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

/* A part of b, like b but without keys. */
static struct batch part_of(const struct batch *b)
{
    return (struct batch){.lane = b->lane,
                          .seq = b->seq,
                          .is_range = b->is_range,
                          .skip_unchanged = b->skip_unchanged,
                          .just_loaded = b->just_loaded,
                          .no_rows = b->no_rows,
                          .any_routing = b->any_routing,
                          .errand = b->errand};
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

/* Loads the range in two parts: up to `to`, and above it. */
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

/* *to: the key that ends the lower half, which has *keys keys; owned by the caller. If the range
 * has fewer keys than was assumed, halves again until the half is smaller than the range. *to NULL:
 * the table has no key above b->from. */
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

/* ---- whose fault an error is ---- */

/* False: the query fails without any key, too: no row is at fault. *e is that error. */
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

/* The key of a batch that cannot be split; NULL: the row's key is not in the table. */
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
        err_wrap(&full, "the query fails on a row after key '%.100s' whose key is not in the table",
                 b->from);
    else
        err_wrap(&full, "the query fails on a row whose key is not in the table");
    memcpy(reason, full.text, sizeof reason);
    if (!worker_reject(w, key ? key : "", reason, e))
        return false;
    return w->config->output != WORKER_COMPARE || worker_end_compare(w, true, e);
}

/* A standby may cancel several queries in a row, whatever their size, because of what it replays: a
 * pause lets that pass. */
static bool make_smaller(struct worker *w, struct err *e)
{
    long long keys = size_of(w->batch);
    bool warn = chunk_size_too_large(w->config->chunk, keys);
    if (warn)
        alike_warn(NULL, LOG_FIELDS(log_int("keys", keys), LOG_ERR(e)),
                   "%s; continuing with fewer than %lld keys at a time", e->text, keys);
    else
        log_debug_with(LOG_FIELDS(log_int("keys", keys), log_kind(e)),
                       "%s; continuing with fewer than %lld keys at a time", e->text, keys);
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
        if (e->fault == ERR_FAULT_SIZE && size_of(w->batch) == 1 && key_of(w->batch))
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
    w->pool.takes_long = b->is_range;
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
