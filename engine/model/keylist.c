#include "model/keylist.h"

#include "base/grow.h"
#include "base/keyset.h"

#include <string.h>

enum { REMOVED_MAX = 64 << 20 }; /* bytes of keys that are removed together */

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

bool keylist_remove(struct keylist *l, const struct keylist *others)
{
    struct keyset *set = keyset_new(REMOVED_MAX);
    bool ok = set != NULL;
    for (size_t i = 0; ok && i < others->n; i++)
        ok = keyset_put(set, others->keys[i], NULL, 0);
    size_t n = 0;
    for (size_t i = 0; ok && i < l->n; i++)
        if (keyset_has(set, l->keys[i]))
            free(l->keys[i]);
        else
            l->keys[n++] = l->keys[i];
    l->n = ok ? n : l->n;
    keyset_free(set);
    return ok;
}
