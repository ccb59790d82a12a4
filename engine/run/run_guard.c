#include "run/run_guard.h"

#include "base/err.h"
#include "flow/delete_budget.h"
#include "flow/errand.h"
#include "run/run.h"
#include "run/run_index.h"

#include <string.h>

/* Refreshes first, so that what was just loaded counts; without the privilege to refresh, the
 * server's own refreshes have to suffice. */
static bool count_documents(struct run *r, int64_t *count, struct err *e)
{
    const char *index = run_index_to_search(r);
    return (index_refresh(r->servers.es, index, e) || e->kind == ERR_FINAL) &&
           index_count(r->servers.es, index, count, e);
}

/* How many of the documents may be deleted, if there are `count` of them now. */
static int64_t deletes_allowed(const struct run *r, int64_t count)
{
    int64_t before = r->state.data.documents, whole = before > count ? before : count;
    int64_t most = whole / 2 > RUN_FREE_DELETES ? whole / 2 : RUN_FREE_DELETES;
    int64_t gone = whole - count;
    return most > gone ? most - gone : 0;
}

bool run_guard_errand(struct run *r, struct errand *x, struct err *e)
{
    int64_t count = 0;
    if (errand_is_limited(x))
        return true;
    if (!r->options.allow_deletes && !count_documents(r, &count, e))
        return false;
    errand_limit(x, r->options.allow_deletes ? -1 : deletes_allowed(r, count));
    return true;
}

bool run_guard(struct run *r, struct err *e)
{
    int64_t count;
    if (r->options.dry_run || r->options.allow_deletes)
        return true;
    if (!run_check_index(r, e) || !count_documents(r, &count, e))
        return false;
    if (r->state.data.documents == 0 || !r->state.data.index_uuid ||
        strcmp(r->state.data.index_uuid, r->index.info.uuid) != 0)
        r->state.data.documents = count;
    delete_budget_set(r->work.flow.deletes, deletes_allowed(r, count));
    return true;
}

bool run_has_documents(struct run *r, bool *any, struct err *e)
{
    int64_t count = 0;
    bool empty = r->index.is_new && !r->user.pipeline.sink.multi_index;
    if (!empty && !count_documents(r, &count, e))
        return false;
    *any = count > 0;
    return true;
}

bool run_count_documents(struct run *r, struct err *e)
{
    return count_documents(r, &r->state.data.documents, e);
}
