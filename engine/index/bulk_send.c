#include "index/bulk_internal.h"

#include "base/err.h"
#include "base/keyset.h"
#include "es/es.h"
#include "index/index.h"
#include "model/counts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { KNOWN_MAX = 1 << 20 }; /* bytes of names */

struct sending {
    struct es *es;
    const char *path;
    struct es_answer answer;
    struct bulk_judging judging;
};

/* Counts the items from the first on that make up a request: at least one. */
static size_t count_fitting(const struct bulk *b, size_t first, size_t n)
{
    const struct bulk_item *from = &b->items[first];
    size_t fit = 1, len = from->len;
    while (fit < n && (b->request_bytes == 0 || len < b->request_bytes) &&
           (b->most == 0 || from[fit].len + len <= b->most))
        len += from[fit++].len;
    return fit;
}

static bool send_part(struct sending *s, size_t first, size_t n, struct err *e);

static bool send_parts(struct sending *s, size_t first, size_t n, struct err *e)
{
    while (n > 0) {
        size_t fit = count_fitting(s->judging.b, first, n);
        if (!send_part(s, first, fit, e))
            return false;
        first += fit;
        n -= fit;
    }
    return true;
}

/* The server found a request of len bytes too large: from now on, requests have half the size, down
 * to one item. Each item gets the server's own answer, since a compressed one may be accepted where
 * several were not. */
static bool split(struct sending *s, size_t first, size_t n, size_t len, struct err *e)
{
    struct bulk *b = s->judging.b;
    b->most = b->most == 0 || len / 2 < b->most ? len / 2 : b->most;
    if (n > 1)
        return send_parts(s, first, n, e);
    bulk_reject(&s->judging, &b->items[first], 413,
                "larger than the server accepts in one request (413)");
    return true;
}

static bool know(struct bulk *b, const char *index, struct err *e)
{
    b->known = b->known ? b->known : keyset_new(KNOWN_MAX);
    return (b->known && keyset_put(b->known, index, NULL, 0)) || err_memory(e);
}

static bool is_known(const struct bulk *b, const char *index)
{
    return b->known && keyset_has(b->known, index);
}

/* A document is in an index of another name than the request's: is that name an alias of it? An
 * alias may have got another index just now, so the request is sent once more: then its documents
 * are in that one, or in conflict with themselves where they were. Where the server does not tell,
 * the next request asks again. */
static bool check_moved(struct sending *s, struct err *e)
{
    struct bulk_judging *j = &s->judging;
    struct index_info info;
    struct err ignored;
    const char *asked = bulk_item_index(j, j->moved);
    if (!index_get_info(s->es, asked, &info, &ignored) || !info.exists) {
        j->moved = NULL;
        return true;
    }
    if (strcmp(info.name, j->elsewhere) == 0)
        return know(j->b, j->elsewhere, e);
    if (strcmp(info.name, asked) != 0 && !is_known(j->b, info.name)) /* asked is its alias */
        return know(j->b, info.name, e);
    if (strcmp(info.name, asked) != 0 && !j->b->strayed) {
        j->b->strayed = true;
        return err_set(e, ERR_PASSING, "document '%.150s' went into index '%s' instead of '%s'",
                       bulk_item_key(j->b, j->moved), j->elsewhere, info.name);
    }
    char what[INDEX_NAME + 60];
    snprintf(what, sizeof what, "an ingest pipeline has put it into index '%s'", j->elsewhere);
    return bulk_refuse_change(j, j->moved, what, e);
}

static bool judge_part(struct sending *s, struct err *e)
{
    struct bulk_judging *j = &s->judging;
    const struct buf *answer = &s->answer.body;
    bool ok = bulk_check_part(j, answer->data, answer->len, e);
    while (ok && j->moved) {
        ok = check_moved(s, e);
        if (ok && j->moved)
            ok = bulk_check_part(j, answer->data, answer->len, e);
    }
    if (!ok)
        return false;
    j->b->strayed = false;
    return bulk_settle_part(j, answer->data, answer->len, e);
}

static bool send_part(struct sending *s, size_t first, size_t n, struct err *e)
{
    struct bulk_judging *j = &s->judging;
    const struct bulk_item *from = &j->b->items[first], *last = from + n - 1;
    size_t len = last->at + last->len - from->at;
    if (!es_request(s->es,
                    &(struct es_call){.method = "POST",
                                      .path = s->path,
                                      .body = j->b->body.data + from->at,
                                      .len = len,
                                      .type = "application/x-ndjson"},
                    &s->answer, e))
        return false;
    j->sink->counts->requests++;
    j->sink->counts->bytes += len;
    if (s->answer.status == 413)
        return split(s, first, n, len, e);
    if (!es_check_documents(&s->answer, e))
        return false;
    j->first = first;
    j->n = n;
    bool ok = judge_part(s, e);
    if (!ok && e->kind == ERR_PASSING)
        e->retry_after_ms = s->answer.retry_after_ms;
    return ok;
}

static void reject_long_keys(struct bulk_judging *j)
{
    for (size_t i = 0; i < j->b->n; i++)
        if (j->b->items[i].key_len > BULK_KEY)
            bulk_reject(j, &j->b->items[i], 400,
                        "its key is longer than 512 bytes, the search server's limit");
    bulk_compact(j->b);
}

static bool send_all(struct sending *s, const char *index, struct err *e)
{
    struct bulk *b = s->judging.b;
    struct buf path;
    buf_init(&path, 1 << 16);
    buf_adds(&path, "/");
    es_add_escaped(&path, index);
    buf_adds(&path, "/_bulk?filter_path=took,errors,items.*._id,items.*.status,items.*.error,"
                    "items.*._index,items.*._version,items.*.result");
    if (s->judging.sink->is_alias)
        buf_adds(&path, "&require_alias=true");
    s->path = buf_cstr(&path);
    s->judging.index = index;
    bool ok = s->path ? send_parts(s, 0, b->n, e) : err_memory(e);
    buf_free(&path);
    bulk_compact(b);
    return ok || err_wrap(e, "bulk request to index '%s'", index);
}

bool bulk_send(struct bulk *b, struct es *es, const char *index, const struct bulk_sink *sink,
               struct err *e)
{
    struct sending s = {.es = es, .judging = {.b = b, .sink = sink}};
    assert(!b->is_open);
    b->foreign = 0;
    if (b->n == 0)
        return true;
    reject_long_keys(&s.judging);
    bool ok = b->n == 0 || send_all(&s, index, e);
    es_answer_free(&s.answer);
    assert(!ok || b->n == 0);
    if (!ok && e->kind == ERR_PASSING)
        sink->counts->retried_items += b->n;
    return ok;
}
