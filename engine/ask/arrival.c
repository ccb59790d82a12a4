#include "ask/arrival.h"

#include "ask/ask.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"
#include "pg/pg.h"
#include "source/source_capture.h"
#include "store/quiesce.h"
#include "store/state_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CHECK_MS = 20,        /* between two looks at the state */
    MISSING = 100 * 1000, /* bytes of a position that is missing: then it is said in MB */
};

/* ---- the moment ---- */

static bool read_clock(struct pg *pg, int64_t *us, struct err *e)
{
    PGresult *res;
    if (!pg_query(pg,
                  "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)"
                  "::pg_catalog.int8",
                  0, NULL, &res, e) ||
        !pg_expect(pg, &res, 1, 1, e))
        return false;
    *us = pg_int(res, 0, 0);
    PQclear(res);
    return true;
}

static bool read_moment(struct arrival *x, struct err *e)
{
    struct run *r = &x->ask->run;
    struct pg *pg = pg_acquire(&r->servers.pool, e);
    bool ok = pg && read_clock(pg, &x->server_us, e) &&
              (!r->user.pipeline.source.wal || source_capture_position(pg, &x->lsn, e));
    pg_release(&r->servers.pool, pg);
    x->wall_us = clock_wall_us();
    return ok;
}

static bool try_moment(void *arg, struct err *e)
{
    return read_moment(arg, e);
}

static bool has_state(const struct ask *a)
{
    return access(a->run.user.pipeline.state, F_OK) == 0;
}

bool arrival_begin(struct arrival *x, struct ask *a, bool sweep, struct err *e)
{
    *x = (struct arrival){.ask = a, .sweep = sweep || !arrival_has_feeds(a), .request = -1};
    if (!run_reach(&a->run, RUN_POSTGRES, try_moment, x, e))
        return false;
    if (has_state(a))
        x->request = quiesce_await(a->run.user.pipeline.state);
    return true;
}

void arrival_end(struct arrival *x)
{
    if (x->ask)
        quiesce_release(x->request);
    *x = (struct arrival){0};
}

bool arrival_is_followed(const struct ask *a)
{
    return has_state(a) && quiesce_is_followed(a->run.user.pipeline.state);
}

bool arrival_has_feeds(const struct ask *a)
{
    const struct source *s = &a->run.user.source;
    for (size_t i = 0; i < s->n_tables; i++)
        if (s->tables[i].cursor)
            return true;
    return a->run.user.pipeline.source.wal;
}

/* ---- judging ---- */

static bool missing(struct arrival *x, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Always false. */
static bool missing(struct arrival *x, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(x->why, sizeof x->why, format, args);
    va_end(args);
    return false;
}

static bool is_of_this_index(struct arrival *x, const struct state_data *d)
{
    const char *path = x->ask->run.user.pipeline.state;
    if (d->phase == STATE_NEW)
        return missing(x, "there is no state file '%s': nothing was loaded yet", path);
    if (d->mtime_only)
        return missing(x, "the state file '%s' has only a time: no run has read it yet", path);
    if (d->phase == STATE_SNAPSHOT)
        return missing(x, "the first load is under way: all up to key '%s' is loaded",
                       d->after ? d->after : "(none yet)");
    if (strcmp(d->index_uuid, x->ask->run.index.info.uuid) != 0)
        return missing(x, "the state is of another index than '%s'", x->ask->run.index.info.name);
    return true;
}

static bool is_log_delivered(struct arrival *x, const struct state_data *d)
{
    double bytes = (double)(x->lsn - d->log_lsn);
    if (d->swept_us == 0)
        return missing(x, "the log did not tell all: a sweep is due");
    if (d->log_lsn >= x->lsn)
        return true;
    if (d->log_lsn == 0)
        return missing(x, "the log is not delivered up to any position yet");
    return bytes < MISSING ? missing(x, "%.0f bytes of the log are not delivered", bytes)
                           : missing(x, "%.1f MB of the log are not delivered", bytes / 1e6);
}

static bool is_table_delivered(struct arrival *x, const struct state_data *d,
                               const struct source_table *t)
{
    const struct state_table *s = state_find(d, t->state_name);
    char at[CLOCK_TEXT];
    if (!s || s->checkpoint.whole_us == 0)
        return missing(x, "table '%s' was not read from beginning to end yet", t->label);
    if (s->checkpoint.whole_us > x->server_us)
        return true;
    return missing(x, "table '%s' was read at %s, before the changes to wait for", t->label,
                   clock_text(s->checkpoint.whole_us, at));
}

static bool is_swept(struct arrival *x, const struct state_data *d)
{
    char at[CLOCK_TEXT];
    if (!x->sweep || (d->swept_us != 0 && d->swept_from_us > x->wall_us))
        return true;
    if (d->sweep_began_us > x->wall_us)
        return missing(x, "a sweep is under way since %s", clock_text(d->sweep_began_us, at));
    return missing(x, "a sweep has to begin and end (the last one ended: %s)",
                   d->swept_us ? clock_text(d->swept_us, at) : "never");
}

static bool judge(struct arrival *x, const struct state_data *d)
{
    const struct source *s = &x->ask->run.user.source;
    if (!is_of_this_index(x, d))
        return false;
    if (x->ask->run.user.pipeline.source.wal)
        return is_log_delivered(x, d) && is_swept(x, d);
    for (size_t i = 0; i < s->n_tables; i++)
        if (s->tables[i].cursor && !is_table_delivered(x, d, &s->tables[i]))
            return false;
    return is_swept(x, d);
}

bool arrival_check(struct arrival *x, bool *arrived, struct err *e)
{
    struct state_data d;
    *arrived = false;
    if (!state_file_read(x->ask->run.user.pipeline.state, &d, e))
        return false;
    *arrived = judge(x, &d);
    state_data_free(&d);
    return true;
}

bool arrival_wait(struct arrival *x, int64_t timeout_us, bool *arrived, struct err *e)
{
    int64_t end = clock_mono_us() + timeout_us;
    for (;;) {
        if (!arrival_check(x, arrived, e))
            return false;
        if (*arrived || (timeout_us && clock_mono_us() >= end))
            return true;
        if (x->request < 0 && has_state(x->ask))
            x->request = quiesce_await(x->ask->run.user.pipeline.state);
        if (!stop_sleep(CHECK_MS))
            return stop_err(e);
    }
}
