/* coordinator: moves the feeds' batches into the queue, and the low-water marks of their acknowledgements
 * into the state.
 *
 * Uses     feed, queue, state, deadletter, progress, retry, log.
 * Threads  one, the main thread.
 * Promise  the state never says more than what is acknowledged, nor passes a rejection that is not
 *          on disk. A state that could not be saved costs a repetition, not a loss. A run that
 *          fails for good leaves the state before its first rejected document: what was wrong (with
 *          the script, the mapping) is corrected, and those come again by themselves. One that
 *          follows does so for a while (coordinator_begin_window) alone: what was rejected before stands
 *          among the dead letters, and is not worth days of changes once more.
 *
 * Lane i of the queue is that of tracked table i; the last lane is for what goes over the whole:
 * the first load, a sweep, given keys.
 */
#pragma once
#include "flow/progress.h"
#include "store/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct deadletters;
struct err;
struct feed;
struct flow;
struct source;

struct coordinator_lane {
    struct feed *feed; /* borrowed; NULL: none */
    bool over;         /* it has no more, for now */
};

struct coordinator { /* all borrowed, but for lanes */
    const struct flow *flow;
    const struct source *source;
    struct state_file *state; /* NULL: nothing is saved */
    struct state_data *data;
    struct deadletters *dead; /* NULL: rejections are only counted */
    struct progress *progress;
    double give_up_after; /* seconds; 0: never */
    bool unsaved;         /* data is ahead of the file */
    int64_t save_at_us;   /* not tried before: it has just failed */
    /* owned: data as it was before the window's first rejection; has no tables until then */
    struct state_data clean;
    /* what the feeds bring was loaded a moment ago, and is compared first */
    bool again;
    struct coordinator_lane *lanes; /* owned */
    size_t n_lanes;
};

/* makes the lanes, as many as source has tables and one more */
bool coordinator_init(struct coordinator *p, struct err *e);
void coordinator_free(struct coordinator *p); /* bears a zeroed struct */
/* Rejections before now count no more: neither for max_rejected nor for where the state goes back
 * to. */
void coordinator_begin_window(struct coordinator *p);
void coordinator_set(struct coordinator *p, size_t lane, struct feed *f);

/* One round over the lanes: moves a batch from each feed that has one, where there is room; saves
 * the state if it advanced. *moved: whether anything was put. False: e says why; ERR_NONE: the
 * queue has ended by itself. */
bool coordinator_round(struct coordinator *p, bool *moved, struct err *e);
/* Whether the lane's feed has no more and all of it is acknowledged: perhaps just now, so that data
 * does not say it yet (coordinator_note). */
bool coordinator_done(const struct coordinator *p, size_t lane);
/* Takes over what is acknowledged by now into data. */
bool coordinator_note(struct coordinator *p, struct err *e);
/* Rounds until all feeds have no more and all is acknowledged; then the state is saved. */
bool coordinator_drain(struct coordinator *p, struct err *e);
/* The same for what has been put so far: the feeds stay where they are, and bring nothing more. */
bool coordinator_settle(struct coordinator *p, struct err *e);
/* The caller has changed data: it is saved with the next round. */
void coordinator_must_save(struct coordinator *p);
/* After a failure: keeps what was acknowledged before it, if that can be saved now. *e becomes the
 * queue's error, if it has one. */
void coordinator_keep(struct coordinator *p, struct err *e);

/* Saves what is acknowledged by now; if it cannot be saved for the moment, waits and tries
 * again. */
bool coordinator_save(struct coordinator *p, struct err *e);
