/* cmd_state: the command "state": shows a pipeline's state, sets its watermark, or removes it. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/suggest.h"
#include "cmd/commands.h"
#include "cmd/state_reset.h"
#include "cmd/state_show.h"
#include "script/pipeline.h"
#include "script/script.h"
#include "store/state.h"
#include "store/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state_command {  /* filled by cli_parse */
    struct cli_log log; /* first */
    bool drop_slot;
};

static bool show(const struct pipeline *p, const struct state_command *o, const char *none,
                 struct err *e)
{
    (void)o;
    (void)none;
    return state_show(p, e);
}

static bool reset(const struct pipeline *p, const struct state_command *o, const char *none,
                  struct err *e)
{
    (void)none;
    return state_reset(p, o->drop_slot, e);
}

/* ---- set ---- */

/* Reads the time, or the number, that a user has set, as a cursor of the pipeline. utc: holds its
 * text. */
static bool read_cursor(const struct pipeline *p, const struct state_data *d, const char *text,
                        char utc[CLOCK_TEXT], struct position *at, struct err *e)
{
    const struct position *root = d->n_tables > 0 ? &d->tables[0].checkpoint.at : NULL;
    bool is_number = root && root->cursor && !root->has_us && !p->source.wal;
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

/* In the log no time is a place to go on from. What changed since then, and whatever else differs,
 * is found by a sweep; the place in the journal stays. */
static void owe_sweep(struct state_data *d)
{
    d->phase = STATE_FOLLOWING;
    free(d->after);
    free(d->sweep_after);
    d->after = d->sweep_after = NULL;
    d->sweep_again = false;
    d->swept_us = 0;
}

static bool change(const struct pipeline *p, struct state_data *d, const char *text, struct err *e)
{
    struct position at;
    char utc[CLOCK_TEXT];
    if (!read_cursor(p, d, text, utc, &at, e))
        return false;
    if (!p->source.wal)
        return move_to(d, &at, e);
    log_info("%s: capture from the log cannot go back to a time: instead, the next run compares "
             "every row with the index (a sweep)",
             p->name);
    if (d->n_tables == 0)
        return move_to(d, &at, e); /* an empty file of that time has the same effect */
    owe_sweep(d);
    return true;
}

static bool set(const struct pipeline *p, const struct state_command *o, const char *text,
                struct err *e)
{
    struct state_data d = {0};
    (void)o;
    struct state_file *s = state_file_open(p->state, e);
    bool ok = s && state_file_read(p->state, &d, e) && change(p, &d, text, e) &&
              state_file_save(s, &d, e);
    state_data_free(&d);
    state_file_close(s);
    return ok;
}

/* ---- the command ---- */

static const struct action {
    const char *name;
    int words; /* its own, the script, and perhaps a time */
    bool (*act)(const struct pipeline *p, const struct state_command *o, const char *time,
                struct err *e);
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

static bool check_options(const struct state_command *o, const char *action, struct err *e)
{
    if (!o->drop_slot || strcmp(action, "reset") == 0)
        return true;
    err_set(e, ERR_USAGE, "option --drop-slot is for state reset");
    return err_hint(e, "etl-engine state reset --drop-slot SCRIPT");
}

static int state_main(const struct cli_call *call, struct err *e)
{
    struct script_text text = {0};
    struct script *script = NULL;
    struct pipeline pipeline = {0};
    char **words = call->words;
    const struct state_command *o = call->options;
    bool ok = check_options(o, words[0], e) && script_text_read(&text, words[1], e) &&
              script_choose(&text, e) && (script = script_open(&text, e)) &&
              pipeline_read(&pipeline, script, e) &&
              find_action(words[0])->act(&pipeline, o, words[2], e);
    pipeline_free(&pipeline);
    script_close(script);
    script_text_free(&text);
    return ok ? EXIT_DONE : cli_fail(e);
}

static const struct cli_option options[] = {
    {"drop-slot", 0, NULL, CLI_FLAG, offsetof(struct state_command, drop_slot), 0, 0,
     "reset: also drop the slot and the publication of a capture from the log"},
    {0},
};

const struct cli_command cmd_state = {
    .name = "state",
    .usage = "state show|set|reset SCRIPT [TIME]",
    .summary = "Shows how far a pipeline has come, sets its watermark to TIME, or forgets both.",
    .options = options,
    .size = sizeof(struct state_command),
    .check_words = check_words,
    .main = state_main,
};
