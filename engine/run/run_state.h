/* run_state: the state of a run: opened, bound to the script and the index, and whether it is
 * enough.
 *
 * Uses     run, state, deadletter, source.
 * Threads  one, the main thread.
 * Promise  a checkpoint is used only for the columns that it was made of: a table whose key or
 *          cursor has changed is read from its first row.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;
struct run_state;
struct state_file;
struct state_data;

/* Locks and reads the state file, and opens the dead letters. ERR_USAGE: the file belongs to
 * another pipeline. A dry run opens nothing. */
bool run_open_state(struct run *r, struct err *e);

/* The file that progress is saved to, borrowed. NULL: a dry run, a run over some of the rows, or a
 * frozen state. */
struct state_file *run_state_to_save(const struct run *r);
/* From now on nothing is saved: what this run reads leaves a gap. */
void run_state_freeze(struct run *r);

/* Makes the state name the script's pipeline and index, and gives it the script's tables, in their
 * order, with the checkpoints that still apply. */
bool run_bind_state(struct run *r, struct err *e);
/* Saves which PostgreSQL server the checkpoints are of (NULL: unknown). Transaction ids of another
 * server mean nothing here: they are forgotten. It may lack what was read of that one, so that a
 * sweep is owed. */
bool run_bind_server(struct run *r, const char *server, struct err *e);

/* Checks that the documents in the index were made with the script's key; if not, ERR_USAGE. */
bool run_check_key(struct run *r, struct err *e);
/* Why everything has to be read, for people; NULL: the state is enough. */
const char *run_why_full(const struct run *r);

/* A first load, or a full one, begins: no table has a checkpoint. */
void run_state_begin_load(struct run_state *s);
/* It has ended, and has seen every row. */
void run_state_end_load(struct run_state *s);
/* A sweep has ended: the next one is due an interval from now. */
void run_state_swept(struct run_state *s);
/* A sweep has begun, or was broken off: from now on another one is owed after it. */
void run_state_set_sweeping(struct run_state *s, bool sweeping);
/* A sweep that is under way, or was broken off, is forgotten, as if it had not begun. */
void run_state_drop_sweep(struct run_state *s);
/* Something has happened that only a sweep can follow: one that begins after this. */
void run_state_owe_sweep(struct run_state *s);
/* A sweep is due at once, from the first row. */
void run_state_want_sweep(struct run_state *s);
/* Continues with an index that reindex has built, whose uuid this is: from the checkpoints in
 * reindex's own state (emptied; phase STATE_NEW: there is none), if they are of it, or from
 * ours. */
bool run_state_adopt(struct run_state *s, const struct state_data *reindexed, const char *uuid,
                     struct err *e);
