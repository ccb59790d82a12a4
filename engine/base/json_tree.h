/* json_tree: a JSON text as a tree, for what has to be looked up and compared: mappings, settings, their
 * answers.
 *
 * Uses     json, err.
 * Promise  any text is read, or refused; values are slices of it, so it must outlive the tree.
 *
 *     struct json_tree t;
 *     if (json_tree_read(&t, text, len, e))
 *         for (size_t i = json_tree_first(&t, json_tree_find(&t, 1, "properties")); i; i = t.nodes[i].next)
 *             ... t.nodes[i].name, t.nodes[i].value ...
 *     json_tree_free(&t);
 *
 * Node 1 is the whole; 0 is no node, has no members and no text.
 */
#pragma once
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;

struct json_tree_text { /* as it stands in the JSON text: strings with their quotes */
    const char *at;
    size_t len;
};

struct json_tree_node {
    enum json_token kind; /* JSON_OBJECT, JSON_ARRAY, or a scalar's */
    struct json_tree_text name, value;
    size_t first, last, next; /* members or elements; 0: none */
};

struct json_tree {
    struct json_tree_node *nodes; /* owned */
    size_t n, cap;
};

/* ERR_PASSING if the text is damaged: it is a server's answer, and may be whole the next time. */
bool json_tree_read(struct json_tree *t, const char *text, size_t len, struct err *e);
void json_tree_free(struct json_tree *t); /* bears a zeroed struct */

size_t json_tree_first(const struct json_tree *t, size_t node); /* its first member or element */
/* The member of that name; 0: none. */
size_t json_tree_find(const struct json_tree *t, size_t node, const char *name);
size_t json_tree_find_text(const struct json_tree *t, size_t node, struct json_tree_text name);
/* The text of a scalar without quotes, for messages and comparisons; of others, as it stands. */
struct json_tree_text json_tree_plain(const struct json_tree *t, size_t node);
/* Whether the value is this text; a string or another scalar. */
bool json_tree_is(const struct json_tree *t, size_t node, const char *text);
