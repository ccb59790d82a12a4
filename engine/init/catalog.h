/* catalog: what a live database says about itself: its tables, columns, keys and indexes, and what
 * the role may do there.
 *
 * Uses     arena, pg.
 * Threads  one.
 * Promise  plain structs that point to each other: whoever plans from them needs no server. They
 *          hold all tables and views that are the user's; a partition is no table of its own. All
 *          names are as the server has them, unquoted.
 */
#pragma once
#include "init/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct pg;

enum { CATALOG_KEY_MAX = 32 }; /* columns of an index or a foreign key: PostgreSQL's own limit */

struct catalog_column {
    const char *name;
    const char *comment; /* NULL: none */
    /* For an array, these are about its elements; a domain counts as its base type. */
    const char *type;   /* "character varying(10)" */
    const char *base;   /* "varchar" */
    const char *schema; /* of the type */
    char kind;          /* pg_type.typtype: b, c, e, m, r */
    int modifier;       /* -1: none */
    bool array, not_null, readable;
};

/* Of some table, in this order: indexes into its columns. */
struct catalog_columns {
    size_t n;
    size_t at[CATALOG_KEY_MAX];
};

struct catalog_index { /* one on columns alone, of all rows */
    struct catalog_columns columns;
    bool unique, primary;
    bool identity;   /* chosen as the replica identity */
    bool deferrable; /* may be checked at the end of a transaction: it cannot be the identity */
};

struct catalog_table {
    uint32_t oid;
    const char *schema, *name;
    const char *comment; /* NULL: none */
    char kind;           /* pg_class.relkind: r, p, v, m, f */
    char identity;       /* pg_class.relreplident: d, n, f, i */
    int64_t rows;        /* the planner's estimate; -1: not known */
    bool visible;        /* the search path finds it without its schema */
    bool readable, owned;
    bool logged;      /* its changes are in the write-ahead log, under its own name */
    bool has_virtual; /* virtual generated columns: the log cannot have the whole row */
    struct catalog_column *columns;
    size_t n_columns;
    struct catalog_index *indexes;
    size_t n_indexes;
};

struct catalog_reference { /* a foreign key */
    const char *name;
    const struct catalog_table *from, *to;
    struct catalog_columns columns, targets; /* of from; of to, in the same order */
    bool cascades;                           /* a deleted target takes the row with it */
};

struct catalog {
    struct arena arena; /* owns everything below */
    struct catalog_table *tables;
    size_t n_tables; /* ordered by schema and name */
    struct catalog_reference *references;
    size_t n_references; /* ordered by the names of table and key */
    /* words that an SQL name must be quoted for */
    const char **keywords;
    size_t n_keywords;
    const char *wal_level, *role, *database;
    bool may_replicate; /* the role may make a slot */
    bool may_publish;   /* it may make a publication of tables that it owns */
    bool has_slots, standby;
    int version; /* 180006 */
};

/* Reads all of it. On failure *c is freed. */
bool catalog_read(struct catalog *c, struct pg *pg, struct err *e);
void catalog_free(struct catalog *c); /* safe on a zeroed struct */

/* ---- questions ---- */

/* The index that identifies a row: the primary key, else a unique index on columns that are never
 * NULL. NULL: none. */
const struct catalog_index *catalog_identity(const struct catalog_table *t);
/* Whether an index begins with these columns, in any order. */
bool catalog_has_index(const struct catalog_table *t, const struct catalog_columns *c);
/* Whether at most one row has the same values in these columns. */
bool catalog_is_unique(const struct catalog_table *t, const struct catalog_columns *c);
/* Whether the log has the old values of these columns when a row is changed or deleted. */
bool catalog_keeps_old(const struct catalog_table *t, const struct catalog_columns *c);
/* Whether both are the same columns, in any order. */
bool catalog_same_columns(const struct catalog_columns *a, const struct catalog_columns *b);
bool catalog_has_column(const struct catalog_columns *c, size_t column);
