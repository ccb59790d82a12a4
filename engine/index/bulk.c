#include "index/bulk_internal.h"

#include "base/err.h"
#include "base/grow.h"
#include "base/json.h"
#include "base/keyset.h"
#include "es/es.h"
#include "index/doc_location.h"
#include "index/index.h"
#include "model/counts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a key: every server's limit. One longer key makes them refuse the whole request with a
 * 400 (tested: Elasticsearch 7.10, OpenSearch 2.19 and 3.8). */
enum { MAX_KEY = 512 };
enum { MAX_NAMES = 8192 }; /* bytes of index, routing and pipeline, escaped */
enum { REASON = 300 };
enum { KNOWN_MAX = 1 << 20 }; /* bytes of names */

/* ---- building ---- */

struct bulk *bulk_new(size_t max_bytes, struct err *e)
{
    struct bulk *b = calloc(1, sizeof *b);
    if (!b) {
        err_memory(e);
        return NULL;
    }
    buf_init(&b->body, max_bytes);
    buf_init(&b->names, max_bytes);
    return b;
}

void bulk_free(struct bulk *b)
{
    if (!b)
        return;
    buf_free(&b->body);
    buf_free(&b->names);
    free(b->items);
    keyset_free(b->known);
    free(b);
}

void bulk_clear(struct bulk *b)
{
    buf_clear(&b->body);
    buf_clear(&b->names);
    b->n = 0;
    b->is_open = false;
}

/* Adds a text with its zero byte. */
static size_t add_text(struct bulk *b, const char *text, size_t len)
{
    size_t at = b->names.len;
    buf_add(&b->names, text, len + 1);
    return at;
}

static void begin(struct bulk *b, const char *key, int64_t version, bool is_delete)
{
    size_t len = strlen(key);
    assert(!b->is_open);
    b->is_open = true;
    b->open = (struct bulk_item){
        .at = b->body.len, .key_len = len, .version = version, .is_delete = is_delete};
    b->open.key_at = add_text(b, key, len);
    buf_adds(&b->body, is_delete ? "{\"delete\":{\"_id\":" : "{\"index\":{\"_id\":");
    b->bad = json_add_string(&b->body, key, len) ? NULL : "key";
    buf_adds(&b->body, ",\"version\":");
    json_add_int(&b->body, version);
    buf_adds(&b->body, ",\"version_type\":\"external_gte\"");
    b->action_end = b->body.len;
    buf_adds(&b->body, "}}\n");
}

void bulk_begin(struct bulk *b, const char *key, int64_t version)
{
    begin(b, key, version, false);
}

static void add_name(struct bulk *b, struct buf *to, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_addf(to, ",\"%s\":", name);
    if (!json_add_string(to, value, strlen(value)))
        b->bad = name;
}

/* Inserts text at the end of the open item's action, and moves its document, if any, along. */
static void insert(struct bulk *b, const struct buf *text)
{
    if (text->failed || !buf_reserve(&b->body, text->len)) {
        b->body.failed = true;
        return;
    }
    char *at = b->body.data + b->action_end;
    memmove(at + text->len, at, b->body.len - b->action_end);
    memcpy(at, text->data, text->len);
    b->body.len += text->len;
}

void bulk_set_location(struct bulk *b, const char *index, const char *routing, const char *pipeline)
{
    struct buf text;
    assert(b->is_open);
    buf_init(&text, MAX_NAMES);
    add_name(b, &text, "_index", index);
    add_name(b, &text, "routing", routing);
    add_name(b, &text, "pipeline", pipeline);
    if (text.len > 0 || text.failed)
        insert(b, &text);
    buf_free(&text);
    if (index && *index)
        b->open.index_at = add_text(b, index, strlen(index));
    if (routing && *routing)
        b->open.routing_at = add_text(b, routing, strlen(routing));
    b->open.has_pipeline = pipeline && *pipeline;
}

void bulk_abort(struct bulk *b)
{
    assert(b->is_open);
    buf_cut(&b->body, b->open.at);
    buf_cut(&b->names, b->open.key_at);
    b->is_open = false;
}

static bool keep_open(struct bulk *b)
{
    struct bulk_item *items = grow(b->items, b->n, &b->cap, 256, sizeof *items);
    if (!items)
        return false;
    b->items = items;
    assert(b->n == 0 || b->items[b->n - 1].at + b->items[b->n - 1].len == b->open.at);
    b->open.len = b->body.len - b->open.at;
    b->items[b->n++] = b->open;
    b->is_open = false;
    return true;
}

/* Removes the open item, and says why in e. */
static bool take_back(struct bulk *b, bool too_large, struct err *e)
{
    if (b->names.failed)
        err_memory(e);
    else if (b->bad)
        err_set(e, ERR_FINAL, "cannot send document '%.100s': its %s is not UTF-8",
                b->names.data + b->open.key_at, b->bad);
    else if (too_large)
        err_set(e, ERR_FINAL, "document '%.200s' is larger than %zu MB, or than memory",
                b->names.data + b->open.key_at, b->body.max >> 20);
    else
        err_memory(e);
    bulk_abort(b);
    return false;
}

static bool commit(struct bulk *b, struct err *e)
{
    assert(b->is_open);
    if (b->body.failed || b->names.failed || b->bad)
        return take_back(b, b->body.failed, e);
    return keep_open(b) || take_back(b, false, e);
}

bool bulk_commit(struct bulk *b, struct err *e)
{
    buf_addc(&b->body, '\n');
    return commit(b, e);
}

bool bulk_delete(struct bulk *b, const char *key, int64_t version, struct err *e)
{
    begin(b, key, version, true);
    return commit(b, e);
}

bool bulk_delete_at(struct bulk *b, const char *key, int64_t version, const struct doc_location *at,
                    struct err *e)
{
    begin(b, key, version, true);
    bulk_set_location(b, at->index, at->routing, NULL);
    return commit(b, e);
}

struct buf *bulk_body(struct bulk *b)
{
    return &b->body;
}

/* ---- the items ---- */

size_t bulk_count(const struct bulk *b)
{
    return b->n;
}

size_t bulk_bytes(const struct bulk *b)
{
    return b->body.len;
}

static const struct bulk_item *item_of(const struct bulk *b, size_t i)
{
    assert(i < b->n);
    return &b->items[i];
}

static const char *key_of(const struct bulk *b, const struct bulk_item *item)
{
    return b->names.data + item->key_at;
}

const char *bulk_key(const struct bulk *b, size_t i)
{
    return key_of(b, item_of(b, i));
}

const char *bulk_index(const struct bulk *b, size_t i)
{
    size_t at = item_of(b, i)->index_at;
    return at ? b->names.data + at : NULL;
}

const char *bulk_routing(const struct bulk *b, size_t i)
{
    size_t at = item_of(b, i)->routing_at;
    return at ? b->names.data + at : NULL;
}

int64_t bulk_version(const struct bulk *b, size_t i)
{
    return item_of(b, i)->version;
}

bool bulk_is_delete(const struct bulk *b, size_t i)
{
    return item_of(b, i)->is_delete;
}

const char *bulk_document(const struct bulk *b, size_t i, size_t *len)
{
    const struct bulk_item *item = item_of(b, i);
    if (item->is_delete)
        return NULL;
    const char *lines = b->body.data + item->at,
               *document = (const char *)memchr(lines, '\n', item->len) + 1;
    *len = item->len - (size_t)(document - lines) - 1; /* each line ends in a line break */
    return document;
}

void bulk_drop(struct bulk *b, size_t i)
{
    assert(i < b->n);
    b->items[i].done = true;
}

/* The items that stay keep their order and move down in place. Their names stay where they are
 * until no item is left. */
void bulk_compact(struct bulk *b)
{
    size_t n = 0, body = 0;
    assert(!b->is_open);
    for (size_t i = 0; i < b->n; i++) {
        struct bulk_item item = b->items[i];
        if (item.done)
            continue;
        memmove(b->body.data + body, b->body.data + item.at, item.len);
        item.at = body;
        body += item.len;
        b->items[n++] = item;
    }
    b->n = n;
    buf_cut(&b->body, body);
    if (n == 0)
        buf_cut(&b->names, 0);
}

/* ---- judging ---- */

struct answer { /* the answer to one item */
    bool is_delete;
    int64_t status;
    bool has_error;
    struct es_error error; /* if it has one */
    bool overloaded;       /* from the table, like hint, which may be NULL */
    const char *hint;
    int64_t version; /* -1: none */
    bool noop;       /* an ingest pipeline dropped the document */
    bool is_other;   /* an ingest pipeline has changed the id */
    char id[MAX_KEY + 1];
    char index[INDEX_NAME]; /* empty: not told */
};

enum verdict {
    DONE,      /* leaves the request */
    UNCHANGED, /* leaves it: the index already has something as new, or nothing to delete */
    DROPPED,   /* leaves it: an ingest pipeline dropped the document */
    REJECTED,  /* leaves it, and is reported: the server rejects it for good */
    AGAIN,     /* stays: passing */
    FOREIGN,   /* stays: final, it has a version that we did not issue */
    CHANGED,   /* stays: final, an ingest pipeline has given it another id or version */
    BROKEN,    /* stays: final, no item can succeed */
    DAMAGED,   /* the answer contradicts itself: all stay */
};

/* Reads the X of "[KEY]: version conflict, current version [X] is higher than the one provided
 * [Y]". The key may contain any words, so the last match counts. False: not found. */
static bool current_version(const char *reason, int64_t *out)
{
    static const char mark[] = "current version [";
    const char *last = NULL;
    for (const char *p = reason; (p = strstr(p, mark)); p++)
        last = p;
    if (!last)
        return false;
    char *end;
    *out = strtoll(last + sizeof mark - 1, &end, 10);
    return end != last + sizeof mark - 1 && *end == ']';
}

/* A conflict with a version of ours is a success. A version above all of ours means that another
 * program wrote to the index. */
static enum verdict judge_conflict(const struct bulk_sink *sink, const char *reason)
{
    int64_t current;
    if (!current_version(reason, &current) || current <= sink->issued)
        return UNCHANGED;
    return sink->latest && current <= sink->latest(sink->arg) ? UNCHANGED : FOREIGN;
}

/* Without an error the status is 200, 201 or, for a delete, 404. With an external version, the
 * document has the version that it was sent with. */
static enum verdict judge_success(const struct bulk_item *item, const struct answer *a)
{
    if (a->is_delete && a->status == 404)
        return UNCHANGED;
    if (a->status != 200 && a->status != 201)
        return DAMAGED;
    if (a->noop && !a->is_delete)
        return DROPPED;
    return a->is_other || (a->version >= 0 && a->version != item->version) ? CHANGED : DONE;
}

/* What an error means is in es_answer.c. */
static enum verdict judge(const struct bulk_sink *sink, const struct bulk_item *item,
                          struct answer *a)
{
    if (!a->has_error)
        return judge_success(item, a);
    const struct es_rule *rule = es_judge(ES_ITEM, a->status, &a->error);
    if (!rule)
        return DAMAGED;
    a->hint = rule->hint;
    switch (rule->verdict) {
    case ES_OVERLOADED:
        a->overloaded = true;
        return AGAIN;
    case ES_AGAIN:
        return AGAIN;
    case ES_STALE:
        return judge_conflict(sink, a->error.reason);
    case ES_REJECTED:
        return REJECTED;
    case ES_NO_PIPELINE:
        return item->has_pipeline ? REJECTED : BROKEN;
    case ES_BROKEN:
    case ES_TOO_LARGE: /* only of whole answers */
        break;
    }
    return BROKEN;
}

struct judging {
    struct bulk *b;
    size_t first, n; /* the items that were sent */
    const struct bulk_sink *sink;
    const char *index; /* of the request; NULL: not known */
    bool apply;        /* false: only checks that the answer fits the request */
    /* found: */
    size_t errors, postponed;
    size_t odd;        /* how many without an error are not simply done */
    bool overloaded;   /* some were rejected because of overload */
    char damage[150];  /* what is wrong with the answer */
    enum verdict stop; /* FOREIGN, CHANGED or BROKEN, of the first such item; else DONE */
    char reason[REASON], stop_reason[REASON];
    const char *hint, *postponed_hint;
    const struct bulk_item *stopped;
    const struct bulk_item *moved; /* the first that is in an index that we do not know, or NULL */
    char elsewhere[INDEX_NAME];    /* that index */
};

/* Keeps the first mistake. Always returns false. */
__attribute__((format(printf, 2, 3))) static bool damaged(struct judging *j, const char *format,
                                                          ...)
{
    va_list args;
    va_start(args, format);
    if (!j->damage[0])
        vsnprintf(j->damage, sizeof j->damage, format, args);
    va_end(args);
    return false;
}

/* Reads a string into out. False: none, or too long. */
static bool read_text(struct json_reader *r, char *out, size_t size)
{
    if (json_next(r) != JSON_STRING || r->len >= size)
        return false;
    memcpy(out, r->text, r->len);
    out[r->len] = '\0';
    return true;
}

struct members {
    int ids, statuses, errors;
};

static bool read_member(struct json_reader *r, struct answer *a, struct members *m)
{
    if (json_is(r, "_id")) {
        m->ids++;
        return read_text(r, a->id, sizeof a->id);
    }
    if (json_is(r, "status")) {
        m->statuses++;
        return json_next(r) == JSON_NUMBER && json_int(r, &a->status);
    }
    if (json_is(r, "error")) {
        m->errors++;
        return es_read_error(r, &a->error);
    }
    if (json_is(r, "_index"))
        return read_text(r, a->index, sizeof a->index);
    if (json_is(r, "_version"))
        return json_next(r) == JSON_NUMBER && json_int(r, &a->version);
    if (json_is(r, "result")) {
        a->noop = json_next(r) == JSON_STRING && json_is(r, "noop");
        return r->token == JSON_STRING;
    }
    return json_skip(r);
}

/* Reads {"_id":..., "status":..., "error":...}: the members of an item's inner object, in any
 * order. */
static bool read_members(struct json_reader *r, struct answer *a)
{
    struct members m = {0};
    while (json_next(r) == JSON_KEY)
        if (!read_member(r, a, &m))
            return false;
    a->has_error = m.errors > 0;
    return r->token == JSON_OBJECT_END && m.ids == 1 && m.statuses == 1 && m.errors <= 1;
}

/* Reads the rest of {"index":{...}}, whose first brace was the last token. */
static bool read_item(struct json_reader *r, struct answer *a)
{
    a->overloaded = a->noop = a->is_other = false;
    a->hint = NULL;
    a->version = -1;
    a->index[0] = '\0';
    if (json_next(r) != JSON_KEY)
        return false;
    a->is_delete = json_is(r, "delete");
    return (a->is_delete || json_is(r, "index")) && json_next(r) == JSON_OBJECT &&
           read_members(r, a) && json_next(r) == JSON_OBJECT_END;
}

/* ---- which item an answer is about ---- */

static bool fits(const struct judging *j, const struct bulk_item *item, const struct answer *a)
{
    return !item->answered && item->is_delete == a->is_delete &&
           strcmp(key_of(j->b, item), a->id) == 0;
}

/* The answers come in the order of the request, unless ingest pipelines have refused or dropped
 * documents: these are then at other places (tested: OpenSearch 2.19). So where the order does not
 * fit, the id decides. NULL: there is none; j->damage says why. */
static struct bulk_item *find_item(struct judging *j, size_t i, struct answer *a)
{
    struct bulk_item *items = &j->b->items[j->first], *here = &items[i];
    if (fits(j, here, a))
        return here;
    for (size_t k = 0; k < j->n; k++)
        if (fits(j, &items[k], a))
            return &items[k];
    /* No other request has this version: an ingest pipeline has changed the id. */
    a->is_other = !here->answered && here->is_delete == a->is_delete && !a->has_error &&
                  a->version == here->version;
    if (a->is_other)
        return here;
    if (here->is_delete == a->is_delete && strcmp(key_of(j->b, here), a->id) != 0)
        damaged(j,
                "it is about document '%.50s' instead of '%.50s'; does an ingest pipeline set "
                "_id?",
                a->id, key_of(j->b, here));
    return NULL;
}

/* The index that the item was sent to, or its alias; NULL: not known. */
static const char *index_of(const struct judging *j, const struct bulk_item *item)
{
    return item->index_at ? j->b->names.data + item->index_at : j->index;
}

/* An alias is answered by the name of its index; a conflict, too, is one with a document there. */
static bool is_elsewhere(const struct judging *j, const struct bulk_item *item,
                         const struct answer *a)
{
    const char *asked = index_of(j, item);
    return (!a->has_error || a->status == 409) && asked && a->index[0] &&
           strcmp(a->index, asked) != 0 && !(j->b->known && keyset_has(j->b->known, a->index));
}

static void reject(struct judging *j, struct bulk_item *item, int status, const char *reason)
{
    item->done = true;
    j->sink->counts->rejected++;
    if (j->sink->rejected)
        j->sink->rejected(key_of(j->b, item), status, reason, j->sink->arg);
}

static void drop(struct judging *j, struct bulk_item *item)
{
    item->done = true;
    j->sink->counts->dropped++;
    if (j->sink->dropped)
        j->sink->dropped(key_of(j->b, item), j->sink->arg);
}

static void describe(const struct bulk_item *item, const struct answer *a, char reason[REASON])
{
    *reason = '\0';
    if (a->has_error)
        es_error_text(&a->error, reason, REASON);
    else if (a->is_other)
        snprintf(reason, REASON, "an ingest pipeline has set its _id to '%.100s'", a->id);
    else if (a->version >= 0 && a->version != item->version)
        snprintf(reason, REASON, "an ingest pipeline has set its _version to %" PRId64, a->version);
    if (!*reason)
        snprintf(reason, REASON, "the search server gave no reason (%" PRId64 ")", a->status);
}

static void stop(struct judging *j, const struct bulk_item *item, const struct answer *a,
                 enum verdict verdict)
{
    if (j->stop != DONE)
        return;
    j->stop = verdict;
    j->stopped = item;
    j->hint = verdict == CHANGED ? ES_METADATA_HINT : a->hint;
    describe(item, a, j->stop_reason);
}

static void apply(struct judging *j, struct bulk_item *item, const struct answer *a,
                  enum verdict verdict)
{
    char reason[REASON];
    int64_t foreign;
    switch (verdict) {
    case DONE:
        item->done = true;
        *(a->is_delete ? &j->sink->counts->deleted : &j->sink->counts->indexed) += 1;
        break;
    case UNCHANGED:
        item->done = true;
        j->sink->counts->superseded++;
        break;
    case DROPPED:
        drop(j, item);
        break;
    case REJECTED:
        describe(item, a, reason);
        reject(j, item, (int)a->status, reason);
        break;
    case AGAIN:
        if (j->postponed++ == 0) {
            describe(item, a, j->reason);
            j->postponed_hint = a->hint;
        }
        j->overloaded |= a->overloaded;
        break;
    case FOREIGN:
        if (current_version(a->error.reason, &foreign) && foreign > j->b->foreign)
            j->b->foreign = foreign;
        /* fall through */
    case CHANGED:
    case BROKEN:
        stop(j, item, a, verdict);
        break;
    case DAMAGED:
        break;
    }
}

static void note_moved(struct judging *j, const struct bulk_item *item, const struct answer *a)
{
    if (j->moved)
        return;
    j->moved = item;
    memcpy(j->elsewhere, a->index, sizeof j->elsewhere);
}

static bool judge_item(struct judging *j, struct bulk_item *item, struct answer *a, size_t i)
{
    enum verdict verdict = judge(j->sink, item, a);
    if (verdict == DAMAGED)
        return damaged(j, "its item %zu has status %" PRId64 " with%s error", i + 1, a->status,
                       a->has_error ? "" : "out");
    j->errors += a->has_error;
    j->odd += verdict == DROPPED || verdict == CHANGED;
    item->absent = verdict == UNCHANGED;
    item->answered = true;
    if (is_elsewhere(j, item, a))
        note_moved(j, item, a);
    if (j->apply)
        apply(j, item, a, verdict);
    return true;
}

static bool read_items(struct json_reader *r, struct judging *j)
{
    size_t i = 0;
    if (json_next(r) != JSON_ARRAY)
        return false;
    for (; json_next(r) == JSON_OBJECT; i++) {
        if (i == j->n)
            return damaged(j, "it has more than %zu items", j->n);
        struct answer a;
        struct bulk_item *item = read_item(r, &a) ? find_item(j, i, &a) : NULL;
        if (!item)
            return r->token == JSON_ERROR ? false : damaged(j, "its item %zu does not fit", i + 1);
        if (!judge_item(j, item, &a, i))
            return false;
    }
    if (r->token == JSON_ARRAY_END && i < j->n)
        return damaged(j, "it has %zu items instead of %zu", i, j->n);
    return r->token == JSON_ARRAY_END;
}

/* Reads {"items":[...],"errors":...}. */
static bool read_whole(struct json_reader *r, struct judging *j)
{
    int items = 0, flags = 0;
    bool ok = json_next(r) == JSON_OBJECT, flag = false;
    while (ok && json_next(r) == JSON_KEY) {
        if (json_is(r, "items")) {
            ok = items++ == 0 && read_items(r, j);
        } else if (json_is(r, "errors")) {
            flag = json_next(r) == JSON_TRUE;
            ok = flags++ == 0 && (flag || r->token == JSON_FALSE);
        } else {
            ok = json_skip(r);
        }
    }
    if (!ok || r->token != JSON_OBJECT_END || !json_end(r))
        return false;
    if (items != 1 || flags != 1)
        return damaged(j, "it has no %s", items != 1 ? "items" : "errors flag");
    return flag == (j->errors > 0) ||
           damaged(j, "%zu of its items have errors, which its errors flag contradicts", j->errors);
}

/* Reads the whole answer. False: it is damaged, or not the answer to these items. */
static bool read_answer(struct judging *j, const char *answer, size_t len)
{
    struct json_reader r;
    json_open_loose(&r, answer, len);
    j->errors = j->odd = 0;
    j->moved = NULL;
    j->damage[0] = '\0';
    for (size_t i = 0; i < j->n; i++)
        j->b->items[j->first + i].answered = false;
    bool ok = read_whole(&r, j);
    if (!ok && r.error)
        damaged(j, "%s at byte %zu", r.error, r.at);
    else if (!ok)
        damaged(j, "not the answer to a bulk request, at byte %zu", r.at);
    json_close(&r);
    return ok;
}

static bool report_stop(const struct judging *j, struct err *e)
{
    err_set(e, ERR_FINAL, "cannot %s document '%.150s': %s",
            j->stopped->is_delete ? "delete" : "index", key_of(j->b, j->stopped), j->stop_reason);
    if (j->stop == FOREIGN)
        err_hint(e, "the index has versions above any that we issued: it was restored or filled by "
                    "another tool, or the database's clock went back; use a new index, or empty "
                    "this one and run with --full");
    else if (j->hint)
        err_hint(e, "%s", j->hint);
    return false;
}

/* No item has an error, and reading the answer has marked each one. */
static void apply_all(struct judging *j)
{
    for (size_t i = 0; i < j->n; i++) {
        struct bulk_item *item = &j->b->items[j->first + i];
        item->done = true;
        *(item->absent      ? &j->sink->counts->superseded
          : item->is_delete ? &j->sink->counts->deleted
                            : &j->sink->counts->indexed) += 1;
    }
}

/* Nothing changes before the whole answer is known to be sound, so an answer with errors is read
 * twice. */
static bool check_part(struct judging *j, const char *answer, size_t len, struct err *e)
{
    j->apply = false;
    return read_answer(j, answer, len) || es_unfit(answer, len, j->damage, e) ||
           err_wrap(e, "%zu items", j->n);
}

static bool settle_part(struct judging *j, const char *answer, size_t len, struct err *e)
{
    if (j->errors == 0 && j->odd == 0) {
        apply_all(j);
        return true;
    }
    j->apply = true;
    j->postponed = 0;
    j->postponed_hint = NULL;
    j->overloaded = false;
    j->stop = DONE;
    if (!read_answer(j, answer, len)) /* no memory: the items not reached stay */
        return err_memory(e);
    if (j->stop != DONE)
        return report_stop(j, e);
    if (j->postponed == 0)
        return true;
    err_set(e, ERR_PASSING, "%zu of %zu items were rejected for now: %s", j->postponed, j->n,
            j->reason);
    e->overloaded = j->overloaded;
    return j->postponed_hint ? err_hint(e, "%s", j->postponed_hint) : false;
}

bool bulk_judge(struct bulk *b, const char *answer, size_t len, const struct bulk_sink *sink,
                struct err *e)
{
    struct judging j = {.b = b, .n = b->n, .sink = sink};
    bool ok = check_part(&j, answer, len, e) && settle_part(&j, answer, len, e);
    bulk_compact(b);
    return ok;
}

/* ---- sending ---- */

struct sending {
    struct es *es;
    const char *path;
    struct es_answer answer;
    struct judging judging;
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
    reject(&s->judging, &b->items[first], 413,
           "larger than the server accepts in one request (413)");
    return true;
}

static bool know(struct bulk *b, const char *index, struct err *e)
{
    b->known = b->known ? b->known : keyset_new(KNOWN_MAX);
    return (b->known && keyset_put(b->known, index, NULL, 0)) || err_memory(e);
}

/* A document is in an index of another name than the request's: is that name an alias of it? An
 * alias may have got another index just now, so the request is sent once more: then its documents
 * are in that one, or in conflict with themselves where they were. Where the server does not tell,
 * the next request asks again. */
static bool check_moved(struct sending *s, struct err *e)
{
    struct judging *j = &s->judging;
    struct index_info info;
    struct err ignored;
    const char *asked = index_of(j, j->moved);
    if (!index_get_info(s->es, asked, &info, &ignored) || !info.exists) {
        j->moved = NULL;
        return true;
    }
    if (strcmp(info.name, j->elsewhere) == 0)
        return know(j->b, j->elsewhere, e);
    if (strcmp(info.name, asked) != 0 && !j->b->strayed) {
        j->b->strayed = true;
        return err_set(e, ERR_PASSING, "document '%.150s' went into index '%s' instead of '%s'",
                       key_of(j->b, j->moved), j->elsewhere, info.name);
    }
    err_set(e, ERR_FINAL,
            "cannot index document '%.150s': an ingest pipeline has put it into index '%s'",
            key_of(j->b, j->moved), j->elsewhere);
    return err_hint(e, ES_METADATA_HINT);
}

static bool judge_part(struct sending *s, struct err *e)
{
    struct judging *j = &s->judging;
    const struct buf *answer = &s->answer.body;
    bool ok = check_part(j, answer->data, answer->len, e);
    while (ok && j->moved) {
        ok = check_moved(s, e);
        if (ok && j->moved)
            ok = check_part(j, answer->data, answer->len, e);
    }
    if (!ok)
        return false;
    j->b->strayed = false;
    return settle_part(j, answer->data, answer->len, e);
}

static bool send_part(struct sending *s, size_t first, size_t n, struct err *e)
{
    struct judging *j = &s->judging;
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

static void reject_long_keys(struct judging *j)
{
    for (size_t i = 0; i < j->b->n; i++)
        if (j->b->items[i].key_len > MAX_KEY)
            reject(j, &j->b->items[i], 400,
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

void bulk_set_request_bytes(struct bulk *b, size_t bytes)
{
    b->request_bytes = bytes;
}

int64_t bulk_foreign_version(const struct bulk *b)
{
    return b->foreign;
}
