#include "run/run_guard.h"

#include "base/err.h"
#include "flow/delete_budget.h"
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
    int64_t whole = r->state.data.documents > count ? r->state.data.documents : count,
            gone = whole - count;
    int64_t most = whole / 2 > RUN_FREE_DELETES ? whole / 2 : RUN_FREE_DELETES;
    delete_budget_set(r->work.flow.deletes, most > gone ? most - gone : 0);
    return true;
}

bool run_count_documents(struct run *r, struct err *e)
{
    return count_documents(r, &r->state.data.documents, e);
}
