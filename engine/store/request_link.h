/* request_link: the socket next to a state file, over which other processes reach the one that
 * holds its lock; and lines of JSON over a connection.
 *
 * Uses     request, atomic_file, file, hash, buf, err.
 * Threads  any; a link belongs to one thread at a time.
 * Promise  no call waits. Only processes of the same user, or of root, are talked to. The socket of
 *          a process that was killed is replaced.
 *
 * It is STATE.sock. A path that is too long for a socket's address (107 bytes) is reached through
 * its folder's descriptor, and a name that is itself too long is cut.
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>
#include <sys/types.h>

struct err;
struct request_message;

/* Makes the socket of the state at `path`, whose lock the caller holds. Returns the descriptor; -1:
 * e says why. */
int request_link_listen(const char *path, struct err *e);
/* Removes it from the folder. */
void request_link_remove(const char *path);

struct request_link {
    int fd; /* owned; -1: none */
    struct buf in, out;
    size_t read; /* bytes of `in` that were read as lines */
    bool ended;  /* nothing more comes, or can be sent */
};

/* Takes the next connection. False: there is none now. *ours: it is of a user who may ask. */
bool request_link_accept(int listener, struct request_link *l, bool *ours);
/* Connects to the holder. False: e says why; ERR_NONE: nobody listens there; ERR_PASSING: too many
 * are waiting. */
bool request_link_connect(const char *path, struct request_link *l, struct err *e);
void request_link_close(struct request_link *l); /* safe on a closed one, and a zeroed one */

/* Reads what has come. */
void request_link_fill(struct request_link *l);
/* The next message of it, into m, which is zeroed. *got: there was one. False: it is no message; e
 * says so. */
bool request_link_next(struct request_link *l, struct request_message *m, bool *got, struct err *e);
/* Adds a message to what is to be sent. False: a text of it is not UTF-8, or it is too long. */
bool request_link_put(struct request_link *l, const struct request_message *m);
/* Sends as much as there is room for. */
void request_link_flush(struct request_link *l);
