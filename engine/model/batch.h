/* batch: the keys that a worker processes together, and its report about them.
 *
 * A batch holds either a list of keys or a range of the table's keys (a chunk). A feed makes it,
 * the queue hands it to a worker, and the worker's acknowledgement releases its checkpoint.
 *
 * Uses     checkpoint.
 * Threads  none of its own: a batch has one owner at a time.
 */
#pragma once
#include "model/checkpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rejection {
    char *key;    /* owned */
    char *reason; /* owned; NULL: the key was a dead letter, and its document has succeeded now */
    int status;   /* HTTP status of the answer; 0: the script's own error */
};

struct rejections {         /* safe to use zeroed */
    struct rejection *list; /* owned */
    size_t n;
};
/* Appends all of `from`, which is then empty. False: no memory; both are unchanged. */
bool rejections_move(struct rejections *to, struct rejections *from);
void rejections_free(struct rejections *r); /* safe on a zeroed struct; leaves one */

struct errand;

/* When changes were committed, by clock_mono_us: by that of this process, or before it began. */
struct change_times { /* zeroed: of no change */
    int64_t oldest_us, newest_us;
};
void change_times_add(struct change_times *t, int64_t us);

struct batch {
    size_t lane;  /* of the queue; set by queue_put */
    uint64_t seq; /* within the lane, from 0; set by queue_put */
    bool is_range;
    bool skip_unchanged; /* compare with the index, and send only documents that differ */
    bool just_loaded;    /* its documents were loaded a moment ago: equal ones are not counted */
    bool from_log;       /* the log has announced its keys: rows that are gone were deleted */
    bool no_rows;        /* its keys cannot be keys of the table: delete without reading rows */
    bool any_routing;    /* the index has copies of its keys under a routing: see index/routed.h */
    char *from, *to;     /* of a range: keys above `from`, up to `to`; NULL: no bound. Owned */
    /* of a range whose time matters: its size in keys (the query may have fewer rows); 0: any
     * other */
    int64_t chunk;
    char **keys; /* of a list; it may be empty. Owned, each */
    size_t n;
    struct change_times changed; /* of what announced its keys; none: a load, a sweep, a guess */
    struct errand *errand;       /* borrowed: whose it is (flow/errand.h); NULL: the run's own */
    /* what the state may say once this batch and all before it are acknowledged */
    struct checkpoint done;
    struct rejections rejections; /* the worker's report */
};

struct batch *batch_new(void);                               /* without keys; NULL: no memory */
struct batch *batch_range(const char *from, const char *to); /* copies; NULL: no memory */
bool batch_add_key(struct batch *b, const char *key);        /* copies; false: no memory */
/* Sorts the keys and drops repeated ones, for batch_find_key. */
void batch_sort_keys(struct batch *b);
/* *i: where the key is in sorted keys. False: nowhere. */
bool batch_find_key(const struct batch *b, const char *key, size_t *i);
/* Adds to the report; copies. reason NULL: see struct rejection. False: no memory. */
bool batch_reject(struct batch *b, const char *key, int status, const char *reason);
void batch_free(struct batch *b); /* NULL is fine */
