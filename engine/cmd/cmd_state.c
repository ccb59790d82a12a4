/* cmd_state: the command "state": shows a pipeline's state, sets its watermark, or removes it. */
#include "base/err.h"
#include "base/stop.h"
#include "base/suggest.h"
#include "cmd/commands.h"
#include "cmd/each.h"
#include "cmd/state_reset.h"
#include "cmd/state_show.h"
#include "run/hand_over.h"
#include "run/state_move.h"
#include "script/pipeline.h"
#include "script/script.h"
#include "store/state.h"
#include "store/state_file.h"

#include <stdio.h>
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

static bool set_here(const struct pipeline *p, struct state_file *s, const char *text,
                     struct err *e)
{
    struct state_data d = {0};
    bool ok =
        state_file_read(p->state, &d, e) && state_move(p, &d, text, e) && state_file_save(s, &d, e);
    state_data_free(&d);
    return ok;
}

/* By the process that holds the lock. */
static bool set_there(const struct pipeline *p, const char *text, struct err *e)
{
    struct hand_over h = {.pipeline = p, .ask = REQUEST_ASK_SET, .time = text};
    bool asked;
    return stop_init(e) && hand_over(&h, &asked, e);
}

static bool set(const struct pipeline *p, const struct state_command *o, const char *text,
                struct err *e)
{
    (void)o;
    struct state_file *s = state_file_open(p->state, e);
    bool held = !s && e->fault == ERR_FAULT_HELD;
    bool ok = s ? set_here(p, s, text, e) : held ? set_there(p, text, e) : pipeline_at_state(e, p);
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
    if (a && (n == a->words || (a->act == show && n > a->words)))
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

struct acting {
    const struct state_command *options;
    const struct action *action;
    const char *time;
    bool shown; /* one pipeline, before this one */
};

static bool act_on(void *arg, const char *ref, int *status, struct err *e)
{
    struct acting *a = arg;
    struct script_text text = {0};
    struct script *script = NULL;
    struct pipeline pipeline = {0};
    (void)status;
    bool ok = script_text_read(&text, ref, e) && script_choose(&text, e) &&
              (script = script_open(&text, e)) && pipeline_read(&pipeline, script, e);
    if (ok && a->shown)
        putchar('\n');
    a->shown = ok;
    ok = ok && a->action->act(&pipeline, a->options, a->time, e);
    pipeline_free(&pipeline);
    script_close(script);
    script_text_free(&text);
    return ok;
}

static int state_main(const struct cli_call *call, struct err *e)
{
    struct acting a = {.options = call->options, .action = find_action(call->words[0])};
    char **scripts = call->words + 1;
    if (!check_options(a.options, call->words[0], e))
        return cli_fail(e);
    if (a.action->act == show)
        return each_pipeline(scripts, act_on, &a, e);
    a.time = a.action->words == 3 ? scripts[1] : NULL;
    return act_on(&a, scripts[0], NULL, e) ? EXIT_DONE : cli_fail(e);
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
