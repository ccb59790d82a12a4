/* address: where to listen, as the user writes it, and the socket that does.
 *
 * Uses     err.
 * Threads  any.
 * Promise  without an address it is loopback, which no other machine reaches. "127.0.0.1:9187",
 *          "[::1]:9187", "localhost:9187", ":9187", "9187".
 */
#pragma once
#include <stdbool.h>

struct err;

struct address {
    int fd;        /* owned; listens, does not block */
    bool loopback; /* only this machine reaches it */
    char host[64]; /* as in a URL: "127.0.0.1", "[::1]" */
    int port;      /* never 0: if that was asked for, it is one that was free */
};

/* Binds the address. False: ERR_USAGE if it is none, or not for this user; ERR_FINAL if another
 * process has the port, or the machine has no such address now. */
bool address_open(const char *text, struct address *a, struct err *e);

/* Whether a request with this header "Host" is for us. A browser sends the name that the user, or a
 * page of somebody else, has asked for: on loopback only its own names are right, since any other
 * name may be one that was made to point here (DNS rebinding). The port may be another one: that of
 * a tunnel. */
bool address_is_host(const struct address *a, const char *host);
