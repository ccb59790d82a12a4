#include "run/hand_over.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "flow/progress.h"
#include "model/batch.h"
#include "model/keylist.h"
#include "script/pipeline.h"
#include "store/request_link.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLICE_MS = 200,
    CONNECT_MS = 50,             /* between two tries to connect, where many wait */
    TELL_US = 3 * 1000 * 1000,   /* what is in the way is told once it has been for so long */
    SILENT_US = 5 * 1000 * 1000, /* the other process says something each second */
    REPORTS = 1000,              /* rejected documents that are told of */
};

struct asking {
    struct hand_over *h;
    struct request_link link;
    const char *name;
    char *why;            /* owned: what is in the way, as was told last */
    int64_t blocked_us;   /* clock_mono_us, since when something is in the way; 0: nothing is */
    int64_t heard_us;     /* clock_mono_us */
    uint64_t given, told; /* keys; rejected documents */
    bool warned;          /* of what is in the way */
    bool welcome, done;
};

static const char *keys_given(const struct asking *a, char out[PROGRESS_TEXT + 20])
{
    char n[PROGRESS_TEXT];
    out[0] = '\0';
    if (a->h->ask == REQUEST_ASK_KEYS)
        snprintf(out, PROGRESS_TEXT + 20, " (%s given)", progress_count(a->given, "key", n));
    return out;
}

bool hand_over_page(const struct batch *b, size_t *next, struct keylist *keys, struct err *e)
{
    for (size_t bytes = 0; *next < b->n && keys->n < REQUEST_PAGE_KEYS; ++*next) {
        bytes += strlen(b->keys[*next]);
        if (keys->n > 0 && bytes > REQUEST_PAGE_BYTES)
            return true;
        if (!keylist_add(keys, b->keys[*next]))
            return err_memory(e);
    }
    return true;
}

/* ---- what it says ---- */

static void take_welcome(struct asking *a, const struct request_message *m)
{
    a->welcome = true;
    a->h->pid = m->pid;
    log_info_with(LOG_FIELDS(log_int("process", a->h->pid)),
                  "%s: asked the process that follows (process %lld)", a->name, a->h->pid);
    if (m->older && a->h->ask != REQUEST_ASK_SET)
        log_warn("%s: that process runs another version of the script, and makes documents by it; "
                 "SIGHUP makes it read the script again",
                 a->name);
}

static bool give_page(struct asking *a, struct err *e)
{
    struct request_message m = {.type = REQUEST_KEYS};
    if (!a->h->page)
        return err_set(e, ERR_FINAL, "the process that follows asks for keys, but there are none");
    bool ok = a->h->page(a->h->arg, &m, e);
    if (m.keys.n == 0)
        m.type = REQUEST_NO_MORE;
    a->given += m.keys.n;
    if (ok && !request_link_put(&a->link, &m))
        ok = err_set(e, ERR_USAGE, "a key is not UTF-8, or too long");
    request_message_free(&m);
    return ok;
}

static void take_progress(struct asking *a, const struct request_message *m)
{
    a->h->counts = m->counts;
    if (a->h->progress && !m->text)
        progress_show(a->h->progress, &a->h->counts, a->heard_us);
    if (!m->text) {
        a->blocked_us = 0;
        return;
    }
    if (a->blocked_us == 0)
        a->blocked_us = a->heard_us;
    if (a->why && strcmp(a->why, m->text) == 0)
        return;
    free(a->why);
    a->why = strdup(m->text);
    a->warned = false;
}

static void take_rejected(struct asking *a, const struct request_message *m)
{
    const char *why = m->text ? m->text : "unknown";
    if (++a->told <= REPORTS)
        alike_warn(why, LOG_FIELDS(log_text("key", m->key)), "document '%s' rejected: %s",
                   m->key ? m->key : "", why);
}

/* The last ones may be unknown here: whoever reads slowly is told less. */
static void take_end(struct asking *a, const struct request_message *m)
{
    char n[PROGRESS_TEXT];
    a->h->counts = m->counts;
    a->done = true;
    alike_flush();
    uint64_t told = a->told < REPORTS ? a->told : REPORTS;
    if (m->counts.rejected > told)
        log_warn_with(LOG_FIELDS(log_int("rejected", (long long)m->counts.rejected)),
                      "%s: %s rejected besides; they are dead letters, too", a->name,
                      progress_count(m->counts.rejected - told, "document", n));
}

static bool take(struct asking *a, const struct request_message *m, struct err *e)
{
    switch ((enum request_type)m->type) {
    case REQUEST_WELCOME:
        take_welcome(a, m);
        return m->version == REQUEST_VERSION ||
               err_set(e, ERR_FINAL,
                       "cannot ask the process that follows (process %lld): it is of "
                       "another version of etl-engine",
                       a->h->pid);
    case REQUEST_MORE:
        return give_page(a, e);
    case REQUEST_PROGRESS:
        take_progress(a, m);
        return true;
    case REQUEST_REJECTED:
        take_rejected(a, m);
        return true;
    case REQUEST_END:
        take_end(a, m);
        if (m->error != ERR_NONE)
            request_error(m, e);
        return m->error == ERR_NONE;
    case REQUEST_HELLO:
    case REQUEST_KEYS:
    case REQUEST_NO_MORE:
    case REQUEST_TYPES:
        break;
    }
    return err_set(e, ERR_FINAL, "the process that follows sent what was not asked for");
}

/* ---- waiting ---- */

/* " (process 7)"; "": it has not said. */
static const char *which(const struct asking *a, char out[40])
{
    out[0] = '\0';
    if (a->welcome)
        snprintf(out, 40, " (process %lld)", a->h->pid);
    return out;
}

static bool has_gone(struct asking *a, struct err *e)
{
    char process[40];
    char given[PROGRESS_TEXT + 20];
    err_set(e, ERR_FINAL, "the process that follows%s ended before this was done%s",
            which(a, process), keys_given(a, given));
    return err_hint(e, "the same command again is safe: it asks the next process that follows, or "
                       "does it itself");
}

static bool is_stopped(struct asking *a, struct err *e)
{
    char given[PROGRESS_TEXT + 20];
    stop_err(e);
    if (!a->welcome)
        return false;
    if (a->h->ask == REQUEST_ASK_KEYS)
        log_info_with(LOG_FIELDS(log_int("process", a->h->pid)),
                      "%s: process %lld still delivers what it was given%s, and no more", a->name,
                      a->h->pid, keys_given(a, given));
    else if (a->h->ask == REQUEST_ASK_SWEEP)
        log_info_with(LOG_FIELDS(log_int("process", a->h->pid)),
                      "%s: a sweep that has begun goes on in process %lld", a->name, a->h->pid);
    return false;
}

static bool gave_up(const struct asking *a, const char *why, struct err *e)
{
    char process[40];
    return err_set(e, ERR_PASSING, "gave up on the process that follows%s: %s", which(a, process),
                   why);
}

/* Tells, and judges, what is in the way. */
static bool check_patience(struct asking *a, struct err *e)
{
    int64_t now = clock_mono_us(), patience = (int64_t)(a->h->give_up_after * 1e6);
    bool silent = now - a->heard_us > SILENT_US;
    int64_t since = silent ? a->heard_us : a->blocked_us;
    const char *why = silent ? "it does not answer" : a->why;
    if (!why || since == 0)
        return true;
    if (patience > 0 && now - since > patience)
        return gave_up(a, why, e);
    char process[40];
    if (!a->warned && now - since > TELL_US)
        log_warn_with(LOG_FIELDS(log_if(a->welcome, log_int("process", a->h->pid))),
                      "%s: waiting for the process that follows%s: %s", a->name, which(a, process),
                      why);
    a->warned |= now - since > TELL_US;
    return true;
}

static bool wait_for_more(struct asking *a, struct err *e)
{
    short events = (short)(POLLIN | (a->link.out.len > 0 ? POLLOUT : 0));
    enum stop_wait how = stop_wait_fd(a->link.fd, events, SLICE_MS);
    if (how == STOP_ASKED)
        return is_stopped(a, e);
    return check_patience(a, e);
}

static bool take_all(struct asking *a, struct err *e)
{
    for (bool got = true; got && !a->done;) {
        struct request_message m = {0};
        bool ok = request_link_next(&a->link, &m, &got, e) && (!got || take(a, &m, e));
        if (got) {
            a->heard_us = clock_mono_us();
            a->warned &= a->blocked_us != 0;
        }
        request_message_free(&m);
        if (!ok)
            return false;
    }
    return true;
}

static bool talk(struct asking *a, struct err *e)
{
    while (!a->done) {
        request_link_flush(&a->link);
        if (!wait_for_more(a, e))
            return false;
        request_link_fill(&a->link);
        if (!take_all(a, e))
            return false;
        if (a->link.ended && !a->done)
            return has_gone(a, e);
    }
    return true;
}

/* ---- the whole ---- */

/* *asked: somebody listens. */
static bool connect_to(struct asking *a, bool *asked, struct err *e)
{
    struct err why;
    int64_t began = clock_mono_us();
    while (!request_link_connect(a->h->pipeline->state, &a->link, &why)) {
        *asked = why.kind != ERR_NONE;
        double waited = (double)(clock_mono_us() - began) / 1e6;
        bool late = a->h->give_up_after > 0 && waited > a->h->give_up_after;
        if (why.kind == ERR_PASSING && !late && stop_sleep(CONNECT_MS))
            continue;
        if (*asked)
            *e = why;
        return why.kind == ERR_PASSING && stop_asked() ? stop_err(e) : false;
    }
    *asked = true;
    return true;
}

static bool say_hello(struct asking *a, struct err *e)
{
    const struct hand_over *h = a->h;
    struct request_message m = {.type = REQUEST_HELLO,
                                .version = REQUEST_VERSION,
                                .ask = h->ask,
                                .allow_deletes = h->allow_deletes,
                                .pipeline = h->pipeline->name, /* borrowed: all are only written */
                                .index = h->index ? (char *)(uintptr_t)h->index
                                                  : h->pipeline->sink.index,
                                .script = (char *)(uintptr_t)h->fingerprint,
                                .time = (char *)(uintptr_t)h->time};
    a->heard_us = clock_mono_us();
    return request_link_put(&a->link, &m) ||
           err_set(e, ERR_USAGE, "the pipeline's name or index is not UTF-8");
}

bool hand_over(struct hand_over *h, bool *asked, struct err *e)
{
    struct asking a = {.h = h, .name = h->pipeline->name};
    *asked = false;
    bool ok = connect_to(&a, asked, e) && say_hello(&a, e) && talk(&a, e);
    request_link_close(&a.link);
    free(a.why);
    if (h->progress)
        progress_end(h->progress);
    return ok;
}
