/* A copy under a routing goes only once a newer one without is there; what has no routing stays. */
#include "copies.h"
#include "index/index.h"
#include "index/routed.h"
#include "torture.h"

#define ANSWER(total, hits)                                                                        \
    "{\"_scroll_id\":\"s\",\"timed_out\":false," SHARDS ",\"hits\":{\"total\":{\"value\":" total   \
    ",\"relation\":\"eq\"},\"hits\":[" hits "]}}"
#define HIT(id, version, routing)                                                                  \
    "{\"_index\":\"x\",\"_id\":\"" id "\",\"_version\":" version routing "}"

static void find(struct fixture *f, const char *answer)
{
    static struct fake_step steps[] = {{.status = 200, .body = "{" SHARDS "}"}, {.status = 200}};
    steps[1].body = answer; /* the server reads them until it is stopped */
    copies_set_up(f, steps, 2, "x", "things");
    stale_copies_add(&f->copies, "k");
    assert_true(stale_copies_find(&f->copies, &f->e));
}

/* One key's copies; deletes: "ROUTING VERSION" of each, in order. */
static void a_copy_goes_once_a_newer_one_has_no_routing(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *routings[2];
        int64_t versions[2];
        size_t deletes, routed;
    } cases[] = {
        {ANSWER("1", HIT("k", "9", "")), {NULL}, {0}, 0, 0},
        {ANSWER("1", HIT("k", "9", AT("r"))), {NULL}, {0}, 0, 1},
        {ANSWER("2", HIT("k", "9", "") "," HIT("k", "7", AT("r"))), {"r"}, {7}, 1, 1},
        {ANSWER("2", HIT("k", "7", "") "," HIT("k", "9", AT("r"))), {NULL}, {0}, 0, 1},
        {ANSWER("2", HIT("k", "9", "") "," HIT("k", "9", AT("r"))), {NULL}, {0}, 0, 1},
        {ANSWER("2", HIT("k", "9", "") "," HIT("k", "7", "")), {NULL}, {0}, 0, 0},
        {ANSWER("3", HIT("k", "2", AT("q")) "," HIT("k", "9", "") "," HIT("k", "7", AT("r"))),
         {"r", "q"},
         {7, 2},
         2,
         2},
        {ANSWER("3", HIT("k", "9", AT("q")) "," HIT("k", "8", "") "," HIT("k", "7", AT("r"))),
         {NULL},
         {0},
         0,
         2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        find(&f, cases[i].answer);
        assert_int_equal(routed_count(&f.copies, "k"), cases[i].routed);
        assert_int_equal(routed_count(&f.copies, "other"), 0);
        assert_true(routed_drop(&f.copies, f.bulk, 12, &f.e));
        assert_int_equal(bulk_count(f.bulk), cases[i].deletes);
        for (size_t k = 0; k < cases[i].deletes; k++) {
            assert_true(bulk_is_delete(f.bulk, k));
            assert_string_equal(bulk_routing(f.bulk, k), cases[i].routings[k]);
            assert_int_equal(bulk_version(f.bulk, k), cases[i].versions[k]);
        }
        tear_down(&f);
    }
}

static void a_routing_that_was_set_just_now_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    find(&f, ANSWER("2", HIT("k", "12", AT("r")) "," HIT("k", "7", AT("q"))));
    assert_false(routed_drop(&f.copies, f.bulk, 12, &f.e));
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_string_equal(f.e.text, "document 'k' was indexed, but an ingest pipeline has set "
                                  "its _routing to 'r'");
    assert_int_equal(bulk_count(f.bulk), 0);
    tear_down(&f);
}

static const struct routed_search SEARCH = {"things", "things", "they go"};

/* alias: what the server says of the name. */
static void assert_open(const char *found, const char *alias, bool scans)
{
    const struct fake_step steps[] = {{.status = 200, .body = "{" SHARDS "}"},
                                      {.status = 200, .body = found},
                                      {.status = 200, .body = alias},
                                      {.status = 404, .body = "{}"}};
    struct fixture f;
    struct index_scan *scan;
    const char *const *keys;
    size_t n;
    copies_set_up(&f, steps, sizeof steps / sizeof *steps, "x", "things");
    assert_true(routed_open(f.es, &SEARCH, &scan, &f.e));
    assert_int_equal(scan != NULL, scans);
    if (scan) {
        assert_true(index_scan_next(scan, &keys, &n, &f.e));
        assert_int_equal(n, 1);
        assert_string_equal(keys[0], "k");
    }
    index_scan_close(scan);
    tear_down(&f);
}

static void an_alias_may_give_documents_a_routing(void **state)
{
    (void)state;
    static const char one[] = ANSWER("1", "{\"_id\":\"k\"}");
    assert_open(ANSWER("0", ""), "{}", false);
    assert_open(one, "{}", true);
    assert_open(one, "{\"x\":{\"aliases\":{\"things\":{}}}}", true);
    assert_open(one, "{\"x\":{\"aliases\":{\"things\":{\"index_routing\":\"7\"}}}}", false);
    assert_open(one, "{\"x\":{\"aliases\":{\"things\":{\"search_routing\":\"7\"}}}}", false);
    assert_open(one, "{\"x\":{\"aliases\":{\"things\":{\"filter\":{\"term\":{}}}}}}", false);
}

static void only_what_has_a_routing_is_asked_for(void **state)
{
    (void)state;
    const struct fake_step steps[] = {{.status = 200, .body = "{" SHARDS "}"},
                                      {.status = 503, .body = "{}"}};
    struct fixture f;
    struct index_scan *scan;
    copies_set_up(&f, steps, 2, "x", "things");
    assert_false(routed_open(f.es, &SEARCH, &scan, &f.e));
    assert_int_equal(f.e.kind, ERR_PASSING);
    assert_null(scan);
    fake_look(&fake);
    assert_non_null(strstr(fake.body, "\"query\":{\"exists\":{\"field\":\"_routing\"}}"));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_goes_once_a_newer_one_has_no_routing),
        cmocka_unit_test(a_routing_that_was_set_just_now_is_refused),
        cmocka_unit_test(an_alias_may_give_documents_a_routing),
        cmocka_unit_test(only_what_has_a_routing_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
