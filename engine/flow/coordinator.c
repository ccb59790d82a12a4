#include "flow/coordinator.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "feed/feed.h"
#include "flow/dead_keys.h"
#include "flow/flow.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/versions.h"
#include "source/source.h"
#include "store/deadletter.h"
#include "store/state_file.h"

#include <stdlib.h>

enum {
    /* how often progress is looked at while nothing else happens */
    TICK_MS = 250,
    /* without a question to a server, until its connection is given up */
    REST_TICKS = 8,
    CLOCK_BEHIND_US = 1000 * 1000, /* less is no step of a clock, and passes by itself */
    /* a full disk is not emptied at once, and the log may lie on it */
    SAVE_AGAIN_US = 10 * 1000 * 1000,
};

bool coordinator_init(struct coordinator *p, struct err *e)
{
    p->n_lanes = p->source->n_tables + 1;
    p->lanes = calloc(p->n_lanes, sizeof *p->lanes);
    return p->lanes || err_memory(e);
}

void coordinator_free(struct coordinator *p)
{
    free(p->lanes);
    p->lanes = NULL;
    state_data_free(&p->clean);
}

void coordinator_begin_window(struct coordinator *p)
{
    tally_begin_window(p->flow->tally);
    state_data_free(&p->clean);
}

void coordinator_set(struct coordinator *p, size_t lane, struct feed *f)
{
    p->lanes[lane] = (struct coordinator_lane){.feed = f};
}

/* ---- acknowledgements ---- */

static bool keep_checkpoint(struct coordinator *p, size_t lane, struct checkpoint *done,
                            struct err *e)
{
    struct state_data *d = p->data;
    if (lane < p->source->n_tables) {
        struct state_table *t = state_table(d, p->source->tables[lane].state_name);
        if (!t)
            return err_memory(e);
        checkpoint_move(&t->checkpoint, done);
        return true;
    }
    char **to = d->phase == STATE_SNAPSHOT ? &d->after : &d->sweep_after;
    /* the last part has no upper bound: who began the pass ends it, and until then a stop must not
     * read as "nothing is done" */
    if (!done->after)
        return true;
    free(*to);
    *to = done->after;
    done->after = NULL;
    return true;
}

static bool note_rejections(struct coordinator *p, struct err *e)
{
    struct rejections reports = queue_rejections(p->flow->queue);
    bool ok = true;
    for (size_t i = 0; ok && p->dead && i < reports.n; i++) {
        const struct rejection *r = &reports.list[i];
        if (r->reason)
            ok = deadletters_add(p->dead, r->key, r->reason, r->status, e);
        else
            deadletters_clear(p->dead, r->key);
        dead_keys_set(p->flow->dead, r->key, r->reason != NULL);
    }
    p->unsaved |= reports.n > 0;
    rejections_free(&reports);
    return ok;
}

/* Keeps the state as it is before the marks pass the first rejected document. A rejection counts
 * before its batch is acknowledged. */
static bool keep_clean(struct coordinator *p, struct err *e)
{
    if (p->clean.tables || tally_rejected_in_window(p->flow->tally) == 0)
        return true;
    return state_data_copy(&p->clean, p->data) || err_memory(e);
}

/* The rejected documents of a run that failed come again, when what was wrong has been
 * corrected. */
static void go_back(struct coordinator *p)
{
    if (!p->clean.tables)
        return;
    state_data_free(p->data);
    *p->data = p->clean;
    p->clean = (struct state_data){0};
    p->unsaved = true;
}

/* The marks first, so that the rejections of what they pass are among those that follow. */
bool coordinator_note(struct coordinator *p, struct err *e)
{
    bool ok = !p->state || keep_clean(p, e);
    for (size_t i = 0; ok && p->state && i < p->n_lanes; i++) {
        struct checkpoint done = {0};
        if (queue_low_water(p->flow->queue, i, &done)) {
            ok = keep_checkpoint(p, i, &done, e);
            p->unsaved = true;
        }
        checkpoint_free(&done);
    }
    return ok && note_rejections(p, e);
}

static bool save(struct coordinator *p, struct err *e)
{
    if (p->dead && !deadletters_sync(p->dead, e))
        return false;
    p->data->version = versions_last(p->flow->versions);
    if (p->state && !state_file_save(p->state, p->data, e))
        return false;
    p->unsaved = false;
    return true;
}

/* Between batches: a state that cannot be saved just now is saved at a later batch. */
static bool tick(struct coordinator *p, struct err *e)
{
    struct counts sums = tally_counts(p->flow->tally);
    int64_t behind = versions_clock_behind(p->flow->versions);
    progress_show(p->progress, &sums);
    if (behind >= CLOCK_BEHIND_US)
        log_warn("PostgreSQL's clock is %lld.%03lld s behind the last version that was issued: it "
                 "went back, "
                 "or another server "
                 "answers; versions go on above that one",
                 (long long)(behind / 1000000), (long long)(behind / 1000 % 1000));
    if (!coordinator_note(p, e))
        return false;
    if (!p->unsaved || clock_mono_us() < p->save_at_us || save(p, e))
        return true;
    if (e->kind != ERR_PASSING)
        return false;
    log_warn("%s; going on", e->text);
    p->save_at_us = clock_mono_us() + SAVE_AGAIN_US;
    return true;
}

/* ---- feeding ---- */

static bool next_batch(struct coordinator *p, struct feed *f, struct batch **b, struct err *e)
{
    struct retry retry;
    retry_start(&retry, p->give_up_after);
    retry.over = queue_is_over;
    retry.arg = p->flow->queue;
    while (!feed_next(f, b, e))
        if (!retry_again(&retry, e)) {
            if (queue_ended(p->flow->queue)) /* by somebody else's error: none of ours */
                e->kind = ERR_NONE;
            return false;
        }
    retry_done(&retry);
    return true;
}

/* Nothing is asked for a while: lets go of idle connections, for which a worker may be waiting. */
static void rest(struct coordinator *p)
{
    for (size_t i = 0; i < p->n_lanes; i++)
        if (p->lanes[i].feed)
            feed_release_idle(p->lanes[i].feed);
}

bool coordinator_round(struct coordinator *p, bool *moved, struct err *e)
{
    *moved = false;
    for (size_t i = 0; i < p->n_lanes; i++) {
        struct coordinator_lane *l = &p->lanes[i];
        struct batch *b;
        if (!l->feed || l->over || !queue_room(p->flow->queue, i))
            continue;
        if (!next_batch(p, l->feed, &b, e))
            return false;
        l->over = !b;
        if (!b)
            continue;
        b->again = p->again;
        b->skip_unchanged |= p->again;
        queue_put(p->flow->queue, i, b);
        *moved = true;
    }
    if (!tick(p, e))
        return false;
    e->kind = ERR_NONE;
    return !queue_ended(p->flow->queue);
}

bool coordinator_done(const struct coordinator *p, size_t lane)
{
    return (!p->lanes[lane].feed || p->lanes[lane].over) && queue_idle(p->flow->queue, lane);
}

static bool all_done(const struct coordinator *p)
{
    for (size_t i = 0; i < p->n_lanes; i++)
        if (!coordinator_done(p, i))
            return false;
    return true;
}

bool coordinator_drain(struct coordinator *p, struct err *e)
{
    bool moved;
    for (int ticks = 0; coordinator_round(p, &moved, e); ticks++) {
        if (all_done(p))
            return coordinator_note(p, e) && (!p->unsaved || coordinator_save(p, e));
        if (moved || queue_wait(p->flow->queue, TICK_MS))
            ticks = 0;
        if (ticks == REST_TICKS)
            rest(p);
    }
    if (e->kind != ERR_NONE)
        queue_fail(p->flow->queue, e);
    coordinator_keep(p, e);
    return e->kind == ERR_NONE; /* enough */
}

bool coordinator_settle(struct coordinator *p, struct err *e)
{
    struct coordinator_lane *lanes = p->lanes;
    p->lanes = calloc(p->n_lanes, sizeof *p->lanes);
    bool ok = p->lanes ? coordinator_drain(p, e) : err_memory(e);
    free(p->lanes);
    p->lanes = lanes;
    return ok;
}

void coordinator_must_save(struct coordinator *p)
{
    p->unsaved = true;
}

void coordinator_keep(struct coordinator *p, struct err *e)
{
    struct err ignored;
    if (!p->lanes) /* it did not come to that again */
        return;
    bool noted = coordinator_note(p, &ignored);
    if (queue_error(p->flow->queue, e) && e->kind == ERR_FINAL && e->fault != ERR_FAULT_SCHEMA)
        go_back(p);
    if ((!noted || p->unsaved) && !save(p, &ignored))
        log_warn("%s", ignored.text); /* the next run repeats it */
}

bool coordinator_save(struct coordinator *p, struct err *e)
{
    struct retry retry;
    if (!p->state && !p->dead)
        return true;
    retry_start(&retry, p->give_up_after);
    while (!save(p, e))
        if (!retry_again(&retry, e))
            return false;
    retry_done(&retry);
    return true;
}
