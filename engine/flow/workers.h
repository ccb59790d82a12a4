/* workers: the workers: keys -> rows -> documents -> bulk requests, acknowledged.
 *
 * Uses     queue, source, script, pg, es, bulk, copies, throttle, retry.
 * Threads  each worker is one, with its own lua_State, PostgreSQL connection and HTTP connection.
 *          They share the queue, and what is read-only.
 * Promise  a batch is acknowledged only when each of its keys is indexed, deleted, superseded, or
 *          reported as rejected. What may pass is waited out: the batch is then read again, under a
 *          new version.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct echo;
struct err;
struct es_server;
struct flow;
struct pg_server;
struct pipeline;
struct script_text;
struct source;
struct chunk_size;

enum workers_output {
    WORKERS_INDEX,     /* into the index */
    WORKERS_DOCUMENTS, /* one document a line, on stdout, in the order of the keys */
    WORKERS_BULK,      /* the bulk request's body, on stdout, likewise */
};

/* Of standard output: what a worker may be ahead of its turn to print. */
enum { WORKERS_AHEAD = 8 << 20 }; /* bytes */

struct workers_config { /* all borrowed, until workers_join */
    const struct pipeline *pipeline;
    const struct source *source;
    const struct script_text *script;
    struct pg_server *pg;
    const struct es_server *es; /* for WORKERS_INDEX */
    struct echo *echo;          /* likewise */
    const char *state_path;
    const struct flow *flow;
    struct chunk_size *chunk; /* is told what each one took */
    enum workers_output output;
    int64_t limit; /* documents, with one worker; 0: all */
    /* it says that this pipeline has loaded it: so all versions in it are of its runs */
    bool index_is_ours;
    int64_t max_age_us; /* an older fetch is read again, not sent; 0: no limit */
    uint64_t max_rejected;
    double give_up_after; /* seconds without a server; 0: never */
    int workers;
};

struct workers;

/* Starts the workers. NULL: e says why; none is running. */
struct workers *workers_start(const struct workers_config *config, struct err *e);
/* Waits for them to end (queue_close, queue_fail or queue_enough brings that about) and frees. NULL
 * is fine. */
void workers_join(struct workers *l);
