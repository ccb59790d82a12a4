/* coordinator: moves the feeds' batches into the queue, and the checkpoints of acknowledged batches
 * into the state.
 *
 * Uses     feed, flow, queue, state, deadletter, progress, retry, alike, watchdog.
 * Threads  one, the main thread.
 * Promise  the state never passes a batch that is not acknowledged, nor a rejected document that is
 *          not on disk as a dead letter. If the state cannot be saved, work is repeated, never
 *          lost. A run that fails for good leaves the state before its first rejected document:
 *          once the user has corrected the script or the mapping, the next run reads those
 *          documents again. While following, that holds for a window of time only
 *          (coordinator_begin_window): older rejected documents remain dead letters, so that days
 *          of changes are not read again.
 *
 * Lane i of the queue is that of tracked table i. The next lane is for what concerns all rows: the
 * first load, a sweep, given keys. The last one is for keys that other processes ask for (errand).
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

enum { COORDINATOR_MORE_LANES = 2 }; /* than tables */

struct coordinator_lane {
    struct feed *feed; /* borrowed; NULL: none */
    bool over;         /* the feed has no more batches for now */
};

struct coordinator { /* all borrowed, except lanes and clean */
    const struct flow *flow;
    const struct source *source;
    struct state_file *state; /* NULL: nothing is saved */
    struct state_data *data;
    struct deadletters *dead; /* NULL: rejections are only counted */
    struct progress *progress;
    /* Called in each round, before its end; NULL: nothing is. False: the round fails. */
    bool (*each_round)(void *arg, struct err *e);
    void *arg;
    double give_up_after; /* seconds; 0: never */
    bool unsaved;         /* data is ahead of the file */
    int64_t save_at_us;   /* clock_mono_us before which saving is not tried again */
    /* owned: data as it was before the window's first rejection; without tables until then */
    struct state_data clean;
    /* the feeds' rows were loaded a moment ago: they are compared first, see struct batch */
    bool just_loaded;
    struct coordinator_lane *lanes; /* owned */
    size_t n_lanes;
};

/* Makes the lanes: one for each table of the source, and two more. False: no memory. */
bool coordinator_init(struct coordinator *c, struct err *e);
void coordinator_free(struct coordinator *c); /* safe on a zeroed struct */
/* Begins a window: earlier rejections no longer count, neither towards max_rejected nor for the
 * position to which a failed run returns. */
void coordinator_begin_window(struct coordinator *c);
/* The feed of that lane (borrowed), from now on; NULL: none. */
void coordinator_set_feed(struct coordinator *c, size_t lane, struct feed *f);
/* Removes all feeds; safe before coordinator_init, too. */
void coordinator_clear(struct coordinator *p);
/* Whether the lane has a feed that brings nothing more, for now. */
bool coordinator_is_over(const struct coordinator *p, size_t lane);

/* One round over the lanes: moves a batch from each feed that has one into the queue, if there is
 * room; saves the state if it has advanced. *moved: whether there was any batch. False: e says why;
 * ERR_NONE: the queue has ended, see queue_error. */
bool coordinator_round(struct coordinator *c, bool *moved, struct err *e);
/* Whether the lane's feed has no more batches and all of them are acknowledged. Data may lack the
 * last ones until the next coordinator_collect. */
bool coordinator_lane_is_done(const struct coordinator *c, size_t lane);
/* Puts the checkpoints and reports of the batches acknowledged by now into data and dead. */
bool coordinator_collect(struct coordinator *c, struct err *e);
/* Repeats rounds until all feeds have no more batches and all are acknowledged, then saves the
 * state. True, too, once the queue has ended without an error. */
bool coordinator_drain(struct coordinator *c, struct err *e);
/* The same for the batches in the queue: the feeds stay as they are and are not asked for more. */
bool coordinator_settle(struct coordinator *c, struct err *e);
/* The caller has changed data: the next round saves it. */
void coordinator_must_save(struct coordinator *c);
/* After a failure: saves what was acknowledged before it, if that is possible at once. *e becomes
 * the queue's error, if it has one. */
void coordinator_abort(struct coordinator *c, struct err *e);

/* Collects and saves data and the dead letters at once. False: e says why; a later round tries
 * again. */
bool coordinator_save_now(struct coordinator *c, struct err *e);
/* Saves data and the dead letters; waits and tries again after a passing error. */
bool coordinator_save(struct coordinator *c, struct err *e);
