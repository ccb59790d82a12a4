/* es_nodes: which node of a cluster the next request goes to.
 *
 * Uses     err. No network and no clock: the caller passes the time, so that tests need not wait.
 * Threads  any; one mutex, never held while calling other modules.
 * Promise  nodes are used round-robin. A node that failed is skipped, for longer each time (1 s to
 *          60 s); then one request tries it, and other requests still skip it until that one has
 *          ended. With one node, or while all are skipped, one is picked nevertheless.
 *
 *     size_t node = es_nodes_pick(nodes, now_us);
 *     ... a request; if it could not be made:
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

/* Returns the next node that is not skipped; if all are, the one that has been skipped for
 * longest. */
size_t es_nodes_pick(struct es_nodes *nodes, int64_t now_us);
/* Whether there is a node that is not skipped. */
bool es_nodes_alive(struct es_nodes *nodes, int64_t now_us);
/* Skips the node from now on. True: it was healthy until now. */
bool es_nodes_failed(struct es_nodes *nodes, size_t node, int64_t now_us);
/* Uses the node normally again. True: it had failed before. */
bool es_nodes_worked(struct es_nodes *nodes, size_t node);
