#include "flow/worker_document.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/keyset.h"
#include "base/log.h"
#include "flow/worker.h"
#include "index/index.h"
#include "script/pipeline.h"
#include "source/source.h"

#include <stdio.h>

enum {
    KNOWN_MAX = 1 << 20, /* bytes: some thousand names of indexes */
    KNOWN_SHARE = 20,    /* how many times as long as asking for them took they are known */
};

static void count_made(struct worker *w, bool present)
{
    w->made += present;
    w->attempt.printed.indexed += present;
    w->attempt.printed.deleted += !present;
}

bool worker_add_delete(struct worker *w, const char *key, struct err *e)
{
    count_made(w, false);
    bool indexes = w->config->output == WORKER_INDEX || w->config->output == WORKER_COMPARE;
    if (indexes && worker_searches(w)) {
        stale_copies_add(&w->gone, key);
        return true;
    }
    return w->config->output == WORKER_DOCUMENTS ||
           bulk_delete(w->bulk, key, w->attempt.version, e);
}

/* ---- documents that choose their index ---- */

/* Its _meta names this pipeline, so that no other one takes it for its own. */
static bool create_index(struct worker *w, const char *index, struct err *e)
{
    const struct pipeline *p = w->config->pipeline;
    struct index_meta m = {0};
    struct buf mappings;
    buf_init(&mappings, 64 << 20);
    snprintf(m.pipeline, sizeof m.pipeline, "%s", p->name);
    bool ok = index_add_meta(&mappings, p->sink.mappings, &m, e) &&
              (buf_cstr(&mappings) || err_memory(e)) &&
              index_create(w->es, index, p->sink.settings, buf_cstr(&mappings), e);
    buf_free(&mappings);
    if (ok)
        log_info_with(LOG_FIELDS(log_text("index", index)), "created index '%s'", index);
    return ok;
}

void worker_forget_indexes(struct worker *w)
{
    keyset_free(w->known);
    w->known = NULL;
}

/* Somebody may delete an index, and a bulk request would make another one, with a mapping that the
 * server guesses: so it is asked for again, like sink.index (index/presence.h). */
static bool open_known(struct worker *w)
{
    int64_t now = clock_mono_us();
    if (w->known && now - w->known_since_us < w->known_asked_us * KNOWN_SHARE)
        return true;
    worker_forget_indexes(w);
    w->known = keyset_new(KNOWN_MAX);
    w->known_since_us = now;
    w->known_asked_us = 0;
    return w->known;
}

static bool find_or_create(struct worker *w, const char *index, struct err *e)
{
    struct index_info info;
    int64_t began_us = clock_mono_us();
    bool ok = index_get_info(w->es, index, &info, e) && (info.exists || create_index(w, index, e));
    w->known_asked_us += clock_mono_us() - began_us;
    return ok;
}

/* Creates the index that a document names, like sink.index, if it does not exist. */
static bool ensure_index(struct worker *w, const char *index, struct err *e)
{
    if (w->config->output != WORKER_INDEX)
        return true;
    if (!open_known(w))
        return err_memory(e);
    if (keyset_has(w->known, index))
        return true;
    if (!find_or_create(w, index, e))
        return false;
    keyset_put(w->known, index, NULL, 0); /* without room, it is asked for again */
    return true;
}

/* Puts the open item where document() says. */
static bool set_location(struct worker *w, struct err *e)
{
    const struct pipeline *p = w->config->pipeline;
    const struct script_made *m = &w->doc;
    if ((m->index[0] || m->routing[0]) && !p->sink.multi_index)
        return err_set(e, ERR_FINAL,
                       "document() returned %s, but sink.indices is not set; set indices = "
                       "\"%s\", so that such documents are found later",
                       m->index[0] ? "an index" : "a routing",
                       m->index[0] ? "NAME-*" : p->sink.index);
    if (m->index[0] && !pipeline_has_index(p, m->index))
        return err_set(e, ERR_FINAL,
                       "document() returned index '%s', which does not match sink.indices (%s)",
                       m->index, p->sink.indices);
    if (m->index[0] && !ensure_index(w, m->index, e))
        return false;
    if (w->config->output != WORKER_DOCUMENTS && (m->index[0] || m->routing[0] || m->pipeline[0]))
        bulk_set_location(w->bulk, m->index, m->routing, m->pipeline);
    return true;
}

/* ---- one document ---- */

bool worker_add_document(struct worker *w, const PGresult *row, const char *key, struct err *e)
{
    bool print = w->config->output == WORKER_DOCUMENTS;
    if (!print)
        bulk_begin(w->bulk, key, w->attempt.version);
    struct buf *out = print ? &w->output : bulk_body(w->bulk);
    size_t before = out->len;
    struct script_row from = {&w->config->source->columns, row, 0, key};
    bool ok = script_document(w->script, &from, out, &w->doc, e);
    bool present = w->doc.present;
    ok = ok && (!present || set_location(w, e));
    if (ok && present && print)
        ok = buf_addc(out, '\n') || err_memory(e);
    else if (ok && present)
        ok = bulk_commit(w->bulk, e);
    else if (print)
        buf_cut(out, before);
    else
        bulk_abort(w->bulk);
    w->attempt.nothing += ok && w->doc.nothing;
    if (ok && present) {
        if (w->made == 0)
            atomic_store(&w->shared->gave_documents, true);
        count_made(w, true);
        w->attempt.took.bytes += out->len - before;
    }
    return ok && (present || worker_add_delete(w, key, e));
}
