/* check_documents: the documents of the first rows, made as in a run, against the mapping; without
 * a server those of the script's examples. */
#include "ask/check_internal.h"
#include "ask/mapping_check.h"
#include "base/stop.h"
#include "model/batch.h"
#include "model/keylist.h"
#include "script/script_example.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1000, DOCUMENT_MAX = 64 << 20, KEY_MAX = 512 /* bytes of an _id */ };

struct documents {
    struct check *check;
    struct mapping_check *mapping;
    struct buf document, key;
    size_t rows, made, rejected, repeated;
    char *last;   /* owned: the key of the row before */
    bool sampled; /* the table may have more rows */
};

static int line_of_document(const struct check *c)
{
    return check_line(c, "document");
}

/* ---- one row ---- */

static void check_key(struct documents *d, const char *key)
{
    struct check *c = d->check;
    if (strlen(key) > KEY_MAX && !check_has(c, "long_key", "")) {
        check_add(c, CHECK_ERROR, "long_key", c->user.pipeline.source.key_line,
                  "the key '%.60s...' has more than %d bytes, which no _id has", key, KEY_MAX);
        check_remedy(c, "a shorter key");
    }
    d->repeated += d->last && strcmp(d->last, key) == 0;
    if (d->last && strcmp(d->last, key) == 0 && d->repeated == 1) {
        check_add(c, CHECK_WARNING, "repeated_key", c->user.pipeline.source.query_line,
                  "the query has several rows for one key, for '%.100s' for example: any one of "
                  "them becomes the document",
                  key);
        check_remedy(c, "GROUP BY the key, or aggregate the joined rows");
    }
    free(d->last);
    d->last = strdup(key);
    c->failed |= !d->last;
}

static void check_place(struct check *c, const struct script_made *made)
{
    const struct pipeline *p = &c->user.pipeline;
    if (*made->index && !pipeline_has_index(p, made->index)) {
        check_add(c, CHECK_ERROR, "indices", line_of_document(c),
                  "document() chooses index '%s', which sink.indices does not name", made->index);
        check_remedy(c, "indices = \"%s\" in sink", made->index);
    } else if (*made->index) {
        check_chosen(c, made->index);
    }
    if (*made->routing && !p->sink.multi_index) {
        check_add(c, CHECK_ERROR, "indices", line_of_document(c),
                  "document() chooses a routing, for which sink.indices must be set");
        check_remedy(c, "indices = \"%s\" in sink", p->sink.index);
    }
}

static void add_document(struct documents *d, const char *key, const struct script_made *made)
{
    struct err e;
    struct check *c = d->check;
    if (!made->present)
        return;
    d->made++;
    check_place(c, made);
    if (d->mapping &&
        !mapping_check_document(
            d->mapping, (struct json_tree_text){d->document.data, d->document.len}, key, &e))
        c->failed = true;
}

static void make_document(struct documents *d, const PGresult *row, const char *key)
{
    struct check *c = d->check;
    struct script_made made;
    struct err e;
    const struct script_row from = {&c->user.source.columns, row, 0, key};
    buf_clear(&d->document);
    if (script_document(c->user.script, &from, &d->document, &made, &e)) {
        add_document(d, key, &made);
        if (made.nothing && script_never_returns(c->user.script) && d->rejected++ == 0) {
            script_returned_nothing(c->user.script, &e);
            check_add_err(c, "document", 0, &e);
        }
    } else if (d->rejected++ == 0) {
        check_add_err(c, "document", 0, &e);
    }
}

/* ---- the first rows ---- */

static bool fetch(struct documents *d, struct batch *b, struct err *e)
{
    struct check *c = d->check;
    struct source_reader root = source_reader(&c->user.source, 0, c->pg);
    const PGresult *row;
    int64_t clock;
    if (!source_fetch(&root, b, true, &clock, e))
        return false;
    while (!stop_asked()) {
        if (!pg_next(c->pg, &row, e))
            return false;
        if (!row)
            return true;
        const char *key = source_key(&c->user.source, row, &d->key);
        d->rows++;
        if (key) {
            check_key(d, key);
            make_document(d, row, key);
        }
    }
    return stop_err(e);
}

static bool read_rows(struct documents *d, struct err *e)
{
    struct check *c = d->check;
    struct source_reader root = source_reader(&c->user.source, 0, c->pg);
    struct keylist keys = {0};
    struct batch *b = batch_new();
    bool ok = b ? source_walk(&root, NULL, ROWS, &keys, e) : err_memory(e);
    for (size_t i = 0; ok && i < keys.n; i++)
        ok = batch_add_key(b, keys.keys[i]) || err_memory(e);
    d->sampled = keys.n == ROWS;
    ok = ok && (keys.n == 0 || fetch(d, b, e));
    if (ok && keys.n > 0 && d->rows == 0) {
        check_add(c, CHECK_WARNING, "no_rows", c->user.pipeline.source.query_line,
                  "the query returns no row for the first %zu keys of '%s'", keys.n,
                  c->user.source.tables[0].label);
        check_remedy(c, "look at its conditions and joins: every row of the table should be in it");
    }
    keylist_free(&keys);
    batch_free(b);
    return ok;
}

static void conclude_rows(struct documents *d)
{
    struct check *c = d->check;
    if (d->rejected > 1)
        check_add(c, CHECK_NOTE, "document", line_of_document(c),
                  "document() fails for %zu of the first %zu rows", d->rejected, d->rows);
    if (d->rows > 0 && d->made == 0 && d->rejected == 0) {
        check_add(c, CHECK_WARNING, "no_documents", line_of_document(c),
                  "document() returns nil for each of the first %zu rows", d->rows);
        check_remedy(c, "return a table: a branch without `return` gives nil");
    }
}

static void check_rows(struct documents *d)
{
    struct check *c = d->check;
    struct err e;
    if (!read_rows(d, &e) && e.kind != ERR_STOPPED &&
        !check_add_denied(c, c->user.pipeline.source.query_line, &e))
        check_add_err(c, "query", c->user.pipeline.source.query_line, &e);
    conclude_rows(d);
}

/* ---- examples ---- */

static void check_examples(struct documents *d)
{
    struct check *c = d->check;
    struct script_examples all;
    struct script_made made;
    struct err e;
    char key[40];
    if (!script_examples_read(&all, c->user.script, &c->user.pipeline, &e))
        return; /* check_script has said so */
    for (size_t i = 0; i < all.n; i++) {
        snprintf(key, sizeof key, "example %zu", i + 1);
        buf_clear(&d->document);
        if (script_example_make(c->user.script, &all.list[i], &d->document, &made, &e))
            add_document(d, key, &made);
    }
    d->sampled = true;
    script_examples_free(&all);
}

/* ---- the template's names ---- */

/* From `"title":title` and `"about":{` to {"title":"","about":{}}. */
static void add_template(struct documents *d)
{
    struct buf described, fields;
    struct err e;
    buf_init(&described, 1 << 20);
    buf_init(&fields, 2 << 20);
    script_describe_template(d->check->user.script, &described);
    const char *line = buf_cstr(&described);
    for (; line && *line; line += strcspn(line, "\n") + 1) {
        size_t len = strcspn(line, "\n");
        const char *colon = memmem(line, len, "\":", 2);
        bool opens = line[len - 1] == '{' && (len == 1 || (colon && colon + 3 == line + len));
        if (*line == '}' || (fields.len > 0 && fields.data[fields.len - 1] == '{'))
            ;
        else if (fields.len > 0)
            buf_addc(&fields, ',');
        if (!colon)
            buf_add(&fields, line, len);
        else
            buf_add(&fields, line, (size_t)(colon - line) + 2);
        if (colon)
            buf_adds(&fields, opens ? "{" : strncmp(colon + 2, "()", 2) == 0 ? "null" : "\"\"");
    }
    if (fields.len > 0 && buf_cstr(&fields) &&
        !mapping_check_template(d->mapping, (struct json_tree_text){fields.data, fields.len}, &e))
        check_add(d->check, CHECK_NOTE, "template", 0, "could not be read: %s", e.text);
    buf_free(&described);
    buf_free(&fields);
}

/* ---- the report ---- */

static int line_of_field(const struct check *c, const char *path, bool in_mapping)
{
    char whole[1400];
    size_t len =
        (size_t)snprintf(whole, sizeof whole, "%s", in_mapping ? "sink.mappings" : "document");
    for (const char *part = path; len < sizeof whole; part++) {
        size_t n = strcspn(part, ".");
        len += (size_t)snprintf(whole + len, sizeof whole - len, "%s.%.*s",
                                in_mapping ? ".properties" : "", (int)n, part);
        part += n;
        if (!*part)
            break;
    }
    return check_line(c, whole);
}

static void report_unfilled(struct documents *d, const struct mapping_check_problem *p)
{
    struct check *c = d->check;
    int line = line_of_field(c, p->path, true);
    bool template = check_line(c, "document") > 0 && !script_always_returns(c->user.script);
    if (p->named) {
        if (d->made > 0 && c->bound)
            check_add(c, CHECK_NOTE, "unfilled", line,
                      "field '%s' has no value in any of the %s%zu documents", p->path,
                      d->sampled ? "first " : "", d->made);
        return;
    }
    if (d->made == 0 && !template)
        return; /* nothing is known of the documents */
    bool certain = !d->sampled && d->made > 0;
    check_add(c, certain ? CHECK_WARNING : CHECK_NOTE, "unfilled", line,
              certain ? "field '%s' is in the mapping, but no document has it"
                      : "field '%s' is in the mapping, but none of the documents looked at has it",
              p->path);
    check_remedy(c, "a field in document, or remove it from sink.mappings");
}

/* What is wrong with a value: a text with its path, type, value and key. */
static void report_value(struct check *c, const struct mapping_check_problem *p, int line)
{
    const char *key = p->key, *of = *key ? " (key '" : "", *end = *key ? "')" : "";
    if (p->kind == MAPPING_CHECK_VALUE) {
        check_add(c, CHECK_ERROR, "field_value", line,
                  "field '%s' of type %s cannot hold %s%s%s%s: %zu document%s rejected", p->path,
                  p->type, p->value, of, key, end, p->documents,
                  p->documents == 1 ? " is" : "s are");
        check_remedy(c, "another type in sink.mappings, or convert the value in the query");
    } else if (p->kind == MAPPING_CHECK_ROUNDED) {
        check_add(c, CHECK_WARNING, "field_rounded", line,
                  "field '%s' of type %s loses the fraction of %s%s%s%s", p->path, p->type,
                  p->value, of, key, end);
        check_remedy(c, "type = \"double\" for '%s' in sink.mappings", p->path);
    } else if (p->kind == MAPPING_CHECK_OBJECT) {
        check_add(c, CHECK_ERROR, "field_object", line,
                  "field '%s' has type %s in the mapping, but is an object in the document%s%s%s",
                  p->path, p->type, of, key, end);
        check_remedy(c, "type = \"object\" or \"nested\" for '%s' in sink.mappings", p->path);
    } else if (p->kind == MAPPING_CHECK_SCALAR) {
        check_add(c, CHECK_ERROR, "field_scalar", line,
                  "field '%s' is an object in the mapping, but %s in the document%s%s%s", p->path,
                  p->value, of, key, end);
        check_remedy(c, "the type of its values for '%s' in sink.mappings", p->path);
    } else {
        check_add(c, CHECK_WARNING, "field_mixed", line,
                  "field '%s' is an object in some documents and a single value in others%s%s%s: "
                  "the index takes one of both",
                  p->path, of, key, end);
        check_remedy(c, "one form in document, and a type in sink.mappings");
    }
}

static void report_unknown(struct check *c, const struct mapping_check_problem *p, int line)
{
    if (p->kind == MAPPING_CHECK_UNKNOWN)
        check_add(c, CHECK_ERROR, "unknown_field", line,
                  "field '%s' is not in the mapping, which is strict: its documents are rejected",
                  p->path);
    else
        check_add(c, CHECK_WARNING, "unindexed_field", line,
                  "field '%s' is not in the mapping, which ignores unknown fields: no search finds "
                  "it",
                  p->path);
    check_remedy(c, "%s = { type = \"...\" } in sink.mappings.properties", p->path);
}

static void report(const struct mapping_check_problem *p, void *arg)
{
    struct documents *d = arg;
    int line = line_of_field(d->check, p->path, false);
    if (p->kind == MAPPING_CHECK_UNFILLED)
        report_unfilled(d, p);
    else if (p->kind == MAPPING_CHECK_UNKNOWN || p->kind == MAPPING_CHECK_UNINDEXED)
        report_unknown(d->check, p, line);
    else
        report_value(d->check, p, line);
}

/* The script's mapping, or that of the index. */
static struct mapping_check *open_mapping(struct check *c, struct buf *text)
{
    struct err e;
    const char *given = c->user.pipeline.sink.mappings;
    if (!given && c->search && c->index.exists &&
        index_add_mapping(c->servers.es, c->index.name, text, &e))
        given = buf_cstr(text);
    struct mapping_check *m = mapping_check_new(given, &e);
    if (!m)
        check_add_err(c, "mapping", c->user.pipeline.sink.mappings_line, &e);
    return m;
}

void check_documents(struct check *c)
{
    struct buf text;
    buf_init(&text, 64 << 20);
    struct documents d = {.check = c, .mapping = open_mapping(c, &text)};
    buf_init(&d.document, DOCUMENT_MAX);
    buf_init(&d.key, 1 << 16);
    if (d.mapping)
        add_template(&d);
    if (c->bound && !check_has(c, "column", ""))
        check_rows(&d);
    else if (!c->bound)
        check_examples(&d);
    if (d.mapping)
        mapping_check_report(d.mapping, report, &d);
    mapping_check_free(d.mapping);
    buf_free(&d.document);
    buf_free(&d.key);
    buf_free(&text);
    free(d.last);
}
