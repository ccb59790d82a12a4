#include "base/file.h"

#include "base/buf.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 16 << 10 }; /* bytes read at once */

bool file_error(struct err *e, const char *what, const char *path)
{
    int code = errno;
    bool passing = code == ENOSPC || code == EDQUOT || code == EIO || code == EMFILE ||
                   code == ENFILE || code == ENOMEM;
    return err_set(e, passing ? ERR_PASSING : ERR_FINAL, "%s %s '%s': %s",
                   passing ? "could not" : "cannot", what, path, strerror(code));
}

enum file_end file_read(int fd, struct buf *out)
{
    ssize_t n;
    do {
        size_t room = out->max - out->len < CHUNK ? out->max - out->len : CHUNK;
        if (room == 0)
            return FILE_TOO_LARGE;
        if (!buf_reserve(out, room))
            return FILE_NO_MEMORY;
        n = read(fd, out->data + out->len, room);
        if (n > 0)
            out->len += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EINTR));
    return n == 0 ? FILE_COMPLETE : FILE_ERROR;
}

bool file_write(int fd, const char *data, size_t len, const char *path, struct err *e)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return file_error(e, "write", path);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

char *file_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash          ? strdup(".")
           : slash == path ? strdup("/")
                           : strndup(path, (size_t)(slash - path));
}

bool file_sync_folder(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_error(e, "open folder", path);
    bool ok = fsync(fd) == 0;
    if (!ok)
        file_error(e, "sync folder", path);
    close(fd);
    return ok;
}
