/* worker_send: a worker's documents, on their way to the index. */
#include "base/clock.h"
#include "base/err.h"
#include "base/retry.h"
#include "flow/delete_budget.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/throttle.h"
#include "flow/versions.h"
#include "flow/worker.h"
#include "index/echo.h"
#include "index/index.h"
#include "script/pipeline.h"

#include <stdlib.h>
#include <string.h>

enum {
    PLACED_MAX = 8 << 20,        /* bytes of keys whose older copies are looked for together */
    CLOCK_STEP_US = 1000 * 1000, /* what the database's clock may gain on ours within a batch */
};

/* no clock goes back by more than a year */
static const int64_t FARTHEST_US = 366LL * 86400 * 1000 * 1000;

/* The index may have forgotten that a document was deleted since we read it: what is too old is not
 * sent. */
static bool check_age(struct worker *w, struct err *e)
{
    int64_t max = w->config->max_age_us;
    if (max == 0 || clock_mono_us() - w->read_at_us < max)
        return true;
    return err_set(e, ERR_PASSING,
                   "rows grew too old while they waited for the search server; reading them again");
}

/* A version that is not ours stands in the way. If the database's clock has passed it by now, it is
 * another run's, which has read from this database after us: what is read again is as new as that,
 * and gets a higher version. If the clock has not, but only this pipeline writes to the index, the
 * clock went back, and a state that knew better was lost: versions go on above that one. */
static bool retry_after_other_writer(struct worker *w, struct err *e)
{
    int64_t clock_us = w->version + (clock_mono_us() - w->read_at_us), foreign = w->bulk.foreign;
    bool passed = foreign <= clock_us + CLOCK_STEP_US;
    if (e->kind != ERR_FINAL || foreign == 0 ||
        (!passed && (!w->config->index_is_ours || foreign - clock_us > FARTHEST_US)))
        return false;
    e->kind = ERR_PASSING;
    e->hint[0] = '\0';
    if (passed)
        return err_wrap(e, "another run is writing to the index; reading again");
    versions_raise(w->flow->versions, foreign);
    return err_wrap(e,
                    "PostgreSQL's clock is %lld s behind the versions of this pipeline that the "
                    "index holds: it "
                    "went back; reading again, for versions above them",
                    (long long)((foreign - clock_us) / 1000000));
}

/* One try, in its turn. *fresh: the rows were not too old for it. */
static bool send_once(struct worker *w, struct counts *sums, bool *fresh, struct err *e)
{
    struct throttle_turn turn;
    if (!throttle_enter(w->throttle, w->bulk.n, queue_is_over, w->flow->queue, &turn, e))
        return false;
    bool ok = false;
    enum throttle_outcome outcome = THROTTLE_FAILED;
    w->bulk.enough = throttle_bytes(w->throttle);
    if ((*fresh = check_age(w, e))) {
        int64_t issued = versions_last(w->flow->versions);
        ok = bulk_send(&w->bulk, w->es, w->config->pipeline->sink.index, issued, sums,
                       worker_report, w, e);
        outcome = ok ? THROTTLE_TAKEN : e->overloaded ? THROTTLE_OVERLOADED : THROTTLE_FAILED;
    }
    throttle_leave(w->throttle, &turn, outcome);
    return ok;
}

static bool send_all(struct worker *w, struct counts *sums, struct err *e)
{
    struct retry retry;
    bool fresh = true;
    worker_start_retry(w, &retry);
    while (w->bulk.n > 0) {
        size_t before = w->bulk.n;
        if (send_once(w, sums, &fresh, e))
            break;
        if (!fresh) /* it will not get younger */
            return false;
        if (w->bulk.n < before)
            retry_moved(&retry);
        if (!retry_again(&retry, e)) {
            w->gave_up = e->kind == ERR_PASSING;
            return retry_after_other_writer(w, e);
        }
    }
    retry_done(&retry);
    return true;
}

/* ---- what need not be sent, and what must not ---- */

struct comparison {
    struct bulk *bulk;
    const size_t *items; /* the ones asked for, of bulk */
    size_t next;
    uint64_t unchanged;
    const struct stale_copies *copies; /* of a scattered pipeline */
};

/* Drops an item that would change nothing: a document that is there, byte for byte, and nowhere
 * else, or the delete of one that is not. */
static bool compare(const struct index_document *d, void *arg, struct err *e)
{
    struct comparison *c = arg;
    (void)e;
    size_t i = c->items[c->next++], len;
    const char *document = bulk_document(c->bulk, i, &len);
    bool same =
        document && d->source && d->source_len == len && memcmp(d->source, document, len) == 0;
    if (same && c->copies && stale_copies_count(c->copies, d->key) != 1)
        same = false;
    c->unchanged += same;
    if (same || (!document && !d->found))
        bulk_drop(c->bulk, i);
    return true;
}

/* Asks the index about all items, or about the deletes alone, and drops those that would change
 * nothing. */
static bool drop_needless(struct worker *w, bool deletes_alone, struct err *e)
{
    struct bulk *b = &w->bulk;
    const char **keys = malloc(b->n * sizeof *keys);
    struct doc_location *places = malloc(b->n * sizeof *places);
    size_t *items = malloc(b->n * sizeof *items), n = 0;
    bool scattered = w->config->pipeline->sink.scattered,
         ok = (keys && items && places) || err_memory(e);
    for (size_t i = 0; ok && i < b->n; i++)
        if (!deletes_alone || b->items[i].is_delete) {
            items[n] = i;
            places[n] = (struct doc_location){bulk_index(b, i), bulk_routing(b, i)};
            keys[n++] = bulk_key(b, i);
        }
    struct comparison c = {.bulk = b, .items = items, .copies = scattered ? &w->placed : NULL};
    ok = ok && (n == 0 ||
                index_get_documents(w->es, w->config->pipeline->sink.index,
                                    &(struct index_lookup){.keys = keys,
                                                           .locations = scattered ? places : NULL,
                                                           .n = n,
                                                           .with_source = !deletes_alone,
                                                           .visit = compare,
                                                           .arg = &c},
                                    e));
    free(places);
    free(keys);
    free(items);
    if (!ok)
        return false;
    bulk_compact(b);
    if (!w->batch->again)
        worker_count(w, &(struct counts){.unchanged = c.unchanged});
    return true;
}

static int64_t count_deletes(const struct bulk *b)
{
    int64_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += b->items[i].is_delete;
    return n;
}

/* The guard: a source error, an emptied table, row security or a wrong join must never empty an
 * index. Only deletes of documents that are there count; the index is asked about them when their
 * number begins to matter. */
static bool guard_deletes(struct worker *w, int64_t *taken, struct err *e)
{
    struct delete_budget *budget = w->flow->deletes;
    *taken = count_deletes(&w->bulk);
    if (*taken == 0 || delete_budget_reserve(budget, *taken))
        return true;
    *taken = 0;
    if (!drop_needless(w, true, e))
        return false;
    int64_t n = count_deletes(&w->bulk);
    if (delete_budget_reserve(budget, n)) {
        *taken = n;
        return true;
    }
    err_set(e, ERR_FINAL,
            "refused to delete so many documents of index '%s': %lld more have no row",
            w->config->pipeline->sink.index, (long long)n);
    return err_hint(e, DELETE_BUDGET_HINT);
}

/* Documents that choose their index and routing are deleted wherever they are, whichever row is
 * gone. */
static bool add_gone(struct worker *w, struct err *e)
{
    return stale_copies_find(&w->gone, e) &&
           stale_copies_drop_all(&w->gone, &w->bulk, w->version, e);
}

/* What has moved is sent, and noted: its older copies go once it is there. */
static bool prepare_scattered(struct worker *w, struct err *e)
{
    bool compare_them = w->batch->skip_unchanged;
    for (size_t i = 0; i < w->bulk.n; i++)
        stale_copies_note(&w->placed, bulk_key(&w->bulk, i));
    if (compare_them && !stale_copies_find(&w->placed, e))
        return false;
    return (!compare_them || w->bulk.n == 0 || drop_needless(w, false, e)) && add_gone(w, e);
}

/* Not for each request of a large batch: what is found needs a refresh first, and a search for each
 * thousand keys. A batch that breaks off before is read again. */
static bool drop_older(struct worker *w, struct counts *sums, struct err *e)
{
    struct counts others = {0};
    if (!w->batch_ends && !w->batch->skip_unchanged && w->placed.keys.len < PLACED_MAX)
        return true;
    bool ok = stale_copies_find(&w->placed, e) &&
              stale_copies_drop_older(&w->placed, &w->bulk, e) && send_all(w, &others, e);
    sums->requests += others.requests;
    sums->bytes += others.bytes;
    sums->retried_items += others.retried_items;
    stale_copies_clear(&w->placed);
    return ok;
}

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
    bool scattered = w->config->pipeline->sink.scattered;
    bool ok = scattered ? prepare_scattered(w, e)
                        : !w->batch->skip_unchanged || w->bulk.n == 0 || drop_needless(w, false, e);
    bool moved = w->bulk.n > 0 || !w->batch->skip_unchanged;
    if (ok && wants_echo(w))
        echo_take(&sample, &w->bulk);
    ok = ok && guard_deletes(w, &taken, e) && send_all(w, &sums, e) &&
         (!scattered || !moved || drop_older(w, &sums, e));
    delete_budget_refund(w->flow->deletes, taken - (int64_t)sums.deleted);
    sums.rejected = 0; /* worker_report counted them */
    worker_count(w, &sums);
    bulk_clear(&w->bulk);
    if (ok)
        echo_hear(w->config->echo, &sample, w->es, w->config->pipeline->sink.index);
    echo_free(&sample);
    stale_copies_clear(&w->gone);
    if (!moved)
        stale_copies_clear(&w->placed);
    return ok && worker_check_rejected(w, e);
}
