/* atomic_file: a file that is replaced as a whole or not at all.
 *
 * Uses     err, file.
 * Promise  after a crash or a power cut the old content or the new one stands there, whole
 *          (temporary file, fsync, rename, fsync of the folder). Until atomic_file_end the old file is
 *          untouched.
 *
 *     int fd = atomic_file_begin(&f, e);
 *     if (fd < 0)
 *         return false;
 *     bool ok = file_write(fd, data, len, f.temporary, e);
 *     return atomic_file_end(&f, fd, ok, e);
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

struct atomic_file {                 /* bears being zeroed */
    char *path, *temporary, *folder; /* owned */
};

/* Follows a symbolic link, so that the file behind it is replaced and not the link; makes the
 * folders; finds out before the work, rather than after it, that nothing could be written there.
 * what: "state file", for messages. False: what f holds is to be freed all the same. */
bool atomic_file_prepare(struct atomic_file *f, const char *path, const char *what, struct err *e);
void atomic_file_free(struct atomic_file *f);

/* the temporary file, to write to; -1: e says why */
int atomic_file_begin(const struct atomic_file *f, struct err *e);
/* ok: what was to be written has been. Then the new file takes the old one's place; if not, or if
 * that fails, the temporary one goes (and e, filled by whoever failed first, stays). Closes fd. */
bool atomic_file_end(const struct atomic_file *f, int fd, bool ok, struct err *e);
bool atomic_file_remove(const struct atomic_file *f,
                        struct err *e); /* that there is none is fine */
