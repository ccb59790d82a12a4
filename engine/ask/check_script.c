/* check_script: the script alone: what its fields say, and how they fit together. */
#include "ask/check_internal.h"
#include "ask/examples.h"
#include "ask/mapping_check.h"
#include "base/suggest.h"
#include "script/query_columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- changes that are found late, or never ---- */

static void check_cursors(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    struct err e;
    if (p->source.wal)
        return;
    if (!run_can_follow(p, &e)) {
        check_add(c, CHECK_WARNING, "no_changes", p->source.table_line,
                  "no change is ever noticed by --follow: source has no cursor, and sweep is 0");
        check_remedy(c, "%s", e.hint);
        return;
    }
    if (!p->source.cursor) {
        check_add(c, CHECK_NOTE, "no_cursor", p->source.table_line,
                  "source has no cursor: each run compares every row with the index");
        check_remedy(c, "cursor = \"...\", the column that says when a row last changed");
    }
    for (size_t i = 0; i < p->source.n_related; i++)
        if (!p->source.related[i].cursor) {
            check_add(c, CHECK_NOTE, "no_cursor", p->source.related[i].table_line,
                      "'%s' has no cursor: only a sweep finds its changes",
                      p->source.related[i].table);
            check_remedy(c, "cursor = \"...\" in this entry, or capture = \"wal\"");
        }
    if (p->sweep == 0) {
        check_add(
            c, CHECK_WARNING, "no_sweep", check_line(c, "sweep"),
            "sweep = 0: a poll cannot see deleted rows, so their documents stay in the index");
        check_remedy(c, "sweep = 3600, or capture = \"wal\" in source");
    }
}

static void check_lookback(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    if (p->source.wal || p->source.lookback != 0)
        return;
    check_add(c, CHECK_WARNING, "lookback", check_line(c, "source.lookback"),
              "lookback = 0: a cursor that is set by a clock which is a moment behind is missed by "
              "polls");
    check_remedy(c, "lookback = 60");
}

/* ---- the index's fields ---- */

static size_t find_below(const struct json_tree *t, size_t node, const char *path)
{
    while (node) {
        char part[200];
        size_t len = strcspn(path, "."), below;
        snprintf(part, sizeof part, "%.*s", (int)len, path);
        below = json_tree_find(t, json_tree_find(t, node, "properties"), part);
        node = below ? below : json_tree_find(t, json_tree_find(t, node, "fields"), part);
        if (!path[len])
            break;
        path += len + 1;
    }
    return node;
}

static void check_index_fields(struct check *c, const struct json_tree *t)
{
    const struct pipeline *p = &c->user.pipeline;
    size_t rule = json_tree_find(t, 1, "dynamic");
    bool closed = json_tree_is(t, rule, "strict") || json_tree_is(t, rule, "false");
    for (size_t i = 0; i < p->source.n_related; i++) {
        const char *field = p->source.related[i].index_field;
        if (!field || !closed || find_below(t, 1, field))
            continue;
        check_add(c, CHECK_ERROR, "index_field", p->source.related[i].index_field_line,
                  "index_field '%s' is not in sink.mappings, which allow no new field", field);
        check_remedy(c, "name a field that holds the key of '%s', of type keyword or a number",
                     p->source.related[i].table);
    }
}

static const char *const types[] = {"text",
                                    "keyword",
                                    "long",
                                    "integer",
                                    "short",
                                    "byte",
                                    "double",
                                    "float",
                                    "half_float",
                                    "boolean",
                                    "date",
                                    "date_nanos",
                                    "scaled_float",
                                    "unsigned_long",
                                    "object",
                                    "nested",
                                    "ip",
                                    "geo_point",
                                    "geo_shape",
                                    "flattened",
                                    "flat_object",
                                    "join",
                                    "alias",
                                    "binary",
                                    "completion",
                                    "wildcard",
                                    "token_count",
                                    "percolator",
                                    "dense_vector",
                                    "knn_vector",
                                    "integer_range",
                                    "float_range",
                                    "long_range",
                                    "double_range",
                                    "date_range",
                                    "ip_range",
                                    "search_as_you_type",
                                    "constant_keyword",
                                    "match_only_text",
                                    "rank_feature"};

static bool is_type(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i], name) == 0)
            return true;
    return false;
}

/* Plugins bring types of their own: only one that is nearly a known one is misspelt. */
static void check_types(struct check *c, const struct json_tree *t, size_t node, const char *path)
{
    char below[700];
    for (size_t i = json_tree_first(t, json_tree_find(t, node, "properties")); i;
         i = t->nodes[i].next) {
        struct json_tree_text name = t->nodes[i].name,
                              type = json_tree_plain(t, json_tree_find(t, i, "type"));
        char text[100];
        snprintf(text, sizeof text, "%.*s", (int)type.len, type.at ? type.at : "");
        snprintf(below, sizeof below, "%s.properties.%.*s", path, (int)name.len - 2, name.at + 1);
        const char *near =
            is_type(text) ? NULL : suggest(text, types, sizeof types / sizeof *types);
        if (*text && near) {
            check_add(c, CHECK_ERROR, "field_type", check_line(c, below),
                      "field '%.*s' in sink.mappings has the unknown type '%s', did you mean '%s'?",
                      (int)name.len - 2, name.at + 1, text, near);
            check_remedy(c, "type = \"%s\"", near);
        }
        check_types(c, t, i, below);
    }
}

static const char *const analyzers[] = {"standard", "simple",  "whitespace",  "stop",
                                        "keyword",  "pattern", "fingerprint", "default"};

/* Whether the script's settings define it; one of a language, or of a plugin, may be built in. */
static bool is_defined(const struct json_tree *settings, const char *name)
{
    size_t index = json_tree_find(settings, 1, "index");
    size_t analysis = json_tree_find(settings, index ? index : 1, "analysis");
    if (!analysis)
        analysis = json_tree_find(settings, 1, "analysis");
    return json_tree_find(settings, json_tree_find(settings, analysis, "analyzer"), name) != 0;
}

static void check_analyzer(struct check *c, const struct json_tree *t, size_t field,
                           const struct json_tree *settings, const char *path)
{
    static const char *const parameters[] = {"analyzer", "search_analyzer"};
    for (size_t i = 0; i < 2; i++) {
        struct json_tree_text text = json_tree_plain(t, json_tree_find(t, field, parameters[i]));
        char name[100];
        snprintf(name, sizeof name, "%.*s", (int)text.len, text.at ? text.at : "");
        bool own = strchr(name, '_') || strpbrk(name, "0123456789"); /* built-in ones have no _ */
        for (size_t k = 0; k < sizeof analyzers / sizeof *analyzers; k++)
            own &= strcmp(analyzers[k], name) != 0;
        if (!*name || !own || is_defined(settings, name))
            continue;
        check_add(c, CHECK_WARNING, "analyzer", check_line(c, path),
                  "analyzer '%s' is not defined in sink.settings", name);
        check_remedy(c, "settings = { analysis = { analyzer = { %s = { ... } } } }", name);
    }
}

static void check_analyzers(struct check *c, const struct json_tree *t, size_t node,
                            const struct json_tree *settings, const char *path)
{
    char below[700];
    for (size_t i = json_tree_first(t, json_tree_find(t, node, "properties")); i;
         i = t->nodes[i].next) {
        struct json_tree_text name = t->nodes[i].name;
        snprintf(below, sizeof below, "%s.properties.%.*s", path, (int)name.len - 2, name.at + 1);
        check_analyzer(c, t, i, settings, below);
        check_analyzers(c, t, i, settings, below);
    }
}

static void check_mappings(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    const char *given = p->sink.settings ? p->sink.settings : "{}";
    struct json_tree t = {0}, settings = {0};
    struct err e;
    if (p->sink.mappings && json_tree_read(&t, p->sink.mappings, strlen(p->sink.mappings), &e) &&
        json_tree_read(&settings, given, strlen(given), &e)) {
        check_index_fields(c, &t);
        check_types(c, &t, 1, "sink.mappings");
        if (c->options->offline) /* otherwise the server itself is asked */
            check_analyzers(c, &t, 1, &settings, "sink.mappings");
    }
    json_tree_free(&t);
    json_tree_free(&settings);
}

/* ---- the template ---- */

/* The columns that the template names; without a server only the query's text can tell. */
static void check_columns(struct check *c, const char *described)
{
    const char *query = c->user.pipeline.source.query;
    for (const char *line = described; *line; line += strcspn(line, "\n") + 1) {
        size_t len = strcspn(line, "\n"), at = 0;
        char column[200], field[200], path[220];
        const char *colon = memmem(line, len, "\":", 2);
        if (!colon)
            continue;
        at = (size_t)(colon - line) + 2;
        snprintf(field, sizeof field, "%.*s", (int)at - 3, line + 1);
        snprintf(column, sizeof column, "%.*s", (int)(len - at), line + at);
        if (strcmp(column, "{") == 0 || strcmp(column, "()") == 0 ||
            query_may_have_column(query, column))
            continue;
        snprintf(path, sizeof path, "document.%s", field);
        check_add(c, CHECK_ERROR, "column", check_line(c, path),
                  "field '%s' in document: the query has no column '%s'", field, column);
    }
}

static void check_template(struct check *c)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    script_describe_template(c->user.script, &text);
    const char *described = buf_cstr(&text);
    if (described && c->options->offline)
        check_columns(c, described);
    buf_free(&text);
}

/* ---- examples ---- */

static void take_failure(int line, const char *text, void *arg)
{
    struct check *c = arg;
    if (*text == ' ') /* a field that differs: the finding has the first one */
        check_remedy(c, "etl-engine test %s shows it; the first difference is%s", c->path,
                     text + 1);
    else
        check_add(c, CHECK_ERROR, "example", line, "%s", text);
}

static void check_examples(struct check *c)
{
    struct err e;
    struct examples_trial t = {
        .script = c->user.script, .pipeline = &c->user.pipeline, .report = take_failure, .arg = c};
    if (!examples_try(&t, &e))
        check_add_err(c, "example", 0, &e);
    c->has_examples = t.n > 0;
}

/* ---- the rest ---- */

static void check_safety(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    const char *url = p->sink.url ? p->sink.url : "";
    bool plain = strncmp(url, "http://", 7) == 0;
    bool here = strstr(url, "//127.") || strstr(url, "//localhost") || strstr(url, "@127.") ||
                strstr(url, "@localhost") || strstr(url, "//[::1]");
    if (!p->sink.security.verify && c->options->offline) { /* otherwise es says so */
        check_add(c, CHECK_WARNING, "verify", check_line(c, "sink.verify"),
                  "sink.verify = false: whoever answers at that address is believed");
        check_remedy(c, "ca = \"FILE\" or ca_fingerprint = \"...\" in sink");
    }
    if (plain && !here &&
        (p->sink.security.password || p->sink.security.api_key || p->sink.security.bearer_token ||
         strchr(url, '@'))) {
        check_add(c, CHECK_WARNING, "plain_http", p->sink.url_line,
                  "credentials are sent to another machine without TLS");
        check_remedy(c, "url = \"https://...\"");
    }
}

void check_script(struct check *c)
{
    check_cursors(c);
    check_lookback(c);
    check_mappings(c);
    check_template(c);
    check_examples(c);
    check_safety(c);
}
