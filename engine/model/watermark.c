#include "model/watermark.h"

#include <stdlib.h>
#include <string.h>

static const int64_t MS = 1000, SECOND = 1000 * 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE;
static const uint64_t COMPARABLE_XIDS = 1u << 30; /* 2^31 is PostgreSQL's own limit */
/* A local time is at most that far from the server's clock. */
static const int64_t FARTHEST_ZONE = 14 * HOUR;

int64_t watermark_slack(const struct watermark_rule *r, const struct checkpoint *c)
{
    if (c->window.xid == 0)
        return 0;
    if (!r->is_time)
        return WATERMARK_NUMBERS;
    return (r->is_instant ? 0 : HOUR) + (r->commits_here ? 0 : r->lookback_us);
}

/* ---- values that come again ---- */

/* The resolution of the clock that wrote a time: for that long, a writer that truncates may write
 * the same value again. A clock of 10 ms also writes whole seconds, so the next larger unit counts.
 * A quarter of an hour is midnight somewhere, of a day or of a month. */
static int64_t resolution_us(int64_t us)
{
    return us % MS != 0              ? MS
           : us % SECOND != 0        ? SECOND
           : us % MINUTE != 0        ? MINUTE
           : us % (15 * MINUTE) != 0 ? 15 * MINUTE
                                     : 32 * 24 * HOUR;
}

static bool may_come_again(const struct watermark_rule *r, const struct position *p,
                           int64_t clock_us)
{
    if (!r->is_time || !p->has_us)
        return true;
    int64_t end_us =
        p->us + resolution_us(p->us) + r->lookback_us + (r->is_instant ? 0 : FARTHEST_ZONE);
    return end_us >= clock_us;
}

/* The watermark that follows from a position, if nothing below it can appear. */
static bool watermark_of(const struct watermark_rule *r, const struct position *p, int64_t clock_us,
                         struct position *to)
{
    if (r->is_instant && p->has_us && p->us > clock_us)
        return position_set_time(to, clock_us);
    if (!position_copy(to, p))
        return false;
    if (may_come_again(r, to, clock_us)) {
        free(to->key);
        to->key = NULL;
    }
    return true;
}

/* ---- fences ---- */

static bool make_fence(struct fence *f, const struct watermark_report *now)
{
    char *sessions = strdup(now->sessions);
    if (!sessions)
        return false;
    free(f->sessions);
    *f = (struct fence){.sessions = sessions, .xid = now->xmax, .us = now->clock_us};
    return true;
}

/* The name after the one at p, or the list's end. *len: the length of the one at p. */
static const char *next_name(const char *p, size_t *len)
{
    *len = strcspn(p, " ");
    return p + *len + (p[*len] == ' ');
}

static bool has_name(const char *list, const char *name, size_t name_len)
{
    size_t len;
    for (const char *p = list, *next; *p; p = next) {
        next = next_name(p, &len);
        if (len == name_len && memcmp(p, name, len) == 0)
            return true;
    }
    return false;
}

/* Whether all transactions of the fence have ended. A prepared transaction's name begins with p,
 * and does not say which session began it: the fence waits for it in any case. */
static bool is_over(const struct fence *f, const struct watermark_report *now)
{
    if (now->xid < f->xid)
        return false;
    size_t len;
    for (const char *p = now->sessions, *next; *p; p = next) {
        next = next_name(p, &len);
        if (*p == 'p' || has_name(f->sessions, p, len))
            return false;
    }
    return true;
}

/* The transactions of the fence that are still open, and all prepared ones. Owned by the caller. */
static char *still_open(const struct fence *f, const struct watermark_report *now)
{
    char *list = calloc(strlen(now->sessions) + 1, 1), *end = list;
    size_t len;
    for (const char *p = now->sessions, *next; list && *p; p = next) {
        next = next_name(p, &len);
        if (*p != 'p' && !has_name(f->sessions, p, len))
            continue;
        memcpy(end, p, (size_t)(next - p));
        end += next - p;
    }
    return list;
}

/* Whether a transaction of the fence has ended. On a standby, which knows only the oldest one's id:
 * whether the oldest one has. */
static bool has_shrunk(const struct fence *f, const struct watermark_report *now)
{
    if (!*f->sessions)
        return now->xid > f->xid;
    size_t len;
    for (const char *p = f->sessions, *next; *p; p = next) {
        next = next_name(p, &len);
        if (!has_name(now->sessions, p, len))
            return true;
    }
    return false;
}

/* ---- the window ---- */

static bool lower_to_clock(struct checkpoint *c, int64_t us)
{
    window_free(&c->candidate);
    return position_set_time(&c->window.from, us);
}

/* The highest position read so far, unless the window begins there already. */
static bool choose_candidate(const struct watermark_rule *r, struct checkpoint *c,
                             const struct watermark_report *now)
{
    const struct position *highest = checkpoint_highest(c);
    struct position from = {0};
    window_free(&c->candidate);
    if (!highest->cursor)
        return true;
    bool ok = watermark_of(r, highest, now->clock_us, &from),
         rises = ok && !position_same(&from, &c->window.from);
    if (rises && from.us == highest->us) /* with its key, which may count when the window moves */
        ok = position_copy(&from, highest);
    if (!rises || !ok) {
        position_free(&from);
        return ok;
    }
    c->candidate.from = from;
    c->candidate.us = now->clock_us;
    c->candidate.mono_us = now->mono_us;
    return true;
}

/* The candidate becomes the watermark. */
static bool move_window(const struct watermark_rule *r, struct checkpoint *c,
                        const struct watermark_report *now)
{
    struct position from = {0};
    if (!watermark_of(r, &c->candidate.from, now->clock_us, &from)) {
        position_free(&from);
        return false;
    }
    position_move(&c->window.from, &from);
    return choose_candidate(r, c, now);
}

/* The limit is reached. Transactions that are still open may write to the present window, which is
 * kept for when one of them has ended. If one of them has an id already, its rows are below the
 * window's id from now on. */
static bool stop_waiting(const struct watermark_rule *r, struct checkpoint *c,
                         const struct watermark_report *now)
{
    struct window *rewind = &c->rewind;
    const struct fence *fence = &c->candidate.fence;
    char *sessions = still_open(fence, now);
    bool first = !rewind->fence.sessions;
    if (!sessions || (first && !position_copy(&rewind->from, &c->window.from))) {
        free(sessions);
        return false;
    }
    free(rewind->fence.sessions);
    rewind->fence = (struct fence){.sessions = sessions, .xid = now->xid, .us = fence->us};
    if (now->xid < fence->xid) {
        if (rewind->xid == 0)
            rewind->xid = c->window.xid;
        if (c->window.xid < fence->xid)
            c->window.xid = fence->xid;
    }
    return move_window(r, c, now);
}

bool watermark_is_over_limit(const struct watermark_rule *r, const struct watermark_report *now)
{
    return now->oldest_us != 0 && now->clock_us - now->oldest_us > r->limit_us;
}

bool watermark_begin(const struct watermark_rule *r, const struct watermark_report *now,
                     const struct position *last, bool known, struct checkpoint *c)
{
    checkpoint_free(c);
    c->window.xid = now->xid;
    if (!last->cursor)
        return true;
    bool ok = watermark_see(r, c, last, now) && choose_candidate(r, c, now);
    if (!ok || !known)
        return ok;
    if (!r->is_time)
        return watermark_of(r, last, now->clock_us, &c->window.from);
    int64_t open_us = now->oldest_us != 0 ? now->clock_us - now->oldest_us : 0;
    int64_t us = r->is_instant && last->us > now->clock_us ? now->clock_us : last->us;
    return position_set_time(&c->window.from, us - r->lookback_us - (open_us > 0 ? open_us : 0));
}

bool watermark_wants_sessions(const struct watermark_rule *r, const struct checkpoint *c,
                              int64_t clock_us)
{
    return c->rewind.fence.sessions || c->candidate.fence.sessions ||
           (c->candidate.us != 0 && clock_us - c->candidate.us >= r->lookback_us);
}

bool watermark_judge(const struct watermark_rule *r, struct checkpoint *c,
                     const struct watermark_report *now, bool *too_small)
{
    struct window *w = &c->window;
    int64_t highest = now->clock_us - r->lookback_us;
    *too_small = false;
    if (now->clock_us < c->candidate.us || now->clock_us < c->candidate.fence.us)
        window_free(&c->candidate); /* the clock went back: new rows may be below the candidate */
    /* The server was restored from a backup; or the state is so old that the 32 bits of a row's id
     * no longer compare. */
    if (w->xid > WATERMARK_ANY && (now->xmax < w->xid || now->xmax - w->xid >= COMPARABLE_XIDS)) {
        watermark_forget_xids(c);
        *too_small = true;
    }
    if (now->sessions && c->rewind.fence.sessions && has_shrunk(&c->rewind.fence, now)) {
        position_move(&w->from, &c->rewind.from);
        if (c->rewind.xid != 0)
            w->xid = c->rewind.xid;
        window_free(&c->rewind);
        window_free(&c->candidate);
        *too_small = true;
    }
    if (r->is_instant && w->from.has_us && w->from.us > highest) {
        *too_small = true;
        return lower_to_clock(c, highest);
    }
    return true;
}

/* A time that no clock can show yet is a mistake, and no position: later changes would all be below
 * it. */
static bool is_position(const struct watermark_rule *r, const struct position *p, int64_t clock_us)
{
    return !r->is_time || r->is_instant || !p->has_us || p->us <= clock_us + FARTHEST_ZONE;
}

bool watermark_see(const struct watermark_rule *r, struct checkpoint *c, const struct position *end,
                   const struct watermark_report *now)
{
    bool held =
        now->oldest_us != 0 && now->oldest_us < now->clock_us && !watermark_is_over_limit(r, now);
    int64_t open_us = held ? now->oldest_us : now->clock_us;
    if (!is_position(r, end, now->clock_us))
        return true;
    if (!r->is_instant || !end->has_us || end->us <= open_us) {
        position_free(&c->seen);
        return position_copy(&c->at, end);
    }
    bool goes_back = c->at.has_us && c->at.us > open_us;
    return position_copy(&c->seen, end) && (goes_back || position_set_time(&c->at, open_us));
}

/* By both clocks: the server's may jump forward. */
static bool is_old_enough(const struct watermark_rule *r, const struct window *candidate,
                          const struct watermark_report *now)
{
    return now->clock_us - candidate->us >= r->lookback_us &&
           (candidate->mono_us == 0 || now->mono_us - candidate->mono_us >= r->lookback_us);
}

bool watermark_end_pass(const struct watermark_rule *r, struct checkpoint *c,
                        const struct watermark_report *began)
{
    struct window *candidate = &c->candidate;
    if (c->window.xid < began->xid)
        c->window.xid = began->xid;
    if (c->seen.cursor) {
        struct position seen = c->seen;
        c->seen = (struct position){0};
        bool ok = watermark_see(r, c, &seen, began);
        position_free(&seen);
        if (!ok)
            return false;
    }
    if (candidate->us == 0)
        return choose_candidate(r, c, began);
    if (!began->sessions || !is_old_enough(r, candidate, began))
        return true;
    if (!candidate->fence.sessions && !make_fence(&candidate->fence, began))
        return false;
    if (is_over(&candidate->fence, began))
        return move_window(r, c, began);
    return began->clock_us - candidate->fence.us < r->limit_us || stop_waiting(r, c, began);
}

void watermark_end_resumed(struct checkpoint *c)
{
    if (c->window.xid < c->pass_xid)
        c->window.xid = c->pass_xid;
    position_free(&c->pass);
    c->pass_xid = 0;
}

void watermark_forget_xids(struct checkpoint *c)
{
    c->window.xid = c->window.xid != 0 ? WATERMARK_ANY : 0;
    c->pass_xid = 0;
    position_free(&c->pass);
    window_free(&c->candidate);
    if (c->rewind.fence.sessions) { /* the transactions that it waited for are gone */
        position_move(&c->window.from, &c->rewind.from);
        window_free(&c->rewind);
    }
}
