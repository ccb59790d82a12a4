/* source: the script's query and its tables as SQL: what each feed and each fetch sends to
 * PostgreSQL.
 *
 * Uses     pipeline, pg, keytext, state (positions).
 * Threads  read-only after source_open, and shared.
 * Promise  the query is wrapped, never edited: SELECT * FROM ( <query> ) q WHERE <a condition on
 *          the key>.
 *
 * A key is a text: the document's _id (keytext.h). Three files: see source_internal.h.
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
    bool nullable;               /* of the root: a row may be without one, which is no document's */
    char *names[SOURCE_KEY_MAX]; /* owned; quoted */
    char *types[SOURCE_KEY_MAX]; /* owned */
    Oid oids[SOURCE_KEY_MAX];
};

/* A table whose changes are followed. */
struct source_table {
    const char *label; /* borrowed: as the script writes it */
    char *name;        /* all owned: with its schema, quoted */
    /* its name in the state: `name`, with "#2" and so on where the script names the table again */
    char *state_name;
    struct source_key key;
    char *cursor, *cursor_type; /* NULL: none */
    /* instant: it has a time zone, so that it can be compared with the server's clock */
    bool cursor_is_time, cursor_is_instant;
    bool row_security; /* it may hide rows from us */
    /* static: the least number of its type; NULL: it has none, or is a time */
    const char *cursor_floor;
    bool has_xmin; /* it tells one version of a row from another; a view has none */
    /* its rows appear by commits on this server: not those of a view, a subscription */
    bool is_ruled;
    char *version;                          /* SQL: what tells a row's versions from each other */
    const struct pipeline_related *related; /* borrowed; NULL: the root */
    /* SQL: the keys of the root that some of this table's keys affect; NULL for the root */
    char *affected;
    size_t parameters;          /* of it: $1 to this one stand for the key's first columns */
    Oid arrays[SOURCE_KEY_MAX]; /* their types; 0: the server's guess */
};

struct source {
    const struct pipeline *pipeline; /* borrowed */
    struct pg_columns columns;       /* the query's */
    int key[SOURCE_KEY_MAX];         /* the root's key columns among them */
    struct source_table *tables;     /* owned; the first is the root */
    size_t n_tables;
    char *select; /* owned: SELECT * FROM ( <query> ) q WHERE */
};

/* Asks the server about the tables, their keys and cursors, and the query. ERR_USAGE, with file and
 * line, where the script does not fit the database. */
bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e);
void source_free(struct source *s); /* bears a zeroed struct */
/* Warns of what is seldom meant: a key that may come twice; a query that has to be run whole for
 * each batch of keys, such as one with a LIMIT. */
bool source_warn(const struct source *s, struct pg *pg, struct err *e);

/* ---- fetching ---- */

/* Starts to fetch a batch's rows; ordered: by the key. clock_us as in pg_stream. */
bool source_fetch(const struct source *s, struct pg *pg, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e);
/* Whether the query runs where no key is asked for. False: e says why not: it is no row's fault. */
bool source_probe(const struct source *s, struct pg *pg, struct err *e);
/* The key of a row of the query, into text (cleared first): borrowed until text changes. NULL: a
 * part of it is NULL, or there is no memory. */
const char *source_key(const struct source *s, const PGresult *row, struct buf *text);

/* ---- walking the root table ---- */

/* Whether we can see any row of a table. */
bool source_has_rows(const struct source *s, struct pg *pg, size_t table, bool *any, struct err *e);
/* How many rows the root table has, by the planner's estimate; 0: not known. */
bool source_estimate(const struct source *s, struct pg *pg, int64_t *rows, struct err *e);
/* The end of a chunk of `rows` keys above `after` (NULL: from the first): *to, owned by the
 * caller; NULL: fewer are left. */
bool source_chunk_end(const struct source *s, struct pg *pg, const char *after, int64_t rows,
                      char **to, struct err *e);

/* The next `rows` keys above `after` (NULL: the first ones), in order. */
bool source_walk(const struct source *s, struct pg *pg, const char *after, int64_t rows,
                 struct keylist *out, struct err *e);
/* The given keys as the server writes them, without doubles; ERR_USAGE for one that is no such
 * key. */
bool source_canonical(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                      struct keylist *out, struct err *e);
/* Of the given keys (an index's ids) those that the root table does not have: absent; and those
 * that cannot be keys of it at all: malformed. */
bool source_missing(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                    struct keylist *absent, struct keylist *malformed, struct err *e);

/* ---- following the tables' cursors ---- */

/* What the server says in the round trip of a page, before the page's snapshot. */
struct source_report {            /* bears being zeroed */
    struct watermark_report mark; /* its sessions are `sessions` */
    char *sessions;               /* owned; NULL: not asked */
    bool hidden; /* there are sessions whose start may not be seen, or prepared transactions */
    bool standby;
    char who[200]; /* the oldest one's: "process 1234 (psql)" */
};
void source_report_free(struct source_report *r);

/* How the rows of a table appear, and when its window begins: see watermark.h. standby: the server
 * is one. */
struct watermark_rule source_rule(const struct source *s, size_t table, bool standby);

/* What a page is read of. */
struct source_page_request {
    /* from: cursor NULL: the first row. Borrowed, as are all of these */
    const struct position *from, *seen;
    int64_t slack; /* below from, see watermark_slack; 0: from's key counts */
    /* rows not above seen count if their xmin is not below it */
    uint64_t xid;
    /* a page before ended here; cursor NULL: this is the first one */
    const struct position *behind;
    /* rows above it do not count, unless they were seen; cursor NULL: no end */
    const struct position *to;
    bool sessions; /* is the report to name the open transactions? */
    /* the rows' versions cannot be read: a column of a view raises on one of them */
    bool no_versions;
};
/* The next page of rows that may be new, ordered by cursor and key. *report: read in the same round
 * trip, before the page's snapshot; freed first. */
bool source_page(const struct source *s, struct pg *pg, size_t table,
                 const struct source_page_request *look, int64_t rows, struct source_report *report,
                 PGresult **out, struct err *e);
/* Whether a page's row lies above what was seen. */
bool source_page_above(const struct source *s, size_t table, const PGresult *page, int row);
/* Tells this version of the row from a later one, even if its cursor did not move. Borrowed from
 * the page. */
const char *source_page_version(const struct source *s, size_t table, const PGresult *page,
                                int row);
/* Whether a later page may bring this version of the row again, as the window moves on from a look
 * that began with `report`. */
bool source_page_returns(const struct source *s, size_t table, const PGresult *page, int row,
                         const struct watermark_report *began);
/* Of a page with rows: all transactions below it had ended when the page was read. */
uint64_t source_page_xid(const struct source *s, size_t table, const PGresult *page);
/* The place of a page's row. False: no memory. */
bool source_page_position(const struct source *s, size_t table, const PGresult *page, int row,
                          struct position *out);

/* The place of the table's last row (cursor NULL: it has none), and the report, read before. */
bool source_last(const struct source *s, struct pg *pg, size_t table, struct position *last,
                 struct source_report *report, struct err *e);
/* What transaction ids belong to: the cluster and its timeline. Owned by the caller. NULL: e says
 * why. */
char *source_server(const struct source *s, struct pg *pg, struct err *e);
/* The root's keys that `keys` of a related table affect: those above `after` (NULL: from the
 * first), `rows` at most, in order, each once. */
bool source_affected(const struct source *s, struct pg *pg, size_t table, const char *const *keys,
                     size_t n, const char *after, int64_t rows, struct keylist *out, struct err *e);

/* How many rows have no cursor, or an infinite one, and are found by the sweep alone: *some,
 * whether there are any. */
bool source_unseen(const struct source *s, struct pg *pg, size_t table, bool *some, struct err *e);
/* Whether an index begins with the table's cursor. If not, the CREATE INDEX that helps is added to
 * sql. */
bool source_has_index(const struct source *s, struct pg *pg, size_t table, bool *has,
                      struct buf *sql, struct err *e);

/* A value given by the user as a position; ERR_USAGE if the server cannot read it. */
bool source_since(const struct source *s, struct pg *pg, size_t table, const char *text,
                  struct position *out, struct err *e);
/* Whether position a of the root lies at or below b. */
bool source_not_above(const struct source *s, struct pg *pg, const struct position *a,
                      const struct position *b, bool *out, struct err *e);
