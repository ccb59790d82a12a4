/* wal_share: one slot for several pipelines: from where it is read, and how far it is confirmed.
 *
 * Uses     nothing.
 * Threads  any; nothing is kept here.
 *
 * The rule. Each pipeline of a slot has a journal of its own, and whoever has a journal has a part
 * in the slot:
 *
 *   IN       it receives: all that was read of the log is in its journal
 *   PENDING  it joins: it is IN once the log is read again, from the lowest position that a
 *            journal of those who are IN or PENDING names. What a journal has already is not
 *            written again
 *   OUT      it does not receive: it has not come yet, has failed, or is being set up
 *
 * The slot is confirmed as far as the log was read, but not beyond the position that the journal of
 * a PENDING one names, nor beyond what is kept for one that is OUT. What a journal needs is thus
 * still in the log when its pipeline joins. Nothing is kept for a pipeline of which this process
 * does not know, nor, after a while, for one that stays OUT: then the slot has been confirmed
 * beyond what its journal names, which is how a gap shows, and only a sweep finds what is missing.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Of one that is OUT: nothing is kept for it. */
#define WAL_SHARE_NOTHING UINT64_MAX

struct wal_part { /* a zeroed one is expected: the slot stays where it is until it has joined */
    enum { WAL_OUT, WAL_PENDING, WAL_IN } is;
    /* PENDING, IN: the position that its journal names; OUT: what is kept for it begins there */
    uint64_t at;
};

/* From where the log is to be read: `from` begins as UINT64_MAX, and each part lowers it. */
static inline uint64_t wal_share_from(uint64_t from, const struct wal_part *p)
{
    return p->is != WAL_OUT && p->at < from ? p->at : from;
}

/* Up to where the slot may be confirmed: `to` begins as the position up to which the log was read,
 * and each part lowers it. */
static inline uint64_t wal_share_confirm(uint64_t to, const struct wal_part *p)
{
    return p->is != WAL_IN && p->at < to ? p->at : to;
}

/* Whether something may be missing in the journal that names the position `at`. */
static inline bool wal_share_is_gap(uint64_t confirmed, uint64_t at)
{
    return confirmed > at;
}

/* Whether the journal that names the position `at` has the transaction whose commit begins at `lsn`
 * already. */
static inline bool wal_share_has(uint64_t at, uint64_t lsn)
{
    return lsn < at;
}
