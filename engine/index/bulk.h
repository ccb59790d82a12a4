/* bulk: one bulk request: built, sent, and its answer judged item by item.
 *
 * Uses     es, json, buf, err.
 * Promise  an item leaves the request only when its answer says that it is done, superseded, or
 *          rejected for good; an answer that is cut, damaged, or does not fit the request (count,
 *          order, ids) changes nothing.
 *
 *     bulk_begin(&b, key, version);           // an index item ...
 *     lua_json_encode(L, -1, &b.body);           // ... its document, into the body; may raise
 *     bulk_commit(&b, e);                     // or bulk_abort(&b)
 *     bulk_delete(&b, key, version, e);
 *     while (b.n > 0 && !bulk_send(&b, es, "movies", issued, &sum, on_rejected, arg, e))
 *         if (!retry_again(&retry, e)) return false;
 *
 * What becomes of an item stands in one table, in es_answer.c: the retry rule for a 429 is there.
 */
#pragma once
#include "base/buf.h"
#include "model/counts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct es;

struct bulk_item {
    size_t at, len;         /* its lines in body */
    size_t key_at, key_len; /* in keys, where a zero byte follows it */
    size_t names_len;       /* in keys: of the key and, if it has them, its index and its routing */
    int64_t version;
    bool is_delete;
    /* bulk_send's own, as is absent: leaves the request when the answer has been judged */
    bool done;
    bool absent; /* by the answer: what was to be deleted is not there */
};

struct bulk {
    struct buf body;
    struct buf keys;         /* the items' keys, as they are */
    struct bulk_item *items; /* owned */
    size_t n, cap;
    struct bulk_item open; /* between bulk_begin and bulk_commit */
    size_t open_line;      /* where the rest of its action may be put */
    const char *bad;       /* of the open item: what of it is not UTF-8 */
    /* bytes of several items in one request: half of the least that the server found too large; 0:
     * it never did. bulk_clear keeps it. */
    size_t most;
    /* the caller's: a request ends with the item that reaches so many bytes; 0: never */
    size_t enough;
    /* the highest version, not one of ours, that the last bulk_send failed because of; or 0 */
    int64_t foreign;
    /* The highest version issued by any worker, raised before that worker sends; NULL, as bulk_init
     * leaves it: unknown. Where several workers write to one index, another may issue and write a
     * higher version while we wait for our answer: before a conflict counts as somebody else's,
     * this is asked. */
    int64_t (*latest)(void *arg);
    void *latest_arg; /* borrowed */
};

/* max_bytes: the ceiling of a body, not the size at which to send */
void bulk_init(struct bulk *b, size_t max_bytes);
void bulk_free(struct bulk *b); /* bears a zeroed struct */
void bulk_clear(struct bulk *b);

/* Each index item is begun, then committed or aborted, before the next; what is added to body
 * between is its document: one line, without a line break. */
void bulk_begin(struct bulk *b, const char *key, int64_t version);
/* false, final: too large, or no memory; the item is taken back */
bool bulk_commit(struct bulk *b, struct err *e);
void bulk_abort(struct bulk *b);
bool bulk_delete(struct bulk *b, const char *key, int64_t version, struct err *e);
/* The open item, whose document may stand there already, has an index, a routing, an ingest
 * pipeline of its own; NULL or empty: none. */
void bulk_place(struct bulk *b, const char *index, const char *routing, const char *pipeline);
bool bulk_delete_at(struct bulk *b, const char *key, int64_t version, const char *index,
                    const char *routing, struct err *e);

/* The i-th item: its key; its index and routing, NULL where it has none of its own; its document,
 * NULL for a delete. Borrowed until the next change. */
const char *bulk_key(const struct bulk *b, size_t i);
const char *bulk_index(const struct bulk *b, size_t i);
const char *bulk_routing(const struct bulk *b, size_t i);
const char *bulk_document(const struct bulk *b, size_t i, size_t *len);
/* Takes items out, unsent: mark each, then compact once. */
void bulk_drop(struct bulk *b, size_t i);
void bulk_compact(struct bulk *b);

/* Told once for each item that the server will never take: it has left the request. */
typedef void bulk_rejected(const char *key, int status, const char *reason, void *arg);

/* Sends all items, by b->enough and b->most in one request or in several, and judges the answers.
 * True: all are done (b is empty). False: what is left in b is to be sent again if e is passing
 * (429, 503 and the like: of the whole, or of those items); final errors: e says why (an index that
 * is gone, no permission, a version that none of ours can have written). Splits the request on 413,
 * and remembers. issued: the highest version that we have issued so far: a conflict with a higher
 * one is somebody else's. A key of more than 512 bytes is rejected before the request is sent:
 * servers refuse a whole request because of one. */
bool bulk_send(struct bulk *b, struct es *es, const char *index, int64_t issued,
               struct counts *sums, bulk_rejected *rejected, void *arg, struct err *e);

/* The judging half of bulk_send, for its tests and for fuzzing: answer is the body of a 200. */
bool bulk_judge(struct bulk *b, const char *answer, size_t len, int64_t issued, struct counts *sums,
                bulk_rejected *rejected, void *arg, struct err *e);

/* The request's body as it would be sent, for --format bulk, is b->body itself. */
