#include "run/pipelines.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/text.h"
#include "base/witness.h"
#include "flow/shares.h"
#include "model/keylist.h"
#include "pg/pg_pool.h"
#include "run/capture_hub.h"
#include "run/run_open.h"
#include "run/run_pipeline.h"
#include "run/run_script.h"
#include "run/vitals.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In seconds, of a pipeline that has failed. */
static const double FIRST_WAIT = 1, LONGEST_WAIT = 300;
enum {
    STEADY_US = 10 * 60 * 1000 * 1000, /* a run that lasted so long was not a failure at once */
    CALM_US = 10 * 1000 * 1000,        /* the same, of one that has loaded all and followed */
    CONNECTIONS = 32,                  /* to a database: a third of PostgreSQL's default */
};

struct member {
    const struct run_options *options;
    const char *ref;                  /* borrowed */
    struct vitals *vitals;            /* borrowed */
    const struct member *all;         /* borrowed, like itself: of the process */
    size_t n;                         /* of them */
    bool met;                         /* its script was read once, and shares nothing by mistake */
    char *name;                       /* owned; that of its file, until it is met */
    struct pipeline_outcome *outcome; /* borrowed */
    struct capture_seat *seat;        /* NULL: it does not capture */
    pthread_t thread;
    bool started;
};

/* ---- which pipelines ---- */

static bool add_refs(const char *path, struct keylist *refs, struct err *e)
{
    struct script_text text;
    struct keylist names = {0};
    if (!script_text_read(&text, path, e))
        return false;
    bool ok = text.name || script_list(&text, &names, e);
    if (ok && names.n == 0)
        ok = keylist_add(refs, path) || err_memory(e);
    for (size_t i = 0; ok && i < names.n; i++) {
        char *ref;
        ok = asprintf(&ref, "%s#%s", path, names.keys[i]) >= 0 || err_memory(e);
        if (ok) {
            ok = keylist_add(refs, ref) || err_memory(e);
            free(ref);
        }
    }
    keylist_free(&names);
    script_text_free(&text);
    return ok;
}

bool pipelines_expand(char *const *scripts, struct keylist *refs, struct err *e)
{
    bool several = scripts[0] && scripts[1];
    for (; *scripts; scripts++) {
        if (add_refs(*scripts, refs, e))
            continue;
        if (!several || e->kind != ERR_USAGE)
            return false;
        if (!keylist_add(refs, *scripts))
            return err_memory(e);
    }
    return true;
}

/* ---- what they must not share ---- */

static bool refuse(const char *field, const char *value, const struct run_script *a,
                   const struct run_script *b, struct err *e)
{
    return err_set(e, ERR_USAGE, "%s and %s have the same %s '%s'", a->text.ref, b->text.ref, field,
                   value);
}

/* Pipelines that name the same slot of one database share it: see capture_hub. */
static bool check_slots(const struct run_script *a, const struct run_script *b, struct err *e)
{
    const struct pipeline *p = &a->pipeline, *q = &b->pipeline;
    if (!p->source.wal || !q->source.wal || strcmp(p->source.slot, q->source.slot) != 0 ||
        strcmp(p->source.publication, q->source.publication) == 0)
        return true;
    return err_set(e, ERR_USAGE, "%s and %s share slot '%s', but not the publication: '%s', '%s'",
                   a->text.ref, b->text.ref, p->source.slot, p->source.publication,
                   q->source.publication);
}

static bool check_pair(const struct run_script *a, const struct run_script *b, struct err *e)
{
    const struct pipeline *p = &a->pipeline, *q = &b->pipeline;
    if (strcmp(p->name, q->name) == 0)
        return refuse("name", p->name, a, b, e);
    if (strcmp(p->state, q->state) == 0)
        return refuse("state", p->state, a, b, e);
    if (strcmp(p->sink.index, q->sink.index) == 0 && strcmp(p->sink.url, q->sink.url) == 0)
        return refuse("index", p->sink.index, a, b, e);
    return check_slots(a, b, e);
}

/* The slot waits for all of them, from the beginning. */
static bool take_seat(struct member *m, const struct pipeline *p, struct err *e)
{
    return !p->source.wal || (m->seat = capture_hub_enter(p, (double)m->options->give_up_after, e));
}

static bool meet(struct member *m, const struct run_script *s, struct err *e)
{
    m->met =
        take_seat(m, &s->pipeline, e) && (text_set(&m->name, s->pipeline.name) || err_memory(e));
    return m->met;
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Script i is the last one that was read. Those that cannot be read are left out. */
static bool check_with_others(const struct run_script *scripts, const struct member *members,
                              size_t i, struct err *e)
{
    for (size_t k = 0; k < i; k++)
        if (members[k].met && !check_pair(&scripts[k], &scripts[i], e))
            return false;
    return true;
}

static void log_failure(const struct err *e)
{
    log_error_with(LOG_FIELDS(LOG_ERR(e)), "%s", e->text);
}

/* Always returns false. */
static bool refuse_all(const struct member *members, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        log_failure(&members[i].outcome->error);
    return err_set(e, members[0].outcome->error.kind, "none of the %zu scripts can be read", n);
}

/* A script that cannot be read does not stop the others: its member has no name yet, and reads it
 * again. False: two exclude each other, or none can be read. */
static bool check_members(struct member *members, size_t n, struct err *e)
{
    struct run_script *scripts = calloc(n, sizeof *scripts);
    size_t met = 0;
    bool ok = scripts || err_memory(e);
    for (size_t i = 0; ok && i < n; i++) {
        bool read = run_look_at_script(&scripts[i], members[i].ref, &members[i].outcome->error);
        ok = read ? meet(&members[i], &scripts[i], e) && check_with_others(scripts, members, i, e)
                  : text_set(&members[i].name, file_name(members[i].ref)) || err_memory(e);
        met += read;
    }
    for (size_t i = 0; scripts && i < n; i++)
        run_close_script(&scripts[i]);
    free(scripts);
    return ok && (met > 0 || refuse_all(members, n, e));
}

/* A script that could not be read at first: by now it may name what others name. */
static bool meet_late(struct member *m, struct err *e)
{
    struct run_script mine = {0}, other;
    struct err ignored;
    bool ok = run_look_at_script(&mine, m->ref, e);
    for (size_t i = 0; ok && i < m->n; i++) {
        if (&m->all[i] == m)
            continue;
        other = (struct run_script){0};
        ok = !run_look_at_script(&other, m->all[i].ref, &ignored) || check_pair(&other, &mine, e);
        run_close_script(&other);
    }
    ok = ok && meet(m, &mine, e);
    run_close_script(&mine);
    if (ok)
        log_pipeline(m->name);
    return ok;
}

static bool check_options(const struct run_options *o, struct err *e)
{
    const struct {
        const char *name;
        bool given;
    } rows[] = {{"--keys", o->keys},
                {"--keys-from", o->keys_from},
                {"--limit", o->limit > 0},
                {"--since", o->since},
                {"--dead-letters", o->dead_letters}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].given)
            return err_set(e, ERR_USAGE, "option %s takes one pipeline", rows[i].name);
    return true;
}

/* ---- one of them ---- */

static bool run_once(struct member *m, struct err *e)
{
    struct run r = {.options = *m->options,
                    .servers.give_up_after = (double)m->options->give_up_after,
                    .started_us = clock_mono_us(),
                    .vitals = m->vitals};
    bool ok = run_pipeline(&r, m->ref, e);
    m->outcome->rejected = run_rejected(&r);
    run_close(&r);
    return ok;
}

/* SIGHUP ends it: what was wrong is corrected, perhaps. False: a stop was asked. */
static bool sleep_until_reload(int64_t ms)
{
    const int64_t look_ms = 500;
    unsigned reloads = stop_reloads();
    for (; ms > 0 && stop_reloads() == reloads; ms -= look_ms)
        if (!stop_sleep(ms < look_ms ? ms : look_ms))
            return false;
    return true;
}

/* Whatever has failed: a table may be made again, a script corrected. False: a stop was asked,
 * which *e says then. */
static bool wait_for_next(struct member *m, struct backoff *b, struct err *e)
{
    e->kind = ERR_PASSING;
    double wait = backoff_failed(b, e);
    vitals_phase(m->vitals, VITALS_FAILING, e->text, (int64_t)(wait * 1000));
    log_warn_with(LOG_FIELDS(log_real("wait_seconds", wait)), "starting again in %.0f s", wait);
    return sleep_until_reload((int64_t)ceil(wait * 1000)) || stop_err(e);
}

/* Whether the run that has failed was a success before: what it fails of is new. */
static bool was_steady(const struct member *m, int64_t lasted_us)
{
    return lasted_us > STEADY_US || (lasted_us > CALM_US && vitals_is_loaded(m->vitals));
}

static void run_until_over(struct member *m)
{
    struct pipeline_outcome *out = m->outcome;
    const struct backoff_policy policy = {.generator = BACKOFF_EXPO,
                                          .factor = FIRST_WAIT,
                                          .max_value = LONGEST_WAIT,
                                          .jitter = BACKOFF_NO_JITTER};
    struct backoff b;
    backoff_start(&b, &policy, 0);
    for (;;) {
        int64_t began = clock_mono_us();
        out->ok = (m->met || meet_late(m, &out->error)) && run_once(m, &out->error);
        if (out->ok || out->error.kind == ERR_STOPPED)
            return;
        log_failure(&out->error);
        vitals_failed(m->vitals);
        if (!m->options->follow)
            return;
        if (was_steady(m, clock_mono_us() - began))
            backoff_start(&b, &policy, 0);
        if (!wait_for_next(m, &b, &out->error))
            return;
    }
}

static void *run_member(void *arg)
{
    struct member *m = arg;
    log_pipeline(m->name);
    witness_set(vitals_witness(m->vitals));
    run_until_over(m);
    witness_set(NULL);
    const struct err *e = &m->outcome->error;
    bool failed = !m->outcome->ok && e->kind != ERR_STOPPED;
    vitals_phase(m->vitals, VITALS_ENDED, failed ? e->text : NULL, -1);
    return NULL;
}

/* ---- all of them ---- */

/* What they share: connections to a database, so that many loads at once leave room for others
 * within PostgreSQL's default max_connections; and workers beyond each one's first. */
static void share(const struct run_options *o)
{
    int workers = (int)o->workers, connections = 2 * workers + 8;
    pg_pool_set_most(connections > CONNECTIONS ? connections : CONNECTIONS);
    shares_set(workers);
}

/* Until its run says more. */
static void describe(const struct member *m)
{
    struct vitals_about about = {0};
    snprintf(about.name, sizeof about.name, "%s", m->name);
    snprintf(about.script, sizeof about.script, "%s", m->ref);
    vitals_describe(m->vitals, &about);
}

static void run_members(struct member *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct member *m = &members[i];
        describe(m);
        m->started = pthread_create(&m->thread, NULL, run_member, m) == 0;
        if (!m->started)
            err_set(&m->outcome->error, ERR_FINAL, "cannot start a thread for '%s'", m->name);
    }
    for (size_t i = 0; i < n; i++)
        if (members[i].started)
            pthread_join(members[i].thread, NULL);
}

bool pipelines_run(const struct run_options *options, const struct keylist *refs,
                   struct pipeline_outcome *outcomes, const struct vitals_list *vitals,
                   struct err *e)
{
    struct member *members = calloc(refs->n, sizeof *members);
    bool ok = members || err_memory(e);
    for (size_t i = 0; ok && i < refs->n; i++)
        members[i] = (struct member){.options = options,
                                     .ref = refs->keys[i],
                                     .vitals = vitals_at(vitals, i),
                                     .all = members,
                                     .n = refs->n,
                                     .outcome = &outcomes[i]};
    ok = ok && check_options(options, e) && check_members(members, refs->n, e);
    if (ok) {
        log_name_pipelines();
        share(options);
        run_members(members, refs->n);
    }
    for (size_t i = 0; members && i < refs->n; i++) {
        capture_hub_leave(members[i].seat);
        free(members[i].name);
    }
    free(members);
    return ok;
}
