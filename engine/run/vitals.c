#include "run/vitals.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "base/witness.h"
#include "flow/queue.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const double *const vitals_bounds = ledger_bounds;

struct vitals {
    const struct vitals_list *list; /* that it is in */
    pthread_mutex_t mutex;
    /* what a reader gets; its seconds are worked out for each */
    struct vitals_snapshot shown;
    uint64_t kinds[VITALS_ERRORS]; /* of shown.errors: which ones are alike */
    enum vitals_phase phase;       /* while nothing waits */
    size_t waiting;                /* threads */
    bool away;                     /* a server is, though no thread waits for it */
    char held[VITALS_TEXT];        /* why no change comes; "": see vitals_held */
    struct queue *queue;           /* borrowed; NULL: no run is under way */
    int64_t oldest_us;             /* while there is none: of what was in it; 0: none */
    int64_t backlog_us;            /* of what is not in it yet; 0: none */
    uint64_t load_base;            /* documents that were done before the load */
    int64_t load_began_us;         /* clock_mono_us */
    int64_t retry_at_us;           /* clock_mono_us; 0: no try is due */
    bool loaded;                   /* by the run that is under way */
    int64_t heard_us;              /* clock_mono_us: of the servers; 0: not to be expected */
    const char *asked;             /* the server, unless it is PostgreSQL; not owned */
    int64_t asked_us;              /* clock_mono_us: since when */
    struct witness witness;
    struct ledger ledger;
};

struct vitals_list {
    int64_t started_us;
    void (*changed)(void *arg); /* see vitals_watch; NULL: nobody watches */
    void *arg;
    size_t n;
    struct vitals all[];
};

const char *vitals_phase_name(enum vitals_phase phase)
{
    static const char *const names[VITALS_PHASES] = {"starting", "loading", "following", "sweeping",
                                                     "waiting",  "failing", "ended"};
    return names[phase];
}

static bool lock(struct vitals *v)
{
    if (v)
        pthread_mutex_lock(&v->mutex);
    return v != NULL;
}

static void unlock(struct vitals *v)
{
    pthread_mutex_unlock(&v->mutex);
}

static void set_text(char *to, size_t size, const char *from)
{
    text_cut(to, size, from, strlen(from));
}

/* ---- its phase ---- */

void vitals_describe(struct vitals *v, const struct vitals_about *about)
{
    if (!lock(v))
        return;
    v->shown.about = *about;
    unlock(v);
}

static void set_reason(struct vitals *v, const char *reason, int64_t retry_us)
{
    set_text(v->shown.reason, sizeof v->shown.reason, reason ? reason : "");
    v->retry_at_us = reason && retry_us >= 0 ? clock_mono_us() + retry_us : 0;
}

/* Unlocks it, too. since_us: by clock_wall_us, of a phase that begins. Of a run that has failed or
 * ended, no thread is left that could wait. */
static void settle_phase(struct vitals *v, int64_t since_us)
{
    enum vitals_phase now = v->phase, before = v->shown.phase;
    if (now < VITALS_WAITING && (v->waiting > 0 || v->away || *v->held))
        now = VITALS_WAITING;
    if (now == VITALS_WAITING && now != v->phase && v->waiting == 0 && !v->away)
        set_reason(v, v->held, -1);
    if (now < VITALS_WAITING)
        set_reason(v, NULL, -1);
    if (now != before)
        v->shown.phase_since_us = since_us;
    v->shown.phase = now;
    unlock(v);
    if (now != before && v->list->changed)
        v->list->changed(v->list->arg);
}

void vitals_phase(struct vitals *v, enum vitals_phase phase, const char *reason, int64_t retry_ms)
{
    if (!lock(v))
        return;
    v->phase = phase;
    v->loaded = phase == VITALS_FOLLOWING || phase == VITALS_SWEEPING;
    v->shown.loading = false;
    v->heard_us = clock_mono_us();
    v->asked = NULL;
    if (phase >= VITALS_WAITING) {
        v->away = false;
        v->shown.horizon_seconds = -1;
        v->shown.not_reloaded.at_us = 0;
        set_reason(v, reason, retry_ms * 1000);
    }
    settle_phase(v, clock_wall_us());
}

/* A question that a server has left without an answer took a minute: it was away all that time. */
void vitals_away(struct vitals *v, const char *reason)
{
    if (!lock(v))
        return;
    int64_t silent_us = reason && v->heard_us ? clock_mono_us() - v->heard_us : 0;
    v->away = reason != NULL;
    if (reason && v->waiting == 0)
        set_reason(v, reason, -1);
    settle_phase(v, clock_wall_us() - silent_us);
}

void vitals_held(struct vitals *v, const char *reason)
{
    if (!lock(v))
        return;
    set_text(v->held, sizeof v->held, reason ? reason : "");
    settle_phase(v, clock_wall_us());
}

void vitals_heard(struct vitals *v, int64_t at_us)
{
    if (!lock(v))
        return;
    v->heard_us = at_us;
    unlock(v);
}

void vitals_asks(struct vitals *v, const char *server)
{
    if (!lock(v))
        return;
    v->asked = server;
    v->asked_us = clock_mono_us();
    unlock(v);
}

/* ---- what its threads do ---- */

static void note_wait(void *arg, bool first, const char *reason, double wait)
{
    struct vitals *v = arg;
    lock(v);
    v->waiting += first;
    set_reason(v, reason, (int64_t)(wait * 1e6));
    settle_phase(v, clock_wall_us());
}

static void note_resumed(void *arg)
{
    struct vitals *v = arg;
    lock(v);
    v->waiting--;
    settle_phase(v, clock_wall_us());
}

static void note_answer(void *arg, int status)
{
    struct vitals *v = arg;
    size_t i = 0, last = VITALS_STATUSES - 1;
    lock(v);
    while (i < last && v->shown.requests[i].n > 0 && v->shown.requests[i].status != status)
        i++;
    if (v->shown.requests[i].n++ == 0)
        v->shown.requests[i].status = status;
    unlock(v);
}

/* Makes room at the front: what is at i goes. */
static void move_back(void *list, size_t size, size_t i)
{
    memmove((char *)list + size, list, i * size);
}

/* One that is like an earlier one but for numbers and quoted text takes its place. */
static void note_line(void *arg, bool is_error, const char *text)
{
    struct vitals *v = arg;
    struct vitals_snapshot *s = &v->shown;
    uint64_t kind = alike_kind(text);
    size_t i = 0;
    lock(v);
    while (i < s->n_errors && v->kinds[i] != kind)
        i++;
    if (i == s->n_errors && s->n_errors < VITALS_ERRORS)
        s->n_errors++;
    i = i < VITALS_ERRORS ? i : VITALS_ERRORS - 1;
    move_back(s->errors, sizeof *s->errors, i);
    move_back(v->kinds, sizeof *v->kinds, i);
    v->kinds[0] = kind;
    s->errors[0].at_us = clock_wall_us();
    s->errors[0].is_error = is_error;
    set_text(s->errors[0].message, sizeof s->errors[0].message, text);
    unlock(v);
}

const struct witness *vitals_witness(struct vitals *v)
{
    return v ? &v->witness : NULL;
}

struct ledger *vitals_ledger(struct vitals *v)
{
    return v ? &v->ledger : NULL;
}

/* ---- what happens to it ---- */

void vitals_queue(struct vitals *v, struct queue *q)
{
    if (!lock(v))
        return;
    if (v->queue && !q)
        v->oldest_us = queue_load(v->queue).oldest_us;
    v->queue = q;
    v->backlog_us = 0;
    unlock(v);
}

void vitals_backlog(struct vitals *v, int64_t oldest_us)
{
    if (!lock(v))
        return;
    v->backlog_us = oldest_us;
    unlock(v);
}

void vitals_load(struct vitals *v, int64_t expected)
{
    struct ledger_view view;
    if (!v)
        return;
    ledger_view(&v->ledger, ledger_now(), &view);
    lock(v);
    v->shown.loading = true;
    v->shown.load_expected = expected > 0 ? (uint64_t)expected : 0;
    v->load_base = ledger_done(&view.counts);
    v->load_began_us = clock_mono_us();
    unlock(v);
}

void vitals_loaded(struct vitals *v)
{
    if (!lock(v))
        return;
    v->shown.loading = false;
    unlock(v);
}

bool vitals_is_loaded(struct vitals *v)
{
    bool loaded = lock(v) && v->loaded;
    if (v)
        unlock(v);
    return loaded;
}

void vitals_failed(struct vitals *v)
{
    if (!lock(v))
        return;
    v->shown.failures++;
    unlock(v);
}

void vitals_reload(struct vitals *v, const char *reason)
{
    if (!lock(v))
        return;
    struct vitals_reload *r = &v->shown.not_reloaded;
    r->at_us = reason ? clock_wall_us() : 0;
    set_text(r->reason, sizeof r->reason, reason ? reason : "");
    unlock(v);
}

void vitals_slot(struct vitals *v, const char *name, uint64_t held_bytes, bool active)
{
    if (!lock(v))
        return;
    v->shown.has_slot = true;
    set_text(v->shown.slot, sizeof v->shown.slot, name);
    v->shown.slot_held_bytes = held_bytes;
    v->shown.slot_active = active;
    unlock(v);
}

void vitals_journal(struct vitals *v, uint64_t bytes)
{
    if (!lock(v))
        return;
    v->shown.has_journal = true;
    v->shown.journal_bytes = bytes;
    unlock(v);
}

void vitals_no_capture(struct vitals *v)
{
    if (!lock(v))
        return;
    v->shown.has_slot = v->shown.has_journal = false;
    unlock(v);
}

void vitals_horizon(struct vitals *v, double age, const char *held_by)
{
    if (!lock(v))
        return;
    v->shown.horizon_seconds = age;
    set_text(v->shown.horizon_held_by, sizeof v->shown.horizon_held_by, held_by ? held_by : "");
    unlock(v);
}

void vitals_dead_letters(struct vitals *v, size_t count, const struct vitals_letter *letters,
                         size_t n)
{
    if (!lock(v))
        return;
    v->shown.dead_letters = count;
    v->shown.n_letters = n;
    memcpy(v->shown.letters, letters, n * sizeof *letters);
    unlock(v);
}

void vitals_swept(struct vitals *v, int64_t at_us)
{
    if (!lock(v))
        return;
    if (at_us)
        v->shown.last_sweep_us = at_us;
    unlock(v);
}

/* ---- the process's pipelines ---- */

static void init(struct vitals *v, const struct vitals_list *list)
{
    v->list = list;
    pthread_mutex_init(&v->mutex, NULL);
    ledger_init(&v->ledger, ledger_now());
    v->shown.phase_since_us = clock_wall_us();
    v->shown.horizon_seconds = -1;
    v->witness = (struct witness){.line = note_line,
                                  .wait = note_wait,
                                  .resume = note_resumed,
                                  .answer = note_answer,
                                  .arg = v};
}

static void end(struct vitals *v)
{
    pthread_mutex_destroy(&v->mutex);
    ledger_destroy(&v->ledger);
}

struct vitals_list *vitals_list_new(size_t n, struct err *e)
{
    struct vitals_list *l = calloc(1, sizeof *l + n * sizeof *l->all);
    if (!l) {
        err_memory(e);
        return NULL;
    }
    l->started_us = clock_wall_us();
    l->n = n;
    for (size_t i = 0; i < n; i++)
        init(&l->all[i], l);
    return l;
}

void vitals_list_free(struct vitals_list *l)
{
    for (size_t i = 0; l && i < l->n; i++)
        end(&l->all[i]);
    free(l);
}

size_t vitals_count(const struct vitals_list *l)
{
    return l ? l->n : 0;
}

struct vitals *vitals_at(const struct vitals_list *l, size_t i)
{
    return l && i < l->n ? (struct vitals *)&l->all[i] : NULL;
}

void vitals_watch(struct vitals_list *l, void (*changed)(void *arg), void *arg)
{
    l->changed = changed;
    l->arg = arg;
}

int64_t vitals_started_us(const struct vitals_list *l)
{
    return l->started_us;
}

/* ---- for a reader ---- */

enum vitals_phase vitals_now(struct vitals *v, char name[VITALS_NAME], char reason[VITALS_TEXT])
{
    lock(v);
    enum vitals_phase phase = v->shown.phase;
    memcpy(name, v->shown.about.name, VITALS_NAME);
    memcpy(reason, v->shown.reason, VITALS_TEXT);
    unlock(v);
    return phase;
}

static double seconds(int64_t us)
{
    return us > 0 ? (double)us / 1e6 : 0;
}

static int compare_statuses(const void *a, const void *b)
{
    const struct vitals_requests *x = a, *y = b;
    return (x->status > y->status) - (x->status < y->status);
}

static void sort_requests(struct vitals_snapshot *s)
{
    size_t n = 0;
    while (n < VITALS_STATUSES && s->requests[n].n > 0)
        n++;
    qsort(s->requests, n, sizeof *s->requests, compare_statuses);
}

/* The mutex of the vitals is held while the queue's and the ledger's are taken; never the other
 * way. */
static void show_queue(const struct vitals *v, int64_t now_us, struct vitals_snapshot *out)
{
    struct queue_load load = {.oldest_us = v->oldest_us};
    if (v->queue)
        load = queue_load(v->queue);
    int64_t oldest = load.oldest_us;
    if (v->backlog_us && (!oldest || v->backlog_us < oldest))
        oldest = v->backlog_us;
    out->queued_batches = load.batches;
    out->oldest_waiting_seconds = oldest ? seconds(now_us - oldest) : 0;
}

/* Who loads may well be without an answer for long, and who waits says so. */
static void show_silence(const struct vitals *v, int64_t now_us, struct vitals_snapshot *out)
{
    enum { LONG_US = 1000 * 1000 }; /* for a question that is no cause of it */
    bool follows = out->phase == VITALS_FOLLOWING || out->phase == VITALS_SWEEPING;
    out->silent_seconds = follows && v->heard_us ? seconds(now_us - v->heard_us) : 0;
    if (v->asked && now_us - v->asked_us > LONG_US)
        out->silent_server = v->asked;
    else if (out->phase == VITALS_SWEEPING)
        out->silent_server = "PostgreSQL or the search server";
    else
        out->silent_server = "PostgreSQL";
}

static void show_ledger(const struct ledger_view *view, struct vitals_snapshot *out)
{
    out->counts = view->counts;
    out->documents_per_second = view->documents_per_second;
    out->lag_seconds = view->delays.last_us < 0 ? -1 : seconds(view->delays.last_us);
    memcpy(out->delays, view->delays.buckets, sizeof out->delays);
    out->delays_sum = view->delays.sum_s;
    out->n_minutes = view->n_minutes;
    for (size_t i = 0; i < view->n_minutes; i++) {
        const struct ledger_minute *m = &view->minutes[i];
        out->minutes[i] =
            (struct vitals_minute){.time_s = m->minute * 60,
                                   .documents = m->documents,
                                   .rejected = m->rejected,
                                   .lag_seconds = m->delay_us < 0 ? -1 : seconds(m->delay_us)};
    }
}

static void show_load(const struct vitals *v, int64_t now_us, struct vitals_snapshot *out)
{
    uint64_t done = ledger_done(&out->counts) - v->load_base;
    out->load_documents = done;
    out->load_seconds_left = -1;
    if (done > 0 && done <= out->load_expected)
        out->load_seconds_left =
            seconds(now_us - v->load_began_us) * (double)(out->load_expected - done) / (double)done;
}

void vitals_snapshot(struct vitals *v, struct vitals_snapshot *out)
{
    struct ledger_time now = ledger_now();
    struct ledger_view view;
    ledger_view(&v->ledger, now, &view);
    lock(v);
    *out = v->shown;
    out->retry_in_seconds = v->retry_at_us ? seconds(v->retry_at_us - now.mono_us) : -1;
    out->ready = v->loaded;
    show_queue(v, now.mono_us, out);
    show_silence(v, now.mono_us, out);
    show_ledger(&view, out);
    show_load(v, now.mono_us, out);
    unlock(v);
    sort_requests(out);
}
