/* check_index: the search server: whether it answers, whose the index is, and whether it fits the
 * script. */
#include "ask/check_internal.h"
#include "base/stop.h"
#include "es/es.h"
#include "es/es_product.h"
#include "index/index_alias.h"

#include <stdio.h>
#include <string.h>

enum { LEAST_GC_DELETES_MS = 10 * 60 * 1000 };

static bool reach(struct check *c)
{
    struct err e;
    const struct pipeline *p = &c->user.pipeline;
    if (index_meet(c->servers.es, p->sink.index, &e) && es_product_check(c->servers.es, &e) &&
        index_get_info(c->servers.es, p->sink.index, &c->index, &e))
        return true;
    char variable[100];
    check_add_err(c, "search", p->sink.url_line, &e);
    if (pipeline_variable(&c->user.text, p->sink.url_line, variable, sizeof variable))
        check_remedy(c, "sink.url comes from the variable %s", variable);
    else
        check_remedy(c, "url = \"http://user:password@host:9200\" in sink");
    return false;
}

static void check_owner(struct check *c)
{
    struct index_owner owner;
    struct err e;
    const struct pipeline *p = &c->user.pipeline;
    if (!index_find_owner(c->servers.es, p->sink.indices, p->name, &owner, &e)) {
        check_add_err(c, "owner", p->sink.index_line, &e);
    } else if (*owner.pipeline) {
        check_add(c, CHECK_ERROR, "index_owner", p->sink.index_line,
                  "index '%s' belongs to pipeline '%s'", owner.index, owner.pipeline);
        check_remedy(c,
                     "another sink.index; or, if '%s' was renamed to '%s': etl-engine %s "
                     "--take-over",
                     owner.pipeline, p->name, c->path);
    }
}

/* ---- an index that is to be created ---- */

static void check_new(struct check *c)
{
    struct err e;
    const struct pipeline *p = &c->user.pipeline;
    if (check_has(c, "field_type", "")) /* the server would say the same, less clearly */
        return;
    if (index_simulate(c->servers.es, p->sink.settings, p->sink.mappings, &e))
        return;
    if (e.kind != ERR_USAGE) {
        check_add_err(c, "search", p->sink.url_line, &e);
        return;
    }
    bool of_mappings = p->sink.mappings && strstr(e.text, "mapping");
    check_add(c, CHECK_ERROR, "create_index",
              of_mappings || !p->sink.settings ? p->sink.mappings_line : p->sink.settings_line,
              "the search server would not create index '%s': %s", p->sink.index, e.text);
    check_remedy(c, "correct sink.%s", of_mappings || !p->sink.settings ? "mappings" : "settings");
}

/* ---- an index that exists ---- */

static void check_fit(struct check *c)
{
    struct index_fit fit;
    struct err e;
    const struct pipeline *p = &c->user.pipeline;
    if (!index_compare(c->servers.es, p->sink.index, p->sink.settings, p->sink.mappings, &fit,
                       &e)) {
        check_add_err(c, "index", p->sink.index_line, &e);
        return;
    }
    int line = fit.of_settings ? p->sink.settings_line : p->sink.mappings_line;
    if (*fit.lacks && fit.meta.known) {
        check_add(c, CHECK_ERROR, "index_differs", line, "index '%s' does not fit: %s",
                  c->index.name, fit.lacks);
        check_remedy(c, "etl-engine reindex %s", c->path);
    } else if (*fit.lacks) {
        check_add(c, CHECK_WARNING, "index_differs", line,
                  "index '%s' was not created by etl-engine and differs from the script: %s",
                  c->index.name, fit.lacks);
        check_remedy(c, "etl-engine reindex %s, or adapt the script", c->path);
    } else if (fit.meta.known && *fit.meta.fingerprint && *c->user.fingerprint &&
               strcmp(fit.meta.fingerprint, c->user.fingerprint) != 0) {
        check_add(c, CHECK_NOTE, "script_changed", p->sink.index_line,
                  "the script has changed since index '%s' was loaded: documents stay as they are "
                  "until their rows change",
                  c->index.name);
        check_remedy(c, "etl-engine %s --full, or etl-engine reindex %s", c->path, c->path);
    }
    if (fit.needs_routing && !p->sink.multi_index) {
        check_add(c, CHECK_ERROR, "routing", p->sink.index_line,
                  "index '%s' requires a routing for each document (_routing.required in its "
                  "mapping), and this script chooses none",
                  c->index.name);
        check_remedy(c, INDEX_ROUTING_HINT);
    }
    if (fit.filtered) {
        check_add(c, p->sink.multi_index ? CHECK_ERROR : CHECK_NOTE, "filter", p->sink.index_line,
                  "'%s' is an alias with a filter: all of index '%s' is kept in sync, also what "
                  "the filter hides",
                  p->sink.index, c->index.name);
        check_remedy(c, "index = \"%s\"", c->index.name);
    }
}

static void check_deletes(struct check *c)
{
    if (c->index.gc_deletes_ms >= LEAST_GC_DELETES_MS)
        return;
    check_add(c, CHECK_WARNING, "gc_deletes", c->user.pipeline.sink.index_line,
              "index '%s' forgets deleted documents after %lld s: a slow request may restore one",
              c->index.name, (long long)(c->index.gc_deletes_ms / 1000));
    check_remedy(c, "PUT /%s/_settings {\"index.gc_deletes\": \"1h\"}", c->index.name);
}

static void check_field(struct check *c, const struct pipeline_related *r)
{
    struct index_field f;
    struct err e;
    if (!index_get_field(c->servers.es, c->index.name, r->index_field, &f, &e)) {
        check_add_err(c, "index_field", r->index_field_line, &e);
    } else if (f.exists && f.analysed) {
        check_add(c, CHECK_ERROR, "index_field", r->index_field_line,
                  "index_field '%s' is analysed text in index '%s': no key is found in it",
                  r->index_field, c->index.name);
        check_remedy(c, "a field of type keyword, or a sub-field of it");
    } else if (!f.exists && !f.may_come && !check_has(c, "index_field", "index_field")) {
        check_add(c, CHECK_ERROR, "index_field", r->index_field_line,
                  "index '%s' has no field '%s' for index_field", c->index.name, r->index_field);
        if (*f.known)
            check_remedy(c, "%s%s", f.is_near ? "did you mean " : "known fields: ", f.known);
    }
}

/* What another name leads to: a run would find out with its first document. */
static void check_target(struct check *c)
{
    struct err e;
    bool writable;
    const struct pipeline *p = &c->user.pipeline;
    if (strcmp(c->index.name, p->sink.index) == 0)
        return;
    if (strncmp(c->index.name, ".ds-", 4) == 0) {
        check_add(c, CHECK_ERROR, "data_stream", p->sink.index_line,
                  "'%s' is a data stream, whose documents cannot be replaced", p->sink.index);
        check_remedy(c, "index = \"...\" in sink, the name of an index");
    } else if (!index_is_writable(c->servers.es, p->sink.index, &writable, &e)) {
        check_add_err(c, "search", p->sink.url_line, &e);
    } else if (!writable) {
        check_add(c, CHECK_ERROR, "write_index", p->sink.index_line,
                  "'%s' is an alias through which nothing can be written: is_write_index of "
                  "index '%s' is false",
                  p->sink.index, c->index.name);
        check_remedy(c, "set is_write_index on one index of the alias");
    }
}

static void check_existing(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    check_target(c);
    check_blocks(c);
    check_fit(c);
    check_deletes(c);
    check_ingest(c);
    for (size_t i = 0; i < p->source.n_related && !stop_asked(); i++)
        if (p->source.related[i].index_field)
            check_field(c, &p->source.related[i]);
}

void check_index(struct check *c)
{
    c->search = reach(c);
    if (!c->search)
        return;
    check_privileges(c);
    check_owner(c);
    if (c->index.exists)
        check_existing(c);
    else
        check_new(c);
}
