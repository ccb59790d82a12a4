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

/* Makes root and nodes; fields of their columns, without names. */
bool plan_tree(struct plan *p, const struct catalog_table *table, size_t depth);
/* Once capture is chosen: adds the links' own keys to the documents, where the log does not tell
 * which document a link was in, so that the index can be asked. */
bool plan_keep_links(struct plan *p);
/* Whether the log tells of a deleted row which document it was in, by its reference to the root. */
bool plan_log_tells(const struct plan *p, const struct catalog_reference *r);
/* Names all fields, and everything in the query. */
bool plan_names(struct plan *p);
/* Finds what affects the documents. */
bool plan_relate(struct plan *p);
