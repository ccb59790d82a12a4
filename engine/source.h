/* source: the script's query and root table as SQL: what each feed and each fetch sends to PostgreSQL.
 *
 * Uses     pipeline, pg, state (positions).
 * Threads  read-only after source_open, and shared.
 * Promise  the query is wrapped, never edited: SELECT * FROM ( <query> ) q WHERE <a condition on the key>.
 */
#pragma once
#include "pg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct batch;
struct pipeline;
struct position;

struct source {
    const struct pipeline *pipeline; /* borrowed */
    struct pg_columns columns;       /* the query's */
    int key;                         /* the key's index among them */
    char *table;                     /* all owned: the root table, schema and all, quoted */
    char *key_name, *key_type, *cursor_name, *cursor_type;
    bool key_is_array, cursor_is_time;
    char *select; /* SELECT * FROM ( <query> ) q WHERE */
};

/* Asks the server about the table, its key and cursor, and the query. ERR_USAGE, with file and line, where
 * the script does not fit the database. */
bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e);
void source_free(struct source *s); /* bears a zeroed struct */

/* Starts to fetch a batch's rows; ordered: by the key. clock_us as in pg_stream. */
bool source_fetch(const struct source *s, struct pg *pg, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e);

/* How many rows the root table has, by the planner's estimate; 0: not known. */
bool source_estimate(const struct source *s, struct pg *pg, int64_t *rows, struct err *e);

/* The end of a stretch of `rows` keys above `after` (NULL: from the first): *to, owned by the caller; NULL:
 * fewer are left. */
bool source_bound(const struct source *s, struct pg *pg, const char *after, int64_t rows, char **to,
                  struct err *e);

/* The keys as the server writes them, without doubles; ERR_USAGE for one that is no such key. *keys: owned by
 * the caller, PQclear. */
bool source_keys(const struct source *s, struct pg *pg, const char *const *keys, size_t n, PGresult **out,
                 struct err *e);

/* ---- the cursor: only if the pipeline has one ---- */

/* Where changes may be followed from: everything that is committed now lies at or below *position, and
 * nothing that commits later does, as far as we can see: it is the last row's place, held back to the oldest
 * transaction that is still open. *limit: the last row's place, not held back (cursor NULL: the table has no
 * row with a cursor). Both are freed first. */
bool source_horizon(const struct source *s, struct pg *pg, struct position *position, struct position *limit,
                    struct err *e);

/* The next page of changed rows: above `from` up to `limit`, ordered by cursor and key. Columns of *out: key,
 * cursor, cursor in microseconds (NULL if it is no time), and whether the row lies below `horizon` (a
 * position from source_horizon). */
bool source_page(const struct source *s, struct pg *pg, const struct position *from,
                 const struct position *limit, const struct position *horizon, int64_t rows, PGresult **out,
                 struct err *e);

/* A time given by the user as a position; ERR_USAGE if the server cannot read it. */
bool source_since(const struct source *s, struct pg *pg, const char *text, struct position *out,
                  struct err *e);
/* Whether position a lies at or below b. */
bool source_not_above(const struct source *s, struct pg *pg, const struct position *a,
                      const struct position *b, bool *out, struct err *e);
