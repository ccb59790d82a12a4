#include "index/bulk_internal.h"

#include "base/err.h"
#include "base/grow.h"
#include "base/json.h"
#include "base/keyset.h"
#include "index/doc_location.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 8192 }; /* bytes of index, routing and pipeline, escaped */

/* ---- building ---- */

struct bulk *bulk_new(size_t max_bytes, struct err *e)
{
    struct bulk *b = calloc(1, sizeof *b);
    if (!b) {
        err_memory(e);
        return NULL;
    }
    buf_init(&b->body, max_bytes);
    buf_init(&b->names, max_bytes);
    return b;
}

void bulk_free(struct bulk *b)
{
    if (!b)
        return;
    buf_free(&b->body);
    buf_free(&b->names);
    free(b->items);
    keyset_free(b->known);
    free(b);
}

void bulk_clear(struct bulk *b)
{
    buf_clear(&b->body);
    buf_clear(&b->names);
    b->n = 0;
    b->is_open = false;
}

/* Adds a text with its zero byte. */
static size_t add_text(struct bulk *b, const char *text, size_t len)
{
    size_t at = b->names.len;
    buf_add(&b->names, text, len + 1);
    return at;
}

static void begin(struct bulk *b, const char *key, int64_t version, bool is_delete)
{
    size_t len = strlen(key);
    assert(!b->is_open);
    b->is_open = true;
    b->open = (struct bulk_item){
        .at = b->body.len, .key_len = len, .version = version, .is_delete = is_delete};
    b->open.key_at = add_text(b, key, len);
    buf_adds(&b->body, is_delete ? "{\"delete\":{\"_id\":" : "{\"index\":{\"_id\":");
    b->bad = json_add_string(&b->body, key, len) ? NULL : "key";
    buf_adds(&b->body, ",\"version\":");
    json_add_int(&b->body, version);
    buf_adds(&b->body, ",\"version_type\":\"external_gte\"");
    b->action_end = b->body.len;
    buf_adds(&b->body, "}}\n");
}

void bulk_begin(struct bulk *b, const char *key, int64_t version)
{
    begin(b, key, version, false);
}

static void add_name(struct bulk *b, struct buf *to, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_addf(to, ",\"%s\":", name);
    if (!json_add_string(to, value, strlen(value)))
        b->bad = name;
}

/* Inserts text at the end of the open item's action, and moves its document, if any, along. */
static void insert(struct bulk *b, const struct buf *text)
{
    if (text->failed || !buf_reserve(&b->body, text->len)) {
        b->body.failed = true;
        return;
    }
    char *at = b->body.data + b->action_end;
    memmove(at + text->len, at, b->body.len - b->action_end);
    memcpy(at, text->data, text->len);
    b->body.len += text->len;
}

void bulk_set_location(struct bulk *b, const char *index, const char *routing, const char *pipeline)
{
    struct buf text;
    assert(b->is_open);
    buf_init(&text, MAX_NAMES);
    add_name(b, &text, "_index", index);
    add_name(b, &text, "routing", routing);
    add_name(b, &text, "pipeline", pipeline);
    if (text.len > 0 || text.failed)
        insert(b, &text);
    buf_free(&text);
    if (index && *index)
        b->open.index_at = add_text(b, index, strlen(index));
    if (routing && *routing)
        b->open.routing_at = add_text(b, routing, strlen(routing));
    b->open.has_pipeline = pipeline && *pipeline;
}

void bulk_abort(struct bulk *b)
{
    assert(b->is_open);
    buf_cut(&b->body, b->open.at);
    buf_cut(&b->names, b->open.key_at);
    b->is_open = false;
}

static bool keep_open(struct bulk *b)
{
    struct bulk_item *items = grow(b->items, b->n, &b->cap, 256, sizeof *items);
    if (!items)
        return false;
    b->items = items;
    assert(b->n == 0 || b->items[b->n - 1].at + b->items[b->n - 1].len == b->open.at);
    b->open.len = b->body.len - b->open.at;
    b->items[b->n++] = b->open;
    b->is_open = false;
    return true;
}

/* Removes the open item, and says why in e. */
static bool take_back(struct bulk *b, bool too_large, struct err *e)
{
    if (b->names.failed)
        err_memory(e);
    else if (b->bad)
        err_set(e, ERR_FINAL, "cannot send document '%.100s': its %s is not UTF-8",
                b->names.data + b->open.key_at, b->bad);
    else if (too_large)
        err_set(e, ERR_FINAL, "document '%.200s' is larger than %zu MB, or than memory",
                b->names.data + b->open.key_at, b->body.max >> 20);
    else
        err_memory(e);
    bulk_abort(b);
    return false;
}

static bool commit(struct bulk *b, struct err *e)
{
    assert(b->is_open);
    if (b->body.failed || b->names.failed || b->bad)
        return take_back(b, b->body.failed, e);
    return keep_open(b) || take_back(b, false, e);
}

bool bulk_commit(struct bulk *b, struct err *e)
{
    buf_addc(&b->body, '\n');
    return commit(b, e);
}

bool bulk_delete(struct bulk *b, const char *key, int64_t version, struct err *e)
{
    begin(b, key, version, true);
    return commit(b, e);
}

bool bulk_delete_at(struct bulk *b, const char *key, int64_t version, const struct doc_location *at,
                    struct err *e)
{
    begin(b, key, version, true);
    bulk_set_location(b, at->index, at->routing, NULL);
    return commit(b, e);
}

struct buf *bulk_body(struct bulk *b)
{
    return &b->body;
}

/* ---- the items ---- */

size_t bulk_count(const struct bulk *b)
{
    return b->n;
}

size_t bulk_bytes(const struct bulk *b)
{
    return b->body.len;
}

static const struct bulk_item *item_of(const struct bulk *b, size_t i)
{
    assert(i < b->n);
    return &b->items[i];
}

const char *bulk_item_key(const struct bulk *b, const struct bulk_item *item)
{
    return b->names.data + item->key_at;
}

const char *bulk_key(const struct bulk *b, size_t i)
{
    return bulk_item_key(b, item_of(b, i));
}

const char *bulk_index(const struct bulk *b, size_t i)
{
    size_t at = item_of(b, i)->index_at;
    return at ? b->names.data + at : NULL;
}

const char *bulk_routing(const struct bulk *b, size_t i)
{
    size_t at = item_of(b, i)->routing_at;
    return at ? b->names.data + at : NULL;
}

int64_t bulk_version(const struct bulk *b, size_t i)
{
    return item_of(b, i)->version;
}

bool bulk_is_delete(const struct bulk *b, size_t i)
{
    return item_of(b, i)->is_delete;
}

const char *bulk_document(const struct bulk *b, size_t i, size_t *len)
{
    const struct bulk_item *item = item_of(b, i);
    if (item->is_delete)
        return NULL;
    const char *lines = b->body.data + item->at,
               *document = (const char *)memchr(lines, '\n', item->len) + 1;
    *len = item->len - (size_t)(document - lines) - 1; /* each line ends in a line break */
    return document;
}

void bulk_drop(struct bulk *b, size_t i)
{
    assert(i < b->n);
    b->items[i].done = true;
}

/* The items that stay keep their order and move down in place. Their names stay where they are
 * until no item is left. */
void bulk_compact(struct bulk *b)
{
    size_t n = 0, body = 0;
    assert(!b->is_open);
    for (size_t i = 0; i < b->n; i++) {
        struct bulk_item item = b->items[i];
        if (item.done)
            continue;
        memmove(b->body.data + body, b->body.data + item.at, item.len);
        item.at = body;
        body += item.len;
        b->items[n++] = item;
    }
    b->n = n;
    buf_cut(&b->body, body);
    if (n == 0)
        buf_cut(&b->names, 0);
}

void bulk_set_request_bytes(struct bulk *b, size_t bytes)
{
    b->request_bytes = bytes;
}

int64_t bulk_foreign_version(const struct bulk *b)
{
    return b->foreign;
}
