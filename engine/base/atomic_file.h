/* atomic_file: a file that is replaced as a whole or not at all.
 *
 * Uses     err, file.
 * Threads  any, each with a file of its own.
 * Promise  after a crash or a power cut, the complete old content or the complete new content is
 *          there (temporary file, fsync, rename, fsync of the folder). The old file is unchanged
 *          until atomic_file_end.
 *
 *     int fd = atomic_file_begin(&f, e);
 *     if (fd < 0)
 *         return false;
 *     bool ok = file_write(fd, data, len, f.temporary, e);
 *     return atomic_file_end(&f, fd, ok, e);
 */
#pragma once
#include <stdbool.h>

struct err;

struct atomic_file {                 /* a zeroed one can be freed */
    char *path, *temporary, *folder; /* owned */
};

/* Makes the folders, and checks before the work that the file can be written. A symbolic link is
 * followed: the file behind it is replaced, not the link. what: "state file", for messages. False:
 * f is to be freed all the same. */
bool atomic_file_prepare(struct atomic_file *f, const char *path, const char *what, struct err *e);
void atomic_file_free(struct atomic_file *f);

/* Opens the temporary file for writing. -1: e says why. */
int atomic_file_begin(const struct atomic_file *f, struct err *e);
/* Closes fd. ok: all was written; the new file then replaces the old one. If not, or if that fails,
 * the temporary file is removed; e keeps the first error. */
bool atomic_file_end(const struct atomic_file *f, int fd, bool ok, struct err *e);
/* Removes the file. It may be missing. */
bool atomic_file_remove(const struct atomic_file *f, struct err *e);

/* The path of the file behind a symbolic link, which may be missing; else as it is given. Owned by
 * the caller. NULL: no memory. */
char *atomic_file_real_path(const char *path);
