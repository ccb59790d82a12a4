/* worker.h: one worker, as the files of workers share it.
 *
 *     workers.c        the threads; keys to rows to documents
 *     worker_parts.c  what to do when that fails: the same again, or in parts
 *     worker_send.c   documents to the index: what need not be sent, what must not, when
 *     worker_print.c  documents to standard output
 */
#pragma once
#include "base/buf.h"
#include "feed/chunk_size.h"
#include "flow/repeats.h"
#include "flow/workers.h"
#include "index/bulk.h"
#include "index/stale_copies.h"
#include "pg/pg_pool.h"
#include "script/script.h"

#include <pthread.h>

struct alike;
struct keyset;
struct retry;
struct throttle;

struct worker_shared {          /* what one worker has seen, and all should know */
    atomic_bool gave_documents; /* document() has returned one */
    struct alike *alike;        /* owned by the workers */
};

struct worker {
    const struct workers_config *config; /* borrowed, as are flow, throttle and shared */
    const struct flow *flow;
    struct throttle *throttle;
    struct worker_shared *shared;
    char name[16];
    pthread_t thread;
    struct script *script; /* owned, as all that follows */
    struct pg_pool pool;
    struct es *es;
    struct bulk bulk;
    struct script_made doc; /* the last one */
    struct stale_copies gone,
        /* of a scattered pipeline: keys without a document; keys whose document was sent */
        placed;
    bool batch_ends;      /* this flush is its last */
    struct keyset *known; /* indexes seen to be there; NULL: none */
    struct buf output;    /* WORKERS_DOCUMENTS */
    struct buf key;       /* the row's */
    struct batch *batch;
    /* one for each of the batch's keys, in sorted order: its row was there */
    bool *seen;
    struct counts sums; /* of this try at the batch */
    /* made since the last flush_output, and not yet counted in sums */
    struct counts printed;
    bool row_checked, report_lost; /* report_lost: no memory for a rejection: this try must fail */
    bool gave_up;                  /* on sending, within this try: the time to do so is over */
    struct repeats repeats;        /* keys of a chunk */
    char *repeated_key;            /* owned; the first one, of this try; NULL: none */
    uint64_t repeated;             /* rows of this try whose key another row had */
    /* rows of this try for which document() ended without a return */
    uint64_t nothing;
    int64_t version, read_at_us, made;
    /* rows that no document came of: for --limit, which is to end where none can be made */
    int64_t failed;
    struct chunk_time took; /* this try */
};

/* One try at the worker's batch: read, made into documents, sent. */
bool worker_try(struct worker *w, struct err *e);
/* Tries it until it is done, in parts if need be. */
bool worker_load(struct worker *w, struct err *e);

/* Sends what the worker has collected, until all of it is acknowledged or reported as rejected. */
bool worker_send(struct worker *w, struct err *e);
/* Prints it, in its turn. */
bool worker_print(struct worker *w, struct err *e);

/* A bulk_rejected, of a worker: counted, and the report goes with the batch, and so to disk before
 * the state passes it. */
void worker_report(const char *key, int status, const char *reason, void *worker);
/* A document that cannot be made. False: that was one too many, or there is no memory. */
bool worker_reject(struct worker *w, const char *key, const char *reason, struct err *e);
/* Adds to what everybody sees, and remembers it, to be taken back if this try at the batch
 * fails. */
void worker_count(struct worker *w, const struct counts *delta);
/* A wrong mapping is noticed before it has rejected a million documents. */
bool worker_check_rejected(struct worker *w, struct err *e);
/* A retry that waits not a moment longer than somebody wants the result: another worker's failure
 * may end the run. */
void worker_start_retry(struct worker *w, struct retry *r);
