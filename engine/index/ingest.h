/* ingest: what the ingest pipelines of an index do to documents, as far as their definitions show.
 *
 * Uses     index, es, json_tree, err.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct es;

enum { INGEST_NAME = 256 }; /* bytes with the final zero; of a longer name, the beginning */

struct ingest_finding {
    size_t which;     /* of the names that were asked about */
    const char *name; /* of the pipeline: that of the setting, or one that it calls; borrowed */
    bool missing;     /* it does not exist */
    bool drops;       /* it drops documents, perhaps on a condition */
    char sets[60];    /* "_index, _routing": likewise; empty: none of these */
};
typedef void ingest_visit(const struct ingest_finding *f, void *arg);

struct ingest_asked {     /* borrowed, for the time of the call */
    const char *names[2]; /* of pipelines; NULL or empty: none */
    ingest_visit *visit;
    void *arg; /* visit's */
};
/* Calls visit for each of these pipelines and those that it calls. Reads the definitions once, and
 * not without a name. False: e says why (a privilege is missing). */
bool ingest_look(struct es *es, const struct ingest_asked *asked, struct err *e);
/* The same for the pipelines that the index's settings name, for who can do without an answer: if a
 * privilege is missing, visit is not called. */
void ingest_look_at_index(struct es *es, const char *index, ingest_visit *visit, void *arg);
