/* cmd_state: the command "state": shows a pipeline's state, sets its watermark, or removes it. */
#include "base/clock.h"
#include "base/err.h"
#include "base/suggest.h"
#include "cmd/commands.h"
#include "script/pipeline.h"
#include "script/script.h"
#include "store/state.h"
#include "store/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show_table(const struct state_table *t)
{
    const struct checkpoint *m = &t->checkpoint;
    printf("%-10s %s%s%s", t->name, m->at.cursor ? m->at.cursor : "from the beginning",
           m->at.key ? ", up to key " : "", m->at.key ? m->at.key : "");
    if (m->window.from.cursor && !position_same(&m->window.from, &m->at))
        printf("; read again from %s", m->window.from.cursor);
    if (m->fanout.cursor)
        printf("; in progress: fan-out of changes up to %s", m->fanout.cursor);
    printf("\n");
}

static void show_data(const struct state_data *d)
{
    char text[CLOCK_TEXT];
    printf("pipeline   %s\n", d->pipeline);
    printf("index      %s (%s)\n", d->index, d->index_uuid);
    if (d->phase == STATE_SNAPSHOT)
        printf("phase      snapshot: loaded up to key %s\n", d->after ? d->after : "(none yet)");
    else
        printf("phase      following\n");
    printf("version    %lld\n", (long long)d->version);
    printf("swept      %s\n", d->swept_us ? clock_text(d->swept_us, text) : "never");
    printf("watermarks\n");
    for (size_t i = 0; i < d->n_tables; i++)
        show_table(&d->tables[i]);
}

static bool show(const struct pipeline *p, const char *none, struct err *e)
{
    (void)none;
    struct state_data d;
    char text[CLOCK_TEXT];
    if (!state_file_read(p->state, &d, e))
        return false;
    printf("state      %s\n", p->state);
    if (d.phase == STATE_NEW) {
        printf("phase      new: the file does not exist, the next run loads everything\n");
    } else if (d.mtime_only) {
        printf(
            "phase      following: the file is empty, so its modification time is the watermark\n");
        printf("watermark  %s\n", clock_text(d.mtime.us, text));
    } else {
        show_data(&d);
    }
    state_data_free(&d);
    return true;
}

/* Reads the time, or the number, that a user has set, as a cursor of the pipeline. utc: holds its
 * text. */
static bool read_cursor(const struct state_data *d, const char *text, char utc[CLOCK_TEXT],
                        struct position *at, struct err *e)
{
    const struct position *root = d->n_tables > 0 ? &d->tables[0].checkpoint.at : NULL;
    bool is_number = root && root->cursor && !root->has_us;
    *at = (struct position){.cursor = (char *)text};
    at->has_us = clock_parse(text, &at->us);
    if (at->has_us) /* in UTC: a timestamp column ignores a zone */
        at->cursor = clock_text(at->us, utc);
    if (is_number && at->has_us)
        return err_set(e, ERR_USAGE, "the cursor of this pipeline is not a time: it is at %s",
                       root->cursor);
    if (!is_number && !at->has_us)
        return err_set(e, ERR_USAGE,
                       "cannot read '%s' as a time; write it like 2026-11-24T12:00:00Z", text);
    return true;
}

/* A time set by hand applies to every table. Without a state the file becomes an empty one with
 * that modification time; otherwise the checkpoints of its tables are changed. */
static bool move_to(struct state_data *d, const struct position *at, struct err *e)
{
    d->mtime_only |= d->phase == STATE_NEW;
    d->phase = STATE_FOLLOWING;
    free(d->after);
    d->after = NULL;
    bool ok = position_copy(&d->mtime, at);
    for (size_t i = 0; ok && i < d->n_tables; i++) {
        struct checkpoint *c = &d->tables[i].checkpoint;
        if (i > 0 && c->at.has_us != at->has_us)
            continue; /* another kind of cursor */
        ok = checkpoint_begin(c, at);
    }
    return ok || err_memory(e);
}

static bool set(const struct pipeline *p, const char *text, struct err *e)
{
    struct state_data d = {0};
    struct position at;
    char utc[CLOCK_TEXT];
    struct state_file *s = state_file_open(p->state, e);
    bool ok = s && state_file_read(p->state, &d, e) && read_cursor(&d, text, utc, &at, e) &&
              move_to(&d, &at, e) && state_file_save(s, &d, e);
    state_data_free(&d);
    state_file_close(s);
    return ok;
}

static bool reset(const struct pipeline *p, const char *none, struct err *e)
{
    (void)none;
    struct state_file *s = state_file_open(p->state, e);
    bool ok = s && state_file_remove(s, e);
    state_file_close(s);
    return ok;
}

/* ---- the command ---- */

static const struct action {
    const char *name;
    int words; /* its own, the script, and perhaps a time */
    bool (*act)(const struct pipeline *p, const char *time, struct err *e);
} actions[] = {{"show", 2, show}, {"set", 3, set}, {"reset", 2, reset}};
enum { ACTIONS = sizeof actions / sizeof *actions };

static const struct action *find_action(const char *name)
{
    for (size_t i = 0; i < ACTIONS; i++)
        if (strcmp(actions[i].name, name) == 0)
            return &actions[i];
    return NULL;
}

static bool unknown_action(const char *name, struct err *e)
{
    const char *names[ACTIONS];
    for (size_t i = 0; i < ACTIONS; i++)
        names[i] = actions[i].name;
    const char *near = suggest(name, names, ACTIONS);
    return near ? err_set(e, ERR_USAGE, "unknown action '%s' of state, did you mean '%s'?", name,
                          near)
                : err_set(e, ERR_USAGE, "unknown action '%s' of state", name);
}

static bool check_words(int n, char **words, struct err *e)
{
    const struct action *a = n > 0 ? find_action(words[0]) : NULL;
    if (a && n == a->words)
        return true;
    if (n == 0)
        err_set(e, ERR_USAGE, "missing action: show, set or reset");
    else if (!a)
        unknown_action(words[0], e);
    else
        err_set(e, ERR_USAGE, "state %s takes %s", a->name,
                a->words == 3 ? "a script and a time" : "a script");
    return err_hint(e, "etl-engine state show|set|reset SCRIPT [TIME]");
}

static int state_main(const struct cli_call *call, struct err *e)
{
    struct script_text text = {0};
    struct script *script = NULL;
    struct pipeline pipeline = {0};
    char **words = call->words;
    bool ok = script_text_read(&text, words[1], e) && (script = script_open(&text, e)) &&
              pipeline_read(&pipeline, script, e) &&
              find_action(words[0])->act(&pipeline, words[2], e);
    pipeline_free(&pipeline);
    script_close(script);
    script_text_free(&text);
    return ok ? EXIT_DONE : cli_fail(e);
}

const struct cli_command cmd_state = {
    .name = "state",
    .usage = "state show|set|reset SCRIPT [TIME]",
    .summary = "Shows how far a pipeline has come, sets its watermark to TIME, or forgets both.",
    .size = sizeof(struct cli_log),
    .check_words = check_words,
    .main = state_main,
};
