/* pass: which pass over a table is under way, and which one follows.
 *
 * Uses     nothing. No server, and no clock of its own: the caller says what time it is.
 * Threads  none of its own; a pass has one owner.
 * Promise  whole passes take at most a tenth of the time.
 *
 * A poll reads a table in passes, page by page:
 *
 *   a whole pass   reads the window (watermark.h); when it ends, the window may move on
 *   a quick pass   reads only rows above all that was seen, while no whole pass is due
 *
 *     state             pass_end                          pass_void
 *     PASS_OVER
 *     PASS_QUICK        PASS_OVER                         PASS_QUICK_VOID
 *     PASS_WHOLE        PASS_OVER, the window moves on    PASS_WHOLE_VOID
 *     PASS_RESUMED      PASS_OVER, the window moves on    PASS_WHOLE_VOID
 *     PASS_QUICK_VOID   PASS_WHOLE                        stays
 *     PASS_WHOLE_VOID   PASS_WHOLE                        stays
 *
 * pass_begin leads from PASS_OVER to PASS_WHOLE if a whole pass is due, else to PASS_QUICK;
 * pass_resume from PASS_WHOLE to PASS_RESUMED.
 *
 * A void pass reads on to its end, and delivers what it finds, but does not move the window.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum pass_state {
    PASS_OVER, /* nothing more is read until pass_begin */
    PASS_QUICK,
    PASS_WHOLE,
    PASS_RESUMED,    /* a whole pass that another process began */
    PASS_QUICK_VOID, /* the window was too small */
    PASS_WHOLE_VOID  /* likewise */
};

/* What the end of a pass means. */
enum pass_result {
    PASS_IS_NOTHING,     /* of a quick pass */
    PASS_COUNTS,         /* of a whole pass: the window may move on */
    PASS_COUNTS_RESUMED, /* the same, of a pass whose first report is not known */
    PASS_IS_VOID         /* another whole pass has begun */
};

struct pass {
    enum pass_state state;
    uint32_t generation;    /* how many whole passes have begun, this one included */
    int64_t took_us;        /* the queries of this pass so far */
    int64_t cost_us[2];     /* the queries of the last two whole passes, the last one first */
    int64_t whole_ended_us; /* when the last whole pass ended */
};

/* now_us: a clock that never steps (clock_mono_us). The pass before, if any, is over. */
void pass_begin(struct pass *p, int64_t now_us);
/* The whole pass that has just begun is one that another process broke off. */
void pass_resume(struct pass *p);
/* The window was too small. */
void pass_void(struct pass *p);
/* A query of the pass has taken that long. */
void pass_spend(struct pass *p, int64_t us);
/* The pass has read its last page. If it was void, the next one has begun. */
enum pass_result pass_end(struct pass *p, int64_t now_us);

/* Whether it reads the window, rather than only what lies above all that was seen. */
bool pass_is_whole(const struct pass *p);
bool pass_is_void(const struct pass *p);
