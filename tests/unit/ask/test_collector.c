/* A difference counts only if it was the same before: by the version of the index's document, or,
 * where there is none, by what the script makes of the row at three looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ask/collector.h"
#include "ask/spool.h"
#include "ask/sums.h"
#include "base/err.h"
#include "flow/worker_config.h"

enum { NOW = 2000000000 };

static const struct explain NOBODY = {0};

struct looking {
    struct collector *collector;
    struct spool *again, *kept;
};

static struct looking begin(void)
{
    struct err e;
    struct looking l = {collector_new(&NOBODY, 5, &e), spool_open(&e), spool_open(&e)};
    assert_non_null(l.collector);
    assert_non_null(l.again);
    assert_non_null(l.kept);
    collector_look(l.collector, &(struct collector_look){
                                    .trust = COLLECT_SUSPECT, .again = l.again, .kept = l.kept});
    return l;
}

static void end(struct looking *l)
{
    collector_free(l->collector);
    spool_close(l->again);
    spool_close(l->kept);
}

/* The documents as JSON; NULL: none. version: of the index's. */
static void see(struct looking *l, const char *key, const char *made, const char *held,
                int64_t version)
{
    struct err e;
    const struct worker_comparer *c = collector_comparer(l->collector);
    const struct worker_pair pair = {.key = key,
                                     .made = made,
                                     .made_len = made ? strlen(made) : 0,
                                     .made_version = NOW,
                                     .found = held,
                                     .held = held,
                                     .held_len = held ? strlen(held) : 0,
                                     .held_version = version,
                                     .copies = held != NULL};
    assert_true(c->pair(c->arg, 0, &pair, &e));
}

static void end_try(struct looking *l, bool keep)
{
    struct err e;
    const struct worker_comparer *c = collector_comparer(l->collector);
    assert_true(c->end(c->arg, 0, keep, &e));
}

/* Another look, at what did not count: each key is expected as it was seen. */
static void look_again(struct looking *l)
{
    struct err e;
    struct spool_record r;
    struct spool *before = l->again;
    l->again = spool_open(&e);
    collector_look(l->collector, &(struct collector_look){
                                     .trust = COLLECT_CONFIRM, .again = l->again, .kept = l->kept});
    assert_true(spool_rewind(before, &e));
    while (spool_next(before, &r, &e) && r.key)
        collector_expect(l->collector, &r);
    spool_close(before);
}

static void assert_found(struct looking *l, uint64_t found, size_t left)
{
    assert_int_equal(findings_count(collector_found(l->collector)), found);
    assert_int_equal(spool_count(l->again), left);
    assert_int_equal(spool_count(l->kept), found);
}

static void a_document_of_the_same_version_counts(void **state)
{
    (void)state;
    struct looking l = begin();
    see(&l, "same", "{}", "{}", 1);
    see(&l, "stays", "{\"a\":1}", "{\"a\":2}", 7);
    see(&l, "moves", "{\"a\":1}", "{\"a\":2}", 7);
    see(&l, "arrives", "{\"a\":1}", "{\"a\":2}", 7);
    see(&l, "orphan", NULL, "{}", 7);
    end_try(&l, true);
    assert_found(&l, 0, 4);
    look_again(&l);
    see(&l, "stays", "{\"a\":3}", "{\"a\":2}", 7); /* whatever its row is by now */
    see(&l, "moves", "{\"a\":3}", "{\"a\":2}", 8);
    see(&l, "arrives", "{\"a\":1}", "{\"a\":1}", 8);
    see(&l, "orphan", NULL, "{}", 7);
    end_try(&l, true);
    assert_found(&l, 2, 1);
    look_again(&l);
    see(&l, "moves", "{\"a\":4}", "{\"a\":2}", 8);
    end_try(&l, true);
    assert_found(&l, 3, 0);
    assert_int_equal(collector_found(l.collector)->kinds[EXPLAIN_SAME], 2);
    end(&l);
}

static void a_missing_document_counts_at_the_third_look(void **state)
{
    (void)state;
    struct looking l = begin();
    see(&l, "stays", "{\"a\":1}", NULL, 0);
    see(&l, "changes", "{\"a\":1}", NULL, 0);
    see(&l, "comes", "{\"a\":1}", NULL, 0);
    see(&l, "goes", "{\"a\":1}", NULL, 0);
    end_try(&l, true);
    look_again(&l);
    see(&l, "stays", "{\"a\":1}", NULL, 0);
    see(&l, "changes", "{\"a\":2}", NULL, 0);
    see(&l, "comes", "{\"a\":1}", "{\"a\":1}", 9);
    see(&l, "goes", NULL, NULL, 0);
    end_try(&l, true);
    assert_found(&l, 0, 2);
    look_again(&l);
    see(&l, "stays", "{\"a\":1}", NULL, 0);
    see(&l, "changes", "{\"a\":2}", NULL, 0);
    end_try(&l, true);
    assert_found(&l, 1, 1);
    end(&l);
}

static void a_try_that_failed_counts_nothing(void **state)
{
    (void)state;
    struct looking l = begin();
    struct sums *seen = sums_new(), *none = sums_new();
    collector_look(l.collector,
                   &(struct collector_look){.trust = COLLECT_ALL, .seen = seen, .kept = l.kept});
    see(&l, "1", "{}", "{\"a\":1}", 5);
    see(&l, "2", "{}", "{}", 5);
    end_try(&l, false);
    assert_found(&l, 0, 0);
    assert_int_equal(findings_checked(collector_found(l.collector)), 0);
    assert_false(sums_differ_at_all(seen, none));
    see(&l, "1", "{}", "{\"a\":1}", 5);
    end_try(&l, true);
    assert_found(&l, 1, 0);
    assert_true(sums_differ_at_all(seen, none));
    sums_free(seen);
    sums_free(none);
    end(&l);
}

static void a_look_may_be_at_one_direction_alone(void **state)
{
    (void)state;
    struct looking l = begin();
    for (int rows = 0; rows < 2; rows++) {
        collector_look(l.collector, &(struct collector_look){.trust = COLLECT_ALL,
                                                             .only_rows = rows,
                                                             .only_gone = !rows,
                                                             .kept = l.kept});
        see(&l, "1", "{}", NULL, 0);
        see(&l, "2", NULL, "{}", 5);
        see(&l, "3", NULL, NULL, 0);
        end_try(&l, true);
        assert_found(&l, (uint64_t)rows + 1, 0);
    }
    assert_int_equal(collector_found(l.collector)->kinds[EXPLAIN_MISSING], 1);
    assert_int_equal(collector_found(l.collector)->kinds[EXPLAIN_ORPHANED], 1);
    end(&l);
}

static void a_key_that_comes_twice_counts_once_if_that_is_asked_for(void **state)
{
    (void)state;
    struct looking l = begin();
    collector_look(l.collector,
                   &(struct collector_look){.trust = COLLECT_ALL, .unique = true, .kept = l.kept});
    see(&l, "1", "{}", NULL, 0);
    see(&l, "1", "{}", NULL, 0);
    end_try(&l, true);
    see(&l, "1", "{}", NULL, 0);
    end_try(&l, true);
    assert_found(&l, 1, 0);
    end(&l);
}

static void a_key_that_differed_before_is_left_out_if_that_is_asked_for(void **state)
{
    (void)state;
    struct looking l = begin();
    collector_look(l.collector, &(struct collector_look){.unique = true});
    see(&l, "1", "{}", NULL, 0);
    see(&l, "2", "{}", "{}", 1);
    end_try(&l, true);
    collector_look(l.collector, &(struct collector_look){.fresh = true});
    see(&l, "1", "{}", "{}", 1);
    see(&l, "1", NULL, "{}", 1);
    see(&l, "3", "{}", NULL, 0);
    end_try(&l, true);
    struct findings *f = collector_found(l.collector);
    assert_int_equal(findings_count(f), 2);
    assert_int_equal(findings_checked(f), 3);
    end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_of_the_same_version_counts),
        cmocka_unit_test(a_missing_document_counts_at_the_third_look),
        cmocka_unit_test(a_try_that_failed_counts_nothing),
        cmocka_unit_test(a_look_may_be_at_one_direction_alone),
        cmocka_unit_test(a_key_that_comes_twice_counts_once_if_that_is_asked_for),
        cmocka_unit_test(a_key_that_differed_before_is_left_out_if_that_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
