/* wal_writer: writes the keys that the log announces to one pipeline into its journal.
 *
 * Uses     wal_keys, journal, repeats, pgoutput (events), wal_share.
 * Threads  one at a time.
 * Promise  after wal_writer_settle and wal_writer_sync all up to a position is on disk, and so is
 *          the position itself. A transaction that the journal has is not written again.
 *
 * A record of the journal holds keys of one table and one kind, of one transaction or a part of it.
 * Its kind is an enum wal_kind; its xid is the log's, of 32 bits; the last one of a transaction has
 * the position after it. Keys that a transaction repeats are mostly written once.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct journal;
struct pgoutput_event;
struct repeats;
struct wal_keys;
struct wal_writer;

struct wal_writer_config {
    struct journal *journal; /* owned from now on; another thread may read it, until it is freed */
    struct wal_keys *keys;   /* owned from now on */
    const char *const *labels; /* of the journal's records, for each table of keys; copied */
    size_t n_labels;
};

/* On failure, too, journal and keys are gone. NULL: e says why. */
struct wal_writer *wal_writer_new(const struct wal_writer_config *config, struct err *e);
void wal_writer_free(struct wal_writer *w); /* NULL is fine */

/* What the writer has of its surroundings, as long as it is used by one. */
struct wal_writer_help {
    struct repeats *repeats; /* borrowed: all writers may share it */
    /* The disk is full, says *e: waits for another try. False: there is none, and e says why. */
    bool (*wait)(void *arg, bool first, struct err *e);
    void *arg;
};

/* Another connection begins: it describes the relations again, and repeats what was cut off. */
void wal_writer_begin(struct wal_writer *w, const struct wal_writer_help *help);
/* *wrote (of a COMMIT): whether the transaction has put something into the journal. False,
 * ERR_FINAL: this pipeline cannot go on; other errors are those of `wait`. */
bool wal_writer_event(struct wal_writer *w, const struct pgoutput_event *event, bool *wrote,
                      struct err *e);
/* All up to `lsn` was given to it: the journal names it. */
bool wal_writer_settle(struct wal_writer *w, uint64_t lsn, struct err *e);
bool wal_writer_sync(struct wal_writer *w, struct err *e);

/* The position that the journal names: all before it is there. */
uint64_t wal_writer_lsn(const struct wal_writer *w);
/* See journal_bytes and wal_keys_is_outdated. */
uint64_t wal_writer_bytes(const struct wal_writer *w);
bool wal_writer_is_outdated(const struct wal_writer *w, struct err *e);
