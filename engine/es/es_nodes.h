/* es_nodes: which of a cluster's nodes the next request goes to.
 *
 * Uses     err. No network, no clock: the time is told, so that tests need not wait.
 * Threads  any; one mutex, never held while calling out.
 * Promise  a node that failed rests, longer each time (1 s to 60 s); when the rest is over, one
 *          request tries it, and the others wait for how that goes. With one node, or while all
 *          rest, one is picked all the same.
 *
 *     size_t node = es_nodes_pick(nodes, now_us);
 *     ... a request; if no connection came about:
 *     es_nodes_failed(nodes, node, now_us);    // or es_nodes_worked(nodes, node)
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct es_nodes;

struct es_nodes *es_nodes_new(size_t n, struct err *e); /* NULL: no memory */
void es_nodes_free(struct es_nodes *nodes);             /* NULL is fine */

/* The next node in turn that does not rest; if all do, the one that has rested longest. */
size_t es_nodes_pick(struct es_nodes *nodes, int64_t now_us);
/* Whether there is a node that does not rest. */
bool es_nodes_alive(struct es_nodes *nodes, int64_t now_us);
/* The node begins to rest. True: it was well until now. */
bool es_nodes_failed(struct es_nodes *nodes, size_t node, int64_t now_us);
/* True: it had failed before. */
bool es_nodes_worked(struct es_nodes *nodes, size_t node);
