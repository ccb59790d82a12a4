/* index_name: whether a name can be that of an index, by the rules that all search servers have.
 *
 * Uses     json, for its look at UTF-8.
 * Threads  any.
 */
#pragma once
#include <stdbool.h>

enum { INDEX_NAME_FLAW = 100 };

/* What is wrong with the name: "must be in lower case, as index names are". False: nothing. */
bool index_name_flaw(const char *name, char out[INDEX_NAME_FLAW]);
/* Whether a server would give a name back as it was told. */
bool index_name_is_utf8(const char *text);
