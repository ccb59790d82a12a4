#include "run/run_meta.h"

#include "base/err.h"
#include "base/log.h"
#include "flow/versions.h"
#include "run/run.h"

#include <stdio.h>
#include <string.h>

/* Zeroes the rest of it: metadata are compared as bytes. */
static void name_pipeline(struct index_meta *m, const struct pipeline *p)
{
    memset(m->pipeline, 0, sizeof m->pipeline);
    snprintf(m->pipeline, sizeof m->pipeline, "%s", p->name);
}

/* ---- of the index that is written to ---- */

void run_adopt_meta(struct run *r, const struct index_meta *found)
{
    struct index_meta *m = &r->index.meta;
    *m = r->index.saved_meta = *found;
    if (!found->known && !run_is_partial(r))
        run_set_meta_script(r, true);
    m->known = true;
    name_pipeline(m, &r->user.pipeline);
    if (found->version > r->state.data.version)
        r->state.data.version = found->version;
}

void run_save_meta(struct run *r)
{
    struct err e;
    struct index_meta *m = &r->index.meta;
    struct versions *versions = r->work.flow.versions;
    if (r->options.dry_run || r->index.meta_readonly)
        return;
    if (versions && versions_last(versions) > m->version)
        m->version = versions_last(versions);
    if (memcmp(m, &r->index.saved_meta, sizeof *m) == 0)
        return;
    if (index_write_meta(r->servers.es, r->index.info.name, r->user.pipeline.sink.mappings, m,
                         &e)) {
        r->index.saved_meta = *m;
    } else if (e.kind == ERR_FINAL) {
        r->index.meta_readonly = true;
        log_warn_with(
            LOG_FIELDS(LOG_ERR(&e)),
            "%s; continuing without it: the index will not show whether it was reindexed, or "
            "the script has changed",
            e.text);
    } else {
        log_debug_with(LOG_FIELDS(LOG_ERR(&e)), "%s", e.text);
    }
}

void run_set_meta_script(struct run *r, bool loaded)
{
    memcpy(r->index.meta.fingerprint, r->user.fingerprint,
           loaded ? FINGERPRINT_TEXT : FINGERPRINT_HALF);
}

/* ---- owners ---- */

bool run_refuse_owner(const struct run *r, const char *index, const char *owner, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    if (p->sink.multi_index && strcmp(index, r->index.info.name) != 0) {
        err_set(e, ERR_USAGE,
                "sink.indices '%s' of pipeline '%s' also matches index '%s', which belongs to "
                "pipeline '%s'",
                p->sink.indices, p->name, index, owner);
        return err_hint(e, "choose names that match no other pipeline's index; nothing was "
                           "deleted");
    }
    err_set(e, ERR_USAGE,
            "index '%s' belongs to pipeline '%s', not to '%s': each would delete the other's "
            "documents",
            index, owner, p->name);
    return err_hint(e,
                    "give each pipeline its own index: sink.index in %s; or, if '%s' was renamed: "
                    "etl-engine run %s --take-over",
                    p->script, owner, p->script);
}

static bool take_over(struct run *r, const char *index, const char *owner, struct err *e)
{
    struct index_meta m;
    const struct pipeline *p = &r->user.pipeline;
    if (!index_read_meta(r->servers.es, index, &m, e))
        return false;
    name_pipeline(&m, p);
    if (!index_write_meta(r->servers.es, index, p->sink.mappings, &m, e))
        return false;
    log_info_with(LOG_FIELDS(log_text("index", index)),
                  "%s: took over index '%s' from pipeline '%s'", p->name, index, owner);
    return true;
}

bool run_check_owner(struct run *r, bool may_take_over, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    struct index_owner owner;
    char before[INDEX_PIPELINE] = "";
    for (;;) {
        if (!index_find_owner(r->servers.es, p->sink.indices, p->name, &owner, e))
            return false;
        if (!owner.pipeline[0])
            return true;
        if (!may_take_over || (*before && strcmp(before, owner.pipeline) != 0))
            return run_refuse_owner(r, owner.index, owner.pipeline, e);
        memcpy(before, owner.pipeline, sizeof before);
        if (!take_over(r, owner.index, owner.pipeline, e))
            return false;
    }
}
