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
#include "cmd/cli.h"
#include "es/es.h"
#include "feed/feed.h"
#include "flow/coordinator.h"
#include "flow/progress.h"
#include "index/echo.h"
#include "index/index.h"
#include "pg/pg.h"
#include "script/fingerprint.h"
#include "script/pipeline.h"
#include "script/script.h"
#include "source/source.h"
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
    struct cli_log log; /* first */
    bool dry_run, full, follow, sweep, allow_deletes, take_over;
    const char *format, *keys, *keys_from, *since, *dead_letters;
    long long limit, workers, give_up_after;
};

struct run_script { /* the user's file, as far as it matters here; all owned */
    struct script_text text;
    struct script *script;
    struct pipeline pipeline;
    struct source source;
    char fingerprint[FINGERPRINT_TEXT];
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

/* ---- run_open.c ---- */

/* Everything but the workers; waits for servers that are absent. */
bool run_open(struct run *r, const char *path, struct err *e);
/* Its parts, once run_open_script has read r->user. */
bool run_open_servers(struct run *r, struct err *e);
bool run_open_rest(struct run *r, struct err *e);
void run_close(struct run *r); /* bears a zeroed struct; the workers have ended */
bool run_open_script(struct run_script *s, const char *path, struct err *e);
bool run_open_source(struct run *r, struct run_script *s, struct err *e);
/* Whether --follow would ever see a change: by a cursor, or a sweep. False: ERR_USAGE. */
bool run_can_follow(const struct pipeline *p, struct err *e);
void run_close_script(struct run_script *s); /* bears a zeroed struct */
/* Tries `step` until it works: a server that is absent is waited for. */
bool run_patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e);
/* The queue, the workers, and the coordinator between them; and their end, after queue_close or the
 * like. */
bool run_start(struct run *r, struct err *e);
void run_stop(struct run *r);

/* ---- run_index.c ---- */

/* Once: that it is a search server which answers. */
bool run_meet(struct run *r, struct err *e);
/* The index: looked at, created if it is missing, made to fit the script. */
bool run_open_index(struct run *r, struct err *e);
/* That the index has the fields that source.related[].index_field names, or (not yet loaded) may
 * get them. One that has not come although all is loaded is a warning. */
bool run_check_fields(struct run *r, const struct run_script *s, bool loaded, struct err *e);
/* The same for a script that is to take the place of r->user: what is there has to fit it. */
bool run_fit_index(struct run *r, struct run_script *fresh, struct err *e);
/* That the index is still the one that was opened, or (index_moved) one that reindex has put in its
 * place. */
bool run_check_index(struct run *r, struct err *e);
/* What is searched for documents: all of what the script keeps true, whatever a filter hides. */
const char *run_reads(const struct run *r);
/* That another pipeline keeps that index: ERR_USAGE. Always false. */
bool run_other_owner(const struct run *r, const char *index, const char *owner, struct err *e);
/* Takes that one for ours: the state goes on from where it stands, and everything is due to be
 * swept. */
bool run_adopt(struct run *r, struct err *e);
/* Where the reindex of a pipeline with this state file keeps its own; owned by the caller; NULL: no
 * memory. */
char *run_reindex_path(const char *state);
/* Notes in the index what r->meta says, and the last version, if that is news. Never a failure:
 * without the privilege to do so it warns once. */
void run_note(struct run *r);
/* All documents are made by the script that is at hand: loaded, or else (swept) compared. */
void run_note_script(struct run *r, bool loaded);
/* Warns if they may be not. */
void run_tell_script(const struct run *r);

/* ---- run_load.c ---- */

/* Brings everything up to date, as the options and the state say. False: e says why. */
bool run_load(struct run *r, struct err *e);
/* Part of the rows only: the state must not take it for progress. */
bool run_is_partial(const struct run *r);
/* The lane for what goes over the whole. */
size_t run_scan_lane(const struct run *r);
/* Documents that may always be deleted, so that the guard does not mind a handful. */
enum { RUN_FREE_DELETES = 10 };
/* Renews how many documents may be deleted, by how many the index held when all was well. */
bool run_guard(struct run *r, struct err *e);
/* All is well: counts them. */
bool run_count(struct run *r, struct err *e);
/* What changed in any table, up to this moment. */
bool run_changes(struct run *r, struct err *e);
/* Compares everything. */
bool run_sweep(struct run *r, struct err *e);
/* That the state was made with the script's key; ERR_USAGE. */
bool run_check_key(struct run *r, struct err *e);
/* The fields of the state that say whose it is; its tables become those of the script, in their
 * order. */
bool run_bind_state(struct run *r, struct err *e);
/* A feed of the table's changes, from its mark on; see feed_poll. Waits for a server that is
 * absent. */
struct feed *run_poll_table(struct run *r, size_t table, bool to_the_limit, struct err *e);
/* Every row has been looked at: no sweep is under way, and the next one is due an interval from
 * now. */
void run_note_swept(struct run *r);
/* Warns of tables whose rows their row security hides from us; at_start: also where it hides
 * some. */
bool run_tell_hidden(struct run *r, bool at_start, struct err *e);
/* Warns of a session whose transaction has been open for longer than is waited for. */
void run_tell_horizon(const struct run *r, const struct source_report *report);

/* ---- run_anew.c ---- */

/* After a failure: whether it was because a table has changed, and the run may go on (run_load, or
 * what it was doing) with the script as it is now, its query described anew. Else e says why the
 * run ends. */
bool run_anew(struct run *r, struct err *e);
/* The workers are started anew, with another script (taken), or NULL: with the same; the feeds are
 * the caller's. What was not acknowledged is lost to them. */
bool run_restart(struct run *r, struct run_script *fresh, struct err *e);

/* ---- run_execute.c ---- */

/* The workers are started, and `work` has to stop them; before it the script's hook, after it the
 * other one, and a summary. */
/* Warns, once, if the query has had several rows for one key. */
void run_tell_repeated(struct run *r);
bool run_execute(struct run *r, bool (*work)(struct run *, struct err *), struct err *e);

/* ---- run_follow.c ---- */

/* That a script may take the place of r->user: what is open, whose the state is, and the key of
 * what the index holds cannot change under way. */
bool run_check_reload(const struct run *r, const struct run_script *fresh, struct err *e);
/* Until a stop is asked, or something final. Always false. */
bool run_follow(struct run *r, struct err *e);
