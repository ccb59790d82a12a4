/* The rule of watermark.h, proved by a model: writers with clocks of their own, transactions, and
 * looks, over virtual time. A seed makes a schedule; thousands of them run in a second. What the
 * model says of PostgreSQL is what its documentation says: ids in the order of first writes,
 * subtransactions with ids of their own, a snapshot that sees what had ended, rows that appear at
 * commit.
 *
 * Whatever was committed has to be delivered, once a whole look has been made after its commit. A
 * second test breaks the rule in ways that look harmless, and wants the model to notice.
 *
 * ETL_SEED=N: other schedules. ETL_SCHEDULES=N: so many for each kind. */
#include "model/watermark.h"

#include "base/clock.h"
#include "torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 24, WRITERS = 6, VERSIONS = 1000, SECOND = 1000 * 1000 };

/* ---- random numbers: splitmix64 ---- */

static uint64_t dice;

static uint64_t roll(void)
{
    uint64_t z = dice += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static int64_t between(int64_t low, int64_t high)
{
    return low + (int64_t)(roll() % (uint64_t)(high - low + 1));
}

static bool chance(int percent)
{
    return between(1, 100) <= percent;
}

/* ---- the world ---- */

enum kind { INSTANT, LOCAL, NUMBER };

struct kind_of_world {
    const char *name;
    enum kind kind;
    int64_t skew_us;    /* writers' clocks differ from the server's by at most that, either way */
    int64_t offset_us;  /* and all of them by this */
    int64_t unit_us;    /* they truncate to it */
    int64_t longest_us; /* a transaction's duration */
    int64_t sleep_us;   /* at most, from its begin until its first write */
    int64_t lookback_us;
    int64_t limit_us; /* horizon_limit */
    int cache;        /* of a sequence */
    bool steps;       /* the server's clock jumps, either way */
    bool summer;      /* local clocks are set back by an hour, once */
    bool standby;     /* of which the rows are read: it replays late, and names no sessions */
    bool one_shot;    /* each look is a process of its own */
    bool crashes;     /* what is not saved is lost, now and then */
};

static const struct kind_of_world worlds[] = {
    {.name = "now()",
     .kind = INSTANT,
     .unit_us = 1,
     .longest_us = 90 * SECOND,
     .sleep_us = 5 * SECOND,
     .lookback_us = 60 * SECOND,
     .limit_us = 600 * SECOND,
     .crashes = true},
    {.name = "now(), one-shot",
     .kind = INSTANT,
     .unit_us = 1,
     .longest_us = 90 * SECOND,
     .sleep_us = 80 * SECOND,
     .lookback_us = 60 * SECOND,
     .limit_us = 600 * SECOND,
     .one_shot = true},
    {.name = "app clocks",
     .kind = INSTANT,
     .skew_us = 20 * SECOND,
     .unit_us = 1,
     .longest_us = 30 * SECOND,
     .lookback_us = 60 * SECOND,
     .limit_us = 600 * SECOND,
     .crashes = true},
    {.name = "milliseconds",
     .kind = INSTANT,
     .skew_us = SECOND / 2,
     .unit_us = 1000,
     .longest_us = 90 * SECOND,
     .sleep_us = 9 * SECOND,
     .lookback_us = 60 * SECOND,
     .limit_us = 600 * SECOND},
    {.name = "milliseconds, one-shot",
     .kind = INSTANT,
     .skew_us = SECOND / 2,
     .unit_us = 1000,
     .longest_us = 9 * SECOND,
     .lookback_us = 5 * SECOND,
     .limit_us = 600 * SECOND,
     .one_shot = true},
    {.name = "whole seconds",
     .kind = INSTANT,
     .skew_us = 2 * SECOND,
     .unit_us = SECOND,
     .longest_us = 20 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND},
    {.name = "minutes",
     .kind = INSTANT,
     .skew_us = 2 * SECOND,
     .unit_us = 60LL * SECOND,
     .longest_us = 20 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .crashes = true},
    {.name = "days",
     .kind = LOCAL,
     .skew_us = 2 * SECOND,
     .unit_us = 86400LL * SECOND,
     .longest_us = 20 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .one_shot = true},
    {.name = "clocks two hours behind",
     .kind = INSTANT,
     .skew_us = SECOND,
     .offset_us = -7200LL * SECOND,
     .unit_us = 1,
     .longest_us = 20 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND},
    {.name = "clocks two hours ahead",
     .kind = LOCAL,
     .skew_us = SECOND,
     .offset_us = 7200LL * SECOND,
     .unit_us = 1,
     .longest_us = 20 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND},
    {.name = "local time, summer's end",
     .kind = LOCAL,
     .skew_us = SECOND,
     .offset_us = -18000LL * SECOND,
     .unit_us = 1,
     .longest_us = 20 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .summer = true},
    {.name = "local seconds, summer's end",
     .kind = LOCAL,
     .skew_us = SECOND,
     .offset_us = 7200LL * SECOND,
     .unit_us = SECOND,
     .longest_us = 20 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .summer = true,
     .one_shot = true},
    {.name = "a clock that steps",
     .kind = INSTANT,
     .skew_us = SECOND,
     .unit_us = 1,
     .longest_us = 30 * SECOND,
     .sleep_us = 3 * SECOND,
     .lookback_us = 60 * SECOND,
     .limit_us = 600 * SECOND,
     .steps = true},
    {.name = "over the limit",
     .kind = INSTANT,
     .skew_us = SECOND,
     .unit_us = 1,
     .longest_us = 200 * SECOND,
     .sleep_us = 150 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 20 * SECOND,
     .crashes = true},
    {.name = "over the limit, one-shot",
     .kind = INSTANT,
     .skew_us = SECOND,
     .unit_us = 1,
     .longest_us = 200 * SECOND,
     .sleep_us = 150 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 20 * SECOND,
     .one_shot = true},
    {.name = "no lookback",
     .kind = INSTANT,
     .unit_us = 1,
     .longest_us = 90 * SECOND,
     .sleep_us = 40 * SECOND,
     .limit_us = 600 * SECOND},
    {.name = "a sequence",
     .kind = NUMBER,
     .unit_us = 1,
     .longest_us = 60 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .cache = 1,
     .crashes = true},
    {.name = "a sequence with a cache",
     .kind = NUMBER,
     .unit_us = 1,
     .longest_us = 10 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .cache = 50,
     .one_shot = true},
    {.name = "a standby",
     .kind = INSTANT,
     .skew_us = SECOND,
     .unit_us = 1,
     .longest_us = 8 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .standby = true},
    {.name = "a standby, one-shot",
     .kind = INSTANT,
     .skew_us = SECOND,
     .unit_us = 1,
     .longest_us = 8 * SECOND,
     .lookback_us = 10 * SECOND,
     .limit_us = 600 * SECOND,
     .standby = true,
     .one_shot = true},
};

struct version { /* of a row */
    int row;
    int64_t cursor;
    uint64_t xid, top; /* top: of the transaction, where xid is a savepoint's */
    int64_t commit_us; /* when it becomes visible; 0: not yet */
    bool gone;         /* rolled back, or replaced by a visible one */
    int64_t gone_us;
    int writer; /* while its transaction is open; -1 afterwards */
    bool delivered;
};

struct writer {
    bool open, wrote, prepared;
    int64_t begin_us, write_us, end_us, next_us;
    uint64_t xid;
    uint64_t session; /* the name of its transaction */
    int64_t skew_us;
    int64_t block, left; /* of a sequence's cache */
};

struct world {
    const struct kind_of_world *k;
    int64_t now_us;  /* true time */
    int64_t step_us; /* the server's clock, less the true time */
    int64_t summer_us;
    uint64_t next_xid, next_session, ended_xid; /* ended: the highest one */
    int64_t next_number;
    struct writer writers[WRITERS];
    struct version versions[VERSIONS];
    int n;
    int64_t seen_us; /* a standby has replayed what happened up to then */
};

static struct world w;

static int64_t server_clock(void)
{
    return w.now_us + w.step_us;
}

/* The true time up to which what happened can be seen: the present, but for a standby. */
static int64_t seen_until(void)
{
    return w.k->standby ? w.seen_us : w.now_us;
}

static int64_t cursor_of(struct writer *wr)
{
    if (w.k->kind == NUMBER) {
        if (wr->left == 0) {
            wr->block = w.next_number;
            wr->left = w.k->cache;
            w.next_number += w.k->cache;
        }
        wr->left--;
        return wr->block++;
    }
    /* by the server's now(), the transaction's start; else by a clock of the writer's own, at the
     * write */
    int64_t us = w.k->skew_us == 0 ? wr->begin_us + w.step_us : server_clock() + wr->skew_us;
    us += w.k->offset_us;
    if (w.k->summer && w.now_us >= w.summer_us)
        us -= 3600LL * SECOND;
    return us - us % w.k->unit_us;
}

static void write_row(struct writer *wr, int row)
{
    if (w.n == VERSIONS)
        return;
    if (!wr->wrote)
        wr->xid = w.next_xid++;
    uint64_t xid = chance(40) ? w.next_xid++ : wr->xid; /* a savepoint has an id of its own */
    w.versions[w.n++] = (struct version){.row = row,
                                         .cursor = cursor_of(wr),
                                         .xid = xid,
                                         .top = wr->xid,
                                         .writer = (int)(wr - w.writers)};
    wr->wrote = true;
}

static bool is_locked(int row)
{
    for (int i = 0; i < w.n; i++)
        if (w.versions[i].row == row && w.versions[i].writer >= 0)
            return true;
    return false;
}

static void end_transaction(struct writer *wr)
{
    bool commit = !chance(10);
    for (int i = 0; i < w.n; i++) {
        struct version *v = &w.versions[i];
        if (v->writer != wr - w.writers)
            continue;
        v->writer = -1;
        v->gone = !commit;
        w.ended_xid = v->xid > w.ended_xid ? v->xid : w.ended_xid;
        for (int k = 0; commit && k < w.n; k++) /* the row's versions before it */
            if (k != i && w.versions[k].row == v->row && w.versions[k].commit_us != 0 &&
                !w.versions[k].gone) {
                w.versions[k].gone = true;
                w.versions[k].gone_us = w.now_us;
            }
        v->commit_us = commit ? w.now_us : 0;
    }
    wr->open = wr->prepared = false;
    wr->next_us = w.now_us + between(1, 3 * SECOND);
}

static void begin_transaction(struct writer *wr)
{
    bool longer = chance(15);
    int64_t lasts = longer ? between(0, w.k->longest_us) : between(0, SECOND / 20);
    int64_t sleeps = longer ? between(0, lasts < w.k->sleep_us ? lasts : w.k->sleep_us) : 0;
    wr->open = true;
    wr->wrote = wr->prepared = false;
    wr->begin_us = w.now_us;
    wr->write_us = w.now_us + sleeps;
    wr->end_us = w.now_us + lasts;
    wr->session = ++w.next_session;
}

static void write_rows(struct writer *wr)
{
    for (int64_t n = between(1, 3); n > 0; n--) {
        int row = (int)between(0, ROWS - 1);
        if (!is_locked(row))
            write_row(wr, row);
    }
    wr->write_us = w.now_us + between(1, w.k->longest_us);
    if (wr->wrote && chance(5)) { /* for another session to commit */
        wr->prepared = true;
        wr->write_us = INT64_MAX;
    }
}

static int64_t next_event(const struct writer *wr)
{
    return !wr->open ? wr->next_us : wr->write_us < wr->end_us ? wr->write_us : wr->end_us;
}

static void run_writer(struct writer *wr)
{
    if (!wr->open)
        begin_transaction(wr);
    else if (wr->write_us < wr->end_us)
        write_rows(wr);
    else
        end_transaction(wr);
}

/* ---- the engine's side: passes as feed_poll makes them, of one page ---- */

enum flaw { SOUND, SUBTRANSACTIONS_FORGOTTEN, NO_FENCE, KEY_KEPT, XID_OF_THE_END };

struct engine {
    enum flaw flaw;
    struct watermark_rule rule;
    struct checkpoint mark, saved;
    char sessions[2000];
    bool again;
};

static struct engine en;

static void make_report(struct watermark_report *r)
{
    uint64_t oldest = w.ended_xid + 1;
    size_t len = 0;
    *r = (struct watermark_report){.clock_us = server_clock(),
                                   .mono_us = w.k->one_shot ? 0 : w.now_us,
                                   .xmax = w.ended_xid + 1};
    en.sessions[0] = '\0';
    for (int i = 0; i < WRITERS; i++) {
        const struct writer *wr = &w.writers[i];
        if (!wr->open)
            continue;
        if (!w.k->standby)
            len += (size_t)snprintf(en.sessions + len, sizeof en.sessions - len, "%s%llu ",
                                    wr->prepared ? "p" : "",
                                    (unsigned long long)(wr->prepared ? wr->xid : wr->session));
        if (wr->wrote && wr->xid < oldest)
            oldest = wr->xid;
        int64_t began = wr->begin_us + w.step_us;
        if (!w.k->standby && !wr->prepared && chance(50) &&
            (r->oldest_us == 0 || began < r->oldest_us))
            r->oldest_us = began; /* some sessions are hidden */
    }
    for (int i = 0; i < w.n; i++) {
        const struct version *v = &w.versions[i];
        bool open = v->writer >= 0 || (v->commit_us != 0 && v->commit_us > seen_until());
        if (open && v->top < oldest)
            oldest = v->top;
    }
    r->xid = oldest;
    r->sessions = en.sessions;
}

static bool is_visible(const struct version *v)
{
    int64_t until = seen_until();
    return v->commit_us != 0 && v->commit_us <= until && !(v->gone && v->gone_us <= until);
}

/* The position as a number; its text is what the module compares. */
static int64_t cursor_number(const struct position *p)
{
    return en.rule.is_time ? p->us : strtoll(p->cursor, NULL, 10);
}

static int64_t key_number(const struct position *p)
{
    return p->key ? strtoll(p->key, NULL, 10) : -1;
}

static bool above(const struct version *v, const struct position *p)
{
    if (!p->cursor)
        return true;
    int64_t c = cursor_number(p);
    return v->cursor != c ? v->cursor > c : v->row > key_number(p);
}

static void set_position(struct position *p, const struct version *v)
{
    char text[CLOCK_TEXT], key[20];
    position_free(p);
    snprintf(key, sizeof key, "%d", v->row);
    if (en.rule.is_time)
        clock_text(v->cursor, text);
    else
        snprintf(text, sizeof text, "%lld", (long long)v->cursor);
    *p = (struct position){
        .cursor = strdup(text), .key = strdup(key), .us = v->cursor, .has_us = en.rule.is_time};
}

static bool is_in_window(const struct version *v, const struct checkpoint *m)
{
    const struct position *from = &m->window.from;
    int64_t slack = watermark_slack(&en.rule, m);
    if (!from->cursor)
        return true;
    return slack > 0 ? v->cursor >= cursor_number(from) - slack : above(v, from);
}

static bool is_new(const struct version *v, const struct checkpoint *m)
{
    return above(v, m->seen.cursor ? &m->seen : &m->at) || v->xid >= m->window.xid;
}

static void deliver(bool whole, struct watermark_report *began)
{
    struct position end = {0};
    const struct version *highest = NULL;
    const struct position *seen = en.mark.seen.cursor ? &en.mark.seen : &en.mark.at;
    for (int i = 0; i < w.n; i++) {
        struct version *v = &w.versions[i];
        if (!is_visible(v))
            continue;
        if (whole ? is_in_window(v, &en.mark) && is_new(v, &en.mark) : above(v, seen))
            v->delivered = true;
        else
            continue;
        if (above(v, seen) && (!highest || v->cursor > highest->cursor ||
                               (v->cursor == highest->cursor && v->row > highest->row)))
            highest = v;
    }
    if (highest) {
        set_position(&end, highest);
        assert_true(watermark_see(&en.rule, &en.mark, &end, began));
        position_free(&end);
    }
}

/* A version that was replaced before any look could see it is none's to deliver: its successor
 * is. */
static void forget_replaced(void)
{
    int n = 0;
    for (int i = 0; i < w.n; i++) {
        const struct version *v = &w.versions[i];
        bool rolled_back = v->gone && v->commit_us == 0;
        if (!rolled_back && !(v->gone && v->gone_us <= seen_until()))
            w.versions[n++] = *v;
    }
    w.n = n;
}

static void look(bool whole)
{
    struct watermark_report r;
    bool again;
    make_report(&r);
    if (en.flaw == SUBTRANSACTIONS_FORGOTTEN) { /* what no snapshot lists as open counts as over */
        r.xid = w.next_xid;
        for (int i = 0; i < WRITERS; i++)
            if (w.writers[i].wrote && w.writers[i].open && w.writers[i].xid < r.xid)
                r.xid = w.writers[i].xid + 1;
    }
    if (en.flaw == NO_FENCE)
        r.sessions = "";
    assert_true(watermark_judge(&en.rule, &en.mark, &r, &again));
    deliver(whole, &r);
    en.again = again;
    forget_replaced();
    if (again || !whole)
        return;
    if (en.flaw == XID_OF_THE_END)
        r.xid = w.next_xid;
    assert_true(watermark_end_pass(&en.rule, &en.mark, &r));
    if (en.flaw == KEY_KEPT && en.mark.window.from.cursor && !en.mark.window.from.key)
        en.mark.window.from.key = strdup("999999");
}

/* ---- a schedule ---- */

static void begin_world(const struct kind_of_world *k, enum flaw flaw)
{
    memset(&w, 0, sizeof w);
    w.k = k;
    w.now_us = 1700000000LL * SECOND + between(0, 86400LL * SECOND);
    w.seen_us = w.now_us;
    w.summer_us = w.now_us + between(20, 120) * SECOND;
    w.next_xid = 1000;
    w.ended_xid = 999;
    w.next_number = 1;
    checkpoint_free(&en.mark);
    checkpoint_free(&en.saved);
    en.flaw = flaw;
    en.rule = (struct watermark_rule){.is_time = k->kind != NUMBER,
                                      .is_instant = k->kind == INSTANT,
                                      .commits_here = !k->standby,
                                      .lookback_us = k->lookback_us,
                                      .limit_us = k->limit_us};
    for (int i = 0; i < WRITERS; i++) {
        w.writers[i].skew_us = k->skew_us ? between(-k->skew_us, k->skew_us) : 0;
        w.writers[i].next_us = w.now_us + between(0, SECOND);
    }
}

static void pass_time(int64_t us)
{
    for (int64_t end = w.now_us + us; w.now_us < end;) {
        struct writer *next = &w.writers[0];
        for (int i = 1; i < WRITERS; i++)
            if (next_event(&w.writers[i]) < next_event(next))
                next = &w.writers[i];
        if (next_event(next) > end) {
            w.now_us = end;
        } else {
            w.now_us = next_event(next);
            run_writer(next);
        }
    }
    if (chance(60)) /* a standby goes on, up to some moment; or it stalls */
        w.seen_us = chance(50) ? w.now_us : between(w.seen_us, w.now_us);
}

static void first_load(void)
{
    struct watermark_report r;
    struct position last = {0};
    const struct version *highest = NULL;
    make_report(&r);
    bool hidden = chance(50), open = false;
    int64_t oldest = 0;
    for (int i = 0; i < WRITERS; i++)
        open |= w.writers[i].open;
    for (int i = 0; i < WRITERS; i++)
        if (w.writers[i].open && (oldest == 0 || w.writers[i].begin_us < oldest))
            oldest = w.writers[i].begin_us;
    r.oldest_us = oldest ? oldest + w.step_us : 0;
    for (int i = 0; i < w.n; i++) {
        struct version *v = &w.versions[i];
        if (!is_visible(v))
            continue;
        v->delivered = true;
        if (!highest || v->cursor > highest->cursor ||
            (v->cursor == highest->cursor && v->row > highest->row))
            highest = v;
    }
    if (highest)
        set_position(&last, highest);
    bool known = !(hidden && open) && !w.k->standby && (en.rule.is_time || !open);
    assert_true(watermark_begin(&en.rule, &r, &last, known, &en.mark));
    assert_true(checkpoint_copy(&en.saved, &en.mark));
    position_free(&last);
}

/* How many committed versions no look has delivered, though one has been made since. A version that
 * was replaced meanwhile was never there to be seen. */
static int lost(void)
{
    int n = 0;
    for (int i = 0; i < w.n; i++) {
        const struct version *v = &w.versions[i];
        n += v->commit_us != 0 && !v->gone && !v->delivered;
    }
    return n;
}

static void restart(void)
{
    assert_true(checkpoint_copy(&en.mark, &en.saved));
    en.mark.candidate.mono_us = 0;
}

static void run_schedule(const struct kind_of_world *k, enum flaw flaw)
{
    begin_world(k, flaw);
    pass_time(between(0, 60) * SECOND);
    first_load();
    for (int64_t looks = between(20, 90); looks > 0; looks--) {
        pass_time(k->one_shot ? between(0, 25 * SECOND) : between(SECOND / 10, 4 * SECOND));
        if (k->steps && chance(3))
            w.step_us += between(-3600, 3600) * SECOND;
        if (k->crashes && chance(5))
            restart();
        if (k->one_shot)
            restart();
        look(k->one_shot || en.again || chance(50));
        for (int tries = 0; en.again && tries < 3; tries++)
            look(true);
        if (k->one_shot || chance(70)) /* what was delivered is acknowledged, and saved */
            assert_true(checkpoint_copy(&en.saved, &en.mark));
    }
    for (int i = 0; i < WRITERS; i++) /* the writers end; two looks see all */
        if (w.writers[i].open)
            end_transaction(&w.writers[i]);
    w.seen_us = w.now_us;
    for (int i = 0; i < 3; i++)
        look(true);
}

static int64_t number_of(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);
    return text ? strtoll(text, NULL, 10) : otherwise;
}

/* How many of the schedules lose something. */
static int count_losses(const struct kind_of_world *k, enum flaw flaw, int64_t schedules,
                        int64_t seed, bool tell)
{
    int losses = 0;
    for (int64_t i = 0; i < schedules; i++) {
        dice = (uint64_t)(seed + i) * 2654435761u;
        run_schedule(k, flaw);
        if (lost() > 0 && losses++ == 0 && tell)
            print_error(
                "%s: schedule %lld loses %d of %d versions (ETL_SEED=%lld ETL_SCHEDULES=1)\n",
                k->name, (long long)i, lost(), w.n, (long long)(seed + i));
    }
    return losses;
}

static void whoever_sets_the_cursor_nothing_is_lost(void **state)
{
    (void)state;
    int64_t schedules = number_of("ETL_SCHEDULES", 300), seed = number_of("ETL_SEED", 1);
    int losses = 0;
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
        losses += count_losses(&worlds[i], SOUND, schedules, seed, true);
    checkpoint_free(&en.mark);
    checkpoint_free(&en.saved);
    assert_int_equal(losses, 0);
}

static void what_was_given_by_hand_is_meant_to_the_letter(void **state)
{
    (void)state;
    struct watermark_rule number = {
        .commits_here = true, .lookback_us = SECOND, .limit_us = SECOND};
    struct checkpoint m = {0};
    assert_true(checkpoint_begin(&m, &(struct position){.cursor = (char *)"6"}));
    assert_int_equal(watermark_slack(&number, &m), 0);
    m.window.xid = 7; /* after the first pass */
    assert_int_equal(watermark_slack(&number, &m), WATERMARK_NUMBERS);
    watermark_forget_xids(&m); /* another server */
    assert_int_equal(watermark_slack(&number, &m), WATERMARK_NUMBERS);
    checkpoint_free(&m);
}

static void ids_that_have_come_round_mean_nothing(void **state)
{
    (void)state;
    struct watermark_rule rule = {.commits_here = true};
    struct watermark_report now = {
        .clock_us = SECOND, .xid = 5000000000, .xmax = 5000000000, .sessions = ""};
    struct checkpoint m = {.window = {.xid = 2900000007}};
    bool again;
    assert_true(watermark_judge(&rule, &m, &now, &again) && again);
    assert_true(m.window.xid == WATERMARK_ANY);
    assert_true(watermark_judge(&rule, &m, &now, &again) && !again);
    checkpoint_free(&m);
}

static void names_are_compared_as_a_whole(void **state)
{
    (void)state;
    struct watermark_rule rule = {
        .is_time = true, .is_instant = true, .commits_here = true, .limit_us = 600LL * SECOND};
    struct watermark_report now = {
        .clock_us = 100LL * SECOND, .xid = 5, .xmax = 5, .sessions = "3/1"};
    struct checkpoint m = {0};
    bool again;
    assert_true(watermark_begin(
        &rule, &now, &(struct position){.cursor = (char *)"c", .us = SECOND, .has_us = true}, false,
        &m));
    assert_true(watermark_end_pass(&rule, &m, &now)); /* the fence: 3/1 */
    assert_string_equal(m.candidate.fence.sessions, "3/1");
    now.sessions = "3/1";
    assert_true(watermark_end_pass(&rule, &m, &now) && !m.window.from.cursor);
    now.sessions = "3/12 13/1 "; /* others */
    assert_true(watermark_judge(&rule, &m, &now, &again) && !again);
    assert_true(watermark_end_pass(&rule, &m, &now));
    assert_string_equal(m.window.from.cursor, "c");
    checkpoint_free(&m);
}

static bool give_up_with(int allocations, struct checkpoint *m)
{
    struct watermark_rule rule = {
        .is_time = true, .is_instant = true, .lookback_us = SECOND, .limit_us = SECOND};
    struct watermark_report now = {
        .clock_us = 100LL * SECOND, .xid = 5, .xmax = 7, .sessions = "3/1 p4 "};
    struct position last = {
        .cursor = (char *)"c", .key = (char *)"k", .us = SECOND, .has_us = true};
    bool again;
    allocations_left = allocations;
    bool ok = watermark_begin(&rule, &now, &last, true, m);
    for (int i = 0; ok && i < 3; i++) {
        now.clock_us += 2LL * SECOND;
        ok = watermark_judge(&rule, m, &now, &again) && watermark_end_pass(&rule, m, &now);
    }
    now.sessions = "";
    ok = ok && watermark_judge(&rule, m, &now, &again);
    allocations_left = -1;
    assert_true(!ok || again); /* one has ended */
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct checkpoint m = {0};
        done = give_up_with(n, &m);
        checkpoint_free(&m);
    }
}

static void the_model_notices_a_broken_rule(void **state)
{
    (void)state;
    for (enum flaw flaw = SUBTRANSACTIONS_FORGOTTEN; flaw <= XID_OF_THE_END; flaw++) {
        int losses = 0;
        for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
            losses += count_losses(&worlds[i], flaw, 30, 1, false);
        if (losses == 0)
            print_error("flaw %d is not noticed\n", flaw);
        assert_true(losses > 0);
    }
    checkpoint_free(&en.mark);
    checkpoint_free(&en.saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_sets_the_cursor_nothing_is_lost),
        cmocka_unit_test(what_was_given_by_hand_is_meant_to_the_letter),
        cmocka_unit_test(ids_that_have_come_round_mean_nothing),
        cmocka_unit_test(names_are_compared_as_a_whole),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_model_notices_a_broken_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
