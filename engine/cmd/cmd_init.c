/* cmd_init: the command "init": writes a first script from a live database. */
#include "base/err.h"
#include "base/stop.h"
#include "cmd/commands.h"
#include "init/init.h"
#include "script/index_name.h"

#include <string.h>

struct init_command {   /* filled by cli_parse */
    struct cli_log log; /* first */
    const char *capture, *index, *key;
    long long depth;
};

static const struct cli_option options[] = {
    {"capture", 0, "HOW", CLI_TEXT, offsetof(struct init_command, capture), 0, 0,
     "wal or poll (default: wal if server and role can)"},
    {"depth", 0, "N", CLI_NUMBER, offsetof(struct init_command, depth), 0, 6,
     "foreign keys that a document follows in a row (default 2)"},
    {"index", 0, "NAME", CLI_TEXT, offsetof(struct init_command, index), 0, 0,
     "the index (default: the table's name, as a plural)"},
    {"key", 0, "COLUMNS", CLI_TEXT, offsetof(struct init_command, key), 0, 0,
     "what identifies a row, as COLUMN or COLUMN,COLUMN (default: the primary key)"},
    {0},
};

static bool check_words(int n, char **words, struct err *e)
{
    (void)words;
    if (n == 1 || n == 2)
        return true;
    err_set(e, ERR_USAGE, n == 0 ? "no database given" : "more than one table given");
    return err_hint(e, "etl-engine init postgresql://user@host:5432/database [TABLE]");
}

static bool read_options(const struct init_command *c, const char *table, struct plan_options *o,
                         struct err *e)
{
    *o = (struct plan_options){
        .table = table, .key = c->key, .index = c->index, .depth = (size_t)c->depth};
    char why[INDEX_NAME_FLAW];
    if (c->index && index_name_flaw(c->index, why))
        return err_set(e, ERR_USAGE, "option --index %s", why);
    if (!c->capture)
        return true;
    if (strcmp(c->capture, "wal") != 0 && strcmp(c->capture, "poll") != 0)
        return err_set(e, ERR_USAGE, "option --capture takes 'wal' or 'poll', not '%s'",
                       c->capture);
    o->capture = strcmp(c->capture, "wal") == 0 ? PLAN_WAL : PLAN_POLL;
    return true;
}

static int init_main(const struct cli_call *call, struct err *e)
{
    struct plan_options o;
    bool ok = read_options(call->options, call->words[1], &o, e) && stop_init(e) &&
              init_print(call->words[0], &o, e);
    return ok ? EXIT_DONE : cli_fail(e);
}

const struct cli_command cmd_init = {
    .name = "init",
    .usage = "init URL [TABLE] [options]",
    .summary =
        "Writes a first script from a live table, on stdout; without TABLE, lists the tables.",
    .options = options,
    .defaults = &(const struct init_command){.depth = 2},
    .size = sizeof(struct init_command),
    .check_words = check_words,
    .main = init_main,
};
