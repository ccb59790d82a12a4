#include "run/run_pipeline.h"

#include "base/err.h"
#include "base/notify.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "flow/queue.h"
#include "run/run.h"
#include "run/run_alter.h"
#include "run/run_capture.h"
#include "run/run_execute.h"
#include "run/run_follow.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_load.h"
#include "run/run_meta.h"
#include "run/run_open.h"
#include "run/run_workers.h"
#include "run/vitals.h"

static bool check_index(struct run *r, struct err *e)
{
    return run_check_index(r, e) && run_count_documents(r, e);
}

/* If a reindex has swapped the alias during the load, the new index is brought up to date, too. */
static bool load(struct run *r, struct err *e)
{
    do {
        if (!run_load(r, e))
            return false;
        if (r->options.dry_run)
            return true;
        if (!run_patiently(r, run_check_index, e))
            return false;
    } while (r->index.replaced && run_patiently(r, run_adopt, e));
    return !r->index.replaced;
}

static bool work(void *arg, struct err *e)
{
    struct run *r = arg;
    run_warn_left_capture(r);
    /* a reload that is asked for during the load waits for its end */
    bool ok = (!r->options.follow || stop_catch_reload(e)) &&
              run_patiently(r, run_open_capture, e) && run_patiently(r, run_guard, e);
    if (ok) /* both servers have answered; a first load may take hours */
        notify_ready();
    while (ok && !(ok = load(r, e)) && run_recover_altered(r, e))
        ok = true;
    if (!ok)
        queue_fail(r->work.flow.queue, e);
    else if (r->options.follow)
        ok = run_follow(r, e);
    if (stop_asked())
        notify_stopping();
    run_close_capture(r);
    run_stop_workers(r);
    if (ok || e->kind == ERR_STOPPED)
        run_save_meta(r);
    if (!ok || r->options.dry_run)
        return ok;
    return run_patiently(r, check_index, e) && coordinator_save(&r->work.coordinator, e);
}

bool run_pipeline(struct run *r, const char *path, struct err *e)
{
    struct watchdog_task task;
    vitals_phase(r->vitals, VITALS_STARTING, NULL, -1);
    r->reloads = stop_reloads();
    watchdog_begin(&task, "main");
    bool ok = run_open(r, path, e) && run_execute(r, work, r, e);
    watchdog_end(&task);
    return ok;
}
