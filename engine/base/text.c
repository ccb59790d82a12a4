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
