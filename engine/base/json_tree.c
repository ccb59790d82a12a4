#include "base/json_tree.h"

#include "base/err.h"
#include "base/grow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Adds a node as the last one of `parent`. 0: no memory. */
static size_t add(struct json_tree *t, size_t parent)
{
    struct json_tree_node *nodes = grow(t->nodes, t->n, &t->cap, 64, sizeof *nodes);
    if (!nodes)
        return 0;
    t->nodes = nodes;
    size_t i = t->n++;
    t->nodes[i] = (struct json_tree_node){0};
    if (i <= 1)
        return i;
    struct json_tree_node *p = &t->nodes[parent];
    if (p->last)
        t->nodes[p->last].next = i;
    else
        p->first = i;
    p->last = i;
    return i;
}

static struct json_tree_text slice(const struct json_reader *r, const char *text)
{
    return (struct json_tree_text){text + r->at, json_offset(r) - r->at};
}

struct reading {
    size_t parents[JSON_DEPTH + 2], depth;
    struct json_tree_text name; /* of the next value */
};

/* Adds what one token means. False: no memory. */
static bool add_token(struct json_tree *t, struct reading *w, const struct json_reader *r,
                      const char *text)
{
    if (r->token == JSON_KEY) {
        w->name = slice(r, text);
        w->name.len =
            (size_t)((const char *)memrchr(w->name.at, '"', w->name.len) - w->name.at) + 1;
        return true;
    }
    if (r->token == JSON_OBJECT_END || r->token == JSON_ARRAY_END) {
        assert(w->depth > 0);
        struct json_tree_node *node = &t->nodes[w->parents[w->depth--]];
        node->value.len = (size_t)(text + json_offset(r) - node->value.at);
        return true;
    }
    size_t i = add(t, w->parents[w->depth]);
    if (i == 0)
        return false;
    t->nodes[i].kind = r->token;
    t->nodes[i].name = w->name;
    t->nodes[i].value = slice(r, text);
    w->name = (struct json_tree_text){0};
    if (r->token == JSON_OBJECT || r->token == JSON_ARRAY)
        w->parents[++w->depth] = i;
    return true;
}

bool json_tree_read(struct json_tree *t, const char *text, size_t len, struct err *e)
{
    struct json_reader r;
    struct reading w = {0};
    *t = (struct json_tree){0};
    add(t, 0); /* node 0; without memory for it, t->nodes stays NULL */
    bool ok = t->nodes != NULL;
    json_open_loose(&r, text, len);
    do
        ok = ok && json_next(&r) != JSON_ERROR && add_token(t, &w, &r, text);
    while (ok && w.depth > 0);
    bool damaged = (r.error && strcmp(r.error, "out of memory") != 0) || (ok && !json_end(&r));
    json_close(&r);
    if (ok && !damaged)
        return true;
    json_tree_free(t);
    return damaged ? err_set(e, ERR_PASSING, "damaged answer") : err_memory(e);
}

void json_tree_free(struct json_tree *t)
{
    free(t->nodes);
    *t = (struct json_tree){0};
}

size_t json_tree_first(const struct json_tree *t, size_t node)
{
    return node ? t->nodes[node].first : 0;
}

static bool same(struct json_tree_text a, struct json_tree_text b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

size_t json_tree_find_text(const struct json_tree *t, size_t node, struct json_tree_text name)
{
    for (size_t i = json_tree_first(t, node); i; i = t->nodes[i].next)
        if (same(t->nodes[i].name, name))
            return i;
    return 0;
}

static struct json_tree_text without_quotes(struct json_tree_text text)
{
    if (text.len >= 2 && *text.at == '"')
        return (struct json_tree_text){text.at + 1, text.len - 2};
    return text;
}

size_t json_tree_find(const struct json_tree *t, size_t node, const char *name)
{
    struct json_tree_text wanted = {name, strlen(name)};
    for (size_t i = json_tree_first(t, node); i; i = t->nodes[i].next)
        if (same(without_quotes(t->nodes[i].name), wanted))
            return i;
    return 0;
}

struct json_tree_text json_tree_plain(const struct json_tree *t, size_t node)
{
    return node ? without_quotes(t->nodes[node].value) : (struct json_tree_text){"", 0};
}

bool json_tree_is(const struct json_tree *t, size_t node, const char *text)
{
    return node && same(json_tree_plain(t, node), (struct json_tree_text){text, strlen(text)});
}
