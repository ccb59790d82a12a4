#include "index/index.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/json_tree.h"
#include "base/suggest.h"
#include "es/es.h"
#include "index/index_request.h"
#include "index/mapping.h"
#include "index/settings_left.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    FORMAT = 1, /* of our metadata; a newer version writes a higher one */
    MAX_REQUEST = 64 << 20,
};
static const char META_NAME[] = "etl_engine";
/* Microseconds: the year 148,000. No clock of ours gave a higher version, and later versions must
 * be above it. */
static const int64_t VERSION_MOST = INT64_MAX / 2;

struct schema { /* an index, as GET /INDEX describes it */
    struct es_answer answer;
    struct json_tree tree;
    size_t aliases, mappings, settings;
};

static void close_schema(struct schema *s)
{
    json_tree_free(&s->tree);
    es_answer_free(&s->answer);
}

/* {"INDEX":{"aliases":..,"mappings":{..},"settings":{..}}}: under its own name. */
static bool open_schema(struct schema *s, struct es *es, const char *index, struct err *e)
{
    *s = (struct schema){0};
    if (!index_ask(es, &(struct index_request){"GET", index, "?flat_settings=true", NULL},
                   &s->answer, e) ||
        !es_check(&s->answer, e) ||
        !json_tree_read(&s->tree, s->answer.body.data, s->answer.body.len, e))
        return err_wrap(e, "mapping of index '%s'", index);
    size_t whole = json_tree_first(&s->tree, 1);
    s->aliases = json_tree_find(&s->tree, whole, "aliases");
    s->mappings = json_tree_find(&s->tree, whole, "mappings");
    s->settings = json_tree_find(&s->tree, whole, "settings");
    return (s->mappings && s->settings) ||
           err_set(e, ERR_PASSING, "mapping of index '%s': damaged answer", index);
}

/* ---- why documents are returned otherwise than they were sent ---- */

static const char *const stored_otherwise[] = {"index.derived_source.enabled",
                                               "index.mapping.source.mode", "index.mode"};
static const char *const changed_before[] = {"index.default_pipeline", "index.final_pipeline"};

/* Finds one of n settings that is in force, and writes it into why. */
static bool find_setting(const struct schema *s, const char *const *names, size_t n,
                         struct index_other *o)
{
    static const char *const none[] = {"false", "stored", "standard", "lookup", "_none"};
    for (size_t i = 0; i < n; i++) {
        size_t node = json_tree_find(&s->tree, s->settings, names[i]);
        bool on = node != 0;
        for (size_t k = 0; on && k < sizeof none / sizeof *none; k++)
            on = !json_tree_is(&s->tree, node, none[k]);
        struct json_tree_text value = json_tree_plain(&s->tree, node);
        if (on)
            return snprintf(o->why, sizeof o->why, "its setting %s is '%.*s'", names[i],
                            value.len < 100 ? (int)value.len : 100, value.at) > 0;
    }
    return false;
}

static bool find_why(const struct schema *s, struct index_other *o)
{
    size_t source = json_tree_find(&s->tree, s->mappings, "_source");
    o->remedy = "create an index without it ('etl-engine reindex'), or sweep less often "
                "(sweep)";
    if (source) {
        struct json_tree_text value = s->tree.nodes[source].value;
        return snprintf(o->why, sizeof o->why, "its mapping has _source %.*s",
                        value.len < 200 ? (int)value.len : 200, value.at) > 0;
    }
    if (find_setting(s, stored_otherwise, sizeof stored_otherwise / sizeof *stored_otherwise, o))
        return true;
    o->remedy =
        "let the query or document() do what the pipeline does, or sweep less often (sweep)";
    return find_setting(s, changed_before, sizeof changed_before / sizeof *changed_before, o);
}

void index_why_other(struct es *es, const char *index, struct index_other *o)
{
    struct schema s;
    struct err ignored;
    if (!open_schema(&s, es, index, &ignored) || !find_why(&s, o)) {
        snprintf(o->why, sizeof o->why, "an ingest pipeline or the server changes them");
        o->remedy = "let the query or document() make these changes, or sweep less often (sweep)";
    }
    close_schema(&s);
}

/* ---- our metadata ---- */

/* Copies a string's text, cut to size; nothing of any other value. */
static void copy_string(char *to, size_t size, const struct json_tree *t, size_t node)
{
    struct json_tree_text text = t->nodes[node].value;
    struct json_reader r;
    json_open_loose(&r, text.at, text.len);
    if (node && json_next(&r) == JSON_STRING)
        snprintf(to, size, "%.*s", (int)r.len, r.text);
    json_close(&r);
}

static void copy_pipeline(char *to, size_t size, const struct schema *s, const char *setting)
{
    size_t node = json_tree_find(&s->tree, s->settings, setting);
    if (!json_tree_is(&s->tree, node, "_none"))
        copy_string(to, size, &s->tree, node);
}

bool index_get_ingest(struct es *es, const char *index, struct index_ingest *out, struct err *e)
{
    struct schema s;
    *out = (struct index_ingest){0};
    bool ok = open_schema(&s, es, index, e);
    if (ok) {
        copy_pipeline(out->first, sizeof out->first, &s, changed_before[0]);
        copy_pipeline(out->last, sizeof out->last, &s, changed_before[1]);
    }
    close_schema(&s);
    return ok;
}

static bool read_number(const struct json_tree *t, size_t node, int64_t *out)
{
    struct json_tree_text text = json_tree_plain(t, node);
    struct json_reader r;
    json_open_loose(&r, text.at, text.len);
    bool ok = json_next(&r) == JSON_NUMBER && json_int(&r, out);
    json_close(&r);
    return ok;
}

/* What is not our metadata counts as none. */
static bool read_meta(const struct schema *s, struct index_meta *m, struct err *e)
{
    const struct json_tree *t = &s->tree;
    size_t ours = json_tree_find(t, json_tree_find(t, s->mappings, "_meta"), META_NAME);
    int64_t format, version;
    *m = (struct index_meta){0};
    if (!read_number(t, json_tree_find(t, ours, "format"), &format) ||
        !read_number(t, json_tree_find(t, ours, "version"), &version) || version < 0 ||
        version > VERSION_MOST)
        return true;
    if (format > FORMAT)
        return err_set(e, ERR_FINAL,
                       "its _meta has format %" PRId64 ": it was written by a newer version",
                       format);
    m->known = true;
    m->version = version;
    copy_string(m->pipeline, sizeof m->pipeline, t, json_tree_find(t, ours, "pipeline"));
    copy_string(m->fingerprint, sizeof m->fingerprint, t, json_tree_find(t, ours, "fingerprint"));
    size_t i = json_tree_first(t, json_tree_find(t, ours, "formers"));
    for (; i && m->n_predecessors < INDEX_PREDECESSORS; i = t->nodes[i].next)
        copy_string(m->predecessors[m->n_predecessors++], INDEX_UUID, t, i);
    return true;
}

bool index_is_of(const char *name, const char *pipeline)
{
    /* bytes of a character, at most: a name is cut at most so much shorter */
    enum { CHARACTER = 4 };
    size_t len = strlen(name);
    return !*name || strcmp(name, pipeline) == 0 ||
           (len >= INDEX_PIPELINE - CHARACTER && strncmp(name, pipeline, len) == 0);
}

bool index_is_predecessor(const struct index_meta *m, const char *uuid)
{
    for (size_t i = 0; uuid && i < m->n_predecessors; i++)
        if (strcmp(m->predecessors[i], uuid) == 0)
            return true;
    return false;
}

static bool add_meta(struct buf *b, const struct index_meta *m, struct err *e)
{
    buf_addf(b, "{\"format\":%d,\"pipeline\":", FORMAT);
    size_t len = strlen(m->pipeline);
    /* the name may be cut within a character */
    while (len > 0 && !json_add_string(b, m->pipeline, len))
        len--;
    if (len == 0)
        buf_adds(b, "\"\"");
    buf_addf(b, ",\"fingerprint\":\"%s\",\"version\":%" PRId64 ",\"formers\":[", m->fingerprint,
             m->version);
    for (size_t i = 0; i < m->n_predecessors; i++)
        buf_addf(b, "%s\"%s\"", i ? "," : "", m->predecessors[i]);
    buf_adds(b, "]}");
    return buf_cstr(b) || err_memory(e);
}

bool index_add_meta(struct buf *out, const char *mappings, const struct index_meta *meta,
                    struct err *e)
{
    struct buf meta_json;
    buf_init(&meta_json, 1 << 16);
    bool ok = add_meta(&meta_json, meta, e) &&
              mapping_add_meta(out,
                               &(struct mapping_meta){.wants = mappings,
                                                      .whole = true,
                                                      .name = META_NAME,
                                                      .value = buf_cstr(&meta_json)},
                               e);
    buf_free(&meta_json);
    return ok;
}

bool index_read_meta(struct es *es, const char *index, struct index_meta *meta, struct err *e)
{
    struct schema s;
    bool ok = open_schema(&s, es, index, e) &&
              (read_meta(&s, meta, e) || err_wrap(e, "index '%s'", index));
    close_schema(&s);
    return ok;
}

/* {"INDEX":{"mappings":{"_meta":{"etl_engine":{"pipeline":".."}}}},..} */
static void find_owner(const struct json_tree *t, const char *pipeline, struct index_owner *out)
{
    for (size_t i = json_tree_first(t, 1); i; i = t->nodes[i].next) {
        size_t meta = json_tree_find(t, json_tree_find(t, i, "mappings"), "_meta");
        copy_string(out->pipeline, sizeof out->pipeline, t,
                    json_tree_find(t, json_tree_find(t, meta, META_NAME), "pipeline"));
        struct json_tree_text name = t->nodes[i].name;
        if (name.len > 2) /* an index's name in quotes has no escapes */
            snprintf(out->index, sizeof out->index, "%.*s", (int)(name.len - 2), name.at + 1);
        if (!index_is_of(out->pipeline, pipeline))
            return;
        out->pipeline[0] = '\0';
    }
}

bool index_find_owner(struct es *es, const char *indices, const char *pipeline,
                      struct index_owner *out, struct err *e)
{
    struct es_answer a = {0};
    struct json_tree t = {0};
    *out = (struct index_owner){0};
    bool ok = index_ask(
        es,
        &(struct index_request){
            "GET", indices,
            "/_mapping?ignore_unavailable=true&filter_path=*.mappings._meta.etl_engine.pipeline",
            NULL},
        &a, e);
    if (ok && a.status != 404)
        ok = es_check(&a, e) && json_tree_read(&t, a.body.data, a.body.len, e);
    if (!ok)
        err_wrap(e, "mapping of index '%s'", indices);
    else if (t.n > 0)
        find_owner(&t, pipeline, out);
    json_tree_free(&t);
    es_answer_free(&a);
    return ok;
}

/* ---- writing ---- */

static bool put(struct es *es, const struct index_request *r, struct es_answer *a, struct err *e)
{
    if (!index_ask(es, r, a, e) || !es_check(a, e))
        return false;
    return !index_unacknowledged(a) || err_set(e, ERR_PASSING, "not acknowledged in time");
}

bool index_write_meta(struct es *es, const char *index, const char *mappings,
                      const struct index_meta *meta, struct err *e)
{
    struct schema s;
    struct es_answer a = {0};
    struct buf meta_json, body;
    buf_init(&meta_json, 1 << 16);
    buf_init(&body, MAX_REQUEST);
    bool ok = open_schema(&s, es, index, e) && add_meta(&meta_json, meta, e) &&
              mapping_add_meta(&body,
                               &(struct mapping_meta){.has = {&s.tree, s.mappings},
                                                      .wants = mappings,
                                                      .name = META_NAME,
                                                      .value = buf_cstr(&meta_json)},
                               e) &&
              (put(es, &(struct index_request){"PUT", index, "/_mapping", &body}, &a, e) ||
               err_wrap(e, "%s write metadata to index '%s'",
                        e->kind == ERR_PASSING ? "could not" : "cannot", index));
    close_schema(&s);
    es_answer_free(&a);
    buf_free(&meta_json);
    buf_free(&body);
    return ok;
}

bool index_set_loading(struct es *es, const char *index, bool loading, const char *settings,
                       struct err *e)
{
    struct es_answer a = {0};
    struct buf body;
    buf_init(&body, 1 << 16);
    buf_adds(&body, "{\"index.refresh_interval\":");
    bool ok = loading ? buf_adds(&body, "\"-1\"") || err_memory(e)
                      : mapping_add_setting(&body, settings, "refresh_interval", e);
    buf_adds(&body, ",\"index.number_of_replicas\":");
    ok = ok && (loading ? buf_adds(&body, "0") || err_memory(e)
                        : mapping_add_setting(&body, settings, "number_of_replicas", e));
    buf_adds(&body, "}");
    ok = ok && (!body.failed || err_memory(e)) &&
         (put(es, &(struct index_request){"PUT", index, "/_settings", &body}, &a, e) ||
          err_wrap(e, "settings of index '%s'", index));
    buf_free(&body);
    es_answer_free(&a);
    return ok;
}

bool index_find_settings_left(struct es *es, const struct index_succession *s,
                              char out[INDEX_SETTINGS_LEFT], struct err *e)
{
    struct schema from = {0}, to = {0};
    bool ok = open_schema(&from, es, s->from, e) && open_schema(&to, es, s->to, e) &&
              settings_left(&(struct settings_left){{&from.tree, from.settings},
                                                    {&to.tree, to.settings},
                                                    s->settings},
                            out, e);
    close_schema(&from);
    close_schema(&to);
    return ok;
}

/* ---- comparing ---- */

struct fitting {
    const struct schema *s;
    struct es *es;
    const char *index;
    struct index_fit *fit;
};

/* What is missing in another program's index is not an error. */
static bool misfit(struct fitting *f, const char *difference, struct err *e)
{
    if (f->fit->meta.known)
        return err_set(e, ERR_USAGE, "index '%s' does not fit: %s", f->index, difference);
    snprintf(f->fit->lacks, sizeof f->fit->lacks, "%s", difference);
    return true;
}

/* The server refused to add something: finds out what. */
static bool judge_refusal(struct fitting *f, const char *mappings, const struct es_answer *a,
                          struct err *e)
{
    char reason[300], difference[MAPPING_TEXT];
    es_reason(a, reason, sizeof reason);
    if (!mapping_difference(&(struct mapping_part){&f->s->tree, f->s->mappings}, mappings, reason,
                            difference, e))
        return false;
    return *difference ? err_set(e, ERR_USAGE, "index '%s' does not fit: %s", f->index, difference)
                       : misfit(f, reason, e);
}

static bool add_lacking(struct fitting *f, const char *mappings, struct err *e)
{
    struct es_answer a = {0};
    struct buf body;
    bool certain;
    buf_init(&body, MAX_REQUEST);
    bool ok = mapping_lacking(&(struct mapping_part){&f->s->tree, f->s->mappings}, mappings, &body,
                              &certain, e);
    if (ok && body.len > 0) {
        ok = put(f->es, &(struct index_request){"PUT", f->index, "/_mapping", &body}, &a, e);
        f->fit->added = ok && certain;
        if (!ok && a.status == 400)
            ok = judge_refusal(f, mappings, &a, e);
        else if (!ok && a.status == 403 && !certain) /* and as far as we can see it is not needed */
            ok = true;
        else if (!ok)
            err_wrap(e, "%s add new fields from the script to the mapping of index '%s'",
                     e->kind == ERR_PASSING ? "could not" : "cannot", f->index);
    }
    buf_free(&body);
    es_answer_free(&a);
    return ok;
}

static bool compare_settings(struct fitting *f, const char *settings, struct err *e)
{
    char difference[MAPPING_TEXT];
    if (!mapping_settings_difference(&(struct mapping_part){&f->s->tree, f->s->settings}, settings,
                                     difference, e))
        return false;
    f->fit->of_settings = *difference;
    return !*difference || misfit(f, difference, e);
}

/* What a run has to know of the index, whatever the script says. */
static void note_traits(const struct schema *s, const char *index, struct index_fit *fit)
{
    const struct json_tree *t = &s->tree;
    size_t alias = json_tree_find(t, s->aliases, index);
    size_t routing = json_tree_find(t, s->mappings, "_routing");
    fit->filtered = json_tree_find(t, alias, "filter") != 0;
    fit->needs_routing = json_tree_is(t, json_tree_find(t, routing, "required"), "true");
}

bool index_fit(struct es *es, const char *index, const char *settings, const char *mappings,
               struct index_fit *fit, struct err *e)
{
    struct schema s;
    struct fitting f = {&s, es, index, fit};
    *fit = (struct index_fit){0};
    bool ok = open_schema(&s, es, index, e) &&
              (read_meta(&s, &fit->meta, e) || err_wrap(e, "index '%s'", index)) &&
              (!settings || compare_settings(&f, settings, e));
    note_traits(&s, index, fit);
    if (ok && mappings && !*fit->lacks) /* otherwise an addition may need what is missing */
        ok = add_lacking(&f, mappings, e);
    close_schema(&s);
    return ok;
}

/* Parameters that no open index can change. */
static const char fixed[] = "[type] [analyzer] [normalizer] [index] [doc_values] [store] [format] "
                            "[scaling_factor] [similarity] [term_vector] [index_options]";

bool index_compare(struct es *es, const char *index, const char *settings, const char *mappings,
                   struct index_fit *fit, struct err *e)
{
    struct schema s;
    struct buf body;
    *fit = (struct index_fit){0};
    buf_init(&body, MAX_REQUEST);
    bool ok = open_schema(&s, es, index, e) &&
              (read_meta(&s, &fit->meta, e) || err_wrap(e, "index '%s'", index));
    const struct mapping_part has = {&s.tree, s.mappings};
    ok =
        ok && (!settings || mapping_settings_difference(&(struct mapping_part){&s.tree, s.settings},
                                                        settings, fit->lacks, e));
    fit->of_settings = *fit->lacks;
    ok = ok && (!mappings || *fit->lacks ||
                (mapping_difference(&has, mappings, fixed, fit->lacks, e) &&
                 mapping_lacking(&has, mappings, &body, &fit->added, e)));
    if (ok)
        note_traits(&s, index, fit);
    close_schema(&s);
    buf_free(&body);
    return ok;
}

bool index_add_mapping(struct es *es, const char *index, struct buf *out, struct err *e)
{
    struct schema s;
    bool ok = open_schema(&s, es, index, e);
    if (ok)
        buf_add(out, s.tree.nodes[s.mappings].value.at, s.tree.nodes[s.mappings].value.len);
    close_schema(&s);
    return ok && (!out->failed || err_memory(e));
}

/* ---- one field ---- */

static size_t find_part(const struct json_tree *t, size_t parent, const char *name, size_t len)
{
    for (size_t i = json_tree_first(t, parent); i; i = t->nodes[i].next) {
        struct json_tree_text n = t->nodes[i].name; /* with its quotes */
        if (n.len == len + 2 && memcmp(n.at + 1, name, len) == 0)
            return i;
    }
    return 0;
}

/* Writes the names at a level: the one that was probably meant, or all of them. */
static void name_known(const struct json_tree *t, size_t parent, const char *field,
                       const char *part, struct index_field *out)
{
    enum { MOST = 300, NAME = 80 };
    char names[MOST][NAME], wanted[NAME];
    const char *list[MOST];
    size_t n = 0, len = 0;
    for (size_t i = json_tree_first(t, parent); i && n < MOST; i = t->nodes[i].next) {
        struct json_tree_text text = t->nodes[i].name;
        if (text.len < 2 || text.len - 2 >= NAME)
            continue;
        snprintf(names[n], NAME, "%.*s", (int)text.len - 2, text.at + 1);
        list[n] = names[n];
        n++;
    }
    snprintf(wanted, sizeof wanted, "%.*s", (int)strcspn(part, "."), part);
    const char *near = suggest(wanted, list, n);
    out->is_near = near != NULL;
    if (near) {
        snprintf(out->known, sizeof out->known, "%.*s%s%s", (int)(part - field), field, near,
                 part + strcspn(part, "."));
        return;
    }
    for (size_t i = 0; i < n && len < sizeof out->known - NAME; i++)
        len +=
            (size_t)snprintf(out->known + len, sizeof out->known - len, "%s%.*s%s", len ? ", " : "",
                             (int)(part - field < NAME ? part - field : NAME), field, names[i]);
    out->known[sizeof out->known - 1] = '\0';
}

static bool is_kind(const struct json_tree *t, size_t node, const char *name)
{
    return json_tree_is(t, json_tree_find(t, node, "type"), name);
}

/* Whether it is analysed text, in which no whole value is found. */
static bool is_analysed(const struct json_tree *t, size_t node)
{
    if (!is_kind(t, node, "text") && !is_kind(t, node, "match_only_text"))
        return false;
    for (size_t i = json_tree_first(t, json_tree_find(t, node, "fields")); i; i = t->nodes[i].next)
        if (is_kind(t, i, "keyword"))
            return false;
    return true;
}

/* Goes down from the mapping, one part of the name at a time. */
static void find_field(const struct json_tree *t, size_t node, const char *field,
                       struct index_field *out)
{
    bool dynamic = true;
    for (const char *part = field;; part += strcspn(part, ".") + 1) {
        size_t len = strcspn(part, "."), rule = json_tree_find(t, node, "dynamic");
        size_t properties = json_tree_find(t, node, "properties"), below = properties;
        if (rule)
            dynamic = !json_tree_is(t, rule, "strict") && !json_tree_is(t, rule, "false");
        size_t next = find_part(t, properties, part, len);
        if (!next)
            next = find_part(t, below = json_tree_find(t, node, "fields"), part, len);
        if (!next) { /* a field with a type has no fields within; the mapping itself has neither */
            out->may_come = dynamic && (properties || !json_tree_find(t, node, "type")) &&
                            !json_tree_is(t, json_tree_find(t, node, "enabled"), "false");
            name_known(t, properties ? properties : below, field, part, out);
            return;
        }
        node = next;
        out->exists =
            part[len] == '\0' || is_kind(t, node, "flattened") || is_kind(t, node, "flat_object");
        if (out->exists) {
            out->analysed = is_analysed(t, node);
            return;
        }
    }
}

bool index_get_field(struct es *es, const char *index, const char *field, struct index_field *out,
                     struct err *e)
{
    struct schema s;
    *out = (struct index_field){0};
    bool ok = open_schema(&s, es, index, e);
    if (ok)
        find_field(&s.tree, s.mappings, field, out);
    close_schema(&s);
    return ok;
}
