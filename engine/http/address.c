#include "http/address.h"

#include "base/err.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 64, HOST = 256, PORT = 6, HIGHEST_PORT = 65535 };
static const char LOOPBACK[] = "127.0.0.1";

/* ---- the text ---- */

struct parts {
    char host[HOST], port[PORT];
};

static bool is_port(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len < PORT && strspn(text, "0123456789") == len &&
           strtol(text, NULL, 10) <= HIGHEST_PORT;
}

static bool refuse(const char *text, struct err *e)
{
    err_set(e, ERR_USAGE, "cannot listen on '%s': not an address and a port", text);
    return err_hint(e, "--listen 9187, --listen 0.0.0.0:9187 or --listen '[::1]:9187'");
}

static bool split(const char *text, struct parts *p, struct err *e)
{
    const char *colon = strrchr(text, ':'), *host = text;
    const char *port = colon ? colon + 1 : text;
    size_t len = colon ? (size_t)(colon - text) : 0;
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len)) {
        return refuse(text, e); /* an IPv6 address without brackets, perhaps without a port */
    }
    if (!is_port(port) || len >= HOST)
        return refuse(text, e);
    snprintf(p->port, PORT, "%s", port);
    snprintf(p->host, HOST, "%.*s", len ? (int)len : (int)sizeof LOOPBACK - 1,
             len ? host : LOOPBACK);
    return true;
}

/* ---- the socket ---- */

/* What a person has to change (2) and what may be over at the next start (1) are different. */
static bool fail(const char *text, int error, struct err *e)
{
    if (error == EADDRINUSE) {
        err_set(e, ERR_FINAL, "cannot listen on '%s': the port is in use", text);
        return err_hint(e, "another process listens there: ss -ltnp");
    }
    if (error == EADDRNOTAVAIL)
        return err_set(e, ERR_FINAL, "cannot listen on '%s': this machine has no such address",
                       text);
    if (error == EACCES) {
        err_set(e, ERR_USAGE, "cannot listen on '%s': only root may use this port", text);
        return err_hint(e, "a port from 1024 on");
    }
    return err_set(e, ERR_FINAL, "cannot listen on '%s': %s", text, strerror(error));
}

static bool is_loopback(const struct sockaddr *at)
{
    if (at->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)at)->sin_addr.s_addr) >> 24) == 127;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)at)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* Says what the socket is bound to. */
static bool describe(struct address *a)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(a->fd, (struct sockaddr *)&at, &len) < 0 ||
        getnameinfo((struct sockaddr *)&at, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    bool six = at.ss_family == AF_INET6;
    a->loopback = is_loopback((struct sockaddr *)&at);
    a->port = (int)strtol(port, NULL, 10);
    snprintf(a->host, sizeof a->host, "%s%.60s%s", six ? "[" : "", host, six ? "]" : "");
    return true;
}

static bool bind_to(const struct addrinfo *to, struct address *a)
{
    const int yes = 1, no = 0;
    a->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        return false;
    /* Connections of the process before do not keep the port; a process that listens does. */
    setsockopt(a->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (to->ai_family == AF_INET6) /* [::] is all addresses, those of IPv4 too */
        setsockopt(a->fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (bind(a->fd, to->ai_addr, to->ai_addrlen) == 0 && listen(a->fd, BACKLOG) == 0 && describe(a))
        return true;
    int error = errno;
    close(a->fd);
    a->fd = -1;
    errno = error;
    return false;
}

bool address_open(const char *text, struct address *a, struct err *e)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    struct parts p;
    *a = (struct address){.fd = -1};
    if (!split(text, &p, e))
        return false;
    int failed = getaddrinfo(p.host, p.port, &wanted, &found);
    if (failed)
        return err_set(e, failed == EAI_NONAME ? ERR_USAGE : ERR_FINAL, "cannot listen on '%s': %s",
                       text, gai_strerror(failed));
    bool ok = bind_to(found, a) || fail(text, errno, e);
    freeaddrinfo(found);
    return ok;
}

/* ---- the header "Host" ---- */

bool address_is_host(const struct address *a, const char *host)
{
    const char *names[] = {"localhost", LOOPBACK, "[::1]", a->host};
    if (!a->loopback)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t len = strlen(names[i]);
        if (strncasecmp(host, names[i], len) == 0 &&
            (!host[len] || (host[len] == ':' && is_port(host + len + 1))))
            return true;
    }
    return false;
}
