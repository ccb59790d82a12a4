/* What a process shows of itself: readiness, JSON, and text for Prometheus, whatever names hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "http/metrics.h"
#include "http/process.h"
#include "http/show.h"
#include "http/status.h"

static const int64_t NOW = 1764250000LL * 1000000;
static struct vitals_snapshot pipelines[2];
static struct show show;
static struct buf out;

static int start(void **state)
{
    (void)state;
    memset(pipelines, 0, sizeof pipelines);
    for (size_t i = 0; i < 2; i++) {
        struct vitals_snapshot *s = &pipelines[i];
        snprintf(s->about.name, sizeof s->about.name, "p%zu", i);
        s->phase = VITALS_FOLLOWING;
        s->ready = true;
        s->retry_in_seconds = s->load_seconds_left = s->lag_seconds = s->horizon_seconds = -1;
    }
    show = (struct show){.version = "1.2",
                         .now_us = NOW,
                         .started_us = NOW - 1500000,
                         .max_lag = 300,
                         .n = 2,
                         .pipelines = pipelines};
    buf_init(&out, 1 << 20);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    buf_free(&out);
    return 0;
}

static void set(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

/* ---- readiness ---- */

static const char *why_not(const struct vitals_snapshot *s)
{
    static char reason[VITALS_TEXT];
    return show_is_ready(&show, s, reason) ? NULL : reason;
}

static void who_follows_and_keeps_up_is_ready(void **state)
{
    (void)state;
    assert_null(why_not(&pipelines[0]));
    assert_true(show_all_ready(&show));
    show_readiness(&show, &out);
    assert_string_equal(buf_cstr(&out), "p0: ready\np1: ready\n");
}

static void one_that_is_not_is_enough(void **state)
{
    (void)state;
    pipelines[1].phase = VITALS_FAILING;
    pipelines[1].ready = false;
    set(pipelines[1].reason, VITALS_TEXT, "cannot find table 't'");
    assert_false(show_all_ready(&show));
    show_readiness(&show, &out);
    assert_string_equal(buf_cstr(&out),
                        "p0: ready\np1: not ready: failing: cannot find table 't'\n");
}

static void nobody_is_ready_while_the_process_ends_or_has_none(void **state)
{
    (void)state;
    show.stopping = true;
    assert_false(show_all_ready(&show));
    show.stopping = false;
    show.n = 0;
    assert_false(show_all_ready(&show));
}

static void a_change_that_waits_for_long_is_a_lag(void **state)
{
    (void)state;
    pipelines[0].oldest_waiting_seconds = 300;
    assert_null(why_not(&pipelines[0]));
    pipelines[0].oldest_waiting_seconds = 300.1;
    show.max_lag = 300;
    assert_string_equal(why_not(&pipelines[0]), "300 s behind; --max-lag is 300");
}

static void the_last_change_is_a_lag_only_while_changes_come(void **state)
{
    (void)state;
    struct vitals_snapshot *s = &pipelines[0];
    s->lag_seconds = 1000;
    assert_null(why_not(s));
    s->documents_per_second = 1; /* of a sweep */
    assert_null(why_not(s));
    s->n_minutes = 2;
    s->minutes[0] = (struct vitals_minute){.time_s = NOW / 1000000 - 300, .lag_seconds = 1000};
    s->minutes[1] = (struct vitals_minute){.time_s = NOW / 1000000 - 30, .lag_seconds = -1};
    assert_null(why_not(s));
    s->minutes[1].lag_seconds = 1000;
    assert_non_null(why_not(s));
    s->documents_per_second = 0; /* all has been delivered */
    assert_null(why_not(s));
}

/* The servers may be away for a moment; but nobody knows what has changed meanwhile. */
static void a_server_may_be_away_for_as_long_as_the_lag(void **state)
{
    (void)state;
    struct vitals_snapshot *s = &pipelines[0];
    s->phase = VITALS_WAITING;
    set(s->reason, VITALS_TEXT, "could not connect");
    s->phase_since_us = NOW - 299 * 1000000LL;
    assert_null(why_not(s));
    s->phase_since_us = NOW - 301 * 1000000LL;
    assert_string_equal(why_not(s), "waiting: could not connect");
}

/* It fails nothing, and nobody waits: only its silence tells. */
static void a_server_may_be_silent_for_as_long_as_the_lag(void **state)
{
    (void)state;
    struct vitals_snapshot *s = &pipelines[0];
    char reason[VITALS_TEXT];
    s->silent_server = "PostgreSQL";
    s->silent_seconds = 9;
    show_reason(&show, s, reason);
    assert_string_equal(reason, "");
    s->silent_seconds = 42;
    assert_null(why_not(s));
    show_reason(&show, s, reason);
    assert_string_equal(reason, "no answer from PostgreSQL for 42 s");
    s->silent_seconds = 301;
    assert_string_equal(why_not(s), "no answer from PostgreSQL for 301 s; --max-lag is 300");
    show_reason(&show, s, reason);
    assert_string_equal(reason, "no answer from PostgreSQL for 301 s; --max-lag is 300");
}

/* ---- JSON ---- */

/* The text after this one, up to a comma or a brace that closes it; for simple values. */
static void holds(const char *part)
{
    const char *text = buf_cstr(&out);
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("no %s in %s", part, text);
}

static void check_json(void)
{
    struct json_reader r;
    json_open(&r, out.data, out.len);
    assert_int_equal(json_next(&r), JSON_OBJECT);
    assert_true(json_leave(&r));
    assert_true(json_end(&r));
    json_close(&r);
}

static void what_is_not_known_is_null(void **state)
{
    (void)state;
    status_write(&show, &out);
    check_json();
    holds("\"version\":\"1.2\"");
    holds("\"uptime_seconds\":1.5");
    holds("\"ready\":true,\"pipelines\":[{\"name\":\"p0\"");
    const char *nulls[] = {"reason", "retry_in_seconds", "reload_error", "load",      "lag_seconds",
                           "slot",   "journal",          "horizon",      "last_sweep"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        char part[60];
        snprintf(part, sizeof part, "\"%s\":null", nulls[i]);
        holds(part);
    }
}

static void fill(struct vitals_snapshot *s)
{
    s->loading = true;
    s->load_documents = 3;
    s->load_expected = 12;
    s->load_seconds_left = 4.25;
    s->counts = (struct counts){.indexed = 1, .deleted = 2, .rejected = UINT32_MAX};
    s->requests[0].n = 7;
    s->requests[1].status = 200;
    s->requests[1].n = 9;
    s->lag_seconds = 0.5;
    s->delays[0] = 2;
    s->delays[VITALS_BUCKETS - 1] = 1;
    s->delays_sum = 4000.25;
    s->has_slot = s->slot_active = s->has_journal = true;
    s->slot_held_bytes = 1024;
    s->journal_bytes = 77;
    s->horizon_seconds = 3;
    set(s->horizon_held_by, VITALS_TEXT, "pid 1 (psql)");
    s->n_letters = s->n_errors = s->n_minutes = 2;
    set(s->letters[1].reason, VITALS_TEXT, "mapping");
    s->errors[0] = (struct vitals_error){.at_us = NOW, .is_error = true};
    set(s->errors[0].message, VITALS_TEXT, "it \"broke\"");
    s->minutes[1] = (struct vitals_minute){1764250000, 10, 1, 0.25};
    s->last_sweep_us = NOW;
    s->not_reloaded.at_us = NOW;
    set(s->not_reloaded.reason, VITALS_TEXT, "t.lua:3: '}' expected");
}

static void what_is_known_is_shown(void **state)
{
    (void)state;
    fill(&pipelines[0]);
    status_write(&show, &out);
    check_json();
    const char *parts[] = {
        "\"load\":{\"documents\":3,\"expected\":12,\"seconds_left\":4.25}",
        "\"documents\":{\"indexed\":1,\"deleted\":2,\"unchanged\":0,\"superseded\":0,\"rejected\":"
        "4294967295,\"dropped\":0}",
        "\"requests\":{\"none\":7,\"200\":9}",
        "\"slot\":{\"name\":\"\",\"held_bytes\":1024,\"active\":true},\"journal\":{\"bytes\":77}",
        "\"horizon\":{\"seconds\":3.0,\"held_by\":\"pid 1 (psql)\"}",
        "\"dead_letters\":{\"count\":0,\"file\":null,\"latest\":[{\"key\":\"\",\"reason\":\"\"},{"
        "\"key\":\"\","
        "\"reason\":\"mapping\"}]}",
        "\"level\":\"error\",\"message\":\"it \\\"broke\\\"\"},{\"time\":null",
        "{\"time\":1764250000,\"documents\":10,\"rejected\":1,\"lag_seconds\":0.25}]",
        "\"last_sweep\":\"2025-11-27T13:26:40.000000Z\"",
        "\"reload_error\":{\"time\":\"2025-11-27T13:26:40.000000Z\",\"message\":\"t.lua:3: '}' "
        "expected\"}",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        holds(parts[i]);
}

/* What names can hold: quotes, breaks, characters cut in half, bytes that are no text. */
static const char *const nasty[] = {
    "\"",
    "\\",
    "a\\nb",
    "\n",
    "\r\n\t",
    "\x01\x1f\x7f",
    "\xff\xfe",
    "caf\xc3",
    "\xed\xa0\x80",
    "\xe2\x80\xa8",
    "</script>",
    "{pipeline=\"x\"} 1\n# EOF\n",
    "\xf0\x9f\x98\x80",
    "",
};

static void no_name_breaks_the_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
        struct vitals_snapshot *s = &pipelines[0];
        buf_clear(&out);
        fill(s);
        set(s->about.name, sizeof s->about.name, nasty[i]);
        set(s->about.index, sizeof s->about.index, nasty[i]);
        set(s->reason, VITALS_TEXT, nasty[i]);
        set(s->letters[0].key, VITALS_NAME, nasty[i]);
        set(s->errors[0].message, VITALS_TEXT, nasty[i]);
        status_write(&show, &out);
        check_json();
    }
}

static void a_name_is_read_as_it_is(void **state)
{
    (void)state;
    struct json_reader r;
    show_string(&out, "a\"\\\n\xc3\xa9");
    json_open(&r, out.data, out.len);
    assert_int_equal(json_next(&r), JSON_STRING);
    assert_true(json_is(&r, "a\"\\\n\xc3\xa9"));
    json_close(&r);
    buf_clear(&out);
    show_string(&out, "caf\xc3");
    assert_string_equal(buf_cstr(&out), "\"caf\xef\xbf\xbd\"");
}

/* ---- text for Prometheus ---- */

static void the_samples_of_a_pipeline_have_its_name(void **state)
{
    (void)state;
    fill(&pipelines[0]);
    metrics_write(&show, false, &out);
    const char *parts[] = {
        "\n# TYPE etl_engine_documents_total counter\n"
        "etl_engine_documents_total{pipeline=\"p0\",result=\"indexed\"} 1\n",
        "etl_engine_documents_total{pipeline=\"p0\",result=\"rejected\"} 4294967295\n",
        "etl_engine_requests_total{pipeline=\"p0\",status=\"none\"} 7\n",
        "etl_engine_requests_total{pipeline=\"p0\",status=\"200\"} 9\n",
        "etl_engine_lag_seconds{pipeline=\"p0\"} 0.5\n# HELP",
        "etl_engine_pipeline_phase{pipeline=\"p1\",phase=\"following\"} 1\n",
        "etl_engine_pipeline_phase{pipeline=\"p1\",phase=\"loading\"} 0\n",
        "etl_engine_change_delay_seconds_bucket{pipeline=\"p0\",le=\"0.1\"} 2\n",
        "etl_engine_change_delay_seconds_bucket{pipeline=\"p0\",le=\"1.0\"} 2\n",
        "etl_engine_change_delay_seconds_bucket{pipeline=\"p0\",le=\"+Inf\"} 3\n"
        "etl_engine_change_delay_seconds_sum{pipeline=\"p0\"} 4000.25\n"
        "etl_engine_change_delay_seconds_count{pipeline=\"p0\"} 3\n",
        "etl_engine_pipeline_ready{pipeline=\"p1\"} 1\n",
        "# TYPE etl_engine_slot_active gauge\netl_engine_slot_active{pipeline=\"p0\"} 1.0\n#",
        "\n# EOF\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        holds(parts[i]);
}

static void openmetrics_names_a_counter_without_its_suffix(void **state)
{
    (void)state;
    metrics_write(&show, true, &out);
    holds("# TYPE etl_engine_build info\netl_engine_build_info{version=\"1.2\"} 1\n");
    holds("# TYPE etl_engine_documents counter\netl_engine_documents_total{");
    assert_true(metrics_is_open("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
    assert_false(metrics_is_open("text/plain"));
    assert_false(metrics_is_open("*/*"));
    assert_false(metrics_is_open(NULL));
}

static void check_label(const char *name, const char *expected)
{
    char part[200];
    buf_clear(&out);
    set(pipelines[0].about.name, VITALS_NAME, name);
    metrics_write(&show, false, &out);
    snprintf(part, sizeof part, "\netl_engine_pipeline_ready{pipeline=\"%s\"} 1\n", expected);
    holds(part);
}

static void labels_are_escaped(void **state)
{
    (void)state;
    check_label("a\"b\\c\nd", "a\\\"b\\\\c\\nd");
    check_label("caf\xc3\xa9 {}", "caf\xc3\xa9 {}");
    check_label("caf\xc3", "caf\xef\xbf\xbd");
    check_label("a\tb", "a\\\\tb");
    check_label("\\\\", "\\\\\\\\");
}

/* Each line is a comment, or a name, labels and a number. */
static void no_name_breaks_a_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
        buf_clear(&out);
        set(pipelines[0].about.name, VITALS_NAME, nasty[i]);
        metrics_write(&show, true, &out);
        char *text = strdup(buf_cstr(&out)), *rest = text, *line;
        int ends = 0;
        while ((line = strsep(&rest, "\n")) && *line) {
            ends += strcmp(line, "# EOF") == 0;
            assert_true(*line == '#' || strncmp(line, "etl_engine_", 11) == 0 ||
                        strncmp(line, "process_", 8) == 0);
        }
        assert_int_equal(ends, 1);
        assert_null(rest);
        free(text);
    }
}

static void without_memory_an_answer_has_failed(void **state)
{
    (void)state;
    buf_free(&out);
    buf_init(&out, 200);
    status_write(&show, &out);
    assert_true(out.failed);
    buf_clear(&out);
    metrics_write(&show, false, &out);
    assert_true(out.failed);
}

static void this_process_has_memory_and_files(void **state)
{
    (void)state;
    struct process p;
    process_look(&p);
    assert_true(p.resident_bytes > 100 * 1000 && p.virtual_bytes >= p.resident_bytes);
    assert_true(p.open_files >= 3 && p.most_files >= p.open_files);
    assert_int_equal(p.threads, 1);
    assert_true(p.cpu_seconds > 0 && p.started_us > 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(who_follows_and_keeps_up_is_ready),
        test(one_that_is_not_is_enough),
        test(nobody_is_ready_while_the_process_ends_or_has_none),
        test(a_change_that_waits_for_long_is_a_lag),
        test(the_last_change_is_a_lag_only_while_changes_come),
        test(a_server_may_be_away_for_as_long_as_the_lag),
        test(a_server_may_be_silent_for_as_long_as_the_lag),
        test(what_is_not_known_is_null),
        test(what_is_known_is_shown),
        test(no_name_breaks_the_json),
        test(a_name_is_read_as_it_is),
        test(the_samples_of_a_pipeline_have_its_name),
        test(openmetrics_names_a_counter_without_its_suffix),
        test(labels_are_escaped),
        test(no_name_breaks_a_line),
        test(without_memory_an_answer_has_failed),
        test(this_process_has_memory_and_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
