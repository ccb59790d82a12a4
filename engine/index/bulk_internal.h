/* bulk_internal: what a bulk is made of; for bulk.c and its test alone. */
#pragma once
#include "base/buf.h"
#include "index/bulk.h"

struct keyset;

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
