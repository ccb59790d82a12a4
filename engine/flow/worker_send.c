#include "flow/worker_send.h"

#include "base/err.h"
#include "flow/delete_budget.h"
#include "flow/flow.h"
#include "flow/worker.h"
#include "flow/worker_compare.h"
#include "flow/worker_request.h"
#include "index/echo.h"
#include "script/pipeline.h"

enum { SENT_MAX = 8 << 20 }; /* bytes of keys whose older copies are looked for together */

/* ---- the guard against mass deletion ---- */

static int64_t count_deletes(const struct bulk *b)
{
    int64_t n = 0;
    for (size_t i = 0; i < bulk_count(b); i++)
        n += bulk_is_delete(b, i);
    return n;
}

/* The guard: a source error, an emptied table, row security or a wrong join must never empty an
 * index. Only deletes of documents that are there count; the index is asked about them when their
 * number begins to matter. */
static bool guard_deletes(struct worker *w, int64_t *taken, struct err *e)
{
    struct delete_budget *budget = w->flow->deletes;
    *taken = count_deletes(w->bulk);
    if (*taken == 0 || delete_budget_reserve(budget, *taken))
        return true;
    *taken = 0;
    if (!worker_drop_unchanged(w, true, e))
        return false;
    int64_t n = count_deletes(w->bulk);
    if (delete_budget_reserve(budget, n)) {
        *taken = n;
        return true;
    }
    err_set(e, ERR_FINAL,
            "refused to delete so many documents of index '%s': %lld more have no row",
            w->config->pipeline->sink.index, (long long)n);
    return err_hint(e, DELETE_BUDGET_HINT);
}

/* ---- documents that choose their index ---- */

/* Documents that choose their index and routing are deleted wherever they are, whichever row is
 * gone. */
static bool add_gone(struct worker *w, struct err *e)
{
    return stale_copies_find(&w->gone, e) &&
           stale_copies_drop_all(&w->gone, w->bulk, w->attempt.version, e);
}

/* What has moved is sent, and noted: its older copies go once it is there. */
static bool prepare_multi_index(struct worker *w, struct err *e)
{
    bool compare_them = w->batch->skip_unchanged;
    for (size_t i = 0; i < bulk_count(w->bulk); i++)
        stale_copies_note(&w->sent, bulk_key(w->bulk, i));
    if (compare_them && !stale_copies_find(&w->sent, e))
        return false;
    return (!compare_them || bulk_count(w->bulk) == 0 || worker_drop_unchanged(w, false, e)) &&
           add_gone(w, e);
}

/* Not for each request of a large batch: what is found needs a refresh first, and a search for each
 * thousand keys. A batch that breaks off before is read again. */
static bool drop_older(struct worker *w, struct counts *sums, struct err *e)
{
    struct counts others = {0};
    if (!w->attempt.is_last_flush && !w->batch->skip_unchanged && w->sent.keys.len < SENT_MAX)
        return true;
    bool ok = stale_copies_find(&w->sent, e) && stale_copies_drop_older(&w->sent, w->bulk, e) &&
              worker_request(w, &others, e);
    sums->requests += others.requests;
    sums->bytes += others.bytes;
    sums->retried_items += others.retried_items;
    stale_copies_clear(&w->sent);
    return ok;
}

/* ---- the whole ---- */

/* Of a sweep, and once of a first load. */
static bool wants_echo(const struct worker *w)
{
    const struct echo *echo = w->config->echo;
    return !atomic_load(&echo->told) &&
           (w->batch->skip_unchanged || (w->batch->is_range && !atomic_load(&echo->heard)));
}

bool worker_send(struct worker *w, struct err *e)
{
    struct counts sums = {0};
    struct echo_sample sample = {0};
    int64_t taken = 0;
    bool multi_index = w->config->pipeline->sink.multi_index;
    bool ok = multi_index ? prepare_multi_index(w, e)
                          : !w->batch->skip_unchanged || bulk_count(w->bulk) == 0 ||
                                worker_drop_unchanged(w, false, e);
    bool moved = bulk_count(w->bulk) > 0 || !w->batch->skip_unchanged;
    if (ok && wants_echo(w))
        echo_take(&sample, w->bulk);
    ok = ok && guard_deletes(w, &taken, e) && worker_request(w, &sums, e) &&
         (!multi_index || !moved || drop_older(w, &sums, e));
    delete_budget_refund(w->flow->deletes, taken - (int64_t)sums.deleted);
    sums.rejected = 0; /* worker_report counted them */
    worker_count(w, &sums);
    bulk_clear(w->bulk);
    if (ok)
        echo_hear(w->config->echo, &sample, w->es, w->config->pipeline->sink.index);
    echo_free(&sample);
    stale_copies_clear(&w->gone);
    if (!moved)
        stale_copies_clear(&w->sent);
    return ok && worker_check_rejected(w, e);
}
