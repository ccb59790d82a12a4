/* wal_receiver: a thread that reads the log of a slot, once, for all pipelines of this process that
 * share the slot.
 *
 * Uses     pg_replication, pgoutput, wal_writer, wal_share, repeats, retry, alike, watchdog,
 *          witness.
 * Threads  its own, while a member receives. wal_receiver_new, _add, _join, _retire, _halt and
 *          _free are called by one thread at a time; the others by any.
 * Promise  a position is confirmed to the server once all before it is in the journal of each
 *          member, and synced, and never within a transaction: what the server has forgotten is on
 *          disk here, and so is the position itself, so that a slot that others have moved is
 *          noticed. What was received and not confirmed comes again after a crash or a lost
 *          connection. The server's keepalives are answered, whatever the delivery, the disk or the
 *          script hold up. A member that fails does not touch the others.
 *
 *     struct wal_member *m = wal_receiver_add(r, "movies", limit, e);
 *     wal_member_join(m, writer, &reader, e);      // from now on keys come into its journal
 *     wal_member_leave(m);                         // nobody reads the journal; keys still come
 *     wal_member_retire(m);                        // the journal is closed, and can be opened anew
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;
struct pg_server;
struct wal_member;
struct wal_receiver;
struct wal_writer;

struct wal_receiver_config { /* all borrowed, until wal_receiver_free */
    const char *pipeline;    /* for the log, as long as there is one member */
    struct pg_server *server;
    const char *slot, *publication;
    double give_up_after; /* seconds; 0: never */
};

/* NULL: e says why; the first connection is made on the thread. */
struct wal_receiver *wal_receiver_new(const struct wal_receiver_config *config, struct err *e);
/* Ends the thread, after a last confirmation if that can be sent; with all members. NULL is
 * fine. */
void wal_receiver_free(struct wal_receiver *r);
/* Ends the thread: somebody makes the slot anew. All members that receive fail with that reason,
 * and what was confirmed is forgotten. */
void wal_receiver_halt(struct wal_receiver *r, const struct err *why);
/* The highest position that was confirmed by now, of the slot as the server shows it and of what is
 * under way. It does not go beyond what is kept for a member that is out. */
uint64_t wal_receiver_confirmed(struct wal_receiver *r, uint64_t slot);

/* A member that is expected: the slot stays where it is until it has joined, but for no longer than
 * the server holds `limit` bytes of its log for it. Its journal is closed once it holds that many
 * bytes, and nobody reads it. name: copied; owned by the receiver. NULL: no memory. */
struct wal_member *wal_receiver_add(struct wal_receiver *r, const char *name, uint64_t limit,
                                    struct err *e);

struct wal_reader {          /* who reads the journal */
    void (*wake)(void *arg); /* something was appended, or the member has failed; on the thread */
    void *arg;
    /* copied: the one whose log the journal has, as pg_replication_server names it, and perhaps
     * more; NULL: not known */
    const char *server;
};

/* The member is out. writer: owned by the receiver from now on; its reader may use the journal
 * until it has left. False: no thread could be started. */
bool wal_member_join(struct wal_member *m, struct wal_writer *writer,
                     const struct wal_reader *reader, struct err *e);
void wal_member_leave(struct wal_member *m);
/* Nobody reads: the journal is closed after all that was read is in it, and the slot stays where
 * the member needs it. */
void wal_member_retire(struct wal_member *m);

/* True: the member does not receive any more, and *e is why. */
bool wal_member_failed(struct wal_member *m, struct err *e);
/* True: a table in the log lacks a column of the script: see wal_keys_is_outdated. */
bool wal_member_is_outdated(struct wal_member *m, struct err *e);
/* Everything below it was received, and is in the journal; 0: nothing yet. */
uint64_t wal_member_received(struct wal_member *m);
/* When the server has said something last, or was not listened to, by clock_mono_us. A server that
 * is well says something every few seconds: it is asked. */
int64_t wal_member_heard(const struct wal_member *m);
/* Asks the server how far its log goes now, so that the above comes to it on a quiet server,
 * too. */
void wal_member_ask(struct wal_member *m);
