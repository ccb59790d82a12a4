#include "cmd/cmd_run.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "base/witness.h"
#include "cmd/commands.h"
#include "cmd/each.h"
#include "http/listener.h"
#include "model/batch.h"
#include "model/keylist.h"
#include "run/fleet_status.h"
#include "run/pipelines.h"
#include "run/run_open.h"
#include "run/run_pipeline.h"
#include "run/vitals.h"
#include "store/keyfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAG = 300 }; /* unless told */

static const struct cli_option options[] = {
    {"dry-run", 'n', NULL, CLI_FLAG, offsetof(struct run_command, run.dry_run), 0, 0,
     "print documents on stdout, one per line; change neither index nor state"},
    {"format", 0, "documents|bulk", CLI_TEXT, offsetof(struct run_command, run.format), 0, 0,
     "with --dry-run: documents (default), or the body of the bulk request"},
    {"limit", 0, "N", CLI_NUMBER, offsetof(struct run_command, run.limit), 1, 1LL << 53,
     "stop after N documents; the state stays as it is"},
    {"keys", 0, "A,B", CLI_TEXT, offsetof(struct run_command, run.keys), 0, 0,
     "only these keys; the state stays as it is"},
    {"keys-from", 0, "FILE", CLI_TEXT, offsetof(struct run_command, run.keys_from), 0, 0,
     "the same, one key per line, or dead letters; - is stdin"},
    {"full", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.full), 0, 0,
     "load everything, whatever the state says"},
    {"since", 0, "TIME", CLI_TEXT, offsetof(struct run_command, run.since), 0, 0,
     "read changes since TIME, instead of the state's time"},
    {"follow", 'f', NULL, CLI_FLAG, offsetof(struct run_command, run.follow), 0, 0,
     "keep running, and keep the index in sync"},
    {"sweep", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.sweep), 0, 0,
     "also compare every row with the index: finds deletes and changes that did not move the "
     "cursor"},
    {"allow-deletes", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.allow_deletes), 0, 0,
     "delete any number of documents whose rows are gone"},
    {"take-over", 0, NULL, CLI_FLAG, offsetof(struct run_command, run.take_over), 0, 0,
     "for a pipeline that was renamed: use the state and the index of its old name"},
    {"dead-letters", 0, "FILE", CLI_TEXT, offsetof(struct run_command, run.dead_letters), 0, 0,
     "where rejected keys are saved (default: the state file's name and .rejected)"},
    {"workers", 0, "N", CLI_NUMBER, offsetof(struct run_command, run.workers), 1, 64,
     "worker threads (default 2)"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct run_command, run.give_up_after), 0,
     1LL << 31, "stop after S seconds without a server (default 0: never)"},
    {"listen", 0, "ADDRESS:PORT", CLI_TEXT, offsetof(struct run_command, listen), 0, 0,
     "serve a page, /status, /metrics, /healthz and /readyz; a port alone: on loopback"},
    {"max-lag", 0, "S", CLI_NUMBER, offsetof(struct run_command, max_lag), 1, 1LL << 31,
     "with --listen: a pipeline that is further behind is not ready (default 300)"},
    {0},
};

/* ---- options ---- */

static bool check_format(const struct run_options *o, struct err *e)
{
    if (o->format && !o->dry_run)
        return err_set(e, ERR_USAGE, "option --format needs --dry-run");
    if (o->format && strcmp(o->format, "documents") != 0 && strcmp(o->format, "bulk") != 0)
        return err_set(e, ERR_USAGE, "option --format takes 'documents' or 'bulk', not '%s'",
                       o->format);
    return true;
}

static bool check_exclusive(const struct run_options *o, struct err *e)
{
    const struct {
        const char *name;
        bool given;
        const char *other;
        bool other_given;
    } rows[] = {
        {"--keys", o->keys, "--keys-from", o->keys_from},
        {"--keys", o->keys, "--full", o->full},
        {"--keys-from", o->keys_from, "--full", o->full},
        {"--keys", o->keys, "--since", o->since},
        {"--keys-from", o->keys_from, "--since", o->since},
        {"--full", o->full, "--since", o->since},
        {"--follow", o->follow, "--dry-run", o->dry_run},
        {"--follow", o->follow, "--limit", o->limit > 0},
        {"--follow", o->follow, "--keys", o->keys},
        {"--follow", o->follow, "--keys-from", o->keys_from},
        {"--sweep", o->sweep, "--dry-run", o->dry_run},
        {"--sweep", o->sweep, "--limit", o->limit > 0},
        {"--sweep", o->sweep, "--keys", o->keys},
        {"--sweep", o->sweep, "--keys-from", o->keys_from},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].given && rows[i].other_given)
            return err_set(e, ERR_USAGE, "options %s and %s exclude each other", rows[i].name,
                           rows[i].other);
    return true;
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
    if (ok && r->keys->n == 0)
        return err_set(e, ERR_USAGE, "option --keys names no key");
    return ok;
}

static bool read_request(struct run *r, struct err *e)
{
    const struct run_options *o = &r->options;
    if (!check_format(o, e) || !check_exclusive(o, e) || !read_keys(r, e))
        return err_hint(e, "etl-engine run --help");
    return true;
}

/* ---- the command ---- */

struct running {
    struct keylist refs; /* of the pipelines */
    struct vitals_list *vitals;
    struct listener *listener;
    bool terminal;
};

static int run_one(const struct run_command *o, const struct running *all, size_t i, struct err *e)
{
    struct run r = {.options = o->run,
                    .terminal = all->terminal,
                    .servers.give_up_after = (double)o->run.give_up_after,
                    .started_us = clock_mono_us(),
                    .vitals = vitals_at(all->vitals, i)};
    /* Keys are read before signals are caught: reading a terminal or a pipe may take for ever. */
    witness_set(vitals_witness(r.vitals));
    bool ok =
        read_request(&r, e) && (i > 0 || stop_init(e)) && run_pipeline(&r, all->refs.keys[i], e);
    witness_set(NULL);
    vitals_phase(r.vitals, VITALS_ENDED, ok || e->kind == ERR_STOPPED ? NULL : e->text, -1);
    uint64_t rejected = run_rejected(&r);
    run_close(&r);
    if (!ok)
        return each_fail(e, all->refs.keys[i], all->refs.n > 1);
    return rejected > 0 ? EXIT_REJECTED : EXIT_DONE;
}

/* One after the other: all documents are printed on one standard output. */
static int print_each(const struct run_command *o, const struct running *all, struct err *e)
{
    int status = EXIT_DONE;
    if (o->run.keys || o->run.keys_from) {
        err_set(e, ERR_USAGE, "option %s takes one pipeline",
                o->run.keys ? "--keys" : "--keys-from");
        return cli_fail(e);
    }
    log_name_pipelines();
    for (size_t i = 0; i < all->refs.n && !stop_asked(); i++)
        status = each_worst(status, run_one(o, all, i, e));
    return status;
}

static int status_of(const struct pipeline_outcome *outcomes, size_t n)
{
    int status = EXIT_DONE;
    for (size_t i = 0; i < n; i++) {
        const struct pipeline_outcome *o = &outcomes[i];
        if (!o->ok && o->error.kind == ERR_STOPPED)
            return cli_fail(&o->error);
        status = each_worst(status, !o->ok            ? cli_status(&o->error)
                                    : o->rejected > 0 ? EXIT_REJECTED
                                                      : EXIT_DONE);
    }
    return status;
}

/* Last, since a pipeline that fails at once is soon out of sight. */
static void log_failed(const struct pipeline_outcome *outcomes, const struct keylist *refs)
{
    char names[400] = "";
    size_t failed = 0, len = 0;
    for (size_t i = 0; i < refs->n; i++) {
        if (outcomes[i].ok)
            continue;
        if (outcomes[i].error.kind == ERR_STOPPED)
            return;
        int more = snprintf(names + len, sizeof names - len, "%s%s", failed++ > 0 ? ", " : "",
                            refs->keys[i]);
        len += more > 0 && (size_t)more < sizeof names - len ? (size_t)more : 0;
    }
    if (failed > 0)
        log_error_with(
            LOG_FIELDS(log_int("failed", (int64_t)failed), log_int("pipelines", (int64_t)refs->n)),
            "%zu of %zu pipelines failed: %s", failed, refs->n, names);
}

static int run_several(const struct run_command *o, const struct running *all, struct err *e)
{
    struct pipeline_outcome *outcomes = calloc(all->refs.n, sizeof *outcomes);
    fleet_status_begin(all->vitals);
    bool ok = (outcomes || err_memory(e)) && stop_init(e) &&
              pipelines_run(&o->run, &all->refs, outcomes, all->vitals, e);
    int status = ok ? status_of(outcomes, all->refs.n) : cli_fail(e);
    if (ok)
        log_failed(outcomes, &all->refs);
    free(outcomes);
    return status;
}

static bool start(struct running *all, const struct cli_call *call, struct err *e)
{
    const struct run_command *o = call->options;
    const struct listener_options listener = {.address = o->listen,
                                              .version = ETL_VERSION,
                                              .max_lag =
                                                  o->max_lag > 0 ? (double)o->max_lag : MAX_LAG};
    if (o->max_lag > 0 && !o->listen) {
        err_set(e, ERR_USAGE, "option --max-lag needs --listen");
        return err_hint(e, "etl-engine run --help");
    }
    if (o->listen)
        watchdog_watch();
    return pipelines_expand(call->words, &all->refs, e) &&
           (all->vitals = vitals_list_new(all->refs.n, e)) &&
           listener_open(&all->listener, &listener, all->vitals, e);
}

static int run_main(const struct cli_call *call, struct err *e)
{
    const struct run_command *o = call->options;
    struct running all = {.terminal = call->terminal};
    int status;
    if (!start(&all, call, e))
        status = cli_fail(e);
    else if (all.refs.n == 1)
        status = run_one(o, &all, 0, e);
    else if (o->run.dry_run)
        status = print_each(o, &all, e);
    else
        status = run_several(o, &all, e);
    listener_close(all.listener);
    vitals_list_free(all.vitals);
    keylist_free(&all.refs);
    return status;
}

static bool check_words(int n, char **words, struct err *e)
{
    (void)words;
    return n > 0 || err_set(e, ERR_USAGE, "no script given") ||
           err_hint(e, "etl-engine run --help");
}

const struct cli_command cmd_run = {
    .name = "run",
    .usage = "[run] SCRIPT... [options]",
    .summary = "Brings the index up to date with the script's rows, then exits.",
    .check_words = check_words,
    .options = options,
    .defaults = &(const struct run_command){.run.workers = 2},
    .size = sizeof(struct run_command),
    .main = run_main,
};
