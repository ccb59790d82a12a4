/* counts: what became of documents and requests, as numbers that add up.
 *
 * Uses     nothing.
 * Promise  differences may be added, too: the fields are unsigned, and wrap to the right sum.
 */
#pragma once
#include <stdint.h>

struct bulk_sums {
    /* documents, by bulk_send */
    uint64_t indexed, deleted;
    uint64_t unchanged; /* superseded by a newer version, or already gone */
    uint64_t rejected;
    /* requests, by bulk_send */
    uint64_t bytes, requests;
    uint64_t retried_items; /* items that were sent again */
    /* by the workers */
    uint64_t same;     /* documents that were not sent: the index holds equal ones */
    uint64_t repeated; /* rows whose key another row had, too */
};
