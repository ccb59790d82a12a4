/* projection_internal: what the files of the module projection share; nobody else includes it.
 *
 *     projection_code.c  a function's code, followed: the fields of each table that it makes
 *     projection.c       those fields in their order, for the columns that a query has; documents
 */
#pragma once
#include "script/projection.h"

#include <string.h>

enum {
    TABLES = 32,
    FIELDS = 512, /* that the function sets */
};

struct name {
    const char *text;
    size_t len;
};

/* What a register or a field holds. */
struct content {
    enum { NIL, COLUMN, CONSTANT, TABLE } type;
    struct name text; /* a column's name, a constant's JSON */
    int table;
};

struct field {
    int table;
    struct name name;
    struct content content;
};

struct table {
    bool is_row; /* all columns are in it, but for those that were set */
    bool held;   /* by another table: it is not to change any more, so that none can hold itself */
};

struct projection {
    struct buf code, constants; /* what names and constants lie in */
    struct table tables[TABLES];
    struct field fields[FIELDS];
    int n_tables, n_fields;
    int document; /* the table that is returned */

    const struct pg_columns *columns; /* those that the steps are for; borrowed */
    struct step *steps;               /* owned; what is written, one after the other */
    size_t n, cap;
    struct buf keys; /* of the steps */
    struct buf scratch;
    bool usable; /* for these columns */
};

/* Follows the code of the function at index. False: it does more than to copy. */
bool projection_read(struct projection *p, lua_State *L, int index);
/* What the function sets in that table, or NULL. */
struct field *projection_field(struct projection *p, int table, struct name name);

static inline bool name_is(struct name a, struct name b)
{
    return a.len == b.len && memcmp(a.text, b.text, a.len) == 0;
}
