#include "run/run.h"

#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"

#include <stdio.h>

bool run_is_partial(const struct run *r)
{
    return r->keys || r->options.limit > 0;
}

size_t run_scan_lane(const struct run *r)
{
    return r->user.source.n_tables;
}

/* A server that this run has never reached may not be there at all: a wrong address is a mistake
 * more often than an outage. */
static void warn_first_wait(const struct run *r, bool search)
{
    const struct pipeline *p = &r->user.pipeline;
    int line = search ? p->sink.url_line : p->source.url_line;
    char name[100], variable[140] = "", limit[60] = "ever (--give-up-after S: for S seconds)";
    if (pipeline_variable(&r->user.text, line, name, sizeof name))
        snprintf(variable, sizeof variable, ", variable %s", name);
    if (r->servers.give_up_after > 0)
        snprintf(limit, sizeof limit, "%.0f s", r->servers.give_up_after);
    log_warn("%s: no request to %s has succeeded yet in this run: its address comes from %s.url "
             "(%s:%d%s); it "
             "is waited for %s",
             p->name, search ? "the search server" : "PostgreSQL", search ? "sink" : "source",
             p->script, line, variable, limit);
}

bool run_reach(struct run *r, enum run_server needs, bool (*step)(struct run *, struct err *),
               struct err *e)
{
    struct retry retry;
    bool search = needs == RUN_SEARCH, told = needs == RUN_NO_SERVER;
    retry_start(&retry, r->servers.give_up_after);
    while (!step(r, e)) {
        if (!told && e->kind == ERR_PASSING && !(search ? r->servers.met : r->servers.pg.accepted))
            warn_first_wait(r, search);
        told = true;
        if (!retry_again(&retry, e))
            return false;
    }
    retry_done(&retry);
    return true;
}

bool run_patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e)
{
    return run_reach(r, RUN_NO_SERVER, step, e);
}
