/* An index that is gone is noticed before a request would make another one; and the question costs
 * little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "es/es.h"
#include "fake_http.h"
#include "index/presence.h"

static struct fake_http fake;

static bool ask(struct presence *p, const struct fake_step *step, struct err *e)
{
    struct es_server server;
    *e = (struct err){0};
    fake_start(&fake, step, 1);
    assert_true(es_server_init(&server, &(struct es_config){.url = fake.url}, e));
    struct es *es = es_open(&server, e);
    assert_non_null(es);
    bool ok = presence_check(p, es, "movies", e);
    es_close(es);
    es_server_free(&server);
    fake_stop(&fake);
    return ok;
}

static const struct fake_step here = {
    .status = 200,
    .body = "{\"movies\":{\"settings\":{\"index.uuid\":\"U\",\"index.gc_deletes\":\"1h\"}}}"};

static void an_index_that_is_gone_ends_the_run(void **state)
{
    (void)state;
    struct presence p = {0};
    struct err e;
    assert_false(ask(&p, &(struct fake_step){.status = 404, .body = "{\"status\":404}"}, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_string_equal(e.text, "index 'movies' was deleted during the run");
    assert_true(ask(&p, &here, &e));
}

static void an_answer_holds_for_a_second_at_most(void **state)
{
    (void)state;
    struct presence p = {0};
    struct err e;
    int64_t before = clock_mono_us();
    assert_true(ask(&p, &here, &e));
    int64_t until = atomic_load(&p.next_us);
    assert_true(until > before && until <= clock_mono_us() + 1000 * 1000);
    atomic_store(&p.next_us, INT64_MAX);
    assert_true(ask(&p, &(struct fake_step){.status = 404, .body = "{}"}, &e));
    assert_int_equal(atomic_load(&fake.served), 0);
}

static void whoever_may_not_ask_goes_on_and_a_server_that_is_away_is_waited_for(void **state)
{
    (void)state;
    struct presence p = {0};
    struct err e;
    assert_true(ask(&p, &(struct fake_step){.status = 403, .body = "{}"}, &e));
    p = (struct presence){0};
    assert_false(ask(&p, &(struct fake_step){.status = 503, .body = ""}, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_false(ask(&p, &(struct fake_step){.status = 404, .body = "<html>"}, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_int_equal(atomic_load(&p.next_us), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_that_is_gone_ends_the_run),
        cmocka_unit_test(an_answer_holds_for_a_second_at_most),
        cmocka_unit_test(whoever_may_not_ask_goes_on_and_a_server_that_is_away_is_waited_for),
    };
    signal(SIGPIPE, SIG_IGN); /* as stop_init does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
