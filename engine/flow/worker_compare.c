#include "flow/worker_compare.h"

#include "base/err.h"
#include "flow/worker.h"
#include "index/index.h"
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
    const struct stale_copies *copies; /* of a multi_index pipeline; NULL: of any other */
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
                           .copies = w->config->pipeline->sink.multi_index ? &w->sent : NULL};
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
