#include "base/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool text_set(char **to, const char *from)
{
    assert(!from || from != *to);
    free(*to);
    *to = from ? strdup(from) : NULL;
    return *to || !from;
}

bool text_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

void text_cut(char *to, size_t size, const char *from, size_t len)
{
    if (len >= size)
        for (len = size - 1; len > 0 && ((unsigned char)from[len] & 0xC0) == 0x80;)
            len--;
    memcpy(to, from, len);
    to[len] = '\0';
}

size_t text_open_end(const char *text, size_t len)
{
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == ';' ||
                       (text[len - 1] == '.' && (len < 2 || text[len - 2] != '.'))))
        len--;
    return len;
}
