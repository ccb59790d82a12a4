#include "run/run_index.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "es/es_product.h"
#include "run/run.h"
#include "run/run_meta.h"
#include "run/run_state.h"
#include "store/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the script and the index fit ---- */

/* The server refuses what a line of the script says: names that line. */
static bool blame_create(const struct pipeline *p, struct err *e)
{
    bool of_mappings = strstr(e->text, "mapp") || strstr(e->text, "parsing_exception");
    int line = strstr(e->text, "index_name")                            ? p->sink.index_line
               : p->sink.mappings && (of_mappings || !p->sink.settings) ? p->sink.mappings_line
                                                                        : p->sink.settings_line;
    return e->fault == ERR_FAULT_REQUEST && pipeline_at_line(e, p, line);
}

bool run_check_search(struct run *r, struct err *e)
{
    r->servers.met = r->servers.met || (index_meet(r->servers.es, r->user.pipeline.sink.index, e) &&
                                        es_product_check(r->servers.es, e));
    return r->servers.met;
}

static bool create(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    struct index_meta m = {.version = r->state.data.version};
    struct buf mappings;
    buf_init(&mappings, 64 << 20);
    snprintf(m.pipeline, sizeof m.pipeline, "%s", p->name);
    if (!run_is_partial(r)) /* a few documents are no load: run_warn_lost_state */
        memcpy(m.fingerprint, r->user.fingerprint, sizeof m.fingerprint);
    bool ok = index_add_meta(&mappings, p->sink.mappings, &m, e) &&
              (buf_cstr(&mappings) || err_memory(e)) &&
              index_create(r->servers.es, p->sink.index, p->sink.settings, buf_cstr(&mappings), e);
    buf_free(&mappings);
    if (!ok)
        return blame_create(p, e);
    if (!index_get_info(r->servers.es, p->sink.index, &r->index.info, e))
        return false;
    if (!r->index.info.exists)
        return err_set(e, ERR_PASSING, "index '%s' has disappeared", p->sink.index);
    r->index.is_new = true;
    log_info_with(LOG_FIELDS(log_text("index", p->sink.index)), "created index '%s'",
                  p->sink.index);
    return true;
}

/* From now on sink.index is the alias's write index, for reading, too. */
static bool use_write_index(struct run *r, struct err *e)
{
    struct pipeline *p = &r->user.pipeline;
    log_info_with(LOG_FIELDS(log_text("index", r->index.info.name)),
                  "'%s' is an alias of several indexes; using its write index '%s'", p->sink.index,
                  r->index.info.name);
    free(r->index.alias);
    r->index.alias = strdup(p->sink.index);
    return r->index.alias ? pipeline_set_index(p, r->index.info.name, e) : err_memory(e);
}

static bool refuse_required_routing(const struct run *r, const struct pipeline *p, struct err *e)
{
    err_set(e, ERR_USAGE,
            "index '%s' requires a routing for each document (_routing.required in its mapping), "
            "and this script chooses none",
            r->index.info.name);
    pipeline_at_line(e, p, p->sink.index_line);
    return err_hint(e, INDEX_ROUTING_HINT);
}

static bool fit(struct run *r, const struct run_script *s, struct index_fit *found, struct err *e)
{
    const struct pipeline *p = &s->pipeline;
    if (!index_fit(r->servers.es, p->sink.index, p->sink.settings, p->sink.mappings, found, e)) {
        if (e->kind != ERR_USAGE)
            return false;
        pipeline_at_line(e, p, found->of_settings ? p->sink.settings_line : p->sink.mappings_line);
        return err_hint(e, "etl-engine reindex %s builds a new index in place of this one",
                        s->text.ref);
    }
    r->index.filtered = found->filtered;
    if (found->needs_routing && !p->sink.multi_index)
        return refuse_required_routing(r, p, e);
    if (*found->lacks)
        log_warn_with(
            LOG_FIELDS(log_text("index", r->index.info.name)),
            "index '%s' was not created by etl-engine and differs from the script (%s); using "
            "it as it is; 'etl-engine reindex %s' builds a new one",
            r->index.info.name, found->lacks, s->text.ref);
    if (found->added)
        log_info_with(LOG_FIELDS(log_text("index", r->index.info.name)),
                      "added new fields from the script to the mapping of index '%s'",
                      r->index.info.name);
    return true;
}

const char *run_index_to_search(const struct run *r)
{
    const struct pipeline *p = &r->user.pipeline;
    return r->index.filtered && !p->sink.multi_index ? r->index.info.name : p->sink.indices;
}

/* hidden: how many documents the filter hides. */
static bool refuse_filter(const struct run *r, int64_t hidden, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    char n[PROGRESS_TEXT];
    if (p->sink.multi_index)
        err_set(e, ERR_USAGE,
                "'%s' is an alias with a filter, which hides documents that sink.indices must find",
                p->sink.index);
    else
        err_set(e, ERR_USAGE,
                "'%s' is an alias with a filter, which hides %s of index '%s' that this script did "
                "not make: a sweep would delete those without a row",
                p->sink.index, progress_count((uint64_t)hidden, "document", n), r->index.info.name);
    pipeline_at_line(e, p, p->sink.index_line);
    return err_hint(e, "to use the whole index: index = \"%s\"", r->index.info.name);
}

/* Documents that an alias's filter hides are kept in sync, too: a row that changes may make its
 * document fail the filter. If another program has filled the index, that is refused, because a
 * sweep would delete its documents. */
static bool check_filter(struct run *r, const struct index_meta *found, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    int64_t all = 0, seen = 0;
    if (!r->index.filtered)
        return true;
    if (p->sink.multi_index)
        return refuse_filter(r, 0, e);
    if (!found->known && !(index_count(r->servers.es, r->index.info.name, &all, e) &&
                           index_count(r->servers.es, p->sink.index, &seen, e)))
        return false;
    if (all > seen)
        return refuse_filter(r, all - seen, e);
    log_info_with(
        LOG_FIELDS(log_text("index", r->index.info.name)),
        "'%s' is an alias with a filter; all of index '%s' is kept in sync, also what the "
        "filter hides",
        p->sink.index, r->index.info.name);
    return true;
}

/* ---- its fields ---- */

/* What a message says of a field that is missing: ", did you mean 'actors.id'?" */
static void suggest_field(const struct index_field *f, char *out, size_t size)
{
    *out = '\0';
    if (*f->known)
        snprintf(out, size, f->is_near ? ", did you mean '%s'?" : "; known fields: %s", f->known);
}

/* One entry of source.related: without its index_field no document would ever be found. */
static bool check_field(struct run *r, const struct pipeline *p, size_t i, bool loaded,
                        struct err *e)
{
    const struct pipeline_related *related = &p->source.related[i];
    const char *field = related->index_field, *index = r->index.info.name;
    struct index_field f;
    char location[60], suggestion[300];
    if (!index_get_field(r->servers.es, index, field, &f, e))
        return false;
    if (f.exists && !f.analysed)
        return true;
    if (f.may_come && (p->sink.multi_index || !loaded)) /* the first document may bring it */
        return true;
    snprintf(location, sizeof location, "source.related[%zu].index_field", i + 1);
    suggest_field(&f, suggestion, sizeof suggestion);
    if (f.may_come) {
        log_warn_with(
            LOG_FIELDS(LOG_PLACE(p->script, related->index_field_line), log_text("index", index)),
            "%s:%d: %s: index '%s' has no field '%s' yet%s", p->script, related->index_field_line,
            location, index, field, suggestion);
        return true;
    }
    if (f.analysed)
        err_set(e, ERR_USAGE,
                "cannot use %s: '%s' is analysed text in index '%s', without a sub-field of type "
                "keyword",
                location, field, index);
    else
        err_set(e, ERR_USAGE,
                "cannot use %s: index '%s' has no field '%s', and its mapping allows no new one "
                "there%s",
                location, index, field, suggestion);
    return pipeline_at_line(e, p, related->index_field_line);
}

bool run_check_fields(struct run *r, const struct run_script *s, bool loaded, struct err *e)
{
    for (size_t i = 0; i < s->pipeline.source.n_related; i++)
        if (s->pipeline.source.related[i].index_field &&
            !check_field(r, &s->pipeline, i, loaded, e))
            return false;
    return true;
}

bool run_find_index(struct run *r, struct err *e)
{
    return run_check_search(r, e) &&
           index_get_info(r->servers.es, r->user.pipeline.sink.index, &r->index.info, e) &&
           (!r->index.info.several || use_write_index(r, e)) &&
           run_check_owner(r, r->options.take_over, e);
}

bool run_open_index(struct run *r, struct err *e)
{
    struct index_fit found;
    if (!run_find_index(r, e) || (!r->index.info.exists && !create(r, e)) ||
        !fit(r, &r->user, &found, e) || !check_filter(r, &found.meta, e) ||
        !run_check_fields(r, &r->user, !r->index.is_new && r->state.data.phase == STATE_FOLLOWING,
                          e))
        return false;
    r->index.meta_readonly = *found.lacks;
    run_adopt_meta(r, &found.meta);
    bool replaced = r->state.data.index_uuid &&
                    strcmp(r->state.data.index_uuid, r->index.info.uuid) != 0 &&
                    index_is_predecessor(&r->index.meta, r->state.data.index_uuid);
    return !replaced || run_adopt(r, e);
}

bool run_fit_index(struct run *r, struct run_script *fresh, struct err *e)
{
    struct index_fit ignored;
    struct pipeline *p = &fresh->pipeline;
    bool same = r->index.alias && strcmp(r->index.alias, p->sink.index) == 0;
    return (!same || pipeline_set_index(p, r->user.pipeline.sink.index, e)) &&
           fit(r, fresh, &ignored, e) && run_check_fields(r, fresh, true, e);
}

void run_index_is_loading(struct run *r)
{
    r->index.is_new = false;
    run_set_meta_script(r, true);
    run_save_meta(r);
}

/* Of an alias of several indexes, whose write index is used by its own name. */
static bool check_write_index(const struct run *r, struct err *e)
{
    struct index_info now;
    if (!r->index.alias)
        return true;
    if (!index_get_info(r->servers.es, r->index.alias, &now, e))
        return false;
    if (now.exists && strcmp(now.uuid, r->index.info.uuid) == 0)
        return true;
    err_set(e, ERR_FINAL, "'%s' is no longer the write index of alias '%s'", r->index.info.name,
            r->index.alias);
    return err_hint(e, "run again to load everything into the one that is");
}

/* Somebody may have deleted the index during the run; the next bulk request then created another
 * one, which lacks the documents before it. */
bool run_check_index(struct run *r, struct err *e)
{
    struct index_info now;
    struct index_meta meta;
    const char *index = r->user.pipeline.sink.index;
    r->index.replaced = false;
    if (!check_write_index(r, e) || !index_get_info(r->servers.es, index, &now, e))
        return false;
    if (now.exists && !run_check_owner(r, false, e))
        return false;
    if (now.exists && strcmp(now.uuid, r->index.info.uuid) == 0)
        return true;
    if (now.exists && !index_read_meta(r->servers.es, index, &meta, e))
        return false;
    r->index.replaced = now.exists && index_is_predecessor(&meta, r->index.info.uuid);
    if (r->index.replaced)
        return true;
    err_set(e, ERR_FINAL, "index '%s' was %s during the run", index,
            now.exists ? "replaced" : "deleted");
    return err_hint(e, now.exists ? "the next run loads everything into the present index"
                                  : "the next run creates it and loads everything");
}

/* ---- another index in its place ---- */

static bool read_new_index(struct run *r, struct err *e)
{
    struct index_meta meta;
    const char *index = r->user.pipeline.sink.index;
    if (!index_get_info(r->servers.es, index, &r->index.info, e))
        return false;
    if (!r->index.info.exists)
        return err_set(e, ERR_PASSING, "index '%s' has disappeared", index);
    if (!index_read_meta(r->servers.es, index, &meta, e))
        return false;
    run_adopt_meta(r, &meta);
    return true;
}

char *run_reindex_path(const char *state)
{
    char *path;
    return asprintf(&path, "%s.reindex", state) < 0 ? NULL : path;
}

/* Removes the state that a reindex has left; one that is still running removes its own. */
static bool remove_reindex_state(const char *path, struct err *e)
{
    struct err taken;
    struct state_file *s = state_file_open(path, &taken);
    bool ok = !s || state_file_remove(s, e);
    state_file_close(s);
    return ok;
}

bool run_adopt(struct run *r, struct err *e)
{
    struct state_data reindexed = {0};
    struct state_file *file = run_state_to_save(r);
    char *path = run_reindex_path(r->user.pipeline.state);
    bool ok = (path || err_memory(e)) && read_new_index(r, e) &&
              state_file_read(path, &reindexed, e) &&
              run_state_adopt(&r->state, &reindexed, r->index.info.uuid, e) && run_bind_state(r, e);
    if (ok && file)
        ok = state_file_save(file, &r->state.data, e) &&
             (reindexed.phase == STATE_NEW || remove_reindex_state(path, e));
    state_data_free(&reindexed);
    free(path);
    if (!ok)
        return false;
    r->index.replaced = r->index.is_new = false;
    atomic_store(&r->index.echo.warned, false);
    r->options.full = false; /* it has just been loaded */
    log_info_with(
        LOG_FIELDS(log_text("index", r->index.info.name)),
        "%s: index '%s' has taken the place of the one that was loaded: continuing with it",
        r->user.pipeline.name, r->index.info.name);
    return true;
}
