#include "flow/worker_send.h"

#include "base/err.h"
#include "flow/delete_budget.h"
#include "flow/errand.h"
#include "flow/flow.h"
#include "flow/worker.h"
#include "flow/worker_compare.h"
#include "flow/worker_request.h"
#include "index/echo.h"
#include "index/routed.h"
#include "script/pipeline.h"

enum { SENT_MAX = 8 << 20 }; /* bytes of keys whose older copies are searched for together */

/* ---- documents that are elsewhere than their keys say ---- */

/* A document that has no row any more is deleted in every index and with every routing. */
static bool add_gone(struct worker *w, struct err *e)
{
    return stale_copies_find(&w->gone, e) &&
           stale_copies_drop_all(&w->gone, w->bulk, w->attempt.version, e);
}

/* Keeps the keys of what is sent, so that drop_older finds the older copies of documents that have
 * moved. */
static bool prepare_search(struct worker *w, struct err *e)
{
    for (size_t i = 0; i < bulk_count(w->bulk); i++)
        stale_copies_add(&w->sent, bulk_key(w->bulk, i));
    if (w->batch->skip_unchanged &&
        !(stale_copies_find(&w->sent, e) && worker_drop_unchanged(w, false, e)))
        return false;
    return add_gone(w, e);
}

/* Of copies that nobody chose a routing for, the one without a routing stays. */
static bool add_older(struct worker *w, struct err *e)
{
    return w->config->pipeline->sink.multi_index
               ? stale_copies_drop_older(&w->sent, w->bulk, e)
               : routed_drop(&w->sent, w->bulk, w->attempt.version, e);
}

/* Not after each request of a large batch: a search needs a refresh first, and finds the copies of
 * a thousand keys. If the batch fails before its search, it is read again. */
static bool drop_older(struct worker *w, struct counts *counts, struct err *e)
{
    struct counts deletes = {0};
    if (!w->attempt.is_last_flush && !w->batch->skip_unchanged && w->sent.keys.len < SENT_MAX)
        return true;
    bool ok = stale_copies_find(&w->sent, e) && add_older(w, e) && worker_request(w, &deletes, e);
    counts->requests += deletes.requests;
    counts->bytes += deletes.bytes;
    counts->retried_items += deletes.retried_items;
    stale_copies_clear(&w->sent);
    return ok;
}

/* ---- the guard against mass deletion ---- */

static int64_t count_deletes(const struct bulk *b)
{
    int64_t n = 0;
    for (size_t i = 0; i < bulk_count(b); i++)
        n += bulk_is_delete(b, i);
    return n;
}

/* Deletes in the request that the log has not announced. */
static int64_t count_guarded(const struct worker *w, int64_t announced)
{
    int64_t n = count_deletes(w->bulk);
    return n > announced ? n - announced : 0;
}

static int64_t take_announced(struct worker *w)
{
    int64_t n = count_deletes(w->bulk);
    n = n < w->attempt.announced ? n : w->attempt.announced;
    w->attempt.announced -= n;
    return n;
}

static struct delete_budget *budget_of(const struct worker *w)
{
    return w->batch->errand ? errand_deletes(w->batch->errand) : w->flow->deletes;
}

/* Only deletes of documents that exist count. The index is asked whether they exist once the budget
 * does not suffice for all. */
static bool reserve_deletes(struct worker *w, int64_t announced, int64_t *reserved, struct err *e)
{
    struct delete_budget *budget = budget_of(w);
    int64_t n = count_guarded(w, announced);
    *reserved = 0;
    if (n > 0 && !delete_budget_reserve(budget, n)) {
        if (!worker_drop_unchanged(w, true, e))
            return false;
        n = count_guarded(w, announced);
        if (!delete_budget_reserve(budget, n)) {
            err_set(e, ERR_FINAL,
                    "refusing to delete %lld more documents from index '%s': their rows are gone",
                    (long long)n, w->config->pipeline->sink.index);
            return err_hint(e, DELETE_BUDGET_HINT);
        }
    }
    *reserved = n;
    return true;
}

/* ---- the whole ---- */

static bool prepare(struct worker *w, struct err *e)
{
    if (worker_searches(w))
        return prepare_search(w, e);
    return !w->batch->skip_unchanged || worker_drop_unchanged(w, false, e);
}

static bool send_prepared(struct worker *w, struct counts *counts, struct err *e)
{
    bool moved = bulk_count(w->bulk) > 0 || !w->batch->skip_unchanged;
    bool search = worker_searches(w) && moved;
    int64_t reserved, announced = take_announced(w);
    bool ok = reserve_deletes(w, announced, &reserved, e) && worker_request(w, counts, e) &&
              (!search || drop_older(w, counts, e));
    int64_t deleted = (int64_t)counts->deleted - announced; /* of those that were reserved */
    deleted = deleted < 0 ? 0 : deleted;
    if (reserved > deleted)
        delete_budget_refund(budget_of(w), reserved - deleted);
    if (!moved)
        stale_copies_clear(&w->sent);
    return ok;
}

/* In a sweep, and once in a first load. */
static bool wants_echo(const struct worker *w)
{
    const struct echo *echo = w->config->echo;
    return !atomic_load(&echo->warned) &&
           (w->batch->skip_unchanged || (w->batch->is_range && !atomic_load(&echo->confirmed)));
}

bool worker_send(struct worker *w, struct err *e)
{
    struct counts counts = {0};
    struct echo_sample sample = {0};
    bool ok = prepare(w, e);
    if (ok && wants_echo(w))
        echo_sample_take(&sample, w->bulk);
    ok = ok && send_prepared(w, &counts, e);
    counts.rejected = 0; /* worker_report has counted them */
    worker_count(w, &counts);
    bulk_clear(w->bulk);
    ok = ok && echo_check(w->config->echo, &sample, w->es, w->config->pipeline->sink.index, e);
    echo_sample_free(&sample);
    stale_copies_clear(&w->gone);
    return ok && worker_check_rejected(w, e);
}
