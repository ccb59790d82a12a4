/* bulk: one bulk request: built, sent, and its answer judged item by item.
 *
 * Uses     es, json, counts, doc_location, buf, err.
 * Owns     the request's body, and the items' keys, indexes and routings.
 * Threads  a bulk belongs to one thread.
 * Promise  an item leaves the request only when its answer says that it is done, superseded, or
 *          rejected for good. An answer that is cut off, damaged, or does not fit the request
 *          (number of items, ids) changes nothing.
 *
 *     bulk_begin(b, key, version);                // an index item ...
 *     lua_json_encode(L, -1, bulk_body(b));       // ... its document, into the body; may raise
 *     bulk_commit(b, e);                          // or bulk_abort(b)
 *     bulk_delete(b, key, version, e);
 *     while (bulk_count(b) > 0 && !bulk_send(b, es, "movies", &sink, e))
 *         if (!retry_again(&retry, e)) return false;
 *
 * The table in es_answer.c decides what becomes of an item with an error: whether it is sent again
 * (429), rejected, or ends the run.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct bulk;
struct counts;
struct doc_location;
struct err;
struct es;

/* max_bytes: the limit of the body, not the size at which to send. NULL: no memory; e says so. */
struct bulk *bulk_new(size_t max_bytes, struct err *e);
void bulk_free(struct bulk *b); /* NULL is fine */
/* Removes all items, and an open one. */
void bulk_clear(struct bulk *b);

/* ---- building ---- */

/* Opens an index item. The caller then appends its document to bulk_body, as one line without a
 * line break, and commits or aborts the item before the next one. */
void bulk_begin(struct bulk *b, const char *key, int64_t version);
/* Gives the open item an index, a routing and an ingest pipeline of its own; NULL or empty: none.
 * Its document may have been appended before. */
void bulk_set_location(struct bulk *b, const char *index, const char *routing,
                       const char *pipeline);
/* Keeps the open item. False, final: too large, not UTF-8, or no memory; the item is removed. */
bool bulk_commit(struct bulk *b, struct err *e);
/* Removes the open item. */
void bulk_abort(struct bulk *b);
/* Adds the delete of a document; errors are those of bulk_commit. */
bool bulk_delete(struct bulk *b, const char *key, int64_t version, struct err *e);
bool bulk_delete_at(struct bulk *b, const char *key, int64_t version, const struct doc_location *at,
                    struct err *e);

/* The request's body as it is sent, one or two lines an item. Borrowed; the caller appends only
 * between bulk_begin and bulk_commit. */
struct buf *bulk_body(struct bulk *b);

/* ---- the items ---- */

size_t bulk_count(const struct bulk *b);
size_t bulk_bytes(const struct bulk *b); /* of the body */

/* The i-th item: its key; its index and routing, NULL if it has none of its own; its document, NULL
 * for a delete. Borrowed until the next change. */
const char *bulk_key(const struct bulk *b, size_t i);
const char *bulk_index(const struct bulk *b, size_t i);
const char *bulk_routing(const struct bulk *b, size_t i);
const char *bulk_document(const struct bulk *b, size_t i, size_t *len);
int64_t bulk_version(const struct bulk *b, size_t i);
bool bulk_is_delete(const struct bulk *b, size_t i);
/* Removes items that need not be sent: bulk_drop marks one, bulk_compact removes all marked. */
void bulk_drop(struct bulk *b, size_t i);
void bulk_compact(struct bulk *b);

/* ---- sending ---- */

/* Called once for each item that the server rejects for good; the item leaves the request. */
typedef void bulk_rejected(const char *key, int status, const char *reason, void *arg);

/* Called once for each document that an ingest pipeline drops; the item leaves the request. */
typedef void bulk_dropped(const char *key, void *arg);

struct bulk_sink {           /* what bulk_send reports to; borrowed, for the time of the call */
    struct counts *counts;   /* added to */
    bulk_rejected *rejected; /* may be NULL */
    /* The highest version that any worker has issued, raised before that worker sends; NULL:
     * unknown. Another worker may write a higher version to this index while we wait for our
     * answer, so it is called before a conflict counts as another program's. */
    int64_t (*latest)(void *arg);
    void *arg;             /* of rejected, latest and dropped */
    int64_t issued;        /* the highest version issued before this call */
    bulk_dropped *dropped; /* may be NULL */
    /* the index's name is an alias: if it is gone, the server makes no index of that name */
    bool is_alias;
};

/* The body of a request ends with the item that reaches this many bytes; 0: never. */
void bulk_set_request_bytes(struct bulk *b, size_t bytes);

/* Sends all items, in one request or several, and judges the answers. True: all are done, and b is
 * empty. False, passing: what is left in b is to be sent again (429, 503 and the like, of the whole
 * or of those items). False, final: e says why (the index is gone, a privilege is missing, a
 * version was not issued by us: see bulk_foreign_version; an ingest pipeline has changed a
 * document's index, id or version). A request that the server finds too
 * large (413) is split, and so are later ones. A key of more than 512 bytes is rejected before
 * sending: servers refuse a whole request because of one. */
bool bulk_send(struct bulk *b, struct es *es, const char *index, const struct bulk_sink *sink,
               struct err *e);

/* The highest version in the index that we did not issue, if the last bulk_send failed because of
 * one; else 0. */
int64_t bulk_foreign_version(const struct bulk *b);

/* The judging half of bulk_send, for its tests and for fuzzing: answer is the body of a 200. */
bool bulk_judge(struct bulk *b, const char *answer, size_t len, const struct bulk_sink *sink,
                struct err *e);
