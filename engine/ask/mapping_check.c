#include "ask/mapping_check.h"

#include "base/err.h"
#include "base/grow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 600, VALUE = 80, DEPTH = 50 };

/* What was seen of a field. */
struct seen {
    char *path;        /* owned */
    char *key, *value; /* owned; of the first problem */
    const char *type;  /* borrowed from the mapping's text: not terminated */
    size_t type_len;
    enum mapping_check_kind kind; /* the worst */
    size_t documents;
    bool filled, named;  /* by a document; by a template */
    bool object, scalar; /* of a field without a mapping */
    bool counted;        /* in the document under way */
};

struct mapping_check {
    struct json_tree mapping;
    struct seen *seen; /* owned */
    size_t n, cap;
    const char *key; /* of the document under way */
    bool template;
    bool failed;
};

struct mapping_check *mapping_check_new(const char *mappings, struct err *e)
{
    struct mapping_check *m = calloc(1, sizeof *m);
    if (!m)
        err_memory(e);
    else if (mappings && !json_tree_read(&m->mapping, mappings, strlen(mappings), e)) {
        mapping_check_free(m);
        return NULL;
    }
    return m;
}

void mapping_check_free(struct mapping_check *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        free(m->seen[i].path);
        free(m->seen[i].key);
        free(m->seen[i].value);
    }
    free(m->seen);
    json_tree_free(&m->mapping);
    free(m);
}

static struct seen *find(const struct mapping_check *m, const char *path)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->seen[i].path, path) == 0)
            return &m->seen[i];
    return NULL;
}

/* NULL: no memory. */
static struct seen *see(struct mapping_check *m, const char *path)
{
    struct seen *s = find(m, path);
    if (s)
        return s;
    struct seen *list = grow(m->seen, m->n, &m->cap, 32, sizeof *list);
    char *copy = list ? strdup(path) : NULL;
    m->seen = list ? list : m->seen;
    m->failed |= !copy;
    if (!copy)
        return NULL;
    m->seen[m->n] = (struct seen){.path = copy};
    return &m->seen[m->n++];
}

static bool is_worse(enum mapping_check_kind a, enum mapping_check_kind b)
{
    return b == MAPPING_CHECK_NONE || (a < b && a != MAPPING_CHECK_NONE);
}

static void note(struct mapping_check *m, const char *path, enum mapping_check_kind kind,
                 size_t field, struct json_tree_text value)
{
    struct seen *s = see(m, path);
    if (!s)
        return;
    struct json_tree_text type =
        json_tree_plain(&m->mapping, json_tree_find(&m->mapping, field, "type"));
    if (is_worse(kind, s->kind)) {
        size_t len = value.len;
        while (len > VALUE || (len < value.len && ((unsigned char)value.at[len] & 0xC0) == 0x80))
            len--;
        free(s->key);
        free(s->value);
        s->kind = kind;
        s->key = strdup(m->key ? m->key : "");
        s->value = strndup(value.at ? value.at : "", len);
        s->type = type.at;
        s->type_len = type.len;
        m->failed |= !s->key || !s->value;
    }
    s->documents += !s->counted;
    s->counted = true;
}

/* ---- values ---- */

static bool is_one_of(struct json_tree_text type, const char *const *names)
{
    for (; *names; names++)
        if (strlen(*names) == type.len && memcmp(*names, type.at, type.len) == 0)
            return true;
    return false;
}

static const char *const whole_numbers[] = {"long", "integer",       "short",
                                            "byte", "unsigned_long", NULL};
static const char *const fractions[] = {"double", "float", "half_float", "scaled_float", NULL};
static const char *const dates[] = {"date", "date_nanos", NULL};
static const char *const texts[] = {
    "text", "keyword", "wildcard", "constant_keyword", "match_only_text", "search_as_you_type",
    "ip",   "boolean", NULL};
static const char *const booleans[] = {"boolean", NULL};
static const char *const ips[] = {"ip", NULL};
static const char *const points[] = {"geo_point", NULL};
static const char *const objects[] = {"object", "nested", NULL};
/* which take objects, or lists of their own kind: their values are not looked at */
static const char *const opaque[] = {
    "flattened",     "flat_object", "geo_shape",  "shape",        "dense_vector",
    "knn_vector",    "percolator",  "completion", "rank_feature", "rank_features",
    "sparse_vector", "join",        "histogram",  "alias",        "xy_point",
    "xy_shape",      NULL};

static bool is_number_text(struct json_tree_text v, double *x)
{
    char text[400], *end;
    if (v.len == 0 || v.len >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)v.len, v.at);
    *x = strtod(text, &end);
    return end != text && !*end && text[strspn(text, "+-0123456789.eE")] == '\0';
}

static enum mapping_check_kind judge_whole(struct json_tree_text type, double x)
{
    static const struct {
        const char *type;
        double least, most;
    } ranges[] = {{"byte", -128, 127},
                  {"short", -32768, 32767},
                  {"integer", -0x1p31, 0x1p31 - 1},
                  {"long", -0x1p63, 0x1p63},
                  {"unsigned_long", 0, 0x1p64}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (strlen(ranges[i].type) == type.len && memcmp(ranges[i].type, type.at, type.len) == 0 &&
            (x < ranges[i].least || x > ranges[i].most))
            return MAPPING_CHECK_VALUE;
    return x != floor(x) ? MAPPING_CHECK_ROUNDED : MAPPING_CHECK_NONE;
}

static bool is_digits(const char *at, size_t n, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (i >= len || at[i] < '0' || at[i] > '9')
            return false;
    return true;
}

/* The default format: strict_date_optional_time, or milliseconds: what is certainly neither is
 * refused. */
static bool is_date(struct json_tree_text v)
{
    double x;
    if (is_number_text(v, &x))
        return true;
    const char *at = v.at, *end = v.at + v.len;
    at += at < end && (*at == '+' || *at == '-');
    size_t year = 0;
    while (at + year < end && is_digits(at + year, 1, 1))
        year++;
    if (year < 4)
        return false;
    at += year;
    for (int part = 0; part < 2 && at < end && *at == '-'; part++, at += 3)
        if (!is_digits(at + 1, 2, (size_t)(end - at - 1)))
            return false;
    return at >= end || *at == 'T';
}

static bool is_address(struct json_tree_text v)
{
    for (size_t i = 0; i < v.len; i++)
        if (!strchr("0123456789abcdefABCDEF.:%", v.at[i]))
            return false;
    return v.len > 0;
}

static bool is_set(const struct mapping_check *m, size_t field, const char *parameter)
{
    return json_tree_is(&m->mapping, json_tree_find(&m->mapping, field, parameter), "true");
}

static enum mapping_check_kind judge_number(const struct mapping_check *m, size_t field,
                                            struct json_tree_text type,
                                            const struct json_tree_node *value,
                                            struct json_tree_text plain)
{
    double x;
    if (value->kind == JSON_TRUE || value->kind == JSON_FALSE)
        return MAPPING_CHECK_VALUE;
    if (value->kind == JSON_STRING && plain.len == 0)
        return MAPPING_CHECK_VALUE;
    if (!is_number_text(plain, &x))
        return MAPPING_CHECK_VALUE;
    bool coerces =
        !json_tree_is(&m->mapping, json_tree_find(&m->mapping, field, "coerce"), "false");
    enum mapping_check_kind kind =
        is_one_of(type, whole_numbers) ? judge_whole(type, x) : MAPPING_CHECK_NONE;
    return kind == MAPPING_CHECK_ROUNDED && !coerces ? MAPPING_CHECK_VALUE : kind;
}

/* A single value in a field that has a type. */
static enum mapping_check_kind judge(const struct mapping_check *m, size_t field,
                                     const struct json_tree *t, size_t node)
{
    const struct json_tree_node *value = &t->nodes[node];
    struct json_tree_text type = json_tree_plain(&m->mapping,
                                                 json_tree_find(&m->mapping, field, "type")),
                          plain = json_tree_plain(t, node);
    bool string = value->kind == JSON_STRING;
    if (is_set(m, field, "ignore_malformed"))
        return MAPPING_CHECK_NONE;
    if (is_one_of(type, whole_numbers) || is_one_of(type, fractions))
        return judge_number(m, field, type, value, plain);
    bool refused = false;
    if (is_one_of(type, booleans))
        refused = value->kind == JSON_NUMBER ||
                  (string && plain.len > 0 && !json_tree_is(t, node, "true") &&
                   !json_tree_is(t, node, "false"));
    else if (is_one_of(type, dates) && !json_tree_find(&m->mapping, field, "format"))
        refused = !(string || value->kind == JSON_NUMBER) || !is_date(plain);
    else if (is_one_of(type, ips))
        refused = !string || !is_address(plain);
    else if (is_one_of(type, points))
        refused = string && plain.len > 0 && *plain.at == '(';
    return refused ? MAPPING_CHECK_VALUE : MAPPING_CHECK_NONE;
}

/* ---- a walk over a document ---- */

enum dynamic { DYNAMIC_TRUE, DYNAMIC_FALSE, DYNAMIC_STRICT };

static enum dynamic dynamic_of(const struct mapping_check *m, size_t field, enum dynamic above)
{
    size_t rule = json_tree_find(&m->mapping, field, "dynamic");
    if (!rule)
        return above;
    return json_tree_is(&m->mapping, rule, "strict")  ? DYNAMIC_STRICT
           : json_tree_is(&m->mapping, rule, "false") ? DYNAMIC_FALSE
                                                      : DYNAMIC_TRUE;
}

struct place { /* in the document and in the mapping */
    const char *path;
    size_t field; /* in the mapping; 0: none */
    enum dynamic dynamic;
    int depth;
};

static void walk_members(struct mapping_check *m, const struct json_tree *t, size_t node,
                         const struct place *at);

static bool is_single(const struct json_tree *t, size_t node)
{
    return t->nodes[node].kind != JSON_OBJECT && t->nodes[node].kind != JSON_ARRAY;
}

/* Of a field that the mapping does not have, where it may come. */
static void walk_dynamic(struct mapping_check *m, const struct json_tree *t, size_t node,
                         const struct place *at)
{
    bool object = t->nodes[node].kind == JSON_OBJECT;
    struct seen *s = see(m, at->path);
    if (!s)
        return;
    s->object |= object && !m->template; /* a column may be either */
    s->scalar |= !object && !m->template;
    if (s->object && s->scalar)
        note(m, at->path, MAPPING_CHECK_MIXED, 0, t->nodes[node].value);
    if (object)
        walk_members(m, t, node, at);
}

static void walk_known(struct mapping_check *m, const struct json_tree *t, size_t node,
                       const struct place *at)
{
    struct json_tree_text type =
        json_tree_plain(&m->mapping, json_tree_find(&m->mapping, at->field, "type"));
    bool object = t->nodes[node].kind == JSON_OBJECT;
    bool is_object = type.len == 0 || is_one_of(type, objects);
    if (json_tree_is(&m->mapping, json_tree_find(&m->mapping, at->field, "enabled"), "false") ||
        is_one_of(type, opaque))
        return;
    enum mapping_check_kind kind = MAPPING_CHECK_NONE;
    if (is_object && !object && !m->template)
        kind = MAPPING_CHECK_SCALAR;
    else if (!is_object && object &&
             (is_one_of(type, texts) || is_one_of(type, whole_numbers) ||
              is_one_of(type, fractions) || is_one_of(type, dates)))
        kind = MAPPING_CHECK_OBJECT;
    else if (!is_object && !object && !m->template)
        kind = judge(m, at->field, t, node);
    if (kind != MAPPING_CHECK_NONE)
        note(m, at->path, kind, at->field, t->nodes[node].value);
    else if (is_object && object)
        walk_members(m, t, node, at);
}

/* A value, or each element of a list. */
static void walk_value(struct mapping_check *m, const struct json_tree *t, size_t node,
                       const struct place *at)
{
    if (t->nodes[node].kind == JSON_ARRAY) {
        struct place deeper = *at;
        deeper.depth++;
        for (size_t i = json_tree_first(t, node); i && at->depth < DEPTH; i = t->nodes[i].next)
            walk_value(m, t, i, &deeper);
        return;
    }
    if (t->nodes[node].kind == JSON_NULL && !m->template)
        return;
    struct seen *s = see(m, at->path);
    if (!s)
        return;
    s->filled |= !m->template;
    s->named |= m->template;
    if (at->field)
        walk_known(m, t, node, at);
    else if (at->dynamic == DYNAMIC_STRICT)
        note(m, at->path, MAPPING_CHECK_UNKNOWN, 0, t->nodes[node].value);
    else if (at->dynamic == DYNAMIC_FALSE)
        note(m, at->path, MAPPING_CHECK_UNINDEXED, 0, t->nodes[node].value);
    else
        walk_dynamic(m, t, node, at);
}

/* The field of that name (with quotes) below another one; a name with points leads further down. */
static size_t find_field(const struct mapping_check *m, size_t above, struct json_tree_text name)
{
    size_t properties = json_tree_find(&m->mapping, above, "properties");
    size_t found = json_tree_find_text(&m->mapping, properties, name);
    char part[PATH];
    const char *at = name.at + 1, *end = name.at + name.len - 1;
    while (!found && above && at < end) {
        const char *point = memchr(at, '.', (size_t)(end - at));
        snprintf(part, sizeof part, "%.*s", (int)((point ? point : end) - at), at);
        above = json_tree_find(&m->mapping, json_tree_find(&m->mapping, above, "properties"), part);
        if (!point)
            return above;
        at = point + 1;
    }
    return found;
}

static void walk_members(struct mapping_check *m, const struct json_tree *t, size_t node,
                         const struct place *at)
{
    char path[PATH];
    if (at->depth >= DEPTH)
        return;
    for (size_t i = json_tree_first(t, node); i; i = t->nodes[i].next) {
        struct json_tree_text name = t->nodes[i].name;
        int n = snprintf(path, sizeof path, "%s%s%.*s", at->path, *at->path ? "." : "",
                         (int)name.len - 2, name.at + 1);
        if (n < 0 || (size_t)n >= sizeof path)
            continue;
        struct place below = {.path = path,
                              .field = find_field(m, at->field, name),
                              .dynamic = at->dynamic,
                              .depth = at->depth + 1};
        if (below.field)
            below.dynamic = dynamic_of(m, below.field, at->dynamic);
        walk_value(m, t, i, &below);
    }
}

static bool walk(struct mapping_check *m, struct json_tree_text text, struct err *e)
{
    struct json_tree t;
    for (size_t i = 0; i < m->n; i++)
        m->seen[i].counted = false;
    if (!json_tree_read(&t, text.at, text.len, e))
        return false;
    size_t root = m->mapping.n > 0 ? 1 : 0;
    struct place at = {.path = "", .field = root, .dynamic = dynamic_of(m, root, DYNAMIC_TRUE)};
    walk_members(m, &t, 1, &at);
    json_tree_free(&t);
    return !m->failed || err_memory(e);
}

bool mapping_check_document(struct mapping_check *m, struct json_tree_text document,
                            const char *key, struct err *e)
{
    m->key = key;
    m->template = false;
    return walk(m, document, e);
}

bool mapping_check_template(struct mapping_check *m, struct json_tree_text fields, struct err *e)
{
    m->key = NULL;
    m->template = true;
    return walk(m, fields, e);
}

/* ---- the report ---- */

/* Whether some field copies its value to this one. */
static bool is_copied_to(const struct mapping_check *m, size_t node, const char *path)
{
    const struct json_tree *t = &m->mapping;
    for (size_t i = json_tree_first(t, json_tree_find(t, node, "properties")); i;
         i = t->nodes[i].next) {
        size_t to = json_tree_find(t, i, "copy_to");
        if (to && is_single(t, to) && json_tree_is(t, to, path))
            return true;
        for (size_t k = to && !is_single(t, to) ? json_tree_first(t, to) : 0; k;
             k = t->nodes[k].next)
            if (json_tree_is(t, k, path))
                return true;
        if (is_copied_to(m, i, path))
            return true;
    }
    return false;
}

struct unfilled {
    const struct mapping_check *m;
    mapping_check_visit *visit;
    void *arg;
};

/* Whether a document has the field, or, under a name with points, one below it. */
static bool is_filled(const struct mapping_check *m, const char *path)
{
    size_t len = strlen(path);
    for (size_t i = 0; i < m->n; i++)
        if (m->seen[i].filled && strncmp(m->seen[i].path, path, len) == 0 &&
            (m->seen[i].path[len] == '\0' || m->seen[i].path[len] == '.'))
            return true;
    return false;
}

static void report_unfilled(const struct unfilled *u, size_t node, const char *above)
{
    const struct json_tree *t = &u->m->mapping;
    char path[PATH], type[PATH];
    for (size_t i = json_tree_first(t, json_tree_find(t, node, "properties")); i;
         i = t->nodes[i].next) {
        struct json_tree_text name = t->nodes[i].name;
        struct json_tree_text of = json_tree_plain(t, json_tree_find(t, i, "type"));
        snprintf(path, sizeof path, "%s%s%.*s", above, *above ? "." : "", (int)name.len - 2,
                 name.at + 1);
        snprintf(type, sizeof type, "%.*s", (int)of.len, of.at ? of.at : "");
        const struct seen *s = find(u->m, path);
        if (is_filled(u->m, path)) {
            if (!s || s->kind == MAPPING_CHECK_NONE)
                report_unfilled(u, i, path);
        } else if (strcmp(type, "alias") != 0 && !is_copied_to(u->m, 1, path) &&
                   (!s || s->kind == MAPPING_CHECK_NONE)) {
            u->visit(&(struct mapping_check_problem){.kind = MAPPING_CHECK_UNFILLED,
                                                     .path = path,
                                                     .type = type,
                                                     .key = "",
                                                     .value = "",
                                                     .named = s && s->named},
                     u->arg);
        }
    }
}

void mapping_check_report(const struct mapping_check *m, mapping_check_visit *visit, void *arg)
{
    char type[100];
    for (size_t i = 0; i < m->n; i++) {
        const struct seen *s = &m->seen[i];
        if (s->kind == MAPPING_CHECK_NONE)
            continue;
        snprintf(type, sizeof type, "%.*s", (int)s->type_len, s->type ? s->type : "");
        visit(&(struct mapping_check_problem){.kind = s->kind,
                                              .path = s->path,
                                              .type = type,
                                              .documents = s->documents,
                                              .key = s->key,
                                              .value = s->value},
              arg);
    }
    if (m->mapping.n > 0)
        report_unfilled(&(struct unfilled){m, visit, arg}, 1, "");
}
