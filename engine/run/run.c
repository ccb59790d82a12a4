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

size_t run_errand_lane(const struct run *r)
{
    return r->user.source.n_tables + 1;
}

struct feed_origin run_feed_origin(struct run *r)
{
    return (struct feed_origin){&r->user.source, &r->servers.pool, r->servers.es};
}

/* ---- patience ---- */

struct step {
    struct run *run;
    bool (*step)(struct run *, struct err *);
};

static bool take_step(void *arg, struct err *e)
{
    struct step *s = arg;
    return s->step(s->run, e);
}

bool run_patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e)
{
    struct step s = {r, step};
    return retry_until(r->servers.give_up_after, take_step, &s, e);
}

struct first_step {
    struct run *run;
    enum run_server needs;
    bool (*step)(void *arg, struct err *e);
    void *arg;
    bool failed; /* before */
};

static bool was_answered(const struct run_servers *s, enum run_server needs)
{
    return needs == RUN_SEARCH ? s->es && es_was_answered(s->es) : s->pg.answered;
}

/* Where the address comes from: it is a mistake more often than an outage, unless the server
 * answers. */
static void describe_address(const struct run *r, enum run_server needs, char *out, size_t size)
{
    const struct pipeline *p = &r->user.pipeline;
    out[0] = '\0';
    if (!was_answered(&r->servers, needs))
        snprintf(out, size, ": its address comes from %s",
                 needs == RUN_SEARCH ? p->sink.security.places[ES_SECURITY_TEXTS]
                                     : p->source.url_place);
}

static void warn_first_wait(const struct run *r, enum run_server needs)
{
    const struct pipeline *p = &r->user.pipeline;
    bool search = needs == RUN_SEARCH;
    int line = search ? p->sink.url_line : p->source.url_line;
    char address[700], limit[60] = "without end (--give-up-after S: for S seconds)";
    describe_address(r, needs, address, sizeof address);
    if (r->servers.give_up_after > 0)
        snprintf(limit, sizeof limit, "for %.0f s", r->servers.give_up_after);
    log_warn_with(LOG_FIELDS(LOG_PLACE(p->script, line),
                             log_if(r->servers.give_up_after > 0,
                                    log_real("give_up_seconds", r->servers.give_up_after))),
                  "%s: no request to %s has succeeded yet in this run%s; waiting for it %s",
                  p->name, search ? "the search server" : "PostgreSQL", address, limit);
}

static bool take_first_step(void *arg, struct err *e)
{
    struct first_step *s = arg;
    const struct run_servers *servers = &s->run->servers;
    if (s->step(s->arg, e))
        return true;
    bool succeeded = s->needs == RUN_SEARCH ? servers->met : servers->pg.accepted;
    if (!s->failed && e->kind == ERR_PASSING && !succeeded)
        warn_first_wait(s->run, s->needs);
    s->failed = true;
    return false;
}

bool run_reach(struct run *r, enum run_server needs, bool (*step)(void *arg, struct err *e),
               void *arg, struct err *e)
{
    struct first_step s = {.run = r, .needs = needs, .step = step, .arg = arg};
    return retry_until(r->servers.give_up_after, take_first_step, &s, e);
}
