#include "run/state_move.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "script/pipeline.h"
#include "store/state.h"

#include <stdlib.h>

/* Reads the time, or the number, that a user has set, as a cursor of the pipeline. utc: holds its
 * text. */
static bool read_cursor(const struct pipeline *p, const struct state_data *d, const char *text,
                        char utc[CLOCK_TEXT], struct position *at, struct err *e)
{
    const struct position *root = d->n_tables > 0 ? &d->tables[0].checkpoint.at : NULL;
    bool is_number = root && root->cursor && !root->has_us && !p->source.wal;
    *at = (struct position){.cursor = (char *)text};
    at->has_us = clock_parse(text, &at->us);
    if (at->has_us) /* in UTC: a timestamp column ignores a zone */
        at->cursor = clock_text(at->us, utc);
    if (is_number && at->has_us)
        return err_set(e, ERR_USAGE, "the cursor of this pipeline is not a time: it is at %s",
                       root->cursor);
    if (is_number)
        return true;
    if (!at->has_us)
        return err_set(e, ERR_USAGE,
                       "cannot read '%s' as a time; write it like 2026-11-24T12:00:00Z", text);
    if (!p->source.wal && clock_is_ahead(at->us))
        return err_set(e, ERR_USAGE,
                       "cannot go to '%s', which is in the future: no change before it would be "
                       "seen; give a time in the past",
                       text);
    return true;
}

/* A time set by hand applies to every table. Without a state the file becomes an empty one with
 * that modification time; otherwise the checkpoints of its tables are changed. */
static bool move_to(struct state_data *d, const struct position *at, struct err *e)
{
    d->mtime_only |= d->phase == STATE_NEW;
    d->phase = STATE_FOLLOWING;
    free(d->after);
    d->after = NULL;
    bool ok = position_copy(&d->mtime, at);
    for (size_t i = 0; ok && i < d->n_tables; i++) {
        struct checkpoint *c = &d->tables[i].checkpoint;
        if (i > 0 && c->at.has_us != at->has_us)
            continue; /* another kind of cursor */
        ok = checkpoint_begin(c, at);
    }
    return ok || err_memory(e);
}

/* In the log no time is a place to go on from. What changed since then, and whatever else differs,
 * is found by a sweep; the place in the journal stays. */
static void owe_sweep(struct state_data *d)
{
    d->phase = STATE_FOLLOWING;
    free(d->after);
    free(d->sweep_after);
    d->after = d->sweep_after = NULL;
    d->sweep_again = false;
    d->swept_us = 0;
}

bool state_move(const struct pipeline *p, struct state_data *d, const char *text, struct err *e)
{
    struct position at;
    char utc[CLOCK_TEXT];
    if (!read_cursor(p, d, text, utc, &at, e))
        return false;
    if (!p->source.wal)
        return move_to(d, &at, e);
    log_info("%s: capture from the log cannot go back to a time: instead, the next run compares "
             "every row with the index (a sweep)",
             p->name);
    if (d->n_tables == 0)
        return move_to(d, &at, e); /* an empty file of that time has the same effect */
    owe_sweep(d);
    return true;
}
