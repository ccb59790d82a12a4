/* bulk_internal: what the files of bulk share, and its test.
 *
 *     bulk.c        the request as it is built, and its items
 *     bulk_judge.c  the answer, item by item: nothing is sent here
 *     bulk_send.c   requests, of which one may become several
 */
#pragma once
#include "base/buf.h"
#include "index/bulk.h"
#include "index/index.h"

struct keyset;

/* Bytes of a key: every server's limit. One longer key makes them refuse the whole request with a
 * 400 (tested: Elasticsearch 7.10, OpenSearch 2.19 and 3.8). */
enum { BULK_KEY = 512 };
enum { BULK_REASON = 300 }; /* bytes */

struct bulk_item {
    size_t at, len;         /* its lines in body */
    size_t key_at, key_len; /* in names, with a zero byte after it, as for: */
    size_t index_at;        /* in names; 0: none (the first text there is a key) */
    size_t routing_at;      /* likewise */
    int64_t version;
    bool is_delete;
    bool done;         /* leaves the request at the next bulk_compact */
    bool absent;       /* by the answer: it is superseded, or there was nothing to delete */
    bool answered;     /* likewise: it has had its answer */
    bool dropped;      /* likewise: an ingest pipeline dropped the document */
    bool has_pipeline; /* its document chose an ingest pipeline */
};

struct bulk {
    struct buf body;
    struct buf names;        /* the items' keys, indexes and routings, not escaped */
    struct bulk_item *items; /* owned; their lines fill body, in order and without gaps */
    size_t n, cap;
    bool is_open;          /* between bulk_begin and bulk_commit or bulk_abort */
    struct bulk_item open; /* then; its lines follow those of the last item */
    size_t action_end;     /* then: where in body the rest of its action may be inserted */
    const char *bad;       /* then: which of its texts is not UTF-8; NULL: none */
    size_t request_bytes;  /* see bulk_set_request_bytes */
    /* Bytes of several items in one request: half of the least that the server found too large; 0:
     * it never did. bulk_clear keeps it. */
    size_t most;
    int64_t foreign; /* see bulk_foreign_version */
    /* owned; NULL: empty. Indexes that the aliases requested so far stand for; bulk_clear keeps
     * it. */
    struct keyset *known;
    bool strayed; /* the last answer told of documents in an index that its alias does not name */
};

const char *bulk_item_key(const struct bulk *b, const struct bulk_item *item);

/* ---- bulk_judge.c ---- */

enum bulk_verdict {
    BULK_DONE,      /* leaves the request */
    BULK_UNCHANGED, /* leaves it: the index already has something as new, or nothing to delete */
    BULK_DROPPED,   /* leaves it: an ingest pipeline dropped the document */
    BULK_REJECTED,  /* leaves it, and is reported: the server rejects it for good */
    BULK_AGAIN,     /* stays: passing */
    BULK_FOREIGN,   /* stays: final, it has a version that we did not issue */
    BULK_CHANGED,   /* stays: final, an ingest pipeline has given it another id or version */
    BULK_BROKEN,    /* stays: final, no item can succeed */
    BULK_DAMAGED,   /* the answer contradicts itself: all stay */
};

struct bulk_judging {
    struct bulk *b;
    size_t first, n; /* the items that were sent */
    const struct bulk_sink *sink;
    const char *index; /* of the request; NULL: not known */
    bool apply;        /* false: only checks that the answer fits the request */
    /* found: */
    size_t errors, postponed;
    size_t odd;             /* how many without an error are not simply done */
    bool overloaded;        /* some were rejected because of overload */
    char damage[150];       /* what is wrong with the answer */
    enum bulk_verdict stop; /* of the first item that ends the run; else BULK_DONE */
    char reason[BULK_REASON], stop_reason[BULK_REASON];
    const char *hint, *postponed_hint;
    const struct bulk_item *stopped;
    const struct bulk_item *moved; /* the first that is in an index that we do not know, or NULL */
    char elsewhere[INDEX_NAME];    /* that index */
    size_t changed; /* documents that are so, or that have another id or version than was sent */
};

/* Reads an answer to the items first to first + n, and finds what there is to find, but changes
 * nothing. False: it is damaged, or does not fit. */
bool bulk_check_part(struct bulk_judging *j, const char *answer, size_t len, struct err *e);
/* Then does what it says. False: items are left that have to be sent again, or that end the run. */
bool bulk_settle_part(struct bulk_judging *j, const char *answer, size_t len, struct err *e);
/* The error for a document that an ingest pipeline has changed like this on its way into the index.
 * Returns false. */
bool bulk_refuse_change(const struct bulk_judging *j, const struct bulk_item *item,
                        const char *what, struct err *e);
/* Reports the item, which leaves the request. */
void bulk_reject(struct bulk_judging *j, struct bulk_item *item, int status, const char *reason);
/* The index that the item was sent to, or its alias; NULL: not known. */
const char *bulk_item_index(const struct bulk_judging *j, const struct bulk_item *item);
