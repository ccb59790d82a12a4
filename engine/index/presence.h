/* presence: whether the index is still there, asked before a request that would make another one.
 *
 * Uses     index, clock, err.
 * Threads  any: the workers share one.
 *
 * Where the server's action.auto_create_index allows it, a bulk request to an index that somebody
 * has deleted makes another one, with a mapping that the server guesses. An alias is safe
 * (bulk_sink.is_alias), a plain index has to be asked for. A few milliseconds between question and
 * request remain.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct es;

struct presence { /* safe to zero */
    atomic_int_least64_t next_us;
};

/* Asks the server, unless it was asked just now: questions take at most a twentieth of the time,
 * and each holds for a second at most. False, final: the index is gone. False, passing: the server
 * does not answer. A server that may not be asked counts as one that has the index. */
bool presence_check(struct presence *p, struct es *es, const char *index, struct err *e);
