/* compare: two JSON documents, field by field.
 *
 * Uses     json_tree, buf, err.
 * Threads  any.
 * Promise  any two texts are compared; one that is not valid JSON differs as a whole. Another order
 *          of members, white space, escapes, or another form of the same number (1, 1.0, 10e-1)
 *          is no difference; null and a field that is left out are one.
 *
 * Of two arrays, equal elements at the beginning and at the end are passed over; those between are
 * compared in pairs. So one element that was inserted is one difference.
 */
#pragma once
#include "base/json_tree.h"

#include <stdbool.h>
#include <stddef.h>

struct err;

struct compare_difference {
    const char *path;  /* "actors[3].name", from 0; borrowed, as is all else here; "": the whole */
    const char *field; /* the same for all elements: "actors[].name" */
    /* JSON, as it stands in the document; at NULL: it is not in that one */
    struct json_tree_text before, after;
};
/* Called for each difference, in the order of the fields' names. */
typedef void compare_visit(const struct compare_difference *d, void *arg);

struct compare_documents { /* borrowed, for the time of the call */
    struct json_tree_text before, after;
    compare_visit *visit;
    void *arg; /* visit's */
};
/* *same: nothing was visited. False: no memory. */
bool compare_documents(const struct compare_documents *c, bool *same, struct err *e);

/* Whether two JSON numbers have the same value, whatever their size. */
bool compare_numbers(struct json_tree_text a, struct json_tree_text b);
