/* retry: the engine's own patience with its servers: exponential backoff with full jitter, and a
 * log line for each wait.
 *
 * Uses     backoff, log.
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

struct retry {
    struct backoff_policy policy;
    struct backoff backoff;
    /* Asked now and then while waiting: true ends the wait, because nobody wants another try. NULL:
     * never. */
    bool (*over)(void *arg);
    void *arg; /* borrowed */
};

/* give_up_after: seconds from the first failure on; 0: never. r must stay where it is. */
void retry_start(struct retry *r, double give_up_after);
/* Waits if e is passing. False: e is final, time is up, it is over (e is unchanged), or a stop was
 * asked (e says so). */
bool retry_again(struct retry *r, struct err *e);
/* That failed, but not wholly: the server is there, and the time to give up begins anew. */
void retry_moved(struct retry *r);
void retry_done(struct retry *r);
/* All of that around one step: repeats it until it succeeds. False: as retry_again. */
bool retry_until(double give_up_after, bool (*step)(void *arg, struct err *e), void *arg,
                 struct err *e);
