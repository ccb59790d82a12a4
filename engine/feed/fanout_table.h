/* fanout_table: how the fan-out of a related table is asked: its `affects` in PostgreSQL, and with
 * index_field the index.
 *
 * Uses     fanout, source, index_scan, pg_pool.
 * Threads  that of the feed which owns it.
 */
#pragma once
#include "feed/fanout.h"
#include "feed/feed.h"

#include <stddef.h>

struct fanout_table {
    struct feed_origin origin; /* what it holds is borrowed */
    size_t table;
    struct fanout_queries queries; /* for fanout_init; they borrow this struct */
};

/* t must stay where it is. Of the root table, the queries are of no use. */
void fanout_table_init(struct fanout_table *t, const struct feed_origin *origin, size_t table);
