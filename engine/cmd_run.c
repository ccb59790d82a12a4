/* cmd_run: brings the index up to date, or prints what it would write. */
#include "buf.h"
#include "cli.h"
#include "clock.h"
#include "err.h"
#include "es.h"
#include "feed.h"
#include "index.h"
#include "loader.h"
#include "log.h"
#include "pg.h"
#include "pipeline.h"
#include "progress.h"
#include "pump.h"
#include "queue.h"
#include "retry.h"
#include "script.h"
#include "source.h"
#include "state.h"
#include "stop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STRETCH = 25000, /* rows: what a crash repeats at most, for each worker; larger ones leave workers idle at
                        the end */
    LIMIT_STRETCH = 100, /* rows, at least, while looking for the first few documents */
    MAX_REJECTED = 1000, /* documents in a run */
    WINDOW = 8,          /* batches under way or waiting, for each worker */
};

struct run_options {
    struct cli_log log; /* first */
    bool dry_run, full;
    const char *format, *keys, *keys_from, *since;
    long long limit, workers, give_up_after;
};

static const struct cli_option options[] = {
    {"dry-run", 'n', NULL, CLI_FLAG, offsetof(struct run_options, dry_run), 0, 0,
     "print documents on stdout, one a line; touch neither index nor state"},
    {"format", 0, "FORMAT", CLI_TEXT, offsetof(struct run_options, format), 0, 0,
     "with --dry-run: documents (default), or bulk: the bulk request itself"},
    {"limit", 0, "N", CLI_NUMBER, offsetof(struct run_options, limit), 1, 1LL << 53,
     "stop after N documents; the state stays as it is"},
    {"keys", 0, "A,B", CLI_TEXT, offsetof(struct run_options, keys), 0, 0,
     "these keys alone; the state stays as it is"},
    {"keys-from", 0, "FILE", CLI_TEXT, offsetof(struct run_options, keys_from), 0, 0,
     "likewise, one key a line; - is stdin"},
    {"full", 0, NULL, CLI_FLAG, offsetof(struct run_options, full), 0, 0,
     "read everything, whatever the state says"},
    {"since", 0, "TIME", CLI_TEXT, offsetof(struct run_options, since), 0, 0,
     "read what changed since TIME, rather than since the state's"},
    {"workers", 0, "N", CLI_NUMBER, offsetof(struct run_options, workers), 1, 64,
     "worker threads (default 2)"},
    {"give-up-after", 0, "S", CLI_NUMBER, offsetof(struct run_options, give_up_after), 0, 1LL << 31,
     "end after S seconds without a server (default 0: never)"},
    CLI_LOG_OPTIONS,
    {0},
};

struct run {
    struct run_options o;
    bool terminal;
    double give_up_after;
    struct script_text text; /* owned, as all that follows */
    struct script *script;
    struct pipeline pipeline;
    struct pg_server pg;
    struct pg_pool pool;
    struct es_server es_server;
    struct es *es;
    struct state *state;
    struct state_data data;
    struct index_info index;
    bool index_created;
    struct source source;
    struct batch *keys; /* --keys, --keys-from */
    struct queue *queue;
    struct loader *loader;
    struct progress progress;
    int64_t started_us;
};

/* ---- options ---- */

static bool conflict(const struct run_options *o, struct err *e)
{
    bool keys = o->keys || o->keys_from;
    const char *a = NULL, *b = NULL;
    if (o->format && !o->dry_run)
        return err_set(e, ERR_USAGE, "option --format goes with --dry-run");
    if (o->format && strcmp(o->format, "documents") != 0 && strcmp(o->format, "bulk") != 0)
        return err_set(e, ERR_USAGE, "option --format takes 'documents' or 'bulk', not '%s'", o->format);
    if (o->keys && o->keys_from)
        a = "--keys", b = "--keys-from";
    else if (keys && o->full)
        a = o->keys ? "--keys" : "--keys-from", b = "--full";
    else if (keys && o->since)
        a = o->keys ? "--keys" : "--keys-from", b = "--since";
    else if (o->full && o->since)
        a = "--full", b = "--since";
    return !a || err_set(e, ERR_USAGE, "options %s and %s exclude each other", a, b);
}

static bool add_key(struct batch *b, char *key, struct err *e)
{
    key[strcspn(key, "\r\n")] = '\0';
    return !*key || batch_add_key(b, key) || err_memory(e);
}

static bool read_keys_from(struct batch *b, const char *path, struct err *e)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f)
        return err_set(e, ERR_USAGE, "cannot read keys from '%s': %s", path, strerror(errno));
    char *line = NULL;
    size_t cap = 0;
    bool ok = true;
    while (ok && getline(&line, &cap, f) >= 0)
        ok = add_key(b, line, e);
    if (ok && ferror(f))
        ok = err_set(e, ERR_USAGE, "cannot read keys from '%s': %s", path, strerror(errno));
    free(line);
    if (f != stdin)
        fclose(f);
    return ok;
}

static bool read_keys(struct run *r, struct err *e)
{
    if (!r->o.keys && !r->o.keys_from)
        return true;
    r->keys = calloc(1, sizeof *r->keys);
    if (!r->keys)
        return err_memory(e);
    if (r->o.keys_from)
        return read_keys_from(r->keys, r->o.keys_from, e);
    char *text = strdup(r->o.keys), *rest = text, *key;
    bool ok = text || err_memory(e);
    while (ok && (key = strsep(&rest, ",")))
        ok = add_key(r->keys, key, e);
    free(text);
    return ok;
}

static bool read_request(struct run *r, struct err *e)
{
    if (!conflict(&r->o, e) || !read_keys(r, e))
        return err_hint(e, "etl-engine run --help");
    return true;
}

/* Part of the rows only: the state must not take it for progress. */
static bool is_partial(const struct run *r)
{
    return r->keys || r->o.limit > 0;
}

/* ---- opening ---- */

static bool open_script(struct run *r, const char *path, struct err *e)
{
    return script_read(&r->text, path, e) && (r->script = script_open(&r->text, e)) &&
           pipeline_read(&r->pipeline, r->script, e);
}

static bool at_line(struct err *e, const struct pipeline *p, int line)
{
    e->kind = ERR_USAGE;
    return line > 0 ? err_wrap(e, "%s:%d", p->script, line) : err_wrap(e, "%s", p->script);
}

static bool open_servers(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->pipeline;
    if (!pg_server_init(&r->pg, p->source.url, e))
        return at_line(e, p, p->source.url_line);
    pg_pool_init(&r->pool, &r->pg);
    if (r->o.dry_run)
        return true;
    if (!es_server_init(&r->es_server, p->sink.url, e))
        return at_line(e, p, p->sink.url_line);
    return (r->es = es_open(&r->es_server, e)) != NULL;
}

static bool open_state(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->pipeline;
    if (r->o.dry_run)
        return true;
    if (!r->state && !(r->state = state_open(p->state, e)))
        return false;
    if (!state_read(p->state, &r->data, e))
        return false;
    if (!r->data.pipeline || strcmp(r->data.pipeline, p->name) == 0)
        return true;
    err_set(e, ERR_USAGE, "state file '%s' belongs to pipeline '%s', not to '%s'", p->state, r->data.pipeline,
            p->name);
    return err_hint(e, "give each script a state file of its own: state = \"...\" in %s", p->script);
}

static bool ensure_index(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->pipeline;
    if (!index_look(r->es, p->sink.index, &r->index, e))
        return false;
    if (r->index.exists)
        return true;
    if (!index_create(r->es, p->sink.index, p->sink.settings, p->sink.mappings, e) ||
        !index_look(r->es, p->sink.index, &r->index, e))
        return false;
    if (!r->index.exists)
        return err_set(e, ERR_PASSING, "index '%s' is gone again", p->sink.index);
    r->index_created = true;
    log_info("created index '%s'", p->sink.index);
    return true;
}

static bool open_source(struct run *r, struct err *e)
{
    struct pg *pg = pg_take(&r->pool, e);
    int64_t expected = 0;
    bool ok =
        pg && source_open(&r->source, &r->pipeline, pg, e) && source_estimate(&r->source, pg, &expected, e);
    pg_give(&r->pool, pg);
    r->progress.expected = expected;
    return ok;
}

/* Tries until it works: a server that is absent at the start is waited for. */
static bool patiently(struct run *r, bool (*step)(struct run *, struct err *), struct err *e)
{
    struct retry retry;
    retry_start(&retry, r->give_up_after);
    while (!step(r, e))
        if (!retry_again(&retry, e))
            return false;
    retry_done(&retry);
    return true;
}

/* ---- what to read ---- */

static bool set_text(char **to, const char *from, struct err *e)
{
    free(*to);
    *to = strdup(from);
    return *to || err_memory(e);
}

/* The fields of the state that say whose it is. */
static bool sign_state(struct run *r, struct err *e)
{
    return set_text(&r->data.pipeline, r->pipeline.name, e) &&
           set_text(&r->data.index, r->pipeline.sink.index, e) &&
           set_text(&r->data.index_uuid, r->index.uuid, e) && set_text(&r->data.table, r->source.table, e);
}

/* Why everything has to be read, or NULL. */
static const char *why_full(const struct run *r)
{
    const struct state_data *d = &r->data;
    if (r->o.full)
        return "asked to";
    if (d->phase == STATE_NEW)
        return "there is no state yet";
    if (r->index_created)
        return "the index did not exist, though the state says it was loaded";
    if (!d->bare && strcmp(d->index_uuid, r->index.uuid) != 0)
        return "the index is not the one that was loaded";
    if (d->table && strcmp(d->table, r->source.table) != 0)
        return "the state is that of another table";
    if (!r->pipeline.source.cursor && d->phase == STATE_FOLLOWING)
        return "the script names no cursor";
    if (d->bare && !r->source.cursor_is_time)
        return "the state file holds a time alone, and the cursor is a number";
    return NULL;
}

static bool read_horizon(struct run *r, struct position *position, struct position *limit, struct err *e)
{
    struct pg *pg = pg_take(&r->pool, e);
    bool ok = pg && source_horizon(&r->source, pg, position, limit, e);
    pg_give(&r->pool, pg);
    return ok;
}

/* Notes the place to follow the changes from, before anything is read. */
static bool begin_snapshot(struct run *r, struct err *e)
{
    struct position limit = {0};
    position_free(&r->data.root);
    bool ok = !r->pipeline.source.cursor || read_horizon(r, &r->data.root, &limit, e);
    position_free(&limit);
    free(r->data.after);
    r->data.after = NULL;
    r->data.bare = false;
    r->data.phase = STATE_SNAPSHOT;
    return ok && sign_state(r, e);
}

/* ---- carrying ---- */

static struct pump make_pump(struct run *r)
{
    return (struct pump){
        .queue = r->queue,
        .state = is_partial(r) ? NULL : r->state,
        .data = &r->data,
        .progress = &r->progress,
        .give_up_after = r->give_up_after,
    };
}

static bool carry(struct run *r, struct pump *p, struct feed *f, struct err *e)
{
    bool ok = f && pump_feed(p, f, e);
    feed_free(f);
    if (!ok && !f)
        queue_fail(r->queue, e);
    return ok;
}

static bool carry_snapshot(struct run *r, struct pump *p, struct err *e)
{
    int64_t rows = r->o.limit == 0 || r->o.limit > STRETCH ? STRETCH : r->o.limit;
    if (rows < LIMIT_STRETCH)
        rows = LIMIT_STRETCH;
    return carry(r, p, feed_snapshot(&r->source, &r->pool, r->data.after, rows, e), e);
}

static bool carry_changes(struct run *r, struct pump *p, const struct position *from, struct err *e)
{
    struct position horizon = {0}, limit = {0};
    struct retry retry;
    bool ok;
    retry_start(&retry, r->give_up_after);
    while (!(ok = read_horizon(r, &horizon, &limit, e)) && retry_again(&retry, e))
        ;
    r->progress.expected = 0;
    if (ok)
        ok = carry(r, p, feed_poll(&r->source, &r->pool, from, &limit, &horizon, e), e);
    else
        queue_fail(r->queue, e);
    position_free(&horizon);
    position_free(&limit);
    return ok;
}

static bool load_everything(struct run *r, const char *why, struct err *e)
{
    struct pump p = make_pump(r);
    if (why) {
        log_info("%s: loading everything: %s", r->pipeline.name, why);
        if (!patiently(r, begin_snapshot, e) || !pump_save(&p, e))
            return false;
    } else {
        log_info("%s: resuming the first load after key '%s'", r->pipeline.name,
                 r->data.after ? r->data.after : "");
    }
    if (!carry_snapshot(r, &p, e))
        return false;
    if (queue_ended(r->queue))
        return true; /* --limit */
    r->data.phase = STATE_FOLLOWING;
    free(r->data.after);
    r->data.after = NULL;
    return pump_save(&p, e);
}

static bool follow(struct run *r, struct err *e)
{
    struct pump p = make_pump(r);
    if (!r->pipeline.source.cursor)
        return true;
    bool ok = sign_state(r, e); /* a bare file becomes a full one */
    r->data.bare = false;
    p.unsaved = true;
    return ok && carry_changes(r, &p, &r->data.root, e);
}

/* --since: where to read from; the state follows only if nothing is skipped by that: what lies before is in
 * the index already. */
static bool begin_since(struct run *r, struct err *e)
{
    struct position since = {0};
    bool loaded = !why_full(r) && r->data.phase == STATE_FOLLOWING, covered = false;
    struct pg *pg = pg_take(&r->pool, e);
    bool ok = pg && source_since(&r->source, pg, r->o.since, &since, e) &&
              (!loaded || source_not_above(&r->source, pg, &since, &r->data.root, &covered, e));
    pg_give(&r->pool, pg);
    if (ok && !covered && r->state) {
        log_info("the state stays as it is: what changed before %s may not be in the index", r->o.since);
        state_close(r->state);
        r->state = NULL;
    }
    if (ok) {
        position_free(&r->data.root);
        r->data.root = since;
        r->data.phase = STATE_FOLLOWING;
    } else {
        position_free(&since);
    }
    return ok;
}

static bool run_since(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->pipeline;
    if (!p->source.cursor)
        return err_set(e, ERR_USAGE, "option --since needs a cursor: the script names none in source");
    return patiently(r, begin_since, e) && follow(r, e);
}

static bool run_feeds(struct run *r, struct err *e)
{
    struct pump p = make_pump(r);
    if (r->keys) {
        const char *const *keys = (const char *const *)r->keys->keys;
        return carry(r, &p, feed_list(&r->source, &r->pool, keys, r->keys->n, e), e);
    }
    if (r->o.since)
        return run_since(r, e);
    if (is_partial(r) || r->o.dry_run) {
        free(r->data.after); /* from the first key, wherever the state stands */
        r->data.after = NULL;
        return carry_snapshot(r, &p, e);
    }
    const char *why = why_full(r);
    if (why || r->data.phase == STATE_SNAPSHOT) {
        if (!load_everything(r, why, e))
            return false;
    } else {
        log_info("%s: reading what changed since %s", r->pipeline.name,
                 r->data.root.cursor ? r->data.root.cursor : "the beginning");
    }
    return follow(r, e);
}

/* ---- beginning and end ---- */

static int64_t max_age_us(const struct run *r)
{
    enum { MIN_GC_DELETES_MS = 10 * 60 * 1000 };
    if (r->o.dry_run)
        return 0;
    if (r->index.gc_deletes_ms >= MIN_GC_DELETES_MS)
        return r->index.gc_deletes_ms * 1000 / 2;
    log_warn("index '%s' forgets deleted documents after %lld s (index.gc_deletes): set it to 1h, so that a "
             "slow request "
             "cannot bring one back",
             r->pipeline.sink.index, (long long)(r->index.gc_deletes_ms / 1000));
    return 0;
}

static bool start_loader(struct run *r, struct err *e)
{
    int workers = r->o.limit > 0 ? 1 : (int)r->o.workers;
    r->queue = queue_new((size_t)workers * WINDOW, r->data.version, e);
    if (!r->queue)
        return false;
    struct loader_config config = {
        .pipeline = &r->pipeline,
        .source = &r->source,
        .script = &r->text,
        .pg = &r->pg,
        .es = r->o.dry_run ? NULL : &r->es_server,
        .state_path = r->pipeline.state,
        .queue = r->queue,
        .output = !r->o.dry_run                                     ? LOADER_INDEX
                  : r->o.format && strcmp(r->o.format, "bulk") == 0 ? LOADER_BULK
                                                                    : LOADER_DOCUMENTS,
        .limit = r->o.limit,
        .max_age_us = max_age_us(r),
        .max_rejected = MAX_REJECTED,
        .give_up_after = r->give_up_after,
        .workers = workers,
    };
    r->loader = loader_start(&config, e);
    return r->loader != NULL;
}

/* Somebody may have deleted the index meanwhile; the next bulk request then made another one, that lacks what
 * came before. */
static bool check_index(struct run *r, struct err *e)
{
    struct index_info now;
    if (!index_look(r->es, r->pipeline.sink.index, &now, e))
        return false;
    if (now.exists && strcmp(now.uuid, r->index.uuid) == 0)
        return index_refresh(r->es, r->pipeline.sink.index, e);
    err_set(e, ERR_FINAL, "index '%s' was deleted or replaced while it was being loaded",
            r->pipeline.sink.index);
    return err_hint(e,
                    "see that its mapping is right, or delete it, and run again: everything will be loaded");
}

static void log_summary(const struct run *r, const struct bulk_sums *s)
{
    char documents[PROGRESS_TEXT], deleted[PROGRESS_TEXT], rejected[PROGRESS_TEXT], requests[PROGRESS_TEXT];
    char rate[PROGRESS_TEXT], retried[PROGRESS_TEXT], n[PROGRESS_TEXT], superseded[2 * PROGRESS_TEXT] = "";
    char duration[CLOCK_TEXT];
    int64_t us = clock_mono_us() - r->started_us;
    if (s->unchanged > 0) /* not for a newcomer to puzzle over each time */
        snprintf(superseded, sizeof superseded, "%s superseded, ", progress_number(s->unchanged, n));
    progress_number((uint64_t)((double)(s->indexed + s->deleted + s->unchanged) * 1e6 / (double)(us + 1)),
                    rate);
    log_info("%s: %s %s, %s deleted, %s%s rejected, in %s (%s/s); %.1f MB in %s, %s retried",
             r->pipeline.name, progress_count(s->indexed, "document", documents),
             r->o.dry_run ? "printed" : "indexed", progress_number(s->deleted, deleted), superseded,
             progress_number(s->rejected, rejected), clock_duration(us, duration), rate,
             (double)s->bytes / 1e6, progress_count(s->requests, "request", requests),
             progress_count(s->retried_items, "item", retried));
}

static struct script_run hook_info(const struct run *r, const struct bulk_sums *s, bool ok)
{
    return (struct script_run){
        .pipeline = r->pipeline.name,
        .dry_run = r->o.dry_run,
        .ok = ok,
        .documents = s->indexed,
        .deleted = s->deleted,
        .rejected = s->rejected,
        .seconds = (double)(clock_mono_us() - r->started_us) / 1e6,
    };
}

static bool prepare(struct run *r, const char *path, struct err *e)
{
    if (!open_script(r, path, e) || !open_servers(r, e) || !patiently(r, open_state, e))
        return false;
    progress_start(&r->progress, r->pipeline.name, r->terminal && !r->o.dry_run);
    if (r->pipeline.source.n_related > 0)
        log_info("%s: related tables are not followed yet: a change in one of them is seen once its row in "
                 "'%s' changes too",
                 r->pipeline.name, r->pipeline.source.table);
    if (!patiently(r, open_source, e))
        return false;
    return r->o.dry_run || patiently(r, ensure_index, e);
}

static bool execute(struct run *r, struct err *e)
{
    struct bulk_sums sums = {0};
    struct script_run info = hook_info(r, &sums, true);
    script_serve(r->script, &(struct script_services){&r->pool, r->es, r->pipeline.state});
    if (!script_hook(r->script, "before_run", &info, e) || !start_loader(r, e))
        return false;
    bool ok = run_feeds(r, e);
    if (!ok)
        queue_fail(r->queue, e);
    queue_close(r->queue);
    loader_join(r->loader);
    r->loader = NULL;
    ok = ok && (r->o.dry_run || patiently(r, check_index, e));
    progress_end(&r->progress);
    sums = queue_sums(r->queue);
    log_summary(r, &sums);
    if (!ok && e->kind == ERR_STOPPED)
        return false;
    struct err hook_error;
    info = hook_info(r, &sums, ok);
    if (script_hook(r->script, "after_run", &info, &hook_error))
        return ok;
    if (!ok) {
        log_warn("%s", hook_error.text);
        return false;
    }
    *e = hook_error;
    return false;
}

static void close_run(struct run *r)
{
    queue_free(r->queue);
    source_free(&r->source);
    script_close(r->script); /* before what it may still hold a connection of */
    es_close(r->es);
    pg_pool_free(&r->pool);
    pg_server_free(&r->pg);
    es_server_free(&r->es_server);
    state_data_free(&r->data);
    state_close(r->state);
    pipeline_free(&r->pipeline);
    script_text_free(&r->text);
    batch_free(r->keys);
}

static int run_main(int argc, char **argv)
{
    struct run r = {.o = {.workers = 2}, .started_us = clock_mono_us()};
    struct err e = {0};
    int first;
    bool help;
    if (!cli_parse(&cmd_run, argc, argv, &r.o, &first, &help, &e))
        return cli_fail(&e);
    if (help)
        return EXIT_DONE;
    if (argc - first != 1) {
        err_set(&e, ERR_USAGE, argc == first ? "no script given" : "more than one script given");
        err_hint(&e, "etl-engine run --help");
        return cli_fail(&e);
    }
    r.give_up_after = (double)r.o.give_up_after;
    /* Keys are read before signals are caught: a terminal, or a pipe, may keep us waiting for them. */
    bool ok = cli_log_setup(&r.o.log, &r.terminal, &e) && read_request(&r, &e) && stop_init(&e) &&
              prepare(&r, argv[first], &e) && execute(&r, &e);
    uint64_t rejected = r.queue ? queue_sums(r.queue).rejected : 0;
    close_run(&r);
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
