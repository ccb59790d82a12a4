/* server: answers GET and HEAD for a few paths, and nothing else.
 *
 * Uses     address, guests, buf, clock, err, libmicrohttpd.
 * Threads  one of its own, which serves all connections and calls the routes; it never waits for a
 *          client. server_start and server_stop are the caller's.
 * Promise  whatever clients do, it keeps a few connections of a few kilobytes for a few seconds
 *          (guests.h), and the caller never waits for one. Each answer ends its connection, is not
 *          to be stored, and no page from elsewhere can read it.
 */
#pragma once
#include "base/buf.h"

struct address;
struct err;

struct server_request {
    const char *accept; /* borrowed; what kinds of text the client takes; NULL: any */
};

struct server_answer {  /* zeroed, but for an empty body */
    unsigned status;    /* 0: 200 */
    const char *type;   /* borrowed; NULL: plain text */
    const char *policy; /* borrowed; of a page: Content-Security-Policy; NULL: nothing is allowed */
    struct buf body;    /* taken; if it has failed, the answer is 503 */
};

struct server_route {
    const char *path; /* "/metrics" */
    void (*answer)(void *arg, const struct server_request *request, struct server_answer *out);
};

struct server;

/* Takes a->fd, whatever comes of it. routes: borrowed, ends with a zeroed one. NULL: there was no
 * memory, or no thread. */
struct server *server_start(const struct address *a, const struct server_route *routes, void *arg,
                            struct err *e);
/* Cuts all connections, and ends the thread. NULL is fine. */
void server_stop(struct server *s);
