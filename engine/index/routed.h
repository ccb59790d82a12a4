/* routed: documents with a `_routing` that the script did not choose.
 *
 * Uses     index, index_alias, ingest, stale_copies, bulk, log, err.
 * Threads  any, each with a client of its own.
 * Promise  the document that its key says is never deleted here, as long as its row is there.
 *
 * The rule. A pipeline without sink.indices sends, reads and deletes documents by their keys alone.
 * A document that has a `_routing` nevertheless got it from an ingest pipeline, or from another
 * program. If the routing leads to another shard than the key does, no request by the key finds
 * that copy, while searchers find it, perhaps next to the right one. If it leads to the same shard,
 * the document is found, but only as long as the number of shards stays.
 *
 *   found      by one search for what has the field `_routing`, before a sweep or `verify` begins:
 *              an index without such documents answers that from its dictionary of terms
 *   row there  the document is written again, by its key alone, always. Then all copies of the key
 *              are searched for; only if the newest one has no routing, the older ones that have
 *              one are deleted, each with its routing and its own version. So in the same shard,
 *              where the write has replaced the copy, and where somebody has written it since, the
 *              delete is refused as stale
 *   row gone   all copies are deleted, each with its routing
 *   still set  if what was written just now has a routing, an ingest pipeline sets it: nothing is
 *              deleted, and the run ends
 *
 * An alias may have a routing of its own, or a filter: documents behind such a one are left alone.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bulk;
struct err;
struct es;
struct index_scan;
struct stale_copies;

struct routed_search {  /* borrowed */
    const char *sink;   /* the index or alias that is written to */
    const char *index;  /* the one that is searched */
    const char *remedy; /* what becomes of them, for the warning */
};
/* Looks for such documents, and warns if there are some. *scan: over their keys, one for each copy;
 * owned by the caller; NULL: there are none. */
bool routed_open(struct es *es, const struct routed_search *s, struct index_scan **scan,
                 struct err *e);
/* How many of the key's copies have a routing. */
size_t routed_count(const struct stale_copies *c, const char *key);
/* Adds deletes of the copies that the rule says. version: of what was written just now. False,
 * final: that has a routing. */
bool routed_drop(const struct stale_copies *c, struct bulk *to, int64_t version, struct err *e);
/* Whether a document's routing is a pipeline's, not that of an alias. If the server does not answer
 * for now: false. */
bool routed_by_pipeline(struct es *es, const char *index);
/* The error for a document that got a routing on its way into the index. Returns false. */
bool routed_refuse(const char *key, const char *routing, struct err *e);
