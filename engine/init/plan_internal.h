/* plan_internal: the parts of plan.
 *
 *     plan.c          the table, its key, and how its changes are captured
 *     plan_tree.c     the nodes
 *     plan_names.c    their fields' names, and the aliases of the query
 *     plan_related.c  the tables whose changes count, with what they affect
 */
#pragma once
#include "init/plan.h"

bool plan_note(struct plan *p, struct plan_notes *notes, const char *line);
/* The best cursor of a table; NULL: none. */
const struct catalog_column *plan_cursor(const struct catalog_table *t);

/* Makes root and nodes; fields of their columns, without names. */
bool plan_tree(struct plan *p, const struct catalog_table *table, size_t depth);
/* Names all fields, and everything in the query. */
bool plan_names(struct plan *p);
/* Finds what affects the documents. */
bool plan_relate(struct plan *p);
