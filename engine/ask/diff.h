/* diff: what a run that loads everything would change in the index.
 *
 * Uses     ask, looks, collector, findings.
 * Threads  one, the main thread; the workers are those of a run.
 * Promise  nothing is written. Memory does not grow with what differs.
 *
 * Unlike verify, it looks at each key once: beside a process that follows, a change under way may
 * be among what it shows.
 */
#pragma once
#include "ask/ask.h"

#include <stdbool.h>

struct diff_options {
    struct ask_options ask;
    bool json;
    long long sample, examples; /* keys, 0: all; how many documents are shown */
    const char *keys;           /* "a,b"; NULL: all */
};

/* Prints it to standard output. *same: nothing would change. */
bool diff(const struct diff_options *o, const char *script, bool terminal, bool *same,
          struct err *e);
