#include "flow/coordinator.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/watchdog.h"
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
    TICK_MS = 250,                 /* between two rounds while nothing happens */
    IDLE_TICKS = 8,                /* until idle connections are closed */
    CLOCK_BEHIND_US = 1000 * 1000, /* less is drift, not a clock that was set back */
    /* A full disk takes a while to be emptied, and the log may be on it. */
    SAVE_AGAIN_US = 10 * 1000 * 1000,
};

bool coordinator_init(struct coordinator *c, struct err *e)
{
    c->n_lanes = c->source->n_tables + COORDINATOR_MORE_LANES;
    c->lanes = calloc(c->n_lanes, sizeof *c->lanes);
    return c->lanes || err_memory(e);
}

void coordinator_free(struct coordinator *c)
{
    free(c->lanes);
    c->lanes = NULL;
    state_data_free(&c->clean);
}

void coordinator_begin_window(struct coordinator *c)
{
    tally_begin_window(c->flow->tally);
    state_data_free(&c->clean);
}

void coordinator_set_feed(struct coordinator *c, size_t lane, struct feed *f)
{
    c->lanes[lane] = (struct coordinator_lane){.feed = f};
}

void coordinator_clear(struct coordinator *p)
{
    for (size_t i = 0; p->lanes && i < p->n_lanes; i++)
        coordinator_set_feed(p, i, NULL);
}

bool coordinator_is_over(const struct coordinator *p, size_t lane)
{
    return p->lanes[lane].feed && p->lanes[lane].over;
}

/* ---- acknowledgements ---- */

static bool apply_checkpoint(struct coordinator *c, size_t lane, struct checkpoint *done,
                             struct err *e)
{
    struct state_data *d = c->data;
    if (lane < c->source->n_tables) {
        struct state_table *t = state_table(d, c->source->tables[lane].state_name);
        if (!t)
            return err_memory(e);
        /* a capture has passed over what this batch was a part of: see run_capture */
        if (journal_is_before(done->journal, t->checkpoint.journal))
            done->journal = t->checkpoint.journal;
        checkpoint_move(&t->checkpoint, done);
        return true;
    }
    char **to = d->phase == STATE_SNAPSHOT ? &d->after : &d->sweep_after;
    /* The last chunk has no upper bound. The caller ends the pass; until then `after` stays, since
     * NULL would mean that nothing is done. */
    if (!done->after)
        return true;
    free(*to);
    *to = done->after;
    done->after = NULL;
    return true;
}

static bool collect_rejections(struct coordinator *c, struct err *e)
{
    struct rejections reports = queue_rejections(c->flow->queue);
    bool ok = true;
    for (size_t i = 0; ok && c->dead && i < reports.n; i++) {
        const struct rejection *r = &reports.list[i];
        if (r->reason)
            ok = deadletters_add(c->dead, r->key, r->reason, r->status, e);
        else
            deadletters_clear(c->dead, r->key);
        dead_keys_set(c->flow->dead, r->key, r->reason != NULL);
    }
    c->unsaved |= reports.n > 0;
    rejections_free(&reports);
    return ok;
}

/* Copies the state before a checkpoint passes the first rejected document. A rejection is counted
 * before its batch is acknowledged. */
static bool keep_clean(struct coordinator *c, struct err *e)
{
    if (c->clean.tables || tally_rejected_in_window(c->flow->tally) == 0)
        return true;
    return state_data_copy(&c->clean, c->data) || err_memory(e);
}

/* After a failed run: the next one reads the rejected documents again, once the user has corrected
 * what was wrong. */
static void restore_clean(struct coordinator *c)
{
    if (!c->clean.tables)
        return;
    state_data_free(c->data);
    *c->data = c->clean;
    c->clean = (struct state_data){0};
    c->unsaved = true;
}

/* Checkpoints first: then the reports of all batches that they pass are among those collected. */
bool coordinator_collect(struct coordinator *c, struct err *e)
{
    bool ok = !c->state || keep_clean(c, e);
    for (size_t i = 0; ok && c->state && i < c->n_lanes; i++) {
        struct checkpoint done = {0};
        if (queue_low_water(c->flow->queue, i, &done)) {
            /* again: a worker may have rejected a document since */
            ok = keep_clean(c, e) && apply_checkpoint(c, i, &done, e);
            c->unsaved = true;
        }
        checkpoint_free(&done);
    }
    return ok && collect_rejections(c, e);
}

static bool save(struct coordinator *c, struct err *e)
{
    if (c->dead && !deadletters_sync(c->dead, e))
        return false;
    c->data->version = versions_last(c->flow->versions);
    if (c->state && !state_file_save(c->state, c->data, e))
        return false;
    c->unsaved = false;
    return true;
}

/* After each round. If the state cannot be saved for the moment, a later round tries again. */
static bool report_and_save(struct coordinator *c, struct err *e)
{
    struct counts counts = tally_counts(c->flow->tally);
    int64_t behind = versions_clock_behind(c->flow->versions);
    progress_show(c->progress, &counts, clock_mono_us());
    alike_tick();
    if (behind >= CLOCK_BEHIND_US)
        alike_warn(
            NULL, LOG_FIELDS(log_real("behind_seconds", (double)behind / 1e6)),
            "PostgreSQL's clock is %lld.%03lld s behind the last version that was issued: the "
            "clock was set back, or another server answers; continuing with versions above it",
            (long long)(behind / 1000000), (long long)(behind / 1000 % 1000));
    if (!coordinator_collect(c, e))
        return false;
    if (!c->unsaved || clock_mono_us() < c->save_at_us || save(c, e))
        return true;
    if (e->kind != ERR_PASSING)
        return false;
    alike_warn(e->text, LOG_FIELDS(LOG_ERR(e)), "%s; continuing", e->text);
    c->save_at_us = clock_mono_us() + SAVE_AGAIN_US;
    return true;
}

/* ---- feeding ---- */

static bool next_batch(struct coordinator *c, struct feed *f, struct batch **b, struct err *e)
{
    struct retry retry;
    retry_start(&retry, c->give_up_after);
    retry.over = queue_is_over;
    retry.arg = c->flow->queue;
    while (!feed_next(f, b, e))
        if (!retry_again(&retry, e)) {
            if (queue_ended(c->flow->queue)) /* by a worker's error, which the queue has */
                e->kind = ERR_NONE;
            return false;
        }
    retry_done(&retry);
    return true;
}

/* Closes connections that have been idle for a while, so that workers can have the slots. */
static void release_idle(struct coordinator *c)
{
    for (size_t i = 0; i < c->n_lanes; i++)
        if (c->lanes[i].feed)
            feed_release_idle(c->lanes[i].feed);
}

bool coordinator_round(struct coordinator *c, bool *moved, struct err *e)
{
    *moved = false;
    watchdog_sign();
    for (size_t i = 0; i < c->n_lanes; i++) {
        struct coordinator_lane *l = &c->lanes[i];
        struct batch *b;
        if (!l->feed || l->over || !queue_room(c->flow->queue, i))
            continue;
        if (!next_batch(c, l->feed, &b, e))
            return false;
        l->over = !b;
        if (!b)
            continue;
        b->just_loaded = c->just_loaded;
        b->skip_unchanged |= c->just_loaded;
        if (c->just_loaded) /* the load may have delivered its changes long ago */
            b->changed = (struct change_times){0};
        queue_put(c->flow->queue, i, b);
        *moved = true;
    }
    if (!report_and_save(c, e) || (c->each_round && !c->each_round(c->arg, e)))
        return false;
    e->kind = ERR_NONE;
    return !queue_ended(c->flow->queue);
}

bool coordinator_lane_is_done(const struct coordinator *c, size_t lane)
{
    return (!c->lanes[lane].feed || c->lanes[lane].over) && queue_idle(c->flow->queue, lane);
}

static bool all_done(const struct coordinator *c)
{
    for (size_t i = 0; i < c->n_lanes; i++)
        if (!coordinator_lane_is_done(c, i))
            return false;
    return true;
}

bool coordinator_drain(struct coordinator *c, struct err *e)
{
    bool moved;
    for (int ticks = 0; coordinator_round(c, &moved, e); ticks++) {
        if (all_done(c))
            return coordinator_collect(c, e) && (!c->unsaved || coordinator_save(c, e));
        if (moved || queue_wait(c->flow->queue, TICK_MS))
            ticks = 0;
        if (ticks == IDLE_TICKS)
            release_idle(c);
    }
    if (e->kind != ERR_NONE)
        queue_fail(c->flow->queue, e);
    coordinator_abort(c, e);
    return e->kind == ERR_NONE; /* queue_enough */
}

bool coordinator_settle(struct coordinator *c, struct err *e)
{
    struct coordinator_lane *lanes = c->lanes;
    bool (*each_round)(void *, struct err *) = c->each_round;
    c->lanes = calloc(c->n_lanes, sizeof *c->lanes);
    c->each_round = NULL; /* it may change the feeds, which are put back below */
    bool ok = c->lanes ? coordinator_drain(c, e) : err_memory(e);
    free(c->lanes);
    c->lanes = lanes;
    c->each_round = each_round;
    return ok;
}

void coordinator_must_save(struct coordinator *c)
{
    c->unsaved = true;
}

void coordinator_abort(struct coordinator *c, struct err *e)
{
    struct err ignored;
    if (!c->lanes) /* the workers could not be started again */
        return;
    bool noted = coordinator_collect(c, &ignored);
    if (queue_error(c->flow->queue, e) && e->kind == ERR_FINAL && e->fault != ERR_FAULT_SCHEMA)
        restore_clean(c);
    if ((!noted || c->unsaved) && !save(c, &ignored))
        log_warn_with(LOG_FIELDS(LOG_ERR(&ignored)), "%s",
                      ignored.text); /* the next run reads the changes again */
}

bool coordinator_save_now(struct coordinator *c, struct err *e)
{
    if (!coordinator_collect(c, e))
        return false;
    c->unsaved = true;
    return save(c, e);
}

bool coordinator_save(struct coordinator *c, struct err *e)
{
    struct retry retry;
    if (!c->state && !c->dead)
        return true;
    retry_start(&retry, c->give_up_after);
    while (!save(c, e))
        if (!retry_again(&retry, e))
            return false;
    retry_done(&retry);
    return true;
}
