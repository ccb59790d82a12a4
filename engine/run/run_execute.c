#include "run/run_execute.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "flow/tally.h"
#include "run/run.h"
#include "run/run_warn.h"
#include "run/run_workers.h"
#include "store/deadletter.h"

#include <stdio.h>
#include <string.h>

/* Adds "12 unchanged, ", or nothing: what is seldom counted would only puzzle. */
static void add_count(char *out, size_t size, uint64_t n, const char *what)
{
    char number[PROGRESS_TEXT];
    size_t len = strlen(out);
    if (n > 0)
        snprintf(out + len, size - len, "%s %s, ", progress_number(n, number), what);
}

void run_log_summary(const struct run *r, const struct counts *s)
{
    char documents[PROGRESS_TEXT], deleted[PROGRESS_TEXT], rejected[PROGRESS_TEXT];
    char requests[PROGRESS_TEXT], retried[PROGRESS_TEXT], rate[PROGRESS_TEXT];
    char others[9 * PROGRESS_TEXT] = "", sent[3 * PROGRESS_TEXT] = "", duration[CLOCK_TEXT];
    int64_t us = clock_mono_us() - r->started_us;
    double a_second = (double)(s->indexed + s->deleted + s->superseded) * 1e6 / (double)(us + 1);
    add_count(others, sizeof others, s->superseded, "already newer or gone");
    add_count(others, sizeof others, s->unchanged, "unchanged"); /* by a sweep */
    add_count(others, sizeof others, s->dropped, "dropped by an ingest pipeline");
    add_count(others, sizeof others, s->repeated,
              s->repeated == 1 ? "row repeating a key" : "rows repeating a key");
    if (!r->options.dry_run)
        snprintf(sent, sizeof sent, " in %s, %s retried",
                 progress_count(s->requests, "request", requests),
                 progress_count(s->retried_items, "item", retried));
    const struct log_field fields[] = {
        log_int("documents", (long long)(s->indexed + s->deleted + s->superseded)),
        log_int(r->options.dry_run ? "printed" : "indexed", (long long)s->indexed),
        log_int("deleted", (long long)s->deleted),
        log_int("superseded", (long long)s->superseded),
        log_int("unchanged", (long long)s->unchanged),
        log_int("repeated", (long long)s->repeated),
        log_int("rejected", (long long)s->rejected),
        log_if(s->dropped > 0, log_int("dropped", (long long)s->dropped)),
        log_real("seconds", (double)us / 1e6),
        log_real("documents_per_second", a_second),
        log_int("request_bytes", (long long)s->bytes),
        log_int("requests", (long long)s->requests),
        log_int("retried_items", (long long)s->retried_items),
        {0},
    };
    log_info_with(fields, "%s: %s %s, %s deleted, %s%s rejected, in %s (%s/s); %.1f MB%s",
                  r->user.pipeline.name, progress_count(s->indexed, "document", documents),
                  r->options.dry_run ? "printed" : "indexed", progress_number(s->deleted, deleted),
                  others, progress_number(s->rejected, rejected), clock_duration(us, duration),
                  progress_number((uint64_t)a_second, rate), (double)s->bytes / 1e6, sent);
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
    alike_flush();
    sums = tally_counts(r->work.flow.tally);
    run_warn_repeated(r);
    if (ok || e->kind == ERR_STOPPED || sums.requests > 0)
        run_log_summary(r, &sums);
    if (r->state.dead && deadletters_count(r->state.dead) > 0)
        log_warn_with(
            LOG_FIELDS(log_int("dead_letters", (long long)deadletters_count(r->state.dead)),
                       log_text("path", deadletters_path(r->state.dead))),
            "%s: %s in '%s'", r->user.pipeline.name,
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
        log_warn_with(LOG_FIELDS(LOG_ERR(&hook_error)), "%s", hook_error.text);
    return false;
}
