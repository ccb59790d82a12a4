/* ask: a pipeline that is asked, and not changed: both servers, the script, what the state and the
 * dead letters say, and workers that compare.
 *
 * Uses     run, state, deadletter.
 * Threads  one, the main thread; the workers are those of a run.
 * Promise  nothing is written: no index, no state, no lock. So it works beside a process that
 *          follows. (ask_repair is the exception that the user asks for.)
 *
 * The modules of this wing, from the ground up:
 *
 *     compare            two documents, field by field
 *     sums, spool        two sets of keys; keys to look at again
 *     explain            why a document is not what the script makes
 *     findings           what was found: counted, with examples; as text and as JSON
 *     ask                the pipeline, opened
 *     arrival            whether all that was committed before a moment is delivered
 *     collector          takes what workers compare
 *     ask_feeds          which keys they compare
 *     looks, story       many keys at once; one key
 *     verify, diff, why, wait    what the commands call
 */
#pragma once
#include "ask/explain.h"
#include "index/ingest.h"
#include "run/run.h"

#include <stdbool.h>

struct ask_options {
    long long workers, give_up_after;
};

struct ask {
    struct run run;
    struct deadletters *dead; /* owned; as its file is now */
    bool has_state;           /* there is a state file with JSON */
    bool is_older_script; /* by its _meta, the index was made by another version of the script */
    char drops[INGEST_NAME + 100]; /* see ask_explain */
};

/* Reads the script, the state and the dead letters, and asks both servers. ERR_USAGE: the script is
 * wrong, or the index belongs to another pipeline. */
bool ask_open(struct ask *a, const struct ask_options *o, const char *path, bool terminal,
              struct err *e);
/* Reads the dead letters, as they are now. */
bool ask_read_letters(struct ask *a, struct err *e);
/* What documents are explained with, but for whether a process is behind. Reads the definitions of
 * the index's ingest pipelines, if that is allowed. */
struct explain ask_explain(struct ask *a, bool followed);
void ask_close(struct ask *a); /* safe on a zeroed struct */

/* Starts the workers, which show what they compare to c (borrowed until ask_stop). */
bool ask_start(struct ask *a, const struct worker_comparer *c, struct err *e);
/* Compares all keys that a feed (taken; NULL: e says why) brings. */
bool ask_scan(struct ask *a, struct feed *f, struct err *e);
void ask_stop(struct ask *a);

/* Sends the documents of all keys that a feed (taken) brings, as a run would: with versions, and
 * within the limit for deletes. No worker may be running; none is afterwards. */
bool ask_repair(struct ask *a, struct feed *f, bool allow_deletes, struct err *e);
