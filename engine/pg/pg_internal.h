/* pg_internal: what the files of this wing share; no other wing includes it.
 *
 *     pg_pool.c         idle connections
 *     pg_connect.c      the server's label and parameters, connecting, what a failed connect means
 *     pg_replication.c  the log of a slot as it streams in
 *     pg.c              queries, rows that stream
 *     pg_types.c        the types of a query's columns
 *     pg_error.c        what libpq reports, as a struct err: the one classification
 */
#pragma once
#include "pg/pg.h"

#include "base/err.h"

struct pg {
    struct pg_server *server; /* borrowed */
    PGconn *conn;             /* owned */
    struct pg *next;          /* in the pool's list of idle connections */
    PGresult *row;            /* owned: the row that pg_next returned last */
    /* owned: the stream's SQL, for the line number of an error; NULL if there was no memory for
     * it */
    char *sql;
    int pid;        /* of the server process, as listed in server->pids; 0: not listed */
    bool streaming; /* from pg_stream until the last row or an error */
    bool gathers;   /* the socket is reported as readable only once it holds much: see gather */
    /* of the stream so far; of the stream before it (at first any number) */
    uint64_t rows, expected;
    bool alone;  /* the last statement refused to run in a transaction with others */
    bool broken; /* unusable: pg_release closes it */
};

/* bytes of a reason, cut to fit into an err's text together with some context */
enum { PG_REASON = 500 };

/* ---- pg.c ---- */

void pg_close(struct pg *pg); /* cancels what runs; NULL is fine */
/* Lists the server process among those of our own sessions. */
void pg_remember_session(struct pg *pg, int64_t began_us);
/* Checks that a query can be sent: a script can get here with a connection that it left in use. */
bool pg_check_free(struct pg *pg, struct err *e);
/* A round trip: pg_begin, the statements (PQsend...), PQpipelineSync, pg_finish. fetch: with the
 * settings for part of a table. False: it could not be sent. */
bool pg_begin(struct pg *pg, bool fetch);
struct pg_answers {         /* of one round trip; borrowed */
    const char *const *sql; /* of each statement, for its error messages */
    PGresult **out;         /* each owned by the caller; all NULL on failure */
    int n;
};
/* Receives the results of all statements, and reads to the end of the round trip. sent: false if
 * one of them could not be sent. */
bool pg_finish(struct pg *pg, int sent, const struct pg_answers *a, struct err *e);
/* Waits until PQgetResult would not block. False: a stop was requested. A broken connection counts
 * as ready: PQgetResult then returns what the server said last. */
bool pg_wait_ready(struct pg *pg, struct err *e);

/* ---- pg_connect.c ---- */

/* Opens a connection and sets up its session. NULL: e says why. */
struct pg *pg_open(struct pg_server *s, struct err *e);
/* A new connection that speaks the replication protocol: only pg_replication.c knows how to use
 * it. NULL: e says why. */
struct pg *pg_open_replication(struct pg_server *s, struct err *e);

/* ---- pg_error.c ---- */

/* Replaces the password by "***" in a text of libpq's. conn may be NULL. */
void pg_scrub(const struct pg_server *s, const PGconn *conn, char *text);
/* Classifies an SQLSTATE as passing or final. */
enum err_kind pg_error_kind(const char *sqlstate);
/* Reports the failure that res describes; NULL: libpq failed before there was a result. sql, if not
 * NULL, gives the line number. Marks a lost connection as broken. Always returns false. */
bool pg_error(struct pg *pg, const PGresult *res, const char *sql, struct err *e);
/* Copies text as one line: lines are joined by "; ", and libpq's indented advice is left out.
 * Returns out. */
char *pg_one_line(const char *text, char *out, size_t size);
