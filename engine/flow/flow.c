#include "flow/flow.h"

#include "flow/dead_keys.h"
#include "flow/delete_budget.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/versions.h"

bool flow_open(struct flow *f, const size_t *windows, size_t n, int64_t version_floor,
               struct err *e)
{
    *f = (struct flow){0};
    if ((f->queue = queue_new(windows, n, e)) && (f->versions = versions_new(version_floor, e)) &&
        (f->tally = tally_new(e)) && (f->deletes = delete_budget_new(e)) &&
        (f->dead = dead_keys_new(e)))
        return true;
    flow_close(f);
    return false;
}

void flow_close(struct flow *f)
{
    queue_free(f->queue);
    versions_free(f->versions);
    tally_free(f->tally);
    delete_budget_free(f->deletes);
    dead_keys_free(f->dead);
    *f = (struct flow){0};
}
