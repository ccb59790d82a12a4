#include "run/run_anew.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/stop.h"
#include "flow/queue.h"
#include "run/run.h"
#include "run/run_index.h"
#include "run/run_open.h"
#include "run/run_reload.h"
#include "run/run_workers.h"

enum {
    OFTEN = 20, /* times within a minute: then it is no ALTER TABLE */
    MINUTE_US = 60 * 1000 * 1000,
    PAUSE_MS = 100, /* the statements of a migration follow each other */
};

/* Whether that is why it has failed; often: it has been so again and again. */
static bool is_outdated(struct run *r, const struct err *e)
{
    struct err why = *e;
    if (why.kind == ERR_NONE && !queue_error(r->work.queue, &why))
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

static bool open_fresh(struct run *r, struct run_script *fresh, struct err *e)
{
    return run_open_script(fresh, r->user.text.path, e) && run_check_reload(r, fresh, e) &&
           run_open_source(r, fresh, e) && run_fit_index(r, fresh, e);
}

static bool open_patiently(struct run *r, struct run_script *fresh, struct err *e)
{
    struct retry retry;
    retry_start(&retry, r->servers.give_up_after);
    while (!open_fresh(r, fresh, e)) {
        run_close_script(fresh);
        if (!retry_again(&retry, e))
            return false;
    }
    retry_done(&retry);
    return true;
}

bool run_anew(struct run *r, struct err *e)
{
    struct run_script fresh = {0};
    if (!is_outdated(r, e))
        return false;
    if (e->kind == ERR_NONE)
        queue_error(r->work.queue, e);
    log_info("%s: a table has changed (%s): describing the query anew", r->user.pipeline.name,
             e->text);
    queue_fail(r->work.queue, e);
    run_stop(r);
    if (!stop_sleep(PAUSE_MS))
        return stop_err(e);
    if (!coordinator_note(&r->work.coordinator, e) || !open_patiently(r, &fresh, e))
        return false;
    bool ok = run_restart(r, &fresh, e);
    run_close_script(&fresh);
    r->work.coordinator.unsaved |= ok;
    if (r->state.data.phase == STATE_SNAPSHOT) /* begun as asked: it goes on */
        r->options.full = false;
    return ok;
}
