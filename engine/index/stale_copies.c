#include "index/stale_copies.h"

#include "base/err.h"
#include "base/grow.h"
#include "base/keyset.h"
#include "index/bulk.h"
#include "index/index.h"

#include <stdlib.h>
#include <string.h>

enum { OURS_MAX = 1 << 20 }; /* bytes: names of some thousand indexes */

void stale_copies_init(struct stale_copies *c, struct es *es, const char *indices,
                       const char *pipeline, size_t max_bytes)
{
    *c = (struct stale_copies){.es = es, .indices = indices, .pipeline = pipeline};
    buf_init(&c->keys, max_bytes);
    buf_init(&c->text, max_bytes);
}

void stale_copies_free(struct stale_copies *c)
{
    buf_free(&c->keys);
    buf_free(&c->text);
    keyset_free(c->ours);
    free(c->list);
    c->ours = NULL;
    c->list = NULL;
    c->n_keys = c->n = c->cap = 0;
}

void stale_copies_clear(struct stale_copies *c)
{
    buf_clear(&c->keys);
    buf_clear(&c->text);
    c->n_keys = c->n = 0;
}

void stale_copies_add(struct stale_copies *c, const char *key)
{
    buf_add(&c->keys, key, strlen(key) + 1);
    c->n_keys++;
}

/* ---- finding ---- */

static size_t keep(struct stale_copies *c, const char *text)
{
    size_t at = c->text.len;
    buf_add(&c->text, text, strlen(text) + 1);
    return at;
}

static bool take(const struct index_copy *found, void *arg, struct err *e)
{
    struct stale_copies *c = arg;
    struct copy *list = grow(c->list, c->n, &c->cap, 256, sizeof *list);
    if (!list)
        return err_memory(e);
    c->list = list;
    c->list[c->n++] = (struct copy){.key = keep(c, found->key),
                                    .index = keep(c, found->index),
                                    .routing = keep(c, found->routing ? found->routing : ""),
                                    .version = found->version};
    return !c->text.failed || err_memory(e);
}

static int by_key_and_age(const void *x, const void *y, void *text)
{
    const struct copy *a = x, *b = y;
    int order = strcmp((char *)text + a->key, (char *)text + b->key);
    return order ? order : (a->version < b->version) - (a->version > b->version);
}

/* An index without metadata belongs to no pipeline. */
static bool check_owner(struct stale_copies *c, const char *index, struct err *e)
{
    struct index_meta m;
    if (!c->ours && !(c->ours = keyset_new(OURS_MAX)))
        return err_memory(e);
    if (keyset_has(c->ours, index))
        return true;
    if (!index_read_meta(c->es, index, &m, e))
        return false;
    if (m.known && !index_is_of(m.pipeline, c->pipeline)) {
        err_set(e, ERR_USAGE, "sink.indices '%s' matches index '%s', which pipeline '%s' keeps",
                c->indices, index, m.pipeline);
        return err_hint(e, "choose index names that no other pipeline uses; nothing was deleted");
    }
    keyset_put(c->ours, index, NULL, 0); /* without memory for it: checked again next time */
    return true;
}

static bool check_owners(struct stale_copies *c, struct err *e)
{
    for (size_t i = 0; i < c->n; i++)
        if (!check_owner(c, c->text.data + c->list[i].index, e))
            return false;
    return true;
}

bool stale_copies_find(struct stale_copies *c, struct err *e)
{
    c->n = 0;
    buf_clear(&c->text);
    if (c->keys.failed)
        return err_memory(e);
    if (c->n_keys == 0)
        return true;
    const char **keys = malloc(c->n_keys * sizeof *keys), *p = c->keys.data;
    if (!keys)
        return err_memory(e);
    for (size_t i = 0; i < c->n_keys; i++, p += strlen(p) + 1)
        keys[i] = p;
    bool ok = index_find(c->es, c->indices, &(struct index_search){keys, c->n_keys, take, c}, e);
    free(keys);
    if (ok && c->n > 0)
        qsort_r(c->list, c->n, sizeof *c->list, by_key_and_age, c->text.data);
    return ok && check_owners(c, e);
}

/* ---- the copies ---- */

static const char *text_at(const struct stale_copies *c, size_t at)
{
    return c->text.data + at;
}

size_t stale_copies_range(const struct stale_copies *c, const char *key, size_t *from)
{
    size_t low = 0, high = c->n, n = 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(text_at(c, c->list[middle].key), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low + n < c->n && strcmp(text_at(c, c->list[low + n].key), key) == 0)
        n++;
    *from = low;
    return n;
}

size_t stale_copies_count(const struct stale_copies *c, const char *key)
{
    size_t ignored;
    return stale_copies_range(c, key, &ignored);
}

static bool drop(const struct stale_copies *c, size_t i, struct bulk *to, int64_t version,
                 struct err *e)
{
    const struct copy *copy = &c->list[i];
    struct doc_location at = {text_at(c, copy->index), text_at(c, copy->routing)};
    return bulk_delete_at(to, text_at(c, copy->key), version, &at, e);
}

bool stale_copies_drop(const struct stale_copies *c, size_t i, struct bulk *to, struct err *e)
{
    return drop(c, i, to, c->list[i].version, e);
}

bool stale_copies_drop_all(const struct stale_copies *c, struct bulk *to, int64_t version,
                           struct err *e)
{
    for (size_t i = 0; i < c->n; i++)
        if (!drop(c, i, to, version, e))
            return false;
    return true;
}

/* Older by version, not by position: copies with equal versions, which may be one copy found twice,
 * all stay. */
bool stale_copies_drop_older(const struct stale_copies *c, struct bulk *to, struct err *e)
{
    const struct copy *newest = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const struct copy *copy = &c->list[i];
        if (!newest || strcmp(text_at(c, copy->key), text_at(c, newest->key)) != 0)
            newest = copy;
        else if (copy->version < newest->version && !stale_copies_drop(c, i, to, e))
            return false;
    }
    return true;
}
