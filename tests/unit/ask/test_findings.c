/* Findings count what was compared, by kind, reason and field; examples are bounded, and what they
 * print is one line of text or valid JSON, whatever is in a document. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask/findings.h"
#include "base/err.h"
#include "base/json.h"
#include "torture.h"

static const int64_t NOW = 1795777244482175;
static const struct explain NOBODY = {0};

static struct worker_pair pair(const char *key, const char *made, const char *held)
{
    return (struct worker_pair){.key = key,
                                .made = made,
                                .made_len = made ? strlen(made) : 0,
                                .made_version = NOW,
                                .found = held,
                                .held = held,
                                .held_len = held ? strlen(held) : 0,
                                .held_version = held ? NOW - 1000 : 0,
                                .copies = held != NULL};
}

static bool add(struct findings *f, const struct explain *x, struct worker_pair p, struct err *e)
{
    enum explain_kind kind;
    return findings_judge(&p, &kind, e) && findings_add(f, x, kind, &p, e);
}

static void assert_kind(struct worker_pair p, enum explain_kind want)
{
    enum explain_kind kind;
    struct err e;
    assert_true(findings_judge(&p, &kind, &e));
    assert_int_equal(kind, want);
}

static void a_pair_is_judged_by_what_both_say(void **state)
{
    (void)state;
    assert_kind(pair("1", "{\"a\":1}", "{\"a\":1.0}"), EXPLAIN_SAME);
    assert_kind(pair("1", NULL, NULL), EXPLAIN_SAME);
    assert_kind(pair("1", "{}", NULL), EXPLAIN_MISSING);
    assert_kind(pair("1", NULL, "{}"), EXPLAIN_ORPHANED);
    assert_kind(pair("1", "{\"a\":1}", "{\"a\":2}"), EXPLAIN_DIFFERENT);
    struct worker_pair p = pair("1", "{}", "{}");
    p.copies = 2;
    assert_kind(p, EXPLAIN_DIFFERENT);
    p.copies = 1;
    p.routed = true;
    assert_kind(p, EXPLAIN_DIFFERENT);
    p = pair("1", "{}", NULL);
    p.found = true; /* and not stored */
    assert_kind(p, EXPLAIN_DIFFERENT);
    p = pair("1", NULL, NULL);
    p.failed = "no";
    assert_kind(p, EXPLAIN_FAILED);
}

static enum explain_reason reason(const struct explain *x, enum explain_kind kind,
                                  struct worker_pair p)
{
    return explain_reason(x, kind, &p);
}

static void a_reason_is_found_in_the_version_and_in_what_is_known(void **state)
{
    (void)state;
    struct explain x = {0};
    struct worker_pair p = pair("1", "{\"a\":1}", "{}");
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_PENDING);
    x.followed = true;
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_UNSEEN);
    x.behind = true;
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_BEHIND);
    assert_int_equal(reason(&x, EXPLAIN_ORPHANED, p), EXPLAIN_DELETED);
    x.is_older_script = true;
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_SCRIPT);
    p.held_version = 3;
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_FOREIGN);
    p.held_version = NOW + 1;
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_FOREIGN);
    assert_int_equal(reason(&x, EXPLAIN_FAILED, p), EXPLAIN_ERROR);
    assert_int_equal(reason(&x, EXPLAIN_SAME, p), EXPLAIN_NOTHING);
    p.routed = true;
    assert_int_equal(reason(&x, EXPLAIN_ORPHANED, p), EXPLAIN_ROUTED);
    assert_int_equal(reason(&x, EXPLAIN_FAILED, p), EXPLAIN_ERROR);
}

static void fields_count_once_for_a_document(void **state)
{
    (void)state;
    struct findings f, other;
    struct err e;
    findings_init(&f, 1);
    findings_init(&other, 5);
    assert_true(
        add(&f, &NOBODY, pair("1", "{\"a\":[1,2,3],\"b\":1}", "{\"a\":[4,5,6],\"b\":2}"), &e));
    assert_true(add(&other, &NOBODY, pair("2", "{\"b\":1}", "{\"b\":2}"), &e));
    assert_true(add(&other, &NOBODY, pair("3", "{\"b\":1}", "{\"b\":1}"), &e));
    assert_true(findings_move(&f, &other));
    assert_int_equal(findings_count(&f), 2);
    assert_int_equal(findings_checked(&f), 3);
    assert_int_equal(f.n_fields, 2);
    assert_string_equal(f.fields[0].name, "a[]");
    assert_int_equal(f.fields[0].documents, 1);
    assert_int_equal(f.fields[1].documents, 2);
    assert_int_equal(f.n_examples, 1);
    assert_int_equal(f.examples[0].n_lines, 4);
    assert_int_equal(findings_checked(&other), 0);
    findings_free(&f);
    findings_free(&other);
}

static char *printed(struct findings *f, bool json)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (json) {
        fputs("{", out);
        findings_print_json(f, out);
        fputs("}", out);
    } else {
        findings_print_examples(f, &NOBODY, true, out);
    }
    fclose(out);
    return text;
}

static void whatever_is_in_a_document_is_printed_safely(void **state)
{
    (void)state;
    struct findings f;
    struct err e;
    struct json_reader r;
    findings_init(&f, 10);
    assert_true(add(&f, &NOBODY,
                    pair("k\x1b[2J\xff\"", "{\"a\":\"\x9b\xc2\x9b\x07\"}", "{\"\x1b\":1"), &e));
    struct worker_pair p = pair("2", NULL, NULL);
    p.failed = "bad\x01\xfe";
    assert_true(add(&f, &NOBODY, p, &e));
    char *text = printed(&f, false);
    for (const char *c = text; *c; c++)
        assert_true(*c != '\x07' && *c != '\x01' && (unsigned char)*c != 0x9b);
    assert_null(strstr(text, "\x1b[2J"));
    free(text);
    text = printed(&f, true);
    json_open(&r, text, strlen(text));
    assert_true(json_skip(&r) && json_end(&r));
    json_close(&r);
    free(text);
    findings_free(&f);
}

static bool collect(struct findings *f, struct err *e)
{
    struct findings part;
    struct worker_pair failed = pair("4", NULL, NULL);
    failed.failed = "no";
    findings_init(&part, 2);
    bool ok = add(&part, &NOBODY, pair("1", "{\"a\":1,\"b\":{\"c\":2}}", "{\"a\":2}"), e) &&
              add(&part, &NOBODY, pair("2", "{}", NULL), e) && add(&part, &NOBODY, failed, e) &&
              (findings_move(f, &part) || err_memory(e));
    findings_free(&part);
    return ok;
}

static void without_memory_an_error_says_so(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done; n++) {
        struct findings f;
        struct err e;
        findings_init(&f, 2);
        allocations_left = n;
        done = collect(&f, &e);
        allocations_left = -1;
        if (done)
            assert_int_equal(findings_count(&f), 3);
        else
            assert_string_equal(e.text, "out of memory");
        findings_free(&f);
    }
}

static void what_a_pipeline_drops_or_a_load_has_not_reached_is_no_change(void **state)
{
    (void)state;
    struct explain x = {.drops = "dropped"};
    const struct worker_pair p = pair("1", "{\"a\":1}", "{}");
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_DROPPED);
    assert_string_equal(explain_text(&x, EXPLAIN_DROPPED), "dropped");
    assert_int_equal(reason(&x, EXPLAIN_ORPHANED, p), EXPLAIN_PENDING);
    x.loading = true;
    assert_int_equal(reason(&x, EXPLAIN_DIFFERENT, p), EXPLAIN_DROPPED);
    assert_int_equal(reason(&x, EXPLAIN_MISSING, p), EXPLAIN_LOADING);
    x.followed = true;
    assert_int_equal(reason(&x, EXPLAIN_MISSING, p), EXPLAIN_DROPPED);
    x.behind = true;
    assert_int_equal(reason(&x, EXPLAIN_MISSING, p), EXPLAIN_BEHIND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_is_judged_by_what_both_say),
        cmocka_unit_test(a_reason_is_found_in_the_version_and_in_what_is_known),
        cmocka_unit_test(what_a_pipeline_drops_or_a_load_has_not_reached_is_no_change),
        cmocka_unit_test(fields_count_once_for_a_document),
        cmocka_unit_test(whatever_is_in_a_document_is_printed_safely),
        cmocka_unit_test(without_memory_an_error_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
