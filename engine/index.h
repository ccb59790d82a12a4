/* index: the index itself: looked at, created, refreshed; its documents: counted, fetched, walked through.
 *
 * Uses     es, json, buf, err.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
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

/* Makes all that was written searchable. ERR_PASSING, too, if a shard failed to. */
bool index_refresh(struct es *es, const char *index, struct err *e);

/* How many documents it has, as far as they are searchable. ERR_PASSING if a shard did not answer. */
bool index_count(struct es *es, const char *index, int64_t *count, struct err *e);

/* ---- what it holds ---- */

struct index_document {
    const char *key; /* borrowed, for the time of the call; as is source */
    bool found;
    int64_t version;    /* only if found */
    const char *source; /* its JSON, byte for byte as it was sent; NULL if not asked for, or not found */
    size_t source_len;
};
/* Told of each document, in the order asked for. False ends the call with what it put into e. */
typedef bool index_visit(const struct index_document *d, void *arg, struct err *e);

/* The documents of these keys, wherever refresh stands (realtime). with_source: their JSON too. Asks for 500
 * at a time, or fewer where an answer would be too large. An answer that is damaged, reordered or lacks one
 * is ERR_PASSING, as is a shard that is away, and nothing of that answer was visited (two passes, as in
 * bulk.c): what was visited are the first keys, in order. */
bool index_get(struct es *es, const char *index, const char *const *keys, size_t n, bool with_source,
               index_visit *visit, void *arg, struct err *e);

struct index_place { /* of a document that has one of its own; NULL: the index asked, the key's own shard */
    const char *index, *routing;
};
/* The same, of documents at these places: n, as keys. */
bool index_get_at(struct es *es, const char *index, const char *const *keys, const struct index_place *places,
                  size_t n, bool with_source, index_visit *visit, void *arg, struct err *e);

struct index_copy {          /* borrowed, for the time of the call */
    const char *key, *index; /* the index's own name, whatever alias or pattern was asked */
    const char *routing;     /* NULL: none */
    int64_t version;
};
typedef bool index_copy_visit(const struct index_copy *c, void *arg, struct err *e);

/* Every document that has one of these keys, in whatever index that `indices` names, in whatever shard: of a
 * key none, one or several, in no order. Refreshes first: what was written before is found. Errors are those
 * of index_get; false, too, if visit says so. */
bool index_find(struct es *es, const char *indices, const char *const *keys, size_t n,
                index_copy_visit *visit, void *arg, struct err *e);

struct index_scan; /* a walk over keys, in pages (a scroll); each page keeps the walk alive for 5 more minutes
                    */

/* Begins a walk over all documents, or over those that hold one of n values in `field` ("actors.id": nested
 * or not; of analysed text, its first "keyword" sub-field). Refreshes first, if we may: what was written
 * before is seen, what is written later is not. A field that no mapping knows is in no document; one that
 * cannot be searched by whole values is ERR_FINAL. NULL: e says why. es: borrowed; free for other requests
 * between two calls. */
struct index_scan *index_scan_open(struct es *es, const char *index, const char *field,
                                   const char *const *values, size_t n, struct err *e);
/* The next page of keys: *keys, borrowed until the next call; *n 0: the end, reached with as many keys as the
 * server counted. A walk that the server has forgotten, that a shard dropped out of, or that came out short
 * is ERR_PASSING. After any error no page follows: close, and begin anew. */
bool index_scan_next(struct index_scan *s, const char *const **keys, size_t *n, struct err *e);
void index_scan_close(struct index_scan *s); /* tells the server, too; NULL is fine */
