/* flow: what the threads of one pipeline share. Nothing else is shared between them; and between
 * pipelines connections to PostgreSQL (pg_pool) and turns at work (shares).
 *
 * Uses     queue, versions, tally, delete_budget, dead_keys.
 * Threads  each part is safe for any thread; opening and closing belong to the main thread, while
 *          no worker runs.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dead_keys;
struct delete_budget;
struct err;
struct queue;
struct tally;
struct versions;

struct flow { /* all owned; NULL before flow_open */
    struct queue *queue;
    struct versions *versions;
    struct tally *tally;
    struct delete_budget *deletes;
    struct dead_keys *dead;
};

/* windows: of each of the queue's n lanes, see queue_new. version_floor: the highest version that
 * earlier runs issued. False: no memory; f is empty. */
bool flow_open(struct flow *f, const size_t *windows, size_t n, int64_t version_floor,
               struct err *e);
void flow_close(struct flow *f); /* safe on a zeroed struct; leaves one */
