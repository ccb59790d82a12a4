/* mapping_check: documents against a mapping, without a server: what it would refuse, what it would
 * not index, and which of its fields no document fills.
 *
 * Uses     json_tree, grow, err.
 * Threads  any.
 * Promise  what is reported as an error is one for every server: a value whose type is not known
 *          here, or whose form depends on the field's parameters, is let pass.
 *
 *     struct mapping_check *m = mapping_check_new(mappings, e);
 *     ok = m && mapping_check_document(m, document, key, e) ...;
 *     mapping_check_report(m, visit, arg);
 *     mapping_check_free(m);
 */
#pragma once
#include "base/json_tree.h"

#include <stdbool.h>
#include <stddef.h>

struct err;
struct mapping_check;

enum mapping_check_kind {
    MAPPING_CHECK_NONE,
    MAPPING_CHECK_UNKNOWN,   /* not in the mapping, which is strict: the document is refused */
    MAPPING_CHECK_UNINDEXED, /* not in the mapping, which ignores it (dynamic = false) */
    MAPPING_CHECK_VALUE,     /* a value that the field's type refuses */
    MAPPING_CHECK_OBJECT,    /* an object, where the mapping has a type of single values */
    MAPPING_CHECK_SCALAR,    /* a single value, where the mapping has an object */
    MAPPING_CHECK_ROUNDED,   /* a fraction in a field of whole numbers: it is cut off */
    MAPPING_CHECK_MIXED, /* not in the mapping, and objects in some documents, values in others */
    MAPPING_CHECK_UNFILLED, /* in the mapping, but in no document */
};

struct mapping_check_problem { /* borrowed */
    enum mapping_check_kind kind;
    const char *path;        /* "actors.name" */
    const char *type;        /* of the field in the mapping; "": it has none */
    size_t documents;        /* how many documents have the problem */
    const char *key, *value; /* of the first one */
    bool named;              /* UNFILLED: a template names the field */
};
typedef void mapping_check_visit(const struct mapping_check_problem *p, void *arg);

/* mappings: JSON, borrowed; NULL: none are known. NULL: no memory, or no JSON. */
struct mapping_check *mapping_check_new(const char *mappings, struct err *e);
void mapping_check_free(struct mapping_check *m); /* NULL is fine */

/* Takes a document into account. key: for messages. False: no memory. */
bool mapping_check_document(struct mapping_check *m, struct json_tree_text document,
                            const char *key, struct err *e);
/* Takes the names of a template's fields into account: {"title":"","about":{"kind":""}}; a null is
 * a field of which no more than the name is known. */
bool mapping_check_template(struct mapping_check *m, struct json_tree_text fields, struct err *e);
/* Visits all problems, in the order of the paths in documents, then in the mapping. */
void mapping_check_report(const struct mapping_check *m, mapping_check_visit *visit, void *arg);
