/* script_example: rows and documents that are written by hand: in a script's `examples`, or as
 * JSON. A document is made of such a row as of one that PostgreSQL sent.
 *
 * Uses     script, pipeline, script_lines, query_columns, lua_json, lua_values, row, pg (types),
 *          libpq.
 * Threads  one, that of its script.
 * Promise  no server is asked. The document comes out of script_document, as in a run.
 *
 *     script_example.c        examples are read, and their documents made
 *     script_example_value.c  a Lua value as PostgreSQL would print it
 *
 * The values of a row become columns: a string is a text (or a bytea, if it is not UTF-8), numbers
 * are bigint, double precision or numeric, a list of plain values of one type is an array, any
 * other table is json. A column that the row does not have is NULL, if the query may have it: if
 * its name occurs in the query, or the query has a `*`.
 */
#pragma once
#include "pg/pg.h"

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;
struct pipeline;
struct script;
struct script_made;

struct script_example_cell { /* a column's value */
    struct pg_column column; /* owned */
    char *text;              /* owned; as PostgreSQL would print it; NULL is NULL */
    size_t len;
};

struct script_example {
    const char *query;                 /* borrowed */
    struct script_example_cell *cells; /* owned; sorted by name */
    size_t n, cap;
    char *key;            /* owned; for messages */
    char *document;       /* owned; JSON; NULL: there is to be none */
    int line, field_line; /* of the script: the example's, and its document's; 0: not known */
};

struct script_examples {
    struct script_example *list; /* owned */
    size_t n;
};

/* Reads the script's examples; p: read from the same script. ERR_USAGE, with file and line: one of
 * them is not { row = { ... }, document = { ... } }, or has a column that the query has not. */
bool script_examples_read(struct script_examples *out, struct script *s, const struct pipeline *p,
                          struct err *e);
void script_examples_free(struct script_examples *x); /* safe on a zeroed struct */

/* Reads one JSON object as a row. */
bool script_example_read_json(struct script_example *out, struct script *s,
                              const struct pipeline *p, const struct buf *json, struct err *e);
void script_example_free(struct script_example *x); /* safe on a zeroed struct */

/* Makes the row's document, as script_document does. May add columns (NULL) to the example. */
bool script_example_make(struct script *s, struct script_example *x, struct buf *out,
                         struct script_made *made, struct err *e);
