/* mapping: a script's mappings and settings compared with an index's: what the index is missing,
 * and what differs.
 *
 * Uses     json_tree, buf, err. No network: index_schema.c asks the server.
 *
 * Servers return mappings in a form of their own: without defaults, "true" for true, without the
 * type of an object. So only the server can say whether a difference matters: whatever may differ
 * is sent as a whole, and the server accepts or refuses it. This module finds what to send, and
 * says in words what was refused.
 *
 * What the index has and the script does not name stays: a field that both have is sent with all
 * that the index says of it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;
struct json_tree;

enum { MAPPING_TEXT = 400 }; /* bytes of a difference in words, with the final zero */

struct mapping_part {             /* of an index's answer: its mappings or settings; borrowed */
    const struct json_tree *tree; /* NULL: there is none */
    size_t node;
};

/* Appends the body of a PUT _mapping that adds to `has` what `wants` (JSON) names beyond it;
 * nothing if it has all of it. *certain: something is certainly missing or different; false: only
 * parameters that the index does not show, perhaps because they are its defaults. Leaves `_meta`
 * out. */
bool mapping_lacking(const struct mapping_part *has, const char *wants, struct buf *out,
                     bool *certain, struct err *e);

/* Writes the difference that a server's refusal of that body (`reason`) is about, in words: "field
 * 'title' has type 'text', the script wants 'keyword'". Empty: none was found. */
bool mapping_difference(const struct mapping_part *has, const char *wants, const char *reason,
                        char out[MAPPING_TEXT], struct err *e);

/* The same for settings that cannot be changed while an index is open; `has` is flat
 * ("index.analysis..."). */
bool mapping_settings_difference(const struct mapping_part *has, const char *wants,
                                 char out[MAPPING_TEXT], struct err *e);

/* Appends the value of one of a script's settings ("refresh_interval", however it is nested), or
 * null. */
bool mapping_add_setting(struct buf *out, const char *settings, const char *name, struct err *e);

struct mapping_meta {         /* what goes into "_meta"; borrowed */
    struct mapping_part has;  /* an index's mappings: their _meta is kept */
    const char *wants;        /* a script's mappings (JSON), or NULL: their _meta is added */
    bool whole;               /* with the rest of `wants`, too */
    const char *name, *value; /* of our member; value is JSON */
};
/* Appends mappings with that "_meta": {"_meta":{...}}. */
bool mapping_add_meta(struct buf *out, const struct mapping_meta *m, struct err *e);
