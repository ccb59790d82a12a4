#include "base/err.h"
#include "script/pipeline_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    JSON_MAX = 16 << 20, /* bytes of settings or mappings */
    SWEEP_POLL_S = 3600, /* seconds between two sweeps, unless the script says how many */
};

/* Whether the name is what the pattern of that length says; * stands for any letters. */
static bool fits(const char *pattern, size_t len, const char *name)
{
    while (len > 0 && *pattern != '*') {
        if (*name != *pattern)
            return false;
        pattern++, len--, name++;
    }
    if (len == 0)
        return *name == '\0';
    for (;; name++) /* the star: as deep as there are stars */
        if (fits(pattern + 1, len - 1, name))
            return true;
        else if (*name == '\0')
            return false;
}

const char *pipeline_place(const struct pipeline *p)
{
    return p->sink.multi_index ? p->sink.indices : p->sink.index;
}

bool pipeline_has_index(const struct pipeline *p, const char *index)
{
    const char *pattern = p->sink.indices;
    for (;;) {
        size_t len = strcspn(pattern, ",");
        if (fits(pattern, len, index))
            return true;
        if (pattern[len] == '\0')
            return false;
        pattern += len + 1;
    }
}

/* A document that says no index goes to sink.index, and is looked for there, too. */
static bool set_indices(struct pipeline *p, struct err *e)
{
    char *all = NULL;
    p->sink.multi_index = p->sink.indices != NULL;
    if (p->sink.multi_index && pipeline_has_index(p, p->sink.index))
        return true;
    if (!p->sink.multi_index)
        all = strdup(p->sink.index);
    else if (asprintf(&all, "%s,%s", p->sink.index, p->sink.indices) < 0)
        all = NULL;
    free(p->sink.indices);
    p->sink.indices = all;
    return all || err_memory(e);
}

bool pipeline_at_line(struct err *e, const struct pipeline *p, int line)
{
    e->kind = ERR_USAGE;
    return line > 0 ? err_wrap(e, "%s:%d", p->script, line) : err_wrap(e, "%s", p->script);
}

bool pipeline_at_state(struct err *e, const struct pipeline *p)
{
    return e->kind == ERR_USAGE && pipeline_at_line(e, p, p->state_line);
}

bool pipeline_set_index(struct pipeline *p, const char *index, struct err *e)
{
    bool alone = strcmp(p->sink.indices, p->sink.index) == 0;
    char *name = strdup(index), *indices = strdup(alone ? index : p->sink.indices);
    if (!name || !indices) {
        free(name);
        free(indices);
        return err_memory(e);
    }
    free(p->sink.index);
    free(p->sink.indices);
    p->sink.index = name;
    p->sink.indices = indices;
    return true;
}

/* "etl_films_shop": the pipelines of a list that are of one database share a slot. */
static void name_list(const struct pipeline *p, const struct script_text *text, char *out,
                      size_t size)
{
    const char *slash = strrchr(text->path, '/'), *file = slash ? slash + 1 : text->path;
    size_t len = strlen(file);
    char database[PIPELINE_OBJECT_MAX + 1];
    if (len > 4 && strcmp(file + len - 4, ".lua") == 0)
        len -= 4;
    bool known = p->source.url && pg_url_database(p->source.url, database, sizeof database);
    snprintf(out, size, "etl_%.*s%s%.30s", len > 28 ? 28 : (int)len, file, known ? "_" : "",
             known ? database : "");
}

/* Owned by the caller: in the letters that a slot's name may have; NULL: no memory. */
static char *slot_name(char *name)
{
    for (char *c = name; *c; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
        if (!strchr(PIPELINE_SLOT_LETTERS, *c))
            *c = '_';
    }
    return strdup(name);
}

char *pipeline_own_slot(const struct pipeline *p)
{
    char name[PIPELINE_OBJECT_MAX + 1];
    snprintf(name, sizeof name, "etl_%s", p->name);
    return slot_name(name);
}

static char *default_slot(const struct pipeline *p, const struct script_text *text)
{
    char name[PIPELINE_OBJECT_MAX + 1];
    if (text->entry == 0)
        return pipeline_own_slot(p);
    name_list(p, text, name, sizeof name);
    return slot_name(name);
}

static void forget_cursor(char **cursor)
{
    free(*cursor);
    *cursor = NULL;
}

/* The log needs no cursor, and leaves a sweep nothing to find. */
static bool set_capture(struct pipeline *p, const struct script_text *text, struct err *e)
{
    if (p->sweep == PIPELINE_SWEEP_UNSET)
        p->sweep = p->source.wal ? 0 : SWEEP_POLL_S;
    if (p->source.wal)
        forget_cursor(&p->source.cursor);
    for (size_t i = 0; p->source.wal && i < p->source.n_related; i++)
        forget_cursor(&p->source.related[i].cursor);
    if (!p->source.slot)
        p->source.slot = default_slot(p, text);
    if (!p->source.publication && p->source.slot)
        p->source.publication = strdup(p->source.slot);
    return (p->source.slot && p->source.publication) || err_memory(e);
}

/* Where what authenticates us is given, for when it is refused. */
static bool set_places(struct pipeline *p, const struct script_text *text, struct err *e)
{
    struct es_security *s = &p->sink.security;
    p->source.url_place = pipeline_describe_field(text, "source.url", true);
    s->places[ES_SECURITY_TEXTS] = pipeline_describe_field(text, "sink.url", true);
    bool ok = p->source.url_place && s->places[ES_SECURITY_TEXTS];
    for (size_t i = 0; ok && i < ES_SECURITY_TEXTS; i++)
        if (*es_security_text(s, i)) {
            s->places[i] = pipeline_describe_field(text, es_security_field(i), false);
            ok = s->places[i];
        }
    return ok || err_memory(e);
}

static bool read_pipeline(struct pipeline_reading *r, struct err *e)
{
    struct pipeline *p = r->p;
    r->text = script_source(r->script);
    if (r->lacking)
        r->lacking->kind = ERR_NONE;
    *p = (struct pipeline){.script = r->text->path, .sink.security.verify = true};
    buf_init(&r->json, JSON_MAX);
    bool ok = script_call(r->script, pipeline_read_body, r, e);
    if (!ok && r->encoding) { /* the encoder names what is below the field */
        int line = pipeline_line_of(r, r->encoding);
        err_wrap(e, "%s:%d: field '%s' in sink", r->text->path, line, r->encoding);
    } else if (!ok && *r->hint)
        err_hint(e, "%s", r->hint);
    buf_free(&r->json);
    if (ok && script_check(r->script, NULL, e) && set_indices(p, e) && set_capture(p, r->text, e) &&
        set_places(p, r->text, e))
        return true;
    pipeline_free(p);
    return false;
}

bool pipeline_read_dry(struct pipeline *p, struct script *s, struct err *lacking, struct err *e)
{
    struct pipeline_reading r = {.p = p, .script = s, .lacking = lacking};
    return read_pipeline(&r, e);
}

bool pipeline_read_offline(struct pipeline *p, struct script *s, struct err *lacking, struct err *e)
{
    struct pipeline_reading r = {.p = p, .script = s, .lacking = lacking, .offline = true};
    return read_pipeline(&r, e);
}

bool pipeline_read(struct pipeline *p, struct script *s, struct err *e)
{
    return pipeline_read_dry(p, s, NULL, e);
}

static void free_names(struct pipeline_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->list[i]);
    free(names->list);
}

void pipeline_free(struct pipeline *p)
{
    for (size_t i = 0; i < p->source.n_related; i++) {
        struct pipeline_related *related = &p->source.related[i];
        free(related->table);
        free_names(&related->key);
        free(related->cursor);
        free_names(&related->affects);
        free(related->affects_query);
        free(related->index_field);
    }
    free(p->source.related);
    free(p->name);
    free(p->source.url);
    free(p->source.url_place);
    free(p->source.table);
    free_names(&p->source.key);
    free(p->source.cursor);
    free(p->source.query);
    free(p->source.slot);
    free(p->source.publication);
    free(p->sink.url);
    free(p->sink.index);
    free(p->sink.indices);
    free(p->sink.settings);
    free(p->sink.mappings);
    es_security_free(&p->sink.security);
    free(p->state);
    *p = (struct pipeline){0};
}
