#include "index/index_alias.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json_tree.h"
#include "es/es.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REQUEST = 16 << 20 };

struct aliases { /* {"INDEX":{"aliases":{"ALIAS":{...}}}, ...} */
    struct es *es;
    struct es_answer answer;
    struct json_tree tree;
};

static void close_aliases(struct aliases *a)
{
    json_tree_free(&a->tree);
    es_answer_free(&a->answer);
}

static bool ask(struct aliases *a, const char *path, struct err *e)
{
    if (!es_request(a->es, &(struct es_call){.method = "GET", .path = path}, &a->answer, e))
        return false;
    if (a->answer.status == 404)
        return true;
    return es_check(&a->answer, e) &&
           json_tree_read(&a->tree, a->answer.body.data, a->answer.body.len, e);
}

/* Asks for the path /NAME AFTER ALIAS, where both names get escaped; alias: NULL: none. After a 404
 * (there is no such alias or index) the tree is empty. */
static bool read_aliases(struct aliases *a, const char *name, const char *after, const char *alias,
                         struct err *e)
{
    struct buf path;
    buf_init(&path, 1 << 12);
    buf_addc(&path, '/');
    es_add_escaped(&path, name);
    buf_adds(&path, after);
    if (alias)
        es_add_escaped(&path, alias);
    bool ok = (buf_cstr(&path) || err_memory(e)) && ask(a, buf_cstr(&path), e);
    buf_free(&path);
    return ok;
}

/* Not by /_alias/ALIAS: OpenSearch allows that only to who may ask about all indexes. */
static bool read_alias(struct aliases *a, const char *alias, struct err *e)
{
    return read_aliases(a, alias, "/_alias/", alias, e) || err_wrap(e, "alias '%s'", alias);
}

static size_t first_index(const struct aliases *a)
{
    return a->tree.n > 1 ? json_tree_first(&a->tree, 1) : 0;
}

/* The properties of `alias` at an index: {"filter":..,"is_write_index":..}; 0: the index does not
 * have it. */
static size_t properties(const struct aliases *a, size_t index, const char *alias)
{
    return json_tree_find(&a->tree, json_tree_find(&a->tree, index, "aliases"), alias);
}

static void copy_name(const struct aliases *a, size_t index, char *out)
{
    struct json_tree_text name = a->tree.nodes[index].name;
    snprintf(out, INDEX_NAME, "%.*s", (int)name.len - 2, name.at + 1);
}

bool index_write_target(struct es *es, const char *alias, char *out, struct err *e)
{
    struct aliases a = {.es = es};
    bool ok = read_alias(&a, alias, e);
    *out = '\0';
    for (size_t i = ok ? first_index(&a) : 0; i; i = a.tree.nodes[i].next)
        if (json_tree_is(&a.tree,
                         json_tree_find(&a.tree, properties(&a, i, alias), "is_write_index"),
                         "true"))
            copy_name(&a, i, out);
    close_aliases(&a);
    return ok;
}

bool index_is_writable(struct es *es, const char *alias, bool *writable, struct err *e)
{
    struct aliases a = {.es = es};
    bool ok = read_alias(&a, alias, e), refused = false, chosen = false;
    for (size_t i = ok ? first_index(&a) : 0; i; i = a.tree.nodes[i].next) {
        size_t is = json_tree_find(&a.tree, properties(&a, i, alias), "is_write_index");
        refused = refused || json_tree_is(&a.tree, is, "false");
        chosen = chosen || json_tree_is(&a.tree, is, "true");
    }
    *writable = chosen || !refused;
    close_aliases(&a);
    return ok;
}

/* Whether an alias changes what is read or written through it. */
static bool changes(const struct json_tree *t, size_t properties)
{
    return json_tree_find(t, properties, "filter") ||
           json_tree_find(t, properties, "index_routing") ||
           json_tree_find(t, properties, "search_routing");
}

bool index_is_plain(struct es *es, const char *name, bool *plain, struct err *e)
{
    struct aliases a = {.es = es};
    bool ok = read_alias(&a, name, e);
    *plain = ok;
    for (size_t i = ok ? first_index(&a) : 0; i; i = a.tree.nodes[i].next)
        *plain = *plain && !changes(&a.tree, properties(&a, i, name));
    close_aliases(&a);
    return ok;
}

/* ---- swapping ---- */

static void add_action(struct buf *b, const char *verb, const char *index, const char *alias)
{
    buf_addf(b, "{\"%s\":{\"index\":", verb);
    json_add_string(b, index, strlen(index));
    if (alias) {
        buf_adds(b, ",\"alias\":");
        json_add_string(b, alias, strlen(alias));
    }
}

/* An earlier attempt succeeded, though its answer was lost. */
static bool is_swapped(const struct aliases *a, const char *fresh)
{
    char name[INDEX_NAME];
    size_t i = first_index(a);
    if (!i || a->tree.nodes[i].next)
        return false;
    copy_name(a, i, name);
    return strcmp(name, fresh) == 0;
}

/* Appends the properties that an alias has: a filter, routing. */
static void add_properties(struct buf *b, const struct json_tree *t, size_t properties)
{
    if (!properties || t->nodes[properties].value.len <= 2)
        return;
    buf_addc(b, ',');
    buf_add(b, t->nodes[properties].value.at + 1, t->nodes[properties].value.len - 2);
}

struct swap {
    struct es *es;
    const char *alias, *old, *fresh; /* see index_swap */
};

/* Removing an index removes its aliases, too: the new index gets them. */
static bool keep_aliases(struct buf *b, const struct swap *s, struct err *e)
{
    struct aliases a = {.es = s->es};
    bool ok = read_aliases(&a, s->old, "/_alias", NULL, e);
    size_t first =
        ok ? json_tree_first(&a.tree, json_tree_find(&a.tree, first_index(&a), "aliases")) : 0;
    for (size_t i = first; i; i = a.tree.nodes[i].next) {
        char name[INDEX_NAME];
        copy_name(&a, i, name);
        add_action(b, "add", s->fresh, name);
        add_properties(b, &a.tree, i);
        buf_adds(b, "}},");
    }
    close_aliases(&a);
    return ok;
}

/* The alias keeps the properties that it had at the old index. */
static bool add_actions(struct buf *b, const struct aliases *a, const struct swap *s, struct err *e)
{
    bool replace = s->old && strcmp(s->old, s->alias) == 0;
    buf_adds(b, "{\"actions\":[");
    for (size_t i = replace ? 0 : first_index(a); i; i = a->tree.nodes[i].next) {
        char name[INDEX_NAME];
        copy_name(a, i, name);
        add_action(b, "remove", name, s->alias);
        buf_adds(b, "}},");
    }
    if (replace) {
        if (!keep_aliases(b, s, e))
            return false;
        add_action(b, "remove_index", s->old, NULL);
        buf_adds(b, "}},");
    }
    add_action(b, "add", s->fresh, s->alias);
    add_properties(b, &a->tree, properties(a, first_index(a), s->alias));
    buf_adds(b, "}}]}");
    return !b->failed || err_memory(e);
}

static bool send_actions(struct es *es, const struct buf *body, struct err *e)
{
    struct es_answer a = {0};
    bool ok =
        es_request(es,
                   &(struct es_call){
                       .method = "POST", .path = "/_aliases", .body = body->data, .len = body->len},
                   &a, e) &&
        es_check(&a, e);
    if (ok && index_unacknowledged(&a))
        ok = err_set(e, ERR_PASSING, "not acknowledged in time");
    es_answer_free(&a);
    return ok;
}

bool index_swap(struct es *es, const char *alias, const char *old, const char *fresh, struct err *e)
{
    struct aliases a = {.es = es};
    struct swap s = {es, alias, old, fresh};
    struct buf body;
    buf_init(&body, MAX_REQUEST);
    bool ok = read_alias(&a, alias, e);
    if (ok && !is_swapped(&a, fresh))
        ok = add_actions(&body, &a, &s, e) && send_actions(es, &body, e);
    buf_free(&body);
    close_aliases(&a);
    return ok || err_wrap(e, "could not point alias '%s' to index '%s'", alias, fresh);
}

/* ---- old indexes ---- */

/* "movies-20261124-133005" */
static bool is_ours(const char *index, const char *alias)
{
    size_t len = strlen(alias);
    const char *time = index + len;
    if (strncmp(index, alias, len) != 0 || strlen(time) != 16)
        return false;
    for (int i = 0; i < 16; i++)
        if (i == 0 || i == 9 ? time[i] != '-' : !isdigit((unsigned char)time[i]))
            return false;
    return true;
}

static int newest_first(const void *a, const void *b)
{
    return strcmp(b, a);
}

/* Lists the names of our indexes without an alias, sorted: an array of n times INDEX_NAME bytes,
 * owned by the caller. */
static bool list_old(const struct aliases *a, const char *alias, char (**names)[INDEX_NAME],
                     size_t *n, struct err *e)
{
    *n = 0;
    *names = calloc(a->tree.n + 1, sizeof **names);
    if (!*names)
        return err_memory(e);
    for (size_t i = first_index(a); i; i = a->tree.nodes[i].next) {
        copy_name(a, i, (*names)[*n]);
        *n += is_ours((*names)[*n], alias) &&
              !json_tree_first(&a->tree, json_tree_find(&a->tree, i, "aliases"));
    }
    qsort(*names, *n, sizeof **names, newest_first);
    return true;
}

bool index_each_old(struct es *es, const char *alias, index_old_visit *visit, void *arg,
                    struct err *e)
{
    struct aliases a = {.es = es};
    char(*names)[INDEX_NAME] = NULL;
    size_t n = 0;
    bool ok = read_aliases(&a, alias, "-*/_alias", NULL, e) && list_old(&a, alias, &names, &n, e);
    for (size_t i = 0; ok && i < n; i++)
        ok = visit(names[i], arg, e);
    free(names);
    close_aliases(&a);
    return ok;
}
