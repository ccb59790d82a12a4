#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 256 };

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_free(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    buf_cut(b, 0);
}

void buf_cut(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->len = len;
    b->failed = false;
}

/* There is always room for one byte more than asked, for the zero byte of buf_cstr. */
bool buf_grow(struct buf *b, size_t more)
{
    assert(b->len <= b->max && (b->data ? b->len < b->cap : b->len == 0 && b->cap == 0));
    if (b->failed || more > b->max - b->len) /* len + more could wrap */
        return !(b->failed = true);
    /* realloc cannot give that much; below it, nothing here can wrap */
    if (more >= SIZE_MAX / 2 - b->len)
        return !(b->failed = true);
    size_t need = b->len + more + 1, cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap;
    while (cap < need)
        cap *= 2;
    if (cap > b->max) /* so that buf_reserve need not check max */
        cap = b->max + 1;
    char *data = realloc(b->data, cap);
    if (!data)
        return !(b->failed = true);
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_adds(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

bool buf_addf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        return !(b->failed = true);
    size_t len = (size_t)n;
    if (!buf_reserve(b, len)) /* and one byte more, for the zero that vsnprintf writes */
        return false;
    va_start(args, format);
    vsnprintf(b->data + b->len, len + 1, format, args);
    va_end(args);
    b->len += len;
    return true;
}

const char *buf_cstr(struct buf *b)
{
    if (!buf_reserve(b, 0))
        return NULL;
    b->data[b->len] = '\0';
    return b->data;
}
