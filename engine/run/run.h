/* run: a pipeline at work: everything that is open while it runs, and the ways to carry its rows.
 *
 *     cmd_run.c     the options, the beginning and the end (cmd_reindex.c and reindex.c are another
 *                   user)
 *     run_open.c    opening: the script, both servers, the state; the workers
 *     run_index.c   the index: that it is there, fits the script, and is still the same
 *     run_load.c    until all is up to date: the first load, what changed, a sweep, given keys
 *     run_anew.c    a table that is altered under a run
 *     run_follow.c  for ever: looking again, sweeping, reloading the script
 *     run_execute.c the hooks round the work, and what it came to
 */
#pragma once
#include "es/es.h"
#include "flow/coordinator.h"
#include "flow/progress.h"
#include "index/echo.h"
#include "index/index.h"
#include "pg/pg.h"
#include "run/run_script.h"
#include "store/state.h"

#include <stdbool.h>
#include <stdint.h>

struct batch;
struct deadletters;
struct err;
struct loader;
struct queue;
struct chunk_size;

struct run_options {
    bool dry_run, full, follow, sweep, allow_deletes, take_over;
    const char *format, *keys, *keys_from, *since, *dead_letters;
    long long limit, workers, give_up_after;
};

struct run {
    struct run_options o;
    bool terminal;
    double give_up_after;
    struct run_script user; /* owned, as all that follows */
    struct pg_server pg;
    struct pg_pool pool;
    struct es_server es_server;
    struct es *es;
    struct state *state;
    struct state_data data;
    struct deadletters *dead;
    struct index_info index;
    struct index_meta meta, noted; /* what the index's note is to say, and what it says */
    /* sink.index as the script has it, where it is an alias of several */
    char *sink_alias;
    struct echo echo;
    bool met; /* the search server has answered as one */
    bool index_created;
    bool filtered;    /* sink.index is an alias with a filter: see run_reads */
    bool index_moved; /* another one has taken its place: run_adopt */
    /* no note is to be written: it is refused, or the index is not ours to note in */
    bool unnoted;
    bool hidden_told;   /* that row security hides all rows */
    bool repeated_told; /* that the query has several rows for one key */
    bool state_stays;   /* what is read is no progress that the state may note */
    struct batch *keys; /* --keys, --keys-from */
    struct queue *queue;
    struct chunk_size *chunk; /* of the first load */
    struct loader *loader;
    struct coordinator coordinator;
    struct progress progress;
    int64_t started_us, anew_us;
    int anew; /* run_anew: how often since then */
};

/* Whether only some rows are read, so that the state must not advance. */
bool run_is_partial(const struct run *r);
/* The lane of feeds that go over the whole table: the first load, a sweep, given keys. */
size_t run_scan_lane(const struct run *r);

/* Which server a step needs; see run_patiently. */
enum run_server { RUN_NO_SERVER, RUN_POSTGRES, RUN_SEARCH };

/* Repeats step until it succeeds; waits between two tries while the error is passing. needs: warns
 * at the first wait if this run has never reached that server: its address may be wrong. */
bool run_reach(struct run *r, enum run_server needs, bool (*step)(struct run *, struct err *),
               struct err *e);
/* The same for a step that comes after both servers have been reached. */
bool run_patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e);
