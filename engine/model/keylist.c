#include "model/keylist.h"

#include "base/grow.h"

#include <string.h>

void keylist_free(struct keylist *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->keys[i]);
    free(l->keys);
    *l = (struct keylist){0};
}

bool keylist_add(struct keylist *l, const char *key)
{
    char **keys = grow(l->keys, l->n, &l->cap, 64, sizeof *keys);
    if (!keys)
        return false;
    l->keys = keys;
    l->keys[l->n] = strdup(key);
    return l->keys[l->n] && ++l->n;
}
