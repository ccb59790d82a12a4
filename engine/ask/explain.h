/* explain: why the index does not have what the script makes of a row.
 *
 * Uses     deadletter, worker_config (pairs).
 * Threads  any; what is explained with is read only.
 *
 * A version is PostgreSQL's clock when the document's row was read: it says when the document was
 * made, and whether it is one of ours.
 */
#pragma once
#include "flow/worker_config.h"

#include <stdbool.h>
#include <stdint.h>

struct deadletters;

enum explain_kind { /* of a key */
                    EXPLAIN_SAME,
                    EXPLAIN_MISSING,   /* the script makes a document, and the index has none */
                    EXPLAIN_ORPHANED,  /* the index has a document, and the script makes none */
                    EXPLAIN_DIFFERENT, /* both have one */
                    EXPLAIN_FAILED,    /* the document cannot be made */
                    EXPLAIN_KINDS
};

enum explain_reason {
    EXPLAIN_NOTHING,
    EXPLAIN_REJECTED, /* it is a dead letter */
    EXPLAIN_ERROR,    /* document() or the query fails on it */
    EXPLAIN_FOREIGN,  /* another program has written the document */
    EXPLAIN_SCRIPT,   /* another version of the script has made it */
    EXPLAIN_PENDING,  /* nobody follows: a change since the last run */
    EXPLAIN_BEHIND,   /* the process that follows has not come so far */
    EXPLAIN_DELETED,  /* its row is gone, which a poll does not see */
    EXPLAIN_UNSEEN,   /* its change was not noticed */
    EXPLAIN_ROUTED,   /* a copy has a routing that the script did not choose */
    EXPLAIN_DROPPED,  /* perhaps an ingest pipeline has dropped the document */
    EXPLAIN_LOADING,  /* nobody follows: the first load was broken off */
    EXPLAIN_REASONS
};

struct explain {
    const struct deadletters *dead; /* borrowed */
    bool is_older_script;           /* another version of the script has made the index */
    bool followed;                  /* a process follows */
    bool behind;                    /* it has not delivered what was committed before */
    bool wal;                       /* changes are captured from the log */
    bool loading;                   /* a load has begun, and not ended */
    /* borrowed; what is said of what an ingest pipeline of the index drops; NULL: none does */
    const char *drops;
};

const char *explain_kind(enum explain_kind kind); /* "missing"; static */
enum explain_reason explain_reason(const struct explain *x, enum explain_kind kind,
                                   const struct worker_pair *pair);
/* Whole words for a person, without a final stop: static, or of x. */
const char *explain_text(const struct explain *x, enum explain_reason reason);
const char *explain_name(enum explain_reason reason); /* for programs: "rejected"; static */

/* Whether a version can be one that this engine has issued, at or before `now`: a time. */
bool explain_is_ours(int64_t version, int64_t now);
