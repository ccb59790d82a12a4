/* verify: compares PostgreSQL with the index, every key in both directions.
 *
 * Uses     ask, looks, collector, ask_feeds, arrival, findings.
 * Threads  one, the main thread; the workers are those of a run.
 * Promise  beside a process that follows, changes under way are no findings (collector.h has the
 *          rule). Nothing is written, but what --repair sends. Memory does not grow with the index,
 *          nor with what is found.
 */
#pragma once
#include "ask/ask.h"

#include <stdbool.h>

struct verify_options {
    struct ask_options ask;
    bool repair, allow_deletes, json;
    long long sample, max_rate; /* keys; keys a second; 0: all, any number */
    const char *since;          /* only what has changed since then; NULL: all */
};

/* Prints what was found to standard output. *clean: nothing was, or all of it is repaired. */
bool verify(const struct verify_options *o, const char *script, bool terminal, bool *clean,
            struct err *e);
