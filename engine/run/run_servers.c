#include "run/run_servers.h"

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "script/pipeline.h"

#include <stdlib.h>
#include <string.h>

/* An environment variable that is set, but empty, gives an empty url: easily overlooked. */
static void warn_empty_url(const struct run_servers *s, const struct pipeline *p)
{
    static const char *const variables[] = {"PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (*p->source.url || getenv(variables[i]))
            return;
    log_warn_with(LOG_FIELDS(LOG_PLACE(p->script, p->source.url_line)),
                  "%s:%d: field 'url' in source is empty: using database %s, libpq's default",
                  p->script, p->source.url_line, s->pg.label);
}

/* Several scripts may have such a field; a variable is the same for all. */
static bool name_script(const struct pipeline *p, struct err *e)
{
    return e->kind == ERR_USAGE && strstr(e->text, "sink.") ? pipeline_at_line(e, p, 0) : false;
}

bool run_open_servers(struct run_servers *s, const struct pipeline *p, bool postgres_alone,
                      struct err *e)
{
    if (!pg_server_init(&s->pg, p->source.url, e))
        return pipeline_at_line(e, p, p->source.url_line);
    if (!text_set(&s->pg.place, p->source.url_place))
        return err_memory(e);
    warn_empty_url(s, p);
    pg_pool_init(&s->pool, &s->pg);
    if (postgres_alone)
        return true;
    struct es_config config = {.url = p->sink.url, .compress = p->sink.compress};
    if (!es_server_init(&s->search, &config, e))
        return pipeline_at_line(e, p, p->sink.url_line);
    if (!es_server_secure(&s->search, &p->sink.security, e))
        return name_script(p, e);
    return (s->es = es_open(&s->search, e)) != NULL;
}

void run_close_servers(struct run_servers *s)
{
    es_close(s->es);
    pg_server_free(&s->pg);
    es_server_free(&s->search);
    *s = (struct run_servers){0};
}
