/* Shares of workers: each pipeline has one at work, whatever the others do; of further ones there
 * are never more than were set; and everybody comes to an end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "flow/shares.h"

enum { GROUPS = 10, WORKERS = 4, BATCHES = 300, FURTHER = 3 };

static struct share_group groups[GROUPS];
static atomic_int further_out, firsts_out[GROUPS], done;

struct worker {
    pthread_t thread;
    int group;
    unsigned seed;
};

static void work_on(struct worker *me, struct share *s)
{
    int out = s->has == SHARE_FIRST ? atomic_fetch_add(&firsts_out[me->group], 1)
                                    : atomic_fetch_add(&further_out, 1);
    if (out >= (s->has == SHARE_FIRST ? 1 : FURTHER))
        abort(); /* cmocka's assertions are for the main thread */
    for (unsigned n = (unsigned)rand_r(&me->seed) % 200; n > 0; n--)
        sched_yield();
    if (s->has == SHARE_FIRST)
        atomic_fetch_sub(&firsts_out[me->group], 1);
    else
        atomic_fetch_sub(&further_out, 1);
}

static void *work(void *arg)
{
    struct worker *me = arg;
    struct share s = {.group = &groups[me->group]};
    for (int i = 0; i < BATCHES; i++) {
        shares_take(&s);
        work_on(me, &s);
        shares_give(&s);
    }
    atomic_fetch_add(&done, 1);
    return NULL;
}

static void many_workers_all_come_to_their_end(void **state)
{
    static struct worker workers[GROUPS * WORKERS];
    (void)state;
    shares_set(FURTHER);
    for (int i = 0; i < GROUPS * WORKERS; i++) {
        workers[i] = (struct worker){.group = i % GROUPS, .seed = (unsigned)i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < GROUPS * WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    assert_int_equal(atomic_load(&done), GROUPS * WORKERS);
}

/* What each of these calls needs is there: none of them waits, or the test would not end. */
static void a_first_one_never_waits(void **state)
{
    struct share_group load = {0}, follower = {0};
    struct share a = {.group = &load}, b = {.group = &load}, c = {.group = &follower};
    (void)state;
    shares_set(1);
    shares_take(&a);
    shares_take(&b);
    assert_int_equal(a.has, SHARE_FIRST);
    assert_int_equal(b.has, SHARE_FURTHER);
    shares_take(&c);
    assert_int_equal(c.has, SHARE_FIRST);
    shares_give(&a);
    shares_take(&a); /* the pipeline's first one is at work again */
    assert_int_equal(a.has, SHARE_FIRST);
    shares_give(&c);
    shares_give(&c); /* it has none */
    shares_give(&b);
    shares_give(&a);
}

static void *take(void *arg)
{
    shares_take(arg);
    return NULL;
}

static void whoever_waits_when_the_pipeline_ends_waits_no_longer(void **state)
{
    struct share_group g = {0};
    struct share a = {.group = &g}, b = {.group = &g};
    pthread_t thread;
    (void)state;
    shares_set(0);
    shares_take(&a);
    assert_int_equal(pthread_create(&thread, NULL, take, &b), 0);
    shares_end(&g);
    pthread_join(thread, NULL);
    assert_int_equal(b.has, SHARE_FURTHER);
    shares_give(&b);
    shares_give(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_workers_all_come_to_their_end),
        cmocka_unit_test(a_first_one_never_waits),
        cmocka_unit_test(whoever_waits_when_the_pipeline_ends_waits_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
