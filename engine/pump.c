#include "pump.h"

#include "clock.h"
#include "err.h"
#include "feed.h"
#include "log.h"
#include "queue.h"
#include "retry.h"

#include <stdlib.h>

enum {
    TICK_MS = 250,                    /* how often progress is looked at while nothing else happens */
    REST_TICKS = 8,                   /* without a question to PostgreSQL, until its connection is given up */
    SAVE_AGAIN_US = 10 * 1000 * 1000, /* a full disk is not emptied at once, and the log may lie on it */
};

/* After note_progress: as long as nothing is rejected, this is a good place to go back to. */
static void mark_clean(struct pump *p)
{
    const struct state_data *d = p->data;
    struct position here = d->phase == STATE_SNAPSHOT ? (struct position){.key = d->after} : d->root;
    struct position copy = {0};
    if (queue_sums(p->queue).rejected > p->rejected_before)
        return;
    if (position_copy(&copy, &here)) {
        position_free(&p->clean);
        p->clean = copy;
    } else {
        position_free(&copy); /* an earlier place is as good, but for the repetition */
    }
}

/* The rejected documents of a run that failed come again, when what was wrong has been corrected. */
static void go_back(struct pump *p)
{
    if (queue_sums(p->queue).rejected == p->rejected_before)
        return;
    if (p->data->phase == STATE_SNAPSHOT) {
        free(p->data->after);
        p->data->after = p->clean.key;
        p->clean.key = NULL;
    } else {
        position_free(&p->data->root);
        p->data->root = p->clean;
        p->clean = (struct position){0};
    }
    p->unsaved = true;
}

/* Takes over what was acknowledged since the last call. */
static void note_progress(struct pump *p)
{
    struct position done = {0};
    if (p->state && queue_low_water(p->queue, &done)) {
        if (p->data->phase == STATE_SNAPSHOT) {
            free(p->data->after);
            p->data->after = done.key;
            done.key = NULL;
        } else if (done.cursor) {
            position_free(&p->data->root);
            p->data->root = done;
            done = (struct position){0};
        }
        p->unsaved = true;
        mark_clean(p);
    }
    position_free(&done);
}

static bool save(struct pump *p, struct err *e)
{
    if (!p->state) {
        p->unsaved = false;
        return true;
    }
    p->data->version = queue_issued(p->queue);
    if (!state_save(p->state, p->data, e))
        return false;
    p->unsaved = false;
    return true;
}

/* Between batches: a state that cannot be saved just now is saved at a later batch. */
static bool tick(struct pump *p, struct err *e)
{
    struct bulk_sums sums = queue_sums(p->queue);
    progress_show(p->progress, &sums);
    note_progress(p);
    if (!p->unsaved || clock_mono_us() < p->save_at_us || save(p, e))
        return true;
    if (e->kind != ERR_PASSING)
        return false;
    log_warn("%s; going on", e->text);
    p->save_at_us = clock_mono_us() + SAVE_AGAIN_US;
    return true;
}

/* The queue has ended, by itself or by somebody else's error: none of ours. */
static bool over(struct pump *p, struct err *e)
{
    if (queue_ended(p->queue))
        e->kind = ERR_NONE;
    return false;
}

static bool next_batch(struct pump *p, struct feed *f, struct batch **b, struct err *e)
{
    struct retry retry;
    retry_start(&retry, p->give_up_after);
    retry.over = queue_is_over;
    retry.arg = p->queue;
    while (!feed_next(f, b, e))
        if (!retry_again(&retry, e))
            return over(p, e);
    retry_done(&retry);
    return true;
}

/* Waits for room. False: e says why; ERR_NONE: the queue has ended by itself. */
static bool put(struct pump *p, struct feed *f, struct batch *b, struct err *e)
{
    for (int ticks = 1; !queue_room(p->queue, TICK_MS); ticks++) {
        if (queue_ended(p->queue) || !tick(p, e)) {
            batch_free(b);
            return over(p, e);
        }
        if (ticks == REST_TICKS)
            feed_rest(f);
    }
    queue_put(p->queue, b);
    return tick(p, e);
}

static bool pump_all(struct pump *p, struct feed *f, struct err *e)
{
    struct batch *b;
    do {
        if (!next_batch(p, f, &b, e))
            return false;
        if (b && !put(p, f, b, e))
            return false;
    } while (b);
    for (int ticks = 1; !queue_idle(p->queue, TICK_MS); ticks++) {
        if (!tick(p, e))
            return false;
        if (ticks == REST_TICKS)
            feed_rest(f);
    }
    return true;
}

bool pump_feed(struct pump *p, struct feed *f, struct err *e)
{
    p->rejected_before = queue_sums(p->queue).rejected;
    mark_clean(p);
    if (!pump_all(p, f, e) && e->kind != ERR_NONE)
        queue_fail(p->queue, e);
    note_progress(p);
    bool failed = queue_error(p->queue, e);
    if (failed && e->kind == ERR_FINAL)
        go_back(p);
    position_free(&p->clean);
    if (!failed)
        return !p->unsaved || pump_save(p, e);
    /* What was acknowledged before the failure is kept; if that cannot be saved now, the next run repeats it.
     */
    struct err ignored;
    if (p->unsaved && !save(p, &ignored))
        log_warn("%s", ignored.text);
    return false;
}

bool pump_save(struct pump *p, struct err *e)
{
    struct retry retry;
    retry_start(&retry, p->give_up_after);
    while (!save(p, e))
        if (!retry_again(&retry, e))
            return false;
    retry_done(&retry);
    return true;
}
