/* watermark: from where on a table is looked at again, and which of the rows there are new.
 *
 * Uses     state (positions, marks), clock. No server, no time of its own: whoever polls tells what
 *          the server reports, so that a model can drive it over virtual time.
 * Threads  none of its own; a mark has one owner.
 *
 * A row becomes visible when its transaction commits, but got its cursor before: from PostgreSQL's
 * now(), from an application's clock, from a sequence. So the order of cursors is not the order in
 * which rows appear. Two things decide about a row, and neither takes the cursor's word for more
 * than it is worth:
 *
 *   where to look   the window: all rows at or above window.from. It reaches `lookback` below what
 *                   the oldest open transaction can have written.
 *   what is new     of the rows there: those above everything seen (mark.seen), and those whose
 *                   xmin is not below window.xid: all transactions below it had ended before the
 *                   last whole look began,
 * so that look has read what they wrote. (Rows between window.xid and the present come again; who
 * polls remembers which versions it has delivered.)
 *
 * The window's lower end rises in one way only. A look notes the highest position seen, as a
 * candidate. Once `lookback` has passed, the transactions that are open then are written down: the
 * fence. Once they all have ended, and a whole look has been made after that, the candidate becomes
 * the window's lower end: every transaction that is open now, or begins later, has begun at least
 * `lookback` after the candidate was seen. A cursor of its own below the candidate would mean a
 * clock that is behind others by more than `lookback`.
 *
 *   a clock that steps back   from is never above the server's clock less lookback (instants)
 *   equal values              rows at from's very cursor belong to the window as long as the value
 *                             may come again: a truncated time until its second, minute or month is
 *                             over, a number for ever
 *   local times               are set back by an hour at the end of summer time: an hour more
 *   numbers                   of a sequence's cache, or of blocks, come late: 10,000 numbers more
 *   rows that appear without a transaction of this server (a standby, a subscriber, a materialized
 *   view, a
 *   foreign table, a view)    lookback once more, below the candidate itself
 *
 * A transaction that is open for longer than horizon_limit would widen the window for ever. It is
 * waited for no longer: the candidate is taken, and the window that it may still fill is kept as
 * `rewind`: as soon as one such transaction has ended, the window is that one again. What is told
 * about `at` is for people and for the state file's mtime: the highest position seen, but not past
 * the start of an open transaction that can be seen.
 *
 * What no look can find (a deleted row, one whose cursor lies below the window) is the sweep's.
 */
#pragma once
#include "model/checkpoint.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    WATERMARK_NUMBERS = 10000, /* how far below from a window of numbers begins */
    WATERMARK_ANY = 1,         /* of window.xid: whichever transaction a row is of, it may be new */
};

struct watermark_rule { /* of a table */
    bool is_time;       /* the cursor: positions have us */
    bool is_instant;    /* it has a time zone: it can be compared with the server's clock */
    bool is_ruled;      /* rows appear by commits on this server */
    int64_t lookback_us, limit_us;
};

struct watermark_report { /* what the server says before a page is read */
    int64_t clock_us;
    /* when it was read, by a clock of the process that never steps; 0: not known */
    int64_t mono_us;
    int64_t oldest_us; /* the start of the oldest open transaction that can be seen; 0: none */
    uint64_t xid;      /* all transactions below it have ended */
    uint64_t xmax;     /* above the highest one that has ended */
    /* borrowed: the open transactions' names, a space behind each; NULL: not asked */
    const char *sessions;
};

/* Whether the oldest open transaction is not waited for any more. */
bool watermark_is_over_limit(const struct watermark_rule *r, const struct watermark_report *now);

/* Before a first load. last: the highest position there is, perhaps none. known: no transaction is
 * open, or each one's start is known. False: no memory. */
bool watermark_begin(const struct watermark_rule *r, const struct watermark_report *now,
                     const struct position *last, bool known, struct checkpoint *m);

/* How far below window.from the window begins: in microseconds, or in numbers. If it is not 0, rows
 * at from's cursor and key are part of it. A position that a user has given is meant to the letter,
 * for the first pass. */
int64_t watermark_slack(const struct watermark_rule *r, const struct checkpoint *m);

/* Whether the next report is of use only with the sessions. clock_us: about now, on the server. */
bool watermark_wants_sessions(const struct watermark_rule *r, const struct checkpoint *m,
                              int64_t clock_us);

/* What a page's report means for the pass that it belongs to. again: the window was too small, and
 * is larger now: the pass does not count, and all is to be looked at again. False: no memory. */
bool watermark_judge(const struct watermark_rule *r, struct checkpoint *m,
                     const struct watermark_report *now, bool *again);

/* A page has ended at `end`, above all that was seen. False: no memory. */
bool watermark_see(const struct watermark_rule *r, struct checkpoint *m, const struct position *end,
                   const struct watermark_report *now);

/* A look at the whole window is over, which counts. began: the report that it began with, its xid
 * perhaps raised by what its first page saw. False: no memory. */
bool watermark_end_pass(const struct watermark_rule *r, struct checkpoint *m,
                        const struct watermark_report *began);
/* The same for one that was broken off, and has gone on by mark.pass. */
void watermark_end_resumed(struct checkpoint *m);

/* The server's transaction ids are others now. */
void watermark_forget_xids(struct checkpoint *m);
