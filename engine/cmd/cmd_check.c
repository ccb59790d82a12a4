/* cmd_check: the command "check": what would hurt a pipeline later. */
#include "ask/check.h"
#include "base/err.h"
#include "base/stop.h"
#include "cmd/commands.h"

#include <string.h>

struct check_command {
    struct cli_log log;
    bool offline;
    const char *format;
};

static const struct cli_option options[] = {
    {"offline", 0, NULL, CLI_FLAG, offsetof(struct check_command, offline), 0, 0,
     "check the script alone, and ask no server"},
    {"format", 0, "FORMAT", CLI_TEXT, offsetof(struct check_command, format), 0, 0,
     "text (default), or json: one object for each finding"},
    {0},
};

static bool check_words(int n, char **words, struct err *e)
{
    (void)words;
    return n > 0 || err_set(e, ERR_USAGE, "no script given") ||
           err_hint(e, "etl-engine check --help");
}

static int check_main(const struct cli_call *call, struct err *e)
{
    static const int statuses[] = {[CHECK_CLEAN] = EXIT_DONE,
                                   [CHECK_WARNINGS] = EXIT_FAILED,
                                   [CHECK_ERRORS] = EXIT_WRONG_USAGE};
    const struct check_command *o = call->options;
    struct check_options how = {.offline = o->offline};
    enum check_result result;
    size_t n = 0;
    while (call->words[n])
        n++;
    if (!cli_wants_json(o->format, &how.json, e)) {
        err_hint(e, "etl-engine check --help");
        return cli_fail(e);
    }
    if (!stop_init(e) || !check_scripts(call->words, n, &how, &result, e))
        return cli_fail(e);
    return statuses[result];
}

const struct cli_command cmd_check = {
    .name = "check",
    .usage = "check SCRIPT... [options]",
    .summary = "Finds what would hurt a pipeline later, with the remedies; changes nothing.",
    .options = options,
    .size = sizeof(struct check_command),
    .check_words = check_words,
    .main = check_main,
};
