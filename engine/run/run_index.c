#include "run/run_index.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "flow/versions.h"
#include "run/run.h"
#include "run/run_state.h"
#include "store/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pipeline *pipeline_of(struct run *r)
{
    return &r->user.pipeline;
}

/* ---- the note ---- */

void run_save_meta(struct run *r)
{
    struct err e;
    if (r->options.dry_run || r->index.meta_readonly)
        return;
    if (r->work.flow.versions && versions_last(r->work.flow.versions) > r->index.meta.version)
        r->index.meta.version = versions_last(r->work.flow.versions);
    if (memcmp(&r->index.meta, &r->index.saved_meta, sizeof r->index.meta) == 0)
        return;
    if (index_write_meta(r->servers.es, r->index.info.name, pipeline_of(r)->sink.mappings,
                         &r->index.meta, &e)) {
        r->index.saved_meta = r->index.meta;
    } else if (e.kind == ERR_FINAL) {
        r->index.meta_readonly = true;
        log_warn(
            "%s; going on without: a reindex, or a changed script, cannot be told from the index",
            e.text);
    } else {
        log_debug("%s", e.text);
    }
}

void run_set_meta_script(struct run *r, bool loaded)
{
    memcpy(r->index.meta.fingerprint, r->user.fingerprint,
           loaded ? FINGERPRINT_TEXT : FINGERPRINT_HALF);
}

/* What the note is to say; an index without one is taken to hold what this script makes. */
static void adopt_meta(struct run *r, const struct index_meta *found)
{
    r->index.meta = r->index.saved_meta = *found;
    if (!found->known)
        run_set_meta_script(r, true);
    r->index.meta.known = true;
    memset(r->index.meta.pipeline, 0, sizeof r->index.meta.pipeline);
    snprintf(r->index.meta.pipeline, sizeof r->index.meta.pipeline, "%s", r->user.pipeline.name);
    if (found->version > r->state.data.version)
        r->state.data.version = found->version;
}

/* ---- looking ---- */

/* What the server refuses of a new index stands on a line of the script. */
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
    r->servers.met = r->servers.met || index_meet(r->servers.es, pipeline_of(r)->sink.index, e);
    return r->servers.met;
}

static bool create(struct run *r, struct err *e)
{
    const struct pipeline *p = pipeline_of(r);
    struct index_meta m = {.version = r->state.data.version};
    struct buf mappings;
    buf_init(&mappings, 64 << 20);
    snprintf(m.pipeline, sizeof m.pipeline, "%s", p->name);
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
        return err_set(e, ERR_PASSING, "index '%s' is gone again", p->sink.index);
    r->index.is_new = true;
    log_info("created index '%s'", p->sink.index);
    return true;
}

/* From now on its write index is meant, which alone is read, too. */
static bool use_write_index(struct run *r, struct err *e)
{
    struct pipeline *p = pipeline_of(r);
    log_info("'%s' is an alias of several indexes: '%s' is kept true, which it writes to",
             p->sink.index, r->index.info.name);
    free(r->index.alias);
    r->index.alias = strdup(p->sink.index);
    return r->index.alias ? pipeline_set_index(p, r->index.info.name, e) : err_memory(e);
}

static bool fit(struct run *r, const struct run_script *s, struct index_fit *found, struct err *e)
{
    const struct pipeline *p = &s->pipeline;
    if (!index_fit(r->servers.es, p->sink.index, p->sink.settings, p->sink.mappings, found, e)) {
        if (e->kind != ERR_USAGE)
            return false;
        pipeline_at_line(e, p, found->of_settings ? p->sink.settings_line : p->sink.mappings_line);
        return err_hint(
            e, "etl-engine reindex %s makes a new index, and puts it in the place of this one",
            s->text.path);
    }
    r->index.filtered = found->filtered;
    if (*found->lacks)
        log_warn("index '%s' was made by somebody else, and lacks what the script wants (%s); "
                 "going on with what "
                 "it has; 'etl-engine reindex %s' makes a new one",
                 r->index.info.name, found->lacks, s->text.path);
    if (found->added)
        log_info("added to the mapping of index '%s' what the script's mappings name beyond it",
                 r->index.info.name);
    return true;
}

const char *run_index_to_search(const struct run *r)
{
    const struct pipeline *p = &r->user.pipeline;
    return r->index.filtered && !p->sink.scattered ? r->index.info.name : p->sink.indices;
}

/* What a filter hides is ours, too: rows change, and then their documents pass it no more. Unless
 * somebody else has filled the index: nothing of theirs is for a sweep to delete. */
static bool check_filter(struct run *r, const struct index_meta *found, struct err *e)
{
    const struct pipeline *p = pipeline_of(r);
    int64_t all = 0, seen = 0;
    char n[PROGRESS_TEXT];
    if (!r->index.filtered)
        return true;
    if (!p->sink.scattered && !found->known &&
        !(index_count(r->servers.es, r->index.info.name, &all, e) &&
          index_count(r->servers.es, p->sink.index, &seen, e)))
        return false;
    if (!p->sink.scattered && all <= seen) {
        log_info("'%s' is an alias with a filter: all of index '%s' is kept true, what the filter "
                 "hides, too",
                 p->sink.index, r->index.info.name);
        return true;
    }
    if (p->sink.scattered)
        err_set(e, ERR_USAGE,
                "'%s' is an alias with a filter, which hides documents that have to be found "
                "(sink.indices)",
                p->sink.index);
    else
        err_set(e, ERR_USAGE,
                "'%s' is an alias with a filter, which hides %s of index '%s' that this script did "
                "not make: "
                "a sweep "
                "would delete what has no row",
                p->sink.index, progress_count((uint64_t)(all - seen), "document", n),
                r->index.info.name);
    pipeline_at_line(e, p, p->sink.index_line);
    return err_hint(e, "index = \"%s\" names all of it", r->index.info.name);
}

/* ---- whose it is ---- */

bool run_refuse_owner(const struct run *r, const char *index, const char *owner, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    if (p->sink.scattered && strcmp(index, r->index.info.name) != 0) {
        err_set(
            e, ERR_USAGE,
            "sink.indices '%s' of pipeline '%s' names index '%s', too, which pipeline '%s' keeps",
            p->sink.indices, p->name, index, owner);
        return err_hint(
            e, "choose names that no other pipeline's indexes have: nothing in them was deleted");
    }
    err_set(
        e, ERR_USAGE,
        "index '%s' is kept by pipeline '%s', not by '%s': each would delete the other's documents",
        index, owner, p->name);
    return err_hint(e,
                    "give each pipeline an index of its own: sink.index in %s; or, if '%s' has "
                    "been renamed: etl-engine "
                    "run %s --take-over",
                    p->script, owner, p->script);
}

/* The note says from now on that it is ours; whoever keeps it under its former name is told so. */
static bool take_over(struct run *r, const char *index, const char *owner, struct err *e)
{
    struct index_meta m;
    const struct pipeline *p = pipeline_of(r);
    if (!index_read_meta(r->servers.es, index, &m, e))
        return false;
    memset(m.pipeline, 0, sizeof m.pipeline);
    snprintf(m.pipeline, sizeof m.pipeline, "%s", p->name);
    if (!index_write_meta(r->servers.es, index, p->sink.mappings, &m, e))
        return false;
    log_info("%s: took over index '%s' from pipeline '%s'", p->name, index, owner);
    return true;
}

/* Of all that the pipeline may write to, or delete in. What is taken over was one pipeline's. */
static bool check_owner(struct run *r, bool may_take_over, struct err *e)
{
    const struct pipeline *p = pipeline_of(r);
    char index[INDEX_NAME], owner[INDEX_PIPELINE], former[INDEX_PIPELINE] = "";
    for (;;) {
        if (!index_find_owner(r->servers.es, p->sink.indices, p->name, index, owner, e))
            return false;
        if (!*owner)
            return true;
        if (!may_take_over || (*former && strcmp(former, owner) != 0))
            return run_refuse_owner(r, index, owner, e);
        memcpy(former, owner, sizeof former);
        if (!take_over(r, index, owner, e))
            return false;
    }
}

/* One entry of source.related: an index_field that is not there finds no document, ever. */
static bool check_field(struct run *r, const struct pipeline *p, size_t i, bool loaded,
                        struct err *e)
{
    const struct pipeline_related *related = &p->source.related[i];
    const char *field = related->index_field;
    struct index_field f;
    if (!index_look_at_field(r->servers.es, r->index.info.name, field, &f, e))
        return false;
    if (f.there && !f.analysed)
        return true;
    char place[60], known[300] = "";
    snprintf(place, sizeof place, "source.related[%zu].index_field", i + 1);
    if (*f.known)
        snprintf(known, sizeof known, f.near ? ", did you mean '%s'?" : "; what there is: %s",
                 f.known);
    if (f.may_come && (p->sink.scattered || !loaded)) /* the first document may bring it */
        return true;
    if (f.may_come) {
        log_warn("%s:%d: %s: index '%s' has no field '%s' so far%s", p->script,
                 related->index_field_line, place, r->index.info.name, field, known);
        return true;
    }
    if (f.analysed)
        err_set(e, ERR_USAGE,
                "cannot use %s: '%s' is analysed text in index '%s', without a sub-field of type "
                "keyword",
                place, field, r->index.info.name);
    else
        err_set(e, ERR_USAGE,
                "cannot use %s: index '%s' has no field '%s', and takes no new ones there%s", place,
                r->index.info.name, field, known);
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

bool run_open_index(struct run *r, struct err *e)
{
    struct index_fit found;
    if (!run_check_search(r, e) ||
        !index_get_info(r->servers.es, pipeline_of(r)->sink.index, &r->index.info, e) ||
        (r->index.info.several && !use_write_index(r, e)) ||
        !check_owner(r, r->options.take_over, e) || (!r->index.info.exists && !create(r, e)) ||
        !fit(r, &r->user, &found, e) || !check_filter(r, &found.meta, e) ||
        !run_check_fields(r, &r->user, !r->index.is_new && r->state.data.phase == STATE_FOLLOWING,
                          e))
        return false;
    r->index.meta_readonly = *found.lacks;
    adopt_meta(r, &found.meta);
    bool moved = r->state.data.index_uuid &&
                 strcmp(r->state.data.index_uuid, r->index.info.uuid) != 0 &&
                 index_is_predecessor(&r->index.meta, r->state.data.index_uuid);
    return !moved || run_adopt(r, e);
}

bool run_fit_index(struct run *r, struct run_script *fresh, struct err *e)
{
    struct index_fit ignored;
    struct pipeline *p = &fresh->pipeline;
    bool same = r->index.alias && strcmp(r->index.alias, p->sink.index) == 0;
    return (!same || pipeline_set_index(p, pipeline_of(r)->sink.index, e)) &&
           fit(r, fresh, &ignored, e) && run_check_fields(r, fresh, true, e);
}

/* Somebody may have deleted the index meanwhile; the next bulk request then made another one, that
 * lacks what came before. */
bool run_check_index(struct run *r, struct err *e)
{
    struct index_info now;
    struct index_meta meta;
    const char *index = pipeline_of(r)->sink.index;
    r->index.replaced = false;
    if (!index_get_info(r->servers.es, index, &now, e))
        return false;
    if (now.exists && !check_owner(r, false, e))
        return false;
    if (now.exists && strcmp(now.uuid, r->index.info.uuid) == 0)
        return true;
    if (now.exists && !index_read_meta(r->servers.es, index, &meta, e))
        return false;
    r->index.replaced = now.exists && index_is_predecessor(&meta, r->index.info.uuid);
    if (r->index.replaced)
        return true;
    err_set(e, ERR_FINAL, "index '%s' was deleted or replaced meanwhile", index);
    return err_hint(e, "run again: everything will be loaded into the one that is there then");
}

/* ---- another index in its place ---- */

static bool read_new_index(struct run *r, struct err *e)
{
    struct index_meta meta;
    const char *index = pipeline_of(r)->sink.index;
    if (!index_get_info(r->servers.es, index, &r->index.info, e))
        return false;
    if (!r->index.info.exists)
        return err_set(e, ERR_PASSING, "index '%s' is gone again", index);
    if (!index_read_meta(r->servers.es, index, &meta, e))
        return false;
    adopt_meta(r, &meta);
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
    char *path = run_reindex_path(pipeline_of(r)->state);
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
    atomic_store(&r->index.echo.told, false);
    r->options.full = false; /* it has just been loaded */
    log_info("%s: index '%s' has taken the place of the one that was loaded: continuing with it",
             pipeline_of(r)->name, r->index.info.name);
    return true;
}
