/* check_ingest: the ingest pipelines that the index sends documents through. */
#include "ask/check_internal.h"
#include "es/es.h"
#include "index/ingest.h"

static const char *const settings[] = {"index.default_pipeline", "index.final_pipeline"};
enum { SETTINGS = sizeof settings / sizeof *settings };

struct looking {
    struct check *c;
    bool told[SETTINGS];
};

static void tell_moves(struct check *c, const struct ingest_finding *f)
{
    check_add(c, CHECK_WARNING, "ingest_pipeline", c->user.pipeline.sink.index_line,
              "ingest pipeline '%s' (%s of index '%s') sets %s: a run stops at the first document "
              "that it changes",
              f->name, settings[f->which], c->index.name, f->sets);
    check_remedy(c, "remove that from the pipeline: document() chooses index and routing");
}

static void hear(const struct ingest_finding *f, void *arg)
{
    struct looking *l = arg;
    struct check *c = l->c;
    int line = c->user.pipeline.sink.index_line;
    l->told[f->which] |= f->missing || f->drops || *f->sets;
    if (f->missing) {
        check_add(c, CHECK_ERROR, "ingest_pipeline", line,
                  "ingest pipeline '%s' does not exist (%s of index '%s')", f->name,
                  settings[f->which], c->index.name);
        check_remedy(c, "create it: PUT /_ingest/pipeline/%s", f->name);
    }
    if (*f->sets)
        tell_moves(c, f);
    if (f->drops) {
        check_add(c, CHECK_WARNING, "ingest_pipeline", line,
                  "ingest pipeline '%s' (%s of index '%s') may drop documents: the index then "
                  "keeps an older one, or none",
                  f->name, settings[f->which], c->index.name);
        check_remedy(c, "return nil from document() instead");
    }
}

static void tell_harmless(struct check *c, const char *setting, const char *name)
{
    check_add(c, CHECK_NOTE, "ingest_pipeline", c->user.pipeline.sink.index_line,
              "ingest pipeline '%s' (%s of index '%s'): if it changes documents, each sweep "
              "writes them again",
              name, setting, c->index.name);
    check_remedy(c, "let the query or document() do what the pipeline does");
}

static void tell_unread(struct check *c, const struct err *e)
{
    check_add(c, CHECK_NOTE, "ingest_pipeline", c->user.pipeline.sink.index_line,
              "the ingest pipelines of index '%s' cannot be checked: %s", c->index.name, e->text);
    if (*e->hint)
        check_remedy(c, "%s", e->hint);
}

void check_ingest(struct check *c)
{
    struct index_ingest s;
    struct err e;
    struct looking l = {.c = c};
    if (!index_get_ingest(c->servers.es, c->index.name, &s, &e)) {
        check_add_err(c, "ingest_pipeline", c->user.pipeline.sink.index_line, &e);
        return;
    }
    const struct ingest_asked asked = {{s.first, s.last}, hear, &l};
    if (!ingest_look(c->servers.es, &asked, &e)) {
        tell_unread(c, &e);
        return;
    }
    for (size_t i = 0; i < SETTINGS; i++)
        if (*asked.names[i] && !l.told[i])
            tell_harmless(c, settings[i], asked.names[i]);
}
