/* state: how far a pipeline has come, as data and as JSON.
 *
 * Uses     checkpoint, json, buf, text, err. No files: see state_file.h.
 * Threads  any, each with data of its own.
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
 * format      of this JSON; a higher one is refused
 * pipeline    the script's name; a state is never used for another pipeline
 * index_uuid  of the index that was loaded; if the index has another one, everything is loaded
 *             again
 * phase       "snapshot": the first load is under way; "following": it has ended, and changes are
 *             read from the position on
 * after       snapshot: the index has all rows up to this key; null: none yet
 * version     the highest document version issued
 * server      the PostgreSQL cluster and its timeline; transaction ids of another one are
 *             meaningless
 * slot        of a capture from the log; absent: changes are polled
 * captured    a text that differs once its tables or its publication were changed
 * tables      the checkpoint of each tracked table. Its position is the highest row delivered, but
 *             not past the start of a transaction that was open at that time. The cursor is the
 *             server's own text; `us` is the same in microseconds since 1970, if it is a time. The
 *             root's is the file's mtime
 * window      from where on every pass reads the table, and which of the rows there are done; see
 *             model/watermark.h, also for `seen`, `candidate`, `rewind` and `pass`
 * whole       the server's clock when the last whole pass over the table that has ended began: what
 *             was committed before is delivered
 * fan         a fan-out is under way: of the rows up to this position, the affected documents with
 *             keys up to `after` are done; `hash` of these rows shows whether they have changed
 *             since
 * journal     with capture from the log: the segment and the offset in the journal (journal.h)
 *             before which all keys are delivered
 * columns     of each table, what its checkpoint depends on: the key's columns, their types, the
 *             cursor
 * log         with capture from the log: the position in it before which all is delivered
 * sweep       swept: when the last sweep ended, in microseconds since 1970; from: when it began;
 *             after: a sweep is under way, and has compared all rows up to this key; began: when
 *             it began; again: after it, or after the load, another one is owed
 * chosen      "NAME=UUID,...": the indexes that documents choose, as the last load or sweep has
 *             left them; absent: not known, or documents choose none
 * documents   how many documents the index had when it was last complete. The limit for deletes is
 *             measured by it, so that restarts cannot empty an index by halves
 */
#pragma once
#include "model/checkpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

enum state_phase { STATE_NEW, STATE_SNAPSHOT, STATE_FOLLOWING };

struct state_table {
    char *name; /* owned */
    struct checkpoint checkpoint;
    /* owned: the columns of the key, their types, and the column of the cursor when the checkpoint
     * was taken; NULL: not known, or there is no cursor */
    char *key, *types, *cursor;
};

struct state_data {         /* a zeroed one is a new pipeline's */
    enum state_phase phase; /* STATE_NEW: there is no file */
    bool mtime_only;        /* the file has no JSON: only `mtime` is known, phase is following */
    struct position mtime;  /* of a file without JSON, or one that was touched to an earlier time */
    char *pipeline, *index, *index_uuid; /* owned */
    char *after;                         /* owned */
    int64_t version;
    char *server;               /* owned; NULL: not known */
    char *slot;                 /* owned; NULL: changes are not captured from the log */
    char *captured;             /* owned; see source_capture_signature; NULL: not known */
    char *chosen;               /* owned; see run/run_chosen.h; NULL: not known */
    struct state_table *tables; /* owned; the first one is the root's */
    size_t n_tables;
    uint64_t log_lsn;      /* 0: not known */
    int64_t swept_us;      /* 0: never, or a sweep is owed */
    int64_t swept_from_us; /* when the sweep that ended then began; 0: not known */
    int64_t sweep_began_us;
    bool sweep_again;  /* after the load or the sweep under way, another one is owed */
    char *sweep_after; /* owned; NULL: no sweep is under way */
    int64_t documents; /* 0: not known */
};
/* Copies into `to`, which is empty. False: no memory, and `to` is empty again. */
bool state_data_copy(struct state_data *to, const struct state_data *from);
/* The table's entry, borrowed; NULL: there is none. */
struct state_table *state_find(const struct state_data *d, const char *name);
/* The table's entry, added at the end if it is missing. Borrowed until the next one is added. NULL:
 * no memory. */
struct state_table *state_table(struct state_data *d, const char *name);
/* The lowest place in the journal that a table has: all before it is in the index. Segment 0: none
 * has one. */
struct journal_position state_place(const struct state_data *d);
void state_data_free(struct state_data *d); /* leaves zeroed data */

/* Adds the JSON to out; out->failed tells whether it fitted. */
void state_write(struct buf *out, const struct state_data *d);
/* Reads JSON of this format, or of an older one, into d, which is empty. False: the text is
 * damaged, or of a newer format; d is to be freed all the same. */
bool state_parse(struct state_data *d, const char *text, size_t len, struct err *e);
