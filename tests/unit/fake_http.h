/* fake_http: a search server in a thread, for the answers that a real one won't give on request.
 *
 * One connection at a time, kept alive. It allocates nothing, so that it may run while allocations
 * are made to fail.
 *
 *     static struct fake_http server;
 *     fake_start(&server, (struct fake_step[]){{.status = 503}, {.status = 200, .body = "{}"}}, 2);
 *     ... server.url ...; fake_look(&server); server.head, server.body
 *     fake_stop(&server);
 */
#pragma once
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum fake_end {
    FAKE_KEEP,  /* the connection, for the next request */
    FAKE_CLOSE, /* after the answer */
    FAKE_RESET, /* after the answer */
    FAKE_HANG,  /* answers nothing, until the server ends */
};

struct fake_step {       /* the last one is repeated */
    int status;          /* 0: nothing is sent */
    const char *headers; /* lines with \r\n, or NULL */
    const char *body;    /* NULL: the answer to a bulk request all of whose items are done */
    size_t body_len;     /* of one that holds zero bytes; 0: up to the first */
    const char *raw;     /* the whole answer, instead of all these */
    size_t missing;      /* bytes of the body that are promised, but not sent */
    bool early;          /* answers after the request's head, without reading its body */
    unsigned pause_ms;   /* between the answer and the connection's end */
    enum fake_end end;
};

struct fake_http {
    char url[64];
    const struct fake_step *steps; /* borrowed */
    size_t n;
    size_t limit;           /* 413 for a longer body; 0: none */
    atomic_size_t served;   /* requests */
    atomic_size_t accepted; /* connections */
    char head[4096];        /* of the last request, after fake_look */
    char body[1 << 20];
    struct { /* the thread's own: of the request that it is reading */
        char head[4096];
        char body[1 << 20];
        size_t len;
    } now;
    struct { /* the last whole one; under the lock */
        char head[4096];
        char body[1 << 20];
    } last;
    pthread_mutex_t lock;
    char answer[1 << 20];
    int listener;
    pthread_t thread;
    atomic_bool ending;
};

/* Whether fd became readable before the server was told to end. */
static inline bool fake_wait(struct fake_http *f, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (!atomic_load(&f->ending))
        if (poll(&p, 1, 5) > 0)
            return true;
    return false;
}

static inline bool fake_read(struct fake_http *f, int fd, char *to, size_t want)
{
    for (size_t have = 0; have < want;) {
        ssize_t n = fake_wait(f, fd) ? recv(fd, to + have, want - have, 0) : 0;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

/* A byte at a time: what follows the head stays in the socket. */
static inline bool fake_read_head(struct fake_http *f, int fd)
{
    for (size_t len = 0; len + 1 < sizeof f->now.head; len++) {
        if (!fake_read(f, fd, f->now.head + len, 1))
            return false;
        f->now.head[len + 1] = '\0';
        if (len >= 3 && memcmp(f->now.head + len - 3, "\r\n\r\n", 4) == 0)
            return true;
    }
    return false;
}

static inline bool fake_read_body(struct fake_http *f, int fd)
{
    const char *length = strcasestr(f->now.head, "Content-Length:");
    f->now.len = length ? strtoul(length + 15, NULL, 10) : 0;
    if (f->now.len >= sizeof f->now.body || !fake_read(f, fd, f->now.body, f->now.len))
        return false;
    f->now.body[f->now.len] = '\0';
    return true;
}

/* The answer to a bulk request that succeeds, out of its action lines. It is about as long as the
 * request. */
static inline const char *fake_bulk_answer(struct fake_http *f)
{
    FILE *out = fmemopen(f->answer, sizeof f->answer, "w");
    fprintf(out, "{\"took\":1,\"errors\":false,\"items\":[");
    const char *comma = "";
    for (const char *p = f->now.body; (p = strstr(p, "{\"_id\":")); p++) {
        bool gone = p - f->now.body >= 10 && memcmp(p - 9, "\"delete\":", 9) == 0;
        const char *end = strstr(p, ",\"version\"");
        fprintf(out, "%s{\"%s\":%.*s,\"status\":%d}}", comma, gone ? "delete" : "index",
                (int)(end - p), p, gone ? 200 : 201);
        comma = ",";
    }
    fprintf(out, "]}");
    fclose(out);
    return f->answer;
}

static inline void fake_send(int fd, const char *text, size_t len)
{
    for (ssize_t n; len > 0 && (n = send(fd, text, len, MSG_NOSIGNAL)) > 0; text += n)
        len -= (size_t)n;
}

static inline void fake_answer(struct fake_http *f, int fd, const struct fake_step *s)
{
    char head[1000];
    bool large = f->limit > 0 && f->now.len > f->limit;
    int status = large ? 413 : s->status;
    const char *body = large ? "too large" : s->body ? s->body : fake_bulk_answer(f);
    size_t len = !large && s->body_len ? s->body_len : strlen(body);
    if (s->raw) {
        fake_send(fd, s->raw, strlen(s->raw));
    } else if (status != 0) {
        int n =
            snprintf(head, sizeof head, "HTTP/1.1 %d Some Words\r\n%sContent-Length: %zu\r\n\r\n",
                     status, s->headers ? s->headers : "", len);
        fake_send(fd, head, (size_t)n);
        if (memcmp(f->now.head, "HEAD", 4) != 0)
            fake_send(fd, body, len - s->missing);
    }
}

static inline void fake_publish(struct fake_http *f)
{
    pthread_mutex_lock(&f->lock);
    memcpy(f->last.head, f->now.head, strlen(f->now.head) + 1);
    memcpy(f->last.body, f->now.body, f->now.len + 1);
    pthread_mutex_unlock(&f->lock);
    atomic_fetch_add(&f->served, 1);
}

/* Copies the last request to head and body. */
static inline void fake_look(struct fake_http *f)
{
    pthread_mutex_lock(&f->lock);
    memcpy(f->head, f->last.head, sizeof f->head);
    memcpy(f->body, f->last.body, sizeof f->body);
    pthread_mutex_unlock(&f->lock);
}

/* One request. False: the connection is at its end. */
static inline bool fake_serve(struct fake_http *f, int fd)
{
    if (!fake_read_head(f, fd))
        return false;
    size_t i = atomic_load(&f->served);
    const struct fake_step *s = &f->steps[i < f->n ? i : f->n - 1];
    f->now.len = 0;
    if (!s->early && !fake_read_body(f, fd))
        return false;
    fake_publish(f);
    if (s->end == FAKE_HANG)
        while (!atomic_load(&f->ending))
            usleep(5000);
    else
        fake_answer(f, fd, s);
    usleep(s->pause_ms * 1000);
    if (s->end == FAKE_RESET) {
        struct linger now = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    return s->end == FAKE_KEEP;
}

static inline void *fake_run(void *arg)
{
    struct fake_http *f = arg;
    while (fake_wait(f, f->listener)) {
        int fd = accept(f->listener, NULL, NULL), on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* head and body are two writes */
        atomic_fetch_add(&f->accepted, 1);
        while (fake_serve(f, fd))
            ;
        close(fd);
    }
    return NULL;
}

/* At that address. Its port: on return; 0: there is no such address on this machine. */
static inline int fake_start_at(struct fake_http *f, const struct fake_step *steps, size_t n,
                                const struct sockaddr *a, socklen_t len)
{
    memset(f, 0, sizeof *f);
    f->steps = steps;
    f->n = n;
    pthread_mutex_init(&f->lock, NULL);
    f->listener = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->listener, a, len) != 0) {
        close(f->listener);
        return 0;
    }
    struct sockaddr_storage at;
    len = sizeof at;
    bool ok =
        listen(f->listener, 8) == 0 && getsockname(f->listener, (struct sockaddr *)&at, &len) == 0;
    if (!ok || pthread_create(&f->thread, NULL, fake_run, f) != 0)
        abort();
    return ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
                                         : ((struct sockaddr_in6 *)&at)->sin6_port);
}

static inline void fake_start(struct fake_http *f, const struct fake_step *steps, size_t n)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int port = fake_start_at(f, steps, n, (struct sockaddr *)&a, sizeof a);
    if (port == 0)
        abort();
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d", port);
}

static inline void fake_stop(struct fake_http *f)
{
    atomic_store(&f->ending, true);
    pthread_join(f->thread, NULL);
    close(f->listener);
}
