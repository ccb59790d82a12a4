#include "ask/ask.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "feed/chunk_size.h"
#include "flow/queue.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_load.h"
#include "run/run_meta.h"
#include "run/run_open.h"
#include "run/run_workers.h"
#include "store/deadletter.h"
#include "store/state_file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

bool ask_read_letters(struct ask *a, struct err *e)
{
    const struct pipeline *p = &a->run.user.pipeline;
    char *path = deadletters_default_path(p->state);
    if (!path)
        return err_memory(e);
    deadletters_close(a->dead);
    a->dead = deadletters_read(path, p->name, e);
    free(path);
    return a->dead != NULL;
}

static bool read_state(struct ask *a, struct err *e)
{
    const struct pipeline *p = &a->run.user.pipeline;
    struct state_data *d = &a->run.state.data;
    if (!state_file_read(p->state, d, e))
        return pipeline_at_state(e, p);
    if (d->pipeline && strcmp(d->pipeline, p->name) != 0)
        return err_set(e, ERR_USAGE, "state file '%s' belongs to pipeline '%s', not to '%s'",
                       p->state, d->pipeline, p->name);
    a->has_state = d->phase != STATE_NEW && !d->mtime_only;
    return ask_read_letters(a, e);
}

static bool bind_script(void *arg, struct err *e)
{
    struct run *r = arg;
    return run_bind_script(&r->user, &r->servers.pool, &r->work.progress.expected, e);
}

/* Its documents are looked for in the index itself: a filter of an alias would hide some. */
static bool find_index(void *arg, struct err *e)
{
    struct run *r = arg;
    struct index_meta meta;
    if (!run_find_index(r, e))
        return false;
    const char *index = r->user.pipeline.sink.index; /* not before: it may be another one now */
    if (!r->index.info.exists) {
        err_set(e, ERR_FINAL, "index '%s' does not exist", index);
        return err_hint(e, "etl-engine %s creates and loads it", r->user.pipeline.script);
    }
    if (!index_read_meta(r->servers.es, index, &meta, e))
        return false;
    run_adopt_meta(r, &meta);
    r->index.filtered = true;
    return true;
}

static void set_up(struct ask *a, const struct ask_options *o, bool terminal)
{
    a->run = (struct run){
        .options = {.dry_run = true, .workers = o->workers, .give_up_after = o->give_up_after},
        .servers.give_up_after = (double)o->give_up_after,
        .terminal = terminal,
        .started_us = clock_mono_us()};
}

bool ask_open(struct ask *a, const struct ask_options *o, const char *path, bool terminal,
              struct err *e)
{
    struct run *r = &a->run;
    set_up(a, o, terminal);
    if (!run_open_script(&r->user, path, e))
        return false;
    log_pipeline(r->user.pipeline.name);
    if (!(r->alike = alike_new(NULL, e)))
        return false;
    alike_use(r->alike);
    if (!run_open_servers(&r->servers, &r->user.pipeline, false, e) || !read_state(a, e))
        return false;
    progress_start(&r->work.progress, r->user.pipeline.name, terminal);
    if (!run_reach(r, RUN_POSTGRES, bind_script, r, e) ||
        !run_reach(r, RUN_SEARCH, find_index, r, e))
        return false;
    const char *made_by = r->index.saved_meta.fingerprint;
    a->is_older_script = *made_by && strncmp(made_by, r->user.fingerprint, FINGERPRINT_HALF) != 0;
    return true;
}

static void hear_pipeline(const struct ingest_finding *f, void *arg)
{
    struct ask *a = arg;
    if (f->drops && !*a->drops)
        snprintf(a->drops, sizeof a->drops,
                 "ingest pipeline '%s' may have dropped the document; or its change was not "
                 "delivered yet",
                 f->name);
}

struct explain ask_explain(struct ask *a, bool followed)
{
    const struct run *r = &a->run;
    *a->drops = '\0';
    ingest_look_at_index(r->servers.es, r->index.info.name, hear_pipeline, a);
    return (struct explain){.dead = a->dead,
                            .is_older_script = a->is_older_script,
                            .followed = followed,
                            .wal = r->user.pipeline.source.wal,
                            .loading = r->state.data.phase == STATE_SNAPSHOT,
                            .drops = *a->drops ? a->drops : NULL};
}

void ask_close(struct ask *a)
{
    deadletters_close(a->dead);
    a->dead = NULL;
    run_close(&a->run);
}

/* ---- workers ---- */

bool ask_start(struct ask *a, const struct worker_comparer *c, struct err *e)
{
    a->run.comparer = c;
    a->run.options.dry_run = true;
    progress_begin(&a->run.work.progress, "comparing", true);
    return run_start_workers(&a->run, e);
}

bool ask_scan(struct ask *a, struct feed *f, struct err *e)
{
    return run_drain_scan(&a->run, f, e);
}

void ask_stop(struct ask *a)
{
    struct run *r = &a->run;
    if (!r->work.flow.queue)
        return;
    run_stop_workers(r);
    progress_end(&r->work.progress);
    coordinator_free(&r->work.coordinator);
    flow_close(&r->work.flow);
    chunk_size_free(r->work.chunk);
    r->work.chunk = NULL;
}

bool ask_repair(struct ask *a, struct feed *f, bool allow_deletes, struct err *e)
{
    struct run *r = &a->run;
    assert(!r->work.workers && !r->state.file);
    r->comparer = NULL;
    r->options.dry_run = false;
    r->options.allow_deletes = allow_deletes;
    bool ok = run_start_workers(r, e) && run_patiently(r, run_guard, e);
    if (ok)
        ok = run_drain_scan(r, f, e);
    else
        feed_free(f);
    ask_stop(a);
    r->options.dry_run = true;
    return ok;
}
