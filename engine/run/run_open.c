#include "run/run.h"

#include "base/backoff.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "feed/chunk_size.h"
#include "flow/loader.h"
#include "flow/queue.h"
#include "store/deadletter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_GC_DELETES_MS = 10 * 60 * 1000,
    WINDOW = 4,       /* batches of a lane under way or waiting, for each worker */
    WHOLE_WINDOW = 2, /* of the lane for the whole: the size of a chunk is known late enough */
    PRINT_STRETCH =
        LOADER_AHEAD * 3 / 4, /* bytes: who is ahead of its turn to print should not have to stop */
    /* requests: larger ones leave workers idle at the end, and a crash repeats them */
    LOAD_STRETCH = 2,
    STRETCH_ROWS = 1 << 20, /* at most; else the last rows would be too old when they are sent */
    LIMIT_ROWS = 100,       /* at least, while looking for the first few documents */
};
/* what one may take where the script sets a rate, for the same reason */
static const double STRETCH_S = 60;

/* ---- the script ---- */

/* lacking: see pipeline_read_dry. */
static bool read_script(struct run_script *s, const char *path, struct err *lacking, struct err *e)
{
    return script_read(&s->text, path, e) && (s->script = script_open(&s->text, e)) &&
           pipeline_read_dry(&s->pipeline, s->script, lacking, e) &&
           fingerprint_read(s->script, &s->pipeline, s->fingerprint, e);
}

bool run_open_script(struct run_script *s, const char *path, struct err *e)
{
    return read_script(s, path, NULL, e);
}

/* Nothing is written, so it may be unknown where to; yet whoever tries a script wants to know. */
static bool open_script_dry(struct run_script *s, const char *path, struct err *e)
{
    struct err lacking;
    if (!read_script(s, path, &lacking, e))
        return false;
    if (lacking.kind != ERR_NONE)
        log_warn("%s: only a dry run does without it%s%s%s", lacking.text,
                 *lacking.hint ? " (hint: " : "", lacking.hint, *lacking.hint ? ")" : "");
    return true;
}

void run_close_script(struct run_script *s)
{
    source_free(&s->source);
    script_close(s->script);
    pipeline_free(&s->pipeline);
    script_text_free(&s->text);
    *s = (struct run_script){0};
}

bool run_open_source(struct run *r, struct run_script *s, struct err *e)
{
    struct pg *pg = pg_acquire(&r->pool, e);
    int64_t expected = 0;
    bool ok = pg && source_open(&s->source, &s->pipeline, pg, e) &&
              source_estimate(&s->source, pg, &expected, e) && source_warn(&s->source, pg, e);
    pg_release(&r->pool, pg);
    if (!ok)
        source_free(&s->source); /* it is tried again */
    r->progress.expected = expected;
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
             p->script, p->source.url_line, r->pg.label);
}

bool run_open_servers(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    if (!pg_server_init(&r->pg, p->source.url, e))
        return pipeline_at_line(e, p, p->source.url_line);
    tell_empty_url(r);
    pg_pool_init(&r->pool, &r->pg);
    if (r->o.dry_run)
        return true;
    if (!es_server_init(&r->es_server,
                        &(struct es_config){.url = p->sink.url, .compress = p->sink.compress}, e))
        return pipeline_at_line(e, p, p->sink.url_line);
    if (!es_server_secure(&r->es_server, &p->sink.security, e))
        return false;
    return (r->es = es_open(&r->es_server, e)) != NULL;
}

static bool open_state(struct run *r, struct err *e);

/* A server that this run has never reached may not be there at all: a wrong address is a mistake
 * more often than an outage. */
static void tell_first_wait(const struct run *r, bool search)
{
    const struct pipeline *p = &r->user.pipeline;
    int line = search ? p->sink.url_line : p->source.url_line;
    char name[100], variable[140] = "", limit[60] = "ever (--give-up-after S: for S seconds)";
    if (pipeline_variable(&r->user.text, line, name, sizeof name))
        snprintf(variable, sizeof variable, ", variable %s", name);
    if (r->give_up_after > 0)
        snprintf(limit, sizeof limit, "%.0f s", r->give_up_after);
    log_warn("%s: no request to %s has succeeded yet in this run: its address comes from %s.url "
             "(%s:%d%s); it "
             "is waited for %s",
             p->name, search ? "the search server" : "PostgreSQL", search ? "sink" : "source",
             p->script, line, variable, limit);
}

bool run_patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e)
{
    struct retry retry;
    bool told = step == open_state;
    retry_start(&retry, r->give_up_after);
    while (!step(r, e)) {
        bool search = step != open_source;
        if (!told && e->kind == ERR_PASSING && !(search ? r->met : r->pg.accepted))
            tell_first_wait(r, search);
        told = true;
        if (!retry_again(&retry, e))
            return false;
    }
    retry_done(&retry);
    return true;
}

/* ---- the state ---- */

static bool open_dead_letters(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    char *path = NULL;
    if (r->o.dead_letters)
        path = strdup(r->o.dead_letters);
    else if (asprintf(&path, "%s.rejected", p->state) < 0)
        path = NULL;
    if (!path)
        return err_memory(e);
    r->dead = deadletters_open(path, p->name, e);
    free(path);
    return r->dead != NULL;
}

static bool open_state(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    if (r->o.dry_run)
        return true;
    if ((!r->state && !(r->state = state_open(p->state, e))) || !state_read(p->state, &r->data, e))
        return false;
    if (r->data.pipeline && strcmp(r->data.pipeline, p->name) != 0 && !r->o.take_over) {
        err_set(e, ERR_USAGE, "state file '%s' belongs to pipeline '%s', not to '%s'", p->state,
                r->data.pipeline, p->name);
        return err_hint(
            e,
            "give each script a state file of its own: state = \"...\" in %s; or, if '%s' has "
            "been renamed: --take-over",
            p->script, r->data.pipeline);
    }
    return open_dead_letters(r, e);
}

bool run_can_follow(const struct pipeline *p, struct err *e)
{
    bool any = p->sweep > 0 || p->source.cursor;
    for (size_t i = 0; i < p->source.n_related; i++)
        any |= p->source.related[i].cursor != NULL;
    if (any)
        return true;
    err_set(e, ERR_USAGE,
            "%s: option --follow would see no change: there is no cursor in source, and sweep is 0",
            p->script);
    return err_hint(e, "sweep = 60, beside name, compares every row each minute; source.cursor, "
                       "the column that says "
                       "when a row last changed, costs less");
}

bool run_open(struct run *r, const char *path, struct err *e)
{
    return (r->o.dry_run ? open_script_dry : run_open_script)(&r->user, path, e) &&
           /* before anything is touched */
           (!r->o.follow || run_can_follow(&r->user.pipeline, e)) && run_open_servers(r, e) &&
           run_open_rest(r, e);
}

bool run_open_rest(struct run *r, struct err *e)
{
    if (!run_patiently(r, open_state, e))
        return false;
    progress_start(&r->progress, r->user.pipeline.name, r->terminal && !r->o.dry_run);
    if (!run_patiently(r, open_source, e))
        return false;
    return r->o.dry_run ||
           (run_patiently(r, run_check_key, e) && run_patiently(r, run_open_index, e));
}

void run_close(struct run *r)
{
    coordinator_free(&r->coordinator);
    queue_free(r->queue);
    chunk_size_free(r->chunk);
    run_close_script(&r->user); /* before what it may still hold a connection of */
    es_close(r->es);
    pg_pool_free(&r->pool);
    pg_server_free(&r->pg);
    es_server_free(&r->es_server);
    state_data_free(&r->data);
    deadletters_close(r->dead);
    state_close(r->state);
    batch_free(r->keys);
    free(r->sink_alias);
}

/* ---- the workers ---- */

static int64_t max_age_us(const struct run *r)
{
    if (r->o.dry_run)
        return 0;
    if (r->index.gc_deletes_ms >= MIN_GC_DELETES_MS)
        return r->index.gc_deletes_ms * 1000 / 2;
    log_warn("index '%s' forgets deleted documents after %lld s (index.gc_deletes): set it to 1h, "
             "so that a slow "
             "request cannot bring one back",
             r->user.pipeline.sink.index, (long long)(r->index.gc_deletes_ms / 1000));
    return 0;
}

static bool make_queue(struct run *r, int workers, struct err *e)
{
    size_t n = r->user.source.n_tables + 1;
    size_t *windows = malloc(n * sizeof *windows);
    if (!windows)
        return err_memory(e);
    for (size_t i = 0; i < n; i++)
        windows[i] = (size_t)workers * (i == run_scan_lane(r) ? WHOLE_WINDOW : WINDOW);
    r->queue = queue_new(windows, n, r->data.version, e);
    free(windows);
    return r->queue != NULL;
}

static void load_dead_keys(struct run *r)
{
    const char *key;
    size_t at = 0;
    while (r->dead && deadletters_next(r->dead, &at, &key))
        queue_set_dead(r->queue, key, true);
}

static bool make_chunk(struct run *r, int workers, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    size_t bytes = r->o.dry_run ? PRINT_STRETCH : (size_t)p->sink.batch_bytes * LOAD_STRETCH;
    int64_t most = STRETCH_ROWS;
    double rate = r->o.dry_run ? 0 : p->sink.max_rate / workers;
    if (rate > 0 && rate * STRETCH_S < (double)most)
        most = (int64_t)(rate * STRETCH_S);
    if (r->o.limit > 0 && r->o.limit < most)
        most = r->o.limit;
    struct chunk_size_config config = {.bytes = bytes,
                                       .most = most > LIMIT_ROWS ? most : LIMIT_ROWS,
                                       .expected = r->progress.expected,
                                       .workers = workers};
    r->chunk = chunk_size_new(&config, e);
    return r->chunk != NULL;
}

bool run_start(struct run *r, struct err *e)
{
    int workers = r->o.limit > 0 ? 1 : (int)r->o.workers;
    bool bulk = r->o.format && strcmp(r->o.format, "bulk") == 0;
    if (!make_queue(r, workers, e) || !make_chunk(r, workers, e))
        return false;
    load_dead_keys(r);
    r->coordinator = (struct coordinator){
        .queue = r->queue,
        .source = &r->user.source,
        .state = run_is_partial(r) ? NULL : r->state,
        .data = &r->data,
        .dead = r->dead,
        .progress = &r->progress,
        .give_up_after = r->give_up_after,
    };
    struct loader_config config = {
        .pipeline = &r->user.pipeline,
        .source = &r->user.source,
        .script = &r->user.text,
        .pg = &r->pg,
        .es = r->o.dry_run ? NULL : &r->es_server,
        .echo = &r->echo,
        .state_path = r->user.pipeline.state,
        .queue = r->queue,
        .chunk = r->chunk,
        .output = !r->o.dry_run ? LOADER_INDEX
                  : bulk        ? LOADER_BULK
                                : LOADER_DOCUMENTS,
        .limit = r->o.limit,
        .index_is_ours = r->noted.known && strcmp(r->noted.pipeline, r->meta.pipeline) == 0,
        .max_age_us = max_age_us(r),
        .max_rejected = (uint64_t)r->user.pipeline.max_rejected,
        .give_up_after = r->give_up_after,
        .workers = workers,
    };
    return coordinator_init(&r->coordinator, e) && (r->loader = loader_start(&config, e));
}

void run_stop(struct run *r)
{
    queue_close(r->queue);
    loader_join(r->loader);
    r->loader = NULL;
}
