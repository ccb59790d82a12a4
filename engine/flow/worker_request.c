#include "flow/worker_request.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/retry.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/throttle.h"
#include "flow/versions.h"
#include "flow/worker.h"
#include "index/presence.h"
#include "script/pipeline.h"

#include <assert.h>

/* How much the database's clock may gain on ours during a batch. */
enum { CLOCK_STEP_US = 1000 * 1000 };

enum { PATIENCE_US = 5 * 1000 * 1000 }; /* of make_room */

/* A year: a version that is further ahead does not come from a clock that was set back. */
static const int64_t FARTHEST_US = 366LL * 86400 * 1000 * 1000;

/* Rows that are too old are not sent: a document may have been deleted since they were read, and
 * the index remembers a delete for a limited time (index.gc_deletes). */
static bool check_age(struct worker *w, struct err *e)
{
    int64_t max = w->config->max_age_us;
    if (max == 0 || clock_mono_us() - w->attempt.read_at_us < max)
        return true;
    return err_set(e, ERR_PASSING,
                   "rows became too old while waiting for the search server; reading them again");
}

/* While the search server does not answer, other pipelines can use what this one waits with: its
 * turn among the workers, and after some time its connection to PostgreSQL. The rows are read again
 * then. False: the connection is wanted. */
static bool make_room(struct worker *w, int64_t failing_since_us, struct err *e)
{
    if (w->share.has == SHARE_FURTHER)
        shares_give(&w->share);
    if (clock_mono_us() - failing_since_us < PATIENCE_US || !pg_pool_is_wanted(&w->pool))
        return true;
    return err_set(e, ERR_PASSING,
                   "others wait for the connection to PostgreSQL; reading the rows again");
}

/* The document has a version that we did not issue. If the database's clock has passed it by now,
 * another run has read the row after us: read again, the row is as new, and gets a higher version.
 * If the clock has not passed it, and only this pipeline writes to the index, the clock was set
 * back and the state that knew the version was lost: further versions are issued above it. */
static bool retry_after_other_writer(struct worker *w, struct err *e)
{
    int64_t clock_us = w->attempt.version + (clock_mono_us() - w->attempt.read_at_us),
            foreign = bulk_foreign_version(w->bulk);
    bool passed = foreign <= clock_us + CLOCK_STEP_US;
    if (e->kind != ERR_FINAL || foreign == 0 ||
        (!passed && (!w->config->index_is_ours || foreign - clock_us > FARTHEST_US)))
        return false;
    e->kind = ERR_PASSING;
    e->hint[0] = '\0';
    if (passed)
        return err_wrap(e, "another run is writing to the index; reading again");
    versions_raise(w->flow->versions, foreign);
    long long behind_s = (foreign - clock_us) / 1000000;
    return err_wrap(e,
                    "PostgreSQL's clock is %lld s behind the versions that this pipeline has "
                    "written to the index: the clock was set back; reading again with higher "
                    "versions",
                    behind_s);
}

static int64_t latest_version(void *worker)
{
    return versions_last(((struct worker *)worker)->flow->versions);
}

static bool send_bulk(struct worker *w, struct counts *counts, struct err *e)
{
    const struct worker_config *c = w->config;
    struct bulk_sink sink = {.counts = counts,
                             .rejected = worker_report,
                             .dropped = worker_tell_dropped,
                             .latest = latest_version,
                             .arg = w,
                             .issued = versions_last(w->flow->versions),
                             .is_alias = c->is_alias};
    const char *index = c->pipeline->sink.index;
    return (!c->presence || presence_check(c->presence, w->es, index, e)) &&
           bulk_send(w->bulk, w->es, index, &sink, e);
}

/* One try, once the throttle allows it. *fresh: the rows were not too old for it. */
static bool send_once(struct worker *w, struct counts *counts, bool *fresh, struct err *e)
{
    struct throttle_request turn = {
        .items = bulk_count(w->bulk), .over = queue_is_over, .arg = w->flow->queue};
    if (!throttle_enter(w->throttle, &turn, e))
        return false;
    bool ok = false;
    enum throttle_outcome outcome = THROTTLE_FAILED;
    bulk_set_request_bytes(w->bulk, throttle_bytes(w->throttle));
    if ((*fresh = check_age(w, e))) {
        ok = send_bulk(w, counts, e);
        outcome = ok ? THROTTLE_TAKEN : e->overloaded ? THROTTLE_OVERLOADED : THROTTLE_FAILED;
    }
    throttle_leave(w->throttle, &turn, outcome);
    return ok;
}

bool worker_request(struct worker *w, struct counts *counts, struct err *e)
{
    struct retry retry;
    bool fresh = true;
    int64_t failing_us = 0;
    worker_start_retry(w, &retry);
    while (bulk_count(w->bulk) > 0) {
        size_t before = bulk_count(w->bulk);
        if (send_once(w, counts, &fresh, e))
            break;
        if (!fresh)
            return false;
        if (bulk_count(w->bulk) < before)
            retry_moved(&retry);
        if (!retry_again(&retry, e)) {
            w->attempt.gave_up = e->kind == ERR_PASSING;
            return retry_after_other_writer(w, e);
        }
        failing_us = failing_us ? failing_us : clock_mono_us();
        if (!make_room(w, failing_us, e))
            return false;
    }
    retry_done(&retry);
    assert(bulk_count(w->bulk) == 0);
    return true;
}
