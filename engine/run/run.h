/* run: a pipeline at work: everything that is open while it runs, and the ways to carry its rows.
 *
 *     cmd_run.c     the options, the beginning and the end (cmd_reindex.c and reindex.c are another
 *                   user)
 *     run_open.c    opening: the script, both servers, the state; the workers
 *     run_index.c   the index: that it is there, fits the script, and is still the same
 *     run_load.c    until all is up to date: the first load, what changed, a sweep, given keys
 *     run_alter.c    a table that is altered under a run
 *     run_follow.c  for ever: looking again, sweeping, reloading the script
 *     run_execute.c the hooks round the work, and what it came to
 */
#pragma once
#include "flow/coordinator.h"
#include "flow/flow.h"
#include "flow/progress.h"
#include "index/echo.h"
#include "index/index.h"
#include "pg/pg_pool.h"
#include "run/run_script.h"
#include "run/run_servers.h"
#include "store/state.h"

#include <stdbool.h>
#include <stdint.h>

struct batch;
struct deadletters;
struct err;
struct workers;
struct chunk_size;

struct run_options {
    bool dry_run, full, follow, sweep, allow_deletes, take_over;
    const char *format, *keys, *keys_from, *since, *dead_letters;
    long long limit, workers, give_up_after;
};

/* How far the pipeline has come: what the state file says, or will say when it is saved next. */
struct run_state {
    struct state_file *file; /* owned; NULL: a dry run */
    struct state_data data;
    struct deadletters *dead; /* owned; NULL: a dry run */
    bool frozen;              /* data must not be saved: it skips rows that were never read */
};

/* The index that is written to. run_index.c alone changes it, once it is open. */
struct run_index {
    struct index_info info;
    struct index_meta meta, saved_meta; /* what its _meta is to say, and what it says */
    bool meta_readonly;                 /* its _meta is not ours to write, or cannot be written */
    bool is_new;   /* created by this run, and the state does not know it yet */
    bool filtered; /* sink.index is an alias with a filter: see run_index_to_search */
    bool replaced; /* by an index that reindex has made: run_adopt is due */
    char *
        alias; /* owned; sink.index as the script has it, if that is an alias of several; or NULL */
    struct echo echo;
};

/* What carries the rows while the run lasts. */
struct run_work {
    struct flow flow;         /* owned */
    struct chunk_size *chunk; /* owned; of the first load and of sweeps */
    struct workers *workers;  /* owned; NULL: no worker is running */
    struct coordinator coordinator;
    struct progress progress;
};

struct run {
    struct run_options options;
    bool terminal; /* a progress line may be drawn on stderr */
    int64_t started_us;
    struct batch *keys; /* owned; of --keys or --keys-from; NULL: neither was given */
    struct run_script user;
    struct run_servers servers;
    struct run_state state;
    struct run_index index;
    struct run_work work;
    struct {
        bool hidden;   /* that row security hides all rows of a table */
        bool repeated; /* that the query returns several rows for one key */
    } warned;          /* already: once is enough */
    struct {
        int64_t since_us; /* clock_mono_us */
        int n;
    } restarts; /* of run_alter, within a minute */
};

/* Whether only some rows are read, so that the state must not advance. */
bool run_is_partial(const struct run *r);
/* The lane of feeds that go over the whole table: the first load, a sweep, given keys. */
size_t run_scan_lane(const struct run *r);

/* A step that is repeated until it succeeds, with waits while its error is passing. */
bool run_patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e);

enum run_server { RUN_POSTGRES, RUN_SEARCH };
/* The same for the first step that needs this server: at the first wait it warns that no request
 * has succeeded yet, since the address may be wrong. */
bool run_reach(struct run *r, enum run_server needs, bool (*step)(void *arg, struct err *e),
               void *arg, struct err *e);
