/* index_request: what requests about an index share: their path, lists of keys in parts, and what
 * their answers say of shards.
 *
 * Uses     es, json, buf, err.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct es;
struct es_answer;
struct json_reader;

enum { INDEX_NAME = 256 }; /* bytes with the final zero: no server takes a longer name */

struct index_request {
    const char *method;
    const char *index;      /* a name, an alias, or a list with wildcards: escaped here */
    const char *rest;       /* of the path and query, as it is: "/_count?..." */
    const struct buf *body; /* JSON; NULL: none */
};
/* Sends METHOD /INDEX REST. Errors are those of es_request. */
bool index_ask(struct es *es, const struct index_request *r, struct es_answer *a, struct err *e);

/* Whether the answer says "acknowledged": false: the cluster had not agreed in time. */
bool index_unacknowledged(const struct es_answer *a);

/* Handles `n` of a list's items, from item `from` on. *smaller: it failed, but with fewer items it
 * may succeed. */
typedef bool index_part(void *arg, size_t from, size_t n, bool *smaller, struct err *e);
/* Calls part for n items in order, at most `most` at a time, and with half as many from then on
 * where *smaller says so. False: a part failed; e is as it left it. */
bool index_in_parts(size_t n, size_t most, index_part *part, void *arg, struct err *e);

struct index_shards {                  /* initialize with INDEX_NO_SHARDS */
    int64_t total, successful, failed; /* -1: not in the answer */
    char reason[300];                  /* of the first failure, or empty */
};
#define INDEX_NO_SHARDS                                                                            \
    {                                                                                              \
        .total = -1, .successful = -1, .failed = -1                                                \
    }

/* Reads the value of "_shards", which begins with the next token. False: damaged. */
bool index_read_shards(struct json_reader *r, struct index_shards *s);
/* False, passing: a shard did not answer. A shard without a node counts in `total`, not in
 * `failed`. */
bool index_all_shards(const struct index_shards *s, struct err *e);
