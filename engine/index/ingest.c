#include "index/ingest.h"

#include "base/err.h"
#include "base/json_tree.h"
#include "es/es.h"
#include "index/index.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    LEVELS = 8, /* of pipelines that call others, and of processors within processors */
    MOST = 5000 /* processors, since pipelines may call each other in a circle */
};

static const char *const metadata[] = {"_index", "_id", "_routing", "_version", "_version_type"};
enum { METADATA = sizeof metadata / sizeof *metadata };

struct look {
    struct json_tree tree; /* of all pipelines */
    const struct ingest_asked *asked;
    size_t which; /* of the names asked about: the one that is looked at */
    int left;     /* processors that may still be looked at */
};

struct seen { /* in one pipeline */
    bool sets[METADATA], drops;
};

static void walk_pipeline(struct look *l, struct json_tree_text name, int levels);
static void walk_list(struct look *l, size_t list, struct seen *s, int levels);

/* Whether a script assigns to it: ctx._index = .., ctx['_index'] = .., ctx.put('_index', ..). */
static bool is_assigned(struct json_tree_text source, const char *word)
{
    const char *end = source.at + source.len;
    size_t len = strlen(word);
    for (const char *p = source.at;
         p < end && (p = memmem(p, (size_t)(end - p), word, len)) != NULL;) {
        p += len;
        if (p < end && (isalnum((unsigned char)*p) || *p == '_'))
            continue;
        while (p < end && strchr(" '\"\\]", *p))
            p++;
        if (p + 1 < end && (*p == ',' || (*p == '=' && p[1] != '=')))
            return true;
    }
    return false;
}

/* Of a processor that writes to a field. */
static void note_field(const struct json_tree *t, size_t options, struct seen *s)
{
    size_t target = json_tree_find(t, options, "target_field");
    size_t field = target ? target : json_tree_find(t, options, "field");
    for (size_t i = 0; i < METADATA; i++)
        s->sets[i] |= field && json_tree_is(t, field, metadata[i]);
}

static void note_script(const struct json_tree *t, size_t options, struct seen *s)
{
    size_t source = json_tree_find(t, options, "source");
    for (size_t i = 0; source && i < METADATA; i++)
        s->sets[i] |= is_assigned(t->nodes[source].value, metadata[i]);
}

static bool is_named(struct json_tree_text name, const char *type)
{
    size_t len = strlen(type);
    return name.len == len + 2 && memcmp(name.at + 1, type, len) == 0;
}

/* {"set":{"field":..}} */
static void walk_processor(struct look *l, size_t node, struct seen *s, int levels)
{
    const struct json_tree *t = &l->tree;
    size_t options = json_tree_first(t, node);
    struct json_tree_text type = t->nodes[options].name;
    if (!options || levels == 0 || l->left-- <= 0)
        return;
    s->drops |= is_named(type, "drop");
    s->sets[0] |= is_named(type, "date_index_name") || is_named(type, "reroute");
    if (is_named(type, "script"))
        note_script(t, options, s);
    else if (is_named(type, "pipeline"))
        walk_pipeline(l, json_tree_plain(t, json_tree_find(t, options, "name")), levels - 1);
    else if (is_named(type, "foreach"))
        walk_processor(l, json_tree_find(t, options, "processor"), s, levels - 1);
    else
        note_field(t, options, s);
    walk_list(l, json_tree_find(t, options, "on_failure"), s, levels - 1);
}

static void walk_list(struct look *l, size_t list, struct seen *s, int levels)
{
    for (size_t i = json_tree_first(&l->tree, list); i; i = l->tree.nodes[i].next)
        walk_processor(l, i, s, levels);
}

static void report(struct look *l, const char *name, bool exists, const struct seen *s)
{
    struct ingest_finding f = {
        .which = l->which, .name = name, .missing = !exists, .drops = s->drops};
    size_t len = 0;
    for (size_t i = 0; i < METADATA; i++)
        if (s->sets[i])
            len += (size_t)snprintf(f.sets + len, sizeof f.sets - len, "%s%s", len ? ", " : "",
                                    metadata[i]);
    l->asked->visit(&f, l->asked->arg);
}

static void walk_pipeline(struct look *l, struct json_tree_text name, int levels)
{
    struct seen s = {0};
    char text[INGEST_NAME];
    snprintf(text, sizeof text, "%.*s", (int)name.len, name.at ? name.at : "");
    if (levels == 0 || !*text || strstr(text, "{{")) /* a template: another one for each document */
        return;
    size_t node = json_tree_find(&l->tree, 1, text);
    walk_list(l, json_tree_find(&l->tree, node, "processors"), &s, levels);
    walk_list(l, json_tree_find(&l->tree, node, "on_failure"), &s, levels);
    report(l, text, node != 0, &s);
}

/* Where there is no pipeline at all, some servers answer 404 and {}. */
static bool ask(struct look *l, struct es *es, struct es_answer *a, struct err *e)
{
    struct es_call call = {.method = "GET", .path = "/_ingest/pipeline"};
    return es_request(es, &call, a, e) &&
           ((a->status == 404 && !es_is_own_error(a)) || es_check(a, e)) &&
           json_tree_read(&l->tree, a->body.data, a->body.len, e);
}

static bool is_name(const char *name)
{
    return name && *name;
}

static void walk_all(struct look *l)
{
    for (size_t i = 0; i < sizeof l->asked->names / sizeof *l->asked->names; i++) {
        const char *name = l->asked->names[i];
        l->which = i;
        l->left = MOST;
        if (is_name(name))
            walk_pipeline(l, (struct json_tree_text){name, strlen(name)}, LEVELS);
    }
}

bool ingest_look(struct es *es, const struct ingest_asked *asked, struct err *e)
{
    struct look l = {.asked = asked};
    struct es_answer a = {0};
    const char *first = is_name(asked->names[0]) ? asked->names[0] : asked->names[1];
    if (!is_name(first))
        return true;
    bool ok = ask(&l, es, &a, e);
    if (ok)
        walk_all(&l);
    json_tree_free(&l.tree);
    es_answer_free(&a);
    return ok || err_wrap(e, "ingest pipeline '%s'", first);
}

void ingest_look_at_index(struct es *es, const char *index, ingest_visit *visit, void *arg)
{
    struct index_ingest s;
    struct err ignored;
    if (index_get_ingest(es, index, &s, &ignored))
        ingest_look(es, &(struct ingest_asked){{s.first, s.last}, visit, arg}, &ignored);
}
