/* cmd_why: the command "why": one document's story. */
#include "ask/why.h"
#include "base/err.h"
#include "base/stop.h"
#include "cmd/commands.h"

struct why_command {    /* filled by cli_parse */
    struct cli_log log; /* first */
    struct why_options why;
    const char *format;
};

static const struct cli_option options[] = {
    {"format", 0, "FORMAT", CLI_TEXT, offsetof(struct why_command, format), 0, 0,
     "text (default) or json"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct why_command, why.give_up_after), 0,
     1LL << 31, "stop after S seconds without a server (default 0: never)"},
    {0},
};

static bool check_words(int n, char **words, struct err *e)
{
    (void)words;
    if (n == 2)
        return true;
    err_set(e, ERR_USAGE, "why takes a script and a key");
    return err_hint(e, "etl-engine why --help");
}

static int why_main(const struct cli_call *call, struct err *e)
{
    const struct why_command *c = call->options;
    struct why_options o = c->why;
    bool same = false;
    o.key = call->words[1];
    if (!cli_wants_json(c->format, &o.json, e)) {
        err_hint(e, "etl-engine why --help");
        return cli_fail(e);
    }
    if (!stop_init(e) || !why(&o, call->words[0], &same, e))
        return cli_fail(e);
    return same ? EXIT_DONE : EXIT_DIFFERENT;
}

const struct cli_command cmd_why = {
    .name = "why",
    .usage = "why SCRIPT KEY [options]",
    .summary = "Tells one document's story: its row, the index's document, what leads to it.",
    .options = options,
    .defaults = &(const struct why_command){.why.give_up_after = 0},
    .size = sizeof(struct why_command),
    .check_words = check_words,
    .main = why_main,
};
