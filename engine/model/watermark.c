#include "model/watermark.h"

#include <stdlib.h>
#include <string.h>

static const int64_t MS = 1000, SECOND = 1000 * 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE;
static const uint64_t COMPARABLE_XIDS = 1u << 30; /* 2^31 is PostgreSQL's own limit */
/* a local time may be that far from the server's clock */
static const int64_t FARTHEST_ZONE = 14 * HOUR;

int64_t watermark_slack(const struct watermark_rule *r, const struct checkpoint *m)
{
    if (m->window.xid == 0)
        return 0;
    if (!r->is_time)
        return WATERMARK_NUMBERS;
    return (r->is_instant ? 0 : HOUR) + (r->is_ruled ? 0 : r->lookback_us);
}

/* ---- values that come again ---- */

/* For how long after it a writer that truncates its clock may write this very time. Whoever
 * truncates to 10 ms also writes whole seconds, so the next coarser unit counts; and a quarter of
 * an hour is midnight somewhere, of a day or of a month. */
static int64_t lasts_us(int64_t us)
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
    int64_t over = p->us + lasts_us(p->us) + r->lookback_us + (r->is_instant ? 0 : FARTHEST_ZONE);
    return over >= clock_us;
}

/* *to: the lower end that a window would have. */
static bool settle(const struct watermark_rule *r, const struct position *p, int64_t clock_us,
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

/* Behind the name at p, whose length is *len; the next one, or the list's end. */
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

/* A prepared transaction's name, which begins with p, does not tell which session it came from. */
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

/* Those of the fence that are still open. A standby knows but the oldest one's id. */
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

/* As soon as one has ended: before the ids that count pass its own. */
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

static bool lower_to_clock(struct checkpoint *m, int64_t us)
{
    window_free(&m->candidate);
    return position_set_time(&m->window.from, us);
}

/* The highest position seen, unless the window begins there already. */
static bool note_candidate(const struct watermark_rule *r, struct checkpoint *m,
                           const struct watermark_report *now)
{
    struct position from = {0};
    window_free(&m->candidate);
    if (!checkpoint_highest(m)->cursor)
        return true;
    bool ok = settle(r, checkpoint_highest(m), now->clock_us, &from),
         is_news = ok && !position_same(&from, &m->window.from);
    if (is_news &&
        from.us == checkpoint_highest(m)->us) /* its key may count by the time it is taken */
        ok = position_copy(&from, checkpoint_highest(m));
    if (!is_news || !ok) {
        position_free(&from);
        return ok;
    }
    m->candidate.from = from;
    m->candidate.us = now->clock_us;
    m->candidate.mono_us = now->mono_us;
    return true;
}

static bool adopt(const struct watermark_rule *r, struct checkpoint *m,
                  const struct watermark_report *now)
{
    struct position from = {0};
    if (!settle(r, &m->candidate.from, now->clock_us, &from)) {
        position_free(&from);
        return false;
    }
    position_move(&m->window.from, &from);
    return note_candidate(r, m, now);
}

/* The transactions that are still open may fill the window as it is now: it is kept for when one
 * has ended. Where one of them has written already, its rows are below the ids that count from now
 * on. */
static bool give_up(const struct watermark_rule *r, struct checkpoint *m,
                    const struct watermark_report *now)
{
    struct window *rewind = &m->rewind;
    const struct fence *fence = &m->candidate.fence;
    char *sessions = still_open(fence, now);
    bool first = !rewind->fence.sessions;
    if (!sessions || (first && !position_copy(&rewind->from, &m->window.from))) {
        free(sessions);
        return false;
    }
    free(rewind->fence.sessions);
    rewind->fence = (struct fence){.sessions = sessions, .xid = now->xid, .us = fence->us};
    if (now->xid < fence->xid) {
        if (rewind->xid == 0)
            rewind->xid = m->window.xid;
        if (m->window.xid < fence->xid)
            m->window.xid = fence->xid;
    }
    return adopt(r, m, now);
}

bool watermark_is_over_limit(const struct watermark_rule *r, const struct watermark_report *now)
{
    return now->oldest_us != 0 && now->clock_us - now->oldest_us > r->limit_us;
}

bool watermark_begin(const struct watermark_rule *r, const struct watermark_report *now,
                     const struct position *last, bool known, struct checkpoint *m)
{
    checkpoint_free(m);
    m->window.xid = now->xid;
    if (!last->cursor)
        return true;
    bool ok = watermark_see(r, m, last, now) && note_candidate(r, m, now);
    if (!ok || !known)
        return ok;
    if (!r->is_time)
        return settle(r, last, now->clock_us, &m->window.from);
    int64_t open_us = now->oldest_us != 0 ? now->clock_us - now->oldest_us : 0;
    int64_t us = r->is_instant && last->us > now->clock_us ? now->clock_us : last->us;
    return position_set_time(&m->window.from, us - r->lookback_us - (open_us > 0 ? open_us : 0));
}

bool watermark_wants_sessions(const struct watermark_rule *r, const struct checkpoint *m,
                              int64_t clock_us)
{
    return m->rewind.fence.sessions || m->candidate.fence.sessions ||
           (m->candidate.us != 0 && clock_us - m->candidate.us >= r->lookback_us);
}

bool watermark_judge(const struct watermark_rule *r, struct checkpoint *m,
                     const struct watermark_report *now, bool *again)
{
    struct window *w = &m->window;
    int64_t highest = now->clock_us - r->lookback_us;
    *again = false;
    if (now->clock_us < m->candidate.us || now->clock_us < m->candidate.fence.us)
        window_free(&m->candidate); /* the clock went back: what is written now may lie below it */
    /* A server that has gone back in time; or a state so old that the 32 bits of a row's id have
     * come round. */
    if (w->xid > WATERMARK_ANY && (now->xmax < w->xid || now->xmax - w->xid >= COMPARABLE_XIDS)) {
        watermark_forget_xids(m);
        *again = true;
    }
    if (now->sessions && m->rewind.fence.sessions && has_shrunk(&m->rewind.fence, now)) {
        position_move(&w->from, &m->rewind.from);
        if (m->rewind.xid != 0)
            w->xid = m->rewind.xid;
        window_free(&m->rewind);
        window_free(&m->candidate);
        *again = true;
    }
    if (r->is_instant && w->from.has_us && w->from.us > highest) {
        *again = true;
        return lower_to_clock(m, highest);
    }
    return true;
}

/* A time that no clock can show yet is a mistake, and no position: all that changes from now on is
 * below. */
static bool is_position(const struct watermark_rule *r, const struct position *p, int64_t clock_us)
{
    return !r->is_time || r->is_instant || !p->has_us || p->us <= clock_us + FARTHEST_ZONE;
}

bool watermark_see(const struct watermark_rule *r, struct checkpoint *m, const struct position *end,
                   const struct watermark_report *now)
{
    bool held =
        now->oldest_us != 0 && now->oldest_us < now->clock_us && !watermark_is_over_limit(r, now);
    int64_t open_us = held ? now->oldest_us : now->clock_us;
    if (!is_position(r, end, now->clock_us))
        return true;
    if (!r->is_instant || !end->has_us || end->us <= open_us) {
        position_free(&m->seen);
        return position_copy(&m->at, end);
    }
    bool goes_back = m->at.has_us && m->at.us > open_us;
    return position_copy(&m->seen, end) && (goes_back || position_set_time(&m->at, open_us));
}

/* A server's clock that jumps forward makes nothing older. */
static bool is_of_age(const struct watermark_rule *r, const struct window *candidate,
                      const struct watermark_report *now)
{
    return now->clock_us - candidate->us >= r->lookback_us &&
           (candidate->mono_us == 0 || now->mono_us - candidate->mono_us >= r->lookback_us);
}

bool watermark_end_pass(const struct watermark_rule *r, struct checkpoint *m,
                        const struct watermark_report *began)
{
    struct window *c = &m->candidate;
    if (m->window.xid < began->xid)
        m->window.xid = began->xid;
    if (m->seen.cursor) {
        struct position seen = m->seen;
        m->seen = (struct position){0};
        bool ok = watermark_see(r, m, &seen, began);
        position_free(&seen);
        if (!ok)
            return false;
    }
    if (c->us == 0)
        return note_candidate(r, m, began);
    if (!began->sessions || !is_of_age(r, c, began))
        return true;
    if (!c->fence.sessions && !make_fence(&c->fence, began))
        return false;
    if (is_over(&c->fence, began))
        return adopt(r, m, began);
    return began->clock_us - c->fence.us < r->limit_us || give_up(r, m, began);
}

void watermark_end_resumed(struct checkpoint *m)
{
    if (m->window.xid < m->pass_xid)
        m->window.xid = m->pass_xid;
    position_free(&m->pass);
    m->pass_xid = 0;
}

void watermark_forget_xids(struct checkpoint *m)
{
    m->window.xid = m->window.xid != 0 ? WATERMARK_ANY : 0;
    m->pass_xid = 0;
    position_free(&m->pass);
    window_free(&m->candidate);
    if (m->rewind.fence.sessions) { /* whoever was open there is gone */
        position_move(&m->window.from, &m->rewind.from);
        window_free(&m->rewind);
    }
}
