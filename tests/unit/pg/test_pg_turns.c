/* Turns at connections: random threads that want one, a second and a third, wait and give up, while
 * the bound changes. At no time are there more turns than the bound; whoever waits gets one; who
 * has waited longer comes first; and there is always one who can go on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pg/pg_turns.h"

enum { THREADS = 60, STEPS = 4000, SEEDS = 200, DEEPEST = 4, LONGEST = 30 };

struct thread {
    bool looks;
    enum pg_class has[DEEPEST];
    int depth;  /* turns that it has */
    int work;   /* steps until it gives the last one back */
    bool waits; /* for `turn` */
    int since;  /* the step at which it began to */
    struct pg_turn turn;
};

struct world {
    struct pg_turns turns;
    struct thread threads[THREADS];
    unsigned seed;
    int step, given;
};

static unsigned draw(struct world *w, unsigned n)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return (w->seed >> 8) % n;
}

static enum pg_class class_of(const struct thread *t)
{
    return t->depth > 1 ? PG_DEEP : t->depth == 1 ? PG_NESTED : t->looks ? PG_SHORT : PG_LONG;
}

/* Never above the bound, but for the one second turn that is always there, and what does not
 * count. */
static void check_bound(const struct pg_turns *t, enum pg_class class)
{
    assert_true(class == PG_DEEP || pg_turns_used(t) <= t->bound ||
                (class == PG_NESTED && t->used[class] == 1));
}

static void take(struct world *w, struct thread *t)
{
    check_bound(&w->turns, t->turn.class);
    t->has[t->depth++] = t->turn.class;
    t->work = 1 + (int)draw(w, LONGEST);
    t->waits = false;
    w->given++;
}

static struct thread *thread_of(struct world *w, const struct pg_turn *turn)
{
    for (size_t i = 0; i < THREADS; i++)
        if (&w->threads[i].turn == turn)
            return &w->threads[i];
    fail_msg("a turn that nobody asked for");
    return NULL;
}

/* Nobody of a class is given a turn while another of it has waited longer. */
static void check_order(struct world *w, const struct thread *t)
{
    for (size_t i = 0; i < THREADS; i++) {
        const struct thread *o = &w->threads[i];
        if (o != t && o->waits && o->turn.class == t->turn.class)
            assert_true(o->since >= t->since);
    }
}

static void wake(struct world *w)
{
    struct pg_turn *turn;
    while ((turn = pg_turns_next(&w->turns))) {
        struct thread *t = thread_of(w, turn);
        assert_true(t->waits);
        check_order(w, t);
        take(w, t);
    }
}

static void ask(struct world *w, struct thread *t)
{
    t->turn = (struct pg_turn){.class = class_of(t)};
    t->since = w->step;
    t->waits = true;
    if (pg_turns_ask(&w->turns, &t->turn))
        take(w, t);
    assert_true(t->depth > 1 ? !t->waits : true); /* who has two waits for none */
}

static void move(struct world *w, struct thread *t)
{
    if (t->waits) {
        if (draw(w, 500) == 0 && pg_turns_withdraw(&w->turns, &t->turn))
            t->waits = false;
    } else if (t->depth < DEEPEST && draw(w, t->depth ? 40 : 3) == 0) {
        ask(w, t);
    } else if (t->depth > 0 && --t->work <= 0) {
        pg_turns_give_back(&w->turns, t->has[--t->depth]);
        t->work = 1 + (int)draw(w, LONGEST);
    }
    wake(w);
}

static int waiting(const struct world *w)
{
    int n = 0;
    for (size_t i = 0; i < THREADS; i++)
        n += w->threads[i].waits;
    return n;
}

static void check(const struct world *w)
{
    int used[PG_CLASSES] = {0}, moving = 0;
    for (size_t i = 0; i < THREADS; i++) {
        for (int k = 0; k < w->threads[i].depth; k++)
            used[w->threads[i].has[k]]++;
        moving += !w->threads[i].waits && w->threads[i].depth > 0;
    }
    for (int c = 0; c < PG_CLASSES; c++)
        assert_int_equal(used[c], w->turns.used[c]);
    assert_true(moving > 0 || waiting(w) == 0); /* no deadlock */
}

static void run(unsigned seed, int bound, bool changes)
{
    static struct world w;
    w = (struct world){.turns.bound = bound, .seed = seed};
    for (size_t i = 0; i < THREADS; i++)
        w.threads[i].looks = draw(&w, 2);
    for (w.step = 0; w.step < STEPS; w.step++) {
        if (changes && draw(&w, 100) == 0) {
            w.turns.bound = 1 + (int)draw(&w, (unsigned)bound);
            wake(&w);
        }
        move(&w, &w.threads[draw(&w, THREADS)]);
        check(&w);
    }
    /* nobody asks any more: all who wait get one, and the end is reached */
    for (int i = 0; i < THREADS * THREADS * DEEPEST * LONGEST && waiting(&w); i++) {
        struct thread *t = &w.threads[i % THREADS];
        if (!t->waits && t->depth > 0) {
            pg_turns_give_back(&w.turns, t->has[--t->depth]);
            wake(&w);
        }
    }
    assert_int_equal(waiting(&w), 0);
    assert_true(w.given > 0);
}

static void any_history_keeps_the_promises(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        run(seed, 1 + (int)(seed % 33), false);
        run(seed, 1 + (int)(seed % 33), true);
    }
}

/* Ninety loads that never give back do not stop the looks, nor the second connections. */
static void each_class_has_its_reserve(void **state)
{
    (void)state;
    struct pg_turns t = {.bound = 16};
    static struct pg_turn loads[90];
    struct pg_turn look = {.class = PG_SHORT}, nested = {.class = PG_NESTED};
    int given = 0;
    for (size_t i = 0; i < 90; i++) {
        loads[i].class = PG_LONG;
        given += pg_turns_ask(&t, &loads[i]);
    }
    assert_int_equal(given, 14); /* but for the looks' two */
    assert_true(pg_turns_ask(&t, &look));
    assert_true(pg_turns_ask(&t, &nested));
    assert_null(pg_turns_next(&t));
    pg_turns_give_back(&t, PG_LONG);
    assert_null(pg_turns_next(&t)); /* second ones have a reserve from now on */
    for (int i = 0; i < 4; i++)
        pg_turns_give_back(&t, PG_LONG);
    assert_ptr_equal(pg_turns_next(&t), &loads[given]); /* the longest wait */
}

static void short_ones_leave_room_for_long_ones(void **state)
{
    (void)state;
    struct pg_turns t = {.bound = 8};
    static struct pg_turn looks[20];
    struct pg_turn work = {.class = PG_LONG};
    int given = 0;
    for (size_t i = 0; i < 20; i++)
        given += pg_turns_ask(&t, &looks[i]);
    assert_int_equal(given, 6);
    assert_true(pg_turns_ask(&t, &work));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_history_keeps_the_promises),
        cmocka_unit_test(each_class_has_its_reserve),
        cmocka_unit_test(short_ones_leave_room_for_long_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
