/* buf: a byte string that grows, up to a ceiling.
 *
 * Uses     nothing.
 * Threads  any, each with a buffer of its own.
 * Promise  len <= max, and len < cap <= max + 1 once there is data. Errors are sticky: once an
 *          addition has failed (ceiling or memory), the buffer is `failed` and every further
 *          addition does nothing, so one check at the end is enough.
 *
 *     struct buf b;
 *     buf_init(&b, 5 << 20);
 *     buf_adds(&b, "{\"index\":");
 *     buf_addf(&b, "%d", n);
 *     if (b.failed) ...
 *     buf_free(&b);
 *
 * The data is not terminated by a zero byte, except after buf_cstr.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct buf {
    char *data; /* owned; NULL until something is added */
    size_t len, cap, max;
    bool failed;
};

/* max: the ceiling of len, in bytes. Allocates nothing. */
void buf_init(struct buf *b, size_t max);
/* Leaves an empty buffer with the same ceiling. Safe on a zeroed struct. */
void buf_free(struct buf *b);

/* Empties the buffer, which is no longer failed; keeps the memory. */
void buf_clear(struct buf *b);
/* Cuts the content to an earlier length; the buffer is no longer failed. */
void buf_cut(struct buf *b, size_t len);
/* All additions return whether the buffer is not failed. */
bool buf_adds(struct buf *b, const char *text);
bool buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The content with a zero byte after it; borrowed until the next call. NULL: the buffer is
 * failed. */
const char *buf_cstr(struct buf *b);

/* ---- inline, because documents are written with these, a few bytes at a time ---- */

bool buf_grow(struct buf *b, size_t more); /* for buf_reserve only: when there is too little room */

/* Makes room for `more` bytes at data + len; the caller then adds to len. */
static inline bool buf_reserve(struct buf *b, size_t more)
{
    return (more < b->cap - b->len && !b->failed) || buf_grow(b, more);
}

static inline bool buf_add(struct buf *b, const void *data, size_t len)
{
    if (!buf_reserve(b, len))
        return false;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return true;
}

static inline bool buf_addc(struct buf *b, char c)
{
    if (!buf_reserve(b, 1))
        return false;
    b->data[b->len++] = c;
    return true;
}
