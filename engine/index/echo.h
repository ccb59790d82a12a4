/* echo: whether the index returns documents as they were sent.
 *
 * Uses     bulk, index, es, log, err.
 * Threads  any: the workers share one.
 *
 * A sweep compares bytes. If an index stores something else (_source without some fields, or none
 * at all; a synthetic _source; an ingest pipeline), each sweep writes all documents again. So one
 * of the documents that a sweep or a first load sends is read back at once; if it differs, one
 * warning says why and what helps. Nothing else depends on this: its errors are ignored.
 *
 * The same document shows whether an ingest pipeline sets _routing, which no answer to a bulk
 * request tells. Such a document is in another shard than its key says: no later request would
 * replace or delete it, so the run ends.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bulk;
struct err;
struct es;

struct echo {              /* zeroed: nothing is known yet */
    atomic_bool confirmed; /* a document was returned as it was sent */
    atomic_bool warned;
};

struct echo_sample { /* a document being sent; safe to zero; all owned */
    char *key, *index, *routing, *document;
    size_t len;
    int64_t version;
};

/* Copies one of the documents in b. A sample without a key: none is suitable, or there was no
 * memory. */
void echo_sample_take(struct echo_sample *s, const struct bulk *b);
/* Reads the document back from index, once it has been sent, and warns if it differs. False, final:
 * it has another routing than it was sent with. */
bool echo_check(struct echo *echo, const struct echo_sample *s, struct es *es, const char *index,
                struct err *e);
void echo_sample_free(struct echo_sample *s);
