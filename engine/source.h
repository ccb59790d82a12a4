/* source: the script's query and its tables as SQL: what each feed and each fetch sends to PostgreSQL.
 *
 * Uses     pipeline, pg, keytext, state (positions).
 * Threads  read-only after source_open, and shared.
 * Promise  the query is wrapped, never edited: SELECT * FROM ( <query> ) q WHERE <a condition on the key>.
 *
 * A key is a text: the document's _id (keytext.h). Three files: see source_internal.h.
 */
#pragma once
#include "buf.h"
#include "pg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct err;
struct pipeline;
struct pipeline_related;
struct position;

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
    char *mark_name;   /* its name in the state: `name`, with "#2" and so on where the script names the table
                          again */
    struct source_key key;
    char *cursor, *cursor_type;             /* NULL: none */
    bool cursor_is_time, cursor_is_instant; /* instant: it has a time zone, so that it can be compared with
                                               the server's clock */
    bool cursor_is_rounded;                 /* by its type: a date, a timestamptz(0) */
    bool row_security;                      /* it may hide rows from us */
    bool has_xmin;                          /* it tells one version of a row from another; a view has none */
    const struct pipeline_related *related; /* borrowed; NULL: the root */
    char *affected; /* SQL: the keys of the root that some of this table's keys affect; NULL for the root */
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

/* Asks the server about the tables, their keys and cursors, and the query. ERR_USAGE, with file and line,
 * where the script does not fit the database. */
bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e);
void source_free(struct source *s); /* bears a zeroed struct */
/* Warns of what is seldom meant: a key that may come twice; a query that has to be run whole for each batch
 * of keys, such as one with a LIMIT. */
bool source_tell(const struct source *s, struct pg *pg, struct err *e);

/* ---- fetching ---- */

/* Starts to fetch a batch's rows; ordered: by the key. clock_us as in pg_stream. */
bool source_fetch(const struct source *s, struct pg *pg, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e);
/* Whether the query runs where no key is asked for. False: e says why not: it is no row's fault. */
bool source_probe(const struct source *s, struct pg *pg, struct err *e);
/* The key of a row of the query, into text (cleared first): borrowed until text changes. NULL: a part of it
 * is NULL, or there is no memory. */
const char *source_key(const struct source *s, const PGresult *row, struct buf *text);

/* ---- walking the root table ---- */

/* Whether we can see any row of a table. */
bool source_has_rows(const struct source *s, struct pg *pg, size_t table, bool *any, struct err *e);
/* How many rows the root table has, by the planner's estimate; 0: not known. */
bool source_estimate(const struct source *s, struct pg *pg, int64_t *rows, struct err *e);
/* The end of a stretch of `rows` keys above `after` (NULL: from the first): *to, owned by the caller; NULL:
 * fewer are left. */
bool source_bound(const struct source *s, struct pg *pg, const char *after, int64_t rows, char **to,
                  struct err *e);

/* Keys, as the caller's list: see source_list_free. */
struct source_list {
    char **keys; /* owned, each */
    size_t n, cap;
};
bool source_list_add(struct source_list *l, const char *key); /* copies; false: no memory */
void source_list_free(struct source_list *l);                 /* bears a zeroed struct */

/* The next `rows` keys above `after` (NULL: the first ones), in order. */
bool source_walk(const struct source *s, struct pg *pg, const char *after, int64_t rows,
                 struct source_list *out, struct err *e);
/* The given keys as the server writes them, without doubles; ERR_USAGE for one that is no such key. */
bool source_canonical(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                      struct source_list *out, struct err *e);
/* Of the given keys (an index's ids) those that the root table does not have: absent; and those that cannot
 * be keys of it at all: alien. */
bool source_absent(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                   struct source_list *absent, struct source_list *alien, struct err *e);

/* ---- following the tables' cursors ---- */

/* The bound below which nothing new can appear: the start of the oldest transaction that is still open. */
struct source_horizon {
    int64_t clock_us;   /* the server's */
    int64_t horizon_us; /* <= clock_us */
    int64_t oldest_us;  /* when the oldest open transaction began; 0: none is open, or it cannot be seen */
    bool hidden; /* sessions whose start we may not see, prepared transactions, a standby: lookback counts */
    bool over_limit; /* the oldest one is past horizon_limit, and does not count any more: */
    char who[200];   /* "process 1234 (psql)" */
};

/* How coarse a table's cursor is. */
struct source_grain {
    bool coarse;     /* a later change may get the very value that the last one had */
    int64_t step_us; /* of a time: its values are multiples of it; 0: of one with a time zone, microseconds */
};
/* By the type, or by the latest values: times that are all whole seconds, minutes, hours or days (a script or
 * an application that truncates them), numbers that come more than once. */
bool source_grain(const struct source *s, struct pg *pg, size_t table, struct source_grain *g, struct err *e);

/* The next page of changed rows of a table: above `from` (cursor NULL: from the first) and not above `to`
 * (NULL, or its cursor NULL: no bound), ordered by cursor and key. `bound` (cursor NULL: none) is only
 * compared with: source_page_below. horizon is read in the same round trip, before the page's snapshot. */
bool source_page(const struct source *s, struct pg *pg, size_t table, const struct position *from,
                 const struct position *to, const struct position *bound, int64_t rows,
                 struct source_horizon *horizon, PGresult **out, struct err *e);
/* Whether a page's row lies at or below the bound (below it, if that has no key). */
bool source_page_below(const struct source *s, size_t table, const PGresult *page, int row);
/* Tells this version of the row from a later one, even if its cursor did not move; NULL: it cannot be told.
 * Borrowed from the page. */
const char *source_page_version(const struct source *s, size_t table, const PGresult *page, int row);
/* The place of a page's row. False: no memory. */
bool source_page_position(const struct source *s, size_t table, const PGresult *page, int row,
                          struct position *out);

/* The place of the table's last row (cursor NULL: it has none), and the horizon, read before. */
bool source_last(const struct source *s, struct pg *pg, size_t table, struct position *last,
                 struct source_horizon *horizon, struct err *e);
/* The root's keys that `keys` of a related table affect: those above `after` (NULL: from the first), `rows`
 * at most, in order, each once. */
bool source_affected(const struct source *s, struct pg *pg, size_t table, const char *const *keys, size_t n,
                     const char *after, int64_t rows, struct source_list *out, struct err *e);

/* How many rows have no cursor, or an infinite one, and are found by the sweep alone: *some, whether there
 * are any. */
bool source_unseen(const struct source *s, struct pg *pg, size_t table, bool *some, struct err *e);
/* Whether an index begins with the table's cursor. If not, the CREATE INDEX that helps is added to sql. */
bool source_has_index(const struct source *s, struct pg *pg, size_t table, bool *has, struct buf *sql,
                      struct err *e);

/* A value given by the user as a position; ERR_USAGE if the server cannot read it. */
bool source_since(const struct source *s, struct pg *pg, size_t table, const char *text, struct position *out,
                  struct err *e);
/* Whether position a of the root lies at or below b. */
bool source_not_above(const struct source *s, struct pg *pg, const struct position *a,
                      const struct position *b, bool *out, struct err *e);
