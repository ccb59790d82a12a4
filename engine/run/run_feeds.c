#include "run/run_feeds.h"

#include "base/err.h"
#include "base/retry.h"
#include "feed/feed.h"
#include "run/run.h"
#include "run/run_capture.h"
#include "run/run_state.h"
#include "run/run_warn.h"
#include "store/quiesce.h"

#include <stdlib.h>

struct start_query {
    struct run *run;
    size_t table;
    struct feed_poll_start *start;
};

static bool read_poll_start(void *arg, struct err *e)
{
    struct start_query *q = arg;
    struct run *r = q->run;
    struct feed_origin origin = run_feed_origin(r);
    return feed_poll_start_read(&origin, q->table, q->start, e);
}

static struct feed *open_poll(struct run *r, size_t table, bool to_the_limit, struct err *e)
{
    struct feed_poll_start start = {0};
    struct feed *f = NULL;
    struct start_query q = {r, table, &start};
    if (retry_until(r->servers.give_up_after, read_poll_start, &q, e) &&
        run_bind_server(r, start.server, e)) {
        if (table == 0 && to_the_limit) /* run_follow warns of it regularly */
            run_warn_horizon(&r->user, &start.report);
        struct feed_origin origin = run_feed_origin(r);
        f = feed_poll(&origin, &start, &r->state.data.tables[table].checkpoint, to_the_limit, e);
    }
    feed_poll_start_free(&start);
    return f;
}

bool run_feeds_open(struct run_feeds *f, struct run *r, bool to_the_limit, struct err *e)
{
    const struct source *s = &r->user.source;
    *f = (struct run_feeds){.list = calloc(s->n_tables, sizeof *f->list), .n = s->n_tables};
    if (!f->list)
        return err_memory(e);
    if (r->capture)
        run_capture_feeds(r);
    for (size_t i = 0; i < f->n; i++) {
        if (!s->tables[i].cursor)
            continue;
        f->list[i] = open_poll(r, i, to_the_limit, e);
        if (!f->list[i])
            return false;
        coordinator_set_feed(&r->work.coordinator, i, f->list[i]);
        if (r->options.dry_run && !coordinator_drain(&r->work.coordinator, e))
            return false;
    }
    return true;
}

void run_feeds_poll_again(struct run_feeds *f, struct run *r)
{
    struct coordinator *c = &r->work.coordinator;
    bool awaited = quiesce_is_awaited(r->state.file);
    if (r->capture)
        run_capture_again(r);
    for (size_t i = 0; i < f->n; i++) {
        if (!f->list[i] || !coordinator_is_over(c, i))
            continue;
        f->list[i]->eager = awaited;
        feed_again(f->list[i]);
        coordinator_set_feed(c, i, f->list[i]);
    }
}

const struct source_report *run_feeds_report(const struct run_feeds *f)
{
    const struct source_report *report = NULL;
    for (size_t i = 0; i < f->n && !report; i++)
        report = f->list[i] ? feed_report(f->list[i]) : NULL;
    return report;
}

unsigned run_feeds_moved(const struct run_feeds *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i])
            return f->list[i]->moved;
    return 0;
}

void run_feeds_close(struct run_feeds *f, struct run *r)
{
    coordinator_clear(&r->work.coordinator);
    for (size_t i = 0; f->list && i < f->n; i++)
        feed_free(f->list[i]);
    free(f->list);
    *f = (struct run_feeds){0};
}
