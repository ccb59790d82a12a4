#include "run/run_reload.h"

#include "base/err.h"
#include "base/text.h"
#include "feed/chunk_size.h"
#include "flow/flow.h"
#include "flow/tally.h"
#include "run/run.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_state.h"
#include "run/run_workers.h"

#include <string.h>

/* Where all documents are in sink.index, its name may be an alias in one of them. */
static bool same_places(const struct pipeline *a, const struct pipeline *b)
{
    return a->sink.scattered == b->sink.scattered &&
           (!a->sink.scattered || text_same(a->sink.indices, b->sink.indices));
}

static bool same_key(const struct pipeline_names *a, const struct pipeline_names *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = text_same(a->list[i], b->list[i]);
    return same;
}

bool run_check_reload(const struct run *r, const struct run_script *fresh, struct err *e)
{
    const struct pipeline *a = &r->user.pipeline, *b = &fresh->pipeline;
    const char *secret;
    if (script_never_returns(fresh->script))
        return script_returned_nothing(fresh->script, e);
    if (!es_server_changed(&r->servers.search, &b->sink.security, &secret, e))
        return false;
    const char *named = r->index.alias ? r->index.alias : a->sink.index;
    const char *changed = !text_same(a->name, b->name)               ? "name"
                          : !text_same(a->state, b->state)           ? "state"
                          : !text_same(a->source.url, b->source.url) ? "source.url"
                          : !text_same(a->sink.url, b->sink.url)     ? "sink.url"
                          : !text_same(named, b->sink.index)         ? "sink.index"
                          : !same_places(a, b)                       ? "sink.indices"
                          : secret                                   ? secret
                          : !r->index.replaced && !same_key(&a->source.key, &b->source.key)
                              ? "source.key"
                          : a->sink.compress != b->sink.compress ? "sink.compress"
                                                                 : NULL;
    if (changed)
        return err_set(e, ERR_USAGE, "%s: '%s' has changed, which takes a restart", b->script,
                       changed);
    return !r->options.follow || run_can_follow(b, e);
}

bool run_restart(struct run *r, struct run_script *fresh, struct err *e)
{
    run_stop_workers(r);
    coordinator_free(&r->work.coordinator);
    struct counts sums = tally_counts(r->work.flow.tally);
    flow_close(&r->work.flow);
    chunk_size_free(r->work.chunk);
    r->work.chunk = NULL;
    if (fresh) {
        run_close_script(&r->user);
        r->user = *fresh;
        *fresh = (struct run_script){0};
        r->user.source.pipeline = &r->user.pipeline;
        r->work.progress.name = r->user.pipeline.name;
    }
    if ((r->index.replaced && !run_patiently(r, run_adopt, e)) || !run_bind_state(r, e) ||
        !run_start_workers(r, e) || !run_patiently(r, run_guard, e))
        return false;
    tally_add(r->work.flow.tally, &sums);
    coordinator_begin_window(&r->work.coordinator);
    script_serve(r->user.script, &(struct sandbox_services){&r->servers.pool, r->servers.es,
                                                            r->user.pipeline.state});
    return true;
}
