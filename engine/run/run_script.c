#include "run/run_script.h"

#include "base/err.h"
#include "base/log.h"

/* lacking: see pipeline_read_dry. */
static bool read_script(struct run_script *s, const char *path, struct err *lacking, struct err *e)
{
    return script_text_read(&s->text, path, e) && (s->script = script_open(&s->text, e)) &&
           pipeline_read_dry(&s->pipeline, s->script, lacking, e) &&
           fingerprint_read(s->script, &s->pipeline, s->fingerprint, e);
}

bool run_open_script(struct run_script *s, const char *path, struct err *e)
{
    return read_script(s, path, NULL, e);
}

/* Nothing is written, so it may be unknown where to; yet whoever tries a script wants to know. */
bool run_open_script_dry(struct run_script *s, const char *path, struct err *e)
{
    struct err lacking;
    if (!read_script(s, path, &lacking, e))
        return false;
    if (lacking.kind != ERR_NONE)
        log_warn("%s: only a dry run does without it%s%s%s", lacking.text,
                 *lacking.hint ? " (hint: " : "", lacking.hint, *lacking.hint ? ")" : "");
    return true;
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
    bool any = p->sweep > 0 || p->source.cursor;
    for (size_t i = 0; i < p->source.n_related; i++)
        any |= p->source.related[i].cursor != NULL;
    if (any)
        return true;
    err_set(e, ERR_USAGE,
            "%s: option --follow would see no change: there is no cursor in source, and sweep is 0",
            p->script);
    return err_hint(e, "sweep = 60, beside name, compares every row each minute; source.cursor, "
                       "the column that says "
                       "when a row last changed, costs less");
}
