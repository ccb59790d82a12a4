#include "ask/check_internal.h"
#include "base/log.h"
#include "base/stop.h"
#include "model/keylist.h"
#include "run/pipelines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one script ---- */

/* What only servers need may be missing where none is asked. */
static void open_script(struct check *c)
{
    struct run_script *s = &c->user;
    struct err e, lacking = {.kind = ERR_NONE};
    bool offline = c->options->offline;
    check_divert(c, "script");
    c->script_ok = script_text_read(&s->text, c->path, &e) && script_choose(&s->text, &e) &&
                   (s->script = script_open(&s->text, &e)) &&
                   (offline ? pipeline_read_offline(&s->pipeline, s->script, &lacking, &e)
                            : pipeline_read(&s->pipeline, s->script, &e)) &&
                   fingerprint_read(s->script, &s->pipeline, s->fingerprint, &e);
    if (!c->script_ok)
        check_add_err(c, "script", 0, &e);
    if (c->script_ok && lacking.kind != ERR_NONE) {
        check_add(c, CHECK_NOTE, "script", 0, "%s", lacking.text);
        if (*lacking.hint)
            check_remedy(c, "%s", lacking.hint);
    }
}

static void close_check(struct check *c)
{
    pg_release(&c->servers.pool, c->pg);
    for (size_t i = 0; i < c->n; i++) {
        free(c->findings[i].text);
        free(c->findings[i].remedy);
    }
    free(c->findings);
    keylist_free(&c->chosen);
    run_close_script(&c->user);
    run_close_servers(&c->servers);
}

static void check_servers(struct check *c)
{
    struct err e;
    check_divert(c, "address");
    if (!run_open_servers(&c->servers, &c->user.pipeline, false, &e)) {
        check_add_err(c, "address", 0, &e);
        return;
    }
    script_serve(c->user.script, &(struct sandbox_services){&c->servers.pool, c->servers.es,
                                                            c->user.pipeline.state});
    check_source(c);
    void (*const subjects[])(struct check *) = {check_tables, check_plans, check_capture};
    for (size_t i = 0; c->bound && i < sizeof subjects / sizeof *subjects && !stop_asked(); i++)
        subjects[i](c);
    if (!stop_asked())
        check_index(c);
}

static void check_one(struct check *c)
{
    open_script(c);
    if (c->script_ok) {
        check_divert(c, NULL);
        check_script(c);
        check_files(c);
        if (!c->options->offline)
            check_servers(c);
        check_divert(c, NULL);
        if (!stop_asked())
            check_documents(c);
    }
    log_divert(NULL, NULL);
}

/* ---- what several scripts share ---- */

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static void compare(struct check *c, const struct check *other)
{
    const struct pipeline *p = &c->user.pipeline, *q = &other->user.pipeline;
    if (same(p->name, q->name)) {
        check_add(c, CHECK_ERROR, "shared_name", check_line(c, "name"),
                  "the pipeline has the name '%s' of %s", p->name, other->path);
        check_remedy(c, "name = \"...\", another one");
    }
    if (same(p->state, q->state)) {
        check_add(c, CHECK_ERROR, "shared_state", check_line(c, "state"),
                  "the state '%s' is that of %s, too", p->state, other->path);
        check_remedy(c, "state = \"%s.%s\"", p->state, p->name);
    }
    if (same(p->sink.index, q->sink.index) &&
        (!p->sink.url || !q->sink.url || same(p->sink.url, q->sink.url))) {
        check_add(c, CHECK_ERROR, "shared_index", p->sink.index_line,
                  "the index '%s' is that of %s, too: each would delete the other's documents",
                  p->sink.index, other->path);
        check_remedy(c, "index = \"%s_%s\"", p->sink.index, p->name);
    } else if (pipeline_has_index(p, q->sink.index) || pipeline_has_index(q, p->sink.index)) {
        bool ours = pipeline_has_index(p, q->sink.index);
        check_add(c, CHECK_ERROR, "shared_index", p->sink.index_line,
                  ours ? "sink.indices matches the index of %s"
                       : "sink.indices of %s matches "
                         "the index of this script",
                  other->path);
        check_remedy(c, "indices = \"...\", a pattern without it");
    }
    if (p->source.wal && q->source.wal && same(p->source.slot, q->source.slot) &&
        !same(p->source.publication, q->source.publication)) {
        check_add(c, CHECK_ERROR, "shared_slot", check_line(c, "source.slot"),
                  "the slot '%s' is that of %s, too, but the publication is another one",
                  p->source.slot, other->path);
        check_remedy(c, "publication = \"%s\" in both", p->source.slot);
    }
}

/* ---- all of them ---- */

static void summarize(const struct check *c, enum check_result *result)
{
    const size_t *n = c->counts;
    if (n[CHECK_ERROR] > 0)
        *result = CHECK_ERRORS;
    else if (n[CHECK_WARNING] > 0 && *result == CHECK_CLEAN)
        *result = CHECK_WARNINGS;
    log_info_with(LOG_FIELDS(log_text("script", c->path),
                             log_int("errors", (long long)n[CHECK_ERROR]),
                             log_int("warnings", (long long)n[CHECK_WARNING]),
                             log_int("notes", (long long)n[CHECK_NOTE])),
                  "%s: %zu error%s, %zu warning%s, %zu note%s", c->path, n[CHECK_ERROR],
                  n[CHECK_ERROR] == 1 ? "" : "s", n[CHECK_WARNING],
                  n[CHECK_WARNING] == 1 ? "" : "s", n[CHECK_NOTE], n[CHECK_NOTE] == 1 ? "" : "s");
}

/* Each script's pipelines; of one that cannot be read, itself, for a finding. */
static bool expand(char *const *paths, size_t n, struct keylist *refs, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct keylist own = {0};
        char *const one[] = {paths[i], NULL};
        bool ok = true;
        if (!pipelines_expand(one, &own, e))
            ok = keylist_add(refs, paths[i]);
        for (size_t k = 0; ok && k < own.n; k++)
            ok = keylist_add(refs, own.keys[k]);
        keylist_free(&own);
        if (!ok)
            return err_memory(e);
    }
    return true;
}

static bool check_all(struct check *all, size_t n, enum check_result *result, struct err *e)
{
    bool failed = false;
    *result = CHECK_CLEAN;
    for (size_t i = 0; i < n && !stop_asked(); i++) {
        check_one(&all[i]);
        for (size_t k = 0; k < i && all[i].script_ok; k++)
            if (all[k].script_ok)
                compare(&all[i], &all[k]);
        check_print(&all[i]);
        summarize(&all[i], result);
        failed |= all[i].failed;
    }
    if (stop_asked())
        return stop_err(e);
    return !failed || err_memory(e);
}

bool check_scripts(char *const *paths, size_t n, const struct check_options *o,
                   enum check_result *result, struct err *e)
{
    struct keylist refs = {0};
    struct check *all = NULL;
    bool ok = expand(paths, n, &refs, e) && ((all = calloc(refs.n, sizeof *all)) || err_memory(e));
    for (size_t i = 0; ok && i < refs.n; i++)
        all[i] = (struct check){.path = refs.keys[i], .options = o};
    ok = ok && check_all(all, refs.n, result, e);
    for (size_t i = 0; all && i < refs.n; i++)
        close_check(&all[i]);
    free(all);
    keylist_free(&refs);
    return ok;
}
