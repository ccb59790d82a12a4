/* cmd_wait: the command "wait": returns once what was committed is in the index. */
#include "ask/wait.h"
#include "base/err.h"
#include "cmd/commands.h"
#include "cmd/each.h"

struct wait_command {   /* filled by cli_parse */
    struct cli_log log; /* first */
    struct wait_options wait;
};

static const struct cli_option options[] = {
    {"timeout", 0, "S", CLI_NUMBER, offsetof(struct wait_command, wait.timeout), 1, 1000000000,
     "end with status 1 after S seconds (default: wait without end)"},
    {"sweep", 0, NULL, CLI_FLAG, offsetof(struct wait_command, wait.sweep), 0, 0,
     "wait for a whole sweep, too: for what no poll sees"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct wait_command, wait.give_up_after), 0,
     1LL << 31, "stop after S seconds without a server (default 0: never)"},
    {0},
};

static bool wait_one(void *arg, const char *ref, int *status, struct err *e)
{
    const struct cli_call *call = arg;
    const struct wait_command *c = call->options;
    (void)status;
    return wait_for_index(&c->wait, ref, e);
}

static int wait_main(const struct cli_call *call, struct err *e)
{
    struct cli_call copy = *call;
    return each_pipeline(call->words, wait_one, &copy, e);
}

const struct cli_command cmd_wait = {
    .name = "wait",
    .usage = "wait SCRIPT... [options]",
    .summary = "Returns once all that was committed before its start is searchable.",
    .options = options,
    .defaults = &(const struct wait_command){.wait.timeout = 0},
    .size = sizeof(struct wait_command),
    .check_words = each_words,
    .main = wait_main,
};
