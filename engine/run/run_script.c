#include "run/run_script.h"

#include "base/err.h"
#include "base/log.h"
#include "pg/pg_pool.h"

static bool read_text(struct run_script *s, const char *path, struct err *e)
{
    return script_text_read(&s->text, path, e) && script_choose(&s->text, e);
}

/* missing: see pipeline_read_dry. */
static bool read_pipeline(struct run_script *s, struct err *missing, struct err *e)
{
    return s->script && pipeline_read_dry(&s->pipeline, s->script, missing, e) &&
           fingerprint_read(s->script, &s->pipeline, s->fingerprint, e);
}

static bool read_script(struct run_script *s, const char *path, struct err *missing, struct err *e)
{
    s->script = read_text(s, path, e) ? script_open(&s->text, e) : NULL;
    return read_pipeline(s, missing, e);
}

bool run_open_script(struct run_script *s, const char *path, struct err *e)
{
    return read_script(s, path, NULL, e);
}

bool run_look_at_script(struct run_script *s, const char *path, struct err *e)
{
    s->script = read_text(s, path, e) ? script_open_again(&s->text, e) : NULL;
    return read_pipeline(s, NULL, e);
}

bool run_open_script_dry(struct run_script *s, const char *path, struct err *e)
{
    struct err missing;
    if (!read_script(s, path, &missing, e))
        return false;
    if (missing.kind != ERR_NONE)
        log_warn_with(LOG_FIELDS(LOG_ERR(&missing)), "%s: only a dry run works without it",
                      missing.text);
    return true;
}

static bool estimate_rows(const struct source *s, struct pg *pg, int64_t *expected, struct err *e)
{
    struct source_reader root = source_reader(s, 0, pg);
    return source_estimate(&root, expected, e);
}

bool run_bind_script(struct run_script *s, struct pg_pool *pool, int64_t *expected, struct err *e)
{
    struct pg *pg = pg_acquire(pool, e);
    *expected = 0;
    bool ok = pg && source_open(&s->source, &s->pipeline, pg, e) &&
              script_check(s->script, &s->source.columns, e) &&
              estimate_rows(&s->source, pg, expected, e) && source_warn(&s->source, pg, e);
    pg_release(pool, pg);
    if (!ok)
        source_free(&s->source); /* a retry begins with an empty one */
    return ok;
}

void run_close_script(struct run_script *s)
{
    source_free(&s->source);
    script_close(s->script);
    pipeline_free(&s->pipeline);
    script_text_free(&s->text);
    *s = (struct run_script){0};
}

bool run_can_follow(const struct pipeline *p, struct err *e)
{
    bool any = p->sweep > 0 || p->source.cursor || p->source.wal;
    for (size_t i = 0; i < p->source.n_related; i++)
        any |= p->source.related[i].cursor != NULL;
    if (any)
        return true;
    err_set(e, ERR_USAGE,
            "%s: option --follow would see no change: source has no cursor, and sweep is 0",
            p->script);
    return err_hint(e, "sweep = 60 compares every row each minute; source.cursor, the column that "
                       "says when a row last changed, costs less");
}
