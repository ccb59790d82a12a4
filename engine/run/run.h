/* run: a pipeline at work: everything that is open while it runs.
 *
 * Uses     what the parts below are made of.
 * Threads  one, the main thread. The workers get what they share with it in a worker_config.
 * Promise  nothing of a run is outside its struct run, so that one process can have several.
 *
 * The modules of this wing, from the ground up; each uses those before it:
 *
 *     run_script, run_servers   parts of a run that know nothing of the others
 *     vitals                    what a pipeline shows of itself, for others to look at
 *     run                       the parts together, and patience with the servers
 *     run_state                 the state: opened, bound to the script, whether it is enough
 *     run_meta, run_index       the index: whose it is, whether it exists, fits, is still the same
 *     run_chosen                the indexes that documents choose: whether they are still there
 *     run_guard, run_warn       how much may be deleted; what a run warns of
 *     run_vitals                what a run notes of itself
 *     run_workers               the queue and the workers, started and stopped
 *     run_capture               capture from the write-ahead log: slot, journal and feeds
 *     run_open                  opens and closes all of that
 *     run_feeds                 the feeds of changes, one for each table
 *     run_load                  until the index is up to date
 *     run_reload, run_alter     another script in a run that goes on; a table that was altered
 *     desk, run_requests        what other processes ask of a run that follows
 *     run_follow                keeps the index in sync
 *     hand_over                 asks another process, which has the state's lock
 *     run_execute               the hooks before and after, and the summary
 *     run_pipeline, reindex     what the commands call
 *     pipelines                 several of them in one process
 */
#pragma once
#include "feed/feed.h"
#include "flow/coordinator.h"
#include "flow/flow.h"
#include "flow/progress.h"
#include "index/echo.h"
#include "index/index.h"
#include "index/presence.h"
#include "pg/pg_pool.h"
#include "run/run_script.h"
#include "run/run_servers.h"
#include "store/state.h"

#include <stdbool.h>
#include <stdint.h>

struct alike;
struct batch;
struct deadletters;
struct desk;
struct err;
struct workers;
struct chunk_size;
struct vitals;
struct run_capture;
struct worker_comparer;

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
    bool sweeping;            /* a sweep is under way */
    bool frozen;              /* data must not be saved: it skips rows that were never read */
};

/* The index that is written to. run_index and run_meta alone change it. */
struct run_index {
    struct index_info info;
    struct index_meta meta, saved_meta; /* what its _meta is to say, and what it says */
    bool meta_readonly;                 /* its _meta is not ours to write, or cannot be written */
    bool is_new;                        /* created by this run, and the state does not know it */
    bool filtered;                      /* sink.index is an alias with a filter */
    bool routed;                        /* the load has found what index/routed.h tells of */
    bool replaced;                      /* by an index that reindex has built: run_adopt is due */
    /* owned; sink.index as the script has it, if that is an alias of several indexes; or NULL */
    char *alias;
    /* owned; the indexes that documents choose, as a sweep that is owed has to leave them; NULL:
     * none is owed because of them; see run_chosen.h */
    char *chosen;
    struct echo echo;
    struct presence presence;
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
    bool terminal;    /* a progress line may be drawn on stderr */
    unsigned reloads; /* of stop_reloads: those that the script has followed */
    int64_t started_us;
    struct vitals *vitals; /* borrowed; what the run shows of itself; NULL: nothing */
    struct alike *alike;   /* owned; of the pipeline's threads */
    struct batch *keys;    /* owned; of --keys or --keys-from; NULL: neither was given */
    struct run_script user;
    struct run_servers servers;
    struct run_state state;
    struct run_index index;
    struct run_work work;
    struct desk *desk; /* owned; takes requests of others; NULL: it takes none */
    struct {
        bool done;            /* another process has done the work, */
        struct counts counts; /* with these */
    } handed;
    struct run_capture *capture;       /* owned; NULL: the run does not capture from the log */
    struct run_capture *early_capture; /* owned; NULL: it is not needed; see run_capture_early */
    /* borrowed; gets each document next to the index's, and nothing is written; NULL: any other
     * run. A dry run, but with a search server */
    const struct worker_comparer *comparer;
    struct {
        bool hidden;     /* that row security hides all rows of a table */
        bool repeated;   /* that the query returns several rows for one key */
        int64_t keyless; /* of so many rows without a key */
    } warned;            /* already: once is enough */
    struct {
        int64_t since_us; /* clock_mono_us */
        int n;
    } restarts, capture_failures; /* of run_alter and run_capture, within a minute */
    struct {
        uint64_t letters; /* of deadletters_changes, at that look */
        int64_t letters_us;
    } noted; /* by run_vitals */
};

/* Whether only some rows are read, so that the state must not advance. */
bool run_is_partial(const struct run *r);
/* The lane of feeds that go over the whole table: the first load, a sweep, given keys. */
size_t run_scan_lane(const struct run *r);
/* The lane of keys that other processes ask for. */
size_t run_errand_lane(const struct run *r);
/* What the run's feeds read from: for its main thread. */
struct feed_origin run_feed_origin(struct run *r);

/* Repeats step until it succeeds, and waits between two tries. False: its error is final, time is
 * up (servers.give_up_after), or a stop was asked. */
bool run_patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e);

enum run_server { RUN_POSTGRES, RUN_SEARCH };
/* The same for the first step that needs this server: at the first wait it warns that no request
 * has succeeded yet, since the address may be wrong. */
bool run_reach(struct run *r, enum run_server needs, bool (*step)(void *arg, struct err *e),
               void *arg, struct err *e);
