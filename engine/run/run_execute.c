#include "run/run_execute.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "flow/tally.h"
#include "run/run.h"
#include "run/run_warn.h"
#include "run/run_workers.h"
#include "store/deadletter.h"

#include <stdio.h>

static void log_summary(const struct run *r, const struct counts *s)
{
    char documents[PROGRESS_TEXT], deleted[PROGRESS_TEXT], rejected[PROGRESS_TEXT],
        requests[PROGRESS_TEXT];
    char rate[PROGRESS_TEXT], retried[PROGRESS_TEXT], n[PROGRESS_TEXT],
        sent[3 * PROGRESS_TEXT] = "";
    char superseded[2 * PROGRESS_TEXT] = "", unchanged[2 * PROGRESS_TEXT] = "",
                        repeated[2 * PROGRESS_TEXT] = "";
    char duration[CLOCK_TEXT];
    int64_t us = clock_mono_us() - r->started_us;
    if (s->superseded > 0) /* seldom: otherwise a riddle to newcomers */
        snprintf(superseded, sizeof superseded, "%s already newer or gone, ",
                 progress_number(s->superseded, n));
    if (s->unchanged > 0) /* after a sweep */
        snprintf(unchanged, sizeof unchanged, "%s unchanged, ", progress_number(s->unchanged, n));
    if (s->repeated > 0)
        snprintf(repeated, sizeof repeated, "%s repeating a key, ",
                 progress_count(s->repeated, "row", n));
    if (!r->options.dry_run)
        snprintf(sent, sizeof sent, " in %s, %s retried",
                 progress_count(s->requests, "request", requests),
                 progress_count(s->retried_items, "item", retried));
    progress_number(
        (uint64_t)((double)(s->indexed + s->deleted + s->superseded) * 1e6 / (double)(us + 1)),
        rate);
    log_info("%s: %s %s, %s deleted, %s%s%s%s rejected, in %s (%s/s); %.1f MB%s",
             r->user.pipeline.name, progress_count(s->indexed, "document", documents),
             r->options.dry_run ? "printed" : "indexed", progress_number(s->deleted, deleted),
             superseded, unchanged, repeated, progress_number(s->rejected, rejected),
             clock_duration(us, duration), rate, (double)s->bytes / 1e6, sent);
}

static struct script_run hook_info(const struct run *r, const struct counts *s, bool ended, bool ok)
{
    return (struct script_run){
        .pipeline = r->user.pipeline.name,
        .dry_run = r->options.dry_run,
        .ended = ended,
        .ok = ok,
        .documents = s->indexed,
        .deleted = s->deleted,
        .rejected = s->rejected,
        .seconds = (double)(clock_mono_us() - r->started_us) / 1e6,
    };
}

bool run_execute(struct run *r, bool (*work)(void *arg, struct err *e), void *arg, struct err *e)
{
    char letters[PROGRESS_TEXT];
    struct counts sums = {0};
    struct script_run info = hook_info(r, &sums, false, false);
    script_serve(r->user.script, &(struct sandbox_services){&r->servers.pool, r->servers.es,
                                                            r->user.pipeline.state});
    if (!script_hook(r->user.script, "before_run", &info, e) || !run_start_workers(r, e))
        return false;
    bool ok = work(arg, e);
    progress_end(&r->work.progress);
    sums = tally_counts(r->work.flow.tally);
    run_warn_repeated(r);
    if (ok || e->kind == ERR_STOPPED || sums.requests > 0)
        log_summary(r, &sums);
    if (r->state.dead && deadletters_count(r->state.dead) > 0)
        log_warn("%s: %s in '%s'", r->user.pipeline.name,
                 progress_count(deadletters_count(r->state.dead), "dead letter", letters),
                 deadletters_path(r->state.dead));
    if (!ok && e->kind == ERR_STOPPED)
        return false;
    struct err hook_error;
    info = hook_info(r, &sums, true, ok);
    if (script_hook(r->user.script, "after_run", &info, &hook_error))
        return ok;
    if (ok)
        *e = hook_error;
    else
        log_warn("%s", hook_error.text);
    return false;
}
