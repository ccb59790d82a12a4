/* worker_config: what the workers of a pipeline are given.
 *
 * Uses     nothing.
 * Threads  read-only once the workers have started.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chunk_size;
struct echo;
struct err;
struct es_server;
struct flow;
struct pg_server;
struct pipeline;
struct presence;
struct script_text;
struct source;

enum worker_output {
    WORKER_INDEX,     /* into the index */
    WORKER_DOCUMENTS, /* one document a line, on standard output, in the order of the keys */
    WORKER_BULK,      /* the body of the bulk request, on standard output, likewise */
    WORKER_COMPARE,   /* compared with the index's: each pair goes to a comparer, nothing is sent */
};

/* What the script makes of a key, and what the index has. Borrowed, for the time of the call. */
struct worker_pair {
    const char *key;
    const char *made; /* JSON; NULL: there is no row, or document() returned nil */
    size_t made_len;
    int64_t made_version; /* PostgreSQL's clock before its row was read */
    bool found;           /* the index has a document */
    const char *held;     /* its JSON; NULL: not found, or not stored */
    size_t held_len;
    int64_t held_version;
    size_t copies;      /* of a multi_index pipeline: documents of this key, in all indexes */
    bool no_rows;       /* the key cannot be one of the table: see struct batch */
    bool any_routing;   /* likewise */
    bool routed;        /* a copy has a routing that the script did not choose */
    const char *failed; /* why the document cannot be made: then the index was not asked */
};

/* Called on the workers' threads, each with its own number, from 0. */
struct worker_comparer {
    /* False: the run ends with e. */
    bool (*pair)(void *arg, int worker, const struct worker_pair *pair, struct err *e);
    /* The worker's present try has ended. keep: its pairs count; else they come again. */
    bool (*end)(void *arg, int worker, bool keep, struct err *e);
    void *arg; /* of both */
};

/* Of standard output: how far a worker may be ahead of its turn to print. */
enum { WORKER_AHEAD = 8 << 20 }; /* bytes */

struct worker_config { /* all borrowed, until workers_join */
    const struct pipeline *pipeline;
    const struct source *source;
    const struct script_text *script;
    const struct flow *flow;
    struct pg_server *pg;
    const struct es_server *es;             /* for WORKER_INDEX and WORKER_COMPARE */
    struct echo *echo;                      /* for WORKER_INDEX */
    struct presence *presence;              /* of the index; NULL: it need not be asked for */
    const struct worker_comparer *comparer; /* for WORKER_COMPARE */
    const char *state_path;
    struct chunk_size *chunk; /* gets the time that each chunk took */
    enum worker_output output;
    int64_t limit; /* documents, with one worker; 0: all */
    bool is_alias; /* sink.index is one, and no document chooses its index: bulk_sink.is_alias */
    /* this pipeline has loaded the index, by its _meta: so its runs issued all versions in it */
    bool index_is_ours;
    int64_t max_age_us; /* rows read longer ago are read again, not sent; 0: no limit */
    uint64_t max_rejected;
    double give_up_after; /* seconds without a server; 0: never */
};
