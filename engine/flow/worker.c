#include "flow/worker.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/keyset.h"
#include "base/log.h"
#include "base/retry.h"
#include "es/es.h"
#include "flow/errand.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/versions.h"
#include "script/pipeline.h"

#include <assert.h>
#include <stdlib.h>

enum { BODY_MAX = 256 << 20 }; /* bytes; a larger document is rejected */

/* ---- opening and closing ---- */

bool worker_open(struct worker *w, struct err *e)
{
    const struct worker_config *c = w->config;
    w->pool = (struct pg_pool){.server = c->pg, .over = queue_is_over, .arg = w->flow->queue};
    buf_init(&w->output, BODY_MAX);
    buf_init(&w->key, BODY_MAX);
    if (!(w->bulk = bulk_new(BODY_MAX, e)))
        return false;
    if (c->es && !(w->es = es_open(c->es, e)))
        return false;
    stale_copies_init(&w->gone, w->es, c->pipeline->sink.indices, c->pipeline->name, BODY_MAX);
    stale_copies_init(&w->sent, w->es, c->pipeline->sink.indices, c->pipeline->name, BODY_MAX);
    if (!(w->script = script_open_again(c->script, e)))
        return false;
    script_serve(w->script, &(struct sandbox_services){
                                .pg = &w->pool, .es = w->es, .state_path = c->state_path});
    return true;
}

bool worker_searches(const struct worker *w)
{
    return w->config->pipeline->sink.multi_index || w->batch->any_routing;
}

void worker_close(struct worker *w)
{
    script_close(w->script); /* its garbage collector may still release a connection */
    es_close(w->es);
    bulk_free(w->bulk);
    stale_copies_free(&w->gone);
    stale_copies_free(&w->sent);
    keyset_free(w->known);
    repeats_free(&w->repeats);
    free(w->attempt.repeated_key);
    buf_free(&w->output);
    buf_free(&w->key);
}

/* ---- counts and reports ---- */

void worker_begin_attempt(struct worker *w)
{
    free(w->attempt.repeated_key);
    w->attempt = (struct attempt){0};
    rejections_free(&w->batch->rejections);
}

/* What an errand counts, the run has done, too. */
static void add_to_tallies(struct worker *w, const struct counts *delta)
{
    tally_add(w->flow->tally, delta);
    if (w->batch->errand)
        tally_add(errand_tally(w->batch->errand), delta);
}

void worker_count(struct worker *w, const struct counts *delta)
{
    counts_add(&w->attempt.counts, delta);
    /* the requests were sent, even if the try fails */
    w->attempt.counts.bytes = w->attempt.counts.requests = w->attempt.counts.retried_items = 0;
    add_to_tallies(w, delta);
}

void worker_uncount(struct worker *w)
{
    struct counts back = counts_negative(&w->attempt.counts);
    add_to_tallies(w, &back);
    w->attempt.counts = (struct counts){0};
    w->made -= (int64_t)w->attempt.printed.indexed; /* what was printed before remains */
    w->failed = 0;
}

/* Whether the key was not rejected before. The rejections of an errand are no reason to end the
 * run. */
static bool count_rejected(struct worker *w, const char *key, int status, const char *reason)
{
    struct errand *x = w->batch->errand;
    if (!x)
        return tally_reject(w->flow->tally, key);
    tally_reject_apart(w->flow->tally, key);
    bool is_new = tally_reject(errand_tally(x), key);
    if (is_new)
        errand_report(x, key, status, reason);
    return is_new;
}

void worker_report(const char *key, int status, const char *reason, void *arg)
{
    struct worker *w = arg;
    bool is_new = !*key || count_rejected(w, key, status, reason);
    if (!*key)
        worker_count(w, &(struct counts){.rejected = 1});
    const struct log_field *fields =
        LOG_FIELDS(log_text("key", key), log_if(status > 0, log_int("status", status)));
    if (is_new)
        alike_warn(reason, fields, "document '%s' rejected: %s", key, reason);
    else
        log_debug_with(fields, "document '%s' rejected again: %s", key, reason);
    if (!batch_reject(w->batch, key, status, reason))
        w->attempt.report_lost = true;
}

void worker_tell_dropped(const char *key, void *arg)
{
    (void)arg;
    alike_warn("dropped", LOG_FIELDS(log_text("key", key)),
               "document '%s' was dropped by an ingest pipeline: the index has none, or an older "
               "one, and each sweep sends it again; let document() return nil instead",
               key);
}

bool worker_check_rejected(struct worker *w, struct err *e)
{
    uint64_t max = w->config->max_rejected;
    struct errand *x = w->batch->errand;
    if (w->attempt.report_lost)
        return err_memory(e);
    if (tally_rejected_in_window(x ? errand_tally(x) : w->flow->tally) <= max)
        return true;
    err_set(e, ERR_FINAL, "more than %llu documents were rejected (max_rejected)",
            (unsigned long long)max);
    return err_hint(
        e,
        "correct document() or the mapping, and run again: the rejected documents are read again");
}

bool worker_reject(struct worker *w, const char *key, const char *reason, struct err *e)
{
    const struct worker_comparer *c = w->config->comparer;
    if (w->config->output == WORKER_COMPARE)
        return c->pair(c->arg, w->number, &(struct worker_pair){.key = key, .failed = reason}, e);
    worker_report(key, 0, reason, w);
    w->failed++;
    return worker_check_rejected(w, e);
}

void worker_start_retry(struct worker *w, struct retry *r)
{
    retry_start(r, w->config->give_up_after);
    r->over = queue_is_over;
    r->arg = w->flow->queue;
}
