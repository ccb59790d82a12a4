#include "index/index.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "es/es.h"
#include "index/index_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 2000, /* keys: some 200 KB; the servers' default limit is 10,000 */
    /* values in one "terms": the servers' default limit is 65,536 */
    MAX_TERMS = 10000,
    MAX_REQUEST = 64 << 20,  /* bytes; servers accept 100 MB */
    MAX_SCROLL_ID = 1 << 20, /* bytes: 60 for each shard */
    MAX_PAGE = 64 << 20,     /* bytes of keys */
};
#define KEEP "5m"

struct index_scan {
    struct es *es; /* borrowed */
    char *index;   /* owned */
    struct es_answer answer;
    struct buf id;     /* of the scroll */
    struct buf text;   /* this page's keys, each with a final zero byte */
    const char **keys; /* owned; point into text */
    size_t n, cap;
    int64_t seen, total; /* keys so far, and of the whole scan */
    bool begun;          /* the first page was returned */
    bool broken;         /* no page follows: the server's position may differ from ours */
    bool silent;         /* the last request got no answer */
    const char *fixed;   /* static: the request's body, with %d for a page's size; NULL: another */
};

/* ---- a page ---- */

struct page {
    struct index_shards shards;
    int ids, times, shard_lists, hits, totals, lists; /* how often the answer has each */
    bool timed_out, zero_byte;
    int64_t total;
};

/* {"value":N,"relation":"eq"} */
static bool read_total(struct json_reader *r, struct page *p)
{
    bool value = false, exact = false;
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        if (json_is(r, "value"))
            value = json_next(r) == JSON_NUMBER && json_int(r, &p->total) && p->total >= 0;
        else if (json_is(r, "relation"))
            exact = json_next(r) == JSON_STRING && json_is(r, "eq");
        else if (!json_skip(r))
            return false;
    }
    return r->token == JSON_OBJECT_END && value && exact;
}

/* Reads the rest of {"_id":"..."}. */
static bool read_hit(struct json_reader *r, struct index_scan *s, struct page *p)
{
    int ids = 0;
    while (json_next(r) == JSON_KEY) {
        if (!json_is(r, "_id")) {
            if (!json_skip(r))
                return false;
            continue;
        }
        if (ids++ > 0 || json_next(r) != JSON_STRING)
            return false;
        p->zero_byte |= r->len > 0 && memchr(r->text, '\0', r->len);
        buf_add(&s->text, r->text, r->len);
        buf_addc(&s->text, '\0');
    }
    s->n++;
    return r->token == JSON_OBJECT_END && ids == 1;
}

static bool read_hit_list(struct json_reader *r, struct index_scan *s, struct page *p)
{
    if (json_next(r) != JSON_ARRAY)
        return false;
    while (json_next(r) == JSON_OBJECT)
        if (!read_hit(r, s, p))
            return false;
    return r->token == JSON_ARRAY_END;
}

/* {"total":{...},"hits":[...]}; filter_path leaves out an empty list. */
static bool read_hits(struct json_reader *r, struct index_scan *s, struct page *p)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        bool ok = json_is(r, "total")  ? p->totals++ == 0 && read_total(r, p)
                  : json_is(r, "hits") ? p->lists++ == 0 && read_hit_list(r, s, p)
                                       : json_skip(r);
        if (!ok)
            return false;
    }
    return r->token == JSON_OBJECT_END && p->totals == 1;
}

static bool read_id(struct json_reader *r, struct index_scan *s)
{
    if (json_next(r) != JSON_STRING || r->len == 0)
        return false;
    buf_clear(&s->id);
    return buf_add(&s->id, r->text, r->len);
}

static bool read_page_member(struct json_reader *r, struct index_scan *s, struct page *p)
{
    if (json_is(r, "_scroll_id"))
        return p->ids++ == 0 && read_id(r, s);
    if (json_is(r, "timed_out")) {
        p->timed_out = json_next(r) == JSON_TRUE;
        return p->times++ == 0 && (p->timed_out || r->token == JSON_FALSE);
    }
    if (json_is(r, "_shards"))
        return p->shard_lists++ == 0 && index_read_shards(r, &p->shards);
    if (json_is(r, "hits"))
        return p->hits++ == 0 && read_hits(r, s, p);
    return json_skip(r);
}

static bool read_page(struct index_scan *s, struct page *p)
{
    struct json_reader r;
    s->n = 0;
    buf_clear(&s->text);
    json_open_loose(&r, s->answer.body.data, s->answer.body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY)
        ok = read_page_member(&r, s, p);
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r) && p->ids == 1 && p->times == 1 &&
         p->shard_lists == 1 && p->hits == 1;
    json_close(&r);
    return ok;
}

/* Lists the page's keys, which lie in its text one after the other. */
static bool list_keys(struct index_scan *s, struct err *e)
{
    if (s->n > s->cap) {
        const char **keys = realloc(s->keys, s->n * sizeof *keys);
        if (!keys)
            return err_memory(e);
        s->keys = keys;
        s->cap = s->n;
    }
    const char *p = s->text.data;
    for (size_t i = 0; i < s->n; i++, p += strlen(p) + 1)
        s->keys[i] = p;
    return true;
}

/* Checks the scan against the server's count. A page can get lost without an error: when a
 * connection that was kept alive breaks before the answer's first byte, libcurl sends the request
 * again, and the server moves on to the next page. */
static bool add_up(struct index_scan *s, const struct page *p, struct err *e)
{
    if (!s->begun)
        s->total = p->total;
    s->seen += (int64_t)s->n;
    if (s->seen > s->total || (s->n == 0 && s->seen < s->total))
        return err_set(e, ERR_PASSING, "it had %" PRId64 " keys instead of %" PRId64, s->seen,
                       s->total);
    return true;
}

static bool take_page(struct index_scan *s, struct err *e)
{
    struct page p = {.shards = INDEX_NO_SHARDS};
    if (!es_check_documents(&s->answer, e))
        return false;
    if (!read_page(s, &p))
        return es_unfit(s->answer.body.data, s->answer.body.len, "not a page of keys", e);
    if (s->text.failed)
        return err_memory(e);
    if (p.timed_out)
        return err_set(e, ERR_PASSING, "the server ran out of time");
    if (p.zero_byte)
        return err_set(e, ERR_FINAL, "it has a key with a zero byte, which is not one of ours");
    return index_all_shards(&p.shards, e) && list_keys(s, e) && add_up(s, &p, e);
}

/* ---- the field ---- */

struct field { /* what the mapping says of it */
    const char *name;
    size_t nested;   /* length of the innermost part of the name that is a nested object; 0: none */
    bool is_text;    /* analysed: no key can be found in it */
    char exact[100]; /* a sub-field of it for whole values, or empty */
    char *asked;     /* owned: NAME.EXACT if that is to be searched; else NULL */
};

/* Reads {"keyword":{"type":"keyword","ignore_above":256},...}: keeps the first keyword. */
static bool read_subfields(struct json_reader *r, struct field *f)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        char name[sizeof f->exact] = "", type[40] = "";
        if (r->len < sizeof name)
            memcpy(name, r->text, r->len);
        if (json_next(r) != JSON_OBJECT)
            return false;
        while (json_next(r) == JSON_KEY)
            if (!(json_is(r, "type") ? json_next_beginning(r, type, sizeof type) : json_skip(r)))
                return false;
        if (r->token != JSON_OBJECT_END)
            return false;
        if (!f->exact[0] && strcmp(type, "keyword") == 0)
            memcpy(f->exact, name, sizeof name);
    }
    return r->token == JSON_OBJECT_END;
}

static bool read_properties(struct json_reader *r, struct field *f, const char *rest);

/* Reads one property; end: after its part of the field's name. The recursion is as deep as the name
 * has dots. */
static bool read_property(struct json_reader *r, struct field *f, const char *end)
{
    char type[40] = "";
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        bool ok = json_is(r, "type") ? json_next_beginning(r, type, sizeof type)
                  : json_is(r, "properties") && *end == '.' ? read_properties(r, f, end + 1)
                  : json_is(r, "fields") && *end == '\0'    ? read_subfields(r, f)
                                                            : json_skip(r);
        if (!ok)
            return false;
    }
    size_t len = (size_t)(end - f->name);
    if (strcmp(type, "nested") == 0 && len > f->nested)
        f->nested = len;
    if (*end == '\0')
        f->is_text = strcmp(type, "text") == 0 || strcmp(type, "match_only_text") == 0;
    return r->token == JSON_OBJECT_END;
}

/* Reads {"NAME":{...},...}: goes into the properties that rest begins with. */
static bool read_properties(struct json_reader *r, struct field *f, const char *rest)
{
    size_t left = strlen(rest);
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        size_t len = r->len;
        bool ours = len > 0 && len <= left && memcmp(r->text, rest, len) == 0 &&
                    (rest[len] == '.' || rest[len] == '\0');
        if (!(ours ? read_property(r, f, rest + len) : json_skip(r)))
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

/* {"properties":{...}} */
static bool read_index_mapping(struct json_reader *r, struct field *f)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY)
        if (!(json_is(r, "properties") ? read_properties(r, f, f->name) : json_skip(r)))
            return false;
    return r->token == JSON_OBJECT_END;
}

/* {"INDEX":{"mappings":{...}}} */
static bool read_mapping(const struct es_answer *a, struct field *f)
{
    struct json_reader r;
    json_open_loose(&r, a->body.data, a->body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        ok = json_next(&r) == JSON_OBJECT;
        while (ok && json_next(&r) == JSON_KEY)
            ok = json_is(&r, "mappings") ? read_index_mapping(&r, f) : json_skip(&r);
        ok = ok && r.token == JSON_OBJECT_END;
    }
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r);
    json_close(&r);
    return ok;
}

static bool no_name(struct field *f, struct err *e)
{
    f->asked = NULL; /* asprintf leaves it undefined */
    return err_memory(e);
}

/* The mapping must be read: "nested" with ignore_unmapped on a path that is a plain object is an
 * error (tested: Elasticsearch 7.10, OpenSearch 2.19), and "terms" on analysed text finds nothing.
 * A field that is not mapped finds nothing either, correctly: no document has it yet. */
static bool inspect_field(struct index_scan *s, struct field *f, struct err *e)
{
    if (!index_ask(s->es, &(struct index_request){"GET", s->index, "/_mapping", NULL}, &s->answer,
                   e) ||
        !es_check_documents(&s->answer, e))
        return false;
    if (!read_mapping(&s->answer, f))
        return es_unfit(s->answer.body.data, s->answer.body.len, "not its mapping", e);
    if (!f->is_text)
        return true;
    if (f->exact[0])
        return asprintf(&f->asked, "%s.%s", f->name, f->exact) >= 0 || no_name(f, e);
    err_set(e, ERR_FINAL, "cannot search for documents by '%s': it is mapped as analysed text",
            f->name);
    return err_hint(e, "map '%s' as \"keyword\", or give it a sub-field of that type", f->name);
}

/* ---- beginning ---- */

/* {"terms":{"FIELD":[VALUE,...]}} */
static bool add_terms(struct buf *b, const char *field, const char *const *values, size_t n)
{
    buf_adds(b, "{\"terms\":{");
    bool ok = json_add_string(b, field, strlen(field));
    buf_adds(b, ":[");
    for (size_t i = 0; i < n && ok; i++) {
        buf_adds(b, i > 0 ? "," : "");
        ok = json_add_string(b, values[i], strlen(values[i]));
    }
    buf_adds(b, "]}}");
    return ok;
}

/* Adds one clause even for no values: it finds nothing, while a "bool" without clauses finds
 * everything. */
static bool add_clauses(struct buf *b, const struct field *f, const char *const *values, size_t n)
{
    size_t done = 0;
    bool ok;
    do {
        size_t part = n - done < MAX_TERMS ? n - done : MAX_TERMS;
        buf_adds(b, done > 0 ? "," : "");
        ok = add_terms(b, f->asked ? f->asked : f->name, values + done, part);
        done += part;
    } while (ok && done < n);
    return ok;
}

static bool add_query(struct buf *b, const struct field *f, const char *const *values, size_t n)
{
    bool ok = true;
    buf_adds(b, ",\"query\":");
    if (f->nested > 0) {
        buf_adds(b, "{\"nested\":{\"path\":");
        ok = json_add_string(b, f->name, f->nested);
        buf_adds(b, ",\"ignore_unmapped\":true,\"score_mode\":\"none\",\"query\":");
    }
    buf_adds(b, "{\"bool\":{\"should\":[");
    ok = ok && add_clauses(b, f, values, n);
    buf_adds(b, "]}}");
    buf_adds(b, f->nested > 0 ? "}}" : "");
    return ok;
}

/* f NULL: all documents. */
static bool add_search(struct buf *b, const struct field *f, const char *const *values, size_t n,
                       struct err *e)
{
    buf_addf(b, "{\"size\":%d,\"sort\":[\"_doc\"],\"_source\":false,\"track_total_hits\":true",
             PAGE);
    if (f && !add_query(b, f, values, n))
        return err_set(e, ERR_FINAL, "cannot search for documents by '%s': a value is not UTF-8",
                       f->name);
    buf_adds(b, "}");
    if (b->failed && b->len > b->max / 4)
        return err_set(e, ERR_FINAL, "cannot search for documents by %zu values at once", n);
    return !b->failed || err_memory(e);
}

#define ROUTED                                                                                     \
    "{\"size\":%d,\"sort\":[\"_doc\"],\"_source\":false,\"track_total_hits\":true,"                \
    "\"query\":{\"exists\":{\"field\":\"_routing\"}}}"
#define RANDOM                                                                                     \
    "{\"size\":%d,\"_source\":false,\"track_total_hits\":true,"                                    \
    "\"query\":{\"function_score\":{\"random_score\":{}}}}"
#define PARTS "filter_path=_scroll_id,timed_out,_shards,hits.total,hits.hits._id"

/* A scan sees what was searchable when it began, so everything written is made searchable first.
 * Without the privilege, the server's own refreshes have to do (every second, unless set
 * otherwise). */
static bool make_searchable(struct index_scan *s, struct err *e)
{
    return index_refresh(s->es, s->index, e) || e->kind == ERR_FINAL;
}

static bool begin(struct index_scan *s, const struct field *f, const char *const *values, size_t n,
                  struct err *e)
{
    struct buf body;
    buf_init(&body, MAX_REQUEST);
    if (s->fixed)
        buf_addf(&body, s->fixed, PAGE);
    bool ok = (s->fixed || add_search(&body, f, values, n, e)) &&
              index_ask(s->es,
                        &(struct index_request){"POST", s->index,
                                                "/_search?scroll=" KEEP
                                                "&allow_partial_search_results=false&" PARTS,
                                                &body},
                        &s->answer, e);
    buf_free(&body);
    return ok && take_page(s, e);
}

static bool open_scan(struct index_scan *s, const char *field, const char *const *values, size_t n,
                      struct err *e)
{
    struct field f = {.name = field};
    bool ok = make_searchable(s, e) && (!field || inspect_field(s, &f, e)) &&
              begin(s, field ? &f : NULL, values, n, e);
    free(f.asked);
    return ok || err_wrap(e, "scan of index '%s'", s->index);
}

static struct index_scan *new_scan(struct es *es, const char *index, struct err *e)
{
    struct index_scan *s = calloc(1, sizeof *s);
    char *name = strdup(index);
    if (!s || !name) {
        free(s);
        free(name);
        err_memory(e);
        return NULL;
    }
    s->es = es;
    s->index = name;
    buf_init(&s->id, MAX_SCROLL_ID);
    buf_init(&s->text, MAX_PAGE);
    return s;
}

struct index_scan *index_scan_open(struct es *es, const char *index, const char *field,
                                   const char *const *values, size_t n, struct err *e)
{
    struct index_scan *s = new_scan(es, index, e);
    if (s && open_scan(s, field, values, n, e))
        return s;
    index_scan_close(s);
    return NULL;
}

static struct index_scan *open_fixed(struct es *es, const char *index, const char *body,
                                     struct err *e)
{
    struct index_scan *s = new_scan(es, index, e);
    if (s)
        s->fixed = body;
    if (s && open_scan(s, NULL, NULL, 0, e))
        return s;
    index_scan_close(s);
    return NULL;
}

struct index_scan *index_scan_open_random(struct es *es, const char *index, struct err *e)
{
    return open_fixed(es, index, RANDOM, e);
}

struct index_scan *index_scan_open_routed(struct es *es, const char *index, struct err *e)
{
    return open_fixed(es, index, ROUTED, e);
}

int64_t index_scan_total(const struct index_scan *s)
{
    return s->total;
}

/* ---- the next pages ---- */

/* Sends {"scroll":"5m","scroll_id":"..."}; keep false: without the first member. */
static bool ask_scroll(struct index_scan *s, const char *method, const char *path, bool keep,
                       struct err *e)
{
    struct buf body;
    buf_init(&body, MAX_REQUEST);
    buf_adds(&body, keep ? "{\"scroll\":\"" KEEP "\",\"scroll_id\":" : "{\"scroll_id\":");
    json_add_string(&body, s->id.data, s->id.len); /* valid UTF-8: the reader has checked it */
    buf_adds(&body, "}");
    bool ok = !body.failed || err_memory(e);
    ok = ok && es_request(s->es,
                          &(struct es_call){
                              .method = method, .path = path, .body = body.data, .len = body.len},
                          &s->answer, e);
    buf_free(&body);
    return ok;
}

static bool next_page(struct index_scan *s, struct err *e)
{
    if (!ask_scroll(s, "POST", "/_search/scroll?" PARTS, true, e)) {
        s->silent = true;
        return false;
    }
    if (s->answer.status == 404)
        return err_set(e, ERR_PASSING, "the server no longer has it");
    return take_page(s, e);
}

bool index_scan_next(struct index_scan *s, const char *const **keys, size_t *n, struct err *e)
{
    bool ok = true;
    *n = 0;
    if (s->broken)
        return err_set(e, ERR_PASSING, "scan of index '%s': it failed earlier", s->index);
    if (s->begun && s->seen < s->total)
        ok = next_page(s, e);
    else if (s->begun)
        s->n = 0;
    s->begun = true;
    s->broken = !ok;
    if (!ok)
        return err_wrap(e, "scan of index '%s'", s->index);
    *keys = s->keys;
    *n = s->n;
    return true;
}

void index_scan_close(struct index_scan *s)
{
    struct err ignored; /* the server drops it by itself, later */
    if (!s)
        return;
    if (s->id.len > 0 && !s->silent)
        ask_scroll(s, "DELETE", "/_search/scroll", false, &ignored);
    es_answer_free(&s->answer);
    buf_free(&s->id);
    buf_free(&s->text);
    free(s->keys);
    free(s->index);
    free(s);
}
