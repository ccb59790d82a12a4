/* source: the script's query and its tables as SQL: every statement that reads the user's rows.
 *
 * Uses     pipeline, pg, key, keylist, batch, checkpoint (positions), watermark.
 * Threads  a source is read-only after source_open, and shared by all threads; a reader belongs to
 *          one thread, as its connection does.
 * Promise  the query is wrapped, never edited: SELECT * FROM ( <query> ) q WHERE <a condition on
 *          the key>.
 *
 * A key is a text: the document's _id (model/key.h). The root is the table that documents are made
 * from, one for each row; related tables are those whose changes affect documents of the root.
 * source_internal.h lists the files of this module.
 */
#pragma once
#include "base/buf.h"
#include "model/keylist.h"
#include "model/watermark.h"
#include "pg/pg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct err;
struct pipeline;
struct pipeline_related;

enum { SOURCE_KEY_MAX = 32 }; /* columns of a composite key: PostgreSQL's own limit for an index */

struct source_key {
    size_t n;
    bool nullable;               /* of the root: a row may lack a key, and is then no document's */
    char *names[SOURCE_KEY_MAX]; /* owned; quoted */
    char *types[SOURCE_KEY_MAX]; /* owned */
    Oid oids[SOURCE_KEY_MAX];
    char *columns; /* owned; SQL: the names, "a, b" */
    char *aliases; /* owned; SQL: as columns of a list of keys, "k0, k1" */
};

/* A table whose changes are followed. */
struct source_table {
    const char *label; /* borrowed: the name as the script writes it */
    char *name;        /* owned; with its schema, quoted */
    char *state_name;  /* owned; in the state: `name`, with "#2" and so on if it is named again */
    const struct pipeline_related *related; /* borrowed; NULL: the root */
    bool row_security;                      /* policies may hide rows from us */
    bool has_xmin;     /* xmin changes with each version of a row; a view has none */
    bool commits_here; /* rows appear by commits on this server: not of a view, a subscription */
    struct source_key key;

    char *cursor, *cursor_type;     /* owned; NULL: none */
    bool cursor_is_time;            /* a timestamp or a date */
    bool cursor_is_instant;         /* it has a time zone, so the server's clock compares with it */
    const char *cursor_lowest;      /* static; the lowest number of its type; NULL: no such limit */
    char *cursor_us, *has_position; /* owned; SQL: see source_table.c */
    char *version;                  /* owned; SQL: a value that differs between versions of a row */

    char *affected;             /* owned; SQL: the root's keys that given rows affect; NULL: root */
    size_t parameters;          /* of `affected`: $1 to $n are arrays of the key's columns */
    Oid arrays[SOURCE_KEY_MAX]; /* the types of these arrays; 0: the server infers it */
    bool affects_as_is;         /* it is columns, whose values have the text of the root's key */
};

struct source {
    const struct pipeline *pipeline; /* borrowed */
    struct pg_columns columns;       /* the query's */
    int key[SOURCE_KEY_MAX];         /* which of them are the root's key */
    struct source_table *tables;     /* owned; the first is the root */
    size_t n_tables;
    char *select; /* owned: SELECT * FROM ( <query> ) q WHERE */
};

/* Looks up the tables, their keys and cursors, and the query. ERR_USAGE, with file and line: the
 * script does not fit the database. On failure *s is freed. */
bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e);
void source_free(struct source *s); /* safe on a zeroed struct */
/* Warns of what is allowed but seldom meant: a key that several rows may share; a query that
 * PostgreSQL runs whole for each batch of keys, such as one with a LIMIT. */
bool source_warn(const struct source *s, struct pg *pg, struct err *e);

/* A table of the source, and the connection to read it with. All borrowed. */
struct source_reader {
    const struct source *source;
    const struct source_table *table;
    struct pg *pg;
};
/* table: an index into s->tables; 0: the root. */
static inline struct source_reader source_reader(const struct source *s, size_t table,
                                                 struct pg *pg)
{
    return (struct source_reader){s, &s->tables[table], pg};
}

/* ---- documents' rows: readers of the root ---- */

/* Starts to fetch a batch's rows, which pg_next returns. ordered: by the key. clock_us: as in
 * pg_stream. */
bool source_fetch(const struct source_reader *root, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e);
/* Whether the query runs when no key is asked for. False: e says why not; no row is to blame. */
bool source_probe(const struct source_reader *root, struct err *e);
/* The key of a row of the query, in `text`: borrowed until text changes. NULL: a part of the key is
 * NULL, or there is no memory (text->failed). */
const char *source_key(const struct source *s, const PGresult *row, struct buf *text);

/* The plan (EXPLAIN's JSON, one row) of the fetch of a key, or for a related table of `affects`, if
 * the server reads no table whole unless it has to. *out: owned by the caller. */
bool source_explain(const struct source_reader *r, PGresult **out, struct err *e);

/* ---- keys of the root table: readers of the root ---- */

/* How many rows the table has, by the planner's estimate; 0: not known. */
bool source_estimate(const struct source_reader *root, int64_t *rows, struct err *e);
/* How many rows have no key, as a part of it is NULL: none, unless the key is nullable. */
bool source_count_keyless(const struct source_reader *root, int64_t *rows, struct err *e);
/* The last of the next `rows` keys above `after` (NULL: from the first): *to, owned by the caller;
 * NULL: fewer keys are left. */
bool source_chunk_end(const struct source_reader *root, const char *after, int64_t rows, char **to,
                      struct err *e);
/* Adds the next `rows` keys above `after` (NULL: from the first), in order. */
bool source_walk(const struct source_reader *root, const char *after, int64_t rows,
                 struct keylist *out, struct err *e);
/* Adds the keys of n random rows. */
bool source_sample(const struct source_reader *root, int64_t n, struct keylist *out, struct err *e);
/* Adds the given keys as the server writes them, each once. ERR_USAGE: one of them cannot be a key
 * of the table. */
bool source_canonical(const struct source_reader *root, const char *const *keys, size_t n,
                      struct keylist *out, struct err *e);

struct source_rowless {       /* keys (ids of an index) that no row of the root table has */
    struct keylist missing;   /* keys without a row */
    struct keylist malformed; /* texts that cannot be a key of the table */
};
void source_rowless_free(struct source_rowless *r); /* safe on a zeroed struct */
/* Adds those of the given keys that no row has. */
bool source_find_rowless(const struct source_reader *root, const char *const *keys, size_t n,
                         struct source_rowless *out, struct err *e);

/* ---- a table's cursor ---- */

/* How the table's rows appear, and where its window begins: see watermark.h. standby: the server is
 * one. */
struct watermark_rule source_rule(const struct source *s, size_t table, bool standby);
/* Whether we can see any row of the table. */
bool source_has_rows(const struct source_reader *r, bool *any, struct err *e);
/* Whether some rows have no cursor, or an infinite one: only a sweep finds them. */
bool source_has_unseen(const struct source_reader *r, bool *some, struct err *e);
/* Whether an index begins with the table's cursor. If not, adds the CREATE INDEX that helps to
 * sql. */
bool source_has_index(const struct source_reader *r, bool *has, struct buf *sql, struct err *e);
/* A cursor given by the user as a position without a key. ERR_USAGE: the server cannot read it. */
bool source_since(const struct source_reader *r, const char *text, struct position *out,
                  struct err *e);
/* Whether position a lies at or below b. */
bool source_not_above(const struct source_reader *r, const struct position *a,
                      const struct position *b, bool *out, struct err *e);

/* ---- following a table: what the server reports ---- */

/* The open transactions and the clock, read in the round trip of a page, before the page's
 * snapshot. */
struct source_report {                 /* a zeroed one is empty */
    struct watermark_report watermark; /* its sessions are `sessions` */
    char *sessions;                    /* owned; NULL: not asked for */
    bool hidden;   /* a session's start cannot be seen, or a transaction is prepared */
    bool standby;  /* the server is one */
    char who[200]; /* the session of the oldest transaction: "process 1234 (psql)" */
};
void source_report_free(struct source_report *r);
/* The cluster and its timeline, to which transaction ids belong. Owned by the caller. NULL: e says
 * why. */
char *source_server(const struct source_reader *r, struct err *e);
/* The position of the table's last row (cursor NULL: it has none), and the report before it. */
bool source_last(const struct source_reader *r, struct position *last, struct source_report *report,
                 struct err *e);

/* The report alone. */
bool source_read_report(const struct source_reader *r, struct source_report *report, struct err *e);

/* ---- the rows that lead to a document ---- */

enum { SOURCE_TRACE_ROWS = 100 * 1000 };

struct source_trace {             /* rows of a table that affect one document */
    struct keylist keys, cursors; /* of each; a cursor that is NULL, or is not there: "" */
};
void source_trace_free(struct source_trace *t); /* safe on a zeroed struct */
/* Adds at most `limit` of the table's rows that affect the document with this key of the root; of
 * the root itself, its row. If `affects` is a query, it is asked for the table's first
 * SOURCE_TRACE_ROWS rows only. */
bool source_trace(const struct source_reader *r, const char *key, int64_t limit,
                  struct source_trace *out, struct err *e);

/* ---- following a table: pages of rows, ordered by cursor and key ---- */

/* Which rows a page is read from. All borrowed; a position whose cursor is NULL sets no limit. */
struct source_page_request {
    const struct position *from; /* the window's lower end; `seen` itself: only rows above it */
    int64_t slack; /* how far below `from` to begin, see watermark_slack; 0: from's key counts */
    const struct position *seen;  /* the highest row seen before */
    uint64_t xid;                 /* rows up to `seen` count only if their xmin is not below it */
    const struct position *after; /* the end of the page before this one */
    const struct position *to;    /* rows above it do not count, unless they are at most `seen` */
    int64_t rows;                 /* at most */
    bool sessions;                /* name the open transactions in the report */
    bool no_versions;             /* a column of a view raises: do not read the rows' versions */
};
/* The next page of rows that may be new: *page, owned by the caller (PQclear); *report, freed
 * first. The functions below read the page; t is its table. */
bool source_page(const struct source_reader *r, const struct source_page_request *request,
                 struct source_report *report, PGresult **page, struct err *e);
/* The position of a row. False: no memory. */
bool source_page_position(const struct source_table *t, const PGresult *page, int row,
                          struct position *out);
/* Whether a row lies above request.seen. */
bool source_page_is_above(const struct source_table *t, const PGresult *page, int row);
/* Differs between versions of a row, even if the cursor did not move. Borrowed from the page. */
const char *source_page_version(const struct source_table *t, const PGresult *page, int row);
/* Whether a page of a later pass may contain this version of the row again. began: the report that
 * the present pass began with. */
bool source_page_returns(const struct source_table *t, const PGresult *page, int row,
                         const struct watermark_report *began);
/* Of a page with rows: all transactions below it had ended when the page was read. */
uint64_t source_page_xid(const struct source_table *t, const PGresult *page);

/* ---- following a table: the documents that its rows affect ---- */

struct source_changed {      /* rows of a related table; borrowed */
    const char *const *keys; /* of the related table */
    size_t n;
    const char *after; /* root keys above it; NULL: from the first */
    int64_t rows;      /* root keys at most */
};
/* Adds the root's keys that the changed rows affect, in order, each once. */
bool source_affected(const struct source_reader *r, const struct source_changed *changed,
                     struct keylist *out, struct err *e);
