/* What a run's state takes over, forgets and saves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "run/run.h"
#include "run/run_state.h"

/* A state that follows index "uuid-NAME", with one table that stands at this cursor. */
static struct state_data data_at(const char *uuid, const char *cursor, int64_t version)
{
    struct state_data d = {.phase = STATE_FOLLOWING, .version = version, .swept_us = 7};
    struct position at = {.cursor = (char *)cursor};
    d.index_uuid = strdup(uuid);
    d.sweep_after = strdup("key");
    d.documents = 5;
    struct state_table *t = state_table(&d, "films");
    assert_true(t && checkpoint_begin(&t->checkpoint, &at));
    return d;
}

static const char *cursor_of(const struct run_state *s)
{
    return s->data.tables[0].checkpoint.at.cursor;
}

static void adopting_takes_the_checkpoints_that_reindex_left_for_this_index(void **state)
{
    (void)state;
    struct err e;
    struct run_state s = {.data = data_at("old", "1", 3)};
    struct state_data reindexed = data_at("new", "2", 9);
    assert_true(run_state_adopt(&s, &reindexed, "new", &e));
    assert_string_equal(cursor_of(&s), "2");
    assert_int_equal(s.data.version, 9);
    state_data_free(&s.data);
    state_data_free(&reindexed);
}

static void adopting_keeps_ours_if_reindex_left_none_or_those_of_another_index(void **state)
{
    (void)state;
    struct err e;
    struct run_state s = {.data = data_at("old", "1", 3)};
    struct state_data none = {0}, other = data_at("another", "2", 2);
    assert_true(run_state_adopt(&s, &none, "new", &e));
    assert_true(run_state_adopt(&s, &other, "new", &e));
    assert_string_equal(cursor_of(&s), "1");
    assert_int_equal(s.data.version, 3); /* versions never go down */
    state_data_free(&s.data);
    state_data_free(&other);
}

static void after_adopting_everything_is_due_to_be_swept(void **state)
{
    (void)state;
    struct err e;
    struct run_state s = {.data = data_at("old", "1", 3)};
    struct state_data none = {0};
    assert_true(run_state_adopt(&s, &none, "new", &e));
    assert_int_equal(s.data.swept_us, 0);
    assert_null(s.data.sweep_after);
    assert_int_equal(s.data.documents, 0);
    state_data_free(&s.data);
}

static void a_load_begins_without_checkpoints_and_ends_as_swept(void **state)
{
    (void)state;
    struct run_state s = {.data = data_at("old", "1", 3)};
    run_state_begin_load(&s);
    assert_int_equal(s.data.phase, STATE_SNAPSHOT);
    assert_null(cursor_of(&s));
    assert_null(s.data.sweep_after);
    s.data.after = strdup("9");
    run_state_end_load(&s);
    assert_int_equal(s.data.phase, STATE_FOLLOWING);
    assert_null(s.data.after);
    assert_true(s.data.swept_us > 7);
    state_data_free(&s.data);
}

static void what_a_part_or_a_frozen_state_reads_is_not_saved(void **state)
{
    (void)state;
    char file;
    struct run r = {.state.file = (struct state_file *)&file};
    assert_ptr_equal(run_state_to_save(&r), &file);
    r.options.limit = 1;
    assert_null(run_state_to_save(&r));
    r.options.limit = 0;
    run_state_freeze(&r);
    assert_null(run_state_to_save(&r));
    assert_null(r.work.coordinator.state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adopting_takes_the_checkpoints_that_reindex_left_for_this_index),
        cmocka_unit_test(adopting_keeps_ours_if_reindex_left_none_or_those_of_another_index),
        cmocka_unit_test(after_adopting_everything_is_due_to_be_swept),
        cmocka_unit_test(a_load_begins_without_checkpoints_and_ends_as_swept),
        cmocka_unit_test(what_a_part_or_a_frozen_state_reads_is_not_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
