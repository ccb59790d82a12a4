/* cmd_reindex: builds a new index beside the old one, and swaps the alias. */
#include "base/err.h"
#include "base/stop.h"
#include "cmd/cli.h"
#include "run/reindex.h"

struct reindex_command {
    struct cli_log log; /* first */
    struct reindex_options reindex;
};

static const struct cli_option options[] = {
    {"keep", 0, "N", CLI_NUMBER, offsetof(struct reindex_command, reindex.keep), 0, 1000,
     "how many indexes of earlier reindexes stay (default 1)"},
    {"replace-index", 0, NULL, CLI_FLAG, offsetof(struct reindex_command, reindex.replace_index), 0,
     0, "where sink.index is an index: remove it, and make an alias of its name"},
    {"allow-rejected", 0, NULL, CLI_FLAG, offsetof(struct reindex_command, reindex.allow_rejected),
     0, 0, "swap, though the new index has rejected documents"},
    {"allow-deletes", 0, NULL, CLI_FLAG, offsetof(struct reindex_command, reindex.allow_deletes), 0,
     0, "swap, though the new index has not half of the old one's documents"},
    {"workers", 0, "N", CLI_NUMBER, offsetof(struct reindex_command, reindex.workers), 1, 64,
     "worker threads (default 2)"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct reindex_command, reindex.give_up_after),
     0, 1LL << 31, "end after S seconds without a server (default 0: never)"},
    CLI_LOG_OPTIONS,
    {0},
};

static int reindex_main(int argc, char **argv)
{
    struct reindex_command o = {.reindex = {.keep = 1, .workers = 2}};
    struct err e = {0};
    int first;
    bool help, terminal, rejected = false;
    if (!cli_parse(&cmd_reindex, argc, argv, &o, &first, &help, &e))
        return cli_fail(&e);
    if (help)
        return EXIT_DONE;
    if (argc - first != 1) {
        err_set(&e, ERR_USAGE, argc == first ? "no script given" : "more than one script given");
        err_hint(&e, "etl-engine reindex --help");
        return cli_fail(&e);
    }
    bool ok = cli_log_setup(&o.log, &terminal, &e) && stop_init(&e) &&
              reindex(&o.reindex, argv[first], terminal, &rejected, &e);
    int status = ok ? EXIT_DONE : cli_fail(&e);
    return rejected && (ok || e.kind == ERR_FINAL) ? EXIT_REJECTED : status;
}

const struct cli_command cmd_reindex = {
    .name = "reindex",
    .usage = "reindex SCRIPT [options]",
    .summary = "Builds a new index beside the old one, and puts it in its place.",
    .options = options,
    .main = reindex_main,
};
