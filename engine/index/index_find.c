#include "index/index.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "es/es.h"
#include "index/index_request.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_KEYS = 1000,        /* in one request */
    MAX_HITS = 10000,       /* of one answer: the servers' default limit */
    MAX_REQUEST = 64 << 20, /* bytes */
    MAX_NAME = 1024,        /* bytes of a key, an index or a routing of ours */
};

struct finding { /* one request and its answer */
    const struct index_search *asked;
    const char *const *keys; /* this request's part of the keys */
    size_t n;
    struct es_answer answer;
    bool apply; /* false: only checks that the answer is sound */
    struct err *e;
    /* found: */
    struct index_shards shards;
    int64_t total, hits;
    bool timed_out;
    int parts; /* how many of timed_out, _shards and total the answer has */
    bool refused;
};

static bool read_total(struct json_reader *r, struct finding *f)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY)
        if (json_is(r, "value")) {
            f->parts++;
            if (json_next(r) != JSON_NUMBER || !json_int(r, &f->total))
                return false;
        } else if (!json_skip(r)) {
            return false;
        }
    return r->token == JSON_OBJECT_END;
}

static bool read_name(struct json_reader *r, char *out, size_t size)
{
    return json_next_text(r, out, size) && !memchr(r->text, '\0', r->len);
}

/* Reads the rest of {"_index":...,"_id":...,"_version":...,"_routing":...}. */
static bool read_hit(struct json_reader *r, struct finding *f)
{
    char key[MAX_NAME], index[MAX_NAME], routing[MAX_NAME];
    struct index_copy c = {.version = -1};
    while (json_next(r) == JSON_KEY) {
        bool ok = json_is(r, "_id")      ? read_name(r, key, sizeof key) && (c.key = key)
                  : json_is(r, "_index") ? read_name(r, index, sizeof index) && (c.index = index)
                  : json_is(r, "_routing")
                      ? read_name(r, routing, sizeof routing) && (c.routing = routing)
                  : json_is(r, "_version") ? json_next(r) == JSON_NUMBER && json_int(r, &c.version)
                                           : json_skip(r);
        if (!ok)
            return false;
    }
    f->hits++;
    if (r->token != JSON_OBJECT_END || !c.key || !c.index || c.version < 0)
        return false;
    if (f->apply && !f->asked->visit(&c, f->asked->arg, f->e)) {
        f->refused = true;
        return false;
    }
    return true;
}

static bool read_hits(struct json_reader *r, struct finding *f)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        bool ok = true;
        if (json_is(r, "total")) {
            ok = read_total(r, f);
        } else if (json_is(r, "hits")) {
            ok = json_next(r) == JSON_ARRAY;
            while (ok && json_next(r) == JSON_OBJECT)
                ok = read_hit(r, f);
            ok = ok && r->token == JSON_ARRAY_END;
        } else {
            ok = json_skip(r);
        }
        if (!ok)
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

static bool read_member(struct json_reader *r, struct finding *f)
{
    if (json_is(r, "hits"))
        return read_hits(r, f);
    if (json_is(r, "_shards")) {
        f->parts++;
        return index_read_shards(r, &f->shards);
    }
    if (json_is(r, "timed_out")) {
        f->parts++;
        f->timed_out = json_next(r) == JSON_TRUE;
        return f->timed_out || r->token == JSON_FALSE;
    }
    return json_skip(r);
}

static bool read_answer(struct finding *f)
{
    struct json_reader r;
    f->parts = 0;
    f->hits = 0;
    json_open_loose(&r, f->answer.body.data, f->answer.body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY)
        ok = read_member(&r, f);
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r) && f->parts == 3;
    json_close(&r);
    return ok;
}

static bool judge(struct finding *f, struct err *e)
{
    f->shards = (struct index_shards)INDEX_NO_SHARDS;
    if (!es_check_documents(&f->answer, e))
        return false;
    if (!read_answer(f))
        return es_unfit(f->answer.body.data, f->answer.body.len, "not a page of documents", e);
    if (f->timed_out)
        return err_set(e, ERR_PASSING, "the server ran out of time");
    if (!index_all_shards(&f->shards, e))
        return false;
    if (f->hits > f->total || (f->hits < f->total && f->total <= MAX_HITS))
        return err_set(e, ERR_PASSING, "it found %" PRId64 " documents but returned %" PRId64,
                       f->total, f->hits);
    return f->total <= MAX_HITS ||
           err_set(e, ERR_FINAL, "document '%.100s' exists %" PRId64 " times", f->keys[0],
                   f->total);
}

static bool ask(struct finding *f, struct es *es, const char *indices, struct err *e)
{
    struct buf body;
    bool ok = true;
    buf_init(&body, MAX_REQUEST);
    buf_addf(&body,
             "{\"size\":%d,\"version\":true,\"_source\":false,\"track_total_hits\":true,\"sort\":["
             "\"_doc\"],"
             "\"query\":{\"ids\":{\"values\":[",
             MAX_HITS);
    for (size_t i = 0; ok && i < f->n; i++) {
        buf_adds(&body, i > 0 ? "," : "");
        ok = json_add_string(&body, f->keys[i], strlen(f->keys[i]));
    }
    buf_adds(&body, "]}}}");
    if (!ok)
        err_set(e, ERR_FINAL, "cannot search for a document whose key is not UTF-8");
    else if (body.failed)
        ok = err_memory(e);
    ok = ok && index_ask(es,
                         &(struct index_request){
                             "POST", indices,
                             "/_search?allow_partial_search_results=false&filter_path=timed_out,_"
                             "shards,hits.total,"
                             "hits.hits._index,hits.hits._id,hits.hits._routing,hits.hits._version",
                             &body},
                         &f->answer, e);
    buf_free(&body);
    return ok;
}

/* *smaller: there are more documents than one answer can hold; with fewer keys it may succeed. */
static bool find_part(struct finding *f, struct es *es, const char *indices, bool *smaller,
                      struct err *e)
{
    f->total = 0;
    bool ok = ask(f, es, indices, e) && judge(f, e);
    *smaller = !ok && f->n > 1 && f->total > MAX_HITS && e->kind == ERR_FINAL;
    if (!ok)
        return err_wrap(e, "search in '%s'", indices);
    f->apply = true;
    return read_answer(f) || (f->refused ? false : err_memory(e));
}

struct search {
    struct es *es;
    const char *indices;
    const struct index_search *asked;
};

static bool search_part(void *arg, size_t from, size_t n, bool *smaller, struct err *e)
{
    const struct search *s = arg;
    struct finding f = {.asked = s->asked, .keys = s->asked->keys + from, .n = n, .e = e};
    bool ok = find_part(&f, s->es, s->indices, smaller, e);
    es_answer_free(&f.answer);
    return ok;
}

bool index_find(struct es *es, const char *indices, const struct index_search *search,
                struct err *e)
{
    struct search s = {es, indices, search};
    return search->n == 0 || (index_refresh(es, indices, e) &&
                              index_in_parts(search->n, MAX_KEYS, search_part, &s, e));
}
