/* pg_replication: a logical replication connection: the log of one slot as it streams in, and the
 * positions that we confirm.
 *
 * Uses     libpq, pg (the server's name, connecting, errors), stop.
 * Threads  one: the one that receives. It has to call pg_replication_next and
 *          pg_replication_confirm often enough for the server's wal_sender_timeout (60 s by
 *          default), whatever else waits.
 * Promise  every wait ends at once when a stop is asked. What the server sends is checked for its
 *          length; what the plugin's messages hold is pgoutput's business.
 *
 *     struct pg_replication *r = pg_replication_start(server, &options, e);
 *     while (pg_replication_next(r, 10000, &message, e)) {
 *         if (message.kind == PG_REPLICATION_DATA) ... // borrowed until the next call
 *         if (message.reply) pg_replication_confirm(r, durable, false, e);
 *     }
 *     pg_replication_end(r);
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct pg_server;
struct pg_replication;

struct pg_replication_options { /* all borrowed, during the call */
    const char *slot, *publication;
    uint64_t from; /* never below what the slot has confirmed: the server sees to that */
};

struct pg_replication_message {
    enum {
        PG_REPLICATION_NOTHING, /* in the given time */
        PG_REPLICATION_DATA,
        PG_REPLICATION_KEEPALIVE,
    } kind;
    bool reply;   /* the server wants a confirmation now, or it ends the connection */
    uint64_t end; /* how far the server has read its log, at least */
    const void *data;
    size_t len;
};

/* Connects and starts. NULL: e says why. ERR_PASSING with a hint: another process has the slot. */
struct pg_replication *pg_replication_start(struct pg_server *server,
                                            const struct pg_replication_options *options,
                                            struct err *e);
/* Closes the connection. NULL is fine. */
void pg_replication_end(struct pg_replication *r);

/* Which server answers: the cluster's system identifier and its timeline,
 * "7712683974535949944-00000001", as pg_timeline reads it. Positions of another one mean nothing.
 * Borrowed. */
const char *pg_replication_server(const struct pg_replication *r);
/* How far its log went when the connection began. */
uint64_t pg_replication_position(const struct pg_replication *r);

/* The history of the log's timeline, for pg_timeline_has, over a connection of its own; owned by
 * the caller. Empty: no standby was promoted. server: who is to answer, as above, and perhaps more;
 * if it is another one, ERR_PASSING. NULL: e says why. */
char *pg_replication_history(struct pg_server *s, const char *server, struct err *e);
/* Whether `server`, a name that may go on after the timeline, is the one called `name`. */
bool pg_replication_is_of(const char *name, const char *server);

/* The next message; waits for wait_ms at most. False: the connection is of no use any more
 * (ERR_PASSING: it was lost, or the server shuts down), or a stop was asked. */
bool pg_replication_next(struct pg_replication *r, int64_t wait_ms,
                         struct pg_replication_message *message, struct err *e);
/* Tells the server that it may forget the log below `lsn` (lower than before: as before); also
 * keeps the connection alive. ask: the server is to answer with a keepalive. */
bool pg_replication_confirm(struct pg_replication *r, uint64_t lsn, bool ask, struct err *e);
/* Tells the server that all below `lsn` was received, and nothing of what it may forget, which
 * stays as it is: a server that shuts down waits until what is confirmed is all that it has sent,
 * unless the last message says nothing of that. */
bool pg_replication_keep(struct pg_replication *r, uint64_t lsn, bool ask, struct err *e);
/* Ends a wait of pg_replication_next, now and from now on; a last confirmation can still be sent.
 * For another thread, while the connection exists. */
void pg_replication_interrupt(struct pg_replication *r);

/* "16/B374D848", as PostgreSQL writes a position, into out; returns out. */
enum { PG_LSN_TEXT = 24 };
char *pg_lsn_text(uint64_t lsn, char out[PG_LSN_TEXT]);
/* Reads it. False: it is none. */
bool pg_lsn_read(const char *text, uint64_t *lsn);
