#include "index/settings_left.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json_tree.h"

#include <stdio.h>
#include <string.h>

enum { NAME = 200, SHOWN = INDEX_SETTINGS_LEFT - 40 };

/* Of one index alone, or of no use to another. */
static bool is_of_one_index(const char *name)
{
    static const char *const of_one[] = {
        "index.uuid",
        "index.creation_date",
        "index.provided_name",
        "index.version.",
        "index.history.",
        "index.resize.",
        "index.shrink.",
        "index.blocks.",
        "index.frozen",
        "index.verified_before_close",
        "index.lifecycle.indexing_complete",
        "index.routing.allocation.initial_recovery.",
        "index.routing.allocation.include._tier_preference",
        "index.store.snapshot.",
    };
    for (size_t i = 0; i < sizeof of_one / sizeof *of_one; i++)
        if (strncmp(name, of_one[i], strlen(of_one[i])) == 0)
            return true;
    return false;
}

/* "none" says no more than its absence; and the server counts replicas that expand by itself. */
static bool says_nothing(const struct mapping_part *from, const char *name, size_t node)
{
    size_t expand = json_tree_find(from->tree, from->node, "index.auto_expand_replicas");
    return json_tree_is(from->tree, node, "_none") ||
           (strcmp(name, "index.number_of_replicas") == 0 && expand &&
            !json_tree_is(from->tree, expand, "false"));
}

static bool is_carried_over(const struct settings_left *s, const char *name, size_t node)
{
    size_t other = json_tree_find(s->to.tree, s->to.node, name);
    struct json_tree_text a = json_tree_plain(s->from.tree, node),
                          b = json_tree_plain(s->to.tree, other);
    return other && a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static bool find_in_script(const char *script, const char *name, bool *named, struct err *e)
{
    struct buf value;
    buf_init(&value, 1 << 20);
    bool ok = mapping_add_setting(&value, script, name + strlen("index."), e) &&
              (buf_cstr(&value) || err_memory(e));
    *named = ok && strcmp(value.data, "null") != 0;
    buf_free(&value);
    return ok;
}

/* All of one filter is one entry: "index.analysis.filter.x". */
static void cut_analysis(char *name)
{
    char *at = strncmp(name, "index.analysis.", 15) == 0 ? strchr(name + 15, '.') : NULL;
    at = at ? strchr(at + 1, '.') : NULL;
    if (at)
        *at = '\0';
}

struct list {
    char *out, last[NAME];
    int more; /* that have no room */
};

static void add(struct list *l, char *name)
{
    size_t len = strlen(l->out);
    cut_analysis(name);
    if (strcmp(name, l->last) == 0)
        return;
    snprintf(l->last, sizeof l->last, "%s", name);
    if (len + strlen(name) + 2 < SHOWN)
        snprintf(l->out + len, INDEX_SETTINGS_LEFT - len, "%s%s", len ? ", " : "", name);
    else
        l->more++;
}

bool settings_left(const struct settings_left *s, char out[INDEX_SETTINGS_LEFT], struct err *e)
{
    struct list list = {.out = out};
    *out = '\0';
    for (size_t i = json_tree_first(s->from.tree, s->from.node); i;
         i = s->from.tree->nodes[i].next) {
        struct json_tree_text quoted = s->from.tree->nodes[i].name;
        char name[NAME];
        bool named;
        snprintf(name, sizeof name, "%.*s", (int)quoted.len - 2, quoted.at + 1);
        if (strncmp(name, "index.", 6) != 0 || is_of_one_index(name) ||
            says_nothing(&s->from, name, i) || is_carried_over(s, name, i))
            continue;
        if (!find_in_script(s->script, name, &named, e))
            return false;
        if (!named)
            add(&list, name);
    }
    size_t len = strlen(out);
    if (list.more > 0)
        snprintf(out + len, INDEX_SETTINGS_LEFT - len, " and %d more", list.more);
    return true;
}
