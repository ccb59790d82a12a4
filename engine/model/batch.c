#include "model/batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct batch *batch_new(void)
{
    return calloc(1, sizeof(struct batch));
}

struct batch *batch_range(const char *from, const char *to)
{
    struct batch *b = batch_new();
    if (!b)
        return NULL;
    b->is_range = true;
    b->from = from ? strdup(from) : NULL;
    b->to = to ? strdup(to) : NULL;
    b->done.after = to ? strdup(to) : NULL;
    if ((from && !b->from) || (to && (!b->to || !b->done.after))) {
        batch_free(b);
        return NULL;
    }
    return b;
}

void change_times_add(struct change_times *t, int64_t us)
{
    us = us ? us : -1; /* a microsecond before the machine was started */
    if (!t->oldest_us || us < t->oldest_us)
        t->oldest_us = us;
    if (!t->newest_us || us > t->newest_us)
        t->newest_us = us;
}

bool batch_add_key(struct batch *b, const char *key)
{
    bool full = (b->n & (b->n - 1)) == 0; /* room is made in powers of two */
    char **keys = full ? realloc(b->keys, (b->n ? b->n * 2 : 1) * sizeof *keys) : b->keys;
    if (!keys)
        return false;
    b->keys = keys;
    keys[b->n] = strdup(key);
    if (!keys[b->n])
        return false;
    b->n++;
    return true;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void batch_sort_keys(struct batch *b)
{
    size_t n = 0;
    if (b->n == 0)
        return;
    qsort(b->keys, b->n, sizeof *b->keys, compare_keys);
    for (size_t i = 0; i < b->n; i++)
        if (n > 0 && strcmp(b->keys[n - 1], b->keys[i]) == 0)
            free(b->keys[i]);
        else
            b->keys[n++] = b->keys[i];
    b->n = n;
}

bool batch_find_key(const struct batch *b, const char *key, size_t *i)
{
    char **found = bsearch(&key, b->keys, b->n, sizeof *b->keys, compare_keys);
    if (found)
        *i = (size_t)(found - b->keys);
    return found != NULL;
}

bool batch_reject(struct batch *b, const char *key, int status, const char *reason)
{
    struct rejections *all = &b->rejections;
    struct rejection *list = realloc(all->list, (all->n + 1) * sizeof *list);
    if (!list)
        return false;
    all->list = list;
    struct rejection r = {
        .key = strdup(key), .reason = reason ? strdup(reason) : NULL, .status = status};
    if (!r.key || (reason && !r.reason)) {
        free(r.key);
        free(r.reason);
        return false;
    }
    list[all->n++] = r;
    return true;
}

bool rejections_move(struct rejections *to, struct rejections *from)
{
    assert(to != from);
    if (from->n == 0)
        return true;
    struct rejection *list = realloc(to->list, (to->n + from->n) * sizeof *list);
    if (!list)
        return false;
    memcpy(list + to->n, from->list, from->n * sizeof *list);
    to->list = list;
    to->n += from->n;
    free(from->list);
    *from = (struct rejections){0};
    return true;
}

void rejections_free(struct rejections *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->list[i].key);
        free(r->list[i].reason);
    }
    free(r->list);
    *r = (struct rejections){0};
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n; i++)
        free(b->keys[i]);
    free(b->keys);
    free(b->from);
    free(b->to);
    checkpoint_free(&b->done);
    rejections_free(&b->rejections);
    free(b);
}
