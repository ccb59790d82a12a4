/* ingest: what the ingest pipelines of an index do to documents, as far as their definitions show.
 *
 * Uses     es, index_request, json_tree, buf, err.
 */
#pragma once
#include <stdbool.h>

struct err;
struct es;

enum { INGEST_NAME = 256 }; /* bytes with the final zero; of a longer name, the beginning */

struct ingest_finding {
    const char *name; /* of the pipeline: that of the setting, or one that it calls; borrowed */
    bool missing;     /* it does not exist */
    bool drops;       /* it drops documents, perhaps on a condition */
    char sets[60];    /* "_index, _routing": likewise; empty: none of these */
};
typedef void ingest_visit(const struct ingest_finding *f, void *arg);

/* Calls visit for the pipeline of that name and those that it calls. False: e says why (a privilege
 * is missing). */
bool ingest_look(struct es *es, const char *name, ingest_visit *visit, void *arg, struct err *e);
