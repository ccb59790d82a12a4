#include "feed/feed.h"

#include "pg/pg_pool.h"

bool feed_next(struct feed *f, struct batch **out, struct err *e)
{
    *out = NULL;
    return f->next(f, out, e);
}

void feed_again(struct feed *f)
{
    if (f->again)
        f->again(f);
}

const struct source_report *feed_report(const struct feed *f)
{
    return f->report ? f->report(f) : NULL;
}

void feed_release_idle(struct feed *f)
{
    pg_pool_rest(f->origin.pool);
}

void feed_free(struct feed *f)
{
    if (f)
        f->free(f);
}
