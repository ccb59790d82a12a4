/* looks: compares many keys: all of them, a sample, what has changed since a time, given ones.
 *
 * Uses     ask, collector, ask_feeds, sums, spool, run_load.
 * Threads  one, the main thread; the workers run (ask_start).
 *
 * A look at all begins with the documents that have a routing (index/routed.h). It reads the rows
 * in chunks, as a first load does, and the index's document of each key. For the other direction,
 * two sums over the keys are compared: those that both have, and the ids of the index. Only ids in
 * whose bucket the sums differ are looked at by their keys (sums.h).
 */
#pragma once
#include "ask/collector.h"

#include <stdbool.h>
#include <stddef.h>

struct ask;
struct err;
struct spool;

struct looks { /* all borrowed */
    struct ask *ask;
    struct collector *collector;
    double rate;               /* keys a second; 0: any number */
    struct collector_look how; /* trust, again and kept: of the next look */
};

bool looks_at_all(struct looks *l, struct err *e);
/* n random rows, and n random documents. */
bool looks_at_sample(struct looks *l, size_t n, struct err *e);
/* ERR_USAGE: the time cannot be read, or the source has no cursor. */
bool looks_since(struct looks *l, const char *since, struct err *e);
/* ERR_USAGE: one of the texts cannot be a key. */
bool looks_at_keys(struct looks *l, const char *const *keys, size_t n, struct err *e);
/* With COLLECT_CONFIRM, each key is expected as its record says. */
bool looks_at_spool(struct looks *l, struct spool *s, struct err *e);

/* Where most documents differ, warns if the index stores them otherwise than they are sent. */
void looks_warn_other(const struct looks *l);
