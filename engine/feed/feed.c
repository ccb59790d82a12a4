#include "feed/feed.h"

#include "pg/pg_pool.h"

#include <stdlib.h>

bool feed_next(struct feed *f, struct batch **out, struct err *e)
{
    *out = NULL;
    return f->next(f, out, e);
}

void feed_release_idle(struct feed *f)
{
    pg_pool_free(f->pool);
}

void feed_free(struct feed *f)
{
    if (f)
        f->free(f);
}
