#include "index/mapping.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_LEN = 600 }; /* bytes; the servers' default limit is 20 nested names */

/* ---- values ---- */

/* Whether two numbers are equal: a server returns 100 as 100.0. */
static bool same_number(struct json_tree_text a, struct json_tree_text b)
{
    char x[64], y[64], *x_end, *y_end;
    if (a.len == 0 || b.len == 0 || a.len >= sizeof x || b.len >= sizeof y)
        return false;
    snprintf(x, sizeof x, "%.*s", (int)a.len, a.at);
    snprintf(y, sizeof y, "%.*s", (int)b.len, b.at);
    double m = strtod(x, &x_end), n = strtod(y, &y_end);
    return !*x_end && !*y_end && m == n;
}

static bool same_value(struct json_tree_text a, struct json_tree_text b)
{
    return (a.len == b.len && memcmp(a.at, b.at, a.len) == 0) || same_number(a, b);
}

static bool is_scalar(const struct json_tree *t, size_t node)
{
    return t->nodes[node].kind != JSON_OBJECT && t->nodes[node].kind != JSON_ARRAY;
}

static bool is_empty(const struct json_tree *t, size_t node)
{
    return node == 0 || t->nodes[node].kind == JSON_NULL ||
           (!is_scalar(t, node) && !t->nodes[node].first);
}

/* Whether a contains everything that b says. A list of one counts as its element. */
static bool agrees(const struct json_tree *t, size_t a, const struct json_tree *u, size_t b)
{
    if (is_empty(u, b))
        return is_empty(t, a);
    if (a == 0)
        return false;
    bool list = t->nodes[a].kind == JSON_ARRAY, other = u->nodes[b].kind == JSON_ARRAY;
    if (list != other && list && !t->nodes[json_tree_first(t, a)].next)
        return agrees(t, json_tree_first(t, a), u, b);
    if (list != other && other && !u->nodes[json_tree_first(u, b)].next)
        return agrees(t, a, u, json_tree_first(u, b));
    if (is_scalar(t, a) && is_scalar(u, b))
        return same_value(json_tree_plain(t, a), json_tree_plain(u, b));
    if (t->nodes[a].kind != u->nodes[b].kind)
        return false;
    size_t i = json_tree_first(t, a);
    for (size_t k = json_tree_first(u, b); k; k = u->nodes[k].next) {
        size_t with = list ? i : json_tree_find_text(t, a, u->nodes[k].name);
        if (!agrees(t, with, u, k))
            return false;
        i = list && i ? t->nodes[i].next : 0;
    }
    return !list || i == 0;
}

/* ---- a walk over both mappings ---- */

struct walk {
    const struct json_tree *has, *wants;
    struct buf *out;         /* what to put */
    char path[PATH_MAX_LEN]; /* of the current field: "actors.name" */
    const char *reason;      /* why the server refused; NULL: it was not asked */
    char *difference;        /* the difference in words that fits reason best */
    int difference_score;
    bool certain; /* see mapping_lacking */
};

static void add_text(struct walk *w, struct json_tree_text text)
{
    buf_add(w->out, text.at, text.len);
}

/* Begins a member of the object that is being written. */
static void add_name(struct walk *w, struct json_tree_text name)
{
    if (w->out->len > 0 && w->out->data[w->out->len - 1] != '{')
        buf_addc(w->out, ',');
    add_text(w, name);
    buf_addc(w->out, ':');
}

static void add_node(struct walk *w, const struct json_tree *t, size_t node)
{
    add_name(w, t->nodes[node].name);
    add_text(w, t->nodes[node].value);
}

static bool mentions(const char *reason, const char *name, size_t len)
{
    char bracketed[PATH_MAX_LEN + 3];
    snprintf(bracketed, sizeof bracketed, "[%.*s]", (int)len, name);
    return strstr(reason, bracketed) != NULL;
}

/* Keeps a difference, in words, if it fits the server's reason better than the one before. has,
 * empty: the index says nothing of it. A difference that reason does not mention is not the cause,
 * except for a type: another type is always refused, if only next time. */
static void keep_difference(struct walk *w, struct json_tree_text name, struct json_tree_text has,
                            struct json_tree_text wants)
{
    if (!w->reason)
        return;
    bool is_type = name.len == 4 && memcmp(name.at, "type", 4) == 0;
    int score =
        is_type + 4 * mentions(w->reason, w->path, strlen(w->path)) +
        2 * mentions(w->reason, name.at, name.len) +
        2 * (is_type && (mentions(w->reason, has.at, has.len) || strstr(w->reason, "nested")));
    if (score <= w->difference_score)
        return;
    w->difference_score = score;
    const char *of = *w->path ? "field" : "its mapping";
    int n = *w->path ? snprintf(w->difference, MAPPING_TEXT, "%s '%s' has ", of, w->path)
                     : snprintf(w->difference, MAPPING_TEXT, "%s has ", of);
    size_t at = n > 0 && (size_t)n < MAPPING_TEXT ? (size_t)n : 0;
    if (has.len > 0)
        snprintf(w->difference + at, MAPPING_TEXT - at, "%.*s '%.*s', the script wants '%.*s'",
                 (int)name.len, name.at, has.len > 100 ? 100 : (int)has.len, has.at,
                 wants.len > 100 ? 100 : (int)wants.len, wants.at);
    else
        snprintf(w->difference + at, MAPPING_TEXT - at, "no %.*s, the script wants '%.*s'",
                 (int)name.len, name.at, wants.len > 100 ? 100 : (int)wants.len, wants.at);
}

/* Whether servers leave this out of a field's definition, because it is the default. */
static bool is_default(const struct walk *w, size_t field, size_t node, const char *name)
{
    static const struct {
        const char *name, *value, *type; /* NULL: of every field */
    } defaults[] = {{"type", "object", NULL},      {"index", "true", NULL},
                    {"store", "false", NULL},      {"enabled", "true", NULL},
                    {"norms", "true", "text"},     {"doc_values", "true", NULL},
                    {"norms", "false", "keyword"}, {"ignore_malformed", "false", NULL}};
    if (!*w->path && strcmp(name, "dynamic") == 0)
        return json_tree_is(w->wants, node, "true");
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (strcmp(defaults[i].name, name) == 0 &&
            json_tree_is(w->wants, node, defaults[i].value) &&
            (!defaults[i].type ||
             json_tree_is(w->has, json_tree_find(w->has, field, "type"), defaults[i].type)))
            return true;
    return false;
}

/* Whether the index has the same value of a parameter of the current field. */
static bool same_parameter(struct walk *w, size_t has, size_t wants)
{
    const struct json_tree_node *wanted = &w->wants->nodes[wants];
    size_t found = json_tree_find_text(w->has, has, wanted->name);
    char name[100];
    snprintf(name, sizeof name, "%.*s", (int)(wanted->name.len - 2), wanted->name.at + 1);
    if (found ? agrees(w->has, found, w->wants, wants)
              : is_empty(w->wants, wants) || is_default(w, has, wants, name))
        return true;
    struct json_tree_text said = json_tree_plain(w->has, found), object = {"object", 6};
    w->certain |= found || strcmp(name, "type") == 0;
    keep_difference(w, (struct json_tree_text){wanted->name.at + 1, wanted->name.len - 2},
                    !found && strcmp(name, "type") == 0 ? object : said,
                    json_tree_plain(w->wants, wants));
    return false;
}

static bool is_named(const struct json_tree *t, size_t node, const char *name)
{
    return json_tree_find(t, node, name) != 0;
}

static bool add_fields(struct walk *w, size_t has, size_t wants, bool whole);

/* Writes "properties" or "fields" of the current field; whole: those that only the index has,
 * too. */
static bool add_group(struct walk *w, size_t has, size_t wants, const char *name, bool whole)
{
    size_t wanted = json_tree_find(w->wants, wants, name),
           found = json_tree_find(w->has, has, name);
    if (wanted == 0) {
        if (found && whole)
            add_node(w, w->has, found);
        return false;
    }
    size_t mark = w->out->len;
    add_name(w, w->wants->nodes[wanted].name);
    buf_addc(w->out, '{');
    bool differs = add_fields(w, found, wanted, whole);
    buf_addc(w->out, '}');
    if (!differs && !whole)
        buf_cut(w->out, mark);
    return differs;
}

static bool is_group(struct json_tree_text name)
{
    return (name.len == 12 && memcmp(name.at, "\"properties\"", 12) == 0) ||
           (name.len == 8 && memcmp(name.at, "\"fields\"", 8) == 0);
}

/* Writes a field that both have. */
static bool add_field(struct walk *w, size_t has, size_t wants, bool whole)
{
    size_t mark = w->out->len;
    bool differs = false;
    add_name(w, w->wants->nodes[wants].name);
    buf_addc(w->out, '{');
    for (size_t i = json_tree_first(w->wants, wants); i; i = w->wants->nodes[i].next)
        if (!is_group(w->wants->nodes[i].name)) {
            differs |= !same_parameter(w, has, i);
            add_node(w, w->wants, i);
        }
    bool other_type = !agrees(w->has, json_tree_find(w->has, has, "type"), w->wants,
                              json_tree_find(w->wants, wants, "type"));
    for (size_t i = other_type ? 0 : json_tree_first(w->has, has); i; i = w->has->nodes[i].next)
        if (!is_group(w->has->nodes[i].name) &&
            !json_tree_find_text(w->wants, wants, w->has->nodes[i].name))
            add_node(w, w->has, i);
    differs |= add_group(w, has, wants, "fields", true);
    differs |= add_group(w, has, wants, "properties", false);
    buf_addc(w->out, '}');
    if (!differs) {
        buf_cut(w->out, mark);
        if (whole)
            add_node(w, w->has, has);
    }
    return differs;
}

static bool add_fields(struct walk *w, size_t has, size_t wants, bool whole)
{
    bool differs = false;
    size_t path = strlen(w->path);
    for (size_t i = json_tree_first(w->wants, wants); i; i = w->wants->nodes[i].next) {
        struct json_tree_text name = w->wants->nodes[i].name;
        size_t found = json_tree_find_text(w->has, has, name);
        if (found == 0) {
            differs = w->certain = true;
            add_node(w, w->wants, i);
            continue;
        }
        snprintf(w->path + path, sizeof w->path - path, "%s%.*s", path ? "." : "",
                 (int)name.len - 2, name.at + 1);
        differs |= add_field(w, found, i, whole);
        w->path[path] = '\0';
    }
    for (size_t i = json_tree_first(w->has, has); whole && i; i = w->has->nodes[i].next)
        if (!json_tree_find_text(w->wants, wants, w->has->nodes[i].name))
            add_node(w, w->has, i);
    return differs;
}

/* Writes the mappings themselves: like a field, but without what is the same, and without _meta. */
static bool add_root(struct walk *w, size_t has)
{
    bool differs = false;
    buf_addc(w->out, '{');
    for (size_t i = json_tree_first(w->wants, 1); i; i = w->wants->nodes[i].next) {
        struct json_tree_text name = w->wants->nodes[i].name;
        if (is_group(name) || (name.len == 7 && memcmp(name.at, "\"_meta\"", 7) == 0) ||
            same_parameter(w, has, i))
            continue;
        differs = true;
        add_node(w, w->wants, i);
    }
    if (is_named(w->wants, 1, "properties"))
        differs |= add_group(w, has, 1, "properties", false);
    buf_addc(w->out, '}');
    return differs;
}

bool mapping_lacking(const struct mapping_part *has, const char *wants, struct buf *out,
                     bool *certain, struct err *e)
{
    struct json_tree wanted;
    if (!json_tree_read(&wanted, wants, strlen(wants), e))
        return false;
    struct walk w = {.has = has->tree, .wants = &wanted, .out = out};
    size_t mark = out->len;
    bool differs = add_root(&w, has->node), ok = !out->failed || err_memory(e);
    if (ok && !differs)
        buf_cut(out, mark);
    *certain = w.certain;
    json_tree_free(&wanted);
    return ok;
}

bool mapping_difference(const struct mapping_part *has, const char *wants, const char *reason,
                        char out[MAPPING_TEXT], struct err *e)
{
    struct json_tree wanted;
    struct buf ignored;
    *out = '\0';
    if (!json_tree_read(&wanted, wants, strlen(wants), e))
        return false;
    buf_init(&ignored, 64 << 20);
    struct walk w = {
        .has = has->tree, .wants = &wanted, .out = &ignored, .reason = reason, .difference = out};
    add_root(&w, has->node);
    bool ok = !ignored.failed || err_memory(e);
    buf_free(&ignored);
    json_tree_free(&wanted);
    return ok;
}

/* ---- settings ---- */

struct settings_walk {
    const struct json_tree *wants;
    char path[PATH_MAX_LEN];                             /* "analysis.filter.x": without "index." */
    bool (*visit)(struct settings_walk *w, size_t node); /* false: enough */
    const struct json_tree *has;
    size_t has_node;
    char *difference;
    const char *name; /* of the setting to find */
    size_t found;
};

/* Visits each value with its path, however the script nests them: {"index":{"a":1}}, "index.a", or
 * "a". */
static bool walk_settings(struct settings_walk *w, size_t node)
{
    size_t path = strlen(w->path);
    for (size_t i = json_tree_first(w->wants, node); i; i = w->wants->nodes[i].next) {
        struct json_tree_text name = w->wants->nodes[i].name;
        snprintf(w->path + path, sizeof w->path - path, "%s%.*s", path ? "." : "",
                 (int)name.len - 2, name.at + 1);
        if (strcmp(w->path, "index") == 0)
            w->path[0] = '\0';
        else if (strncmp(w->path, "index.", 6) == 0)
            memmove(w->path, w->path + 6, strlen(w->path + 6) + 1);
        bool on = w->wants->nodes[i].kind == JSON_OBJECT ? walk_settings(w, i) : w->visit(w, i);
        w->path[path] = '\0';
        if (!on)
            return false;
    }
    return true;
}

/* What only a new index can have. */
static bool is_fixed(const char *path)
{
    static const char *const fixed[] = {"analysis.", "similarity.", "sort.", "number_of_shards",
                                        "codec"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (strncmp(path, fixed[i], strlen(fixed[i])) == 0)
            return true;
    return false;
}

static bool compare_setting(struct settings_walk *w, size_t node)
{
    char name[PATH_MAX_LEN + 10];
    snprintf(name, sizeof name, "index.%s", w->path);
    size_t has = json_tree_find(w->has, w->has_node, name);
    if (!is_fixed(w->path) || agrees(w->has, has, w->wants, node))
        return true;
    struct json_tree_text is = json_tree_plain(w->has, has),
                          wants = json_tree_plain(w->wants, node);
    if (has)
        snprintf(w->difference, MAPPING_TEXT, "setting '%.200s' is '%.*s', the script wants '%.*s'",
                 w->path, is.len > 100 ? 100 : (int)is.len, is.at,
                 wants.len > 100 ? 100 : (int)wants.len, wants.at);
    else
        snprintf(w->difference, MAPPING_TEXT, "it has no setting '%.200s', the script wants '%.*s'",
                 w->path, wants.len > 100 ? 100 : (int)wants.len, wants.at);
    return false;
}

bool mapping_settings_difference(const struct mapping_part *has, const char *wants,
                                 char out[MAPPING_TEXT], struct err *e)
{
    struct json_tree wanted;
    *out = '\0';
    if (!json_tree_read(&wanted, wants, strlen(wants), e))
        return false;
    struct settings_walk w = {.wants = &wanted,
                              .visit = compare_setting,
                              .has = has->tree,
                              .has_node = has->node,
                              .difference = out};
    walk_settings(&w, 1);
    json_tree_free(&wanted);
    return true;
}

static bool find_setting(struct settings_walk *w, size_t node)
{
    if (strcmp(w->path, w->name) == 0)
        w->found = node;
    return w->found == 0;
}

bool mapping_add_setting(struct buf *out, const char *settings, const char *name, struct err *e)
{
    struct json_tree wanted;
    if (!settings)
        return buf_adds(out, "null") || err_memory(e);
    if (!json_tree_read(&wanted, settings, strlen(settings), e))
        return false;
    struct settings_walk w = {.wants = &wanted, .visit = find_setting, .name = name};
    walk_settings(&w, 1);
    struct json_tree_text value = {"null", 4};
    if (w.found)
        value = wanted.nodes[w.found].value;
    buf_add(out, value.at, value.len);
    json_tree_free(&wanted);
    return !out->failed || err_memory(e);
}

/* ---- _meta ---- */

static void add_members(struct walk *w, const struct json_tree *t, size_t node, size_t but_of_wants,
                        const char *but)
{
    for (size_t i = json_tree_first(t, node); i; i = t->nodes[i].next) {
        char name[100];
        snprintf(name, sizeof name, "%.*s", (int)(t->nodes[i].name.len - 2),
                 t->nodes[i].name.at + 1);
        if (strcmp(name, but) != 0 &&
            !json_tree_find_text(w->wants, but_of_wants, t->nodes[i].name))
            add_node(w, t, i);
    }
}

bool mapping_add_meta(struct buf *out, const struct mapping_meta *m, struct err *e)
{
    const char *wants = m->wants ? m->wants : "{}";
    const struct json_tree *t = m->has.tree;
    struct json_tree wanted;
    if (!json_tree_read(&wanted, wants, strlen(wants), e))
        return false;
    struct walk w = {.has = t, .wants = &wanted, .out = out};
    size_t meta = json_tree_find(&wanted, 1, "_meta");
    buf_addc(out, '{');
    if (m->whole)
        add_members(&w, &wanted, 1, 0, "_meta");
    add_name(&w, (struct json_tree_text){"\"_meta\"", 7});
    buf_addc(out, '{');
    if (t)
        add_members(&w, t, json_tree_find(t, m->has.node, "_meta"), meta, m->name);
    add_members(&w, &wanted, meta, 0, m->name);
    if (out->len > 0 && !out->failed && out->data[out->len - 1] != '{')
        buf_addc(out, ',');
    buf_addf(out, "\"%s\":%s}}", m->name, m->value);
    json_tree_free(&wanted);
    return !out->failed || err_memory(e);
}
