#include "pump.h"

#include "err.h"
#include "feed.h"
#include "log.h"
#include "queue.h"
#include "retry.h"

#include <stdlib.h>

enum { TICK_MS = 250 }; /* how often progress is looked at while nothing else happens */

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
    }
    position_free(&done);
}

static bool save(struct pump *p, struct err *e)
{
    p->data->version = queue_issued(p->queue);
    if (p->state && !state_save(p->state, p->data, e))
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
    if (!p->unsaved || save(p, e))
        return true;
    if (e->kind != ERR_PASSING)
        return false;
    log_warn("%s; going on", e->text);
    return true;
}

static bool next_batch(struct pump *p, struct feed *f, struct batch **b, struct err *e)
{
    struct retry retry;
    retry_start(&retry, p->give_up_after);
    while (!feed_next(f, b, e))
        if (!retry_again(&retry, e))
            return false;
    retry_done(&retry);
    return true;
}

/* Waits for room. False: e says why; ERR_NONE: the queue has ended by itself. */
static bool put(struct pump *p, struct batch *b, struct err *e)
{
    while (!queue_room(p->queue, TICK_MS)) {
        bool ended = queue_ended(p->queue);
        if (ended || !tick(p, e)) {
            if (ended)
                e->kind = ERR_NONE;
            batch_free(b);
            return false;
        }
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
        if (b && !put(p, b, e))
            return false;
    } while (b);
    while (!queue_idle(p->queue, TICK_MS))
        if (!tick(p, e))
            return false;
    return true;
}

bool pump_feed(struct pump *p, struct feed *f, struct err *e)
{
    if (!pump_all(p, f, e) && e->kind != ERR_NONE)
        queue_fail(p->queue, e);
    note_progress(p);
    if (!queue_error(p->queue, e))
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
