#include "run/run_workers.h"

#include "base/err.h"
#include "base/log.h"
#include "feed/chunk_size.h"
#include "flow/dead_keys.h"
#include "flow/queue.h"
#include "flow/workers.h"
#include "run/run.h"
#include "run/run_state.h"
#include "run/run_vitals.h"
#include "store/deadletter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_GC_DELETES_MS = 10 * 60 * 1000,
    LANE_WINDOW = 4, /* batches of a lane in the queue or in work, for each worker */
    SCAN_WINDOW = 2, /* of the scan's lane: a chunk's size is measured only when it is done */
    /* bytes of a chunk: a worker that is ahead of its turn to print should not have to wait */
    PRINT_CHUNK = WORKER_AHEAD * 3 / 4,
    /* requests: with fewer, a worker more often has none under way, since it begins a chunk; with
     * more, a crash repeats more */
    LOAD_CHUNK = 8,
    /* at most: with more, the last rows would be too old when they are sent */
    CHUNK_ROWS = 1 << 20,
    LIMIT_ROWS = 100, /* at least, with --limit: a search for the first few documents */
};
static const double CHUNK_S = 60; /* of the script's rate, at most: for the same reason */

/* name: of the index, for people. */
static int64_t max_age_us(const struct index_info *index, const char *name)
{
    if (index->gc_deletes_ms >= MIN_GC_DELETES_MS)
        return index->gc_deletes_ms * 1000 / 2;
    log_warn_with(
        LOG_FIELDS(log_text("index", name),
                   log_real("gc_deletes_seconds", (double)index->gc_deletes_ms / 1e3)),
        "index '%s' forgets deleted documents after %lld s (index.gc_deletes): set it to 1h, "
        "so that a slow request cannot restore one",
        name, (long long)(index->gc_deletes_ms / 1000));
    return 0;
}

static bool open_flow(struct run *r, int workers, struct err *e)
{
    size_t n = r->user.source.n_tables + COORDINATOR_MORE_LANES;
    size_t *windows = malloc(n * sizeof *windows);
    if (!windows)
        return err_memory(e);
    for (size_t i = 0; i < n; i++)
        windows[i] = (size_t)workers * (i == run_scan_lane(r) ? SCAN_WINDOW : LANE_WINDOW);
    bool ok = flow_open(&r->work.flow, windows, n, r->state.data.version, e);
    free(windows);
    return ok;
}

/* letters: NULL: there are none. */
static void load_dead_keys(struct dead_keys *keys, const struct deadletters *letters)
{
    const char *key;
    size_t at = 0;
    while (letters && deadletters_next(letters, &at, &key))
        dead_keys_set(keys, key, true);
}

/* The most rows that a chunk may have. */
static int64_t chunk_rows(const struct run_options *o, double rate)
{
    int64_t most = CHUNK_ROWS;
    if (rate > 0 && rate * CHUNK_S < (double)most)
        most = (int64_t)(rate * CHUNK_S);
    if (o->limit > 0 && o->limit < most)
        most = o->limit;
    return most > LIMIT_ROWS ? most : LIMIT_ROWS;
}

static bool make_chunk(struct run *r, int workers, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    bool dry = r->options.dry_run;
    struct chunk_size_config config = {
        .bytes = dry ? PRINT_CHUNK : (size_t)p->sink.batch_bytes * LOAD_CHUNK,
        .most = chunk_rows(&r->options, dry ? 0 : p->sink.max_rate / workers),
        .expected = r->work.progress.expected,
        .workers = workers,
    };
    r->work.chunk = chunk_size_new(&config, e);
    return r->work.chunk != NULL;
}

/* A bulk request must not make an index, with a mapping that the server guesses, in place of one
 * that somebody has deleted. */
static void guard_index(struct run *r, struct worker_config *config)
{
    const struct pipeline *p = &r->user.pipeline;
    bool alias = strcmp(r->index.info.name, p->sink.index) != 0;
    config->is_alias = alias && !p->sink.multi_index;
    config->presence = config->is_alias ? NULL : &r->index.presence;
}

bool run_start_workers(struct run *r, struct err *e)
{
    assert(!r->work.workers && !r->work.flow.queue); /* ended by run_stop_workers, run_restart */
    int workers = r->options.limit > 0 ? 1 : (int)r->options.workers;
    bool bulk = r->options.format && strcmp(r->options.format, "bulk") == 0;
    if (!open_flow(r, workers, e) || !make_chunk(r, workers, e))
        return false;
    run_note_flow(r);
    load_dead_keys(r->work.flow.dead, r->state.dead);
    r->work.coordinator = (struct coordinator){
        .flow = &r->work.flow,
        .source = &r->user.source,
        .state = run_state_to_save(r),
        .data = &r->state.data,
        .dead = r->state.dead,
        .progress = &r->work.progress,
        .each_round = run_note_round,
        .arg = r,
        .give_up_after = r->servers.give_up_after,
    };
    struct worker_config config = {
        .pipeline = &r->user.pipeline,
        .source = &r->user.source,
        .script = &r->user.text,
        .pg = &r->servers.pg,
        .es = r->options.dry_run && !r->comparer ? NULL : &r->servers.search,
        .echo = &r->index.echo,
        .comparer = r->comparer,
        .state_path = r->user.pipeline.state,
        .flow = &r->work.flow,
        .chunk = r->work.chunk,
        .output = r->comparer           ? WORKER_COMPARE
                  : !r->options.dry_run ? WORKER_INDEX
                  : bulk                ? WORKER_BULK
                                        : WORKER_DOCUMENTS,
        .limit = r->options.limit,
        .index_is_ours = r->index.saved_meta.known &&
                         strcmp(r->index.saved_meta.pipeline, r->index.meta.pipeline) == 0,
        .max_age_us =
            r->options.dry_run ? 0 : max_age_us(&r->index.info, r->user.pipeline.sink.index),
        .max_rejected = (uint64_t)r->user.pipeline.max_rejected,
        .give_up_after = r->servers.give_up_after,
    };
    guard_index(r, &config);
    return coordinator_init(&r->work.coordinator, e) &&
           (r->work.workers = workers_start(&config, workers, e));
}

void run_stop_workers(struct run *r)
{
    queue_close(r->work.flow.queue);
    workers_join(r->work.workers);
    r->work.workers = NULL;
}
