/* request: what one process asks of the process that holds a state's lock, and what that one
 * answers: messages, each a line of JSON.
 *
 * Uses     json, buf, keylist, counts, err. No sockets: see request_link.h.
 * Threads  any, each with messages of its own.
 * Promise  any line is read or refused. Unknown fields are skipped, so that a later version can
 *          add some.
 *
 *     the process that asks                             the holder of the lock
 *
 *     {"type":"hello","version":1,"ask":"keys",
 *      "pipeline":"movies","index":"movies","script":"..."}
 *                                                       {"type":"welcome","version":1,"pid":123}
 *                                                       {"type":"more"}
 *     {"type":"keys","keys":["7","8"]}                  {"type":"more"}
 *     {"type":"no more"}                                {"type":"progress","counts":[1,0,...]}
 *                                                       {"type":"rejected","key":"7","text":"..."}
 *                                                       {"type":"end","counts":[2,0,...]}
 */
#pragma once
#include "base/err.h"
#include "model/counts.h"
#include "model/keylist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum {
    REQUEST_VERSION = 1,
    REQUEST_LINE_MAX = 1 << 20, /* bytes; a longer line is refused */
    REQUEST_PAGE_KEYS = 1000,   /* keys of a message, and bytes of them, that are not exceeded */
    REQUEST_PAGE_BYTES = 128 << 10,
};

enum request_type {
    REQUEST_HELLO,    /* version, ask, pipeline, index, script, allow_deletes, time */
    REQUEST_KEYS,     /* keys, no_rows, any_routing: the answer to "more" */
    REQUEST_NO_MORE,  /* likewise: all keys were given */
    REQUEST_WELCOME,  /* version, pid, older */
    REQUEST_MORE,     /* keys, please */
    REQUEST_PROGRESS, /* counts; text: what is in the way; none: nothing is */
    REQUEST_REJECTED, /* key, status, text */
    REQUEST_END,      /* counts; error, text and hint, if it has failed */
    REQUEST_TYPES
};

enum request_ask { REQUEST_ASK_KEYS, REQUEST_ASK_SWEEP, REQUEST_ASK_SET, REQUEST_ASKS };

struct request_message { /* safe when zeroed; all texts are owned, and NULL if they are missing */
    int64_t type;        /* enum request_type */
    int64_t ask;         /* enum request_ask */
    int64_t version, pid, status;
    int64_t error; /* enum err_kind */
    bool allow_deletes, no_rows, any_routing;
    bool older; /* the holder runs another version of the script */
    char *pipeline, *index, *script, *time, *key, *text, *hint;
    struct counts counts;
    struct keylist keys;
};
void request_message_free(struct request_message *m); /* leaves a zeroed one */

/* Adds the line. False: a text is not UTF-8, or out is full. */
bool request_write(struct buf *out, const struct request_message *m);
/* Reads a line, without its line break, into m, which is zeroed. False: it is no message, or there
 * is no memory; m is zeroed again. */
bool request_read(struct request_message *m, const char *line, size_t len, struct err *e);

/* The end of a request, of e (NULL: it is done) as a message that borrows e's texts. */
struct request_message request_end(const struct err *e);
/* The error that such a message brings. */
void request_error(const struct request_message *m, struct err *e);
