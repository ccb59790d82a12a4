/* guests: the connections of a server, and how many of them there may be, for how long.
 *
 * Uses     nothing.
 * Threads  one, that of the server.
 * Promise  a client that says nothing, or reads nothing, is sent off after a while, however slowly
 *          it goes on; one that comes too often loses the oldest of its own connections, and so
 *          does not keep others out. An IPv6 client is a /64, since it may have all of its
 *          addresses.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

enum {
    GUESTS_MOST = 64,               /* at a time */
    GUESTS_OF_ONE = 16,             /* of one client */
    GUESTS_TIME_MS = 10000,         /* from its first byte to its last: a page over a slow link */
    GUESTS_ROOM = GUESTS_MOST + 32, /* those who are sent off leave a moment later */
};

struct guest {
    int fd; /* borrowed */
    unsigned char client[8];
    int64_t since_us; /* clock_mono_us */
    bool sent_off;
};

struct guests {
    struct guest list[GUESTS_ROOM]; /* the oldest one first */
    size_t n;
};

/* Sends off the oldest one of this client, or of all, if there are too many now. */
void guests_add(struct guests *g, int fd, const struct sockaddr *client, int64_t now_us);
void guests_remove(struct guests *g, int fd);
/* Sends off those whose time is over; returns for how long none other's is, in milliseconds; -1:
 * for ever. */
int guests_expire(struct guests *g, int64_t now_us);
