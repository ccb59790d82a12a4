/* buf: a byte string that grows, up to a ceiling.
 *
 * Uses     nothing.
 * Promise  len <= cap <= max + 1, and len <= max, always. Sticky: once an addition failed (ceiling
 *          or memory), the buffer is `failed`, every further addition does nothing, and one
 *          question at the end is enough.
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
    char *data; /* owned; NULL while nothing was added */
    size_t len, cap, max;
    bool failed;
};

/* max: bytes that the buffer may never pass. Allocates nothing. */
void buf_init(struct buf *b, size_t max);
/* bears a zeroed struct; leaves an empty buffer with the same ceiling */
void buf_free(struct buf *b);

void buf_clear(struct buf *b);           /* empty and no longer failed; keeps the memory */
void buf_cut(struct buf *b, size_t len); /* back to an earlier length; no longer failed */
bool buf_adds(struct buf *b, const char *text);
bool buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The content as a C string: borrowed, until the next call. NULL if failed. */
const char *buf_cstr(struct buf *b);

/* ---- the rest is inline, because documents are written by it, a few bytes at a time ---- */

bool buf_grow(struct buf *b, size_t more); /* buf_reserve's own, where memory has to be found */

/* Room for `more` bytes at data + len; the caller then adds to len. */
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
