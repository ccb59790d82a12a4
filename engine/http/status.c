#include "http/status.h"

#include "base/clock.h"
#include "base/json.h"
#include "http/show.h"

#include <stdio.h>

/* ---- members: each begins with a comma, unless it is the first of its object ---- */

static void add_name(struct buf *out, const char *name)
{
    char last = out->len ? out->data[out->len - 1] : '{';
    buf_addf(out, "%s\"%s\":", last == '{' || last == '[' ? "" : ",", name);
}

static void add_text(struct buf *out, const char *name, const char *text)
{
    add_name(out, name);
    show_string(out, text);
}

static void add_int(struct buf *out, const char *name, uint64_t n)
{
    add_name(out, name);
    json_add_int(out, (int64_t)n);
}

static void add_bool(struct buf *out, const char *name, bool yes)
{
    add_name(out, name);
    buf_adds(out, yes ? "true" : "false");
}

static void add_null(struct buf *out, const char *name)
{
    add_name(out, name);
    buf_adds(out, "null");
}

/* Negative: null. */
static void add_seconds(struct buf *out, const char *name, double x)
{
    add_name(out, name);
    if (x < 0 || !json_add_double(out, x))
        buf_adds(out, "null");
}

static void add_time(struct buf *out, const char *name, int64_t us)
{
    char text[CLOCK_TEXT];
    if (us)
        add_text(out, name, clock_text(us, text));
    else
        add_null(out, name);
}

static void open(struct buf *out, const char *name, const char *bracket)
{
    add_name(out, name);
    buf_adds(out, bracket);
}

/* The next object of an array. */
static void item(struct buf *out)
{
    buf_adds(out, out->len && out->data[out->len - 1] == '[' ? "{" : ",{");
}

/* ---- a pipeline ---- */

static void add_about(struct buf *out, const struct vitals_about *a)
{
    add_text(out, "name", a->name);
    add_text(out, "script", a->script);
    add_text(out, "index", a->index);
    add_text(out, "database", a->database);
    add_text(out, "search", a->search);
    add_text(out, "capture", a->from_log ? "wal" : "poll");
}

static void add_phase(struct buf *out, const struct show *w, const struct vitals_snapshot *s)
{
    char reason[VITALS_TEXT];
    add_text(out, "phase", vitals_phase_name(s->phase));
    add_time(out, "phase_since", s->phase_since_us);
    add_bool(out, "ready", show_is_ready(w, s, reason));
    show_reason(w, s, reason);
    if (*reason)
        add_text(out, "reason", reason);
    else
        add_null(out, "reason");
    add_seconds(out, "retry_in_seconds", s->retry_in_seconds);
}

static void add_reload(struct buf *out, const struct vitals_snapshot *s)
{
    if (!s->not_reloaded.at_us) {
        add_null(out, "reload_error");
        return;
    }
    open(out, "reload_error", "{");
    add_time(out, "time", s->not_reloaded.at_us);
    add_text(out, "message", s->not_reloaded.reason);
    buf_adds(out, "}");
}

static void add_load(struct buf *out, const struct vitals_snapshot *s)
{
    if (!s->loading) {
        add_null(out, "load");
        return;
    }
    open(out, "load", "{");
    add_int(out, "documents", s->load_documents);
    if (s->load_expected)
        add_int(out, "expected", s->load_expected);
    else
        add_null(out, "expected");
    add_seconds(out, "seconds_left", s->load_seconds_left);
    buf_adds(out, "}");
}

static void add_counts(struct buf *out, const struct vitals_snapshot *s)
{
    open(out, "documents", "{");
    add_int(out, "indexed", s->counts.indexed);
    add_int(out, "deleted", s->counts.deleted);
    add_int(out, "unchanged", s->counts.unchanged);
    add_int(out, "superseded", s->counts.superseded);
    add_int(out, "rejected", s->counts.rejected);
    add_int(out, "dropped", s->counts.dropped);
    buf_adds(out, "}");
    open(out, "requests", "{");
    for (size_t i = 0; i < VITALS_STATUSES && s->requests[i].n; i++) {
        char status[20];
        snprintf(status, sizeof status, "%d", s->requests[i].status);
        add_int(out, s->requests[i].status ? status : "none", s->requests[i].n);
    }
    buf_adds(out, "}");
    add_int(out, "request_bytes", s->counts.bytes);
    add_int(out, "retried_items", s->counts.retried_items);
    add_seconds(out, "documents_per_second", s->documents_per_second);
    add_seconds(out, "lag_seconds", s->lag_seconds);
    add_seconds(out, "oldest_waiting_seconds", s->oldest_waiting_seconds);
    add_int(out, "queued_batches", s->queued_batches);
}

static void add_capture(struct buf *out, const struct vitals_snapshot *s)
{
    if (s->has_slot) {
        open(out, "slot", "{");
        add_text(out, "name", s->slot);
        add_int(out, "held_bytes", s->slot_held_bytes);
        add_bool(out, "active", s->slot_active);
        buf_adds(out, "}");
    } else {
        add_null(out, "slot");
    }
    if (s->has_journal) {
        open(out, "journal", "{");
        add_int(out, "bytes", s->journal_bytes);
        buf_adds(out, "}");
    } else {
        add_null(out, "journal");
    }
    if (s->horizon_seconds >= 0) {
        open(out, "horizon", "{");
        add_seconds(out, "seconds", s->horizon_seconds);
        add_text(out, "held_by", s->horizon_held_by);
        buf_adds(out, "}");
    } else {
        add_null(out, "horizon");
    }
}

static void add_troubles(struct buf *out, const struct vitals_snapshot *s)
{
    open(out, "dead_letters", "{");
    add_int(out, "count", s->dead_letters);
    if (*s->about.dead_letters)
        add_text(out, "file", s->about.dead_letters);
    else
        add_null(out, "file");
    open(out, "latest", "[");
    for (size_t i = 0; i < s->n_letters; i++) {
        item(out);
        add_text(out, "key", s->letters[i].key);
        add_text(out, "reason", s->letters[i].reason);
        buf_adds(out, "}");
    }
    buf_adds(out, "]}");
    open(out, "errors", "[");
    for (size_t i = 0; i < s->n_errors; i++) {
        item(out);
        add_time(out, "time", s->errors[i].at_us);
        add_text(out, "level", s->errors[i].is_error ? "error" : "warn");
        add_text(out, "message", s->errors[i].message);
        buf_adds(out, "}");
    }
    buf_adds(out, "]");
    add_int(out, "failures", s->failures);
}

static void add_history(struct buf *out, const struct vitals_snapshot *s)
{
    open(out, "history", "[");
    for (size_t i = 0; i < s->n_minutes; i++) {
        item(out);
        add_int(out, "time", (uint64_t)s->minutes[i].time_s);
        add_int(out, "documents", s->minutes[i].documents);
        add_int(out, "rejected", s->minutes[i].rejected);
        add_seconds(out, "lag_seconds", s->minutes[i].lag_seconds);
        buf_adds(out, "}");
    }
    buf_adds(out, "]");
}

static void add_pipeline(struct buf *out, const struct show *w, const struct vitals_snapshot *s)
{
    item(out);
    add_about(out, &s->about);
    add_phase(out, w, s);
    add_reload(out, s);
    add_load(out, s);
    add_counts(out, s);
    add_capture(out, s);
    add_troubles(out, s);
    add_time(out, "last_sweep", s->last_sweep_us);
    add_history(out, s);
    buf_adds(out, "}");
}

/* ---- the process ---- */

static void add_process(struct buf *out, const struct process *p)
{
    open(out, "process", "{");
    add_int(out, "resident_bytes", (uint64_t)p->resident_bytes);
    add_seconds(out, "cpu_seconds", p->cpu_seconds);
    add_int(out, "open_files", (uint64_t)p->open_files);
    add_int(out, "threads", (uint64_t)p->threads);
    buf_adds(out, "}");
}

void status_write(const struct show *w, struct buf *out)
{
    buf_adds(out, "{");
    add_text(out, "version", w->version);
    add_time(out, "started", w->started_us);
    add_time(out, "now", w->now_us);
    add_seconds(out, "uptime_seconds", (double)(w->now_us - w->started_us) / 1e6);
    add_process(out, &w->process);
    add_seconds(out, "max_lag_seconds", w->max_lag);
    add_bool(out, "ready", show_all_ready(w));
    open(out, "pipelines", "[");
    for (size_t i = 0; i < w->n; i++)
        add_pipeline(out, w, &w->pipelines[i]);
    buf_adds(out, "]}\n");
}
