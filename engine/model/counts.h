/* counts: what became of documents and requests, as numbers that add up.
 *
 * Uses     nothing.
 * Promise  the fields are unsigned and wrap, so that a negative difference, too, can be added.
 */
#pragma once
#include <stdint.h>

struct counts { /* safe to use zeroed */
    /* documents, by bulk_send */
    uint64_t indexed, deleted;
    uint64_t superseded; /* the index holds a newer version, or the document was already deleted */
    uint64_t rejected;
    uint64_t dropped; /* by an ingest pipeline: the index is as it was */
    /* requests, by bulk_send */
    uint64_t bytes, requests;
    uint64_t retried_items; /* items that were sent again */
    /* by the workers */
    uint64_t unchanged; /* documents that were not sent: the index holds equal ones */
    uint64_t repeated;  /* rows whose key another row had, too */
};

void counts_add(struct counts *to, const struct counts *delta);
/* What counts_add has to add to take c back. */
struct counts counts_negative(const struct counts *c);
