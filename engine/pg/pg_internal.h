/* pg_internal: what the files of this wing share; no other wing includes it.
 *
 *     pg_pool.c         connections, shared
 *     pg_share.c        what the pipelines share of a database
 *     pg_sessions.c     which of the server's sessions are our own
 *     pg_turns.c        who gets a connection next
 *     pg_url.c          what is in a connection string
 *     pg_connect.c      the server's label and parameters, connecting, what a failed connect means
 *     pg_replication.c  the log of a slot as it streams in
 *     pg_timeline.c     whether a log continues that of before, once a standby has taken over
 *     pg.c              queries, rows that stream
 *     pg_ahead.c        rows that arrive while nobody asks for them
 *     pg_types.c        the types of a query's columns
 *     pg_error.c        what libpq reports, as a struct err: the one classification
 */
#pragma once
#include "pg/pg.h"

#include "base/err.h"
#include "base/secret_text.h"
#include "pg/pg_turns.h"

#include <pthread.h>

struct pg_pool;

struct pg {
    struct pg_server *server; /* borrowed: the one that it works for, or last did */
    struct pg_share *share;   /* borrowed: the server's; it outlives that one */
    PGconn *conn;             /* owned */
    uint64_t serial;          /* of the process's connections */
    struct pg_pool *pool;     /* borrowed: that has acquired it */
    enum pg_class class;      /* of that turn */
    /* a script uses it, or has: it works for this server alone. NULL: the engine's statements
     * alone */
    const struct pg_server *script_of;
    struct pg *next;   /* in the list of idle connections */
    int64_t idle_from; /* clock_mono_us */
    PGresult *row;     /* owned: the row that pg_next returned last */
    /* owned: the stream's SQL, for the line number of an error; NULL if there was no memory for
     * it */
    char *sql;
    int pid;        /* of the server process, as listed in the share; 0: not listed */
    bool streaming; /* from pg_stream until the last row or an error */
    bool gathers;   /* the socket is reported as readable only once it holds much: see gather */
    /* of the stream so far; of the stream before it (at first any number) */
    uint64_t rows, expected;
    size_t ahead;    /* bytes of the stream that were read before pg_next asked for them */
    bool ahead_over; /* no more of them will come, or the connection failed: pg_next sees which */
    bool alone;      /* the last statement refused to run in a transaction with others */
    bool broken;     /* unusable: pg_release closes it */
};

/* bytes of a reason, cut to fit into an err's text together with some context */
enum { PG_REASON = 500 };

/* ---- pg.c ---- */

void pg_close(struct pg *pg); /* cancels what runs; NULL is fine */
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

/* ---- pg_url.c ---- */

/* Decides as libpq does whether a dbname is a name or a whole connection string. */
bool pg_url_is_whole(const char *url);

struct pg_url {             /* as it is now; for all threads */
    pthread_mutex_t mutex;  /* for what follows */
    struct secret_text now; /* may contain a password, so it is never printed */
    /* owned; the password, decoded and as it is written: kept out of messages */
    char *secrets[2];
};

bool pg_url_init(struct pg_url *u, const char *text); /* false: no memory */
void pg_url_free(struct pg_url *u);
bool pg_url_is(struct pg_url *u, const char *text);
/* A copy, which the caller owns. NULL: no memory. */
char *pg_url_copy(struct pg_url *u);
/* From now on it is this text, which may have another user and password. False, ERR_USAGE: it
 * differs in more, and nothing has changed. */
bool pg_url_replace(struct pg_url *u, const char *text, struct err *e);
/* Reads the files again that it comes from. False: that failed, or it differs in more. */
bool pg_url_read_again(struct pg_url *u, struct err *e);
/* The server refuses the user or the password of `used`. Reads the files again, unless another
 * thread has done so since. True: it is another one by now. */
bool pg_url_renew(struct pg_url *u, const char *used);
/* The path of the file that it is read from, into out. False: of none. */
bool pg_url_file(struct pg_url *u, char *out, size_t size);
/* Calls hide for each of its secrets. */
void pg_url_hide(struct pg_url *u, void (*hide)(void *arg, const char *secret), void *arg);

/* ---- pg_ahead.c ---- */

/* The row was one of those that were read ahead, if there are any. */
void pg_ahead_passed(struct pg *pg, const PGresult *row);

/* ---- pg_share.c ---- */

enum { PG_SESSIONS = 256 };

struct pg_session { /* ours, on the server */
    int pid;        /* of the server process; 0: a free row */
    /* when that process started, in microseconds since the epoch: after a restart, the server may
     * give a pid that is still listed here to somebody else's session */
    int64_t began_us;
    const struct pg_server *script_of; /* see struct pg */
};

struct pg_share {
    struct pg_share *next; /* of the process; under a lock of their own, as is users */
    struct pg_url url;
    int users;             /* servers */
    pthread_mutex_t mutex; /* for what follows; never held while a server is asked */
    struct pg_turns turns;
    int most;           /* turns, while the server allows that many */
    struct pg *idle;    /* owned: a list, the last released connection first */
    int open;           /* connections, idle or not, or being opened */
    int64_t crowded_us; /* clock_mono_us, when the server refused another one; 0: never */
    bool told;          /* that it does */
    struct pg_session sessions[PG_SESSIONS];
};

enum { PG_ANY_NUMBER = 1 << 20 };
void pg_share_set_most(int connections); /* see pg_pool_set_most */
/* The one for this URL. NULL: no memory. */
struct pg_share *pg_share_get(const char *url);
/* server: it uses the share no longer. Closes its scripts' idle connections, and with the last
 * server all. Safe if it has no share. */
void pg_share_leave(struct pg_server *server);
/* Closes connections that have been idle since before_us; 0: all. script_of: of this one's script
 * alone; NULL: any. */
void pg_share_close_idle(struct pg_share *s, const struct pg_server *script_of, int64_t before_us);

/* ---- pg_sessions.c ---- */

/* Lists the server process among those of our own sessions, or no longer. */
void pg_session_remember(struct pg *pg, int64_t began_us);
void pg_session_forget(struct pg *pg);

/* ---- pg_connect.c ---- */

/* Opens a connection and sets up its session. NULL: e says why. crowded: the server has, or allows
 * us, no more sessions. */
struct pg *pg_open(struct pg_server *s, const struct pg_server *script_of, bool *crowded,
                   struct err *e);
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
