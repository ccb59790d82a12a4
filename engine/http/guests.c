#include "http/guests.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* Both ends of it see that it is closed: who waits for it, here, then lets go of it. */
static void send_off(struct guest *guest)
{
    guest->sent_off = true;
    shutdown(guest->fd, SHUT_RDWR);
}

static void name_client(struct guest *guest, const struct sockaddr *client)
{
    if (client->sa_family == AF_INET) {
        memcpy(guest->client, &((const struct sockaddr_in *)client)->sin_addr, 4);
        return;
    }
    if (client->sa_family != AF_INET6)
        return;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)client)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(six))
        memcpy(guest->client, six->s6_addr + 12, 4);
    else
        memcpy(guest->client, six->s6_addr, sizeof guest->client);
}

/* Of one client, or of all (NULL): if there are more than `most`, the oldest has to go. */
static void limit(struct guests *g, const unsigned char *client, size_t most)
{
    struct guest *oldest = NULL;
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        struct guest *guest = &g->list[i];
        if (guest->sent_off || (client && memcmp(guest->client, client, sizeof guest->client) != 0))
            continue;
        if (n++ == 0)
            oldest = guest;
    }
    if (n > most)
        send_off(oldest);
}

void guests_add(struct guests *g, int fd, const struct sockaddr *client, int64_t now_us)
{
    if (g->n == GUESTS_ROOM) { /* the server's own limit is lower */
        shutdown(fd, SHUT_RDWR);
        return;
    }
    struct guest *guest = &g->list[g->n++];
    *guest = (struct guest){.fd = fd, .since_us = now_us};
    name_client(guest, client);
    limit(g, guest->client, GUESTS_OF_ONE);
    limit(g, NULL, GUESTS_MOST);
}

void guests_remove(struct guests *g, int fd)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->list[i].fd == fd) {
            g->n--;
            memmove(&g->list[i], &g->list[i + 1], (g->n - i) * sizeof g->list[i]);
            return;
        }
}

int guests_expire(struct guests *g, int64_t now_us)
{
    for (size_t i = 0; i < g->n; i++) {
        int64_t left_us = g->list[i].since_us + (int64_t)GUESTS_TIME_MS * 1000 - now_us;
        if (g->list[i].sent_off)
            continue;
        if (left_us > 0)
            return (int)(left_us / 1000) + 1;
        send_off(&g->list[i]);
    }
    return -1;
}
