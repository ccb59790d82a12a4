/* hand_over: asks the process that holds a state's lock to do what this one would do without it,
 * waits, and tells the outcome.
 *
 * Uses     request_link, request, pipeline, progress, stop, log.
 * Threads  one, the main thread.
 * Promise  a stop ends the wait, and what the other process answers is not trusted.
 */
#pragma once
#include "model/counts.h"
#include "store/request.h"

#include <stdbool.h>

struct batch;
struct err;
struct keylist;
struct pipeline;
struct progress;

struct hand_over {
    const struct pipeline *pipeline; /* borrowed, as all of these */
    const char *index;               /* as the script names it; NULL: the pipeline's */
    const char *fingerprint;         /* of the script */
    enum request_ask ask;
    const char *time; /* of REQUEST_ASK_SET */
    bool allow_deletes;
    double give_up_after;      /* seconds without a server that the other process needs; 0: never */
    struct progress *progress; /* NULL: none is shown */
    /* The next keys, and what they are (no_rows, any_routing), into an empty message; at most
     * REQUEST_PAGE_KEYS and REQUEST_PAGE_BYTES of them; none: there are no more. */
    bool (*page)(void *arg, struct request_message *m, struct err *e);
    void *arg;
    /* out: */
    struct counts counts;
    long long pid;
};

/* For `page`: the next keys of a batch, from *next on, which moves. */
bool hand_over_page(const struct batch *b, size_t *next, struct keylist *keys, struct err *e);

/* Does all of it. *asked: there was a process to ask; else e is as it was. False: e says why. */
bool hand_over(struct hand_over *h, bool *asked, struct err *e);
