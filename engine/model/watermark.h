/* watermark: which rows of a table a pass reads, and which of them are new.
 *
 * Uses     checkpoint (positions, windows). No server, and no clock of its own: the caller passes
 *          what the server reports, so that a model can drive the rule over virtual time.
 * Threads  none of its own; a checkpoint has one owner.
 * Promise  each committed version of a row is read by some pass that begins after its commit, as
 *          long as its cursor comes from a clock that is at most `lookback` behind.
 *          tests/unit/model/test_watermark.c proves it by a model.
 *
 * A row becomes visible when its transaction commits, but got its cursor earlier: from PostgreSQL's
 * now(), from an application's clock, from a sequence. So the order of cursors is not the order in
 * which rows appear. The words:
 *
 *   horizon     a time: the start of the oldest open transaction. It may commit rows whose cursor
 *               is as old as that
 *   watermark   a position that follows from it: below it, no new row can appear
 *   window      the rows at or above the watermark (window.from). A whole pass reads them all
 *
 * In the window, a row is new
 *   - if it is above all positions read so far (checkpoint_highest), or
 *   - if its xmin is not below window.xid: all transactions below had ended before the last whole
 *     pass began, so that pass has read what they wrote. (Rows whose xmin lies between window.xid
 *     and the present are read again; the caller remembers which versions it has delivered.)
 *
 * The watermark rises in one way only:
 *
 *   1. a whole pass chooses the highest position read so far as the candidate
 *   2. once `lookback` has passed, the transactions that are open then are written down: the fence
 *   3. once they all have ended, and a whole pass has been made after that, the candidate becomes
 *      the watermark: every transaction that is open now, or begins later, has begun at least
 *      `lookback` after the candidate was chosen. A cursor below the candidate would mean a clock
 *      that is behind others by more than `lookback`
 *
 * Exceptions, each of which lowers the watermark or makes the window larger:
 *
 *   the server's clock steps back   the watermark of a time with a zone is never above the server's
 *                                   clock less `lookback`
 *   equal values                    rows at the watermark's own cursor are in the window as long as
 *                                   the value may be written again: a truncated time until its
 *                                   second, minute or month is over, a number for ever
 *   local times                     are set back by an hour when summer ends: one hour more
 *   numbers                         of a sequence's cache, or of blocks, come late: 10,000 more
 *   rows that appear without a      `lookback` once more, below the candidate. They are those of a
 *   commit on this server           standby, a subscriber, a (materialized) view, a foreign table
 *
 * A transaction that is open for longer than horizon_limit would keep the watermark down for ever.
 * It is not waited for: the candidate becomes the watermark, and the window that the transaction
 * may still write to is kept as `rewind`. As soon as one such transaction has ended, that window is
 * restored.
 *
 * checkpoint.at is for people and for the state file's mtime: the highest position read, but not
 * past the start of an open transaction that can be seen.
 *
 * What no pass can find (a deleted row, a row whose cursor is below the window) is found by the
 * sweep.
 */
#pragma once
#include "model/checkpoint.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    WATERMARK_NUMBERS = 10000, /* how many numbers below the watermark a window begins */
    WATERMARK_ANY = 1,         /* as window.xid: rows of any transaction may be new */
};

struct watermark_rule { /* of a table */
    bool is_time;       /* the cursor is a time: positions have us */
    bool is_instant;    /* it has a time zone, so the server's clock compares with it */
    bool commits_here;  /* rows appear by commits on this server */
    int64_t lookback_us;
    int64_t limit_us; /* horizon_limit */
};

struct watermark_report { /* what the server says before a page is read */
    int64_t clock_us;
    int64_t mono_us;      /* this process's monotonic clock then; 0: not known */
    int64_t oldest_us;    /* the horizon; 0: no open transaction can be seen */
    uint64_t xid;         /* all transactions below it have ended */
    uint64_t xmax;        /* above the highest transaction that has ended */
    const char *sessions; /* borrowed: the open transactions' names, each followed by a space; NULL:
                             not asked for */
};

/* Whether the oldest open transaction is not waited for any more. */
bool watermark_is_over_limit(const struct watermark_rule *r, const struct watermark_report *now);

/* Sets *c before a first load. last: the highest position in the table (cursor NULL: none). known:
 * no transaction is open, or the start of each one is known. False: no memory. */
bool watermark_begin(const struct watermark_rule *r, const struct watermark_report *now,
                     const struct position *last, bool known, struct checkpoint *c);

/* How far below window.from a pass begins: in microseconds, or in numbers. If it is not 0, rows at
 * from's cursor and key are in the window. It is 0 for the first pass from a position that the user
 * gave. */
int64_t watermark_slack(const struct watermark_rule *r, const struct checkpoint *c);

/* Whether the next report is of use only with the sessions. clock_us: the server's, about now. */
bool watermark_wants_sessions(const struct watermark_rule *r, const struct checkpoint *c,
                              int64_t clock_us);

/* What a page's report means for its pass. *too_small: the window was too small, and is larger now:
 * the pass is void, and another one must follow. False: no memory. */
bool watermark_judge(const struct watermark_rule *r, struct checkpoint *c,
                     const struct watermark_report *now, bool *too_small);

/* A page has ended at `end`, which is above all positions read so far. False: no memory. */
bool watermark_see(const struct watermark_rule *r, struct checkpoint *c, const struct position *end,
                   const struct watermark_report *now);

/* A whole pass has ended, and is not void. began: the report that it began with; its xid may have
 * been raised by what the first page saw. False: no memory. */
bool watermark_end_pass(const struct watermark_rule *r, struct checkpoint *c,
                        const struct watermark_report *began);
/* The same for a pass that another process began (checkpoint.pass). */
void watermark_end_resumed(struct checkpoint *c);

/* Transaction ids do not mean what they meant: another server answers. */
void watermark_forget_xids(struct checkpoint *c);
