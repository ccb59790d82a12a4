/* echo: whether the index gives documents back as they were sent.
 *
 * Uses     bulk, index, es, log.
 * Threads  any: the workers share one.
 *
 * A sweep compares bytes. An index that keeps something else (_source without some fields, or none;
 * one that the server makes up when asked; an ingest pipeline) has it write all documents again
 * each time. Of what a sweep, or a first load, sends, a document is therefore asked for again at
 * once, and what comes back otherwise is told: one warning, with what makes it so and what helps.
 * Nothing else depends on it: what goes wrong here is passed over.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bulk;
struct es;

struct echo {          /* zeroed: nothing is known yet */
    atomic_bool heard; /* one came back as it was sent */
    atomic_bool told;
};

struct echo_sample { /* a document on its way; bears being zeroed. All owned */
    char *key, *index, *routing, *document;
    size_t len;
    int64_t version;
};

/* Copies one of the documents in b; a sample without a key: there is none that would tell, or no
 * memory. */
void echo_take(struct echo_sample *s, const struct bulk *b);
/* Once they have been sent: asks index for it. */
void echo_hear(struct echo *echo, const struct echo_sample *s, struct es *es, const char *index);
void echo_free(struct echo_sample *s);
