/* file: reads and writes whole files, and turns errno into an error.
 *
 * Uses     buf, err.
 * Threads  any.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;

enum file_end {
    FILE_COMPLETE,
    FILE_TOO_LARGE, /* for the buffer's ceiling */
    FILE_NO_MEMORY,
    FILE_ERROR, /* errno says which */
};

/* Adds what fd holds, from its current offset to the end, to `out`. The caller words the error. A
 * FIFO is read until its writers have closed it. */
enum file_end file_read(int fd, struct buf *out);

/* Writes all `len` bytes. path: for the message. */
bool file_write(int fd, const char *data, size_t len, const char *path, struct err *e);

/* The folder of a file: owned by the caller. NULL: no memory. */
char *file_folder(const char *path);
/* Makes new, renamed and removed names in the folder survive a power cut. */
bool file_sync_folder(const char *folder, struct err *e);

/* Describes errno: "could not WHAT 'PATH': REASON" and ERR_PASSING where the system may allow later
 * what it refuses now, such as a full disk; else "cannot ..." and ERR_FINAL. Always returns
 * false. */
bool file_error(struct err *e, const char *what, const char *path);
