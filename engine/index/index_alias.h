/* index_alias: aliases: the index that one writes to, and an index that takes another's place.
 *
 * Uses     es, index_request, json_tree, buf, err.
 */
#pragma once
#include "index/index_request.h"

/* The index that an alias of several writes to, into out (INDEX_NAME bytes); empty: none. */
bool index_write_target(struct es *es, const char *alias, char *out, struct err *e);
/* In one step: `alias`, which stood for old, stands for fresh. old NULL: it stood for nothing, and
 * is made. old and alias the same: that index is deleted, and the alias takes its name. */
bool index_swap(struct es *es, const char *alias, const char *old, const char *fresh,
                struct err *e);
/* Told of each index that reindex has made for alias, by its name ("movies-20261124-133005"), and
 * no alias stands for now; the newest first. False ends the call with what it put into e. */
typedef bool index_old_visit(const char *index, void *arg, struct err *e);
bool index_each_old(struct es *es, const char *alias, index_old_visit *visit, void *arg,
                    struct err *e);
