#include "pg/pg_pool.h"

#include "pg/pg_internal.h"

#include <assert.h>
#include <poll.h>

void pg_pool_init(struct pg_pool *p, struct pg_server *server)
{
    *p = (struct pg_pool){.server = server};
}

void pg_pool_free(struct pg_pool *p)
{
    while (p->idle) {
        struct pg *pg = p->idle;
        p->idle = pg->next;
        pg_close(pg);
    }
}

/* Nothing was requested on an idle connection: if there is something to read, the server has closed
 * the connection. */
static bool is_quiet(const struct pg *pg)
{
    struct pollfd fd = {.fd = PQsocket(pg->conn), .events = POLLIN};
    return poll(&fd, 1, 0) == 0;
}

struct pg *pg_acquire(struct pg_pool *p, struct err *e)
{
    while (p->idle) {
        struct pg *pg = p->idle;
        p->idle = pg->next;
        pg->next = NULL;
        assert(!pg->streaming && !pg->broken);
        if (is_quiet(pg))
            return pg;
        pg_close(pg);
    }
    return pg_open(p->server, e);
}

void pg_discard(struct pg *pg)
{
    if (pg)
        pg_close(pg);
}

void pg_release(struct pg_pool *p, struct pg *pg)
{
    if (!pg)
        return;
    if (pg->broken || pg->streaming || PQstatus(pg->conn) != CONNECTION_OK ||
        PQtransactionStatus(pg->conn) != PQTRANS_IDLE) {
        pg_close(pg);
        return;
    }
    PQclear(pg->row);
    pg->row = NULL;
    assert(!pg->next && pg->server == p->server);
    pg->next = p->idle;
    p->idle = pg;
}
