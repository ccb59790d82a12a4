/* candidates: the tables that documents could be made from, the likeliest first.
 *
 * Uses     plan, buf. Pure: text into a buffer.
 */
#pragma once
#include <stdbool.h>

struct buf;
struct catalog;
struct err;

/* Appends one line for each table: its rows, its key, what a document would have. *first: the
 * likeliest, as init takes it; NULL: there are none; borrowed from the catalog's arena. */
bool candidates_list(struct catalog *c, struct buf *out, const char **first, struct err *e);
