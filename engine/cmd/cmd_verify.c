/* cmd_verify: the command "verify": compares PostgreSQL with the index. */
#include "ask/verify.h"
#include "base/err.h"
#include "cmd/commands.h"
#include "cmd/each.h"

#include <string.h>

struct verify_command { /* filled by cli_parse */
    struct cli_log log; /* first */
    struct verify_options verify;
    const char *format;
};

static const struct cli_option options[] = {
    {"repair", 0, NULL, CLI_FLAG, offsetof(struct verify_command, verify.repair), 0, 0,
     "send what differs, then compare it again"},
    {"allow-deletes", 0, NULL, CLI_FLAG, offsetof(struct verify_command, verify.allow_deletes), 0,
     0, "with --repair: delete any number of documents whose rows are gone"},
    {"sample", 0, "N", CLI_NUMBER, offsetof(struct verify_command, verify.sample), 1, 10000000,
     "compare N random rows and N random documents, instead of all"},
    {"since", 0, "TIME", CLI_TEXT, offsetof(struct verify_command, verify.since), 0, 0,
     "compare only what has changed since TIME"},
    {"max-rate", 0, "N", CLI_NUMBER, offsetof(struct verify_command, verify.max_rate), 1,
     1000000000, "compare at most N documents a second"},
    {"format", 0, "FORMAT", CLI_TEXT, offsetof(struct verify_command, format), 0, 0,
     "text (default) or json"},
    {"workers", 0, "N", CLI_NUMBER, offsetof(struct verify_command, verify.ask.workers), 1, 64,
     "worker threads (default 2)"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct verify_command, verify.ask.give_up_after),
     0, 1LL << 31, "stop after S seconds without a server (default 0: never)"},
    {0},
};

static bool check_options(const struct verify_options *o, struct err *e)
{
    if (o->sample > 0 && o->since)
        return err_set(e, ERR_USAGE, "options --sample and --since exclude each other");
    if (o->allow_deletes && !o->repair)
        return err_set(e, ERR_USAGE, "option --allow-deletes needs --repair");
    return true;
}

struct verifying {
    struct verify_options options;
    bool terminal;
};

static bool verify_one(void *arg, const char *ref, int *status, struct err *e)
{
    const struct verifying *v = arg;
    bool clean = false, ok = verify(&v->options, ref, v->terminal, &clean, e);
    *status = ok && !clean ? EXIT_DIFFERENT : EXIT_DONE;
    return ok;
}

static int verify_main(const struct cli_call *call, struct err *e)
{
    const struct verify_command *c = call->options;
    struct verifying v = {c->verify, call->terminal};
    struct verify_options *o = &v.options;
    if (!cli_wants_json(c->format, &o->json, e) || !check_options(o, e)) {
        err_hint(e, "etl-engine verify --help");
        return cli_fail(e);
    }
    return each_pipeline(call->words, verify_one, &v, e);
}

const struct cli_command cmd_verify = {
    .name = "verify",
    .usage = "verify SCRIPT... [options]",
    .summary = "Compares PostgreSQL with the index, every key both ways; writes nothing.",
    .options = options,
    .defaults = &(const struct verify_command){.verify.ask.workers = 2},
    .size = sizeof(struct verify_command),
    .check_words = each_words,
    .main = verify_main,
};
