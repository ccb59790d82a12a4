#include "http/server.h"

#include "base/clock.h"
#include "base/err.h"
#include "http/address.h"
#include "http/guests.h"

#include <limits.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    BODY_MAX = 16 << 20,
    /* Of a connection: its request line and headers, and those of the answer. Cookies are shared by
     * all that listens on localhost, and may be many. */
    MEMORY = 32 << 10,
};

struct server {
    struct MHD_Daemon *daemon;
    struct address address;
    const struct server_route *routes;
    void *arg;
    struct guests guests;
    int events, wake; /* descriptors: MHD's epoll; an eventfd of ours, owned */
    atomic_bool ending;
    pthread_t thread;
};

/* ---- an answer ---- */

static const char *const headers[][2] = {
    {MHD_HTTP_HEADER_CONNECTION, "close"},           {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
    {"X-Content-Type-Options", "nosniff"},           {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

static bool add_headers(struct MHD_Response *r, const struct server_answer *a)
{
    bool ok = true;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        ok = ok && MHD_add_response_header(r, headers[i][0], headers[i][1]) == MHD_YES;
    if (a->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES;
    return ok &&
           MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE,
                                   a->type ? a->type : "text/plain; charset=utf-8") == MHD_YES &&
           MHD_add_response_header(
               r, "Content-Security-Policy",
               a->policy ? a->policy : "default-src 'none'; frame-ancestors 'none'") == MHD_YES;
}

/* Takes the body. MHD_NO: the connection is cut. */
static enum MHD_Result reply(struct MHD_Connection *c, struct server_answer *a)
{
    if (a->body.failed) {
        buf_clear(&a->body);
        a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        a->type = a->policy = NULL;
    }
    struct MHD_Response *r = MHD_create_response_from_buffer_with_free_callback(
        a->body.len, a->body.len ? a->body.data : "", free);
    if (!r) {
        buf_free(&a->body);
        return MHD_NO;
    }
    enum MHD_Result done = MHD_NO;
    if (add_headers(r, a))
        done = MHD_queue_response(c, a->status ? a->status : MHD_HTTP_OK, r);
    MHD_destroy_response(r);
    return done;
}

/* ---- a request ---- */

struct hosts {
    const struct address *address;
    int right, wrong;
};

static enum MHD_Result count_host(void *arg, enum MHD_ValueKind kind, const char *key,
                                  const char *value)
{
    struct hosts *hosts = arg;
    (void)kind;
    if (strcasecmp(key, MHD_HTTP_HEADER_HOST) == 0)
        *(value && address_is_host(hosts->address, value) ? &hosts->right : &hosts->wrong) += 1;
    return MHD_YES;
}

static bool is_for_us(struct server *s, struct MHD_Connection *c)
{
    struct hosts hosts = {.address = &s->address};
    MHD_get_connection_values(c, MHD_HEADER_KIND, count_host, &hosts);
    return !s->address.loopback || (hosts.right == 1 && hosts.wrong == 0);
}

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static bool has_body(struct MHD_Connection *c)
{
    const char *length = header(c, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return header(c, MHD_HTTP_HEADER_TRANSFER_ENCODING) || (length && strcmp(length, "0") != 0);
}

static void refuse(struct server_answer *a, unsigned status, const char *text)
{
    a->status = status;
    buf_adds(&a->body, text);
}

static void answer_path(struct server *s, const char *path, struct MHD_Connection *c,
                        struct server_answer *a)
{
    const struct server_request request = {.accept = header(c, MHD_HTTP_HEADER_ACCEPT)};
    const struct server_route *r;
    for (r = s->routes; r->path; r++)
        if (strcmp(r->path, path) == 0) {
            r->answer(s->arg, &request, a);
            return;
        }
    refuse(a, MHD_HTTP_NOT_FOUND, "not here; there are:");
    for (r = s->routes; r->path; r++)
        buf_addf(&a->body, " %s", r->path);
    buf_adds(&a->body, "\n");
}

static bool is_read_only(const char *method)
{
    return strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

/* Called as soon as the headers are there: nobody waits for a body. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_len, void **context)
{
    struct server *s = arg;
    struct server_answer a = {0};
    (void)version, (void)data, (void)data_len, (void)context;
    buf_init(&a.body, BODY_MAX);
    if (!is_for_us(s, c))
        refuse(&a, MHD_HTTP_FORBIDDEN, "unknown host name: ask for localhost or 127.0.0.1\n");
    else if (!is_read_only(method))
        refuse(&a, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    else if (has_body(c))
        refuse(&a, MHD_HTTP_CONTENT_TOO_LARGE, "no request has a body here\n");
    else
        answer_path(s, url, c, &a);
    return reply(c, &a);
}

/* ---- the thread ---- */

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct server *s = arg;
    (void)context;
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *client =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        guests_add(&s->guests, fd->connect_fd, client->client_addr, clock_mono_us());
    else
        guests_remove(&s->guests, fd->connect_fd);
}

/* In milliseconds; -1: until something happens. */
static int wait_for(struct server *s)
{
    int guests = guests_expire(&s->guests, clock_mono_us());
    MHD_UNSIGNED_LONG_LONG mhd;
    if (MHD_get_timeout(s->daemon, &mhd) != MHD_YES || mhd > INT_MAX)
        return guests;
    return guests < 0 || (int)mhd < guests ? (int)mhd : guests;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    while (!atomic_load(&s->ending)) {
        struct pollfd fds[2] = {{.fd = s->events, .events = POLLIN},
                                {.fd = s->wake, .events = POLLIN}};
        poll(fds, 2, wait_for(s));
        MHD_run(s->daemon);
    }
    return NULL;
}

static bool start_daemon(struct server *s)
{
    s->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, handle, s, MHD_OPTION_LISTEN_SOCKET,
                                 s->address.fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)GUESTS_ROOM,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
                                 MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!s->daemon)
        return false;
    s->events = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    return true;
}

static void release(struct server *s)
{
    if (s->daemon)
        MHD_stop_daemon(s->daemon); /* closes the socket, too */
    else
        close(s->address.fd);
    if (s->wake >= 0)
        close(s->wake);
    free(s);
}

struct server *server_start(const struct address *a, const struct server_route *routes, void *arg,
                            struct err *e)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s) {
        close(a->fd);
        err_memory(e);
        return NULL;
    }
    s->address = *a;
    s->routes = routes;
    s->arg = arg;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake >= 0 && start_daemon(s) && pthread_create(&s->thread, NULL, serve, s) == 0)
        return s;
    release(s);
    err_set(e, ERR_FINAL, "cannot start the server for --listen: out of memory or descriptors");
    return NULL;
}

void server_stop(struct server *s)
{
    if (!s)
        return;
    atomic_store(&s->ending, true);
    eventfd_write(s->wake, 1);
    pthread_join(s->thread, NULL);
    release(s);
}
