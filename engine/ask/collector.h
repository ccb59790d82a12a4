/* collector: takes what the workers compare, and decides what of it counts.
 *
 * Uses     findings, spool, sums, keyset.
 * Threads  each worker adds to a part of its own; a mutex is between these and the whole. The other
 *          functions are for the main thread; collector_look only while no worker has a batch.
 * Promise  pairs of a try that failed count nothing. Memory does not grow with what is found.
 *
 * Beside a process that follows, what differs at the first look may be a change under way. So that
 * look counts only what is equal; all else goes into a spool, with a mark of what was seen, and is
 * looked at again once all that had been committed by then is delivered. It counts if what was
 * delivered by then cannot have been it:
 *
 *   the index has a document   and had the same version before: nobody has written it since. The
 *                              version is of the document's last delivery, so all changes up to
 *                              the first look are behind it
 *   the index has none         at three looks, and the script makes the same document each time:
 *                              an index does not tell who has deleted it when
 *
 * Anything else is looked at once more.
 */
#pragma once
#include "ask/findings.h"
#include "flow/worker_config.h"

#include <stdbool.h>
#include <stddef.h>

struct batch;
struct collector;
struct err;
struct spool;
struct spool_record;
struct sums;

enum collector_trust {
    COLLECT_ALL,     /* each difference counts at once */
    COLLECT_SUSPECT, /* none does */
    COLLECT_CONFIRM, /* those do that were seen before */
};

struct collector_look { /* all borrowed, until the next look */
    enum collector_trust trust;
    bool only_rows;      /* keys for which the script makes no document are left to another look */
    bool only_gone;      /* the others are */
    bool unique;         /* a key may come several times, and counts once */
    bool fresh;          /* keys that differed in a `unique` look are left out */
    struct spool *again; /* gets what does not count; NULL: COLLECT_ALL */
    struct spool *kept;  /* gets the keys of what counts; NULL: nobody asks */
    struct sums *seen;   /* gets the keys that both have; NULL: nobody asks */
};

/* examples: how many findings are kept as examples. explain: borrowed. NULL: no memory. */
struct collector *collector_new(const struct explain *explain, size_t examples, struct err *e);
void collector_free(struct collector *c); /* NULL is fine */

const struct worker_comparer *collector_comparer(struct collector *c); /* borrowed */
void collector_look(struct collector *c, const struct collector_look *look);
/* For COLLECT_CONFIRM: what was seen of a key, before it is compared again. */
void collector_expect(struct collector *c, const struct spool_record *record);
struct findings *collector_found(struct collector *c); /* borrowed; while no worker has a batch */
