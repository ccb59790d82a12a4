/* feed_poll: the keys of rows that changed since a position, in pages ordered by (cursor, key).
 *
 * It ends at the place of what was the last row when it began, so that a table under constant change cannot
 * keep it busy for ever. A page that reaches past the horizon is delivered, but its position stays at the
 * horizon: those rows are read again next time, together with any that commit late among them.
 */
#include "err.h"
#include "feed.h"
#include "pg.h"
#include "queue.h"
#include "source.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 1000 }; /* keys; batches of 250 to 4,000 cost the same (measured) */

struct poll {
    struct feed feed; /* first */
    struct position from, limit, horizon;
    bool finished;
};

static bool fill(struct poll *p, struct batch *b, const PGresult *page)
{
    int last = PQntuples(page) - 1;
    for (int i = 0; i <= last; i++)
        if (!batch_add_key(b, PQgetvalue(page, i, 0)))
            return false;
    struct position end = {.cursor = PQgetvalue(page, last, 1),
                           .key = PQgetvalue(page, last, 0),
                           .has_us = !PQgetisnull(page, last, 2),
                           .us = strtoll(PQgetvalue(page, last, 2), NULL, 10)};
    bool below = PQgetvalue(page, last, 3)[0] == 't';
    return position_copy(&p->from, &end) && position_copy(&b->done, below ? &end : &p->horizon);
}

static bool read_page(struct poll *p, PGresult **page, struct err *e)
{
    struct pg *pg = pg_take(p->feed.pool, e);
    bool ok = pg && source_page(p->feed.source, pg, &p->from, &p->limit, &p->horizon, PAGE, page, e);
    pg_give(p->feed.pool, pg);
    return ok;
}

static bool poll_next(struct feed *f, struct batch **out, struct err *e)
{
    struct poll *p = (struct poll *)f;
    PGresult *page = NULL;
    if (p->finished)
        return true;
    if (!read_page(p, &page, e))
        return false;
    int n = PQntuples(page);
    bool ok = true;
    if (n > 0) {
        *out = calloc(1, sizeof **out);
        ok = *out && fill(p, *out, page);
    }
    p->finished = n < PAGE;
    PQclear(page);
    if (ok)
        return true;
    batch_free(*out);
    *out = NULL;
    return err_memory(e);
}

static void poll_free(struct feed *f)
{
    struct poll *p = (struct poll *)f;
    position_free(&p->from);
    position_free(&p->limit);
    position_free(&p->horizon);
    free(p);
}

struct feed *feed_poll(const struct source *source, struct pg_pool *pool, const struct position *from,
                       const struct position *limit, const struct position *horizon, struct err *e)
{
    struct poll *p = calloc(1, sizeof *p);
    if (!p) {
        err_memory(e);
        return NULL;
    }
    p->feed = (struct feed){poll_next, poll_free, source, pool};
    p->finished = !limit->cursor; /* no row has a cursor */
    if (position_copy(&p->from, from) && position_copy(&p->limit, limit) &&
        position_copy(&p->horizon, horizon))
        return &p->feed;
    poll_free(&p->feed);
    err_memory(e);
    return NULL;
}
