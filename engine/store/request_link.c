#include "store/request_link.h"

#include "base/atomic_file.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "store/request.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 64,
    NAME_MAX_LEN = 60,  /* of the state's file name, within an address through /proc */
    NAME_KEPT = 40,     /* of a longer one */
    OUT_MAX = 16 << 20, /* bytes that wait to be sent; see run/desk.c for how few there are */
    IN_STEP = 64 << 10,
};

/* ---- where it is ---- */

struct place {
    struct sockaddr_un address;
    int folder; /* owned; -1: the address does without */
};

/* The path of the socket; owned by the caller; NULL: no memory. */
static char *socket_path(const char *state)
{
    char *real = atomic_file_real_path(state), *path = NULL;
    if (!real)
        return NULL;
    const char *slash = strrchr(real, '/'), *name = slash ? slash + 1 : real;
    int n = strlen(name) <= NAME_MAX_LEN
                ? asprintf(&path, "%s.sock", real)
                : asprintf(&path, "%.*s%.*s.%016" PRIx64 ".sock", (int)(name - real), real,
                           NAME_KEPT, name, hash_bytes(HASH_START, name, strlen(name)));
    free(real);
    return n < 0 ? NULL : path;
}

static bool place_by_folder(struct place *p, const char *path, struct err *e)
{
    char *folder = file_folder(path);
    p->folder = folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (!folder)
        err_memory(e);
    else if (p->folder < 0)
        file_error(e, "open folder", folder);
    free(folder);
    snprintf(p->address.sun_path, sizeof p->address.sun_path, "/proc/self/fd/%d/%s", p->folder,
             strrchr(path, '/') + 1);
    return p->folder >= 0;
}

static bool find_place(struct place *p, const char *path, struct err *e)
{
    *p = (struct place){.address.sun_family = AF_UNIX, .folder = -1};
    if (strlen(path) >= sizeof p->address.sun_path)
        return place_by_folder(p, path, e);
    memcpy(p->address.sun_path, path, strlen(path));
    return true;
}

static void leave_place(struct place *p)
{
    if (p->folder >= 0)
        close(p->folder);
}

static int make_socket(struct err *e)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        err_set(e, ERR_FINAL, "cannot create a socket: %s", strerror(errno));
    return fd;
}

/* ---- listening ---- */

/* Of a process that was killed. What is no socket is not ours. */
static bool remove_stale(const char *path, struct err *e)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return true;
    if (!S_ISSOCK(info.st_mode))
        return err_set(e, ERR_FINAL, "'%s' is in the way", path);
    return unlink(path) == 0 || file_error(e, "remove", path);
}

static bool bind_at(int fd, const struct place *p, const char *path, struct err *e)
{
    /* before it has a name: the mode of what bind makes comes from it */
    if (fchmod(fd, 0600) == 0 &&
        bind(fd, (const struct sockaddr *)&p->address, sizeof p->address) == 0 &&
        listen(fd, BACKLOG) == 0)
        return true;
    return file_error(e, "listen on", path);
}

int request_link_listen(const char *path, struct err *e)
{
    char *full = socket_path(path);
    struct place p = {.folder = -1};
    int fd = -1;
    bool ok = (full || err_memory(e)) && remove_stale(full, e) && find_place(&p, full, e) &&
              (fd = make_socket(e)) >= 0 && bind_at(fd, &p, full, e);
    leave_place(&p);
    free(full);
    if (ok)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

void request_link_remove(const char *path)
{
    struct err ignored;
    char *full = socket_path(path);
    if (full)
        remove_stale(full, &ignored);
    free(full);
}

/* ---- connections ---- */

static void start(struct request_link *l, int fd)
{
    *l = (struct request_link){.fd = fd};
    buf_init(&l->in, REQUEST_LINE_MAX + IN_STEP);
    buf_init(&l->out, OUT_MAX);
}

/* *user: of the process at the other end. */
static bool peer_user(int fd, uid_t *user)
{
    struct ucred who;
    socklen_t len = sizeof who;
    bool ok = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
    *user = ok ? who.uid : (uid_t)-1;
    return ok;
}

bool request_link_accept(int listener, struct request_link *l, bool *ours)
{
    uid_t user;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return false;
    start(l, fd);
    *ours = peer_user(fd, &user) && (user == geteuid() || user == 0);
    return true;
}

/* Whether the process at the other end may be believed: it is of this user, or of root; root
 * believes whom the socket belongs to. */
static bool check_holder(int fd, const char *path, struct err *e)
{
    struct stat info;
    uid_t user;
    if (peer_user(fd, &user) &&
        (user == geteuid() || user == 0 ||
         (geteuid() == 0 && lstat(path, &info) == 0 && info.st_uid == user)))
        return true;
    return err_set(e, ERR_FINAL, "cannot ask by '%s': it is a socket of another user", path);
}

static bool connect_at(int fd, const struct place *p, const char *path, struct err *e)
{
    *e = (struct err){0};
    if (connect(fd, (const struct sockaddr *)&p->address, sizeof p->address) == 0)
        return check_holder(fd, path, e);
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTSOCK)
        return false;
    if (errno == EAGAIN)
        return err_set(e, ERR_PASSING, "could not ask by '%s': too many are waiting", path);
    return file_error(e, "connect to", path);
}

bool request_link_connect(const char *path, struct request_link *l, struct err *e)
{
    char *full = socket_path(path);
    struct place p = {.folder = -1};
    int fd = -1;
    *l = (struct request_link){.fd = -1};
    bool ok = (full || err_memory(e)) && find_place(&p, full, e) && (fd = make_socket(e)) >= 0 &&
              connect_at(fd, &p, full, e);
    leave_place(&p);
    free(full);
    if (ok)
        start(l, fd);
    else if (fd >= 0)
        close(fd);
    return ok;
}

void request_link_close(struct request_link *l)
{
    if (l->in.max == 0) /* zeroed, or never connected */
        return;
    close(l->fd);
    buf_free(&l->in);
    buf_free(&l->out);
    *l = (struct request_link){.fd = -1};
}

/* ---- lines ---- */

static void drop_read(struct request_link *l)
{
    if (l->read == 0)
        return;
    memmove(l->in.data, l->in.data + l->read, l->in.len - l->read);
    l->in.len -= l->read;
    l->read = 0;
}

void request_link_fill(struct request_link *l)
{
    if (l->ended)
        return;
    drop_read(l);
    if (!buf_reserve(&l->in, IN_STEP)) {
        l->in.failed = false;
        l->ended = l->in.len < REQUEST_LINE_MAX; /* else request_link_next refuses the line */
        return;
    }
    ssize_t n = recv(l->fd, l->in.data + l->in.len, IN_STEP, MSG_DONTWAIT);
    if (n > 0)
        l->in.len += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        l->ended = true;
}

bool request_link_next(struct request_link *l, struct request_message *m, bool *got, struct err *e)
{
    const char *line = l->in.data + l->read;
    size_t left = l->in.len - l->read;
    const char *end = left ? memchr(line, '\n', left) : NULL;
    *got = false;
    if (!end)
        return left < REQUEST_LINE_MAX ||
               err_set(e, ERR_FINAL, "cannot read a message of the other process: too long");
    l->read += (size_t)(end - line) + 1;
    *got = request_read(m, line, (size_t)(end - line), e);
    return *got;
}

bool request_link_put(struct request_link *l, const struct request_message *m)
{
    return request_write(&l->out, m);
}

void request_link_flush(struct request_link *l)
{
    while (l->out.len > 0) {
        ssize_t n = send(l->fd, l->out.data, l->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            n = (ssize_t)l->out.len; /* the other end has gone, but may have said why */
        if (n < 0)
            return;
        memmove(l->out.data, l->out.data + n, l->out.len - (size_t)n);
        l->out.len -= (size_t)n;
    }
}
