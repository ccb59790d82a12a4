/* query_columns: which columns a query may have, as far as its text shows. Only a server can know
 * them; this finds the names that are certainly none.
 *
 * Uses     nothing.
 * Threads  any.
 */
#pragma once
#include <stdbool.h>

/* Whether the query may have a column of that name: the name occurs in it, or it has a `*` that
 * stands for columns. */
bool query_may_have_column(const char *query, const char *column);
