/* index_alias: aliases: the index that one writes to, and an index that takes another's place.
 *
 * Uses     es, index_request, json, json_tree, buf, err.
 */
#pragma once
#include "index/index_request.h"

/* Copies the write index of an alias of several indexes into out (INDEX_NAME bytes); empty:
 * none. */
bool index_write_target(struct es *es, const char *alias, char *out, struct err *e);
/* Whether the server writes through an alias: of one index, unless is_write_index is false. */
bool index_is_writable(struct es *es, const char *alias, bool *writable, struct err *e);
/* Whether a name is that of an index, or of an alias that neither hides documents nor gives them a
 * routing. */
bool index_is_plain(struct es *es, const char *name, bool *plain, struct err *e);
/* Points `alias` from the index old to the index fresh, in one step. old NULL: the alias is new.
 * old and alias the same: that index is deleted, and the alias takes its name. */
bool index_swap(struct es *es, const char *alias, const char *old, const char *fresh,
                struct err *e);
/* Calls visit for each index that reindex has made for alias ("movies-20261124-133005") and that
 * has no alias now, the newest first. False from visit ends the call with what it put into e. */
typedef bool index_old_visit(const char *index, void *arg, struct err *e);
bool index_each_old(struct es *es, const char *alias, index_old_visit *visit, void *arg,
                    struct err *e);
