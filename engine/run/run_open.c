#include "run/run_open.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/log.h"
#include "es/es.h"
#include "es/es_url.h"
#include "feed/chunk_size.h"
#include "flow/flow.h"
#include "index/index.h"
#include "model/batch.h"
#include "run/run.h"
#include "run/run_capture.h"
#include "run/run_capture_open.h"
#include "run/run_index.h"
#include "run/run_state.h"
#include "run/vitals.h"
#include "store/deadletter.h"
#include "store/state_file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOON_MS = 1000 };

/* "127.0.0.1:5432/movies", of the label "'movies' at 127.0.0.1:5432"; other labels stay. */
static void describe_database(const char *label, char *out, size_t size)
{
    const char *at = *label == '\'' ? strstr(label, "' at ") : NULL;
    if (at && !strchr(at + 5, ' '))
        snprintf(out, size, "%s/%.*s", at + 5, (int)(at - label - 1), label + 1);
    else
        snprintf(out, size, "%s", label);
}

/* Where dead letters are kept; a path that would be cut is of no use. */
static void describe_dead_letters(const struct run *r, char *out, size_t size)
{
    const char *own = r->options.dead_letters;
    char *path =
        own || r->options.dry_run ? NULL : deadletters_default_path(r->user.pipeline.state);
    const char *shown = own ? own : path ? path : "";
    if (strlen(shown) < size)
        snprintf(out, size, "%s", shown);
    free(path);
}

static void describe(const struct run *r)
{
    const struct pipeline *p = &r->user.pipeline;
    struct vitals_about about = {.from_log = p->source.wal};
    snprintf(about.name, sizeof about.name, "%s", p->name);
    snprintf(about.script, sizeof about.script, "%s", p->script);
    snprintf(about.index, sizeof about.index, "%s", p->sink.index ? p->sink.index : "");
    describe_database(r->servers.pg.label, about.database, sizeof about.database);
    for (size_t i = 0, n = 0; i < r->servers.search.n_urls && n < sizeof about.search; i++)
        n += (size_t)snprintf(about.search + n, sizeof about.search - n, "%s%s", i ? ", " : "",
                              r->servers.search.urls[i].text);
    describe_dead_letters(r, about.dead_letters, sizeof about.dead_letters);
    vitals_describe(r->vitals, &about);
}

static bool open_servers(struct run *r, struct err *e)
{
    if (!run_open_servers(&r->servers, &r->user.pipeline, r->options.dry_run, e))
        return false;
    describe(r);
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
    coordinator_free(&r->work.coordinator);
    flow_close(&r->work.flow);
    chunk_size_free(r->work.chunk);
    run_close_script(&r->user); /* before the servers: it may hold a connection */
    run_close_servers(&r->servers);
    state_data_free(&r->state.data);
    deadletters_close(r->state.dead);
    state_file_close(r->state.file);
    batch_free(r->keys);
    free(r->index.alias);
    alike_free(r->alike);
}
