/* index_internal: what the files of the module index share; nobody else includes it.
 *
 *     index.c         the index itself: looked at, created, refreshed
 *     index_schema.c  its settings, mapping and note: what the script wants of them
 *     index_alias.c   aliases, and the index that takes another's place
 *     index_read.c    its documents: counted, fetched by key
 *     index_scan.c    the walk over their keys
 *     index_find.c    where a key's documents are, in several indexes and shards
 */
#pragma once
#include "index/index.h"

struct buf;
struct es_answer;
struct json_reader;

/* A request about one index: METHOD /INDEX REST. body may be NULL. */
bool index_ask(struct es *es, const char *method, const char *index, const char *rest,
               const struct buf *body, struct es_answer *a, struct err *e);

/* The index that an alias of several writes to, into out (INDEX_NAME bytes); empty: none. */
bool index_write_target(struct es *es, const char *alias, char *out, struct err *e);
/* Whether the answer says "acknowledged": false. */
bool index_unacknowledged(const struct es_answer *a);

struct index_shards {                  /* begin with INDEX_NO_SHARDS */
    int64_t total, successful, failed; /* -1: not told */
    char reason[300];                  /* of the first failure, or empty */
};
#define INDEX_NO_SHARDS                                                                            \
    {                                                                                              \
        .total = -1, .successful = -1, .failed = -1                                                \
    }

/* Reads the value of "_shards", which begins with the next token. False: damaged. */
bool index_read_shards(struct json_reader *r, struct index_shards *s);
/* For what was read: every shard must have had its say. A shard without a node is in `total`, not
 * in `failed`. */
bool index_all_shards(const struct index_shards *s, struct err *e);
