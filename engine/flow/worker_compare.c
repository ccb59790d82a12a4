#include "flow/worker_compare.h"

#include "base/err.h"
#include "flow/worker.h"
#include "index/index.h"
#include "script/pipeline.h"

#include <stdlib.h>
#include <string.h>

struct comparison {
    struct bulk *bulk;
    const size_t *items; /* the ones asked for, of bulk */
    size_t next;
    uint64_t unchanged;
    const struct stale_copies *copies; /* of a multi_index pipeline */
};

/* Drops an item that would change nothing: a document that is there, byte for byte, and nowhere
 * else, or the delete of one that is not. */
static bool compare(const struct index_document *d, void *arg, struct err *e)
{
    struct comparison *c = arg;
    (void)e;
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

/* Asks the index about all items, or about the deletes alone, and drops those that would change
 * nothing. */
bool worker_drop_unchanged(struct worker *w, bool deletes_only, struct err *e)
{
    struct bulk *b = w->bulk;
    const char **keys = malloc(bulk_count(b) * sizeof *keys);
    struct doc_location *places = malloc(bulk_count(b) * sizeof *places);
    size_t *items = malloc(bulk_count(b) * sizeof *items), n = 0;
    bool multi_index = w->config->pipeline->sink.multi_index,
         ok = (keys && items && places) || err_memory(e);
    for (size_t i = 0; ok && i < bulk_count(b); i++)
        if (!deletes_only || bulk_is_delete(b, i)) {
            items[n] = i;
            places[n] = (struct doc_location){bulk_index(b, i), bulk_routing(b, i)};
            keys[n++] = bulk_key(b, i);
        }
    struct comparison c = {.bulk = b, .items = items, .copies = multi_index ? &w->sent : NULL};
    ok = ok && (n == 0 ||
                index_get_documents(w->es, w->config->pipeline->sink.index,
                                    &(struct index_lookup){.keys = keys,
                                                           .locations = multi_index ? places : NULL,
                                                           .n = n,
                                                           .with_source = !deletes_only,
                                                           .visit = compare,
                                                           .arg = &c},
                                    e));
    free(places);
    free(keys);
    free(items);
    if (!ok)
        return false;
    bulk_compact(b);
    if (!w->batch->again)
        worker_count(w, &(struct counts){.unchanged = c.unchanged});
    return true;
}
