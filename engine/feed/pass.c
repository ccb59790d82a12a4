#include "feed/pass.h"

#include <assert.h>

enum { WHOLE_SHARE = 10 }; /* whole passes take at most 1/10 of the time */

bool pass_is_whole(const struct pass *p)
{
    return p->state == PASS_WHOLE || p->state == PASS_RESUMED || p->state == PASS_WHOLE_VOID;
}

bool pass_is_void(const struct pass *p)
{
    return p->state == PASS_QUICK_VOID || p->state == PASS_WHOLE_VOID;
}

/* The cheaper one of the last two whole passes counts: a server that stalled made the other one
 * expensive. */
static bool is_whole_due(const struct pass *p, int64_t now_us)
{
    int64_t cost = p->cost_us[0] < p->cost_us[1] ? p->cost_us[0] : p->cost_us[1];
    return now_us - p->whole_ended_us >= WHOLE_SHARE * cost;
}

static void begin_as(struct pass *p, enum pass_state state)
{
    p->state = state;
    p->took_us = 0;
    p->generation += state == PASS_WHOLE;
}

void pass_begin(struct pass *p, int64_t now_us)
{
    assert(p->state == PASS_OVER);
    begin_as(p, is_whole_due(p, now_us) ? PASS_WHOLE : PASS_QUICK);
}

void pass_resume(struct pass *p)
{
    assert(p->state == PASS_WHOLE);
    p->state = PASS_RESUMED;
}

void pass_void(struct pass *p)
{
    assert(p->state != PASS_OVER);
    p->state = pass_is_whole(p) ? PASS_WHOLE_VOID : PASS_QUICK_VOID;
}

void pass_spend(struct pass *p, int64_t us)
{
    p->took_us += us;
}

enum pass_result pass_end(struct pass *p, int64_t now_us)
{
    enum pass_state state = p->state;
    assert(state != PASS_OVER);
    if (pass_is_whole(p)) {
        p->whole_ended_us = now_us;
        p->cost_us[1] = p->cost_us[0];
        p->cost_us[0] = p->took_us;
    }
    p->state = PASS_OVER;
    if (state == PASS_QUICK_VOID || state == PASS_WHOLE_VOID) {
        begin_as(p, PASS_WHOLE);
        return PASS_IS_VOID;
    }
    return state == PASS_WHOLE     ? PASS_COUNTS
           : state == PASS_RESUMED ? PASS_COUNTS_RESUMED
                                   : PASS_IS_NOTHING;
}
