#include "index/bulk_internal.h"

#include "base/err.h"
#include "base/json.h"
#include "base/keyset.h"
#include "es/es.h"
#include "model/counts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    char id[BULK_KEY + 1];
    char index[INDEX_NAME]; /* empty: not told */
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
static enum bulk_verdict judge_conflict(const struct bulk_sink *sink, const char *reason)
{
    int64_t current;
    if (!current_version(reason, &current) || current <= sink->issued)
        return BULK_UNCHANGED;
    return sink->latest && current <= sink->latest(sink->arg) ? BULK_UNCHANGED : BULK_FOREIGN;
}

/* Without an error the status is 200, 201 or, for a delete, 404. With an external version, the
 * document has the version that it was sent with. */
static enum bulk_verdict judge_success(const struct bulk_item *item, const struct answer *a)
{
    if (a->is_delete && a->status == 404)
        return BULK_UNCHANGED;
    if (a->status != 200 && a->status != 201)
        return BULK_DAMAGED;
    if (a->noop && !a->is_delete)
        return BULK_DROPPED;
    return a->is_other || (a->version >= 0 && a->version != item->version) ? BULK_CHANGED
                                                                           : BULK_DONE;
}

/* What an error means is in es_answer.c. */
static enum bulk_verdict judge(const struct bulk_sink *sink, const struct bulk_item *item,
                               struct answer *a)
{
    if (!a->has_error)
        return judge_success(item, a);
    const struct es_rule *rule = es_judge(ES_ITEM, a->status, &a->error);
    if (!rule)
        return BULK_DAMAGED;
    a->hint = rule->hint;
    switch (rule->verdict) {
    case ES_OVERLOADED:
        a->overloaded = true;
        return BULK_AGAIN;
    case ES_AGAIN:
        return BULK_AGAIN;
    case ES_STALE:
        return judge_conflict(sink, a->error.reason);
    case ES_REJECTED:
        return BULK_REJECTED;
    case ES_NO_PIPELINE:
        return item->has_pipeline ? BULK_REJECTED : BULK_BROKEN;
    case ES_BROKEN:
    case ES_TOO_LARGE: /* only of whole answers */
        break;
    }
    return BULK_BROKEN;
}

/* Keeps the first mistake. Always returns false. */
__attribute__((format(printf, 2, 3))) static bool damaged(struct bulk_judging *j,
                                                          const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!j->damage[0])
        vsnprintf(j->damage, sizeof j->damage, format, args);
    va_end(args);
    return false;
}

struct members {
    int ids, statuses, errors;
};

static bool read_member(struct json_reader *r, struct answer *a, struct members *m)
{
    if (json_is(r, "_id")) {
        m->ids++;
        return json_next_text(r, a->id, sizeof a->id);
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
        return json_next_text(r, a->index, sizeof a->index);
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

static bool fits(const struct bulk_judging *j, const struct bulk_item *item, const struct answer *a)
{
    return !item->answered && item->is_delete == a->is_delete &&
           strcmp(bulk_item_key(j->b, item), a->id) == 0;
}

/* Of a document that one pipeline drops, and the index's final one drops or refuses, too, there
 * are two answers (tested: OpenSearch 2.19). The second one is without meaning. */
static struct bulk_item *find_dropped(const struct bulk_judging *j, const struct answer *a)
{
    struct bulk_item *items = &j->b->items[j->first];
    for (size_t k = 0; k < j->n; k++)
        if (items[k].answered && items[k].dropped && !a->is_delete &&
            strcmp(bulk_item_key(j->b, &items[k]), a->id) == 0)
            return &items[k];
    return NULL;
}

/* The answers come in the order of the request, unless ingest pipelines have refused or dropped
 * documents: these are then at other places (tested: OpenSearch 2.19). So where the order does not
 * fit, the id decides. NULL: there is none; j->damage says why. */
static struct bulk_item *find_item(struct bulk_judging *j, size_t i, struct answer *a)
{
    struct bulk_item *items = &j->b->items[j->first], *here = &items[i];
    if (i < j->n && fits(j, here, a))
        return here;
    for (size_t k = 0; k < j->n; k++)
        if (fits(j, &items[k], a))
            return &items[k];
    struct bulk_item *dropped = find_dropped(j, a);
    if (dropped || i == j->n)
        return dropped;
    /* No other request has this version: an ingest pipeline has changed the id. */
    a->is_other = !here->answered && here->is_delete == a->is_delete && !a->has_error &&
                  a->version == here->version;
    if (a->is_other)
        return here;
    if (here->is_delete == a->is_delete && strcmp(bulk_item_key(j->b, here), a->id) != 0)
        damaged(j,
                "it is about document '%.50s' instead of '%.50s'; does an ingest pipeline set "
                "_id?",
                a->id, bulk_item_key(j->b, here));
    return NULL;
}

const char *bulk_item_index(const struct bulk_judging *j, const struct bulk_item *item)
{
    return item->index_at ? j->b->names.data + item->index_at : j->index;
}

/* An alias is answered by the name of its index; a conflict, too, is one with a document there. */
static bool is_elsewhere(const struct bulk_judging *j, const struct bulk_item *item,
                         const struct answer *a)
{
    const char *asked = bulk_item_index(j, item);
    return (!a->has_error || a->status == 409) && asked && a->index[0] &&
           strcmp(a->index, asked) != 0 && !(j->b->known && keyset_has(j->b->known, a->index));
}

void bulk_reject(struct bulk_judging *j, struct bulk_item *item, int status, const char *reason)
{
    item->done = true;
    j->sink->counts->rejected++;
    if (j->sink->rejected)
        j->sink->rejected(bulk_item_key(j->b, item), status, reason, j->sink->arg);
}

static void drop(struct bulk_judging *j, struct bulk_item *item)
{
    item->done = true;
    j->sink->counts->dropped++;
    if (j->sink->dropped)
        j->sink->dropped(bulk_item_key(j->b, item), j->sink->arg);
}

/* A request to an alias is refused where an ingest pipeline chooses an index. */
static bool is_sent_away(const struct bulk_judging *j, const struct bulk_item *item,
                         const struct answer *a)
{
    const char *asked = bulk_item_index(j, item);
    return a->has_error && a->status == 404 && asked && a->index[0] &&
           strstr(a->error.reason, "is not an alias") && strcmp(a->index, asked) != 0;
}

static void describe(const struct bulk_item *item, const struct answer *a, char reason[BULK_REASON])
{
    *reason = '\0';
    if (a->has_error)
        es_error_text(&a->error, reason, BULK_REASON);
    else if (a->is_other)
        snprintf(reason, BULK_REASON, "an ingest pipeline has set its _id to '%.100s'", a->id);
    else if (a->version >= 0 && a->version != item->version)
        snprintf(reason, BULK_REASON, "an ingest pipeline has set its _version to %" PRId64,
                 a->version);
    if (!*reason)
        snprintf(reason, BULK_REASON, "the search server gave no reason (%" PRId64 ")", a->status);
}

static void stop(struct bulk_judging *j, const struct bulk_item *item, const struct answer *a,
                 enum bulk_verdict verdict)
{
    if (j->stop != BULK_DONE)
        return;
    j->stop = verdict;
    j->stopped = item;
    j->hint = a->hint;
    describe(item, a, j->stop_reason);
    if (!is_sent_away(j, item, a))
        return;
    j->hint = ES_METADATA_HINT;
    snprintf(j->stop_reason, BULK_REASON, "an ingest pipeline has set its _index to '%.100s'",
             a->index);
}

static void apply(struct bulk_judging *j, struct bulk_item *item, const struct answer *a,
                  enum bulk_verdict verdict)
{
    char reason[BULK_REASON];
    int64_t foreign;
    switch (verdict) {
    case BULK_DONE:
        item->done = true;
        *(a->is_delete ? &j->sink->counts->deleted : &j->sink->counts->indexed) += 1;
        break;
    case BULK_UNCHANGED:
        item->done = true;
        j->sink->counts->superseded++;
        break;
    case BULK_DROPPED:
        drop(j, item);
        break;
    case BULK_REJECTED:
        describe(item, a, reason);
        bulk_reject(j, item, (int)a->status, reason);
        break;
    case BULK_AGAIN:
        if (j->postponed++ == 0) {
            describe(item, a, j->reason);
            j->postponed_hint = a->hint;
        }
        j->overloaded |= a->overloaded;
        break;
    case BULK_FOREIGN:
        if (current_version(a->error.reason, &foreign) && foreign > j->b->foreign)
            j->b->foreign = foreign;
        /* fall through */
    case BULK_CHANGED:
    case BULK_BROKEN:
        stop(j, item, a, verdict);
        break;
    case BULK_DAMAGED:
        break;
    }
}

static void note_moved(struct bulk_judging *j, const struct bulk_item *item, const struct answer *a)
{
    if (j->moved)
        return;
    j->moved = item;
    memcpy(j->elsewhere, a->index, sizeof j->elsewhere);
}

static bool judge_item(struct bulk_judging *j, struct bulk_item *item, struct answer *a, size_t i)
{
    enum bulk_verdict verdict = judge(j->sink, item, a);
    if (verdict == BULK_DAMAGED)
        return damaged(j, "its item %zu has status %" PRId64 " with%s error", i + 1, a->status,
                       a->has_error ? "" : "out");
    j->errors += a->has_error;
    j->odd += verdict == BULK_DROPPED || verdict == BULK_CHANGED;
    item->absent = verdict == BULK_UNCHANGED;
    item->answered = true;
    item->dropped = verdict == BULK_DROPPED;
    bool elsewhere = is_elsewhere(j, item, a);
    if (elsewhere)
        note_moved(j, item, a);
    j->changed += elsewhere || verdict == BULK_CHANGED;
    if (j->apply)
        apply(j, item, a, verdict);
    return true;
}

/* The i-th answer, whose first brace was the last token: counted in *i, unless it has no meaning.
 */
static bool take_answer(struct json_reader *r, struct bulk_judging *j, size_t *i)
{
    struct answer a;
    struct bulk_item *item = read_item(r, &a) ? find_item(j, *i, &a) : NULL;
    if (!item && r->token == JSON_ERROR)
        return false;
    if (!item && *i == j->n)
        return damaged(j, "it has more than %zu items", j->n);
    if (!item)
        return damaged(j, "its item %zu does not fit", *i + 1);
    if (item->answered) {
        j->errors += a.has_error;
        return true;
    }
    return judge_item(j, item, &a, (*i)++);
}

static bool read_items(struct json_reader *r, struct bulk_judging *j)
{
    size_t i = 0;
    if (json_next(r) != JSON_ARRAY)
        return false;
    while (json_next(r) == JSON_OBJECT)
        if (!take_answer(r, j, &i))
            return false;
    if (r->token == JSON_ARRAY_END && i < j->n)
        return damaged(j, "it has %zu items instead of %zu", i, j->n);
    return r->token == JSON_ARRAY_END;
}

/* Reads {"items":[...],"errors":...}. */
static bool read_whole(struct json_reader *r, struct bulk_judging *j)
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
static bool read_answer(struct bulk_judging *j, const char *answer, size_t len)
{
    struct json_reader r;
    json_open_loose(&r, answer, len);
    j->errors = j->odd = j->changed = 0;
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

bool bulk_refuse_change(const struct bulk_judging *j, const struct bulk_item *item,
                        const char *what, struct err *e)
{
    char others[100] = "";
    if (j->changed > 1)
        snprintf(others, sizeof others, "; so it did with %zu of the %zu documents of the request",
                 j->changed, j->n);
    err_set(e, ERR_FINAL, "document '%.150s' was indexed, but %s%s", bulk_item_key(j->b, item),
            what, others);
    return err_hint(e, "remove that from the ingest pipeline, then delete what it has written; "
                       "document() may choose index and routing itself, with sink.indices");
}

static bool report_stop(const struct bulk_judging *j, struct err *e)
{
    if (j->stop == BULK_CHANGED)
        return bulk_refuse_change(j, j->stopped, j->stop_reason, e);
    err_set(e, ERR_FINAL, "cannot %s document '%.150s': %s",
            j->stopped->is_delete ? "delete" : "index", bulk_item_key(j->b, j->stopped),
            j->stop_reason);
    if (j->stop == BULK_FOREIGN)
        err_hint(e, "the index has versions above any that we issued: it was restored or filled by "
                    "another tool, or the database's clock went back; use a new index, or empty "
                    "this one and run with --full");
    else if (j->hint)
        err_hint(e, "%s", j->hint);
    return false;
}

/* No item has an error, and reading the answer has marked each one. */
static void apply_all(struct bulk_judging *j)
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
bool bulk_check_part(struct bulk_judging *j, const char *answer, size_t len, struct err *e)
{
    j->apply = false;
    return read_answer(j, answer, len) || es_unfit(answer, len, j->damage, e) ||
           err_wrap(e, "%zu items", j->n);
}

bool bulk_settle_part(struct bulk_judging *j, const char *answer, size_t len, struct err *e)
{
    if (j->errors == 0 && j->odd == 0) {
        apply_all(j);
        return true;
    }
    j->apply = true;
    j->postponed = 0;
    j->postponed_hint = NULL;
    j->overloaded = false;
    j->stop = BULK_DONE;
    if (!read_answer(j, answer, len)) /* no memory: the items not reached stay */
        return err_memory(e);
    if (j->stop != BULK_DONE)
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
    struct bulk_judging j = {.b = b, .n = b->n, .sink = sink};
    bool ok = bulk_check_part(&j, answer, len, e) && bulk_settle_part(&j, answer, len, e);
    bulk_compact(b);
    return ok;
}
