#include "flow/worker_compare.h"

#include "base/err.h"
#include "base/retry.h"
#include "flow/flow.h"
#include "flow/tally.h"
#include "flow/worker.h"
#include "index/index.h"
#include "index/routed.h"
#include "script/pipeline.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The items to ask about. */
struct comparison {
    struct bulk *bulk;
    size_t *items;                  /* their numbers in bulk; owned, as keys and locations */
    const char **keys;              /* of each; the texts are borrowed from bulk */
    struct doc_location *locations; /* likewise */
    size_t n, next;
    uint64_t unchanged;
    const struct stale_copies *copies; /* if they were searched for; or NULL */
    bool any_routing;                  /* of the batch */
};

static bool choose(struct comparison *c, bool deletes_only, struct err *e)
{
    const struct bulk *b = c->bulk;
    c->items = malloc(bulk_count(b) * sizeof *c->items);
    c->keys = malloc(bulk_count(b) * sizeof *c->keys);
    c->locations = malloc(bulk_count(b) * sizeof *c->locations);
    if (!c->items || !c->keys || !c->locations)
        return err_memory(e);
    for (size_t i = 0; i < bulk_count(b); i++) {
        if (deletes_only && !bulk_is_delete(b, i))
            continue;
        c->items[c->n] = i;
        c->keys[c->n] = bulk_key(b, i);
        c->locations[c->n++] = (struct doc_location){bulk_index(b, i), bulk_routing(b, i)};
    }
    return true;
}

/* Drops an item that would change nothing: a document that the index holds byte for byte, and only
 * once, or the delete of a document that does not exist. */
static bool compare(const struct index_document *d, void *arg, struct err *e)
{
    struct comparison *c = arg;
    (void)e;
    assert(c->next < c->n);
    size_t i = c->items[c->next++], len;
    const char *document = bulk_document(c->bulk, i, &len);
    bool same =
        document && d->source && d->source_len == len && memcmp(d->source, document, len) == 0;
    if (same && c->copies && stale_copies_count(c->copies, d->key) != 1)
        same = false;
    if (same && c->any_routing && d->routing) /* in the right shard, by chance */
        same = false;
    c->unchanged += same;
    if (same || (!document && !d->found))
        bulk_drop(c->bulk, i);
    return true;
}

static bool ask_index(struct worker *w, struct comparison *c, bool with_source, struct err *e)
{
    struct index_lookup lookup = {.keys = c->keys,
                                  .locations = c->copies ? c->locations : NULL,
                                  .n = c->n,
                                  .with_source = with_source,
                                  .visit = compare,
                                  .arg = c};
    return c->n == 0 || index_get_documents(w->es, w->config->pipeline->sink.index, &lookup, e);
}

bool worker_drop_unchanged(struct worker *w, bool deletes_only, struct err *e)
{
    struct comparison c = {.bulk = w->bulk,
                           .copies = worker_searches(w) ? &w->sent : NULL,
                           .any_routing = w->batch->any_routing};
    if (bulk_count(w->bulk) == 0)
        return true;
    bool ok = choose(&c, deletes_only, e) && ask_index(w, &c, !deletes_only, e);
    free(c.items);
    free(c.keys);
    free(c.locations);
    if (!ok)
        return false;
    bulk_compact(w->bulk);
    if (!w->batch->just_loaded)
        worker_count(w, &(struct counts){.unchanged = c.unchanged});
    return true;
}

/* ---- for a comparer ---- */

struct pairing {
    struct worker *worker;
    struct comparison c;
};

static bool show(const struct worker *w, const struct worker_pair *pair, struct err *e)
{
    const struct worker_comparer *c = w->config->comparer;
    return c->pair(c->arg, w->number, pair, e);
}

static bool show_document(const struct index_document *d, void *arg, struct err *e)
{
    struct pairing *p = arg;
    struct worker *w = p->worker;
    size_t i = p->c.items[p->c.next], len = 0;
    struct worker_pair pair = {
        .key = d->key,
        .made = bulk_document(w->bulk, i, &len),
        .made_version = w->attempt.version,
        .found = d->found,
        .held = d->source,
        .held_len = d->source_len,
        .held_version = d->version,
        .copies = p->c.copies ? stale_copies_count(p->c.copies, d->key) : d->found,
        .no_rows = w->batch->no_rows,
        .any_routing = w->batch->any_routing,
        .routed = w->batch->any_routing && routed_count(p->c.copies, d->key) > 0,
    };
    pair.made_len = len;
    if (!show(w, &pair, e))
        return false;
    p->c.next++;
    return true;
}

/* Of the items that were not shown yet. */
static bool ask_rest(struct pairing *p, struct err *e)
{
    struct worker *w = p->worker;
    size_t from = p->c.next;
    struct index_lookup lookup = {.keys = p->c.keys + from,
                                  .locations = p->c.copies ? p->c.locations + from : NULL,
                                  .n = p->c.n - from,
                                  .with_source = true,
                                  .may_be_absent = true,
                                  .visit = show_document,
                                  .arg = p};
    return lookup.n == 0 || index_get_documents(w->es, w->config->pipeline->sink.index, &lookup, e);
}

/* A document that has no row any more may be in several indexes: the newest one is shown. */
static bool show_gone(struct worker *w, struct err *e)
{
    const struct stale_copies *gone = &w->gone;
    const char *last = NULL;
    for (size_t i = 0; i < gone->n; i++) {
        const struct copy *c = &gone->list[i];
        const char *key = gone->text.data + c->key;
        struct worker_pair pair = {.key = key,
                                   .made_version = w->attempt.version,
                                   .found = true,
                                   .held_version = c->version,
                                   .copies = stale_copies_count(gone, key),
                                   .no_rows = w->batch->no_rows,
                                   .any_routing = w->batch->any_routing,
                                   .routed = w->batch->any_routing && routed_count(gone, key) > 0};
        if (!(last && strcmp(key, last) == 0) && !show(w, &pair, e))
            return false;
        last = key;
    }
    return true;
}

static bool find_copies(struct worker *w, struct err *e)
{
    stale_copies_clear(&w->sent);
    for (size_t i = 0; i < bulk_count(w->bulk); i++)
        stale_copies_add(&w->sent, bulk_key(w->bulk, i));
    return stale_copies_find(&w->sent, e) && stale_copies_find(&w->gone, e);
}

/* Nothing is shown twice: what has been read from the database need not be read again. */
static bool patiently(struct pairing *p, bool (*step)(struct pairing *, struct err *),
                      struct err *e)
{
    struct retry retry;
    worker_start_retry(p->worker, &retry);
    while (!step(p, e))
        if (!retry_again(&retry, e)) {
            p->worker->attempt.gave_up = true;
            return false;
        }
    retry_done(&retry);
    return true;
}

static bool find_step(struct pairing *p, struct err *e)
{
    return find_copies(p->worker, e);
}

bool worker_compare(struct worker *w, struct err *e)
{
    bool searches = worker_searches(w);
    struct pairing p = {.worker = w, .c = {.bulk = w->bulk, .copies = searches ? &w->sent : NULL}};
    bool ok = !searches || (patiently(&p, find_step, e) && show_gone(w, e));
    if (ok && bulk_count(w->bulk) > 0)
        ok = choose(&p.c, false, e) && patiently(&p, ask_rest, e);
    free(p.c.items);
    free(p.c.keys);
    free(p.c.locations);
    tally_add(w->flow->tally, &(struct counts){.bytes = bulk_bytes(w->bulk)});
    worker_count(w, &w->attempt.printed);
    w->attempt.printed = (struct counts){0};
    bulk_clear(w->bulk);
    stale_copies_clear(&w->gone);
    return ok;
}

bool worker_end_compare(struct worker *w, bool ok, struct err *e)
{
    const struct worker_comparer *c = w->config->comparer;
    struct err other;
    if (c->end(c->arg, w->number, ok, ok ? e : &other))
        return ok;
    w->attempt.gave_up = true;
    return false;
}
