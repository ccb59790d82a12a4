/* run_state: the run's state: opened, bound to the script and the index, and why it may not be enough.
 *
 * Uses     run, state, deadletter, source.
 * Threads  one, the main thread.
 * Promise  a mark is used only for the columns that it was made of: a table whose key or cursor has
 *          changed is read from its first row.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;

/* Locks and reads the state file, and opens the dead letters. ERR_USAGE: the file belongs to another
 * pipeline. A dry run opens nothing. */
bool run_open_state(struct run *r, struct err *e);
/* Makes the state name the script's pipeline and index, and gives it the script's tables, in their
 * order, with the marks that still apply. */
bool run_bind_state(struct run *r, struct err *e);
/* Checks that the documents in the index were made with the script's key; if not, ERR_USAGE. */
bool run_check_key(struct run *r, struct err *e);
/* Why everything has to be read, for people; NULL: the state is enough. */
const char *run_why_full(const struct run *r);
/* Remembers which PostgreSQL server the marks are of (NULL: unknown). The transaction ids in marks
 * of another server are forgotten: they mean nothing here. */
bool run_bind_server(struct run *r, const char *server, struct err *e);
/* Every row has been compared: no sweep is under way, and the next one is due an interval from
 * now. */
void run_state_swept(struct run *r);
