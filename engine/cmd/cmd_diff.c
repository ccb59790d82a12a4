/* cmd_diff: the command "diff": what a full load would change. */
#include "ask/diff.h"
#include "base/err.h"
#include "cmd/commands.h"
#include "cmd/each.h"

#include <string.h>

struct diff_command {   /* filled by cli_parse */
    struct cli_log log; /* first */
    struct diff_options diff;
    const char *format;
};

static const struct cli_option options[] = {
    {"keys", 0, "A,B", CLI_TEXT, offsetof(struct diff_command, diff.keys), 0, 0,
     "compare only these keys"},
    {"sample", 0, "N", CLI_NUMBER, offsetof(struct diff_command, diff.sample), 1, 10000000,
     "compare N random rows and N random documents, instead of all"},
    {"examples", 0, "N", CLI_NUMBER, offsetof(struct diff_command, diff.examples), 0, 10000,
     "show the differences of N documents (default 5)"},
    {"format", 0, "FORMAT", CLI_TEXT, offsetof(struct diff_command, format), 0, 0,
     "text (default) or json"},
    {"workers", 0, "N", CLI_NUMBER, offsetof(struct diff_command, diff.ask.workers), 1, 64,
     "worker threads (default 2)"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct diff_command, diff.ask.give_up_after), 0,
     1LL << 31, "stop after S seconds without a server (default 0: never)"},
    {0},
};

static bool check_options(const struct diff_options *o, struct err *e)
{
    if (o->keys && o->sample > 0)
        return err_set(e, ERR_USAGE, "options --keys and --sample exclude each other");
    if (o->keys && o->keys[strspn(o->keys, ",\r\n")] == '\0')
        return err_set(e, ERR_USAGE, "option --keys names no key");
    return true;
}

struct differing {
    struct diff_options options;
    bool terminal;
};

static bool diff_one(void *arg, const char *ref, int *status, struct err *e)
{
    const struct differing *d = arg;
    bool same = false, ok = diff(&d->options, ref, d->terminal, &same, e);
    *status = ok && !same ? EXIT_DIFFERENT : EXIT_DONE;
    return ok;
}

static int diff_main(const struct cli_call *call, struct err *e)
{
    const struct diff_command *c = call->options;
    struct differing d = {c->diff, call->terminal};
    if (!cli_wants_json(c->format, &d.options.json, e) || !check_options(&d.options, e) ||
        !each_option(d.options.keys, "--keys", call->words, e)) {
        err_hint(e, "etl-engine diff --help");
        return cli_fail(e);
    }
    return each_pipeline(call->words, diff_one, &d, e);
}

const struct cli_command cmd_diff = {
    .name = "diff",
    .usage = "diff SCRIPT... [options]",
    .summary = "Shows what a full load would change in the index; writes nothing.",
    .options = options,
    .defaults = &(const struct diff_command){.diff = {.examples = 5, .ask.workers = 2}},
    .size = sizeof(struct diff_command),
    .check_words = each_words,
    .main = diff_main,
};
