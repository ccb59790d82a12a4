#include "run/run_requests.h"

#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "feed/feed.h"
#include "flow/errand.h"
#include "flow/queue.h"
#include "model/batch.h"
#include "pg/pg_pool.h"
#include "run/desk.h"
#include "run/run.h"
#include "run/run_guard.h"
#include "run/state_move.h"

#include <stdlib.h>

/* ---- the desk ---- */

static struct desk_about about(const struct run *r)
{
    const struct pipeline *p = &r->user.pipeline;
    return (struct desk_about){.state = p->state,
                               .pipeline = p->name,
                               .index = r->index.alias ? r->index.alias : p->sink.index,
                               .script = r->user.fingerprint,
                               .vitals = r->vitals};
}

void run_open_desk(struct run *r)
{
    struct err e;
    struct desk_about a = about(r);
    if (!r->options.follow || !r->state.file || r->desk)
        return;
    r->desk = desk_open(&a, &e);
    if (!r->desk)
        log_warn_with(LOG_FIELDS(LOG_ERR(&e)), "%s: takes no requests of other processes: %s",
                      r->user.pipeline.name, e.text);
}

void run_close_desk(struct run *r, const struct err *e)
{
    struct err why;
    err_set(&why, ERR_FINAL, "the process that follows was stopped before this was done");
    err_hint(&why, "the same command again is safe");
    if (e && e->kind != ERR_STOPPED && e->kind != ERR_NONE) {
        why = *e;
        err_wrap(&why, "the process that follows has failed");
    }
    desk_close(r->desk, &why);
    r->desk = NULL;
}

/* ---- keys ---- */

struct keys {
    struct feed feed; /* first */
    struct run *run;
    struct batch *page; /* owned: being looked at; NULL: none */
};

/* As feed_list, a page at a time: the server writes the keys as it would return them. */
static bool canonical(struct keys *k, struct batch *out, struct err *e)
{
    struct keylist keys = {0};
    struct batch *page = k->page;
    struct pg *pg = pg_acquire(k->feed.origin.pool, e);
    struct source_reader root = source_reader(k->feed.origin.source, 0, pg);
    bool ok = pg && source_canonical(&root, (const char *const *)page->keys, page->n, &keys, e);
    for (size_t i = 0; ok && i < keys.n; i++)
        ok = batch_add_key(out, keys.keys[i]) || err_memory(e);
    pg_release(k->feed.origin.pool, pg);
    keylist_free(&keys);
    return ok;
}

/* What cannot be a key goes on as it is. */
static bool look_at_page(struct keys *k, struct batch **out, struct err *e)
{
    struct errand *x = k->page->errand;
    if (!run_guard_errand(k->run, x, e))
        return false;
    if (k->page->no_rows) {
        *out = k->page;
        k->page = NULL;
        return true;
    }
    struct batch *b = batch_new();
    if (!(b ? canonical(k, b, e) : err_memory(e))) {
        batch_free(b);
        return false;
    }
    b->errand = x;
    b->any_routing = k->page->any_routing;
    batch_free(k->page);
    k->page = NULL;
    *out = b;
    return true;
}

static void drop_page(struct keys *k, const struct err *e)
{
    if (e)
        errand_fail(k->page->errand, e);
    errand_leave(k->page->errand);
    batch_free(k->page);
    k->page = NULL;
}

static bool keys_next(struct feed *f, struct batch **out, struct err *e)
{
    struct keys *k = (struct keys *)f;
    while (k->page || (k->page = desk_take_page(k->run->desk))) {
        if (look_at_page(k, out, e))
            return true;
        if (e->kind == ERR_PASSING || e->kind == ERR_STOPPED)
            return false;
        drop_page(k, e); /* a text that is no key: the others still may be */
    }
    return true;
}

static void keys_free(struct feed *f)
{
    struct keys *k = (struct keys *)f;
    if (k->page)
        drop_page(k, NULL);
    free(k);
}

static bool open_keys(struct run_requests *q, struct run *r, struct err *e)
{
    struct keys *k = calloc(1, sizeof *k);
    if (!k)
        return err_memory(e);
    k->feed = (struct feed){.origin = run_feed_origin(r), .next = keys_next, .free = keys_free};
    k->run = r;
    q->keys = &k->feed;
    return true;
}

bool run_requests_open(struct run_requests *q, struct run *r, struct err *e)
{
    struct desk_about a = about(r);
    if (!r->desk)
        return true;
    if (!q->keys && !open_keys(q, r, e))
        return false;
    coordinator_set_feed(&r->work.coordinator, run_errand_lane(r), q->keys);
    desk_renew(r->desk, &a);
    desk_serve(r->desk, r->work.flow.queue, NULL);
    return true;
}

void run_requests_pause(struct run *r, const char *why)
{
    desk_serve(r->desk, NULL, why);
}

void run_requests_break(struct run_requests *q, struct run *r, const struct err *why)
{
    struct keys *k = (struct keys *)q->keys;
    if (k && k->page)
        drop_page(k, why);
    desk_break(r->desk, why);
}

void run_requests_close(struct run_requests *q)
{
    feed_free(q->keys);
    q->keys = NULL;
}

void run_requests_serve(struct run_requests *q, struct run *r)
{
    struct coordinator *c = &r->work.coordinator;
    struct err e;
    if (!r->desk)
        return;
    if (q->keys && desk_has_page(r->desk))
        coordinator_set_feed(c, run_errand_lane(r), q->keys);
    if (!desk_has_ended(r->desk))
        return;
    desk_finish(r->desk, coordinator_save_now(c, &e) ? NULL : &e);
    q->recount = true;
}

/* ---- a sweep ---- */

struct errand_feed {
    struct feed feed; /* first */
    struct run *run;
    struct feed *inner; /* owned */
    struct errand *errand;
};

static bool errand_next(struct feed *f, struct batch **out, struct err *e)
{
    struct errand_feed *x = (struct errand_feed *)f;
    if (errand_error(x->errand, NULL))
        return true;
    if (!run_guard_errand(x->run, x->errand, e) || !feed_next(x->inner, out, e)) {
        if (e->kind == ERR_PASSING || e->kind == ERR_STOPPED)
            return false;
        errand_fail(x->errand, e);
        return true;
    }
    if (*out) {
        (*out)->errand = x->errand;
        errand_enter(x->errand);
    }
    return true;
}

static void errand_feed_free(struct feed *f)
{
    struct errand_feed *x = (struct errand_feed *)f;
    feed_free(x->inner);
    free(x);
}

struct feed *run_requests_sweep(struct run *r, struct feed *inner, struct errand *errand,
                                struct err *e)
{
    struct errand_feed *x = inner ? calloc(1, sizeof *x) : NULL;
    if (!inner)
        return NULL;
    if (!x) {
        feed_free(inner);
        err_memory(e);
        return NULL;
    }
    x->feed =
        (struct feed){.origin = run_feed_origin(r), .next = errand_next, .free = errand_feed_free};
    x->run = r;
    x->inner = inner;
    x->errand = errand;
    return &x->feed;
}

/* ---- another position ---- */

void run_requests_set(struct run *r, const char *time)
{
    struct err e;
    bool ok = state_move(&r->user.pipeline, &r->state.data, time, &e);
    if (ok) {
        log_info("%s: the state was set to %s, as another process has asked", r->user.pipeline.name,
                 time);
        coordinator_begin_window(&r->work.coordinator); /* no failure goes back to before */
    }
    ok = ok && coordinator_save_now(&r->work.coordinator, &e);
    desk_end_set(r->desk, ok ? NULL : &e);
}
