/* run_anew: a table or column that is not what it was when the query was described: ALTER TABLE
 * under a run.
 *
 * The script is read once more, and the query described anew, as for SIGHUP; the run then goes on
 * from what was acknowledged. Who has changed the table may have changed the script with it. Where
 * the script does not fit the table any more, the run ends, with what is wrong and where the script
 * says it.
 */
#include "run/run.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/stop.h"
#include "feed/chunk_size.h"
#include "flow/queue.h"

enum {
    OFTEN = 20, /* times within a minute: then it is no ALTER TABLE */
    MINUTE_US = 60 * 1000 * 1000,
    PAUSE_MS = 100, /* the statements of a migration follow each other */
};

bool run_restart(struct run *r, struct run_script *fresh, struct err *e)
{
    run_stop(r);
    coordinator_free(&r->coordinator);
    struct bulk_sums sums = queue_sums(r->queue);
    queue_free(r->queue);
    r->queue = NULL;
    chunk_size_free(r->chunk);
    r->chunk = NULL;
    if (fresh) {
        run_close_script(&r->user);
        r->user = *fresh;
        *fresh = (struct run_script){0};
        r->user.source.pipeline = &r->user.pipeline;
        r->progress.name = r->user.pipeline.name;
    }
    if ((r->index_moved && !run_patiently(r, run_adopt, e)) || !run_bind_state(r, e) ||
        !run_start(r, e) || !run_patiently(r, run_guard, e))
        return false;
    queue_add_sums(r->queue, &sums);
    coordinator_begin_window(&r->coordinator);
    script_serve(r->user.script,
                 &(struct script_services){&r->pool, r->es, r->user.pipeline.state});
    return true;
}

/* Whether that is why it has failed; often: it has been so again and again. */
static bool is_outdated(struct run *r, const struct err *e)
{
    struct err why = *e;
    if (why.kind == ERR_NONE && !queue_error(r->queue, &why))
        return false;
    if (why.kind != ERR_FINAL || why.fault != ERR_FAULT_SCHEMA || r->o.dry_run)
        return false;
    int64_t now = clock_mono_us();
    if (now - r->anew_us > MINUTE_US) {
        r->anew_us = now;
        r->anew = 0;
    }
    return r->anew++ < OFTEN;
}

static bool open_fresh(struct run *r, struct run_script *fresh, struct err *e)
{
    return run_open_script(fresh, r->user.text.path, e) && run_check_reload(r, fresh, e) &&
           run_open_source(r, fresh, e) && run_fit_index(r, fresh, e);
}

static bool open_patiently(struct run *r, struct run_script *fresh, struct err *e)
{
    struct retry retry;
    retry_start(&retry, r->give_up_after);
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
        queue_error(r->queue, e);
    log_info("%s: a table has changed (%s): describing the query anew", r->user.pipeline.name,
             e->text);
    queue_fail(r->queue, e);
    run_stop(r);
    if (!stop_sleep(PAUSE_MS))
        return stop_err(e);
    if (!coordinator_note(&r->coordinator, e) || !open_patiently(r, &fresh, e))
        return false;
    bool ok = run_restart(r, &fresh, e);
    run_close_script(&fresh);
    r->coordinator.unsaved |= ok;
    if (r->data.phase == STATE_SNAPSHOT) /* begun as asked: it goes on */
        r->o.full = false;
    return ok;
}
