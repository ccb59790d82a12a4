/* wait: waits until all that was committed before its start is in the index, and searchable.
 *
 * Uses     ask, arrival, index, deadletter.
 * Threads  one, the main thread.
 * Promise  that of arrival. Nothing is written; the index is refreshed.
 */
#pragma once
#include <stdbool.h>

struct err;

struct wait_options {
    long long timeout, give_up_after; /* seconds; 0: no limit */
    bool sweep;                       /* for what only a sweep finds, too */
};

/* ERR_FINAL: the time is over; e says what is missing. */
bool wait_for_index(const struct wait_options *o, const char *script, struct err *e);
