#include "index/index_request.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "es/es.h"

#include <assert.h>
#include <inttypes.h>

bool index_ask(struct es *es, const struct index_request *r, struct es_answer *a, struct err *e)
{
    struct buf path;
    buf_init(&path, 1 << 16);
    buf_adds(&path, "/");
    es_add_escaped(&path, r->index);
    buf_adds(&path, r->rest);
    const char *text = buf_cstr(&path);
    bool ok = text ? es_request(es,
                                &(struct es_call){.method = r->method,
                                                  .path = text,
                                                  .body = r->body ? r->body->data : NULL,
                                                  .len = r->body ? r->body->len : 0},
                                a, e)
                   : err_memory(e);
    buf_free(&path);
    return ok;
}

bool index_unacknowledged(const struct es_answer *a)
{
    struct json_reader r;
    bool found = false, ok = a->body.len > 0;
    json_open_loose(&r, a->body.data, a->body.len);
    ok = ok && json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        if (json_is(&r, "acknowledged"))
            found = json_next(&r) == JSON_FALSE;
        else
            ok = json_skip(&r);
    }
    json_close(&r);
    return found;
}

bool index_in_parts(size_t n, size_t most, index_part *part, void *arg, struct err *e)
{
    assert(most > 0);
    for (size_t from = 0; from < n;) {
        size_t next = n - from < most ? n - from : most;
        bool smaller = false;
        if (part(arg, from, next, &smaller, e))
            from += next;
        else if (smaller && next > 1)
            most = next / 2;
        else
            return false;
    }
    return true;
}

/* ---- shards ---- */

/* [{"shard":0,"reason":{...}},...]: keeps the first one's reason. */
static bool read_failures(struct json_reader *r, struct index_shards *s)
{
    if (json_next(r) != JSON_ARRAY)
        return false;
    while (json_next(r) == JSON_OBJECT) {
        while (json_next(r) == JSON_KEY) {
            struct es_error error;
            bool wanted = json_is(r, "reason") && !s->reason[0];
            if (!(wanted ? es_read_error(r, &error) : json_skip(r)))
                return false;
            if (wanted)
                es_error_text(&error, s->reason, sizeof s->reason);
        }
        if (r->token != JSON_OBJECT_END)
            return false;
    }
    return r->token == JSON_ARRAY_END;
}

bool index_read_shards(struct json_reader *r, struct index_shards *s)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        int64_t *count = json_is(r, "total")        ? &s->total
                         : json_is(r, "successful") ? &s->successful
                         : json_is(r, "failed")     ? &s->failed
                                                    : NULL;
        bool ok = count                    ? json_next(r) == JSON_NUMBER && json_int(r, count)
                  : json_is(r, "failures") ? read_failures(r, s)
                                           : json_skip(r);
        if (!ok)
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

bool index_all_shards(const struct index_shards *s, struct err *e)
{
    if (s->failed == 0 && s->successful == s->total)
        return true;
    return err_set(e, ERR_PASSING, "%" PRId64 " of %" PRId64 " shards did not answer%s%s",
                   s->total - s->successful, s->total, s->reason[0] ? ": " : "", s->reason);
}
