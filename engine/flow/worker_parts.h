/* worker_parts: a batch, tried as a whole, and in parts where that fails.
 *
 * Uses     worker, worker_rows, source, chunk_size, retry, alike.
 * Threads  the worker's.
 * Promise  a row on which the query fails costs that row alone; a query that is too large for the
 *          server is asked for less.
 *
 * Two errors are cured by asking for less. A row on which the query raises (a cast, a division, an
 * invalid byte) fails all others of its batch with it: halving the batch finds it, it becomes a
 * dead letter, and the rest goes on. A query that the server cancels because it takes too long
 * (statement_timeout, a standby with a replay conflict) would be cancelled again at the same size:
 * its halves are not, and the next chunks begin smaller.
 *
 * An error that hits every row alike (a missing table or privilege, a cast of a constant) is no
 * row's fault: the query then fails without any key, too, and the run ends with the server's own
 * message. A part that has succeeded is sent, and is not read again; the batch is acknowledged with
 * its last part.
 */
#pragma once
#include <stdbool.h>

struct err;
struct worker;

/* Tries the worker's batch until it is done. */
bool worker_load(struct worker *w, struct err *e);
