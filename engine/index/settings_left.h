/* settings_left: the settings of an index that its successor does not have: somebody has set them
 * by hand, or an earlier version of the script named them.
 *
 * Uses     index (types), mapping, json_tree, buf, err. No network: index_schema.c asks the server.
 * Promise  the list is short, whatever the server answers.
 */
#pragma once
#include "index/index.h"
#include "index/mapping.h"

#include <stdbool.h>

struct err;

struct settings_left {            /* borrowed */
    struct mapping_part from, to; /* the settings of both indexes: flat ("index.analysis...") */
    const char *script;           /* the script's (JSON): what these name is not listed; or NULL */
};
/* Writes their names: "index.default_pipeline, index.number_of_replicas". Empty: there are none.
 * What a server sets by itself, and what blocks writes, is none. */
bool settings_left(const struct settings_left *s, char out[INDEX_SETTINGS_LEFT], struct err *e);
