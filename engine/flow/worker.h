/* worker: what one worker works with, and how it counts and reports.
 *
 * Uses     bulk, stale_copies, pg_pool, shares, script, repeats, chunk_size, tally, queue, retry,
 *          alike.
 * Threads  each worker belongs to one thread. What it borrows is shared with the other workers.
 *
 *     workers.c         the threads
 *     worker_parts.c    a batch, as a whole or in parts
 *     worker_rows.c     one try at it: keys to rows
 *     worker_document.c rows to documents
 *     worker_send.c     documents to the index: the guard against mass deletion, stale copies
 *     worker_compare.c  documents of the index: which items need not be sent, because they would
 *                       change nothing; or each one next to what the script makes, for a comparer
 *     worker_request.c  bulk requests: when, and how often
 *     worker_print.c    documents to standard output
 */
#pragma once
#include "base/buf.h"
#include "base/repeats.h"
#include "feed/chunk_size.h"
#include "flow/shares.h"
#include "flow/worker_config.h"
#include "index/bulk.h"
#include "index/stale_copies.h"
#include "model/batch.h"
#include "model/counts.h"
#include "pg/pg_pool.h"
#include "script/script.h"

#include <stdatomic.h>
#include <stddef.h>

struct err;
struct keyset;
struct retry;
struct throttle;

struct worker_shared {          /* what one worker has seen, and all should know */
    atomic_bool gave_documents; /* document() has returned one */
};

/* One try at a batch, or at a part of it. */
struct attempt {
    int64_t version;
    int64_t read_at_us;     /* clock_mono_us when the query began */
    struct chunk_time took; /* of a chunk */
    struct counts counts;   /* what worker_count has added: taken back if the try fails */
    struct counts printed;  /* documents and deletes made since the last flush */
    uint64_t nothing;       /* rows for which document() ended without a return */
    uint64_t repeated;      /* rows whose key another row had */
    char *repeated_key;     /* owned; the first one; NULL: none */
    int64_t announced;      /* deletes that the log has announced, and that are not sent yet */
    bool columns_checked;   /* the rows have the columns that were described */
    bool sent;              /* a request has begun */
    bool is_last_flush;     /* nothing follows what is flushed now */
    bool report_lost;       /* no memory for a rejection: the try must fail */
    bool gave_up;           /* the time to retry a bulk request is over */
};

struct worker {
    /* borrowed */
    const struct worker_config *config;
    const struct flow *flow;
    struct throttle *throttle;
    struct worker_shared *shared;
    struct batch *batch;
    int number; /* among the workers, from 0 */
    struct share share;
    /* owned: opened once */
    struct script *script;
    struct pg_pool pool;
    struct es *es;
    struct bulk *bulk;
    struct keyset *known;     /* indexes known to exist; NULL: none */
    int64_t known_since_us;   /* clock_mono_us when the first of them was asked for */
    int64_t known_asked_us;   /* how long asking for them took */
    struct stale_copies gone; /* where copies are searched for: keys without a document */
    struct stale_copies sent; /* likewise: keys whose document was sent */
    struct buf output;        /* for WORKER_DOCUMENTS */
    struct buf key;           /* the row's */
    struct script_made doc;   /* the last one */
    struct repeats repeats;   /* the latest keys of a chunk */
    bool *seen;               /* of a batch of keys: whether the query had a row for each */
    struct attempt attempt;
    /* for config->limit */
    int64_t made;
    int64_t failed; /* rows whose document could not be made; else the run might not end */
};

/* Whether documents of the batch may be elsewhere than their keys say: they are searched for. */
bool worker_searches(const struct worker *w);

/* Connects to nothing yet. False: e says why; worker_close is needed in either case. */
bool worker_open(struct worker *w, struct err *e);
void worker_close(struct worker *w);

/* Starts a try at w->batch: forgets what the one before it counted and reported. */
void worker_begin_attempt(struct worker *w);
/* Adds to the tally at once, and to the attempt. */
void worker_count(struct worker *w, const struct counts *delta);
/* Takes back what a failed try has counted. */
void worker_uncount(struct worker *w);

/* For bulk_send, of a worker: counts, logs and reports a rejected document (key "": a row without a
 * key; status 0: document() failed). The report goes with the batch, and so to disk before the
 * state passes it. */
void worker_report(const char *key, int status, const char *reason, void *worker);
/* Likewise: logs a document that an ingest pipeline has dropped. */
void worker_tell_dropped(const char *key, void *worker);
/* A document that could not be made. False: max_rejected is exceeded, or there is no memory. */
bool worker_reject(struct worker *w, const char *key, const char *reason, struct err *e);
/* False: max_rejected is exceeded, or a report was lost. So a wrong mapping ends the run before it
 * has rejected a million documents. */
bool worker_check_rejected(struct worker *w, struct err *e);
/* A retry that stops waiting as soon as the queue has ended, because another worker may have
 * failed. */
void worker_start_retry(struct worker *w, struct retry *r);
