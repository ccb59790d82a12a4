/* index: the index itself: looked at, created, refreshed.
 *
 * Uses     es, json, buf, err.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;
struct es;

enum { INDEX_UUID = 64 };

struct index_info {
    bool exists;
    char uuid[INDEX_UUID]; /* tells this index from another that later bears its name */
    int64_t gc_deletes_ms; /* how long the server remembers a deleted document's version */
};

/* Looks at index (a name, or an alias of exactly one index). info->exists false: there is none. */
bool index_look(struct es *es, const char *index, struct index_info *info, struct err *e);

/* Creates it. settings and mappings: JSON objects, or NULL. index.gc_deletes is set to 1 h unless settings
 * name it. That somebody else was faster is not an error. */
bool index_create(struct es *es, const char *index, const char *settings, const char *mappings,
                  struct err *e);

/* Makes all that was written searchable. */
bool index_refresh(struct es *es, const char *index, struct err *e);
