/* es_product: which program answers as the search server, and its version.
 *
 * Uses     es, es_answer, json, log, err.
 * Promise  a user who may not ask for it, or a gateway that does not pass the question on, is no
 *          error: nothing else depends on the answer.
 */
#pragma once
#include <stdbool.h>

struct err;
struct es;
struct es_answer;

enum es_program { ES_OTHER, ES_ELASTICSEARCH, ES_OPENSEARCH };

enum { ES_OLDEST = 7 }; /* the oldest Elasticsearch whose requests es_api.h lists */

struct es_product {
    enum es_program program; /* ES_OTHER: it does not say that it is one of these */
    char version[40];        /* as it says; may be empty */
    int major;               /* 0: not known */
};

/* Reads the answer to GET /: of anything, since it is untrusted. */
void es_product_read(const struct es_answer *a, struct es_product *p);

/* Asks which program it is. A program that does not say so is told as a warning, once it is known
 * to answer like a search server. False, final: a version that is too old; else as es_request. */
bool es_product_check(struct es *es, struct err *e);
