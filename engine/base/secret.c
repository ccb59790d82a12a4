#include "base/secret.h"

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 200, PATH_LEN = 4096 };

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* ---- where the secret is ---- */

struct origin {
    const char *value; /* of the variable NAME; NULL: the secret is a file */
    char path[PATH_LEN];
    bool found;
};

/* Whether systemd's folder has a file of that name; sets its path. */
static bool in_credentials(const char *name, char path[PATH_LEN])
{
    const char *folder = variable("CREDENTIALS_DIRECTORY");
    int n = folder ? snprintf(path, PATH_LEN, "%s/%s", folder, name) : -1;
    if (n < 0 || n >= PATH_LEN)
        return false;
    for (char *p = path + strlen(folder); *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return access(path, F_OK) == 0 || errno != ENOENT;
}

static bool find(const char *name, struct origin *at, struct err *e)
{
    char file[NAME_MAX_LEN];
    *at = (struct origin){0};
    int n = snprintf(file, sizeof file, "%s_FILE", name);
    if (n >= (int)sizeof file || strpbrk(name, "/="))
        return err_set(e, ERR_USAGE, "'%.40s' is not a valid name of a secret", name);
    at->value = variable(name);
    const char *path = variable(file);
    if (at->value && path)
        return err_set(e, ERR_USAGE, "the variables %s and %s exclude each other", name, file);
    if (path && snprintf(at->path, PATH_LEN, "%s", path) >= PATH_LEN)
        return err_set(e, ERR_USAGE, "the path in the variable %s is too long", file);
    at->found = at->value || path || in_credentials(name, at->path);
    return true;
}

bool secret_file(const char *name, char *out, size_t size)
{
    struct origin at;
    struct err ignored;
    bool is_file = find(name, &at, &ignored) && at.found && !at.value;
    if (is_file)
        snprintf(out, size, "%s", at.path);
    return is_file;
}

bool secret_place(const char *name, char *out, size_t size)
{
    struct origin at;
    struct err ignored;
    if (!find(name, &at, &ignored) || !at.found)
        return false;
    if (at.value)
        snprintf(out, size, "variable %s", name);
    else
        snprintf(out, size, "file '%.*s'", (int)size - 10, at.path);
    return true;
}

/* ---- what was read from files ---- */

struct reading {
    struct reading *next;
    char *name, *value; /* owned */
};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct reading *readings; /* owned, until the process ends; under the mutex */

static struct reading *reading_of(const char *name)
{
    struct reading *r = readings;
    while (r && strcmp(r->name, name) != 0)
        r = r->next;
    return r;
}

static struct reading *add_reading(const char *name)
{
    struct reading *r = calloc(1, sizeof *r);
    if (!r || !text_set(&r->name, name)) {
        free(r);
        return NULL;
    }
    r->next = readings;
    readings = r;
    return r;
}

/* *first: it was not read before. */
static bool remember(const char *name, const char *value, bool *first)
{
    pthread_mutex_lock(&mutex);
    struct reading *r = reading_of(name);
    *first = !r;
    if (!r)
        r = add_reading(name);
    bool ok = r && value && text_set(&r->value, value);
    pthread_mutex_unlock(&mutex);
    return ok;
}

bool secret_each_reading(bool (*visit)(void *arg, const char *name, const char *value), void *arg)
{
    bool ok = true;
    pthread_mutex_lock(&mutex);
    for (const struct reading *r = readings; ok && r; r = r->next)
        ok = !r->value || visit(arg, r->name, r->value);
    pthread_mutex_unlock(&mutex);
    return ok;
}

/* ---- the file ---- */

static bool bad_file(const char *what, const char *path, const char *why, struct err *e)
{
    return err_set(e, ERR_USAGE, "cannot read %s from file '%s': %s", what, path, why);
}

/* Does not wait if the path is a pipe without a writer. -1: e says why. */
static int open_file(const char *what, const char *path, struct stat *info, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *why = fd < 0 || fstat(fd, info) != 0                 ? strerror(errno)
                      : S_ISDIR(info->st_mode)                       ? "it is a folder"
                      : info->st_size == 0 && S_ISREG(info->st_mode) ? "it is empty"
                                                                     : NULL;
    if (!why)
        return fd;
    bad_file(what, path, why, e);
    if (fd >= 0)
        close(fd);
    return -1;
}

bool secret_check_file(const char *what, const char *path, struct err *e)
{
    struct stat info;
    int fd = open_file(what, path, &info, e);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Reads to the end; a pipe, such as a shell's <(...), until it is closed. */
static bool read_all(int fd, const char *what, const char *path, struct buf *out, struct err *e)
{
    enum file_end end = file_read(fd, out);
    if (end == FILE_NO_MEMORY)
        return err_memory(e);
    return end == FILE_COMPLETE ||
           bad_file(what, path, end == FILE_TOO_LARGE ? "it is too long" : strerror(errno), e);
}

static bool trim(const char *what, const char *path, struct buf *out, size_t from, struct err *e)
{
    if (out->len > from && out->data[out->len - 1] == '\n')
        out->len--;
    if (out->len > from && out->data[out->len - 1] == '\r')
        out->len--;
    if (out->len == from)
        return bad_file(what, path, "it is empty", e);
    return !memchr(out->data + from, '\0', out->len - from) ||
           bad_file(what, path, "it has a zero byte", e);
}

static bool read_file(const char *name, const char *path, struct buf *out, struct err *e)
{
    struct stat info;
    size_t from = out->len;
    int fd = open_file(name, path, &info, e);
    if (fd < 0)
        return false;
    fcntl(fd, F_SETFL, 0);
    bool ok = read_all(fd, name, path, out, e) && trim(name, path, out, from, e);
    close(fd);
    if (!ok || !S_ISREG(info.st_mode)) /* a pipe cannot be read again */
        return ok;
    bool first;
    const char *text = buf_cstr(out);
    if (!remember(name, text ? text + from : NULL, &first))
        return err_memory(e);
    if (first && (info.st_mode & S_IROTH))
        log_warn_with(
            LOG_FIELDS(log_text("path", path)),
            "every user can read file '%s', which holds the secret %s; restrict it with chmod 600",
            path, name);
    return true;
}

bool secret_read(const char *name, struct buf *out, bool *found, struct err *e)
{
    struct origin at;
    if (!find(name, &at, e))
        return false;
    *found = at.found;
    if (at.value)
        return buf_adds(out, at.value) || err_memory(e);
    return !at.found || read_file(name, at.path, out, e);
}

bool secret_path(const char *name, struct buf *out, bool *found, struct err *e)
{
    struct origin at;
    if (!find(name, &at, e))
        return false;
    *found = at.found;
    if (!at.found)
        return true;
    const char *path = at.value ? at.value : at.path;
    return secret_check_file(name, path, e) && (buf_adds(out, path) || err_memory(e));
}
