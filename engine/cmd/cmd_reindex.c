/* cmd_reindex: the command "reindex": builds a new index and swaps the alias. */
#include "base/err.h"
#include "cmd/commands.h"
#include "cmd/each.h"
#include "run/reindex.h"

struct reindex_command { /* filled by cli_parse */
    struct cli_log log;  /* first */
    struct reindex_options reindex;
};

static const struct cli_option options[] = {
    {"keep", 0, "N", CLI_NUMBER, offsetof(struct reindex_command, reindex.keep), 0, 1000,
     "keep N indexes of earlier reindexes (default 1)"},
    {"replace-index", 0, NULL, CLI_FLAG, offsetof(struct reindex_command, reindex.replace_index), 0,
     0, "if sink.index is an index: remove it, and make an alias of its name"},
    {"allow-rejected", 0, NULL, CLI_FLAG, offsetof(struct reindex_command, reindex.allow_rejected),
     0, 0, "swap even if the new index has rejected documents"},
    {"allow-deletes", 0, NULL, CLI_FLAG, offsetof(struct reindex_command, reindex.allow_deletes), 0,
     0, "swap even if the new index has less than half of the old one's documents"},
    {"workers", 0, "N", CLI_NUMBER, offsetof(struct reindex_command, reindex.workers), 1, 64,
     "worker threads (default 2)"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct reindex_command, reindex.give_up_after),
     0, 1LL << 31, "stop after S seconds without a server (default 0: never)"},
    {0},
};

static bool reindex_one(void *arg, const char *ref, int *status, struct err *e)
{
    const struct cli_call *call = arg;
    const struct reindex_command *o = call->options;
    bool rejected = false;
    bool ok = reindex(&o->reindex, ref, call->terminal, &rejected, e);
    *status = rejected && (ok || e->kind == ERR_FINAL) ? EXIT_REJECTED : EXIT_DONE;
    return ok;
}

static int reindex_main(const struct cli_call *call, struct err *e)
{
    struct cli_call copy = *call;
    return each_pipeline(call->words, reindex_one, &copy, e);
}

const struct cli_command cmd_reindex = {
    .name = "reindex",
    .usage = "reindex SCRIPT... [options]",
    .summary = "Builds a new index next to the old one, then swaps the alias.",
    .options = options,
    .defaults = &(const struct reindex_command){.reindex = {.keep = 1, .workers = 2}},
    .size = sizeof(struct reindex_command),
    .check_words = each_words,
    .main = reindex_main,
};
