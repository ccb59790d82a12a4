#include "run/run_open.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/log.h"
#include "es/es.h"
#include "feed/chunk_size.h"
#include "flow/flow.h"
#include "index/index.h"
#include "model/batch.h"
#include "run/run.h"
#include "run/run_capture.h"
#include "run/run_capture_open.h"
#include "run/run_index.h"
#include "run/run_requests.h"
#include "run/run_state.h"
#include "run/run_vitals.h"
#include "store/deadletter.h"
#include "store/state_file.h"

#include <assert.h>
#include <stdlib.h>

enum { SOON_MS = 1000 };

static bool open_servers(struct run *r, struct err *e)
{
    if (!run_open_servers(&r->servers, &r->user.pipeline, r->options.dry_run, e))
        return false;
    r->servers.search.patient = r->options.follow;
    run_note_script(r);
    return true;
}

bool run_open(struct run *r, const char *path, struct err *e)
{
    bool (*open)(struct run_script *, const char *, struct err *) =
        r->options.dry_run ? run_open_script_dry : run_open_script;
    if (!open(&r->user, path, e))
        return false;
    log_pipeline(r->user.pipeline.name);
    return (!r->options.follow || run_can_follow(&r->user.pipeline, e)) && open_servers(r, e) &&
           run_open_rest(r, e);
}

static bool bind_script(void *arg, struct err *e)
{
    struct run *r = arg;
    return run_bind_script(&r->user, &r->servers.pool, &r->work.progress.expected, e);
}

static bool open_index(void *arg, struct err *e)
{
    struct run *r = arg;
    if (run_open_index(r, e))
        return true;
    if (e->kind == ERR_PASSING && run_captures(r))
        run_capture_early(r);
    return false;
}

/* Whether the search server answers within a second. */
static bool search_is_there(const struct run *r)
{
    struct err ignored;
    struct es_server impatient = r->servers.search; /* borrows what is in it */
    impatient.limits.connect_ms = impatient.limits.request_ms = SOON_MS;
    impatient.limits.stall_s = 1;
    struct es *es = es_open(&impatient, &ignored);
    bool ok = es && index_meet(es, r->user.pipeline.sink.index, &ignored);
    es_close(es);
    return ok;
}

bool run_open_rest(struct run *r, struct err *e)
{
    r->alike = alike_new(NULL, e);
    alike_use(r->alike);
    if (!r->alike || !run_patiently(r, run_open_state, e))
        return false;
    run_open_desk(r);
    progress_start(&r->work.progress, r->user.pipeline.name, r->terminal && !r->options.dry_run);
    if (!run_reach(r, RUN_POSTGRES, bind_script, r, e))
        return false;
    if (r->options.dry_run)
        return true;
    if (!run_patiently(r, run_check_key, e))
        return false;
    if (run_captures(r) && r->state.data.phase != STATE_NEW && !search_is_there(r))
        run_capture_early(r);
    bool ok = run_reach(r, RUN_SEARCH, open_index, r, e);
    run_close_early_capture(r);
    return ok;
}

void run_close(struct run *r)
{
    assert(!r->work.workers); /* they use what is freed here */
    run_close_desk(r, NULL);
    coordinator_free(&r->work.coordinator);
    run_note_no_flow(r);
    flow_close(&r->work.flow);
    chunk_size_free(r->work.chunk);
    run_close_script(&r->user); /* before the servers: it may hold a connection */
    run_close_servers(&r->servers);
    state_data_free(&r->state.data);
    deadletters_close(r->state.dead);
    state_file_close(r->state.file);
    batch_free(r->keys);
    free(r->index.alias);
    free(r->index.chosen);
    alike_free(r->alike);
}
