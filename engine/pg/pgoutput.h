/* pgoutput: the messages of PostgreSQL's logical decoding plugin of that name, read.
 *
 * Uses     err. No connection, no allocation: bytes in, an event out.
 * Promise  an event is accepted whole or not at all: pgoutput_read has checked every length, so
 *          the functions that look into it cannot fail. What an event points to is borrowed from
 *          the message.
 *
 *     struct pgoutput_event event;
 *     if (!pgoutput_read(data, len, &event, e)) ...
 *     struct pgoutput_value v;
 *     if (event.kind == PGOUTPUT_INSERT && pgoutput_value(&event.new_row, 0, &v)) ...
 *
 * It reads protocol version 1 as PostgreSQL's documentation describes it ("Logical Replication
 * Message Formats"). The later versions add messages for what has to be asked for (transactions
 * streamed before they commit, two-phase commits); the engine does not ask, and such a message is
 * an error. A transaction arrives as BEGIN, its changes, COMMIT: whole, in the order of commits.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* PostgreSQL counts its times from 2000-01-01: that, in microseconds since 1970. */
#define PGOUTPUT_EPOCH_US INT64_C(946684800000000)

enum pgoutput_kind {
    PGOUTPUT_BEGIN = 'B',
    PGOUTPUT_COMMIT = 'C',
    PGOUTPUT_ORIGIN = 'O',   /* the transaction came from another server, by replication */
    PGOUTPUT_RELATION = 'R', /* precedes the first change of a table, and the first after ALTER */
    PGOUTPUT_TYPE = 'Y',
    PGOUTPUT_INSERT = 'I',
    PGOUTPUT_UPDATE = 'U',
    PGOUTPUT_DELETE = 'D',
    PGOUTPUT_TRUNCATE = 'T',
    PGOUTPUT_MESSAGE = 'M', /* of pg_logical_emit_message */
};

/* What of a row an old version holds. */
enum pgoutput_old {
    PGOUTPUT_OLD_NONE,
    PGOUTPUT_OLD_KEY = 'K', /* the columns of the replica identity; the others are NULL */
    PGOUTPUT_OLD_ROW = 'O', /* all columns: REPLICA IDENTITY FULL */
};

/* A row's columns, in the order of its relation. */
struct pgoutput_row {
    const unsigned char *at;
    size_t len;
    int n;
};

struct pgoutput_value {
    enum {
        PGOUTPUT_NULL = 'n',
        PGOUTPUT_UNCHANGED = 'u', /* a large value that the change did not touch: not in the log */
        PGOUTPUT_TEXT = 't',
    } kind;
    const char *text; /* of PGOUTPUT_TEXT; not terminated */
    size_t len;
};

struct pgoutput_column {
    const char *name;
    uint32_t type; /* oid */
    bool is_key;   /* of the replica identity */
};

struct pgoutput_event {
    enum pgoutput_kind kind;
    uint32_t xid;      /* BEGIN; of 32 bits, as the log has it */
    uint64_t lsn;      /* BEGIN, COMMIT: of the commit record; MESSAGE, ORIGIN: its own */
    uint64_t end;      /* COMMIT: the position after the transaction */
    int64_t commit_us; /* BEGIN, COMMIT: the commit's time, in microseconds since the epoch */
    uint32_t relation; /* RELATION, INSERT, UPDATE, DELETE: the table's oid */
    /* RELATION: the schema (empty: pg_catalog), the table; MESSAGE: the prefix; TYPE, ORIGIN: the
     * name */
    const char *schema, *name;
    char identity;               /* RELATION: 'd' default, 'n' nothing, 'f' full, 'i' an index */
    enum pgoutput_old old;       /* UPDATE, DELETE */
    struct pgoutput_row old_row; /* UPDATE, DELETE, unless there is none */
    struct pgoutput_row new_row; /* INSERT, UPDATE */
    int n;                       /* RELATION: columns; TRUNCATE: relations */
    const unsigned char *list;   /* of those; pgoutput_column and pgoutput_truncated read it */
    size_t list_len;
    bool cascade, restart; /* TRUNCATE */
};

/* Reads one message, the content of XLogData. False, ERR_FINAL: it is damaged, or not one of those
 * above. */
bool pgoutput_read(const void *data, size_t len, struct pgoutput_event *event, struct err *e);

/* The i-th value of a row, from 0. False: the row has fewer. */
bool pgoutput_value(const struct pgoutput_row *row, int i, struct pgoutput_value *value);
/* The i-th column of a RELATION. False: it has fewer. */
bool pgoutput_column(const struct pgoutput_event *event, int i, struct pgoutput_column *column);
/* The oid of the i-th relation of a TRUNCATE; 0: it has fewer. */
uint32_t pgoutput_truncated(const struct pgoutput_event *event, int i);
