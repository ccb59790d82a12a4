#include "http/metrics.h"

#include "base/json.h"
#include "http/show.h"

#include <stdio.h>
#include <string.h>

enum kind { COUNTER, GAUGE, INFO, HISTOGRAM };

struct header {
    const char *name; /* of its samples; a counter's ends in _total, an info's in _info */
    enum kind kind;
    const char *help;
};

struct family {
    struct header is;
    /* one of: a number of each pipeline, negative if it is not known; or all samples of one */
    double (*value)(const struct vitals_snapshot *s);
    void (*samples)(const struct vitals_snapshot *s, const char *name, struct buf *out);
};

/* ---- writing ---- */

/* A label's value: a JSON string is one, but for the escapes of control characters. */
static void add_label(struct buf *out, const char *text)
{
    struct buf json;
    buf_init(&json, 6 * strlen(text) + 2);
    show_string(&json, text);
    const char *p = buf_cstr(&json);
    for (; p && *p; p++) {
        buf_addc(out, *p);
        if (*p != '\\')
            continue;
        p++;
        if (*p != 'n' && *p != '"' && *p != '\\')
            buf_addc(out, '\\'); /* a backslash itself: "\t" is to be read as \t */
        buf_addc(out, *p);
    }
    buf_free(&json);
}

/* NAME{pipeline="..."; the caller adds other labels, then the value. */
static void begin(struct buf *out, const char *name, const struct vitals_snapshot *s)
{
    buf_addf(out, "%s{pipeline=", name);
    add_label(out, s->about.name);
}

static void end(struct buf *out, double value)
{
    buf_adds(out, "} ");
    json_add_double(out, value);
    buf_addc(out, '\n');
}

static void end_count(struct buf *out, uint64_t n)
{
    buf_addf(out, "} %llu\n", (unsigned long long)n);
}

/* In OpenMetrics a counter's family, and an info's, has a name without the suffix. */
static void add_header(struct buf *out, const struct header *f, bool open)
{
    static const char *const kinds[] = {"counter", "gauge", "info", "histogram"};
    const char *suffix = f->kind == COUNTER ? "_total" : f->kind == INFO ? "_info" : "";
    int len = (int)(strlen(f->name) - (open ? strlen(suffix) : 0));
    const char *kind = f->kind == INFO && !open ? "gauge" : kinds[f->kind];
    buf_addf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", len, f->name, f->help, len, f->name, kind);
}

/* ---- the numbers of a pipeline ---- */

static void documents(const struct vitals_snapshot *s, const char *name, struct buf *out)
{
    const struct {
        const char *result;
        uint64_t n;
    } rows[] = {{"indexed", s->counts.indexed},     {"deleted", s->counts.deleted},
                {"unchanged", s->counts.unchanged}, {"superseded", s->counts.superseded},
                {"rejected", s->counts.rejected},   {"dropped", s->counts.dropped}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin(out, name, s);
        buf_addf(out, ",result=\"%s\"", rows[i].result);
        end_count(out, rows[i].n);
    }
}

static void requests(const struct vitals_snapshot *s, const char *name, struct buf *out)
{
    for (size_t i = 0; i < VITALS_STATUSES && s->requests[i].n; i++) {
        begin(out, name, s);
        if (s->requests[i].status)
            buf_addf(out, ",status=\"%d\"", s->requests[i].status);
        else
            buf_adds(out, ",status=\"none\"");
        end_count(out, s->requests[i].n);
    }
}

static void phases(const struct vitals_snapshot *s, const char *name, struct buf *out)
{
    for (enum vitals_phase phase = 0; phase < VITALS_PHASES; phase++) {
        begin(out, name, s);
        buf_addf(out, ",phase=\"%s\"", vitals_phase_name(phase));
        end_count(out, phase == s->phase);
    }
}

static void delays(const struct vitals_snapshot *s, const char *name, struct buf *out)
{
    uint64_t n = 0;
    char part[80];
    snprintf(part, sizeof part, "%s_bucket", name);
    for (size_t i = 0; i < VITALS_BUCKETS; i++) {
        n += s->delays[i];
        begin(out, part, s);
        buf_adds(out, ",le=\"");
        if (i < VITALS_BUCKETS - 1)
            json_add_double(out, vitals_bounds[i]);
        else
            buf_adds(out, "+Inf");
        buf_adds(out, "\"");
        end_count(out, n);
    }
    snprintf(part, sizeof part, "%s_sum", name);
    begin(out, part, s);
    end(out, s->delays_sum);
    snprintf(part, sizeof part, "%s_count", name);
    begin(out, part, s);
    end_count(out, n);
}

static double bytes(const struct vitals_snapshot *s)
{
    return (double)s->counts.bytes;
}

static double retried(const struct vitals_snapshot *s)
{
    return (double)s->counts.retried_items;
}

static double lag(const struct vitals_snapshot *s)
{
    return s->lag_seconds;
}

static double oldest(const struct vitals_snapshot *s)
{
    return s->oldest_waiting_seconds;
}

static double silent(const struct vitals_snapshot *s)
{
    return s->silent_seconds;
}

static double queued(const struct vitals_snapshot *s)
{
    return (double)s->queued_batches;
}

static double held(const struct vitals_snapshot *s)
{
    return s->has_slot ? (double)s->slot_held_bytes : -1;
}

static double active(const struct vitals_snapshot *s)
{
    return s->has_slot ? s->slot_active : -1;
}

static double journal(const struct vitals_snapshot *s)
{
    return s->has_journal ? (double)s->journal_bytes : -1;
}

static double horizon(const struct vitals_snapshot *s)
{
    return s->horizon_seconds < 0 ? 0 : s->horizon_seconds;
}

static double letters(const struct vitals_snapshot *s)
{
    return (double)s->dead_letters;
}

static double failures(const struct vitals_snapshot *s)
{
    return (double)s->failures;
}

static double swept(const struct vitals_snapshot *s)
{
    return s->last_sweep_us ? (double)s->last_sweep_us / 1e6 : -1;
}

static double load_documents(const struct vitals_snapshot *s)
{
    return s->loading ? (double)s->load_documents : -1;
}

static double load_expected(const struct vitals_snapshot *s)
{
    return s->loading && s->load_expected ? (double)s->load_expected : -1;
}

static const struct family families[] = {
    {{"etl_engine_documents_total", COUNTER, "Documents, by what became of them."},
     .samples = documents},
    {{"etl_engine_requests_total", COUNTER,
      "Requests to the search server, by the status of their answer; none: there was none."},
     .samples = requests},
    {{"etl_engine_request_bytes_total", COUNTER, "Size of the bulk requests."}, .value = bytes},
    {{"etl_engine_retried_items_total", COUNTER, "Documents that were sent again."},
     .value = retried},
    {{"etl_engine_lag_seconds", GAUGE,
      "Time from the commit of the change that was acknowledged last to its acknowledgement."},
     .value = lag},
    {{"etl_engine_oldest_waiting_seconds", GAUGE,
      "Age of the oldest change that is known but not yet acknowledged."},
     .value = oldest},
    {{"etl_engine_change_delay_seconds", HISTOGRAM,
      "Time from a change's commit to its acknowledgement."},
     .samples = delays},
    {{"etl_engine_silent_seconds", GAUGE,
      "Time since the pipeline, while it follows, has heard of its servers."},
     .value = silent},
    {{"etl_engine_queued_batches", GAUGE, "Batches of keys that wait for a worker."},
     .value = queued},
    {{"etl_engine_slot_held_bytes", GAUGE,
      "Write-ahead log that the server keeps for the replication slot."},
     .value = held},
    {{"etl_engine_slot_active", GAUGE, "Whether the replication slot is being read."},
     .value = active},
    {{"etl_engine_journal_bytes", GAUGE, "Size of the journal of keys."}, .value = journal},
    {{"etl_engine_horizon_seconds", GAUGE,
      "Age of the open transaction that holds the pipeline back; 0: there is none."},
     .value = horizon},
    {{"etl_engine_dead_letters", GAUGE,
      "Documents that were rejected, and wait for their cause to be mended."},
     .value = letters},
    {{"etl_engine_pipeline_phase", GAUGE, "1 for the phase of the pipeline, 0 for the others."},
     .samples = phases},
    {{"etl_engine_pipeline_failures_total", COUNTER, "Runs that failed and were started again."},
     .value = failures},
    {{"etl_engine_last_sweep_timestamp_seconds", GAUGE,
      "When every row was last compared with the index."},
     .value = swept},
    {{"etl_engine_load_documents", GAUGE, "Documents that the load under way has indexed."},
     .value = load_documents},
    {{"etl_engine_load_expected_documents", GAUGE, "Documents that the load under way will index."},
     .value = load_expected},
};

static void add_family(const struct show *w, const struct family *f, struct buf *out)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct vitals_snapshot *s = &w->pipelines[i];
        double value = f->value ? f->value(s) : 0;
        if (f->samples) {
            f->samples(s, f->is.name, out);
        } else if (value >= 0) {
            begin(out, f->is.name, s);
            end(out, value);
        }
    }
}

/* ---- the process ---- */

static void add_ready(const struct show *w, bool open, struct buf *out)
{
    char reason[VITALS_TEXT];
    const struct header f = {"etl_engine_pipeline_ready", GAUGE,
                             "Whether the pipeline has loaded and is within --max-lag."};
    add_header(out, &f, open);
    for (size_t i = 0; i < w->n; i++) {
        begin(out, f.name, &w->pipelines[i]);
        end_count(out, show_is_ready(w, &w->pipelines[i], reason));
    }
}

static void add_build(const struct show *w, bool open, struct buf *out)
{
    const struct header f = {"etl_engine_build_info", INFO, "1, with the version as a label."};
    add_header(out, &f, open);
    buf_addf(out, "%s{version=", f.name);
    add_label(out, w->version);
    end_count(out, 1);
}

static void add_process(const struct show *w, bool open, struct buf *out)
{
    const struct process *p = &w->process;
    const struct {
        struct header is;
        double value;
    } rows[] = {
        {{"etl_engine_start_time_seconds", GAUGE, "When the run began."},
         (double)w->started_us / 1e6},
        {{"etl_engine_max_lag_seconds", GAUGE,
          "How far behind a pipeline may be and still be ready."},
         w->max_lag},
        {{"process_start_time_seconds", GAUGE, "When the process was started."},
         (double)p->started_us / 1e6},
        {{"process_cpu_seconds_total", COUNTER, "Processor time, of user and system."},
         p->cpu_seconds},
        {{"process_resident_memory_bytes", GAUGE, "Resident memory."}, (double)p->resident_bytes},
        {{"process_virtual_memory_bytes", GAUGE, "Virtual memory."}, (double)p->virtual_bytes},
        {{"process_open_fds", GAUGE, "Open files and sockets."}, (double)p->open_files},
        {{"process_max_fds", GAUGE, "How many there may be."}, (double)p->most_files},
        {{"process_threads", GAUGE, "Threads."}, (double)p->threads},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        add_header(out, &rows[i].is, open);
        buf_addf(out, "%s ", rows[i].is.name);
        json_add_double(out, rows[i].value);
        buf_addc(out, '\n');
    }
}

bool metrics_is_open(const char *accept)
{
    return accept && strstr(accept, "application/openmetrics-text");
}

const char *metrics_type(bool open)
{
    return open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                : "text/plain; version=0.0.4; charset=utf-8";
}

void metrics_write(const struct show *w, bool open, struct buf *out)
{
    add_build(w, open, out);
    add_process(w, open, out);
    add_ready(w, open, out);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        add_header(out, &families[i].is, open);
        add_family(w, &families[i], out);
    }
    buf_adds(out, "# EOF\n");
}
