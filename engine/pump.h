/* pump: moves a feed's batches into the queue, and the low-water mark of their acknowledgements into the
 * state.
 *
 * Uses     feed, queue, state, progress, retry, log.
 * Threads  one, the main thread.
 * Promise  the state never says more than what is acknowledged; a state that could not be saved costs a
 * repetition, not a loss. A run that fails for good leaves the state before its first rejected document.
 */
#pragma once
#include "progress.h"
#include "state.h"

#include <stdbool.h>

struct err;
struct feed;
struct queue;

struct pump { /* all borrowed */
    struct queue *queue;
    struct state *state; /* NULL: nothing is saved */
    struct state_data *data;
    struct progress *progress;
    double give_up_after; /* seconds; 0: never */
    bool unsaved;         /* data is ahead of the file */
    int64_t save_at_us;   /* not tried before: it has just failed */
    /* pump_feed's own: how far the state had come when this feed's first document was rejected */
    struct position clean;
    uint64_t rejected_before;
};

/* Until the feed has no more and all is acknowledged; then the state is saved. */
bool pump_feed(struct pump *p, struct feed *f, struct err *e);

/* Saves what is acknowledged by now; if it cannot be saved for the moment, waits and tries again. */
bool pump_save(struct pump *p, struct err *e);
