/* Of a document's copies the newest stays, and none goes that was not found in a whole answer. */
#include <stdio.h>
#include <stdlib.h>

#include "copies.h"
#include "torture.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define ANSWER(total, hits)                                                                        \
    "{\"timed_out\":false," SHARDS ",\"hits\":{\"total\":{\"value\":" total                        \
    ",\"relation\":\"eq\"}" hits "}"                                                               \
    "}"
#define HITS(list) ",\"hits\":[" list "]"
#define HIT(index, id, version, routing)                                                           \
    "{\"_index\":\"" index "\",\"_id\":\"" id "\",\"_version\":" version routing "}"

/* n: 2, or 3 with the note of index z behind what was found; the last one is given again and
 * again. */
static void set_up_answers(struct fixture *f, const char *found, size_t n)
{
    static struct fake_step steps[3] = {
        {.status = 200, .body = "{" SHARDS "}"},
        {0},
        {.status = 200,
         .body = "{\"z\":{\"mappings\":{\"_meta\":{\"etl_engine\":{\"format\":1,\"version\":1,"
                 "\"pipeline\":\"actors\"}}},\"settings\":{}}}"}};
    steps[1] = (struct fake_step){.status = 200, .body = found};
    copies_set_up(f, steps, n, "films-*,x", "films");
}

static void set_up(struct fixture *f, const char *found)
{
    set_up_answers(f, found, 2);
}

static const char FOUND[] =
    ANSWER("6", HITS(HIT("x", "b", "5", "") "," HIT("y", "a\\\"", "7", AT("r1")) "," HIT(
                    "y", "a\\\"", "9",
                    AT("r2")) "," HIT("x", "a\\\"", "8",
                                      "") "," HIT("x", "c", "3", "") "," HIT("y", "c", "3", "")));

static void the_newest_copy_stays(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, FOUND);
    stale_copies_add(&f.copies, "a\"");
    stale_copies_add(&f.copies, "b");
    stale_copies_add(&f.copies, "c");
    stale_copies_add(&f.copies, "d");
    assert_true(stale_copies_find(&f.copies, &f.e));
    fake_look(&fake);
    assert_memory_equal(fake.head,
                        "POST /films-%2A%2Cx/_search?allow_partial_search_results=false&", 63);
    assert_non_null(strstr(fake.body, "\"values\":[\"a\\\"\",\"b\",\"c\",\"d\"]"));
    assert_int_equal(stale_copies_count(&f.copies, "a\""), 3);
    assert_int_equal(stale_copies_count(&f.copies, "b"), 1);
    assert_int_equal(stale_copies_count(&f.copies, "d"), 0);
    assert_true(stale_copies_drop_older(&f.copies, f.bulk, &f.e));
    /* Of c both: nothing tells which of them is older. */
    assert_string_equal(buf_cstr(bulk_body(f.bulk)),
                        "{\"delete\":{\"_id\":\"a\\\"\",\"version\":8,\"version_type\":\"external_"
                        "gte\",\"_index\":\"x\"}}\n"
                        "{\"delete\":{\"_id\":\"a\\\"\",\"version\":7,\"version_type\":\"external_"
                        "gte\",\"_index\":\"y\","
                        "\"routing\":\"r1\"}}\n");
    bulk_clear(f.bulk);
    assert_true(stale_copies_drop_all(&f.copies, f.bulk, 12, &f.e));
    assert_int_equal(bulk_count(f.bulk), 6);
    assert_string_equal(bulk_index(f.bulk, 0), "y");
    assert_string_equal(bulk_routing(f.bulk, 0), "r2");
    assert_int_equal(bulk_version(f.bulk, 0), 12);
    stale_copies_clear(&f.copies);
    assert_int_equal(stale_copies_count(&f.copies, "b"), 0);
    tear_down(&f);
}

static void what_another_pipeline_keeps_is_not_found(void **state)
{
    (void)state;
    struct fixture f;
    set_up_answers(&f, ANSWER("2", HITS(HIT("x", "b", "5", "") "," HIT("z", "b", "4", ""))), 3);
    stale_copies_add(&f.copies, "b");
    assert_false(stale_copies_find(&f.copies, &f.e));
    assert_int_equal(f.e.kind, ERR_USAGE);
    assert_string_equal(
        f.e.text, "sink.indices 'films-*,x' matches index 'z', which pipeline 'actors' keeps");
    tear_down(&f);
}

static void nothing_is_found_in_an_answer_that_is_not_whole(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum err_kind kind;
    } cases[] = {
        {"", ERR_PASSING},
        {"{}", ERR_PASSING},
        {"[]", ERR_PASSING},
        {ANSWER("1", ""), ERR_PASSING},
        {ANSWER("0", HITS(HIT("x", "b", "5", ""))), ERR_PASSING},
        {ANSWER("1", HITS(HIT("x", "b", "\"5\"", ""))), ERR_PASSING},
        {ANSWER("1", HITS("{\"_index\":\"x\",\"_id\":\"b\"}")), ERR_PASSING},
        {ANSWER("1", HITS("{\"_index\":\"x\",\"_version\":3}")), ERR_PASSING},
        {ANSWER("1", HITS("{\"_id\":\"b\",\"_version\":3}")), ERR_PASSING},
        {ANSWER("1", HITS("{\"_index\":7,\"_id\":\"b\",\"_version\":3}")), ERR_PASSING},
        {"{\"timed_out\":true," SHARDS ",\"hits\":{\"total\":{\"value\":0}}}", ERR_PASSING},
        {"{\"timed_out\":false,\"_shards\":{\"total\":2,\"successful\":1,\"failed\":1},\"hits\":{"
         "\"total\":{"
         "\"value\":0}}}",
         ERR_PASSING},
        {"{" SHARDS ",\"hits\":{\"total\":{\"value\":0}}}", ERR_PASSING},
        {ANSWER("10001", HITS(HIT("x", "b", "5", ""))), ERR_FINAL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture f;
        set_up(&f, cases[i].body);
        stale_copies_add(&f.copies, "b");
        if (stale_copies_find(&f.copies, &f.e) || f.e.kind != cases[i].kind || f.copies.n != 0)
            fail_msg("case %zu: %s", i, f.e.text);
        tear_down(&f);
    }
    for (size_t n = 0; n < sizeof FOUND - 1; n++) {
        struct fixture f;
        char cut[sizeof FOUND];
        snprintf(cut, sizeof cut, "%.*s", (int)n, FOUND);
        set_up(&f, cut);
        stale_copies_add(&f.copies, "b");
        assert_false(stale_copies_find(&f.copies, &f.e));
        assert_int_equal(f.e.kind, ERR_PASSING);
        assert_int_equal(f.copies.n, 0);
        tear_down(&f);
    }
}

static void an_answer_that_is_full_is_asked_for_in_parts(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ANSWER("10001", HITS(HIT("x", "b", "5", ""))));
    for (int i = 0; i < 4; i++)
        stale_copies_add(&f.copies, "b");
    assert_false(stale_copies_find(&f.copies, &f.e));
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_int_equal(atomic_load(&fake.served), 4); /* a refresh; 4 keys, 2, 1 */
    assert_non_null(strstr(f.e.text, "document 'b' exists 10001 times"));
    tear_down(&f);
}

static void nothing_noted_asks_nothing(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, "");
    assert_true(stale_copies_find(&f.copies, &f.e));
    assert_true(stale_copies_drop_all(&f.copies, f.bulk, 5, &f.e) &&
                stale_copies_drop_older(&f.copies, f.bulk, &f.e));
    assert_int_equal(bulk_count(f.bulk), 0);
    assert_int_equal(atomic_load(&fake.served), 0);
    stale_copies_add(&f.copies, "\xFF");
    assert_false(stale_copies_find(&f.copies, &f.e));
    assert_int_equal(f.e.kind, ERR_FINAL);
    tear_down(&f);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct fixture f;
        set_up(&f, FOUND);
        allocations_left = n;
        stale_copies_add(&f.copies, "b");
        stale_copies_add(&f.copies, "c");
        done =
            stale_copies_find(&f.copies, &f.e) && stale_copies_drop_all(&f.copies, f.bulk, 5, &f.e);
        allocations_left = -1;
        assert_true(done || f.e.kind == ERR_FINAL || f.e.kind == ERR_PASSING);
        assert_true(!done || bulk_count(f.bulk) == 6);
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_copy_stays),
        cmocka_unit_test(what_another_pipeline_keeps_is_not_found),
        cmocka_unit_test(nothing_is_found_in_an_answer_that_is_not_whole),
        cmocka_unit_test(an_answer_that_is_full_is_asked_for_in_parts),
        cmocka_unit_test(nothing_noted_asks_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
