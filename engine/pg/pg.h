/* pg: PostgreSQL client: queries, streamed rows, and the types of their columns.
 *
 * Uses     libpq, secret_text, err, buf, log, stop.
 * Threads  a connection is used by one thread at a time; the server is shared by all of a pipeline,
 *          and the idle connections by all pipelines of a process.
 * Promise  every wait ends at once when a stop is requested. Every failure is classified here, as
 *          passing or final. No message contains a password.
 *
 *     struct pg *pg = pg_acquire(&pool, e);           // pg_pool.h
 *     if (!pg || !pg_stream(pg, sql, 1, &ids, &clock_us, e)) ...
 *     while (pg_next(pg, &row, e) && row) ...         // row: borrowed until the next call
 *     pg_release(&pool, pg);
 */
#pragma once
#include "base/buf.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* ---- the server: one for all threads of a pipeline ---- */

struct pg_share; /* the connections to a database, of all pipelines: pg_pool.h */

struct pg_server {
    char *label; /* owned; "'movies' at 127.0.0.1:5432", for messages */
    /* owned; where the URL comes from, as words for a message; NULL: it is "source.url". Set it
     * before any thread uses the server */
    char *place;
    /* of all servers with this URL, which it holds; if a password in it is refused, and comes from
     * a file, that file is read again */
    struct pg_share *share;
    /* the URL names several, and does not say which: two sessions must not be of a primary and of
     * a standby that is behind it, or a row is found by one and read, as it was before, by the
     * other */
    bool wants_primary;
    /* a connection has succeeded in this run: from then on, a refusal is passing */
    _Atomic bool accepted;
    _Atomic bool answered; /* a server is there, though it may have refused us */
};

/* url: anything that libpq accepts ("postgresql://...", "host=... dbname=..."); the PG* variables
 * supply what it leaves out. Does not connect. False, ERR_USAGE: not a connection string. */
bool pg_server_init(struct pg_server *s, const char *url, struct err *e);
/* Other threads use the server, and from now on this url, which may have another user and password.
 * False, ERR_USAGE: it differs in more, or is none; nothing has changed. */
bool pg_server_replace(struct pg_server *s, const char *url, struct err *e);
/* The name of the database in a url that pg_server_init accepts. False: libpq alone knows it. */
bool pg_url_database(const char *url, char *out, size_t size);
void pg_server_free(struct pg_server *s); /* safe on a zeroed struct */

struct pg; /* a connection: see pg_pool.h */

const struct pg_server *pg_server_of(const struct pg *pg); /* borrowed */
/* The version of the server that answers: 150004 for 15.4. */
int pg_server_version(const struct pg *pg);
/* Another one for each connection of the process: with a new one, another server may answer, as the
 * pool replaces without a word one that was lost while it was idle. */
uint64_t pg_serial(const struct pg *pg);

/* ----  queries ---- */

/* Each call is one transaction, READ COMMITTED, with UTC, ISO dates, UTF-8 and jit off, whatever
 * the session's own settings are: behind a pooler, other programs use the same session. Parameters
 * are text, and NULL is NULL; the server infers their types, so cast them in the SQL. */

struct pg_statement { /* borrowed, for the time of the call */
    const char *sql;
    int n; /* parameters */
    const char *const *params;
    const Oid *types; /* of the parameters; NULL, or 0 for one of them: inferred by the server */
};

/* Runs one statement to its end. *out: owned by the caller (PQclear); NULL on failure. */
bool pg_query(struct pg *pg, const char *sql, int n, const char *const *params, PGresult **out,
              struct err *e);
bool pg_query_statement(struct pg *pg, const struct pg_statement *s, PGresult **out, struct err *e);

/* Checks that an answer has this many rows (-1: any number) and columns; read it only then. False,
 * passing: it has not (a pooler or a broken server may send the answer to another statement); *res
 * is cleared and set to NULL. */
bool pg_expect(struct pg *pg, PGresult **res, int rows, size_t columns, struct err *e);

/* A whole number in an answer; 0 for NULL. Limited to half of int64_t's range, so that the sum of
 * two cannot overflow, whatever the server sent. */
int64_t pg_int(const PGresult *res, int row, int column);
/* A boolean in an answer; false for NULL. */
bool pg_bool(const PGresult *res, int row, int column);

/* Runs two statements in one round trip; the second takes its snapshot after the first has ended.
 * Both results are owned by the caller; NULL on failure. */
bool pg_query_pair(struct pg *pg, const struct pg_statement statements[2], PGresult *out[2],
                   struct err *e);

/* Starts a query whose rows are streamed: at most one is held here at a time. If clock_us is not
 * NULL, it receives the server's clock_timestamp() in microseconds since the epoch, read in the
 * same round trip before the query's snapshot, and the query is planned as one that reads part of a
 * table. Returns while the query runs: its own errors come from pg_next. */
bool pg_stream(struct pg *pg, const struct pg_statement *s, int64_t *clock_us, struct err *e);
/* *row: the next row, as a result of one row, borrowed until the next call; NULL after the last
 * one. After the last row, or an error that did not break the connection, the connection is free
 * for the next query. */
bool pg_next(struct pg *pg, const PGresult **row, struct err *e);
/* While the caller waits for something else, rows of the stream can be read into memory, so that
 * the server goes on with its query: the descriptor to wait for (POLLIN), or -1 if no more rows can
 * come, or if `most` bytes of them were not taken by pg_next yet. */
int pg_ahead_fd(const struct pg *pg, size_t most);
/* Reads what has arrived. Does not wait; an error comes from pg_next. */
void pg_read_ahead(struct pg *pg);

/* Appends the n texts as one array literal, {"a","b"}: a parameter's text for `= ANY($1::T[])`. A
 * NULL text becomes NULL. */
void pg_add_array(struct buf *b, const char *const *texts, size_t n);
/* Appends the pids of our own sessions, and when they began (bigint), as two array literals: of all
 * pipelines of the process, but for those in which another one's script may write. */
void pg_add_own_sessions(const struct pg_server *s, struct buf *pids, struct buf *began);
/* Appends text as an SQL identifier: "like ""this""". */
void pg_add_identifier(struct buf *b, const char *text);

/* ---- types ---- */

/* How a column's text becomes a value. */
enum pg_kind {
    /* also every type not listed below: uuid, enum, inet, interval, ranges, composites ... */
    PG_TEXT,
    PG_INT,   /* int2, int4, int8, oid */
    PG_FLOAT, /* float4, float8 */
    PG_NUMERIC,
    PG_BOOL,
    PG_BYTEA,
    PG_JSON, /* json, jsonb */
    PG_DATE,
    PG_TIMESTAMP,
    PG_TIMESTAMPTZ,
};

struct pg_column {
    char *name; /* owned */
    Oid oid;
    enum pg_kind kind; /* of an array's elements */
    bool array;
    /* floats are written with the fewest digits that read back the same: not before PostgreSQL
     * 12 */
    bool shortest;
    char delimiter; /* between an array's elements: ',' for every type but box */
    char *type;     /* owned; the type's name, as a cast takes it: "timestamp with time zone" */
};

struct pg_columns {
    struct pg_column *list; /* owned */
    size_t n;
    int parameters; /* of the query: $1, $2 */
};

/* Describes the columns that sql would return; it is parsed and planned, not run. A domain counts
 * as its base type, also as the element of an array. */
bool pg_describe(struct pg *pg, const char *sql, struct pg_columns *out, struct err *e);
/* Likewise, with the types of its first n parameters; params are not used. */
bool pg_describe_statement(struct pg *pg, const struct pg_statement *s, struct pg_columns *out,
                           struct err *e);
void pg_columns_free(struct pg_columns *c); /* safe on a zeroed struct */
/* Returns the column's index, or -1. */
int pg_column(const struct pg_columns *c, const char *name);
/* Whether res has just these columns (names and types): a table may be altered between pg_describe
 * and a query. */
bool pg_columns_fit(const struct pg_columns *c, const PGresult *res);
