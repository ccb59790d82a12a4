/* json_tree: a JSON text as a tree, for values that are looked up and compared, such as mappings
 * and settings.
 *
 * Uses     json, grow, err.
 * Threads  any, each with a tree of its own.
 * Promise  any text is read or refused. Names and values are slices of the text, so the text must
 *          outlive the tree.
 *
 *     struct json_tree t;
 *     if (json_tree_read(&t, text, len, e)) {
 *         size_t properties = json_tree_find(&t, 1, "properties");
 *         for (size_t i = json_tree_first(&t, properties); i; i = t.nodes[i].next)
 *             ... t.nodes[i].name, t.nodes[i].value ...
 *     }
 *     json_tree_free(&t);
 *
 * Node 1 is the whole text. Node 0 is no node: it has no members and no text.
 */
#pragma once
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>

struct err;

struct json_tree_text { /* as in the JSON text: strings have their quotes */
    const char *at;
    size_t len;
};

struct json_tree_node {
    enum json_token kind; /* JSON_OBJECT, JSON_ARRAY, or the token of a scalar */
    struct json_tree_text name, value;
    size_t first, last, next; /* members or elements; 0: none */
};

struct json_tree {
    struct json_tree_node *nodes; /* owned */
    size_t n, cap;
};

/* Reads the text. False: no memory, or ERR_PASSING if the text is damaged, since a server's next
 * answer may be complete; t is empty. */
bool json_tree_read(struct json_tree *t, const char *text, size_t len, struct err *e);
void json_tree_free(struct json_tree *t); /* safe on a zeroed struct */

/* The first member or element; 0: none. */
size_t json_tree_first(const struct json_tree *t, size_t node);
/* The member with that name; json_tree_find_text: with its quotes. 0: none. */
size_t json_tree_find(const struct json_tree *t, size_t node, const char *name);
size_t json_tree_find_text(const struct json_tree *t, size_t node, struct json_tree_text name);
/* The text of a value, a string without its quotes; for messages and comparisons. */
struct json_tree_text json_tree_plain(const struct json_tree *t, size_t node);
/* Whether the value is this text, as a string or as another scalar. */
bool json_tree_is(const struct json_tree *t, size_t node, const char *text);
