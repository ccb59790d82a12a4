#include "flow/worker_rows.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "es/es.h"
#include "flow/dead_keys.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/throttle.h"
#include "flow/versions.h"
#include "flow/worker.h"
#include "flow/worker_compare.h"
#include "flow/worker_document.h"
#include "flow/worker_print.h"
#include "flow/worker_send.h"
#include "pg/pg.h"
#include "script/pipeline.h"
#include "source/source.h"

#include <stdlib.h>
#include <string.h>

/* Documents that are compared together: while the index is asked, PostgreSQL has to wait. */
enum { COMPARED = 1000 };

enum {
    FIRST_PART = 4, /* a try's first request has this part of the full size */
    AHEAD_PART = 4, /* rows that are read ahead: as much memory, beside what the socket holds */
};

/* ---- sending, comparing and printing ---- */

/* document() may end without a return for some rows, as if it had returned nil. But if it has no
 * return statement at all, the user forgot it; and if it ends in `return make(row)`, and make() has
 * returned nothing for any row of a load so far, the user forgot the one in make(). Nothing is
 * deleted then. */
static bool check_returns(struct worker *w, struct err *e)
{
    bool forgotten =
        w->attempt.nothing > 0 && (script_never_returns(w->script) ||
                                   (w->batch->is_range && script_always_returns(w->script) &&
                                    !atomic_load(&w->shared->gave_documents)));
    return !forgotten || script_returned_nothing(w->script, e);
}

static bool flush(struct worker *w, struct err *e)
{
    if (!check_returns(w, e))
        return false;
    switch (w->config->output) {
    case WORKER_INDEX:
        w->attempt.sent = true;
        return worker_send(w, e);
    case WORKER_COMPARE:
        return worker_compare(w, e);
    case WORKER_DOCUMENTS:
    case WORKER_BULK:
        break;
    }
    return worker_print(w, e);
}

/* The first request is a small one, so that the search server has something to do soon: from then
 * on, PostgreSQL goes on while it works (see read_ahead). */
static bool request_is_full(struct worker *w)
{
    size_t bytes = bulk_bytes(w->bulk) + w->gone.keys.len;
    size_t scale = w->attempt.sent ? 1 : FIRST_PART;
    return throttle_is_full(w->throttle, bytes * scale, bulk_count(w->bulk));
}

static bool flush_if_full(struct worker *w, struct err *e)
{
    bool full = w->config->output == WORKER_INDEX
                    ? request_is_full(w)
                    : bulk_bytes(w->bulk) >= WORKER_AHEAD || w->output.len >= WORKER_AHEAD ||
                          (w->config->output == WORKER_COMPARE && w->made % COMPARED == 0);
    return !full || flush(w, e);
}

static bool limit_reached(const struct worker *w)
{
    return w->config->limit > 0 && w->made + w->failed >= w->config->limit;
}

/* ---- keys ---- */

/* Remembers that there is a row with the key. True: another row had it, too. */
static bool mark_seen(struct worker *w, const char *key)
{
    struct batch *b = w->batch;
    if (!w->seen)
        return repeats_add(&w->repeats, key, w->key.len);
    size_t i;
    if (!batch_find_key(b, key, &i))
        return false;
    bool before = w->seen[i];
    w->seen[i] = true;
    return before;
}

/* The query has several rows for one key. In a list of keys the first row is used, so that a sweep
 * does not alternate between two documents. In a chunk a repeated key may be missed: there the last
 * row is used. */
static bool keep_repeated(struct worker *w, const char *key, struct err *e)
{
    w->attempt.repeated++;
    if (!w->attempt.repeated_key && !(w->attempt.repeated_key = strdup(key)))
        return err_memory(e);
    return true;
}

/* A document that was sent twice counts once. */
static void count_repeated(struct worker *w)
{
    uint64_t twice = w->seen || w->config->output != WORKER_INDEX ? 0 : w->attempt.repeated;
    if (twice > w->attempt.counts.indexed) /* some of them were rejected */
        twice = w->attempt.counts.indexed;
    if (w->attempt.repeated == 0)
        return;
    worker_count(w, &(struct counts){.repeated = w->attempt.repeated, .indexed = -twice});
    tally_set_repeated(w->flow->tally, w->attempt.repeated_key);
}

/* Reports that a dead letter has succeeded or its row is gone. If the server rejects the document
 * all the same, that is reported later, and counts. */
static bool clear_dead(struct worker *w, const char *key, struct err *e)
{
    return w->config->output != WORKER_INDEX || !dead_keys_has(w->flow->dead, key) ||
           batch_reject(w->batch, key, 0, NULL) || err_memory(e);
}

/* ---- one try ---- */

static bool columns_changed(struct err *e)
{
    err_set(e, ERR_FINAL, "the columns of the query have changed since the start: run again");
    e->fault = ERR_FAULT_SCHEMA;
    return false;
}

static bool load_row(struct worker *w, const PGresult *row, struct err *e)
{
    const struct source *s = w->config->source;
    if (!w->attempt.columns_checked && !pg_columns_fit(&s->columns, row))
        return columns_changed(e);
    w->attempt.columns_checked = true; /* all rows of one result have the same columns */
    const char *key = source_key(s, row, &w->key);
    if (!key)
        return w->key.failed ? err_memory(e) : worker_reject(w, "", "its key is NULL", e);
    bool repeated = mark_seen(w, key);
    if (repeated && !keep_repeated(w, key, e))
        return false;
    if (repeated && w->seen)
        return true;
    if (worker_add_document(w, row, key, e))
        return clear_dead(w, key, e) && flush_if_full(w, e);
    bool of_document = e->kind == ERR_FINAL && e->fault != ERR_FAULT_ACCESS;
    return of_document && worker_reject(w, key, e->text, e) && flush_if_full(w, e);
}

static bool load_rows(struct worker *w, struct pg *pg, struct err *e)
{
    const PGresult *row;
    while (!queue_ended(w->flow->queue) && !limit_reached(w)) {
        if (stop_asked())
            return stop_err(e);
        if (!pg_next(pg, &row, e))
            return e->fault == ERR_FAULT_ROW || e->kind == ERR_STOPPED
                       ? false
                       : err_wrap(e, "could not read '%s'", w->config->pipeline->source.table);
        if (w->attempt.took.rows == 0)
            w->attempt.took.first_us = clock_mono_us() - w->attempt.read_at_us;
        if (!row)
            return true;
        w->attempt.took.rows++;
        watchdog_sign(); /* document() may take its time for each row */
        if (!load_row(w, row, e))
            return false;
    }
    return true;
}

/* Of the keys that the query has no row for, those whose row in the table is gone were deleted, as
 * the log says, or will say: their deletes need no guard. Row security could hide a row. */
static bool count_announced(struct worker *w, struct pg *pg, struct err *e)
{
    const struct source *s = w->config->source;
    const struct batch *b = w->batch;
    size_t n = 0;
    if (!b->from_log || w->config->output != WORKER_INDEX || s->tables[0].row_security)
        return true;
    const char **keys = calloc(b->n + 1, sizeof *keys);
    if (!keys)
        return err_memory(e);
    for (size_t i = 0; i < b->n; i++)
        if (!w->seen[i])
            keys[n++] = b->keys[i];
    struct source_rowless gone = {0};
    struct source_reader root = source_reader(s, 0, pg);
    bool ok = n == 0 || source_find_rowless(&root, keys, n, &gone, e);
    w->attempt.announced = (int64_t)gone.missing.n;
    source_rowless_free(&gone);
    free(keys);
    return ok;
}

/* Deletes the documents of keys that have no row. */
static bool delete_unseen(struct worker *w, struct pg *pg, struct err *e)
{
    if (w->seen && !count_announced(w, pg, e))
        return false;
    for (size_t i = 0; w->seen && i < w->batch->n; i++)
        if (!w->seen[i] && !(worker_add_delete(w, w->batch->keys[i], e) &&
                             clear_dead(w, w->batch->keys[i], e) && flush_if_full(w, e)))
            return false;
    return true;
}

static void report_chunk(struct worker *w)
{
    w->attempt.took.keys = w->batch->chunk;
    w->attempt.took.all_us = clock_mono_us() - w->attempt.read_at_us;
    if (w->batch->chunk > 0)
        chunk_size_report(w->config->chunk, &w->attempt.took);
}

static bool read_batch(struct worker *w, struct pg *pg, struct err *e)
{
    struct queue *q = w->flow->queue;
    int64_t reserved = versions_reserve(w->flow->versions), clock;
    w->attempt.read_at_us = clock_mono_us();
    struct source_reader root = source_reader(w->config->source, 0, pg);
    bool prints = w->config->output == WORKER_DOCUMENTS || w->config->output == WORKER_BULK;
    if (!source_fetch(&root, w->batch, prints, &clock, e))
        return false;
    w->attempt.version = versions_issue(w->flow->versions, clock, reserved);
    if (!load_rows(w, pg, e) || !(queue_ended(q) || limit_reached(w) || delete_unseen(w, pg, e)))
        return false;
    /* the run has failed meanwhile: a part of a batch must not slip below the limit for deletes */
    if (queue_error(q, e)) {
        w->attempt.gave_up = true;
        return false;
    }
    w->attempt.is_last_flush = true;
    if (!flush(w, e))
        return false;
    count_repeated(w);
    report_chunk(w);
    if (limit_reached(w))
        queue_enough(q);
    return true;
}

/* ---- rows that are read ahead ---- */

struct ahead {
    struct pg *pg;
    size_t most; /* bytes of rows */
};

static int ahead_fd(void *arg)
{
    const struct ahead *a = arg;
    return pg_ahead_fd(a->pg, a->most);
}

static void ahead_ready(void *arg)
{
    pg_read_ahead(((struct ahead *)arg)->pg);
}

/* While the index is asked or written to, PostgreSQL goes on with the rows. */
static bool read_ahead(struct worker *w, struct pg *pg, struct err *e)
{
    struct ahead ahead = {pg, (size_t)w->config->pipeline->sink.batch_bytes / AHEAD_PART};
    if (w->es)
        es_set_meanwhile(w->es, &(struct es_meanwhile){ahead_fd, ahead_ready, &ahead});
    bool ok = read_batch(w, pg, e);
    if (w->es)
        es_set_meanwhile(w->es, NULL);
    return ok;
}

/* ---- the whole ---- */

bool worker_try(struct worker *w, struct err *e)
{
    struct batch *b = w->batch;
    bulk_clear(w->bulk);
    buf_clear(&w->output);
    stale_copies_clear(&w->gone);
    stale_copies_clear(&w->sent);
    worker_begin_attempt(w);
    if (b->is_range)
        repeats_begin(&w->repeats);
    if (w->seen)
        memset(w->seen, 0, b->n * sizeof *w->seen);
    struct pg *pg = pg_acquire(&w->pool, e);
    bool ok = pg && read_ahead(w, pg, e);
    pg_release(&w->pool, pg);
    if (w->config->output == WORKER_COMPARE)
        ok = worker_end_compare(w, ok, e);
    if (!ok) {
        worker_uncount(w);
        worker_forget_indexes(w);
    }
    return ok;
}
