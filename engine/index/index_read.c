#include "index/index.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "es/es.h"
#include "es/es_security.h"
#include "index/index_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_KEYS = 500, /* in one request: usual documents have some megabytes together */
    /* bytes, for several documents; one document may be as large as any answer */
    MAX_ANSWER = 16 << 20,
    MAX_ROUTING = 1024,     /* bytes with the final zero; of a longer one, the beginning */
    MAX_REQUEST = 64 << 20, /* bytes: a key has at most 512, or 3 KB if all of it is escaped */
};

/* ---- counting ---- */

/* {"count":N,"_shards":{...}} */
static bool read_count(const struct es_answer *a, int64_t *count, struct index_shards *s)
{
    struct json_reader r;
    int counts = 0, shards = 0;
    json_open_loose(&r, a->body.data, a->body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        if (json_is(&r, "count"))
            ok =
                counts++ == 0 && json_next(&r) == JSON_NUMBER && json_int(&r, count) && *count >= 0;
        else if (json_is(&r, "_shards"))
            ok = shards++ == 0 && index_read_shards(&r, s);
        else
            ok = json_skip(&r);
    }
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r) && counts == 1 && shards == 1;
    json_close(&r);
    return ok;
}

static bool judge_count(const struct es_answer *a, int64_t *count, struct err *e)
{
    struct index_shards s = INDEX_NO_SHARDS;
    int64_t found = 0;
    if (!es_check_documents(a, e))
        return false;
    if (!read_count(a, &found, &s))
        return es_unfit(a->body.data, a->body.len, "not a count", e);
    if (!index_all_shards(&s, e))
        return false;
    *count = found;
    return true;
}

bool index_count(struct es *es, const char *index, int64_t *count, struct err *e)
{
    struct es_answer a = {0};
    bool ok =
        index_ask(es,
                  &(struct index_request){"POST", index, "/_count?filter_path=count,_shards", NULL},
                  &a, e) &&
        judge_count(&a, count, e);
    es_answer_free(&a);
    return ok || err_wrap(e, "count of index '%s'", index);
}

/* ---- documents by key ---- */

struct lookup {
    struct es *es;
    const char *index;
    const struct index_lookup *asked;
};

struct fetch { /* one request and its answer */
    const struct index_lookup *asked;
    const char *const *keys;              /* this request's part of the keys */
    const struct doc_location *locations; /* likewise, or NULL */
    size_t n;
    struct es_answer answer;
    bool apply; /* false: only checks that the answer fits the request */
    struct err *e;
    /* found by the first pass: */
    enum err_kind trouble; /* the most severe error of any document; ERR_NONE: none */
    const char *key;       /* of that document */
    const char *index;     /* that its location names; or NULL */
    bool forbidden;
    char reason[300];
    const char *hint;    /* static, or NULL */
    const char *reached; /* the last document that was begun, for a damaged answer */
    /* found by the second pass: */
    bool refused;              /* by visit */
    char routing[MAX_ROUTING]; /* of the document that is being read */
};

struct member_count {
    int ids, founds, versions, sources, errors;
};

static bool read_routing(struct json_reader *r, struct fetch *f, struct index_document *d)
{
    if (json_next(r) != JSON_STRING)
        return false;
    snprintf(f->routing, sizeof f->routing, "%.*s", (int)r->len, r->text);
    d->routing = f->routing;
    return true;
}

static bool read_source(struct json_reader *r, const struct fetch *f, struct index_document *d)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    size_t from = r->at;
    if (!json_leave(r))
        return false;
    d->source = f->answer.body.data + from;
    d->source_len = json_offset(r) - from;
    return true;
}

/* Reads the value of a member whose name was the last token. */
static bool read_member(struct json_reader *r, struct fetch *f, struct index_document *d,
                        struct member_count *c, struct es_error *error)
{
    if (json_is(r, "_id")) {
        c->ids++;
        return json_next(r) == JSON_STRING && r->len == strlen(d->key) &&
               memcmp(r->text, d->key, r->len) == 0;
    }
    if (json_is(r, "found")) {
        c->founds++;
        d->found = json_next(r) == JSON_TRUE;
        return d->found || r->token == JSON_FALSE;
    }
    if (json_is(r, "_version")) {
        c->versions++;
        return json_next(r) == JSON_NUMBER && json_int(r, &d->version);
    }
    if (json_is(r, "_source") && f->asked->with_source) {
        c->sources++;
        return read_source(r, f, d);
    }
    if (json_is(r, "_routing") && f->asked->with_source)
        return read_routing(r, f, d);
    if (json_is(r, "error")) {
        c->errors++;
        return es_read_error(r, error);
    }
    return json_skip(r);
}

/* Somebody has closed the index for a while, or blocked it. */
static bool is_shut(const struct es_error *error)
{
    return es_judge(ES_ITEM, 403, error)->verdict == ES_AGAIN;
}

/* A document's error has no status. These errors would come again with the same request; any other
 * is one shard's, which may have moved or recovered by then. */
static enum err_kind judge_error(const struct es_error *error)
{
    static const char *const final[] = {"index_not_found_exception", "illegal_argument_exception",
                                        "routing_missing_exception", "security_exception"};
    for (size_t i = 0; i < sizeof final / sizeof *final; i++)
        if (strcmp(error->type, final[i]) == 0)
            return ERR_FINAL;
    bool forbidden =
        strcmp(error->type, "cluster_block_exception") == 0 && strstr(error->reason, "[FORBIDDEN/");
    return forbidden && !is_shut(error) ? ERR_FINAL : ERR_PASSING;
}

static const char *chosen_index(const struct fetch *f, size_t i)
{
    return f->locations ? f->locations[i].index : NULL;
}

static bool has_no_index(const struct fetch *f, size_t i, const struct es_error *error)
{
    return chosen_index(f, i) && strcmp(error->type, "index_not_found_exception") == 0;
}

/* Of the i-th document. */
static void keep_trouble(struct fetch *f, size_t i, const struct es_error *error)
{
    /* the caller has looked for it, or created it: somebody has just deleted it */
    enum err_kind kind = has_no_index(f, i, error) ? ERR_PASSING : judge_error(error);
    if (f->trouble == ERR_FINAL || f->trouble == kind)
        return;
    f->trouble = kind;
    f->key = f->keys[i];
    f->index = chosen_index(f, i);
    f->forbidden = strcmp(error->type, "security_exception") == 0;
    f->hint = is_shut(error) ? es_judge(ES_ITEM, 403, error)->hint : NULL;
    es_error_text(error, f->reason, sizeof f->reason);
}

/* Reads the rest of the i-th document's object, whose brace was the last token. False: damaged, or
 * another document's. */
static bool read_document(struct json_reader *r, struct fetch *f, size_t i,
                          struct index_document *d)
{
    struct member_count c = {0};
    struct es_error error;
    while (json_next(r) == JSON_KEY)
        if (!read_member(r, f, d, &c, &error))
            return false;
    if (r->token != JSON_OBJECT_END || c.ids != 1 || c.founds + c.errors != 1 || c.versions > 1 ||
        c.sources > 1)
        return false;
    /* no document can have the empty key: servers report it as an error */
    if (c.errors > 0 && d->key[0] && !(f->asked->may_be_absent && has_no_index(f, i, &error))) {
        keep_trouble(f, i, &error);
        return true;
    }
    if (!d->found) {
        *d = (struct index_document){.key = d->key};
        return true;
    }
    return c.versions == 1;
}

static bool read_documents(struct json_reader *r, struct fetch *f)
{
    size_t i = 0;
    if (json_next(r) != JSON_ARRAY)
        return false;
    for (; json_next(r) == JSON_OBJECT; i++) {
        if (i == f->n)
            return false;
        struct index_document d = {.key = f->reached = f->keys[i]};
        if (!read_document(r, f, i, &d))
            return false;
        if (f->apply && !f->asked->visit(&d, f->asked->arg, f->e)) {
            f->refused = true;
            return false;
        }
    }
    return r->token == JSON_ARRAY_END && i == f->n;
}

/* Reads {"docs":[...]}. False: it is damaged, or not the answer to these keys, or visit refused. */
static bool read_answer(struct fetch *f)
{
    struct json_reader r;
    int docs = 0;
    json_open_loose(&r, f->answer.body.data, f->answer.body.len);
    bool ok = json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY)
        ok = json_is(&r, "docs") ? docs++ == 0 && read_documents(&r, f) : json_skip(&r);
    ok = ok && r.token == JSON_OBJECT_END && json_end(&r) && docs == 1;
    json_close(&r);
    return ok;
}

static bool report_trouble(const struct fetch *f, struct err *e)
{
    bool elsewhere = f->index && *f->index;
    err_set(e, f->trouble, "%s document '%.100s'%s%s%s: %s",
            f->trouble == ERR_FINAL ? "cannot read" : "could not read", f->key,
            elsewhere ? " of index '" : "", elsewhere ? f->index : "", elsewhere ? "'" : "",
            f->reason);
    if (f->forbidden)
        return err_hint(e, "it requires the privilege %s", es_security_privilege("POST", "/_mget"));
    return f->hint ? err_hint(e, "%s", f->hint) : false;
}

/* The first pass. */
static bool judge(struct fetch *f, struct err *e)
{
    if (!es_check_documents(&f->answer, e))
        return false;
    f->apply = false;
    if (!read_answer(f)) {
        char why[200] = "not the documents asked for";
        if (f->reached)
            snprintf(why, sizeof why, "not the documents asked for, from '%.100s' on", f->reached);
        return es_unfit(f->answer.body.data, f->answer.body.len, why, e);
    }
    if (f->trouble == ERR_NONE)
        return true;
    return report_trouble(f, e);
}

static bool add_text(struct buf *b, const char *before, const char *text)
{
    buf_adds(b, before);
    return json_add_string(b, text, strlen(text));
}

/* {"_id":...,"_index":...,"routing":...} */
static bool add_doc(struct buf *b, const char *key, const struct doc_location *at)
{
    bool ok = add_text(b, "{\"_id\":", key) &&
              (!at->index || add_text(b, ",\"_index\":", at->index)) &&
              (!at->routing || add_text(b, ",\"routing\":", at->routing));
    buf_adds(b, "}");
    return ok;
}

/* {"ids":[...]}, or {"docs":[...]} */
static bool add_ids(struct buf *b, const struct fetch *f, struct err *e)
{
    buf_adds(b, f->locations ? "{\"docs\":[" : "{\"ids\":[");
    for (size_t i = 0; i < f->n; i++) {
        buf_adds(b, i > 0 ? "," : "");
        if (!(f->locations ? add_doc(b, f->keys[i], &f->locations[i])
                           : add_text(b, "", f->keys[i])))
            return err_set(e, ERR_FINAL, "cannot read a document whose key is not UTF-8");
    }
    buf_adds(b, "]}");
    return !b->failed || err_memory(e);
}

/* With any filter_path, the server rewrites the source: 1.10 becomes 1.1, and long decimals lose
 * digits (tested: Elasticsearch 7.10, OpenSearch 2.19). So an answer with sources is requested
 * without one. */
static bool ask_for(struct fetch *f, struct es *es, const char *index, struct err *e)
{
    struct buf body;
    buf_init(&body, MAX_REQUEST);
    const char *rest =
        f->asked->with_source
            ? "/_mget?_source=true"
            : "/_mget?_source=false&filter_path=docs._id,docs.found,docs._version,docs.error";
    bool ok = add_ids(&body, f, e) &&
              index_ask(es, &(struct index_request){"POST", index, rest, &body}, &f->answer, e);
    buf_free(&body);
    return ok;
}

/* *smaller: with fewer keys it may succeed. No answer says so directly (an answer above our limit
 * is one final error among others); a request that fails for another reason fails with one key,
 * too. */
static bool fetch(struct fetch *f, struct es *es, const char *index, bool *smaller, struct err *e)
{
    if (f->n > 1)
        buf_init(&f->answer.body, MAX_ANSWER);
    if (!ask_for(f, es, index, e)) {
        *smaller = f->n > 1 && e->kind == ERR_FINAL;
        return err_wrap(e, "documents of index '%s'", index);
    }
    *smaller = f->n > 1 && f->answer.status == 413;
    if (!judge(f, e))
        return err_wrap(e, "documents of index '%s'", index);
    f->apply = true;
    return read_answer(f) || (f->refused ? false : err_memory(e));
}

static bool get_part(void *arg, size_t from, size_t n, bool *smaller, struct err *e)
{
    const struct lookup *l = arg;
    const struct doc_location *locations = l->asked->locations;
    struct fetch f = {.asked = l->asked,
                      .keys = l->asked->keys + from,
                      .locations = locations ? locations + from : NULL,
                      .n = n,
                      .e = e};
    bool ok = fetch(&f, l->es, l->index, smaller, e);
    es_answer_free(&f.answer);
    return ok;
}

bool index_get_documents(struct es *es, const char *index, const struct index_lookup *lookup,
                         struct err *e)
{
    struct lookup l = {es, index, lookup};
    return index_in_parts(lookup->n, MAX_KEYS, get_part, &l, e);
}
