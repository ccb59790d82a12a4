#include "run/run_vitals.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "es/es_url.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "run/run.h"
#include "run/vitals.h"
#include "store/deadletter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LETTERS_US = 1000 * 1000, /* between two looks at what may be thousands */
    HELD_US = 1000 * 1000,    /* since which an open transaction is one that holds back */
};

/* ---- what it is ---- */

/* "127.0.0.1:5432/movies", of the label "'movies' at 127.0.0.1:5432"; other labels stay. */
static void describe_database(const char *label, char *out, size_t size)
{
    const char *at = *label == '\'' ? strstr(label, "' at ") : NULL;
    if (at && !strchr(at + 5, ' '))
        snprintf(out, size, "%s/%.*s", at + 5, (int)(at - label - 1), label + 1);
    else
        snprintf(out, size, "%s", label);
}

/* Where dead letters are kept; a path that would be cut is of no use. */
static void describe_dead_letters(const struct run *r, char *out, size_t size)
{
    const char *own = r->options.dead_letters;
    char *path =
        own || r->options.dry_run ? NULL : deadletters_default_path(r->user.pipeline.state);
    const char *shown = own ? own : path ? path : "";
    if (strlen(shown) < size)
        snprintf(out, size, "%s", shown);
    free(path);
}

void run_note_script(const struct run *r)
{
    const struct pipeline *p = &r->user.pipeline;
    struct vitals_about about = {.from_log = p->source.wal};
    snprintf(about.name, sizeof about.name, "%s", p->name);
    snprintf(about.script, sizeof about.script, "%s", p->script);
    snprintf(about.index, sizeof about.index, "%s", p->sink.index ? p->sink.index : "");
    describe_database(r->servers.pg.label, about.database, sizeof about.database);
    for (size_t i = 0, n = 0; i < r->servers.search.n_urls && n < sizeof about.search; i++)
        n += (size_t)snprintf(about.search + n, sizeof about.search - n, "%s%s", i ? ", " : "",
                              r->servers.search.urls[i].text);
    describe_dead_letters(r, about.dead_letters, sizeof about.dead_letters);
    vitals_describe(r->vitals, &about);
}

/* ---- what flows ---- */

void run_note_flow(const struct run *r)
{
    tally_enter_in(r->work.flow.tally, vitals_ledger(r->vitals));
    vitals_queue(r->vitals, r->work.flow.queue);
}

void run_note_no_flow(const struct run *r)
{
    vitals_queue(r->vitals, NULL);
}

/* ---- dead letters ---- */

/* line: an entry of the file, as JSON. */
static void read_reason(const char *line, char *out, size_t size)
{
    struct json_reader r;
    json_open(&r, line, strlen(line));
    bool ok = json_next(&r) == JSON_OBJECT;
    out[0] = '\0';
    while (ok && !out[0] && json_next(&r) == JSON_KEY) {
        if (!json_is(&r, "reason"))
            json_skip(&r);
        else if (json_next(&r) == JSON_STRING)
            text_cut(out, size, r.text, r.len);
    }
    json_close(&r);
}

static void note_letters(const struct run *r)
{
    const struct deadletters *d = r->state.dead;
    struct vitals_letter letters[VITALS_LETTERS] = {0};
    size_t at = 0, all = deadletters_count(d), n = all < VITALS_LETTERS ? all : VITALS_LETTERS;
    const char *key, *line;
    for (size_t i = 0; i < all && deadletters_next_line(d, &at, &key, &line); i++) {
        if (i < all - n)
            continue;
        struct vitals_letter *l = &letters[all - 1 - i];
        text_cut(l->key, sizeof l->key, key, strlen(key));
        read_reason(line, l->reason, sizeof l->reason);
    }
    vitals_dead_letters(r->vitals, all, letters, n);
}

void run_note_letters(struct run *r)
{
    int64_t now = clock_mono_us();
    if (!r->vitals || !r->state.dead)
        return;
    uint64_t changes = deadletters_changes(r->state.dead);
    if (changes == r->noted.letters || now - r->noted.letters_us < LETTERS_US)
        return;
    r->noted.letters = changes;
    r->noted.letters_us = now;
    note_letters(r);
}

/* ---- the database ---- */

/* Short transactions come and go, those of other pipelines among them: they hold nobody back. */
void run_note_report(const struct run *r, const struct source_report *report)
{
    const struct watermark_report *w = &report->watermark;
    int64_t age = w->clock_us - w->oldest_us;
    bool held = w->clock_us && w->oldest_us && age >= HELD_US;
    vitals_horizon(r->vitals, held ? (double)age / 1e6 : -1, held ? report->who : NULL);
}

bool run_note_round(void *run, struct err *e)
{
    struct run *r = run;
    (void)e;
    run_note_letters(r);
    vitals_heard(r->vitals, clock_mono_us());
    return true;
}
