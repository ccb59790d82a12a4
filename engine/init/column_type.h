/* column_type: how a column's values are best searched: its mapping, and what the query says if the
 * column as it is will not do.
 *
 * Uses     arena, catalog. Pure.
 */
#pragma once
#include "init/arena.h"
#include "init/catalog.h"

#include <stdbool.h>

/* A text that is searched by its words, and sorted by as a whole: as the local of the script that
 * stands for it, and what it is. */
#define COLUMN_TYPE_TEXT "text"
#define COLUMN_TYPE_TEXT_IS                                                                        \
    "{ type = \"text\", fields = { keyword = { type = \"keyword\", ignore_above = 256 } } }"

struct column_type {
    /* a field of the mapping, as Lua: { type = "keyword" } */
    const char *mapping;
    /* SQL, in which the column is written as \1; NULL: the column as it is */
    const char *expression;
    const char *left_out; /* why it is better not in a document; NULL: it is in it */
};

/* key: the column identifies rows, or refers to one that does: its value must stay as it is. */
void column_type_of(struct arena *a, const struct catalog_column *c, bool key,
                    struct column_type *out);

/* The column that best says when a row last changed; NULL: none. */
const struct catalog_column *column_best_cursor(const struct catalog_table *t);
/* Whether it is about the row as such: when it was created or last changed. */
bool column_is_bookkeeping(const struct catalog_column *c);
