/* The definitions of ingest pipelines are read once, and tell what the pipelines of an index do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "es/es.h"
#include "fake_http.h"
#include "index/ingest.h"

static struct fake_http fake;

static const char PIPELINES[] =
    "{\"outer\":{\"processors\":[{\"pipeline\":{\"name\":\"inner\"}},{\"drop\":{}}]},"
    "\"inner\":{\"processors\":[{\"set\":{\"field\":\"_routing\",\"value\":\"x\"}}]},"
    "\"last\":{\"processors\":[{\"script\":{\"source\":\"ctx._id = ctx.v\"}}]}}";

/* Appends "WHICH NAME sets drops;". */
static void note(const struct ingest_finding *f, void *arg)
{
    char *text = arg;
    snprintf(text + strlen(text), 500 - strlen(text), "%zu %s%s%s%s%s;", f->which, f->name,
             f->missing ? " missing" : "", f->drops ? " drops" : "", *f->sets ? " " : "", f->sets);
}

static void assert_look(const char *first, const char *last, const char *want, int requests)
{
    const struct fake_step steps[] = {{.status = 200, .body = PIPELINES}};
    struct es_server server;
    struct err e;
    char text[500] = "";
    fake_start(&fake, steps, 1);
    assert_true(es_server_init(&server, &(struct es_config){.url = fake.url}, &e));
    struct es *es = es_open(&server, &e);
    assert_non_null(es);
    assert_true(ingest_look(es, &(struct ingest_asked){{first, last}, note, text}, &e));
    assert_string_equal(text, want);
    assert_int_equal(atomic_load(&fake.served), requests);
    es_close(es);
    es_server_free(&server);
    fake_stop(&fake);
}

static void the_definitions_are_read_once(void **state)
{
    (void)state;
    assert_look("", "", "", 0);
    assert_look("", NULL, "", 0);
    assert_look("outer", "", "0 inner _routing;0 outer drops;", 1);
    assert_look("", "last", "1 last _id;", 1);
    assert_look("outer", "last", "0 inner _routing;0 outer drops;1 last _id;", 1);
    assert_look("none", "none", "0 none missing;1 none missing;", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_definitions_are_read_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
