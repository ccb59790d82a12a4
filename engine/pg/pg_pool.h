/* pg_pool: idle connections to PostgreSQL, kept for their next use.
 *
 * Uses     pg.
 * Owns     its idle connections; the caller owns a connection between pg_acquire and pg_release.
 * Threads  each pool is one thread's: there is no lock.
 * Promise  an idle connection has no query and no transaction under way.
 *
 *     struct pg *pg = pg_acquire(&pool, e); // connects if no connection is idle
 *     if (!pg || !pg_query(pg, sql, 1, &id, &res, e)) ...
 *     pg_release(&pool, pg);
 */
#pragma once
#include "pg/pg.h"

struct pg_pool {              /* safe to zero */
    struct pg_server *server; /* borrowed */
    struct pg *idle;          /* owned: a list, the last released connection first */
};

void pg_pool_init(struct pg_pool *p, struct pg_server *server);
/* Closes the idle connections. Connections still acquired must be released or discarded before. */
void pg_pool_free(struct pg_pool *p);

/* Returns an idle connection, or opens a new one; the caller releases or discards it. NULL: e says
 * why. */
struct pg *pg_acquire(struct pg_pool *p, struct err *e);
/* Returns a connection to the pool. Closes it instead, and cancels what runs, if it is broken or in
 * the middle of a query or transaction. NULL is fine. */
void pg_release(struct pg_pool *p, struct pg *pg);
/* Closes a connection whose session settings have changed, so that nobody else gets it. NULL is
 * fine. */
void pg_discard(struct pg *pg);
