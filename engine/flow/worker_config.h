/* worker_config: what the workers of a pipeline are given.
 *
 * Uses     nothing.
 * Threads  read-only once the workers have started.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct chunk_size;
struct echo;
struct es_server;
struct flow;
struct pg_server;
struct pipeline;
struct script_text;
struct source;

enum worker_output {
    WORKER_INDEX,     /* into the index */
    WORKER_DOCUMENTS, /* one document a line, on standard output, in the order of the keys */
    WORKER_BULK,      /* the body of the bulk request, on standard output, likewise */
};

/* Of standard output: how far a worker may be ahead of its turn to print. */
enum { WORKER_AHEAD = 8 << 20 }; /* bytes */

struct worker_config { /* all borrowed, until workers_join */
    const struct pipeline *pipeline;
    const struct source *source;
    const struct script_text *script;
    const struct flow *flow;
    struct pg_server *pg;
    const struct es_server *es; /* for WORKER_INDEX */
    struct echo *echo;          /* likewise */
    const char *state_path;
    struct chunk_size *chunk; /* gets the time that each chunk took */
    enum worker_output output;
    int64_t limit; /* documents, with one worker; 0: all */
    /* this pipeline has loaded the index, by its _meta: so its runs issued all versions in it */
    bool index_is_ours;
    int64_t max_age_us; /* rows read longer ago are read again, not sent; 0: no limit */
    uint64_t max_rejected;
    double give_up_after; /* seconds without a server; 0: never */
};
