#include "run/run_reload.h"

#include "base/err.h"
#include "base/text.h"
#include "feed/chunk_size.h"
#include "flow/flow.h"
#include "flow/tally.h"
#include "run/run.h"
#include "run/run_capture.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_state.h"
#include "run/run_vitals.h"
#include "run/run_workers.h"

#include <string.h>

/* Matters only if documents choose their index: otherwise sink.index is compared. */
static bool same_indices(const struct pipeline *a, const struct pipeline *b)
{
    return a->sink.multi_index == b->sink.multi_index &&
           (!a->sink.multi_index || text_same(a->sink.indices, b->sink.indices));
}

static bool same_key(const struct pipeline_names *a, const struct pipeline_names *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = text_same(a->list[i], b->list[i]);
    return same;
}

/* The field that cannot change during a run, but has; NULL: none. Of a url, only the user and the
 * password can: see take_credentials. */
static const char *fixed_field(const struct run *r, const struct pipeline *b)
{
    const struct pipeline *a = &r->user.pipeline;
    const char *index = r->index.alias ? r->index.alias : a->sink.index;
    const struct {
        const char *field;
        bool same;
    } rows[] = {
        {"name", text_same(a->name, b->name)},
        {"state", text_same(a->state, b->state)},
        {"source.capture", a->source.wal == b->source.wal},
        {"source.slot", text_same(a->source.slot, b->source.slot)},
        {"source.publication", text_same(a->source.publication, b->source.publication)},
        {"sink.index", text_same(index, b->sink.index)},
        {"sink.indices", same_indices(a, b)},
        /* a reindex has built the new index with the new key */
        {"source.key", r->index.replaced || same_key(&a->source.key, &b->source.key)},
        {"sink.compress", a->sink.compress == b->sink.compress},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!rows[i].same)
            return rows[i].field;
    return NULL;
}

/* From now on the servers are asked with the new credentials, also if the script is refused: the
 * old ones may be invalid by now. */
static bool take_credentials(struct run *r, const struct pipeline *p, struct err *e)
{
    return (pg_server_replace(&r->servers.pg, p->source.url, e) &&
            es_server_secure_again(&r->servers.search, p->sink.url, &p->sink.security, e)) ||
           err_wrap(e, "%s", p->script);
}

bool run_check_reload(struct run *r, const struct run_script *fresh, struct err *e)
{
    const struct pipeline *p = &fresh->pipeline;
    if (script_never_returns(fresh->script))
        return script_returned_nothing(fresh->script, e);
    const char *field = fixed_field(r, p);
    if (field)
        return err_set(e, ERR_USAGE, "%s: '%s' has changed: restart to use the new value",
                       p->script, field);
    return take_credentials(r, p, e) && (!r->options.follow || run_can_follow(p, e));
}

bool run_restart(struct run *r, struct run_script *fresh, struct err *e)
{
    run_close_capture(r);
    run_stop_workers(r);
    coordinator_free(&r->work.coordinator);
    struct counts sums = tally_counts(r->work.flow.tally);
    run_note_no_flow(r);
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
        !run_start_workers(r, e) || !run_patiently(r, run_open_capture, e) ||
        !run_bind_capture(r, e) || !run_patiently(r, run_guard, e))
        return false;
    tally_carry(r->work.flow.tally, &sums);
    coordinator_begin_window(&r->work.coordinator);
    script_serve(r->user.script, &(struct sandbox_services){&r->servers.pool, r->servers.es,
                                                            r->user.pipeline.state});
    return true;
}
