#include "run/run_open.h"

#include "base/err.h"
#include "base/log.h"
#include "feed/chunk_size.h"
#include "flow/queue.h"
#include "run/run.h"
#include "run/run_index.h"
#include "run/run_state.h"
#include "store/deadletter.h"

#include <stdlib.h>

/* ---- the script ---- */

bool run_open_source(struct run *r, struct run_script *s, struct err *e)
{
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    int64_t expected = 0;
    bool ok = pg && source_open(&s->source, &s->pipeline, pg, e) &&
              source_estimate(&s->source, pg, &expected, e) && source_warn(&s->source, pg, e);
    pg_release(&r->servers.pool, pg);
    if (!ok)
        source_free(&s->source); /* it is tried again */
    r->work.progress.expected = expected;
    return ok;
}

static bool open_source(struct run *r, struct err *e)
{
    return run_open_source(r, &r->user, e);
}

/* ---- the servers ---- */

/* As where a variable is set, but to nothing. */
static void tell_empty_url(const struct run *r)
{
    static const char *const variables[] = {"PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"};
    const struct pipeline *p = &r->user.pipeline;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (*p->source.url || getenv(variables[i]))
            return;
    log_warn("%s:%d: field 'url' in source is empty: it is database %s, by libpq's defaults",
             p->script, p->source.url_line, r->servers.pg.label);
}

bool run_open_servers(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    if (!pg_server_init(&r->servers.pg, p->source.url, e))
        return pipeline_at_line(e, p, p->source.url_line);
    tell_empty_url(r);
    pg_pool_init(&r->servers.pool, &r->servers.pg);
    if (r->options.dry_run)
        return true;
    if (!es_server_init(&r->servers.search,
                        &(struct es_config){.url = p->sink.url, .compress = p->sink.compress}, e))
        return pipeline_at_line(e, p, p->sink.url_line);
    if (!es_server_secure(&r->servers.search, &p->sink.security, e))
        return false;
    return (r->servers.es = es_open(&r->servers.search, e)) != NULL;
}

/* ---- the whole ---- */

bool run_open(struct run *r, const char *path, struct err *e)
{
    return (r->options.dry_run ? run_open_script_dry : run_open_script)(&r->user, path, e) &&
           /* before anything is touched */
           (!r->options.follow || run_can_follow(&r->user.pipeline, e)) && run_open_servers(r, e) &&
           run_open_rest(r, e);
}

bool run_open_rest(struct run *r, struct err *e)
{
    if (!run_patiently(r, run_open_state, e))
        return false;
    progress_start(&r->work.progress, r->user.pipeline.name, r->terminal && !r->options.dry_run);
    if (!run_reach(r, RUN_POSTGRES, open_source, e))
        return false;
    return r->options.dry_run ||
           (run_patiently(r, run_check_key, e) && run_reach(r, RUN_SEARCH, run_open_index, e));
}

void run_close(struct run *r)
{
    coordinator_free(&r->work.coordinator);
    queue_free(r->work.queue);
    chunk_size_free(r->work.chunk);
    run_close_script(&r->user); /* before what it may still hold a connection of */
    es_close(r->servers.es);
    pg_pool_free(&r->servers.pool);
    pg_server_free(&r->servers.pg);
    es_server_free(&r->servers.search);
    state_data_free(&r->state.data);
    deadletters_close(r->state.dead);
    state_close(r->state.file);
    batch_free(r->keys);
    free(r->index.alias);
}
