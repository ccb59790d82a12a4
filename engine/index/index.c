#include "index/index.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "es/es.h"
#include "index/index_alias.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* bytes: settings with a large list of synonyms have some megabytes */
enum { MAX_REQUEST = 64 << 20 };

/* ---- inspecting ---- */

/* Reads "60s", "1h", "1.5m", "500ms", "-1" as milliseconds. The server returns it as somebody wrote
 * it. */
static bool read_time(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"nanos", 1e-6}, {"micros", 1e-3}, {"ms", 1},     {"s", 1e3},
                 {"m", 6e4},      {"h", 3.6e6},     {"d", 8.64e7}, {"", 1}};
    char *unit;
    double n = strtod(text, &unit);
    if (unit == text || n != n || n > 1e12 || n < -1e12)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcasecmp(unit, units[i].unit) == 0) {
            *ms = n < 0 ? 0 : (int64_t)(n * units[i].ms); /* -1: forgotten at once */
            return true;
        }
    return false;
}

struct answered { /* what an answer says of the index */
    size_t indexes;
    char name[INDEX_NAME], uuid[INDEX_UUID], gc[INDEX_UUID];
};

/* Reads the members of "settings" or "defaults": flat, as requested. */
static bool read_settings(struct json_reader *r, struct answered *l)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        bool ok = json_is(r, "index.uuid")         ? json_next_text(r, l->uuid, sizeof l->uuid)
                  : json_is(r, "index.gc_deletes") ? json_next_text(r, l->gc, sizeof l->gc)
                                                   : json_skip(r);
        if (!ok)
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

/* {"settings":{...},"defaults":{...}} */
static bool read_index(struct json_reader *r, struct answered *l)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY)
        if (!(json_is(r, "settings") || json_is(r, "defaults") ? read_settings(r, l)
                                                               : json_skip(r)))
            return false;
    return r->token == JSON_OBJECT_END;
}

/* Reads {"INDEX":{...}}: the index's own name, even if asked by an alias. */
static bool read_info(const struct es_answer *a, struct answered *l)
{
    struct json_reader r;
    json_open_loose(&r, a->body.data, a->body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        l->indexes++;
        snprintf(l->name, sizeof l->name, "%.*s", (int)r.len, r.text);
        ok = read_index(&r, l);
    }
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r);
    json_close(&r);
    return ok;
}

/* A 404 of another program, such as a gateway's page, does not mean that the index is gone. */
static bool is_page(const struct es_answer *a)
{
    return a->body.len > 0 && a->body.data[0] != '{';
}

static bool judge_info(const struct es *es, const struct es_answer *a, const char *index,
                       struct index_info *info, struct err *e)
{
    struct answered l = {0};
    if (a->status == 404 && !is_page(a))
        return true;
    if (a->status != 404 && !es_check(a, e))
        return err_wrap(e, "index '%s'", index);
    if (a->body.len == 0 || !read_info(a, &l))
        return es_unknown(es, a, false, e) || err_wrap(e, "index '%s'", index);
    if (l.indexes == 0) /* a pattern that matches nothing */
        return true;
    info->several = l.indexes > 1;
    if (info->several)
        return true;
    if (!l.uuid[0])
        return err_set(
            e, ERR_FINAL,
            "cannot read the settings of index '%s': the server does not report its uuid", index);
    if (!read_time(l.gc, &info->gc_deletes_ms))
        return err_set(e, ERR_FINAL,
                       "cannot read the settings of index '%s': invalid index.gc_deletes '%s'",
                       index, l.gc);
    memcpy(info->uuid, l.uuid, sizeof info->uuid);
    memcpy(info->name, l.name, sizeof info->name);
    info->exists = true;
    return true;
}

static bool ask_settings(struct es *es, const char *index, struct es_answer *a, struct err *e)
{
    return index_ask(
        es,
        &(struct index_request){
            "GET", index,
            "/_settings/index.uuid,index.gc_deletes?flat_settings=true&include_defaults=true",
            NULL},
        a, e);
}

static bool get_info(struct es *es, const char *index, struct index_info *info, struct err *e)
{
    struct es_answer a = {0};
    *info = (struct index_info){0};
    bool ok = ask_settings(es, index, &a, e) && judge_info(es, &a, index, info, e);
    es_answer_free(&a);
    return ok;
}

bool index_meet(struct es *es, const char *index, struct err *e)
{
    struct es_answer a = {0};
    struct answered l = {0};
    bool ok = ask_settings(es, index, &a, e);
    if (ok && a.status == 404)
        ok = es_is_own_error(&a) || es_unknown(es, &a, true, e);
    else if (ok && (ok = es_check(&a, e) || err_wrap(e, "index '%s'", index)))
        ok = (a.body.len > 0 && read_info(&a, &l) && l.indexes > 0) || es_unknown(es, &a, true, e);
    es_answer_free(&a);
    return ok;
}

bool index_get_info(struct es *es, const char *index, struct index_info *info, struct err *e)
{
    char target[INDEX_NAME];
    if (!get_info(es, index, info, e))
        return false;
    if (!info->several)
        return true;
    if (!index_write_target(es, index, target, e))
        return false;
    if (!*target)
        return err_set(
            e, ERR_FINAL,
            "cannot write to '%s': it is an alias of several indexes, none of which is its write "
            "index",
            index);
    if (!get_info(es, target, info, e))
        return false;
    info->several = true;
    return true;
}

/* Reads {"INDEX":{"settings":{"index.uuid":"..."}},...}. */
static bool read_list(const struct es_answer *a, struct buf *out)
{
    struct json_reader r;
    json_open_loose(&r, a->body.data, a->body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        struct answered l = {0};
        snprintf(l.name, sizeof l.name, "%.*s", (int)r.len, r.text);
        ok = read_index(&r, &l);
        buf_addf(out, "%s=%s,", l.name, l.uuid);
    }
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r);
    json_close(&r);
    return ok;
}

bool index_list(struct es *es, const char *indices, struct buf *out, struct err *e)
{
    struct es_answer a = {0};
    struct index_request ask = {
        "GET", indices, "/_settings/index.uuid?flat_settings=true&ignore_unavailable=true", NULL};
    bool ok = index_ask(es, &ask, &a, e);
    if (ok && !(a.status == 404 && !is_page(&a)))
        ok = es_check(&a, e) && ((a.body.len > 0 && read_list(&a, out)) ||
                                 es_unfit(a.body.data, a.body.len, "not a list of indexes", e));
    es_answer_free(&a);
    if (ok && out->failed)
        return err_memory(e);
    return ok || err_wrap(e, "indexes '%s'", indices);
}

/* ---- creating ---- */

struct settings {
    bool has_gc_deletes, empty;
};

/* Reads settings, and their "index" object: servers accept {"index":{"gc_deletes"}},
 * "index.gc_deletes" and "gc_deletes". False: they are not one JSON object. */
static bool read_members(struct json_reader *r, struct settings *s)
{
    bool inside = false; /* of "index" */
    for (;;) {
        enum json_token t = json_next(r);
        if (t == JSON_OBJECT_END && !inside)
            return true;
        if (t == JSON_OBJECT_END) {
            inside = false;
            continue;
        }
        if (t != JSON_KEY)
            return false;
        s->empty = false;
        s->has_gc_deletes |=
            json_is(r, "gc_deletes") || (!inside && json_is(r, "index.gc_deletes"));
        if (inside || !json_is(r, "index")) {
            if (!json_skip(r))
                return false;
        } else if (json_next(r) == JSON_OBJECT) {
            inside = true;
        } else {
            return false; /* no server accepts "index": 1 */
        }
    }
}

static bool read_script_settings(const char *text, struct settings *s)
{
    struct json_reader r;
    *s = (struct settings){.empty = true};
    json_open(&r, text, strlen(text));
    bool ok = json_next(&r) == JSON_OBJECT && read_members(&r, s) && json_end(&r);
    json_close(&r);
    return ok;
}

/* {"settings":{...},"mappings":{...}} */
static bool add_body(struct buf *b, const char *settings, const char *mappings, struct err *e)
{
    struct settings s = {.empty = true};
    if (settings && !read_script_settings(settings, &s))
        return err_set(e, ERR_USAGE, "settings are not a JSON object");
    buf_adds(b, "{\"settings\":");
    if (s.has_gc_deletes) {
        buf_adds(b, settings);
    } else {
        buf_adds(b, "{\"index.gc_deletes\":\"1h\"");
        buf_adds(b, s.empty ? "}" : ",");
        buf_adds(b, s.empty ? "" : strchr(settings, '{') + 1);
    }
    if (mappings) {
        buf_adds(b, ",\"mappings\":");
        buf_adds(b, mappings);
    }
    buf_adds(b, "}");
    return !b->failed || err_memory(e);
}

static bool judge_create(const struct es_answer *a, const char *index, struct err *e)
{
    char reason[300];
    es_reason(a, reason, sizeof reason);
    if (a->status == 400 && strncmp(reason, "resource_already_exists_exception", 33) == 0)
        return true;
    if (!es_check(a, e)) {
        /* validation_exception: the cluster has reached its limit of shards, which is no fault of
         * the request. */
        if (a->status == 400 && strncmp(reason, "validation_exception", 20) != 0)
            e->fault = ERR_FAULT_REQUEST;
        return err_wrap(
            e, e->kind == ERR_PASSING ? "could not create index '%s'" : "cannot create index '%s'",
            index);
    }
    /* the cluster was too slow: the next attempt sees whether the index exists */
    if (index_unacknowledged(a))
        return err_set(e, ERR_PASSING, "could not create index '%s': not acknowledged in time",
                       index);
    return true;
}

bool index_create(struct es *es, const char *index, const char *settings, const char *mappings,
                  struct err *e)
{
    struct es_answer a = {0};
    struct buf body;
    buf_init(&body, MAX_REQUEST);
    bool ok = add_body(&body, settings, mappings, e) &&
              index_ask(es, &(struct index_request){"PUT", index, "", &body}, &a, e) &&
              judge_create(&a, index, e);
    buf_free(&body);
    es_answer_free(&a);
    return ok;
}

bool index_delete(struct es *es, const char *index, struct err *e)
{
    struct es_answer a = {0};
    bool ok = index_ask(es, &(struct index_request){"DELETE", index, "", NULL}, &a, e) &&
              (a.status == 404 || es_check(&a, e) || err_wrap(e, "deletion of index '%s'", index));
    es_answer_free(&a);
    return ok;
}

/* ---- refreshing ---- */

static bool read_refresh(const struct es_answer *a, struct index_shards *s)
{
    struct json_reader r;
    json_open_loose(&r, a->body.data, a->body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY)
        ok = json_is(&r, "_shards") ? index_read_shards(&r, s) : json_skip(&r);
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r);
    json_close(&r);
    return ok;
}

/* Fewer successful shards than all are normal: replicas without a node. */
static bool judge_refresh(const struct es_answer *a, struct err *e)
{
    struct index_shards s = INDEX_NO_SHARDS;
    if (!es_check(a, e))
        return false;
    if (!read_refresh(a, &s))
        return err_set(e, ERR_PASSING, "damaged answer");
    if (s.failed > 0)
        return err_set(e, ERR_PASSING, "%" PRId64 " of %" PRId64 " shards failed: %s", s.failed,
                       s.total, s.reason);
    return true;
}

bool index_refresh(struct es *es, const char *index, struct err *e)
{
    struct es_answer a = {0};
    bool ok = index_ask(es, &(struct index_request){"POST", index, "/_refresh", NULL}, &a, e) &&
              (judge_refresh(&a, e) || err_wrap(e, "refresh of index '%s'", index));
    es_answer_free(&a);
    return ok;
}
