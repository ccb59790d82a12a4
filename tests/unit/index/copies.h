/* The copies of a document as a faked search server tells of them, for tests of what is done about
 * them. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "base/keyset.h"
#include "es/es.h"
#include "fake_http.h"
#include "index/bulk.h"
#include "index/stale_copies.h"

#define SHARDS "\"_shards\":{\"total\":2,\"successful\":2,\"skipped\":0,\"failed\":0}"
#define AT(routing) ",\"_routing\":\"" routing "\""

struct fixture {
    struct es_server server;
    struct es *es;
    struct stale_copies copies;
    struct bulk *bulk;
    struct err e;
};

static struct fake_http fake;

/* The server gives these answers; the copies are those of the pattern's indexes. x and y were
 * looked at before. */
static inline void copies_set_up(struct fixture *f, const struct fake_step *steps, size_t n,
                                 const char *pattern, const char *pipeline)
{
    memset(f, 0, sizeof *f);
    fake_start(&fake, steps, n);
    assert_true(es_server_init(&f->server, &(struct es_config){.url = fake.url}, &f->e));
    f->es = es_open(&f->server, &f->e);
    assert_non_null(f->es);
    stale_copies_init(&f->copies, f->es, pattern, pipeline, 1 << 20);
    f->copies.ours = keyset_new(1000);
    keyset_put(f->copies.ours, "x", NULL, 0);
    keyset_put(f->copies.ours, "y", NULL, 0);
    f->bulk = bulk_new(1 << 20, &f->e);
    assert_non_null(f->bulk);
}

static inline void tear_down(struct fixture *f)
{
    stale_copies_free(&f->copies);
    bulk_free(f->bulk);
    es_close(f->es);
    es_server_free(&f->server);
    fake_stop(&fake);
}
