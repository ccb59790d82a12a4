/* pg_pool: connections to PostgreSQL, shared by all pipelines of the process that have the same
 * URL.
 *
 * Uses     pg, pg_turns, stop.
 * Owns     the idle connections; the caller owns a connection between pg_acquire and pg_release.
 * Threads  each pool is one thread's, which releases what it has acquired: how many it has decides
 *          whether it may wait for another one. What the pools share, the idle connections and the
 *          turns, has a lock of its own.
 * Promise  an idle connection has no query and no transaction under way. A process has no more
 *          connections to a database than pg_pool_set_most says, and no more than the server
 *          allows its user; who wants one then waits for his turn, as pg_turns.h says. A connection
 *          that a script has used works for that pipeline alone: what a script leaves in its
 *          session, no other one finds there.
 *
 *     struct pg *pg = pg_acquire(&pool, e); // connects if no connection is idle
 *     if (!pg || !pg_query(pg, sql, 1, &id, &res, e)) ...
 *     pg_release(&pool, pg);
 */
#pragma once
#include "pg/pg.h"

struct pg_pool {              /* safe to zero */
    struct pg_server *server; /* borrowed */
    bool takes_long;          /* what the next connection is wanted for: see pg_turns.h */
    bool (*over)(void *arg);  /* true: nobody wants the connection any more; NULL: never */
    void *arg;                /* borrowed */
};

/* How many connections to a database the process has at most; unless it is called, any number. For
 * servers that are not initialised yet. */
void pg_pool_set_most(int connections);

void pg_pool_init(struct pg_pool *p, struct pg_server *server);
/* The thread wants no connection for a while: closes those, of all threads, that have been idle for
 * some time. Other programs may be waiting for one. */
void pg_pool_rest(struct pg_pool *p);
/* Closes all that are idle, so that the next one is new. */
void pg_pool_free(struct pg_pool *p);

/* Returns an idle connection, or opens a new one; the caller releases or discards it. NULL: e says
 * why. */
struct pg *pg_acquire(struct pg_pool *p, struct err *e);
/* The same, for the statements of a script. */
struct pg *pg_acquire_for_script(struct pg_pool *p, struct err *e);
/* Returns a connection to the pool. Closes it instead, and cancels what runs, if it is broken or in
 * the middle of a query or transaction. NULL is fine. */
void pg_release(struct pg_pool *p, struct pg *pg);
/* Closes a connection whose session settings have changed, so that nobody else gets it. NULL is
 * fine. */
void pg_discard(struct pg *pg);

/* Whether anybody waits for a connection: then one that waits for something else should not keep
 * its own. */
bool pg_pool_is_wanted(const struct pg_pool *p);
int pg_pool_idle(const struct pg_pool *p); /* how many are */
