#include "run/run_pipeline.h"

#include "base/err.h"
#include "base/notify.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "model/batch.h"
#include "run/desk.h"
#include "run/hand_over.h"
#include "run/run.h"
#include "run/run_alter.h"
#include "run/run_capture.h"
#include "run/run_chosen.h"
#include "run/run_execute.h"
#include "run/run_follow.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_load.h"
#include "run/run_meta.h"
#include "run/run_open.h"
#include "run/run_requests.h"
#include "run/run_workers.h"
#include "run/vitals.h"

static bool check_index(struct run *r, struct err *e)
{
    return run_check_index(r, e) && run_check_chosen(r, e) && run_count_documents(r, e);
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
    desk_serve(r->desk, NULL, "it brings the index up to date first");
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

/* ---- a process that follows has the lock ---- */

struct pages {
    const struct batch *keys;
    size_t next;
};

static bool next_page(void *arg, struct request_message *m, struct err *e)
{
    struct pages *p = arg;
    return hand_over_page(p->keys, &p->next, &m->keys, e);
}

/* Of those options that are more than what can be asked for. */
static bool can_hand_over(const struct run *r)
{
    const struct run_options *o = &r->options;
    return (r->keys || o->sweep) && !o->follow && !o->dry_run && !o->full && !o->since &&
           o->limit == 0;
}

/* False: e is why the lock was not had, or what has failed instead. */
static bool hand_work_over(struct run *r, struct err *e)
{
    struct pages pages = {.keys = r->keys};
    bool asked;
    if (e->fault != ERR_FAULT_HELD || !can_hand_over(r))
        return false;
    if (r->options.dead_letters) {
        err_set(e, ERR_USAGE,
                "a process that follows uses state file '%s', and saves rejected "
                "keys where it was told to",
                r->user.pipeline.state);
        return err_hint(e, "leave out --dead-letters: that process is asked to do the work");
    }
    progress_start(&r->work.progress, r->user.pipeline.name, r->terminal);
    r->work.progress.expected = r->keys ? (int64_t)r->keys->n : 0;
    progress_begin(&r->work.progress, r->keys ? "loading" : "sweeping", true);
    struct hand_over h = {.pipeline = &r->user.pipeline,
                          .fingerprint = r->user.fingerprint,
                          .ask = r->keys ? REQUEST_ASK_KEYS : REQUEST_ASK_SWEEP,
                          .allow_deletes = r->options.allow_deletes,
                          .give_up_after = r->servers.give_up_after,
                          .progress = &r->work.progress,
                          .page = r->keys ? next_page : NULL,
                          .arg = &pages};
    bool ok = hand_over(&h, &asked, e);
    r->handed.done = asked;
    r->handed.counts = h.counts;
    if (asked && (ok || h.counts.requests > 0))
        run_log_summary(r, &h.counts);
    return ok;
}

uint64_t run_rejected(const struct run *r)
{
    return r->handed.done ? r->handed.counts.rejected : tally_counts(r->work.flow.tally).rejected;
}

bool run_pipeline(struct run *r, const char *path, struct err *e)
{
    struct watchdog_task task;
    vitals_phase(r->vitals, VITALS_STARTING, NULL, -1);
    r->reloads = stop_reloads();
    watchdog_begin(&task, "main");
    bool ok = run_open(r, path, e) ? run_execute(r, work, r, e) : hand_work_over(r, e);
    run_close_desk(r, ok ? NULL : e);
    watchdog_end(&task);
    return ok;
}
