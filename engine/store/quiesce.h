/* quiesce: one process asks the process that holds a state's lock to pause for a moment, or to tell
 * how far it has come.
 *
 * Uses     state_file, clock, stop.
 * Threads  one, the main thread.
 * Promise  nobody waits for a process that has ended: both sides lock bytes of the lock file, and
 *          the kernel releases these locks when their process ends.
 *
 * `reindex` swaps the alias while the follower of the same state pauses between two rounds:
 *
 *     the holder of the lock                the process that asks
 *
 *     quiesce_allow(file);
 *     ...                                   request = quiesce_ask(path, timeout_ms, &paused);
 *     if (quiesce_is_asked(file))
 *         quiesce_pause(file);              swaps the alias
 *     ...                                   quiesce_release(request);
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct state_file;

/* For the holder: from now on others can ask. Where the file system has no such locks, nobody
 * can. */
void quiesce_allow(struct state_file *f);
bool quiesce_is_asked(struct state_file *f);
/* Waits until the process that asks has released its request. False: a stop was asked. */
bool quiesce_pause(struct state_file *f);

/* Waits, timeout_ms at most, until the holder of the state at `path` pauses. *paused: it does, or
 * there is nobody to ask; it stays so until quiesce_release. Returns the request, for
 * quiesce_release. */
int quiesce_ask(const char *path, int64_t timeout_ms, bool *paused);
void quiesce_release(int request);

/* ---- somebody waits for the state to come somewhere ---- */

/* For the holder: whether another process waits. The state is then worth saving even where only the
 * time has moved on. */
bool quiesce_is_awaited(struct state_file *f);
/* Begins to wait. Returns the request, for quiesce_release. */
int quiesce_await(const char *path);
/* Whether a process that allows requests (one that follows) holds the state at `path`. */
bool quiesce_is_followed(const char *path);
