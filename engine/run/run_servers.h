/* run_servers: both servers of a pipeline, and the main thread's connections to them.
 *
 * Uses     pg, es, pipeline, log.
 * Threads  one, the main thread; workers open connections of their own to the same servers.
 */
#pragma once
#include "es/es.h"
#include "pg/pg.h"
#include "pg/pg_pool.h"

#include <stdbool.h>

struct err;
struct pipeline;

struct run_servers { /* safe when zeroed */
    struct pg_server pg;
    struct pg_pool pool;
    struct es_server search; /* a dry run has none */
    struct es *es;           /* owned; NULL: a dry run */
    bool met;                /* the search server has answered as one */
    double give_up_after;    /* seconds to wait for either; 0: for ever */
};

/* Reads the addresses and credentials; connects to neither server. postgres_alone: for a dry run.
 * ERR_USAGE: the script's line is named. */
bool run_open_servers(struct run_servers *s, const struct pipeline *p, bool postgres_alone,
                      struct err *e);
void run_close_servers(struct run_servers *s); /* safe on a zeroed struct */
