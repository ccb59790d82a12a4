#include "flow/worker.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/keyset.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/stop.h"
#include "es/es.h"
#include "flow/dead_keys.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/throttle.h"
#include "flow/versions.h"
#include "index/index.h"
#include "pg/pg_pool.h"
#include "script/pipeline.h"
#include "source/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BODY_MAX = 256 << 20, /* bytes; one document beyond it is rejected */
    KNOWN_MAX = 1 << 20,  /* bytes: some thousand names of indexes */
    IDLE_MS = 2000,       /* without work, until a worker gives up its connection */
};

struct workers {
    struct workers_config config;
    struct worker_shared shared;
    struct throttle *throttle; /* owned */
    struct worker *workers;
    int started;
};

/* ---- rejected documents ---- */

void worker_report(const char *key, int status, const char *reason, void *arg)
{
    struct worker *w = arg;
    bool news = !*key || tally_reject(w->flow->tally, key);
    if (!*key)
        worker_count(w, &(struct counts){.rejected = 1});
    if (news && status == 0) /* of document(): a mistake in it comes with every row */
        alike_warn(w->shared->alike, reason, "document '%s' rejected: %s", key, reason);
    else if (news)
        log_warn("document '%s' rejected: %s", key, reason);
    else
        log_debug("document '%s' rejected again: %s", key, reason);
    if (!batch_reject(w->batch, key, status, reason))
        w->report_lost = true;
}

void worker_count(struct worker *w, const struct counts *delta)
{
    counts_add(&w->sums, delta);
    /* a request was sent, whatever becomes of the try */
    w->sums.bytes = w->sums.requests = w->sums.retried_items = 0;
    tally_add(w->flow->tally, delta);
}

static void uncount(struct worker *w)
{
    struct counts back = counts_negative(&w->sums);
    tally_add(w->flow->tally, &back);
    w->sums = (struct counts){0};
    w->made -= (int64_t)w->printed.indexed; /* what has been printed stays so */
    w->failed = 0;
}

bool worker_check_rejected(struct worker *w, struct err *e)
{
    uint64_t max = w->config->max_rejected;
    if (w->report_lost)
        return err_memory(e);
    if (tally_rejected_in_window(w->flow->tally) <= max)
        return true;
    err_set(e, ERR_FINAL, "more than %llu documents were rejected (max_rejected)",
            (unsigned long long)max);
    return err_hint(
        e,
        "correct document() or the mapping, and run again: the state did not pass the last ones");
}

bool worker_reject(struct worker *w, const char *key, const char *reason, struct err *e)
{
    worker_report(key, 0, reason, w);
    w->failed++;
    return worker_check_rejected(w, e);
}

/* ---- trying again ---- */

void worker_start_retry(struct worker *w, struct retry *r)
{
    retry_start(r, w->config->give_up_after);
    r->over = queue_is_over;
    r->arg = w->flow->queue;
}

/* ---- what was made ---- */

/* A document() may end without a return for some rows, as if it had returned nil. But where there
 * is none in it, it was forgotten; and where it ends with `return make(row)`, and make() gave
 * nothing for all the rows of a load so far, make() has forgotten its own. Nothing is deleted
 * then. */
static bool check_returns(struct worker *w, struct err *e)
{
    bool forgotten = w->nothing > 0 && (script_never_returns(w->script) ||
                                        (w->batch->is_range && script_returns_calls(w->script) &&
                                         !atomic_load(&w->shared->gave_documents)));
    return !forgotten || script_returned_nothing(w->script, e);
}

static bool flush(struct worker *w, struct err *e)
{
    if (!check_returns(w, e))
        return false;
    return w->config->output == WORKERS_INDEX ? worker_send(w, e) : worker_print(w, e);
}

static bool flush_if_full(struct worker *w, struct err *e)
{
    bool full = w->config->output == WORKERS_INDEX
                    ? throttle_is_full(w->throttle, w->bulk.body.len + w->gone.keys.len, w->bulk.n)
                    : w->bulk.body.len >= WORKERS_AHEAD || w->output.len >= WORKERS_AHEAD;
    return !full || flush(w, e);
}

/* ---- rows to documents ---- */

static void count_made(struct worker *w, bool present)
{
    w->made += present;
    w->printed.indexed += present;
    w->printed.deleted += !present;
}

static bool limit_reached(const struct worker *w)
{
    return w->config->limit > 0 && w->made + w->failed >= w->config->limit;
}

static bool add_delete(struct worker *w, const char *key, struct err *e)
{
    count_made(w, false);
    if (w->config->output == WORKERS_INDEX && w->config->pipeline->sink.scattered) {
        stale_copies_note(&w->gone, key);
        return true;
    }
    return w->config->output == WORKERS_DOCUMENTS || bulk_delete(&w->bulk, key, w->version, e);
}

/* With a note whose it is, so that no other pipeline takes it for its own. */
static bool create_index(struct worker *w, const char *index, struct err *e)
{
    const struct pipeline *p = w->config->pipeline;
    struct index_meta m = {0};
    struct buf mappings;
    buf_init(&mappings, 64 << 20);
    snprintf(m.pipeline, sizeof m.pipeline, "%s", p->name);
    bool ok = index_add_meta(&mappings, p->sink.mappings, &m, e) &&
              (buf_cstr(&mappings) || err_memory(e)) &&
              index_create(w->es, index, p->sink.settings, buf_cstr(&mappings), e);
    buf_free(&mappings);
    if (ok)
        log_info("created index '%s'", index);
    return ok;
}

/* The index that a document names is made like sink.index, if it is missing. */
static bool ensure_index(struct worker *w, const char *index, struct err *e)
{
    struct index_info info;
    if (w->config->output != WORKERS_INDEX || (w->known && keyset_has(w->known, index)))
        return true;
    if (!w->known && !(w->known = keyset_new(KNOWN_MAX)))
        return err_memory(e);
    if (!index_get_info(w->es, index, &info, e))
        return false;
    if (!info.exists && !create_index(w, index, e))
        return false;
    keyset_put(w->known, index, NULL, 0); /* without room: looked at again */
    return true;
}

/* Where document() says that this one goes. */
static bool place(struct worker *w, struct err *e)
{
    const struct pipeline *p = w->config->pipeline;
    const struct script_made *m = &w->doc;
    if ((m->index[0] || m->routing[0]) && !p->sink.scattered)
        return err_set(e, ERR_FINAL,
                       "document() returned %s, and sink has no field 'indices', where such "
                       "documents are looked "
                       "for later: indices = \"%s\"",
                       m->index[0] ? "an index" : "a routing",
                       m->index[0] ? "NAME-*" : p->sink.index);
    if (m->index[0] && !pipeline_has_index(p, m->index))
        return err_set(e, ERR_FINAL,
                       "document() returned index '%s', which is none of sink.indices (%s)",
                       m->index, p->sink.indices);
    if (m->index[0] && !ensure_index(w, m->index, e))
        return false;
    if (w->config->output != WORKERS_DOCUMENTS && (m->index[0] || m->routing[0] || m->pipeline[0]))
        bulk_place(&w->bulk, m->index, m->routing, m->pipeline);
    return true;
}

/* Writes the document straight into the request's body, or into the output. */
static bool add_document(struct worker *w, const PGresult *row, const char *key, struct err *e)
{
    bool print = w->config->output == WORKERS_DOCUMENTS;
    if (!print)
        bulk_begin(&w->bulk, key, w->version);
    struct buf *out = print ? &w->output : &w->bulk.body;
    size_t before = out->len;
    struct script_row from = {&w->config->source->columns, row, 0, key};
    bool ok = script_document(w->script, &from, out, &w->doc, e);
    bool present = w->doc.present;
    ok = ok && (!present || place(w, e));
    if (ok && present && print)
        ok = buf_addc(out, '\n') || err_memory(e);
    else if (ok && present)
        ok = bulk_commit(&w->bulk, e);
    else if (print)
        buf_cut(out, before);
    else
        bulk_abort(&w->bulk);
    w->nothing += ok && w->doc.nothing;
    if (ok && present) {
        if (w->made == 0)
            atomic_store(&w->shared->gave_documents, true);
        count_made(w, true);
        w->took.bytes += out->len - before;
    }
    return ok && (present || add_delete(w, key, e));
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In order, each once: a key of which one copy were not seen would be deleted. */
static void sort_keys(struct batch *b)
{
    size_t n = 0;
    qsort(b->keys, b->n, sizeof *b->keys, compare_keys);
    for (size_t i = 0; i < b->n; i++)
        if (n > 0 && strcmp(b->keys[n - 1], b->keys[i]) == 0)
            free(b->keys[i]);
        else
            b->keys[n++] = b->keys[i];
    b->n = n;
}

/* Whether another row had the same key. */
static bool mark_seen(struct worker *w, const char *key)
{
    struct batch *b = w->batch;
    if (!w->seen)
        return repeats_add(&w->repeats, key, w->key.len);
    char **found = bsearch(&key, b->keys, b->n, sizeof *b->keys, compare_keys);
    bool before = found && w->seen[found - b->keys];
    if (found)
        w->seen[found - b->keys] = true;
    return before;
}

/* The query has several rows for one key. Of given keys the first row counts, so that a sweep does
 * not send a document again and again. A chunk of the table is not searched that closely: there
 * the last one counts. */
static bool note_repeated(struct worker *w, const char *key, struct err *e)
{
    w->repeated++;
    if (!w->repeated_key && !(w->repeated_key = strdup(key)))
        return err_memory(e);
    return true;
}

/* What was sent twice is one document. */
static void count_repeated(struct worker *w)
{
    uint64_t twice = w->seen || w->config->output != WORKERS_INDEX ? 0 : w->repeated;
    if (twice > w->sums.indexed) /* some were rejected */
        twice = w->sums.indexed;
    if (w->repeated == 0)
        return;
    worker_count(w, &(struct counts){.repeated = w->repeated, .indexed = -twice});
    tally_set_repeated(w->flow->tally, w->repeated_key);
}

/* A dead letter that has succeeded, or has gone, is one no more: unless the server rejects it after
 * all, which comes behind. */
static bool clear_dead(struct worker *w, const char *key, struct err *e)
{
    return w->config->output != WORKERS_INDEX || !dead_keys_has(w->flow->dead, key) ||
           batch_reject(w->batch, key, 0, NULL) || err_memory(e);
}

static bool columns_changed(struct err *e)
{
    err_set(e, ERR_FINAL, "the columns of the query have changed while it ran: run again");
    e->fault = ERR_FAULT_SCHEMA;
    return false;
}

static bool load_row(struct worker *w, const PGresult *row, struct err *e)
{
    const struct source *s = w->config->source;
    if (!w->row_checked && !pg_columns_fit(&s->columns, row))
        return columns_changed(e);
    w->row_checked = true; /* all rows of one result have the same columns */
    const char *key = source_key(s, row, &w->key);
    if (!key)
        return w->key.failed ? err_memory(e) : worker_reject(w, "", "its key is NULL", e);
    bool repeated = mark_seen(w, key);
    if (repeated && !note_repeated(w, key, e))
        return false;
    if (repeated && w->seen)
        return true;
    if (add_document(w, row, key, e))
        return clear_dead(w, key, e) && flush_if_full(w, e);
    return e->kind == ERR_FINAL && worker_reject(w, key, e->text, e) && flush_if_full(w, e);
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
        if (w->took.rows == 0)
            w->took.first_us = clock_mono_us() - w->read_at_us;
        if (!row)
            return true;
        w->took.rows++;
        if (!load_row(w, row, e))
            return false;
    }
    return true;
}

/* A key that was asked for and has no row any more: its document goes. */
static bool delete_unseen(struct worker *w, struct err *e)
{
    for (size_t i = 0; w->seen && i < w->batch->n; i++)
        if (!w->seen[i] && !(add_delete(w, w->batch->keys[i], e) &&
                             clear_dead(w, w->batch->keys[i], e) && flush_if_full(w, e)))
            return false;
    return true;
}

static void report_chunk(struct worker *w)
{
    w->took.keys = w->batch->chunk;
    w->took.all_us = clock_mono_us() - w->read_at_us;
    if (w->batch->chunk > 0)
        chunk_size_report(w->config->chunk, &w->took);
}

static bool read_batch(struct worker *w, struct pg *pg, struct err *e)
{
    struct queue *q = w->flow->queue;
    int64_t reserved = versions_reserve(w->flow->versions), clock;
    w->read_at_us = clock_mono_us();
    w->took = (struct chunk_time){0};
    if (!source_fetch(w->config->source, pg, w->batch, w->config->output != WORKERS_INDEX, &clock,
                      e))
        return false;
    w->version = versions_issue(w->flow->versions, clock, reserved);
    w->row_checked = w->batch_ends = false;
    if (!load_rows(w, pg, e) || !(queue_ended(q) || limit_reached(w) || delete_unseen(w, e)))
        return false;
    w->batch_ends = true;
    if (!flush(w, e))
        return false;
    count_repeated(w);
    report_chunk(w);
    if (limit_reached(w))
        queue_enough(q);
    return true;
}

bool worker_try(struct worker *w, struct err *e)
{
    struct batch *b = w->batch;
    bulk_clear(&w->bulk);
    buf_clear(&w->output);
    stale_copies_clear(&w->gone);
    stale_copies_clear(&w->placed);
    w->sums = w->printed = (struct counts){0};
    w->report_lost = w->gave_up = false;
    w->nothing = w->repeated = 0;
    free(w->repeated_key);
    w->repeated_key = NULL;
    if (b->is_range)
        repeats_begin(&w->repeats);
    rejections_free(&b->rejections);
    if (w->seen)
        memset(w->seen, 0, b->n * sizeof *w->seen);
    struct pg *pg = pg_acquire(&w->pool, e);
    bool ok = pg && read_batch(w, pg, e);
    pg_release(&w->pool, pg);
    if (!ok)
        uncount(w);
    return ok;
}

static bool load_batch(struct worker *w, struct err *e)
{
    struct batch *b = w->batch;
    if (!b->is_range && b->n == 0) /* its mark is all that it brings */
        return true;
    if (!b->is_range) {
        sort_keys(b);
        w->seen = calloc(b->n, sizeof *w->seen);
        if (!w->seen)
            return err_memory(e);
    }
    bool ok = worker_load(w, e);
    free(w->seen);
    w->seen = NULL;
    return ok;
}

/* ---- threads ---- */

static int64_t latest_version(void *versions)
{
    return versions_last(versions);
}

static bool open_worker(struct worker *w, struct err *e)
{
    const struct workers_config *c = w->config;
    pg_pool_init(&w->pool, c->pg);
    bulk_init(&w->bulk, BODY_MAX);
    w->bulk.latest = latest_version;
    w->bulk.latest_arg = w->flow->versions;
    buf_init(&w->output, BODY_MAX);
    buf_init(&w->key, BODY_MAX);
    if (c->es && !(w->es = es_open(c->es, e)))
        return false;
    stale_copies_init(&w->gone, w->es, c->pipeline->sink.indices, c->pipeline->name, BODY_MAX);
    stale_copies_init(&w->placed, w->es, c->pipeline->sink.indices, c->pipeline->name, BODY_MAX);
    if (!(w->script = script_open(c->script, e)))
        return false;
    script_serve(w->script, &(struct sandbox_services){
                                .pg = &w->pool, .es = w->es, .state_path = c->state_path});
    return true;
}

static void close_worker(struct worker *w)
{
    script_close(w->script); /* first: its collector may still give a connection back */
    es_close(w->es);
    pg_pool_free(&w->pool);
    bulk_free(&w->bulk);
    stale_copies_free(&w->gone);
    stale_copies_free(&w->placed);
    keyset_free(w->known);
    repeats_free(&w->repeats);
    free(w->repeated_key);
    buf_free(&w->output);
    buf_free(&w->key);
}

static struct batch *next_batch(struct worker *w)
{
    if (!queue_ready(w->flow->queue, IDLE_MS))
        pg_pool_free(&w->pool); /* a worker with a batch may be waiting for it */
    return queue_get(w->flow->queue);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct err e = {0};
    log_thread(w->name);
    bool ok = open_worker(w, &e);
    while (ok && (w->batch = next_batch(w))) {
        ok = load_batch(w, &e);
        if (ok && !queue_ended(w->flow->queue))
            queue_ack(w->flow->queue, w->batch);
        else
            batch_free(w->batch);
    }
    if (!ok && !queue_ended(w->flow->queue))
        queue_fail(w->flow->queue, &e);
    close_worker(w);
    return NULL;
}

struct workers *workers_start(const struct workers_config *config, struct err *e)
{
    struct workers *l = calloc(1, sizeof *l);
    if (!l) {
        err_memory(e);
        return NULL;
    }
    l->config = *config;
    l->throttle = throttle_new(config->workers, (size_t)config->pipeline->sink.batch_bytes,
                               config->pipeline->sink.max_rate, e);
    l->workers = calloc((size_t)config->workers, sizeof *l->workers);
    l->shared.alike = alike_new(e);
    if (!l->throttle || !l->workers || !l->shared.alike) {
        err_memory(e);
        workers_join(l);
        return NULL;
    }
    for (int i = 0; i < config->workers; i++) {
        struct worker *w = &l->workers[i];
        w->config = &l->config;
        w->flow = config->flow;
        w->throttle = l->throttle;
        w->shared = &l->shared;
        snprintf(w->name, sizeof w->name, "w%d", i + 1);
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            err_set(e, ERR_FINAL, "cannot start worker %d", i + 1);
            queue_fail(config->flow->queue, e);
            workers_join(l);
            return NULL;
        }
        l->started++;
    }
    return l;
}

void workers_join(struct workers *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->started; i++)
        pthread_join(l->workers[i].thread, NULL);
    throttle_free(l->throttle);
    alike_free(l->shared.alike);
    free(l->workers);
    free(l);
}
