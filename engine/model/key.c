#include "model/key.h"

#include <assert.h>
#include <string.h>

static bool needs_escape(char c)
{
    return c == ':' || c == '\\';
}

static void add_escaped(struct buf *out, const char *part)
{
    for (;;) {
        size_t plain = strcspn(part, ":\\");
        buf_add(out, part, plain);
        part += plain;
        if (!*part)
            return;
        buf_addc(out, '\\');
        buf_addc(out, *part++);
    }
}

bool key_join(struct buf *out, const char *const *parts, size_t n)
{
    assert(n > 0);
    if (n == 1)
        return buf_adds(out, parts[0]);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(out, ':');
        add_escaped(out, parts[i]);
    }
    return !out->failed;
}

/* Copies one value, unescaped, and a zero byte to *to, and moves both pointers past it. False: a
 * wrong escape. */
static bool copy_part(const char **key, char **to)
{
    const char *from = *key;
    char *out = *to;
    for (; *from && *from != ':'; from++) {
        if (*from == '\\' && !needs_escape(*++from))
            return false;
        *out++ = *from;
    }
    *out++ = '\0';
    *key = from;
    *to = out;
    return true;
}

bool key_split(const char *key, size_t n, struct buf *block, const char **parts)
{
    assert(n > 0);
    size_t size = strlen(key) + 1; /* enough: the ':' after a value becomes its zero byte */
    buf_clear(block);
    if (!buf_reserve(block, size))
        return false;
    block->len = size;
    if (n == 1) {
        parts[0] = memcpy(block->data, key, size);
        return true;
    }
    char *to = block->data;
    for (size_t i = 0; i < n; i++) {
        parts[i] = to;
        if (!copy_part(&key, &to) || *key != (i + 1 < n ? ':' : '\0'))
            return false;
        key += *key == ':';
    }
    return true;
}
