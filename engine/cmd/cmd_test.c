/* cmd_test: the command "test": tries a script's examples, without any server. */
#include "ask/examples.h"
#include "base/err.h"
#include "cmd/commands.h"

struct test_command {
    struct cli_log log;
    const char *row;
};

static const struct cli_option options[] = {
    {"row", 0, "FILE", CLI_TEXT, offsetof(struct test_command, row), 0, 0,
     "print the document of the row in FILE, a JSON object (or one per line); - is stdin"},
    {0},
};

static int test_main(const struct cli_call *call, struct err *e)
{
    const struct test_command *o = call->options;
    bool failed = false;
    if (!(o->row ? examples_print_rows(call->words[0], o->row, e)
                 : examples_run(call->words[0], &failed, e)))
        return cli_fail(e);
    return failed ? EXIT_FAILED : EXIT_DONE;
}

const struct cli_command cmd_test = {
    .name = "test",
    .usage = "test SCRIPT [options]",
    .summary = "Compares the documents of the script's examples with the expected ones.",
    .options = options,
    .size = sizeof(struct test_command),
    .main = test_main,
};
