/* mapping: a script's mappings and settings beside those of an index: what the index lacks, and
 * what differs.
 *
 * Uses     tree, buf, err. No network: index_schema.c asks the server.
 *
 * Servers give mappings back in their own form: defaults left out, "true" for true, no type for an
 * object. So whether a difference matters is for the server to say: whatever may differ is put, as
 * a whole, and refused or not. What stands here finds out what to put, and says in words what was
 * refused.
 *
 * What the index says and the script does not stays: a field that both have is put with all that
 * the index says of it besides.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;
struct json_tree;

/* The body of a PUT _mapping that gives node `has` of an index's answer what `wants` (JSON) names
 * beyond it; nothing is added to out if it has all of it. *certain: something is surely missing or
 * different; else there are only parameters that the index does not show, perhaps because they are
 * its defaults. `_meta` is left out. */
bool mapping_lacking(const struct json_tree *t, size_t has, const char *wants, struct buf *out,
                     bool *certain, struct err *e);

/* The difference that a server's refusal of that body is about, in words: "field 'title' has type
 * 'text', the script wants 'keyword'". Empty: none was found. */
bool mapping_difference(const struct json_tree *t, size_t has, const char *wants,
                        const char *reason, char *out, size_t size, struct err *e);

/* The same of settings that an open index never changes; `has` is flat ("index.analysis..."). */
bool mapping_settings_difference(const struct json_tree *t, size_t has, const char *wants,
                                 char *out, size_t size, struct err *e);

/* Adds the value of one of a script's settings ("refresh_interval", however it is nested), or
 * null. */
bool mapping_add_setting(struct buf *out, const char *settings, const char *name, struct err *e);

/* Adds {"_meta":{...}}: what `has` holds there (0: nothing), what `wants` (JSON or NULL) does, and
 * "NAME": VALUE. whole: with all of wants. */
bool mapping_add_meta(struct buf *out, const struct json_tree *t, size_t has, const char *wants,
                      bool whole, const char *name, const char *value, struct err *e);
