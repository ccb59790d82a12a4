/* An item leaves a request only for a reason: done, superseded, gone, or rejected and told of.
 *
 * The answers are those of real servers (Elasticsearch 7.10.2, OpenSearch 2.19.1), shortened. With
 * ELASTICSEARCH_URL in the environment the last tests ask such a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/stop.h"
#include "es/es.h"
#include "fake_http.h"
#include "index/bulk_internal.h"
#include "index/doc_location.h"
#include "index/index.h"
#include "model/counts.h"
#include "torture.h"

static struct fake_http fake;

#define STEPS(...)                                                                                 \
    (struct fake_step[]){__VA_ARGS__},                                                             \
        sizeof((struct fake_step[]){__VA_ARGS__}) / sizeof(struct fake_step)

struct fixture {
    struct bulk *b;
    int64_t (*latest)(void *arg);
    struct counts sums;
    struct err e;
    size_t told;
    int status;
    char key[700], reason[400]; /* of the last rejected item */
};

static void on_rejected(const char *key, int status, const char *reason, void *arg)
{
    struct fixture *f = arg;
    f->told++;
    f->status = status;
    snprintf(f->key, sizeof f->key, "%s", key);
    snprintf(f->reason, sizeof f->reason, "%s", reason);
}

static struct bulk_sink sink(struct fixture *f, int64_t issued)
{
    return (struct bulk_sink){.counts = &f->sums,
                              .rejected = on_rejected,
                              .latest = f->latest,
                              .arg = f,
                              .issued = issued};
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->b = bulk_new(1 << 20, &f->e);
    assert_non_null(f->b);
}

static void add(struct fixture *f, const char *key, int64_t version, const char *document)
{
    bulk_begin(f->b, key, version);
    buf_adds(&f->b->body, document);
    assert_true(bulk_commit(f->b, &f->e));
}

static void gone(struct fixture *f, const char *key, int64_t version)
{
    assert_true(bulk_delete(f->b, key, version, &f->e));
}

static bool judge(struct fixture *f, const char *answer, int64_t issued)
{
    struct bulk_sink to = sink(f, issued);
    return bulk_judge(f->b, answer, strlen(answer), &to, &f->e);
}

/* One index item "1", version 5, of which the server says this; returns what bulk_judge does. */
static bool judge_one(struct fixture *f, const char *says)
{
    char answer[2000];
    setup(f);
    add(f, "1", 5, "{}");
    snprintf(answer, sizeof answer,
             "{\"took\":1,\"errors\":%s,\"items\":[{\"index\":{\"_id\":\"1\",%s}}]}",
             strstr(says, "error") ? "true" : "false", says);
    return judge(f, answer, 7);
}

static const char *body(struct fixture *f)
{
    const char *text = buf_cstr(&f->b->body);
    assert_non_null(text);
    return text;
}

/* ---- building ---- */

static void body_is_what_the_server_wants(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    add(&f, "a\"b\n\xD0\xB6", 1700000000000001, "{\"x\":1}");
    gone(&f, "2", 5);
    assert_string_equal(
        body(&f),
        "{\"index\":{\"_id\":\"a\\\"b\\n\xD0\xB6\",\"version\":1700000000000001,\"version_type\":"
        "\"external_gte\"}}\n{\"x\":1}\n"
        "{\"delete\":{\"_id\":\"2\",\"version\":5,\"version_type\":\"external_gte\"}}\n");
    assert_int_equal(f.b->n, 2);
    bulk_clear(f.b);
    assert_int_equal(f.b->n, 0);
    assert_int_equal(f.b->body.len, 0);
    bulk_free(f.b);
    bulk_free(NULL);
}

static void an_aborted_item_leaves_nothing(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    add(&f, "1", 5, "{}");
    size_t len = f.b->body.len, keys = f.b->names.len;
    bulk_begin(f.b, "2", 5);
    buf_adds(&f.b->body, "{\"half\":");
    bulk_abort(f.b);
    assert_int_equal(f.b->n, 1);
    assert_int_equal(f.b->body.len, len);
    assert_int_equal(f.b->names.len, keys);
    bulk_free(f.b);
}

static void an_item_may_have_a_place_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    bulk_begin(f.b, "1", 5);
    buf_adds(&f.b->body, "{\"x\":1}");
    bulk_set_location(f.b, "films-\"24", "r", "p");
    assert_true(bulk_commit(f.b, &f.e));
    bulk_begin(f.b, "2", 5);
    bulk_set_location(f.b, NULL, "", "p");
    buf_adds(&f.b->body, "{}");
    assert_true(bulk_commit(f.b, &f.e));
    add(&f, "3", 5, "{}");
    assert_true(bulk_delete_at(f.b, "4", 6, &(struct doc_location){"y", NULL}, &f.e));
    assert_true(bulk_delete_at(f.b, "5", 6, &(struct doc_location){NULL, "\xD0\xB6"}, &f.e));
    assert_string_equal(
        body(&f),
        "{\"index\":{\"_id\":\"1\",\"version\":5,\"version_type\":\"external_gte\",\"_index\":"
        "\"films-\\\"24\",\"routing\":\"r\",\"pipeline\":\"p\"}}\n{\"x\":1}\n"
        "{\"index\":{\"_id\":\"2\",\"version\":5,\"version_type\":\"external_gte\",\"pipeline\":"
        "\"p\"}}\n{}\n"
        "{\"index\":{\"_id\":\"3\",\"version\":5,\"version_type\":\"external_gte\"}}\n{}\n"
        "{\"delete\":{\"_id\":\"4\",\"version\":6,\"version_type\":\"external_gte\",\"_index\":"
        "\"y\"}}\n"
        "{\"delete\":{\"_id\":\"5\",\"version\":6,\"version_type\":\"external_gte\",\"routing\":"
        "\"\xD0\xB6\"}"
        "}\n");
    bulk_drop(f.b, 1);
    bulk_compact(f.b);
    static const char *const places[][3] = {
        {"1", "films-\"24", "r"}, {"3", NULL, NULL}, {"4", "y", NULL}, {"5", NULL, "\xD0\xB6"}};
    assert_int_equal(f.b->n, 4);
    for (size_t i = 0; i < 4; i++) {
        const char *is[] = {bulk_key(f.b, i), bulk_index(f.b, i), bulk_routing(f.b, i)};
        for (size_t j = 0; j < 3; j++)
            assert_true(is[j] == places[i][j] || strcmp(is[j], places[i][j]) == 0);
    }
    size_t len, whole = f.b->body.len;
    assert_memory_equal(bulk_document(f.b, 0, &len), "{\"x\":1}", 7);
    assert_false(bulk_delete_at(f.b, "6", 6, &(struct doc_location){"y", "\xFF"}, &f.e));
    assert_string_equal(f.e.text, "cannot send document '6': its routing is not UTF-8");
    assert_int_equal(f.b->body.len, whole);
    bulk_free(f.b);
}

static void a_document_too_large_is_taken_back(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    add(&f, "1", 5, "{}");
    size_t len = f.b->body.len;
    bulk_begin(f.b, "2", 5);
    for (int i = 0; i < (1 << 20); i++)
        buf_addc(&f.b->body, ' ');
    assert_false(bulk_commit(f.b, &f.e));
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_non_null(strstr(f.e.text, "document '2' is larger than 1 MB"));
    assert_int_equal(f.b->n, 1);
    assert_int_equal(f.b->body.len, len);
    add(&f, "3", 5, "{}");
    bulk_free(f.b);
}

static void a_key_that_is_not_text_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    bulk_begin(f.b, "\xFF", 5);
    assert_false(bulk_commit(f.b, &f.e));
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_false(bulk_delete(f.b, "\xFF", 5, &f.e));
    assert_int_equal(f.b->n, 0);
    assert_int_equal(f.b->body.len, 0);
    bulk_free(f.b);
}

static bool build(struct bulk *b, struct err *e)
{
    for (int i = 0; i < 600; i++) {
        char key[20];
        snprintf(key, sizeof key, "key-%d", i);
        bulk_begin(b, key, 5);
        buf_adds(&b->body, "{}");
        if (i % 3 == 0)
            bulk_set_location(b, "x", key, NULL);
        if (!bulk_commit(b, e))
            return false;
        if (!bulk_delete(b, key, 6, e))
            return false;
    }
    return true;
}

static void every_allocation_may_fail_while_building(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct err e = {0};
        allocations_left = n;
        struct bulk *b = bulk_new(1 << 20, &e);
        done = b && build(b, &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
        assert_true(!b || b->n == 0 ||
                    b->items[b->n - 1].at + b->items[b->n - 1].len == b->body.len);
        bulk_free(b);
    }
}

/* ---- judging ---- */

#define ERROR(status, type, reason)                                                                \
    "\"status\":" status ",\"error\":{\"type\":\"" type "\",\"reason\":\"" reason "\"}"
#define CONFLICT(current)                                                                          \
    ERROR("409", "version_conflict_engine_exception",                                              \
          "[current version [1]]: version conflict, current version [" current                     \
          "] is higher than the one provided [5]")

enum fate { LEFT_DONE, LEFT_UNCHANGED, LEFT_DROPPED, LEFT_REJECTED, STAYS_PASSING, STAYS_FINAL };

static void each_item_gets_what_it_deserves(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        enum fate fate;
    } cases[] = {
        {"\"status\":200", LEFT_DONE},
        {"\"status\":201", LEFT_DONE},
        {"\"_index\":\"x\",\"status\":201,\"_shards\":{\"total\":2}", LEFT_DONE},
        {CONFLICT("6"), LEFT_UNCHANGED},
        {CONFLICT("7"), LEFT_UNCHANGED},
        {CONFLICT("8"), STAYS_FINAL},
        {CONFLICT("9223372036854775807"), STAYS_FINAL},
        {ERROR("409", "version_conflict_engine_exception", "other words"), LEFT_UNCHANGED},
        {ERROR("409", "some_exception", "other words"), LEFT_REJECTED},
        {ERROR("400", "mapper_parsing_exception", "failed to parse"), LEFT_REJECTED},
        {ERROR("400", "strict_dynamic_mapping_exception", "not allowed"), LEFT_REJECTED},
        {ERROR("404", "index_not_found_exception", "no such index [x]"), STAYS_FINAL},
        {ERROR("404", "shard_not_found_exception", "no such shard"), STAYS_PASSING},
        {ERROR("400", "index_closed_exception", "closed"), STAYS_PASSING},
        {ERROR("400", "illegal_argument_exception", "no write index is defined for alias [x]"),
         STAYS_FINAL},
        {ERROR("429", "es_rejected_execution_exception", "rejected execution"), STAYS_PASSING},
        {ERROR("429", "cluster_block_exception", "blocked by: [TOO_MANY_REQUESTS/12/disk usage]"),
         STAYS_PASSING},
        {ERROR("403", "cluster_block_exception", "blocked by: [FORBIDDEN/12/index read-only]"),
         STAYS_PASSING},
        {ERROR("403", "cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)]"),
         STAYS_PASSING},
        {ERROR("403", "security_exception", "no permissions"), STAYS_FINAL},
        {ERROR("401", "security_exception", "who are you"), STAYS_FINAL},
        {ERROR("408", "timeout_exception", "late"), STAYS_PASSING},
        {ERROR("500", "node_not_connected_exception", "gone"), STAYS_PASSING},
        {ERROR("502", "x", "y"), STAYS_PASSING},
        {ERROR("503", "unavailable_shards_exception", "primary shard is not active"),
         STAYS_PASSING},
        {ERROR("504", "x", "y"), STAYS_PASSING},
        {"\"status\":503,\"error\":\"plain text\"", STAYS_PASSING},
        {ERROR("500", "fail_processor_exception", "no such genre"), LEFT_REJECTED},
        {ERROR("500", "find_match", "Unable to find match for dissect pattern"), LEFT_REJECTED},
        {ERROR("500", "class_cast_exception", "no string"), LEFT_REJECTED},
        {"\"result\":\"noop\",\"status\":200", LEFT_DROPPED}, /* by an ingest pipeline */
        {"\"_index\":\"other\",\"status\":200", LEFT_DONE},   /* an alias, as far as we know */
        {"\"_version\":5,\"result\":\"created\",\"status\":201", LEFT_DONE},
        {"\"_version\":77,\"result\":\"created\",\"status\":201", STAYS_FINAL},
        {ERROR("400", "illegal_argument_exception", "pipeline with id [p] does not exist"),
         STAYS_FINAL},
        {ERROR("500", "illegal_state_exception",
               "Pipeline processor configured for non-existent pipeline [p]"),
         STAYS_FINAL},
        {ERROR("500", "illegal_state_exception",
               "final pipeline [p] can't change the target index"),
         STAYS_FINAL},
        {ERROR("409", "version_conflict_engine_exception",
               "[1]: version conflict, document does not exist (expected version [5])"),
         STAYS_FINAL},
        {"\"status\":200,\"_shards\":{\"total\":2,\"successful\":1,\"failed\":1}", LEFT_DONE},
        /* damaged: says two things at once, or none */
        {"\"status\":400", STAYS_PASSING},
        {"\"status\":404", STAYS_PASSING},
        {"\"status\":202", STAYS_PASSING},
        {ERROR("200", "x", "y"), STAYS_PASSING},
        {"\"status\":201,\"status\":201", STAYS_PASSING},
        {"\"status\":201,\"_id\":\"1\"", STAYS_PASSING},
        {"\"status\":\"201\"", STAYS_PASSING},
        {"\"status\":201.5", STAYS_PASSING},
        {"\"status\":null", STAYS_PASSING},
        {"\"other\":201", STAYS_PASSING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        bool ok = judge_one(&f, cases[i].says);
        enum fate fate = cases[i].fate;

        assert_int_equal(ok, fate <= LEFT_REJECTED);
        assert_int_equal(f.b->n, fate > LEFT_REJECTED);
        assert_int_equal(f.sums.indexed, fate == LEFT_DONE);
        assert_int_equal(f.sums.superseded, fate == LEFT_UNCHANGED);
        assert_int_equal(f.sums.dropped, fate == LEFT_DROPPED);
        assert_int_equal(f.sums.rejected, fate == LEFT_REJECTED);
        assert_int_equal(f.told, fate == LEFT_REJECTED);
        if (!ok)
            assert_int_equal(f.e.kind, fate == STAYS_PASSING ? ERR_PASSING : ERR_FINAL);
        bulk_free(f.b);
    }
}

static int64_t nine(void *arg)
{
    (void)arg;
    return 9;
}

static void a_version_issued_meanwhile_by_another_worker_is_ours(void **state)
{
    (void)state;
    static const char answer[] =
        "{\"errors\":true,\"items\":[{\"index\":{\"_id\":\"1\"," CONFLICT("9") "}}]}";
    struct fixture f;
    setup(&f);
    add(&f, "1", 5, "{}");
    assert_false(judge(&f, answer, 7));
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_true(f.e.hint[0]);
    f.latest = nine;
    assert_true(judge(&f, answer, 7));
    assert_int_equal(f.sums.superseded, 1);
    bulk_free(f.b);
}

static void a_rejected_item_is_told_with_its_reason(void **state)
{
    (void)state;
    struct fixture f;
    assert_true(judge_one(
        &f,
        "\"status\":400,\"error\":{\"type\":\"mapper_parsing_exception\",\"reason\":\"failed to "
        "parse field [a]\",\"caused_by\":{\"type\":\"number_format_exception\",\"reason\":\"For "
        "input string: \\\"x\\\"\"}}"));
    assert_string_equal(f.key, "1");
    assert_string_equal(f.reason, "mapper_parsing_exception: failed to parse field [a] (caused by "
                                  "number_format_exception: For input string: \"x\")");
    bulk_free(f.b);
}

static void a_rejected_item_always_has_a_reason(void **state)
{
    (void)state;
    struct fixture f;
    assert_true(judge_one(&f, "\"status\":400,\"error\":{}"));
    assert_string_equal(f.reason, "the search server gave no reason (400)");
    bulk_free(f.b);
}

/* Six items, of every kind; what is left is the 429 alone. */
static const char six[] =
    "{\"took\":3,\"errors\":true,\"items\":["
    "{\"index\":{\"_id\":\"a\\\"b\",\"status\":201}},"
    "{\"index\":{\"_id\":\"busy\",\"status\":429,\"error\":{\"type\":\"es_rejected_"
    "execution_exception\",\"reason\":\"r\"}}},"
    "{\"delete\":{\"_id\":\"gone\",\"status\":404}},"
    "{\"delete\":{\"_id\":\"here\",\"status\":200}},"
    "{\"index\":{\"_id\":\"old\"," CONFLICT(
        "6") "}},"
             "{\"index\":{\"_id\":\"bad\",\"status\":400,\"error\":{\"type\":\"mapper_"
             "parsing_exception\",\"reason\":\"no\"}}}]}";

static void fill_six(struct fixture *f)
{
    setup(f);
    add(f, "a\"b", 5, "{\"n\":1}");
    add(f, "busy", 5, "{\"n\":22}");
    gone(f, "gone", 5);
    gone(f, "here", 5);
    add(f, "old", 5, "{\"n\":3}");
    add(f, "bad", 5, "{\"n\":4}");
}

static void only_what_was_put_off_remains(void **state)
{
    (void)state;
    struct fixture f;
    fill_six(&f);
    assert_false(judge(&f, six, 7));
    assert_int_equal(f.e.kind, ERR_PASSING);
    assert_string_equal(f.e.text,
                        "1 of 6 items were rejected for now: es_rejected_execution_exception: r");
    assert_int_equal(f.sums.indexed, 1);
    assert_int_equal(f.sums.deleted, 1);
    assert_int_equal(f.sums.superseded, 2);
    assert_int_equal(f.sums.rejected, 1);
    assert_string_equal(f.key, "bad");
    assert_int_equal(f.b->n, 1);
    assert_string_equal(body(&f), "{\"index\":{\"_id\":\"busy\",\"version\":5,\"version_type\":"
                                  "\"external_gte\"}}\n{\"n\":22}\n");
    assert_true(judge(
        &f, "{\"errors\":false,\"items\":[{\"index\":{\"_id\":\"busy\",\"status\":200}}]}", 7));
    assert_int_equal(f.sums.indexed, 2);
    assert_int_equal(f.b->body.len, 0);
    bulk_free(f.b);
}

static void an_answer_cut_anywhere_changes_nothing(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof six - 1; n++) {
        struct fixture f;
        fill_six(&f);
        char *exact = malloc(n + 1); /* the sanitizer sees a read behind it */
        memcpy(exact, six, n);
        assert_false(bulk_judge(
            f.b, exact, n,
            &(struct bulk_sink){.counts = &f.sums, .rejected = on_rejected, .arg = &f, .issued = 7},
            &f.e));
        assert_int_equal(f.e.kind, ERR_PASSING);
        assert_int_equal(f.b->n, 6);
        assert_int_equal(f.told, 0);
        assert_int_equal(f.sums.indexed + f.sums.deleted + f.sums.superseded + f.sums.rejected, 0);
        free(exact);
        bulk_free(f.b);
    }
}

/* Whatever byte is wrong, and however: all stays, or what leaves is what would have left, or is
 * told of. */
static void an_answer_with_a_wrong_byte_counts_nothing_as_done_that_is_not(void **state)
{
    (void)state;
    static char text[sizeof six];
    for (size_t at = 0; at < sizeof six - 1; at++)
        for (int byte = 0; byte < 256; byte++) {
            struct fixture f;
            fill_six(&f);
            memcpy(text, six, sizeof six);
            text[at] = (char)byte;
            bulk_judge(f.b, text, sizeof six - 1,
                       &(struct bulk_sink){
                           .counts = &f.sums, .rejected = on_rejected, .arg = &f, .issued = 7},
                       &f.e);
            bool busy = strstr(body(&f), "busy") != NULL;
            if (!busy && strcmp(f.key, "busy") != 0 && f.told < 2)
                fail_msg("byte %d at %zu lost an item", byte, at);
            if (f.sums.indexed > 1 || f.sums.deleted > 1 || f.sums.superseded > 3)
                fail_msg("byte %d at %zu counts too much", byte, at);
            assert_int_equal(
                f.b->n + f.sums.indexed + f.sums.deleted + f.sums.superseded + f.sums.rejected, 6);
            bulk_free(f.b);
        }
}

static void an_answer_that_does_not_fit_the_request_changes_nothing(void **state)
{
    (void)state;
    static const char one[] = "{\"index\":{\"_id\":\"1\",\"status\":201}}",
                      two[] = "{\"delete\":{\"_id\":\"2\",\"status\":200}}",
                      error[] = "{\"delete\":{\"_id\":\"2\",\"status\":400,\"error\":\"x\"}}";
    static const struct {
        const char *format; /* of one, two, error */
        const char *what;
    } answers[] = {
        {"", "damaged answer"},
        {"[]", "not the answer to a bulk request, at byte 0; it begins with '[]'"},
        {"{}", "it has no items"},
        {"{\"errors\":false}", "it has no items"},
        {"{\"errors\":false,\"items\":[]}", "it has 0 items instead of 2"},
        {"{\"errors\":false,\"items\":{}}", "not the answer to a bulk request, at byte 24"},
        {"{\"errors\":false,\"items\":null}", "not the answer"},
        {"{\"errors\":0,\"items\":[%1$s,%2$s]}", "not the answer"},
        {"{\"items\":[%1$s,%2$s]}", "it has no errors flag"},
        {"{\"errors\":true,\"items\":[%1$s,%2$s]}",
         "0 of its items have errors, which its errors flag contradicts"},
        {"{\"errors\":false,\"items\":[%1$s,%3$s]}",
         "1 of its items have errors, which its errors flag contradicts"},
        {"{\"errors\":false,\"items\":[%1$s]}", "it has 1 items instead of 2"},
        {"{\"errors\":false,\"items\":[%1$s,%1$s]}", "its item 2 does not fit"},
        {"{\"errors\":false,\"items\":[%1$s,[]]}", "not the answer"},
        {"{\"errors\":false,\"items\":[%1$s,{}]}", "its item 2 does not fit"},
        {"{\"errors\":false,\"items\":[%1$s,{\"delete\":[]}]}", "its item 2 does not fit"},
        {"{\"errors\":false,\"items\":[%1$s,{\"create\":{\"_id\":\"2\",\"status\":200}}]}",
         "its item 2 does not fit"},
        {"{\"errors\":false,\"items\":[%1$s,{\"delete\":{\"_id\":\"22\",\"status\":200}}]}",
         "it is about document '22' instead of '2'"},
        {"{\"errors\":false,\"items\":[%1$s,{\"delete\":{\"_id\":\"\",\"status\":200}}]}",
         "it is about document '' instead of '2'"},
        {"{\"errors\":false,\"items\":[%1$s,{\"delete\":{\"_id\":2,\"status\":200}}]}",
         "its item 2 does not fit"},
        {"{\"errors\":false,\"items\":[%1$s,{\"delete\":{\"status\":200}}]}",
         "its item 2 does not fit"},
        {"{\"errors\":false,\"items\":[%1$s,{\"delete\":{\"_id\":\"2\",\"status\":302}}]}",
         "its item 2 has status 302 without error"},
        {"{\"errors\":false,\"items\":[%1$s,%2$s,%2$s]}", "it has more than 2 items"},
        {"{\"errors\":false,\"items\":[{\"index\":{\"_id\":\"1\",\"status\":201},\"index\":{\"_"
         "id\":"
         "\"1\",\"status\":201}},%2$s]}",
         "its item 1 does not fit"},
        {"{\"errors\":false,\"items\":[%1$s,%2$s],\"items\":[%1$s,%2$s]}", "not the answer"},
        {"{\"errors\":false,\"items\":[%1$s,%2$s]}x", "damaged at byte"},
        {"{\"errors\":false,\"items\":[%1$s,%2$s]", "cut off at byte"},
        {"\x1F\x8B\x08", "damaged at byte 0; it begins with"},
        {"{\"error\":{\"type\":\"t\",\"reason\":\"r\"},\"status\":503}",
         "answered 200, but with an error: t: r"},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct fixture f;
        char answer[500];
        setup(&f);
        add(&f, "1", 5, "{}");
        gone(&f, "2", 5);
        snprintf(answer, sizeof answer, answers[i].format, one, two, error);
        assert_false(judge(&f, answer, 7));
        assert_int_equal(f.e.kind, ERR_PASSING);
        if (!strstr(f.e.text, answers[i].what))
            fail_msg("'%s' lacks '%s'", f.e.text, answers[i].what);
        assert_int_equal(f.b->n, 2);
        assert_int_equal(f.told + f.sums.indexed + f.sums.deleted + f.sums.superseded, 0);
        bulk_free(f.b);
    }
}

/* OpenSearch 2.19, of documents with ingest pipelines: those that they refuse or drop are out of
 * order. */
static void answers_out_of_order_are_told_by_their_ids(void **state)
{
    (void)state;
    static const char answer[] =
        "{\"errors\":true,\"items\":["
        "{\"index\":{\"_id\":\"1\",\"status\":400,\"error\":\"x\"}},"
        "{\"index\":{\"_id\":\"2\",\"_version\":5,\"result\":\"created\",\"status\":201}},"
        "{\"index\":{\"_id\":\"5\",\"status\":429,\"error\":\"y\"}},"
        "{\"index\":{\"_id\":\"3\",\"status\":400,\"error\":\"z\"}},"
        "{\"index\":{\"_id\":\"4\",\"_version\":5,\"result\":\"noop\",\"status\":200}},"
        "{\"delete\":{\"_id\":\"2\",\"_version\":5,\"result\":\"deleted\",\"status\":200}}]}";
    struct fixture f;
    setup(&f);
    for (char key[] = "1"; *key <= '5'; ++*key)
        add(&f, key, 5, "{}");
    gone(&f, "2", 5);
    assert_false(judge(&f, answer, 7));
    assert_int_equal(f.e.kind, ERR_PASSING);
    assert_int_equal(f.b->n, 1);
    assert_string_equal(bulk_key(f.b, 0), "5");
    assert_int_equal(f.told, 2);
    assert_int_equal(f.sums.indexed, 1);
    assert_int_equal(f.sums.dropped, 1);
    assert_int_equal(f.sums.deleted, 1);
    bulk_free(f.b);
}

static void a_second_answer_about_a_dropped_document_is_passed_over(void **state)
{
    (void)state;
    const char *answer =
        "{\"errors\":true,\"items\":["
        "{\"index\":{\"_id\":\"2\",\"_version\":5,\"result\":\"noop\",\"status\":200}},"
        "{\"index\":{\"_id\":\"2\",\"_version\":5,\"result\":\"noop\",\"status\":200}},"
        "{\"index\":{\"_id\":\"1\",\"_version\":5,\"result\":\"created\",\"status\":201}},"
        "{\"index\":{\"_id\":\"3\",\"_version\":5,\"result\":\"created\",\"status\":201}},"
        "{\"index\":{\"_id\":\"2\",\"status\":400,\"error\":\"z\"}}]}";
    struct fixture f;
    setup(&f);
    for (char key[] = "1"; *key <= '3'; ++*key)
        add(&f, key, 5, "{}");
    assert_true(judge(&f, answer, 7));
    assert_int_equal(f.b->n, 0);
    assert_int_equal(f.told, 0);
    assert_int_equal(f.sums.indexed, 2);
    assert_int_equal(f.sums.dropped, 1);
    assert_int_equal(f.sums.rejected, 0);
    bulk_free(f.b);
}

static void an_id_that_a_pipeline_has_changed_is_told_by_the_version(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    add(&f, "1", 5, "{}");
    assert_false(judge(&f,
                       "{\"errors\":false,\"items\":[{\"index\":{\"_id\":\"other\",\"_version\":5,"
                       "\"result\":\"created\",\"status\":201}}]}",
                       7));
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_string_equal(f.e.text, "document '1' was indexed, but an ingest pipeline has set its "
                                  "_id to 'other'");
    assert_int_equal(f.b->n, 1);
    bulk_free(f.b);
}

static void how_many_documents_a_pipeline_has_changed_is_told(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    add(&f, "1", 5, "{}");
    add(&f, "2", 5, "{}");
    add(&f, "3", 5, "{}");
    assert_false(judge(&f,
                       "{\"errors\":false,\"items\":[{\"index\":{\"_id\":\"1\",\"_version\":5,"
                       "\"result\":\"created\",\"status\":201}},{\"index\":{\"_id\":\"2\","
                       "\"_version\":77,\"status\":201}},{\"index\":{\"_id\":\"3\",\"_version\":77,"
                       "\"status\":201}}]}",
                       7));
    assert_string_equal(f.e.text, "document '2' was indexed, but an ingest pipeline has set its "
                                  "_version to 77; so it did with 2 of the 3 documents of the "
                                  "request");
    bulk_free(f.b);
}

static void a_missing_pipeline_is_the_documents_own_fault_if_it_chose_it(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    bulk_begin(f.b, "1", 5);
    buf_adds(bulk_body(f.b), "{}");
    bulk_set_location(f.b, NULL, NULL, "p");
    assert_true(bulk_commit(f.b, &f.e));
    assert_true(judge(&f,
                      "{\"errors\":true,\"items\":[{\"index\":{\"_id\":\"1\",\"status\":400,"
                      "\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":\"pipeline "
                      "with id [p] does not exist\"}}}]}",
                      7));
    assert_int_equal(f.told, 1);
    bulk_free(f.b);
}

static void every_allocation_may_fail_while_judging(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct fixture f;
        fill_six(&f);
        allocations_left = n;
        bool ok = judge(&f, six, 7);
        allocations_left = -1;
        assert_false(ok);
        done = f.b->n == 1;
        assert_int_equal(
            f.b->n + f.sums.indexed + f.sums.deleted + f.sums.superseded + f.sums.rejected, 6);
        bulk_free(f.b);
    }
}

/* ---- sending, to the fake server ---- */

static bool deliver(struct fixture *f, const char *url, const char *index, int64_t issued)
{
    struct es_server s;
    assert_true(es_server_init(&s, &(struct es_config){.url = url}, &f->e));
    s.limits.stall_s = 1;
    struct es *es = es_open(&s, &f->e);
    assert_non_null(es);
    struct bulk_sink to = sink(f, issued);
    bool ok = bulk_send(f->b, es, index, &to, &f->e);
    es_close(es);
    es_server_free(&s);
    return ok;
}

static void a_request_is_sent_and_emptied(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    /* nothing to send */
    assert_true(bulk_send(
        f.b, NULL, "x",
        &(struct bulk_sink){.counts = &f.sums, .rejected = on_rejected, .arg = &f, .issued = 7},
        &f.e));
    add(&f, "1", 5, "{}");
    gone(&f, "2", 5);
    size_t len = f.b->body.len;
    fake_start(&fake, STEPS({.status = 200}));
    assert_true(deliver(&f, fake.url, "mov/ies", 7));
    fake_look(&fake);
    assert_memory_equal(fake.head, "POST /mov%2Fies/_bulk?filter_path=", 34);
    assert_non_null(strstr(fake.head, "Content-Type: application/x-ndjson\r\n"));
    assert_int_equal(f.sums.indexed, 1);
    assert_int_equal(f.sums.deleted, 1);
    assert_int_equal(f.sums.requests, 1);
    assert_int_equal(f.sums.bytes, len);
    assert_int_equal(f.b->n, 0);
    fake_stop(&fake);
    bulk_free(f.b);
}

#define NO_ALIAS(name)                                                                             \
    "{\"errors\":true,\"items\":[{\"index\":{\"_index\":\"" name                                   \
    "\",\"_id\":\"1\",\"status\":404,\"error\":{\"type\":\"index_not_found_exception\","           \
    "\"reason\":\"no such index [" name "] and [require_alias] request flag is [true] and [" name  \
    "] is not an alias\"}}}]}"

static void an_index_that_a_pipeline_chooses_is_no_deleted_one(void **state)
{
    (void)state;
    static const char *const answers[] = {NO_ALIAS("movies"), NO_ALIAS("away")};
    for (int away = 0; away < 2; away++) {
        struct fixture f;
        struct es_server s;
        setup(&f);
        add(&f, "1", 5, "{}");
        fake_start(&fake, STEPS({.status = 200, .body = answers[away]}));
        assert_true(es_server_init(&s, &(struct es_config){.url = fake.url}, &f.e));
        struct es *es = es_open(&s, &f.e);
        const struct bulk_sink sink = {.counts = &f.sums, .issued = 7, .is_alias = true};
        assert_false(bulk_send(f.b, es, "movies", &sink, &f.e));
        assert_int_equal(f.e.kind, ERR_FINAL);
        assert_int_equal(strstr(f.e.text, "has set its _index to 'away'") != NULL, away);
        assert_int_equal(strstr(f.e.hint, "the index was deleted") != NULL, !away);
        es_close(es);
        es_server_free(&s);
        fake_stop(&fake);
        bulk_free(f.b);
    }
}

static void a_request_to_an_alias_makes_no_index(void **state)
{
    (void)state;
    struct fixture f;
    struct es_server s;
    for (int alias = 0; alias < 2; alias++) {
        setup(&f);
        add(&f, "1", 5, "{}");
        fake_start(&fake, STEPS({.status = 200}));
        assert_true(es_server_init(&s, &(struct es_config){.url = fake.url}, &f.e));
        struct es *es = es_open(&s, &f.e);
        const struct bulk_sink sink = {.counts = &f.sums, .issued = 7, .is_alias = alias};
        assert_true(bulk_send(f.b, es, "movies", &sink, &f.e));
        fake_look(&fake);
        assert_int_equal(strstr(fake.head, "&require_alias=true HTTP") != NULL, alias);
        es_close(es);
        es_server_free(&s);
        fake_stop(&fake);
        bulk_free(f.b);
    }
}

static void fails_as(struct fake_step step, enum err_kind kind, int64_t retry_ms, const char *part)
{
    struct fixture f;
    setup(&f);
    add(&f, "1", 5, "{\"n\":1}");
    gone(&f, "2", 5);
    fake_start(&fake, &step, 1);
    assert_false(deliver(&f, fake.url, "movies", 7));
    assert_int_equal(f.e.kind, kind);
    assert_int_equal(f.e.retry_after_ms, retry_ms);
    if (!strstr(f.e.text, part))
        fail_msg("'%s' lacks '%s'", f.e.text, part);
    assert_non_null(strstr(f.e.text, "'movies'"));
    assert_int_equal(f.b->n, 2);
    assert_int_equal(f.sums.retried_items, kind == ERR_PASSING ? 2 : 0);
    assert_int_equal(f.told, 0);
    assert_int_equal(f.e.overloaded, step.status == 429);
    fake_stop(&fake);
    bulk_free(f.b);
}

static void a_failed_request_keeps_all_its_items(void **state)
{
    (void)state;
    fails_as((struct fake_step){.status = 429, .headers = "Retry-After: 2\r\n", .body = "{}"},
             ERR_PASSING, 2000, "429");
    fails_as((struct fake_step){.status = 503, .body = "starting"}, ERR_PASSING, 0, "starting");
    fails_as((struct fake_step){.status = 401, .body = ""}, ERR_FINAL, 0, "401");
    fails_as(
        (struct fake_step){.status = 400, .body = "{\"error\":{\"type\":\"t\",\"reason\":\"r\"}}"},
        ERR_FINAL, 0, "t: r");
    fails_as(
        (struct fake_step){
            .status = 404,
            .body = "{\"error\":{\"type\":\"index_not_found_exception\",\"reason\":\"no such\"}}"},
        ERR_FINAL, 0, "index_not_found_exception");
    fails_as((struct fake_step){.status = 200, .missing = 5, .end = FAKE_CLOSE}, ERR_PASSING, 0,
             "cut off");
    fails_as((struct fake_step){.status = 200, .body = ""}, ERR_PASSING, 0, "damaged");
    fails_as((struct fake_step){.status = 200, .body = "<html>login</html>"}, ERR_PASSING, 0,
             "it begins with '<html>login</html>'");
    fails_as((struct fake_step){.status = 500, .body = "{}"}, ERR_PASSING, 0, "500");
    fails_as(
        (struct fake_step){.status = 200, .body = "{\"error\":\"who are you\",\"status\":401}"},
        ERR_FINAL, 0, "who are you");
    fails_as(
        (struct fake_step){.status = 307, .body = "", .headers = "Location: https://h:1/x\r\n"},
        ERR_FINAL, 0, "it redirects to https://h:1/");
    fails_as((struct fake_step){.status = 200, .end = FAKE_HANG}, ERR_PASSING, 0, "not a byte");
    fails_as((struct fake_step){.end = FAKE_RESET}, ERR_PASSING, 0, "could not");
}

static void a_request_too_large_is_split_down_to_the_item_that_never_fits(void **state)
{
    (void)state;
    static char large[3000];
    memset(large, ' ', sizeof large - 1);
    large[0] = '{';
    large[sizeof large - 2] = '}';
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 100; i++) {
        char key[12];
        snprintf(key, sizeof key, "%d", i);
        if (i == 37)
            add(&f, "large", 5, large);
        else if (i % 3)
            add(&f, key, 5, "{\"n\":1}");
        else
            gone(&f, key, 5);
    }
    fake_start(&fake, STEPS({.status = 200}));
    fake.limit = 2000;
    assert_true(deliver(&f, fake.url, "movies", 7));
    assert_int_equal(f.b->n, 0);
    assert_int_equal(f.told, 1);
    assert_string_equal(f.key, "large");
    assert_non_null(strstr(f.reason, "larger than the server accepts"));
    assert_int_equal(f.sums.rejected, 1);
    assert_int_equal(f.sums.deleted, 34);
    assert_int_equal(f.sums.indexed, 65);
    fake_stop(&fake);
    bulk_free(f.b);
}

/* What the server refused once is not tried again: neither by the rest of this request, nor by the
 * next. */
static void the_servers_limit_is_remembered(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    fake_start(&fake, STEPS({.status = 200}));
    fake.limit = 2000;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 100; i++) { /* 70 bytes each: 7,000, refused; 3,500, too; 1,750 */
            char key[20];
            snprintf(key, sizeof key, "%04d", i);
            add(&f, key, 5 + round, "{}");
        }
        assert_true(deliver(&f, fake.url, "movies", 7));
        assert_int_equal(f.sums.indexed, 100 * (round + 1));
        assert_in_range(f.b->most, 1000, 2000);
        assert_in_range(f.sums.requests, round == 0 ? 6 : 10, round == 0 ? 7 : 12);
    }
    fake_stop(&fake);
    bulk_free(f.b);
}

static void what_a_split_has_delivered_is_not_sent_again(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 4; i++)
        add(&f, i == 0 ? "0" : i == 1 ? "1" : i == 2 ? "2" : "3", 5, "{}");
    fake_start(&fake, STEPS({.status = 413, .body = ""}, {.status = 200},
                            {.status = 503, .body = ""}, {.status = 200}));
    assert_false(deliver(&f, fake.url, "movies", 7));
    assert_int_equal(f.e.kind, ERR_PASSING);
    assert_int_equal(f.sums.indexed, 2);
    assert_int_equal(f.b->n, 2);
    assert_non_null(strstr(body(&f), "{\"_id\":\"2\""));
    assert_null(strstr(body(&f), "{\"_id\":\"1\""));
    assert_true(deliver(&f, fake.url, "movies", 7));
    assert_int_equal(f.sums.indexed, 4);
    fake_stop(&fake);
    bulk_free(f.b);
}

static void requests_end_with_the_item_that_is_enough(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 5; i++)
        add(&f, i == 0 ? "0" : i == 1 ? "1" : i == 2 ? "2" : i == 3 ? "3" : "4", 5, "{}");
    bulk_set_request_bytes(f.b, f.b->body.len / 5 +
                                    1); /* so much that an item and a part of the next reach it */
    fake_start(&fake, STEPS({.status = 200}, {.status = 429, .body = ""}, {.status = 200}));
    assert_false(deliver(&f, fake.url, "movies", 7));
    assert_true(f.e.overloaded);
    assert_int_equal(f.b->n, 3);
    assert_int_equal(f.sums.requests, 2);
    bulk_set_request_bytes(f.b, 1); /* no item is so small */
    assert_true(deliver(&f, fake.url, "movies", 7));
    assert_int_equal(f.sums.requests, 5);
    assert_int_equal(f.sums.indexed, 5);
    fake_stop(&fake);
    bulk_free(f.b);
}

static bool put_off_by(int status, const char *type, const char *reason)
{
    struct fixture f;
    char answer[500];
    setup(&f);
    add(&f, "1", 5, "{}");
    snprintf(answer, sizeof answer,
             "{\"errors\":true,\"items\":[{\"index\":{\"_id\":\"1\",\"status\":%d,\"error\":{"
             "\"type\":\"%s\","
             "\"reason\":\"%s\"}}}]}",
             status, type, reason);
    assert_false(judge(&f, answer, 7));
    assert_int_equal(f.e.kind, ERR_PASSING);
    bulk_free(f.b);
    return f.e.overloaded;
}

static void items_tell_of_overload(void **state)
{
    (void)state;
    assert_true(put_off_by(429, "es_rejected_execution_exception", "queue"));
    assert_true(put_off_by(503, "rejected_execution_exception", "queue"));
    assert_true(put_off_by(429, "circuit_breaking_exception", "too much"));
    assert_false(put_off_by(429, "cluster_block_exception", "FORBIDDEN/12/disk"));
    assert_false(put_off_by(503, "unavailable_shards_exception", "gone"));
}

static void a_key_too_long_for_any_server_is_rejected_alone(void **state)
{
    (void)state;
    char key[514];
    memset(key, 'k', sizeof key);
    key[513] = '\0';
    struct fixture f;
    setup(&f);
    add(&f, key, 5, "{}");
    add(&f, key + 1, 5, "{}");
    gone(&f, key, 5);
    fake_start(&fake, STEPS({.status = 200}));
    assert_true(deliver(&f, fake.url, "movies", 7));
    assert_int_equal(f.told, 2);
    assert_string_equal(f.key, key);
    assert_int_equal(f.sums.indexed, 1);
    fake_stop(&fake);
    bulk_free(f.b);
}

/* ---- on a real server ---- */

static const char *real; /* its URL */
static const char index_name[] = "etl-engine-test-bulk";

static void call(const char *method, const char *path, const char *text)
{
    struct es_server s;
    struct err e;
    struct es_answer a = {0};
    assert_true(es_server_init(&s, &(struct es_config){.url = real}, &e));
    struct es *es = es_open(&s, &e);
    assert_true(es_request(
        es,
        &(struct es_call){
            .method = method, .path = path, .body = text, .len = text ? strlen(text) : 0},
        &a, &e));
    if (a.status >= 300 && a.status != 404)
        fail_msg("%s %s: %d %s", method, path, a.status, buf_cstr(&a.body));
    es_answer_free(&a);
    es_close(es);
    es_server_free(&s);
}

static int fresh_index(void **state)
{
    (void)state;
    if (!real)
        return 0;
    call("DELETE", "/etl-engine-test-bulk", NULL);
    call("PUT", "/etl-engine-test-bulk",
         "{\"settings\":{\"number_of_shards\":1,\"number_of_replicas\":0,\"index.gc_deletes\":"
         "\"1h\"},"
         "\"mappings\":{\"dynamic\":\"strict\",\"properties\":{\"n\":{\"type\":\"integer\"}}}}");
    return 0;
}

static int no_index(void **state)
{
    (void)state;
    if (real)
        call("DELETE", "/etl-engine-test-bulk", NULL);
    return 0;
}

static bool really(struct fixture *f, int64_t issued)
{
    return deliver(f, real, index_name, issued);
}

static void server_refuses_what_is_stale(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct fixture f;
    setup(&f);
    add(&f, "a\"/\xD0\xB6\n1", 10, "{\"n\":1}");
    add(&f, "2", 10, "{\"n\":2}");
    gone(&f, "3", 10); /* was never there: a tombstone from now on */
    assert_true(really(&f, 10));
    assert_int_equal(f.sums.indexed, 2);
    assert_int_equal(f.sums.superseded, 1);
    gone(&f, "2", 12);
    assert_true(really(&f, 12));
    assert_int_equal(f.sums.deleted, 1);
    add(&f, "a\"/\xD0\xB6\n1", 9, "{\"n\":9}");
    gone(&f, "a\"/\xD0\xB6\n1", 9);
    add(&f, "2", 11, "{\"n\":9}");
    add(&f, "3", 9, "{\"n\":9}");
    assert_true(really(&f, 12));
    assert_int_equal(f.sums.superseded, 5);
    add(&f, "a\"/\xD0\xB6\n1", 10, "{\"n\":3}"); /* the same version once more: redelivered */
    assert_true(really(&f, 12));
    assert_int_equal(f.sums.indexed, 3);
    add(&f, "2", 8, "{\"n\":9}");
    add(&f, "4", 8, "{\"n\":9}");
    assert_false(really(&f, 8)); /* as if we had never issued a 12 */
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_non_null(strstr(f.e.text, "cannot index document '2'"));
    assert_int_equal(f.b->n, 1);
    bulk_free(f.b);
}

static void server_rejects_what_does_not_fit_the_mapping(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct fixture f;
    setup(&f);
    add(&f, "1", 10, "{\"n\":\"x\"}");
    add(&f, "2", 10, "{\"n\":2}");
    assert_true(really(&f, 10));
    assert_int_equal(f.told, 1);
    assert_string_equal(f.key, "1");
    assert_non_null(
        strstr(f.reason, "parsing_exception: failed to parse field [n] of type [integer]"));
    assert_non_null(
        strstr(f.reason, "(caused by number_format_exception: For input string: \"x\")"));
    add(&f, "3", 10, "{\"m\":2}");
    assert_true(really(&f, 10));
    assert_non_null(strstr(f.reason, "strict_dynamic_mapping_exception"));
    add(&f, "", 10, "{\"n\":2}");
    add(&f, "4", 10, "{\"n\":");
    assert_true(really(&f, 10));
    assert_int_equal(f.told, 4);
    assert_int_equal(f.sums.indexed, 1);
    bulk_free(f.b);
}

static void server_with_a_full_disk_is_waited_for(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct fixture f;
    setup(&f);
    call("PUT", "/etl-engine-test-bulk/_settings",
         "{\"index.blocks.read_only_allow_delete\":true}");
    add(&f, "1", 10, "{\"n\":1}");
    assert_false(really(&f, 10));
    assert_int_equal(f.e.kind, ERR_PASSING);
    assert_non_null(
        strstr(f.e.text, "1 of 1 items were rejected for now: cluster_block_exception"));
    call("PUT", "/etl-engine-test-bulk/_settings",
         "{\"index.blocks.read_only_allow_delete\":null}");
    assert_true(really(&f, 10));
    call("PUT", "/etl-engine-test-bulk/_settings", "{\"index.blocks.write\":true}");
    add(&f, "1", 11, "{\"n\":1}");
    assert_false(really(&f, 11));
    assert_int_equal(f.e.kind, ERR_PASSING);
    assert_non_null(strstr(f.e.hint, "index.blocks.write"));
    call("PUT", "/etl-engine-test-bulk/_settings", "{\"index.blocks.write\":null}");
    assert_true(really(&f, 11));
    bulk_free(f.b);
}

static void server_short_of_memory_is_waited_for(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct fixture f;
    setup(&f);
    add(&f, "1", 10, "{\"n\":1}");
    call("PUT", "/_cluster/settings",
         "{\"persistent\":{\"network.breaker.inflight_requests.limit\":\"10b\"}}");
    bool ok = really(&f, 10);
    call("PUT", "/_cluster/settings",
         "{\"persistent\":{\"network.breaker.inflight_requests.limit\":null}}");
    assert_false(ok);
    assert_int_equal(f.e.kind, ERR_PASSING);
    assert_non_null(strstr(f.e.text, "429: circuit_breaking_exception"));
    assert_true(really(&f, 10));
    bulk_free(f.b);
}

static void server_with_too_many_fields_rejects_the_document(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct fixture f;
    setup(&f);
    call("PUT", "/etl-engine-test-bulk/_mapping", "{\"dynamic\":true}");
    call("PUT", "/etl-engine-test-bulk/_settings", "{\"index.mapping.total_fields.limit\":1}");
    add(&f, "1", 10, "{\"n\":1}");
    add(&f, "2", 10, "{\"n\":1,\"m\":1}");
    assert_true(really(&f, 10));
    assert_int_equal(f.sums.indexed, 1);
    assert_string_equal(f.key, "2");
    assert_non_null(strstr(f.reason, "Limit of total fields [1]"));
    bulk_free(f.b);
}

static void server_without_the_index_ends_it(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct fixture f;
    setup(&f);
    call("POST", "/etl-engine-test-bulk/_close", NULL);
    add(&f, "1", 10, "{\"n\":1}");
    assert_false(really(&f, 10));
    assert_int_equal(f.e.kind, ERR_PASSING);
    call("DELETE", "/etl-engine-test-bulk", NULL);
    call("PUT", "/_cluster/settings", "{\"persistent\":{\"action.auto_create_index\":\"false\"}}");
    bool ok = really(&f, 10);
    call("PUT", "/_cluster/settings", "{\"persistent\":{\"action.auto_create_index\":null}}");
    assert_false(ok);
    assert_int_equal(f.e.kind, ERR_FINAL);
    assert_non_null(strstr(f.e.text, "index_not_found_exception"));
    assert_true(f.e.hint[0]);
    assert_int_equal(f.b->n, 1);
    bulk_free(f.b);
}

static void server_takes_ten_thousand_items(void **state)
{
    (void)state;
    if (!real)
        skip();
    struct fixture f;
    setup(&f);
    f.b->body.max = 10 << 20;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 10000; i++) {
            char key[40];
            snprintf(key, sizeof key, "key-%d", i);
            if (i % 5)
                add(&f, key, 10 + round, "{\"n\":1}");
            else
                gone(&f, key, 10 + round);
        }
        assert_true(really(&f, 10 + round));
    }
    assert_int_equal(f.sums.indexed, 16000);
    assert_int_equal(f.sums.superseded, 4000);
    bulk_free(f.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_is_what_the_server_wants),
        cmocka_unit_test(an_aborted_item_leaves_nothing),
        cmocka_unit_test(an_item_may_have_a_place_of_its_own),
        cmocka_unit_test(a_document_too_large_is_taken_back),
        cmocka_unit_test(a_key_that_is_not_text_is_refused),
        cmocka_unit_test(every_allocation_may_fail_while_building),
        cmocka_unit_test(each_item_gets_what_it_deserves),
        cmocka_unit_test(a_version_issued_meanwhile_by_another_worker_is_ours),
        cmocka_unit_test(a_rejected_item_is_told_with_its_reason),
        cmocka_unit_test(a_rejected_item_always_has_a_reason),
        cmocka_unit_test(only_what_was_put_off_remains),
        cmocka_unit_test(an_answer_cut_anywhere_changes_nothing),
        cmocka_unit_test(an_answer_with_a_wrong_byte_counts_nothing_as_done_that_is_not),
        cmocka_unit_test(an_answer_that_does_not_fit_the_request_changes_nothing),
        cmocka_unit_test(answers_out_of_order_are_told_by_their_ids),
        cmocka_unit_test(a_second_answer_about_a_dropped_document_is_passed_over),
        cmocka_unit_test(an_id_that_a_pipeline_has_changed_is_told_by_the_version),
        cmocka_unit_test(how_many_documents_a_pipeline_has_changed_is_told),
        cmocka_unit_test(a_missing_pipeline_is_the_documents_own_fault_if_it_chose_it),
        cmocka_unit_test(every_allocation_may_fail_while_judging),
        cmocka_unit_test(a_request_is_sent_and_emptied),
        cmocka_unit_test(a_request_to_an_alias_makes_no_index),
        cmocka_unit_test(an_index_that_a_pipeline_chooses_is_no_deleted_one),
        cmocka_unit_test(a_failed_request_keeps_all_its_items),
        cmocka_unit_test(a_request_too_large_is_split_down_to_the_item_that_never_fits),
        cmocka_unit_test(the_servers_limit_is_remembered),
        cmocka_unit_test(what_a_split_has_delivered_is_not_sent_again),
        cmocka_unit_test(requests_end_with_the_item_that_is_enough),
        cmocka_unit_test(items_tell_of_overload),
        cmocka_unit_test(a_key_too_long_for_any_server_is_rejected_alone),
        cmocka_unit_test_setup_teardown(server_refuses_what_is_stale, fresh_index, no_index),
        cmocka_unit_test_setup_teardown(server_rejects_what_does_not_fit_the_mapping, fresh_index,
                                        no_index),
        cmocka_unit_test_setup_teardown(server_with_a_full_disk_is_waited_for, fresh_index,
                                        no_index),
        cmocka_unit_test_setup_teardown(server_short_of_memory_is_waited_for, fresh_index,
                                        no_index),
        cmocka_unit_test_setup_teardown(server_with_too_many_fields_rejects_the_document,
                                        fresh_index, no_index),
        cmocka_unit_test_setup_teardown(server_without_the_index_ends_it, fresh_index, no_index),
        cmocka_unit_test_setup_teardown(server_takes_ten_thousand_items, fresh_index, no_index),
    };
    signal(SIGPIPE, SIG_IGN); /* as stop_init does */
    real = getenv("ELASTICSEARCH_URL");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
