/* state: how far a pipeline has come, on disk.
 *
 * Uses     json, buf, err, clock, log.
 * Promise  the file is replaced as a whole or not at all (temporary file, fsync, rename, fsync of the
 * folder), so a crash leaves the old one or the new one. One process at a time holds the lock. A damaged file
 * is refused and kept.
 *
 * The file's time of last modification is the watermark: what changed in the root table since then is not in
 * the index yet. While the first load is under way, it is 1970. A file without JSON (empty, touched, left by
 * another tool) says just that.
 *
 *     {"format":1,"pipeline":"movies","index":"movies","index_uuid":"Qz...","phase":"following","after":null,
 *      "version":1764000000000000,
 *      "tables":{"content.film_work":{"cursor":"2021-06-16
 * 20:14:09.222016+00","key":"025c...","us":1623874449222016}}}
 *
 * format      of this file; a higher one is refused
 * pipeline    the script's name: a state is never used for another one
 * index_uuid  of the index that was loaded: another one means that everything has to be loaded again
 * phase       "snapshot": the first load is under way; "following": done, changes are read from the position
 * on after       snapshot: all rows whose key is not above this one are in the index; null: none are version
 * the highest document version issued tables      for each tracked table its position: rows below `cursor`
 * are done, and of those at this very cursor the ones up to `key` (null: none of them). The cursor is the
 * server's own text; `us` is it in microseconds since the epoch, where it is a time, and equals the file's
 * mtime.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;

struct position { /* bears being zeroed */
    char *cursor; /* owned; NULL: the very beginning */
    char *key;    /* owned; NULL: rows at this very cursor are not done */
    int64_t us;
    bool has_us; /* the cursor is a time: us is it */
};
void position_free(struct position *p);
bool position_copy(struct position *to,
                   const struct position *from); /* frees what `to` held; false: no memory */

enum state_phase { STATE_NEW, STATE_SNAPSHOT, STATE_FOLLOWING };

struct state_data {
    enum state_phase phase; /* STATE_NEW: there is no file */
    bool bare;              /* the file holds no JSON: only root.us is known (phase is STATE_FOLLOWING) */
    char *pipeline, *index, *index_uuid, *after, *table; /* owned */
    int64_t version;
    struct position root;
};
void state_data_free(struct state_data *d); /* bears a zeroed struct */

struct state; /* the lock, and where the file is */

/* Makes the folders, takes the lock. NULL: e says why (in use: by which process; the folder cannot be
 * written). */
struct state *state_open(const char *path, struct err *e);
void state_close(struct state *s); /* NULL is fine */

/* Reads the file; needs no lock. Where mtime and JSON disagree the earlier time wins: back, if somebody
 * touched it to an earlier time; unchanged, with a warning, if a copy made it later. */
bool state_read(const char *path, struct state_data *d, struct err *e);

/* Replaces the file (by one without content, if d is bare). Passing: a full disk, and the like; the old file
 * is then still there. */
bool state_save(struct state *s, const struct state_data *d, struct err *e);
/* Removes the file. That there is none is fine. */
bool state_remove(struct state *s, struct err *e);

/* Reads "2021-06-16", "2021-06-16T20:14:09.221855Z", "2021-06-16 20:14:09+03:00"; without a zone it is UTC.
 */
bool state_parse_time(const char *text, int64_t *us);
