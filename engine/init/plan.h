/* plan: what the script will say: which tables a document is made of, what their fields are called,
 * and how their changes are noticed.
 *
 * Uses     catalog, column_type, naming, arena. Pure: no server, no output.
 * Promise  of everything that a person would expect in a document but is not there, `notes` or
 *          `left_out` say why.
 *
 * A document is a tree of nodes. The root is the table. A foreign key of a node's table makes an
 * object of the row that it refers to. Foreign keys to the root make arrays of objects: of the rows
 * that refer to it; or, if those only link it to another table, of that table's rows. A path
 * follows at most `depth` foreign keys, and never visits a table twice, but for one step from the
 * root to itself.
 */
#pragma once
#include "init/catalog.h"
#include "init/column_type.h"

#include <stdbool.h>
#include <stddef.h>

struct err;

enum plan_capture { PLAN_AUTO, PLAN_WAL, PLAN_POLL };

struct plan_options {
    const char *table; /* as the user wrote it */
    const char *key;   /* "a,b"; NULL: found */
    const char *index; /* NULL: the table's name */
    enum plan_capture capture;
    size_t depth;
};

struct plan_field {
    const struct catalog_column *column;
    const struct catalog_table *table; /* of the node, or its link */
    const char *name;                  /* in the document */
    struct column_type type;
};

enum plan_shape { PLAN_ROOT, PLAN_OBJECT, PLAN_ARRAY };

struct plan_node {
    enum plan_shape shape;
    const char *name;                  /* the field; of the root: NULL */
    const struct catalog_table *table; /* whose rows they are */
    const char *alias;
    const struct catalog_table *link; /* NULL: none */
    const char *link_alias;
    /* Between the parent's table and this one, or the link; inward: it refers to the parent. */
    const struct catalog_reference *reference;
    bool inward;
    const struct catalog_reference *far; /* from the link to the table */
    const char *row_alias;               /* in the query: one row of an array */
    const char *lateral;                 /* in the query: the object or list */
    struct plan_field *fields;
    size_t n_fields;
    struct plan_node *parent, *first, *next; /* first: of its children */
    const char **left_out;                   /* columns, each with the reason */
    size_t n_left_out;
};

struct plan_related {
    const struct catalog_table *table;
    struct catalog_columns key;
    const struct catalog_column *cursor; /* NULL: none */
    struct catalog_columns affects;      /* its columns with the root's key; n is 0: a query */
    const char **queries;                /* joined by UNION; \1 is between their clauses */
    size_t n_queries;
    const char *index_field; /* where the index has the table's key; NULL: not needed, or nowhere */
};

struct plan_notes { /* lines for people */
    const char **list;
    size_t n;
};

struct plan {
    struct arena arena; /* owns everything below */
    const struct catalog *catalog;
    const char *name, *index;
    struct plan_node *root;
    struct catalog_columns key; /* of the root's table */
    bool key_guessed;
    bool wal;
    const struct catalog_column *cursor; /* of a poll; NULL: none */
    struct plan_related *related;
    size_t n_related;
    struct plan_notes capture;  /* why not the log */
    struct plan_notes indexes;  /* CREATE INDEX statements */
    struct plan_notes identity; /* ALTER TABLE statements: for deleted rows in the log */
    struct plan_notes left_out; /* tables that are not in the document, and why */
};

/* On failure *p is freed. ERR_USAGE: there is no such table, or it has no key. */
bool plan_make(struct plan *p, const struct catalog *c, const struct plan_options *o,
               struct err *e);
void plan_free(struct plan *p); /* safe on a zeroed struct */

/* Finds a table by its name as a user writes it: with or without schema, in any case if it is not
 * ambiguous. NULL, ERR_USAGE: "did you mean". */
const struct catalog_table *plan_find_table(const struct catalog *c, const char *name,
                                            struct err *e);
