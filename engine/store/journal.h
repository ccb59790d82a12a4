/* journal: keys that the log has announced, on disk in the order of their commits, until they are
 * delivered. It is the queue between who receives the log and who delivers it: its memory does not
 * grow with what waits in it, and the log need not wait for the delivery.
 *
 * Uses     checkpoint (positions), file, buf, err, zlib (crc32).
 * Threads  one appends and syncs, one reads and releases; a mutex is between them.
 * Promise  what journal_sync has covered survives a power cut. A record is read as it was written
 *          or not at all: a torn end, left by a crash, is cut off when the journal is opened, and
 *          what is before it is synced; damage anywhere else is an error. At most one record and
 *          one segment's name are in memory.
 *
 *     journal_append(j, &record, e);             // one write; the reader can have it at once
 *     journal_sync(j, e);                        // the server may forget what was appended
 *
 *     while (journal_next(j, &record, &found, e) && found) ... // record: until the next call
 *     journal_release(j, &record.end, e);        // all up to there is delivered
 *
 * On disk: segments "PREFIX.00000001", "PREFIX.00000002", ... of some 16 MB, each removed when all
 * of it is released. A record is a header (length, CRC-32 of what follows, both of 32 bits, in the
 * host's byte order) and its content. A process that opens a journal reads again what was not
 * released, or was released after the position that it remembers: a key may be delivered twice.
 */
#pragma once
#include "model/checkpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct journal;

enum { JOURNAL_RECORD_MAX = 1 << 20 }; /* bytes of label and keys together */

/* Keys of one table that one transaction changed, or a part of them. */
struct journal_record {
    uint64_t xid;      /* as the log has it */
    uint64_t lsn;      /* the end of the commit, in the last record of a transaction; else 0 */
    int64_t commit_us; /* since the epoch */
    uint32_t kind;     /* the caller's own */
    const char *label; /* the table's name; borrowed */
    const char *keys;  /* n strings, each with its final zero; borrowed */
    size_t keys_len, n;
    struct journal_position end; /* journal_next fills it */
};

/* The prefix of the journal of a pipeline with this state file; owned by the caller; NULL: no
 * memory. */
char *journal_prefix(const char *state);

/* prefix: a path; its folder exists. ERR_FINAL: another process has it open, also while no run of
 * the pipeline is under way: its journal receives then, too (PREFIX-lock says so). from: the
 * position up to which all is delivered, as the state remembers it; segments before it are removed.
 * NULL: e says why. */
struct journal *journal_open(const char *prefix, struct journal_position from, struct err *e);
/* Does not sync. NULL is fine. */
void journal_close(struct journal *j);

/* False, ERR_PASSING: the disk is full, or the like; nothing of it was appended. */
bool journal_append(struct journal *j, const struct journal_record *record, struct err *e);
/* Syncs what was appended. */
bool journal_sync(struct journal *j, struct err *e);
/* The last position that a record in the journal has named, also one that is released or was read
 * when the journal was opened; 0: none. For the thread that appends. */
uint64_t journal_lsn(const struct journal *j);

/* The next record. *found: whether there is one yet. False, ERR_FINAL: the journal is damaged
 * there. */
bool journal_next(struct journal *j, struct journal_record *record, bool *found, struct err *e);
/* All up to `end` is delivered. Removes segments before it. */
bool journal_release(struct journal *j, struct journal_position end, struct err *e);

/* Where the next record will be read. */
struct journal_position journal_at(const struct journal *j);
/* Where the next record will be appended. */
struct journal_position journal_end(struct journal *j);

/* Bytes that are not released. */
uint64_t journal_bytes(struct journal *j);

/* *bytes: what waits in the journal of that prefix, from `from` on. Reads the folder alone, so that
 * another process may have it open. */
bool journal_waiting(const char *prefix, struct journal_position from, uint64_t *bytes,
                     struct err *e);
/* Removes the journal of that prefix. ERR_FINAL: a process has it open. */
bool journal_remove(const char *prefix, struct err *e);
