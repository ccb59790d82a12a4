/* pg_internal: what the files of the module pg share; nobody else includes it.
 *
 *     pg_pool.c     idle connections
 *     pg_connect.c  the server's name and parameters, connecting, what a failed connect means
 *     pg.c          queries, rows that stream
 *     pg_error.c    what libpq reports, as a struct err: the one classification
 *     pg_types.c    the types of a query's columns
 *     pg_replication.c  the log as it streams in
 */
#pragma once
#include "pg/pg.h"

#include "base/err.h"

struct pg {
    struct pg_server *server; /* borrowed */
    PGconn *conn;             /* owned */
    struct pg *next;          /* in the pool's list of idle ones */
    PGresult *row;            /* owned: what pg_next has lent */
    /* owned: of the stream, to tell the line of an error; NULL if there was no memory for it */
    char *sql;
    int pid;        /* of the server's process, as noted in server->pids; 0: not yet */
    bool streaming; /* from pg_stream until the last row or an error */
    bool gathers;   /* the socket is ready only once much is there: see gather */
    /* of the stream, so far; as many as the last one had, at first any number */
    uint64_t rows, expected;
    bool alone;  /* the last statement refused to run in a transaction with others */
    bool broken; /* of no use any more: pg_release closes it */
};

enum { PG_REASON = 500 }; /* bytes of a reason, cut to fit into an err's text with some context */

/* ---- pg.c ---- */

void pg_close(struct pg *pg); /* cancels what runs; NULL is fine */
/* Notes the server's process among our own. */
void pg_note_session(struct pg *pg, int64_t began_us);
/* Whether a query can be sent: a script can get here with a connection that it has spoilt. */
bool pg_check_free(struct pg *pg, struct err *e);
/* A round trip: pg_begin, the statements (PQsend...), PQpipelineSync, pg_finish. */
/* fetch: with the settings for a fetch. False: it could not be sent. */
bool pg_begin(struct pg *pg, bool fetch);
struct pg_answers {         /* of one round trip, borrowed */
    const char *const *sql; /* of each statement, for its error */
    PGresult **out;         /* each owned by the caller; all NULL on failure */
    int n;
};
/* Takes the results of the statements, and reads on to the end. sent: false if one of them could
 * not be sent. */
bool pg_finish(struct pg *pg, int sent, const struct pg_answers *a, struct err *e);

/* ---- pg_connect.c ---- */

/* A new connection, with its session set up. NULL: e says why. */
struct pg *pg_open(struct pg_server *s, struct err *e);
/* A new connection that speaks the replication protocol: only pg_replication.c knows how to use
 * it. NULL: e says why. */
struct pg *pg_open_replication(struct pg_server *s, struct err *e);

/* ---- pg_error.c ---- */

/* Replaces the password by "***", should a text of libpq's hold it. conn may be NULL. */
void pg_scrub(const struct pg_server *s, const PGconn *conn, char *text);
/* Passing or final, by SQLSTATE. */
enum err_kind pg_error_kind(const char *sqlstate);
/* The failure that res stands for, which may be NULL (libpq failed before there was one). sql, if
 * not NULL, tells the line. Marks a lost connection as broken. Always returns false. */
bool pg_error(struct pg *pg, const PGresult *res, const char *sql, struct err *e);
/* Copies text as one line: lines joined by "; ", libpq's indented advice left out. Returns out. */
char *pg_one_line(const char *text, char *out, size_t size);
