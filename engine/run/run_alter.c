#include "run/run_alter.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/stop.h"
#include "flow/queue.h"
#include "run/run.h"
#include "run/run_index.h"
#include "run/run_reload.h"
#include "run/run_workers.h"

enum {
    OFTEN = 20, /* times within a minute: then the reason is not an ALTER TABLE */
    MINUTE_US = 60 * 1000 * 1000,
    PAUSE_MS = 100, /* until the next statement of the migration has run, too */
};

/* Whether a changed table is why the run has failed, and not too often. */
static bool is_outdated(struct run *r, const struct err *e)
{
    struct err why = *e;
    if (why.kind == ERR_NONE && !queue_error(r->work.flow.queue, &why))
        return false;
    if (why.kind != ERR_FINAL || why.fault != ERR_FAULT_SCHEMA || r->options.dry_run)
        return false;
    int64_t now = clock_mono_us();
    if (now - r->restarts.since_us > MINUTE_US) {
        r->restarts.since_us = now;
        r->restarts.n = 0;
    }
    return r->restarts.n++ < OFTEN;
}

struct successor { /* of a script */
    struct run *run;
    struct run_script script;
};

static bool open_successor(void *arg, struct err *e)
{
    struct successor *s = arg;
    struct run *r = s->run;
    run_close_script(&s->script); /* of the try before */
    return run_open_script(&s->script, r->user.text.ref, e) && run_check_reload(r, &s->script, e) &&
           run_bind_script(&s->script, &r->servers.pool, &r->work.progress.expected, e) &&
           run_fit_index(r, &s->script, e);
}

bool run_recover_altered(struct run *r, struct err *e)
{
    struct successor next = {.run = r};
    if (!is_outdated(r, e))
        return false;
    if (e->kind == ERR_NONE)
        queue_error(r->work.flow.queue, e);
    log_info_with(LOG_FIELDS(LOG_ERR(e)),
                  "%s: a table has changed (%s): describing the query again", r->user.pipeline.name,
                  e->text);
    queue_fail(r->work.flow.queue, e);
    run_stop_workers(r);
    if (!stop_sleep(PAUSE_MS))
        return stop_err(e);
    bool ok = coordinator_collect(&r->work.coordinator, e) &&
              retry_until(r->servers.give_up_after, open_successor, &next, e) &&
              run_restart(r, &next.script, e);
    run_close_script(&next.script);
    if (!ok)
        return false;
    coordinator_must_save(&r->work.coordinator);
    if (r->state.data.phase == STATE_SNAPSHOT) /* --full has begun: it is resumed, not repeated */
        r->options.full = false;
    return true;
}
