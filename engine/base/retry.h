/* retry: how the engine retries requests to its servers: exponential backoff with full jitter, and
 * one log line for each cause, once a minute (as a detail: for each wait).
 *
 * Uses     backoff, clock, stop, alike, err, notify, witness.
 * Threads  a struct retry belongs to one thread.
 *
 *     struct retry r;
 *     retry_start(&r, give_up_after);
 *     while (!try_it(e))
 *         if (!retry_again(&r, e))
 *             return false;
 *     retry_done(&r);
 */
#pragma once
#include "base/backoff.h"
#include "base/err.h"

#include <stdint.h>

struct retry {
    struct backoff_policy policy;
    struct backoff backoff;
    /* called several times a second while waiting: true ends the wait without another try; NULL:
     * never */
    bool (*over)(void *arg);
    void *arg; /* borrowed */
    /* an error that comes again and again is logged once, not with every try: it may last for
     * hours, and nothing is wrong */
    bool once;
    char told[ERR_TEXT]; /* the last one */
    uint64_t told_kind;  /* as alike_kind */
    int64_t told_us;     /* when it was logged as a warning */
};

/* give_up_after: seconds since the first failure; 0: never. r must not move until it is done. */
void retry_start(struct retry *r, double give_up_after);
/* After a failed try: logs the error and waits, if e is passing. False: e is final, time is up, or
 * over() ended the wait (e is unchanged); or a stop was asked (e is ERR_STOPPED). */
bool retry_again(struct retry *r, struct err *e);
/* After a try that failed only in part: the server works, so give_up_after starts again. */
void retry_moved(struct retry *r);
void retry_done(struct retry *r); /* after a try that succeeded */
/* All of that around one step: repeats it until it succeeds. False: as retry_again. */
bool retry_until(double give_up_after, bool (*step)(void *arg, struct err *e), void *arg,
                 struct err *e);
