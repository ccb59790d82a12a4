#include "base/atomic_file.h"

#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- paths ---- */

/* The target of a link whose file does not exist yet, relative to the link's folder; `path` itself
 * if it is not a link. */
static char *behind_link(const char *path)
{
    char target[PATH_MAX], *out;
    const char *slash = strrchr(path, '/');
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return strdup(path);
    target[n] = '\0';
    if (*target == '/' || !slash)
        return strdup(target);
    return asprintf(&out, "%.*s%s", (int)(slash - path + 1), path, target) < 0 ? NULL : out;
}

/* A path that is no link stays as it was written: messages name it, before and after the file
 * exists. */
char *atomic_file_real_path(const char *path)
{
    struct stat info;
    bool is_link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
    char *real = is_link ? realpath(path, NULL) : NULL;
    return real ? real : behind_link(path);
}

static bool set_paths(struct atomic_file *f, const char *path, struct err *e)
{
    f->path = atomic_file_real_path(path);
    if (!f->path)
        return err_memory(e);
    if (asprintf(&f->temporary, "%s.new", f->path) < 0) {
        f->temporary = NULL;
        return err_memory(e);
    }
    f->folder = file_folder(f->path);
    return f->folder || err_memory(e);
}

static bool make_folders(char *path, struct err *e)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool ok = mkdir(path, 0777) == 0 || errno == EEXIST;
        if (!ok)
            file_error(e, "create folder", path);
        *slash = '/';
        if (!ok)
            return false;
    }
    return true;
}

static bool check(const struct atomic_file *f, const char *what, struct err *e)
{
    struct stat info;
    if (stat(f->path, &info) == 0 && !S_ISREG(info.st_mode))
        return err_set(e, ERR_USAGE, "cannot use %s '%s': not a regular file", what, f->path);
    if (access(f->folder, W_OK | X_OK) != 0)
        return file_error(e, "write to folder", f->folder) || err_wrap(e, "%s", what);
    return true;
}

bool atomic_file_prepare(struct atomic_file *f, const char *path, const char *what, struct err *e)
{
    *f = (struct atomic_file){0};
    if (!*path)
        return err_set(e, ERR_FINAL, "cannot use %s '': its name is empty", what);
    return set_paths(f, path, e) && make_folders(f->path, e) && check(f, what, e);
}

void atomic_file_free(struct atomic_file *f)
{
    free(f->path);
    free(f->temporary);
    free(f->folder);
    *f = (struct atomic_file){0};
}

/* ---- content ---- */

int atomic_file_begin(const struct atomic_file *f, struct err *e)
{
    int fd = open(f->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        file_error(e, "create", f->temporary);
    return fd;
}

bool atomic_file_end(const struct atomic_file *f, int fd, bool ok, struct err *e)
{
    if (ok && fsync(fd) != 0)
        ok = file_error(e, "write", f->temporary);
    if (close(fd) != 0 && ok)
        ok = file_error(e, "write", f->temporary);
    if (ok && rename(f->temporary, f->path) != 0)
        ok = file_error(e, "replace", f->path);
    if (!ok)
        unlink(f->temporary);
    return ok && file_sync_folder(f->folder, e);
}

bool atomic_file_remove(const struct atomic_file *f, struct err *e)
{
    if (unlink(f->path) != 0 && errno != ENOENT)
        return file_error(e, "remove", f->path);
    return file_sync_folder(f->folder, e);
}
