/* state: how far a pipeline has come, on disk.
 *
 * Uses     file, json, buf, err, clock, log, stop.
 * Promise  the file is replaced as a whole or not at all (temporary file, fsync, rename, fsync of
 *          the folder), so a crash leaves the old one or the new one. One process at a time holds
 *          the lock. A damaged file is refused and kept.
 *
 * The file's time of last modification is the watermark: what changed in the root table since then
 * is not in the index yet. While the first load is under way, it is 1970. A file without JSON
 * (empty, touched, left by another tool) says just that.
 *
 *     {"format":2,"pipeline":"movies","index":"movies","index_uuid":"Qz...","phase":"following",
 *      "after":null,"version":1764000000000000,"server":"7712683974535949944-1","tables":{
 *        "content.film_work":{"cursor":"2021-06-16 20:14:09.2+00","key":"025c...",
 *          "us":1623874449200000,"window":{"cursor":...,"key":...,"us":...,"xid":4711}},
 *        "content.genre":{"cursor":...,"key":...,"us":...,"window":{...},
 *          "fan":{"cursor":...,"key":...,"us":...,"after":"7f3a...","hash":...}}},
 *      "columns":{"content.film_work":["id","uuid","modified"],"content.genre":["id","modified"]},
 *      "sweep":{"swept":1764000000000000,"after":"7f3a..."},"documents":1000000}
 *
 * format      of this file; a higher one is refused
 * pipeline    the script's name: a state is never used for another one
 * index_uuid  of the index that was loaded: another one means that everything has to be loaded
 *             again
 * phase       "snapshot": the first load is under way; "following": done, changes are read from the
 *             position on
 * after       snapshot: all rows whose key is not above this one are in the index; null: none are
 * version     the highest document version issued
 * server      the cluster and its timeline that transaction ids are of; another one's mean nothing
 *             here
 * tables      for each tracked table its position: the highest row that was delivered, or the start
 *             of a transaction that was still open then. The cursor is the server's own text; `us`
 *             is it in microseconds since the epoch, where it is a time; the root's equals the
 *             file's mtime
 * window      from where on the table is looked at again, and which of the rows there are done: see
 *             watermark.h, as for `seen`, `candidate`, `rewind` and `pass`
 * columns     of each table, what its position is made of: the key's columns, their types, the
 *             cursor
 * fan         a change that affects many documents is under way: of the rows up to this position,
 *             the affected documents whose key is not above `after` are done; hash: of those rows,
 *             which tells whether they are still the same ones
 * sweep       swept: when the last sweep ended, in microseconds since the epoch; after: one is
 *             under way, and has looked at all rows whose key is not above this one
 * documents   how many the index held when all was well: what may be deleted without being asked is
 *             measured by it, so that an engine that is started again and again does not empty an
 *             index by halves
 */
#pragma once
#include "model/checkpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum state_phase { STATE_NEW, STATE_SNAPSHOT, STATE_FOLLOWING };

struct state_table {
    char *name; /* owned */
    struct checkpoint checkpoint;
    /* owned: the columns that the mark is of, the key's types; NULL: not noted, or there is no
     * cursor */
    char *key, *types, *cursor;
};

struct state_data {
    enum state_phase phase; /* STATE_NEW: there is no file */
    /* the file holds no JSON: only `mtime` is known (phase is STATE_FOLLOWING) */
    bool bare;
    struct position mtime; /* of a bare file, or one that was touched to an earlier time */
    char *pipeline, *index, *index_uuid; /* owned */
    char *after;                         /* owned */
    int64_t version;
    char *server;               /* owned; NULL: not known */
    struct state_table *tables; /* owned; the root is the first one */
    size_t n_tables;
    int64_t swept_us;  /* 0: never */
    char *sweep_after; /* owned; NULL: no sweep is under way */
    int64_t documents; /* 0: not known */
};
/* Copies into `to`, which is empty. False: no memory, and `to` is empty again. */
bool state_data_copy(struct state_data *to, const struct state_data *from);
/* The table's entry, made if need be; NULL: no memory. The first one made is the root's. */
struct state_table *state_table(struct state_data *d, const char *name);
void state_data_free(struct state_data *d); /* bears a zeroed struct */

struct state; /* the lock, and where the file is */

/* Makes the folders, takes the lock. NULL: e says why (in use: by which process; the folder cannot
 * be written). */
struct state *state_open(const char *path, struct err *e);
void state_close(struct state *s); /* NULL is fine */

/* ---- holding still: another process, which has no lock, asks the one that has it for a moment
 * ---- */

/* For the owner of the lock: from now on it can be asked. A file system without such locks: it
 * never is. */
void state_may_ask(struct state *s);
bool state_is_asked(struct state *s);
/* Gives leave, and waits until the moment is over. False: a stop was asked meanwhile. */
bool state_hold(struct state *s);
/* For the other one: waits, timeout_ms at most, until the owner of that state, if it can be asked,
 * holds still (or has ended); *still tells whether it does. It goes on once state_release is
 * called, or the caller ends. Returns what to give to state_release. */
int state_ask(const char *path, int64_t timeout_ms, bool *still);
void state_release(int asked);

/* Reads the file; needs no lock. Where mtime and JSON disagree the earlier time wins: back, if
 * somebody touched it to an earlier time; unchanged, with a warning, if a copy made it later. */
bool state_read(const char *path, struct state_data *d, struct err *e);

/* Replaces the file (by one without content, if d is bare). Passing: a full disk, and the like; the
 * old file is then still there. */
bool state_save(struct state *s, const struct state_data *d, struct err *e);
/* Removes the file. That there is none is fine. */
bool state_remove(struct state *s, struct err *e);

/* Reads "2021-06-16", "2021-06-16T20:14:09.221855Z", "2021-06-16 20:14:09+03:00"; without a zone it
 * is UTC. */
bool state_parse_time(const char *text, int64_t *us);
