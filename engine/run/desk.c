#include "run/desk.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "flow/errand.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "model/batch.h"
#include "run/vitals.h"
#include "store/request.h"
#include "store/request_link.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    GUESTS = 64,                    /* more have to wait until one has gone */
    TICK_MS = 200,                  /* between two reports of progress */
    ALIVE_US = 1000 * 1000,         /* without news: the other end knows that we live */
    PATIENCE_US = 60 * 1000 * 1000, /* for an answer, or until what we say is read */
    OUT_FULL = 256 << 10,           /* bytes: who reads slower than that is told less */
    STACK = 256 << 10,
    LAST_WORDS_MS = 1000,
};

enum stage {
    GUEST_NEW,    /* has not said what it wants */
    GUEST_WAITS,  /* for a sweep, or for its turn to set the state */
    GUEST_SERVED, /* its work is under way */
    GUEST_ENDING, /* it has ended, but is not saved yet */
    GUEST_TOLD,   /* what is left is to send it */
};

struct guest {
    struct request_link link;
    enum stage stage;
    struct request_message asked;
    struct errand *errand; /* owned; of a sweep: the desk's */
    struct batch *page;    /* owned; the next one; NULL: none */
    bool given_all;        /* no more pages will come */
    bool asked_page;       /* one is on its way */
    bool deaf;             /* it has sent what cannot be understood: no more is read */
    int64_t since_us;      /* clock_mono_us: it owes us something since then */
    int64_t told_us;
    struct counts told;
};

struct desk {
    int listener, wake; /* owned; wake: an eventfd */
    pthread_t thread;
    pthread_mutex_t mutex;
    /* under the mutex: */
    struct guest *guests[GUESTS];            /* owned */
    size_t n, turn;                          /* turn: whose page is taken next */
    char *state, *pipeline, *index, *script; /* owned */
    struct errand *sweep;                    /* owned; under way; NULL: none that was asked for */
    struct queue *queue;                     /* borrowed */
    const char *why;                         /* static */
    bool closing;
    /* of the thread: */
    struct vitals *vitals; /* borrowed */
    struct vitals_snapshot seen;
    int64_t seen_us;
};

/* ---- a guest ---- */

static void guest_free(struct guest *g)
{
    request_link_close(&g->link);
    request_message_free(&g->asked);
    batch_free(g->page);
    free(g);
}

static void put(struct guest *g, const struct request_message *m)
{
    if (!request_link_put(&g->link, m) && m->type == REQUEST_END) /* its text is no UTF-8 */
        request_link_put(
            &g->link,
            &(struct request_message){.type = REQUEST_END, .error = m->error, .counts = m->counts});
}

static void tell_end(struct guest *g, const struct err *e)
{
    struct request_message m = request_end(e);
    if (g->errand)
        m.counts = tally_counts(errand_tally(g->errand));
    put(g, &m);
    g->stage = GUEST_TOLD;
    g->since_us = clock_mono_us();
}

static void refuse(struct guest *g, enum err_kind kind, const char *text)
{
    struct err e;
    err_set(&e, kind, "%s", text);
    tell_end(g, &e);
}

/* Frees its errand. False: some of that is still under way, or to be delivered. */
static bool let_errand_go(struct desk *d, struct guest *g)
{
    bool own = g->errand && g->errand != d->sweep;
    if (own && !errand_is_idle(g->errand))
        return false;
    if (own && g->page && g->stage == GUEST_SERVED && !errand_error(g->errand, NULL) && !d->closing)
        return false;
    if (own)
        errand_free(g->errand);
    g->errand = NULL;
    return true;
}

/* It has made a mistake. What it has asked for ends with e; a sweep may serve others, too. */
static void fail(struct desk *d, struct guest *g, const struct err *e)
{
    if (g->errand && g->errand != d->sweep && g->stage == GUEST_SERVED)
        errand_fail(g->errand, e);
    else if (g->stage != GUEST_TOLD && g->stage != GUEST_ENDING)
        tell_end(g, e);
}

/* ---- what it asks for ---- */

static bool is_ours(const struct desk *d, struct guest *g)
{
    const struct request_message *m = &g->asked;
    struct err e;
    if (m->version != REQUEST_VERSION)
        err_set(&e, ERR_FINAL,
                "cannot ask the process that follows: it is of another version of etl-engine");
    else if (!m->pipeline || strcmp(m->pipeline, d->pipeline) != 0)
        err_set(&e, ERR_USAGE, "the state file is used by a process that runs pipeline '%s'",
                d->pipeline);
    else if (!m->index || strcmp(m->index, d->index) != 0)
        err_set(&e, ERR_USAGE, "the state file is used by a process that writes to index '%s'",
                d->index);
    else
        return true;
    if (e.kind == ERR_USAGE)
        err_hint(&e, "give each script a state file of its own; after sink.index was changed: "
                     "restart the process that follows");
    tell_end(g, &e);
    return false;
}

static void greet(struct desk *d, struct guest *g)
{
    struct err e;
    bool keys = g->asked.ask == REQUEST_ASK_KEYS;
    if (!is_ours(d, g))
        return;
    if (keys && !(g->errand = errand_new(&e))) {
        tell_end(g, &e);
        return;
    }
    if (keys && g->asked.allow_deletes)
        errand_limit(g->errand, -1);
    put(g, &(struct request_message){.type = REQUEST_WELCOME,
                                     .version = REQUEST_VERSION,
                                     .pid = getpid(),
                                     .older = g->asked.script &&
                                              strcmp(g->asked.script, d->script) != 0});
    g->stage = keys ? GUEST_SERVED : GUEST_WAITS;
    g->told_us = clock_mono_us();
}

/* Moves the keys of a message into a batch. NULL: no memory. */
static struct batch *page_of(const struct request_message *m)
{
    struct batch *b = batch_new();
    bool ok = b != NULL;
    for (size_t i = 0; ok && i < m->keys.n; i++)
        ok = batch_add_key(b, m->keys.keys[i]);
    if (!ok) {
        batch_free(b);
        return NULL;
    }
    b->no_rows = m->no_rows;
    b->any_routing = m->any_routing;
    return b;
}

static void take_keys(struct guest *g, const struct request_message *m)
{
    struct err e;
    g->asked_page = false;
    if (m->type == REQUEST_NO_MORE) {
        g->given_all = true;
    } else if (m->keys.n > 0 && !(g->page = page_of(m))) {
        err_memory(&e);
        errand_fail(g->errand, &e);
    }
}

/* m: not freed here, unless it is kept. */
static void take_message(struct desk *d, struct guest *g, struct request_message *m)
{
    if (g->stage == GUEST_NEW && m->type == REQUEST_HELLO) {
        g->asked = *m;
        *m = (struct request_message){0};
        greet(d, g);
    } else if (g->stage == GUEST_SERVED && g->asked_page &&
               (m->type == REQUEST_KEYS || m->type == REQUEST_NO_MORE)) {
        take_keys(g, m);
    } else {
        struct err e;
        err_set(&e, ERR_FINAL, "the message was not expected");
        fail(d, g, &e);
    }
}

static void listen_to(struct desk *d, struct guest *g)
{
    request_link_fill(&g->link);
    for (bool got = true; got;) {
        struct request_message m = {0};
        struct err e;
        bool ok = request_link_next(&g->link, &m, &got, &e);
        if (ok && got)
            take_message(d, g, &m);
        request_message_free(&m);
        if (ok)
            continue;
        fail(d, g, &e);
        g->deaf = true;
        return;
    }
}

/* ---- what it is told ---- */

static void want_page(struct guest *g, int64_t now)
{
    if (g->stage != GUEST_SERVED || g->asked.ask != REQUEST_ASK_KEYS || g->page || g->asked_page ||
        g->given_all || errand_error(g->errand, NULL))
        return;
    put(g, &(struct request_message){.type = REQUEST_MORE});
    g->asked_page = true;
    g->since_us = now;
}

static void tell_rejected(struct desk *d, struct errand *x)
{
    struct rejections reports = errand_reports(x);
    for (size_t i = 0; i < reports.n; i++) {
        const struct rejection *r = &reports.list[i];
        struct request_message m = {
            .type = REQUEST_REJECTED, .key = r->key, .text = r->reason, .status = r->status};
        for (size_t k = 0; k < d->n; k++)
            if (d->guests[k]->errand == x && d->guests[k]->link.out.len < OUT_FULL)
                put(d->guests[k], &m);
    }
    rejections_free(&reports);
}

/* What the run waits for says more than what it does. */
static const char *what_is_in_the_way(struct desk *d, int64_t now)
{
    if (d->vitals && now - d->seen_us > TICK_MS * 1000) {
        vitals_snapshot(d->vitals, &d->seen);
        d->seen_us = now;
    }
    return d->seen.reason[0] ? d->seen.reason : d->why;
}

static void tell_progress(struct desk *d, struct guest *g, int64_t now)
{
    struct request_message m = {.type = REQUEST_PROGRESS};
    if (g->stage == GUEST_NEW || g->stage == GUEST_TOLD || g->link.out.len >= OUT_FULL)
        return;
    if (g->errand) {
        tell_rejected(d, g->errand);
        m.counts = tally_counts(errand_tally(g->errand));
    }
    if (memcmp(&m.counts, &g->told, sizeof g->told) == 0 && now - g->told_us < ALIVE_US)
        return;
    g->told = m.counts;
    g->told_us = now;
    m.text = (char *)(uintptr_t)what_is_in_the_way(d, now); /* borrowed: it is only written */
    put(g, &m);
}

/* It owes us a message, or does not read ours. */
static void check_patience(struct desk *d, struct guest *g, int64_t now)
{
    bool owes = g->stage == GUEST_NEW || g->asked_page || g->stage == GUEST_TOLD;
    struct err e;
    if (!owes || now - g->since_us < PATIENCE_US)
        return;
    g->asked_page = false;
    g->link.ended = g->stage == GUEST_NEW || g->stage == GUEST_TOLD;
    err_set(&e, ERR_FINAL, "no keys have come for %d s", PATIENCE_US / 1000000);
    fail(d, g, &e);
}

/* ---- the thread ---- */

static void wake_thread(struct desk *d)
{
    uint64_t one = 1;
    if (write(d->wake, &one, sizeof one) < 0) /* the counter is full: it is awake */
        return;
}

static void wake_run(struct desk *d)
{
    if (d->queue)
        queue_wake(d->queue);
}

static void welcome(struct desk *d)
{
    struct guest *g;
    bool ours;
    while (d->n < GUESTS && (g = calloc(1, sizeof *g))) {
        if (!request_link_accept(d->listener, &g->link, &ours)) {
            free(g);
            return;
        }
        g->since_us = clock_mono_us();
        d->guests[d->n++] = g;
        if (!ours)
            refuse(g, ERR_FINAL, "only the user of the process that follows, or root, may ask");
    }
}

/* Those that have gone, or know all. */
static void see_off(struct desk *d)
{
    for (size_t i = 0; i < d->n;) {
        struct guest *g = d->guests[i];
        bool told = g->stage == GUEST_TOLD && g->link.out.len == 0;
        g->given_all |= g->link.ended; /* what it has given is still delivered */
        if ((!g->link.ended && !told) || !let_errand_go(d, g)) {
            i++;
            continue;
        }
        guest_free(g);
        d->guests[i] = d->guests[--d->n];
    }
}

static void attend(struct desk *d, const struct pollfd *fds, size_t n)
{
    int64_t now = clock_mono_us();
    for (size_t i = 0; i < n; i++) {
        struct guest *g = d->guests[i];
        if (g->deaf)
            g->link.ended |= (fds[i].revents & (POLLHUP | POLLERR)) != 0;
        else if (fds[i].revents)
            listen_to(d, g);
        want_page(g, now);
        tell_progress(d, g, now);
        check_patience(d, g, now);
        request_link_flush(&g->link);
    }
    see_off(d);
}

/* Returns how many guests there are. */
static size_t prepare(struct desk *d, struct pollfd fds[GUESTS + 2])
{
    fds[0] = (struct pollfd){.fd = d->wake, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = d->n < GUESTS ? d->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < d->n; i++) {
        const struct request_link *l = &d->guests[i]->link;
        short in = d->guests[i]->deaf ? 0 : POLLIN, out = l->out.len > 0 ? POLLOUT : 0;
        fds[2 + i] = (struct pollfd){.fd = l->ended ? -1 : l->fd, .events = (short)(in | out)};
    }
    return d->n;
}

static void *serve(void *arg)
{
    struct desk *d = arg;
    struct pollfd fds[GUESTS + 2];
    uint64_t ignored;
    log_pipeline(d->pipeline);
    pthread_mutex_lock(&d->mutex);
    while (!d->closing) {
        size_t n = prepare(d, fds);
        pthread_mutex_unlock(&d->mutex);
        poll(fds, n + 2, n ? TICK_MS : -1);
        pthread_mutex_lock(&d->mutex);
        if (fds[0].revents && read(d->wake, &ignored, sizeof ignored) < 0)
            continue;
        attend(d, fds + 2, n);
        if (fds[1].revents)
            welcome(d);
        if (d->n > 0)
            wake_run(d);
    }
    pthread_mutex_unlock(&d->mutex);
    return NULL;
}

/* ---- ends ---- */

/* e: of the run, or of saving. What went wrong with the errand itself says more. */
static void end_guest(struct desk *d, struct guest *g, const struct err *e)
{
    struct err own;
    if (g->errand)
        tell_rejected(d, g->errand);
    tell_end(g, g->errand && errand_error(g->errand, &own) ? &own : e);
}

/* No batch of it is under way. */
static void forget_sweep(struct desk *d)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->guests[i]->errand == d->sweep)
            d->guests[i]->errand = NULL;
    errand_free(d->sweep);
    d->sweep = NULL;
}

/* ---- opening and closing ---- */

static void close_all(struct desk *d)
{
    for (size_t i = 0; i < d->n; i++) {
        let_errand_go(d, d->guests[i]);
        guest_free(d->guests[i]);
    }
    errand_free(d->sweep);
    if (d->listener >= 0)
        close(d->listener);
    if (d->wake >= 0)
        close(d->wake);
    pthread_mutex_destroy(&d->mutex);
    free(d->state);
    free(d->pipeline);
    free(d->index);
    free(d->script);
    free(d);
}

static bool start_thread(struct desk *d, struct err *e)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    bool ok = pthread_create(&d->thread, &attr, serve, d) == 0;
    pthread_attr_destroy(&attr);
    return ok || err_set(e, ERR_FINAL, "cannot start a thread");
}

static bool describe(struct desk *d, const struct desk_about *about)
{
    return text_set(&d->pipeline, about->pipeline) && text_set(&d->index, about->index) &&
           text_set(&d->script, about->script);
}

struct desk *desk_open(const struct desk_about *about, struct err *e)
{
    struct desk *d = calloc(1, sizeof *d);
    if (!d) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&d->mutex, NULL);
    d->listener = -1;
    d->why = "it is starting";
    d->vitals = about->vitals;
    d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->wake < 0)
        err_set(e, ERR_FINAL, "cannot create an event descriptor");
    else if (!text_set(&d->state, about->state) || !describe(d, about))
        err_memory(e);
    else if ((d->listener = request_link_listen(about->state, e)) >= 0 && start_thread(d, e))
        return d;
    close_all(d);
    return NULL;
}

/* Until all have read what they are told, for a moment. */
static void say_last_words(struct desk *d)
{
    int64_t end = clock_mono_us() + LAST_WORDS_MS * 1000;
    for (size_t i = 0; i < d->n; i++) {
        struct request_link *l = &d->guests[i]->link;
        for (int64_t left = 1; l->out.len > 0 && left > 0; left = end - clock_mono_us()) {
            struct pollfd fd = {.fd = l->fd, .events = POLLOUT};
            request_link_flush(l);
            if (l->out.len > 0)
                poll(&fd, 1, (int)(left / 1000));
        }
    }
}

void desk_close(struct desk *d, const struct err *why)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->mutex);
    d->closing = true;
    d->queue = NULL;
    pthread_mutex_unlock(&d->mutex);
    wake_thread(d);
    pthread_join(d->thread, NULL);
    request_link_remove(d->state); /* first, so that nobody connects any more */
    desk_break(d, why);
    for (size_t i = 0; i < d->n; i++)
        if (d->guests[i]->stage != GUEST_TOLD)
            tell_end(d->guests[i], why);
    say_last_words(d);
    close_all(d);
}

void desk_renew(struct desk *d, const struct desk_about *about)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->mutex);
    describe(d, about); /* without memory the old text stays: a request is refused, or warned */
    pthread_mutex_unlock(&d->mutex);
}

void desk_serve(struct desk *d, struct queue *queue, const char *why)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->mutex);
    d->queue = queue;
    d->why = why;
    pthread_mutex_unlock(&d->mutex);
}

void desk_break(struct desk *d, const struct err *e)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->mutex);
    if (d->sweep)
        errand_reset(d->sweep);
    for (size_t i = 0; i < d->n; i++) {
        struct guest *g = d->guests[i];
        if (g->errand)
            errand_reset(g->errand);
        if (g->stage != GUEST_SERVED && g->stage != GUEST_ENDING)
            continue;
        batch_free(g->page);
        g->page = NULL;
        end_guest(d, g, e);
    }
    forget_sweep(d);
    pthread_mutex_unlock(&d->mutex);
    wake_thread(d);
}

/* ---- keys ---- */

static bool gives_keys(const struct guest *g)
{
    return g->stage == GUEST_SERVED && g->page && !errand_error(g->errand, NULL);
}

bool desk_has_page(struct desk *d)
{
    bool has = false;
    if (!d)
        return false;
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->n; i++)
        has |= gives_keys(d->guests[i]);
    pthread_mutex_unlock(&d->mutex);
    return has;
}

struct batch *desk_take_page(struct desk *d)
{
    struct batch *page = NULL;
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; !page && i < d->n; i++) {
        struct guest *g = d->guests[d->turn++ % d->n];
        if (!gives_keys(g))
            continue;
        page = g->page;
        page->errand = g->errand;
        errand_enter(g->errand);
        g->page = NULL;
    }
    pthread_mutex_unlock(&d->mutex);
    if (page)
        wake_thread(d); /* for the next one */
    return page;
}

static bool is_over(const struct guest *g)
{
    return g->stage == GUEST_SERVED && g->asked.ask == REQUEST_ASK_KEYS &&
           errand_is_idle(g->errand) &&
           ((g->given_all && !g->page) || errand_error(g->errand, NULL));
}

bool desk_has_ended(struct desk *d)
{
    bool any = false;
    if (!d)
        return false;
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->n; i++) {
        struct guest *g = d->guests[i];
        if (is_over(g))
            g->stage = GUEST_ENDING;
        any |= g->stage == GUEST_ENDING;
    }
    pthread_mutex_unlock(&d->mutex);
    return any;
}

void desk_finish(struct desk *d, const struct err *e)
{
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->n; i++)
        if (d->guests[i]->stage == GUEST_ENDING)
            end_guest(d, d->guests[i], e);
    pthread_mutex_unlock(&d->mutex);
    wake_thread(d);
}

/* ---- a sweep, another position ---- */

static bool waits_for(const struct guest *g, enum request_ask ask)
{
    return g->stage == GUEST_WAITS && g->asked.ask == ask && !g->link.ended;
}

static struct guest *first_waiting(struct desk *d, enum request_ask ask)
{
    for (size_t i = 0; i < d->n; i++)
        if (waits_for(d->guests[i], ask))
            return d->guests[i];
    return NULL;
}

bool desk_wants_sweep(struct desk *d)
{
    if (!d)
        return false;
    pthread_mutex_lock(&d->mutex);
    bool wants = first_waiting(d, REQUEST_ASK_SWEEP);
    pthread_mutex_unlock(&d->mutex);
    return wants;
}

struct errand *desk_begin_sweep(struct desk *d)
{
    struct err e;
    if (!d)
        return NULL;
    pthread_mutex_lock(&d->mutex);
    struct guest *first = first_waiting(d, REQUEST_ASK_SWEEP);
    struct errand *x = first ? errand_new(&e) : NULL;
    if (first && !x)
        tell_end(first, &e);
    bool allow = x && first->asked.allow_deletes;
    if (allow)
        errand_limit(x, -1);
    for (size_t i = 0; x && i < d->n; i++) {
        struct guest *g = d->guests[i];
        if (!waits_for(g, REQUEST_ASK_SWEEP) || g->asked.allow_deletes != allow)
            continue;
        g->errand = x;
        g->stage = GUEST_SERVED;
    }
    d->sweep = x;
    pthread_mutex_unlock(&d->mutex);
    return x;
}

void desk_end_sweep(struct desk *d, const struct err *e)
{
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->n; i++)
        if (d->guests[i]->errand == d->sweep && d->guests[i]->stage == GUEST_SERVED)
            end_guest(d, d->guests[i], e);
    forget_sweep(d);
    pthread_mutex_unlock(&d->mutex);
    wake_thread(d);
}

void desk_want_sweep_again(struct desk *d)
{
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->n; i++)
        if (d->guests[i]->errand == d->sweep && d->guests[i]->stage == GUEST_SERVED)
            d->guests[i]->stage = GUEST_WAITS;
    forget_sweep(d);
    pthread_mutex_unlock(&d->mutex);
}

bool desk_begin_set(struct desk *d, char **time)
{
    if (!d)
        return false;
    pthread_mutex_lock(&d->mutex);
    struct guest *g = first_waiting(d, REQUEST_ASK_SET);
    *time = g ? strdup(g->asked.time ? g->asked.time : "") : NULL;
    if (*time)
        g->stage = GUEST_SERVED;
    pthread_mutex_unlock(&d->mutex);
    return *time != NULL;
}

void desk_end_set(struct desk *d, const struct err *e)
{
    pthread_mutex_lock(&d->mutex);
    for (size_t i = 0; i < d->n; i++)
        if (d->guests[i]->stage == GUEST_SERVED && d->guests[i]->asked.ask == REQUEST_ASK_SET)
            tell_end(d->guests[i], e);
    pthread_mutex_unlock(&d->mutex);
    wake_thread(d);
}
