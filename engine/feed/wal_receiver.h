/* wal_receiver: a thread that reads the log of a slot, and writes the keys that it announces to the
 * journal.
 *
 * Uses     pg_replication, pgoutput, wal_keys, journal, repeats, retry, alike, watchdog, witness.
 * Threads  its own; the functions below are for the one thread that owns it.
 * Promise  a position is confirmed to the server once all before it is in the journal and synced,
 *          and never within a transaction: what the server has forgotten is on disk here, and so is
 *          the position itself, so that a slot that others have moved is noticed. What was
 *          received and not confirmed comes again after a crash or a lost connection. The server's
 *          keepalives are answered, whatever the delivery, the disk or the script hold up.
 *
 * A record of the journal holds keys of one table and one kind, of one transaction or a part of it.
 * Its kind is an enum wal_kind; its xid is the log's, of 32 bits; the last one of a transaction has
 * the position after it. Keys that a transaction repeats are mostly written once.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;
struct journal;
struct pg_server;
struct wal_keys;
struct wal_receiver;

struct wal_receiver_config { /* all borrowed, until wal_receiver_stop */
    const char *pipeline;    /* its name, for the log */
    struct pg_server *server;
    const char *slot, *publication;
    uint64_t from;             /* the slot's own position, if that is higher */
    struct journal *journal;   /* it appends and syncs */
    struct wal_keys *keys;     /* its own, as long as it runs */
    const char *const *labels; /* of the journal's records, for each table of keys */
    double give_up_after;      /* seconds; 0: never */
    void (*wake)(void *arg);   /* records were appended, or it has ended; called on its thread */
    void *arg;
};

/* NULL: e says why; the first connection is made on the thread. */
struct wal_receiver *wal_receiver_start(const struct wal_receiver_config *config, struct err *e);
/* Ends the thread, after a last confirmation if that can be sent. NULL is fine. */
void wal_receiver_stop(struct wal_receiver *r);

/* True: it has ended by itself, and *e is why. */
bool wal_receiver_failed(struct wal_receiver *r, struct err *e);
/* True: a table in the log lacks a column of the script: see wal_keys_is_outdated. */
bool wal_receiver_is_outdated(struct wal_receiver *r, struct err *e);

struct wal_progress {
    uint64_t received;   /* everything below it was received and appended; 0: nothing yet */
    uint64_t confirmed;  /* everything below it is synced, and the server may forget it */
    int64_t received_us; /* the last commit's time, since the epoch; 0: none yet */
};
struct wal_progress wal_receiver_progress(struct wal_receiver *r);
/* Asks the server how far its log goes now, so that `received` comes to it on a quiet server,
 * too. */
void wal_receiver_ask(struct wal_receiver *r);
