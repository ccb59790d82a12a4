/* why: one document's story: its row, what the script makes of it, what the index has, and how a
 * change would get from the one to the other.
 *
 * Uses     ask, arrival, compare, explain, findings, script, source, index, deadletter.
 * Threads  one, the main thread; there are no workers.
 * Promise  nothing is written.
 */
#pragma once
#include <stdbool.h>

struct err;

struct why_options {
    bool json;
    long long give_up_after;
    const char *key;
};

/* Prints it to standard output. *same: the index has what the script makes, or neither has
 * anything. */
bool why(const struct why_options *o, const char *script, bool *same, struct err *e);
