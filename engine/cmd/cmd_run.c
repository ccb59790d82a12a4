/* cmd_run: brings the index up to date, or prints what it would write; with --follow, stays. */
#include "cmd/cmd_run.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "run/run_alter.h"
#include "run/run_execute.h"
#include "run/run_follow.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_load.h"
#include "run/run_meta.h"
#include "run/run_open.h"
#include "run/run_workers.h"
#include "store/keyfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option options[] = {
    {"dry-run", 'n', NULL, CLI_FLAG, offsetof(struct run_command, run.dry_run), 0, 0,
     "print documents on stdout, one a line; touch neither index nor state"},
    {"format", 0, "FORMAT", CLI_TEXT, offsetof(struct run_command, run.format), 0, 0,
     "with --dry-run: documents (default), or bulk: the bulk request itself"},
    {"limit", 0, "N", CLI_NUMBER, offsetof(struct run_command, run.limit), 1, 1LL << 53,
     "stop after N documents; the state stays as it is"},
    {"keys", 0, "A,B", CLI_TEXT, offsetof(struct run_command, run.keys), 0, 0,
     "these keys alone; the state stays as it is"},
    {"keys-from", 0, "FILE", CLI_TEXT, offsetof(struct run_command, run.keys_from), 0, 0,
     "likewise, one key a line, or dead letters; - is stdin"},
    {"full", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.full), 0, 0,
     "read everything, whatever the state says"},
    {"since", 0, "TIME", CLI_TEXT, offsetof(struct run_command, run.since), 0, 0,
     "read what changed since TIME, rather than since the state's"},
    {"follow", 'f', NULL, CLI_FLAG, offsetof(struct run_command, run.follow), 0, 0,
     "stay, and keep the index true while the rows change"},
    {"sweep", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.sweep), 0, 0,
     "compare everything too: deleted rows, and what else no cursor tells"},
    {"allow-deletes", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.allow_deletes), 0, 0,
     "delete however many documents have no row any more"},
    {"take-over", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.take_over), 0, 0,
     "for a pipeline that was renamed: the state and the index of its former name"},
    {"dead-letters", 0, "FILE", CLI_TEXT, offsetof(struct run_command, run.dead_letters), 0, 0,
     "where rejected keys are noted (default: the state file's name and .rejected)"},
    {"workers", 0, "N", CLI_NUMBER, offsetof(struct run_command, run.workers), 1, 64,
     "worker threads (default 2)"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct run_command, run.give_up_after), 0,
     1LL << 31, "end after S seconds without a server (default 0: never)"},
    CLI_LOG_OPTIONS,
    {0},
};

/* ---- options ---- */

static bool conflict(const struct run_options *o, struct err *e)
{
    bool keys = o->keys || o->keys_from;
    const char *a = NULL, *b = NULL;
    if (o->format && !o->dry_run)
        return err_set(e, ERR_USAGE, "option --format goes with --dry-run");
    if (o->format && strcmp(o->format, "documents") != 0 && strcmp(o->format, "bulk") != 0)
        return err_set(e, ERR_USAGE, "option --format takes 'documents' or 'bulk', not '%s'",
                       o->format);
    if (o->keys && o->keys_from)
        a = "--keys", b = "--keys-from";
    else if (keys && o->full)
        a = o->keys ? "--keys" : "--keys-from", b = "--full";
    else if (keys && o->since)
        a = o->keys ? "--keys" : "--keys-from", b = "--since";
    else if (o->full && o->since)
        a = "--full", b = "--since";
    else if (o->follow && (o->dry_run || o->limit > 0 || keys))
        a = "--follow", b = o->dry_run     ? "--dry-run"
                            : o->limit > 0 ? "--limit"
                            : o->keys      ? "--keys"
                                           : "--keys-from";
    else if (o->sweep && (o->dry_run || o->limit > 0 || keys))
        a = "--sweep", b = o->dry_run     ? "--dry-run"
                           : o->limit > 0 ? "--limit"
                           : o->keys      ? "--keys"
                                          : "--keys-from";
    return !a || err_set(e, ERR_USAGE, "options %s and %s exclude each other", a, b);
}

static bool add_key(struct batch *b, char *key, struct err *e)
{
    key[strcspn(key, "\r\n")] = '\0';
    return !*key || batch_add_key(b, key) || err_memory(e);
}

static bool read_keys(struct run *r, struct err *e)
{
    if (!r->options.keys && !r->options.keys_from)
        return true;
    r->keys = batch_new();
    if (!r->keys)
        return err_memory(e);
    if (r->options.keys_from)
        return keyfile_read(r->keys, r->options.keys_from, e);
    char *text = strdup(r->options.keys), *rest = text, *key;
    bool ok = text || err_memory(e);
    while (ok && (key = strsep(&rest, ",")))
        ok = add_key(r->keys, key, e);
    free(text);
    return ok;
}

/* ---- the end ---- */

static bool check_index(struct run *r, struct err *e)
{
    return run_check_index(r, e) && run_count_documents(r, e);
}

static bool read_request(struct run *r, struct err *e)
{
    if (!conflict(&r->options, e) || !read_keys(r, e))
        return err_hint(e, "etl-engine run --help");
    return true;
}

/* Where a reindex has put another index in the place of ours meanwhile, that one is brought up to
 * date, too. */
static bool load(struct run *r, struct err *e)
{
    do {
        if (!run_load(r, e))
            return false;
        if (r->options.dry_run)
            return true;
        if (!run_patiently(r, run_check_index, e))
            return false;
    } while (r->index.replaced && run_patiently(r, run_adopt, e));
    return !r->index.replaced;
}

static bool work(void *arg, struct err *e)
{
    struct run *r = arg;
    /* A reload that is asked for during the load waits until it is over. */
    bool ok = (!r->options.follow || stop_catch_reload(e)) && run_patiently(r, run_guard, e);
    while (ok && !(ok = load(r, e)) && run_recover_altered(r, e))
        ok = true;
    if (!ok)
        queue_fail(r->work.flow.queue, e);
    else if (r->options.follow)
        ok = run_follow(r, e);
    run_stop_workers(r);
    if (ok || e->kind == ERR_STOPPED)
        run_save_meta(r);
    if (!ok || r->options.dry_run)
        return ok;
    return run_patiently(r, check_index, e) && coordinator_save(&r->work.coordinator, e);
}

static int run_main(int argc, char **argv)
{
    struct run_command o = {.run = {.workers = 2}};
    struct run r = {.started_us = clock_mono_us()};
    struct err e = {0};
    int first;
    bool help;
    if (!cli_parse(&cmd_run, argc, argv, &o, &first, &help, &e))
        return cli_fail(&e);
    if (help)
        return EXIT_DONE;
    if (argc - first != 1) {
        err_set(&e, ERR_USAGE, argc == first ? "no script given" : "more than one script given");
        err_hint(&e, "etl-engine run --help");
        return cli_fail(&e);
    }
    r.options = o.run;
    r.servers.give_up_after = (double)r.options.give_up_after;
    /* Keys are read before signals are caught: a terminal, or a pipe, may keep us waiting for
     * them. */
    bool ok = cli_log_setup(&o.log, &r.terminal, &e) && read_request(&r, &e) && stop_init(&e) &&
              run_open(&r, argv[first], &e) && run_execute(&r, work, &r, &e);
    uint64_t rejected = tally_counts(r.work.flow.tally).rejected;
    run_close(&r);
    if (!ok)
        return cli_fail(&e);
    return rejected > 0 ? EXIT_REJECTED : EXIT_DONE;
}

const struct cli_command cmd_run = {
    .name = "run",
    .usage = "[run] SCRIPT [options]",
    .summary = "Brings the index up to date with the script's rows, and ends.",
    .options = options,
    .main = run_main,
};
