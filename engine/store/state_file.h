/* state_file: the file that keeps a pipeline's state, and its lock.
 *
 * Uses     state, atomic_file, file, buf, clock, err, log.
 * Threads  one, the main thread.
 * Promise  a save replaces the file as a whole or not at all: after a crash the old file or the new
 *          one is there. One process at a time holds the lock. A damaged file is refused, and kept
 *          as it is.
 *
 * The file's time of last modification (mtime) is the watermark, for other tools to read and to
 * set: rows of the root table that changed later may be missing from the index. While the first
 * load is under way, it is 1970. A user who sets it to an earlier time makes the next run read the
 * changes since then again. A file without JSON (empty, made by `touch`, left by another tool) is
 * its mtime and nothing else.
 */
#pragma once
#include <stdbool.h>

struct err;
struct state_data;

struct state_file; /* the lock, and where the file is */

/* Makes the folders and takes the lock. NULL: e says why: another process holds the lock (which
 * one), or the folder cannot be written. */
struct state_file *state_file_open(const char *path, struct err *e);
void state_file_close(struct state_file *f); /* releases the lock; NULL is fine */

/* Reads the file into d, which is to be freed with state_data_free; needs no lock. Without a file,
 * d is STATE_NEW. An mtime before the position in the file moves every table back to it; a later
 * one, as of a copy, is ignored with a warning. False: e says why, and d is empty. */
bool state_file_read(const char *path, struct state_data *d, struct err *e);

/* Replaces the file; if d is mtime_only, by an empty one. ERR_PASSING: a full disk, and the like;
 * the old file is still there. */
bool state_file_save(struct state_file *f, const struct state_data *d, struct err *e);
/* Removes the file. It may be missing. */
bool state_file_remove(struct state_file *f, struct err *e);

/* ---- for quiesce ---- */

/* The descriptor of the lock file; borrowed. */
int state_file_lock(const struct state_file *f);
/* Opens the lock file of the state at `path` without taking the lock. The caller closes it. -1: it
 * cannot be opened. */
int state_file_open_lock(const char *path);
