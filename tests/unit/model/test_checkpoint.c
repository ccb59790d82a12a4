/* A checkpoint is copied, moved and begun again with all fields; without memory it can still be
 * freed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/checkpoint.h"
#include "model/keylist.h"
#include "torture.h"

static const struct checkpoint full = {
    .at = {.cursor = (char *)"7", .key = (char *)"a", .us = 7, .has_us = true},
    .seen = {.cursor = (char *)"8", .key = (char *)"s"},
    .window = {.from = {.cursor = (char *)"6"}, .xid = 4711},
    .candidate = {.from = {.cursor = (char *)"7", .key = (char *)"c"},
                  .us = 3,
                  .mono_us = 5,
                  .fence = {.sessions = (char *)"3/17 ", .xid = 4712, .us = 4}},
    .rewind = {.from = {.cursor = (char *)"5"}, .fence = {.sessions = (char *)""}},
    .pass = {.cursor = (char *)"9", .key = (char *)"h"},
    .pass_xid = 4713,
    .fanout = {.cursor = (char *)"9", .key = (char *)"g"},
    .fanout_hash = 77,
    .after = (char *)"film",
};

static void assert_full(const struct checkpoint *c)
{
    assert_true(position_same(&c->at, &full.at) && c->at.us == 7 && c->at.has_us);
    assert_true(position_same(&c->seen, &full.seen));
    assert_true(position_same(&c->window.from, &full.window.from) && c->window.xid == 4711);
    assert_true(position_same(&c->candidate.from, &full.candidate.from));
    assert_true(c->candidate.us == 3 && c->candidate.mono_us == 5);
    assert_string_equal(c->candidate.fence.sessions, "3/17 ");
    assert_true(c->candidate.fence.xid == 4712 && c->candidate.fence.us == 4);
    assert_string_equal(c->rewind.fence.sessions, "");
    assert_true(position_same(&c->pass, &full.pass) && c->pass_xid == 4713);
    assert_true(position_same(&c->fanout, &full.fanout) && c->fanout_hash == 77);
    assert_string_equal(c->after, "film");
}

static void a_copy_has_all_fields(void **state)
{
    (void)state;
    struct checkpoint copy = {0}, moved = {0};
    assert_true(checkpoint_copy(&copy, &full));
    assert_true(checkpoint_copy(&copy, &full)); /* replaces what it held */
    assert_full(&copy);
    checkpoint_move(&moved, &copy);
    assert_full(&moved);
    assert_null(copy.at.cursor);
    assert_null(copy.after);
    checkpoint_free(&copy);
    checkpoint_free(&moved);
}

static void the_highest_position_is_what_was_seen(void **state)
{
    (void)state;
    struct checkpoint c = {.at = {.cursor = (char *)"7"}};
    assert_ptr_equal(checkpoint_highest(&c), &c.at);
    assert_ptr_equal(checkpoint_highest(&full), &full.seen);
}

static void a_beginning_forgets_everything_else(void **state)
{
    (void)state;
    struct checkpoint c = {0};
    struct position at = {0};
    assert_true(checkpoint_copy(&c, &full));
    assert_true(position_set_time(&at, 1623874449222016));
    allocations_left = 1;
    assert_false(checkpoint_begin(&c, &at));
    allocations_left = -1;
    assert_full(&c);
    assert_true(checkpoint_begin(&c, &at));
    assert_string_equal(c.at.cursor, "2021-06-16T20:14:09.222016Z");
    assert_true(position_same(&c.at, &c.window.from) && c.at.us == at.us && !c.at.key);
    assert_true(c.window.xid == 0 && !c.seen.cursor && !c.candidate.from.cursor && !c.after);
    assert_true(!c.rewind.fence.sessions && !c.pass.cursor && !c.fanout.cursor);
    position_free(&at);
    checkpoint_free(&c);
}

static bool copy_and_list(struct checkpoint *c, struct keylist *keys)
{
    bool ok = checkpoint_copy(c, &full);
    for (int i = 0; ok && i < 200; i++)
        ok = keylist_add(keys, "key");
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct checkpoint c = {0};
        struct keylist keys = {0};
        allocations_left = n;
        done = copy_and_list(&c, &keys);
        allocations_left = -1;
        assert_int_equal(keys.n == 200, done);
        checkpoint_free(&c);
        keylist_free(&keys);
        assert_int_equal(keys.n, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_all_fields),
        cmocka_unit_test(the_highest_position_is_what_was_seen),
        cmocka_unit_test(a_beginning_forgets_everything_else),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
