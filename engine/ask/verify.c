#include "ask/verify.h"

#include "ask/arrival.h"
#include "ask/ask_feeds.h"
#include "ask/collector.h"
#include "ask/looks.h"
#include "ask/spool.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "feed/feed.h"
#include "model/batch.h"
#include "run/hand_over.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    EXAMPLES = 10,
    LOOKS = 6,                  /* at most, at one key */
    WAIT_US = 60 * 1000 * 1000, /* for a process that follows, before each further look */
    TELL_US = 3 * 1000 * 1000,  /* until the user is told that we wait */
    AGAIN_MS = 200,             /* between two looks, where no process follows */
};

struct verifying {
    const struct verify_options *options;
    struct ask ask;
    struct explain explain;
    struct collector *collector; /* owned, as the spools */
    struct spool *suspects;      /* to be looked at again */
    struct spool *kept;          /* the keys of what was found */
    struct looks looks;
    uint64_t repaired;
    bool was_repaired;
};

/* ---- the first look ---- */

static bool look_first(struct verifying *v, struct err *e)
{
    const struct collector_look how = {
        .trust = COLLECT_SUSPECT, .again = v->suspects, .kept = v->kept};
    v->looks.how = how;
    if (v->options->sample > 0)
        return looks_at_sample(&v->looks, (size_t)v->options->sample, e);
    if (v->options->since)
        return looks_since(&v->looks, v->options->since, e);
    return looks_at_all(&v->looks, e);
}

/* ---- further looks ---- */

/* As long as WAIT_US, or only for a moment, if that has been in vain before. */
static bool wait_for_arrival(struct verifying *v, struct arrival *moment, bool *arrived,
                             struct err *e)
{
    if (v->explain.behind)
        return arrival_wait(moment, 1, arrived, e);
    if (!arrival_wait(moment, TELL_US, arrived, e))
        return false;
    if (*arrived)
        return true;
    log_info_with(
        LOG_FIELDS(log_int("wait_seconds", WAIT_US / 1000000)),
        "%s: waiting, for at most %d s, until the process that follows has delivered what was "
        "committed before: %s",
        v->ask.run.user.pipeline.name, WAIT_US / 1000000, moment->why);
    return arrival_wait(moment, WAIT_US - TELL_US, arrived, e);
}

/* Until all that was committed before now is delivered. */
static bool wait_for_follower(struct verifying *v, struct err *e)
{
    struct arrival moment;
    bool arrived = true;
    v->explain.followed = arrival_is_followed(&v->ask);
    if (!v->explain.followed || !arrival_has_feeds(&v->ask))
        return stop_sleep(AGAIN_MS) || stop_err(e);
    bool ok =
        arrival_begin(&moment, &v->ask, false, e) && wait_for_arrival(v, &moment, &arrived, e);
    if (ok && !arrived && !v->explain.behind)
        log_warn_with(LOG_FIELDS(log_int("seconds", WAIT_US / 1000000)),
                      "%s: the process that follows has not delivered in %d s what was committed "
                      "before: %s; differences may be what it has still to deliver",
                      v->ask.run.user.pipeline.name, WAIT_US / 1000000, moment.why);
    v->explain.behind |= ok && !arrived;
    arrival_end(&moment);
    return ok;
}

static bool look_again(struct verifying *v, struct err *e)
{
    struct spool *before = v->suspects;
    if (!(v->suspects = spool_open(e))) {
        v->suspects = before;
        return false;
    }
    v->looks.how =
        (struct collector_look){.trust = COLLECT_CONFIRM, .again = v->suspects, .kept = v->kept};
    bool ok = looks_at_spool(&v->looks, before, e);
    spool_close(before);
    return ok;
}

static bool look(struct verifying *v, struct err *e)
{
    bool ok = look_first(v, e);
    for (int i = 1; ok && i < LOOKS && spool_count(v->suspects) > 0; i++)
        ok = wait_for_follower(v, e) && look_again(v, e);
    return ok;
}

/* ---- repairing ---- */

/* What was repaired is compared once more: it counts if it differs still. */
static bool look_at_repaired(struct verifying *v, struct err *e)
{
    uint64_t before = findings_count(collector_found(v->collector));
    findings_free(collector_found(v->collector));
    v->looks.how = (struct collector_look){.trust = COLLECT_ALL};
    if (!ask_start(&v->ask, collector_comparer(v->collector), e) ||
        !looks_at_spool(&v->looks, v->kept, e))
        return false;
    uint64_t left = findings_count(collector_found(v->collector));
    v->repaired = before > left ? before - left : 0;
    v->was_repaired = true;
    return true;
}

static struct feed *feed_kept(struct verifying *v, struct err *e)
{
    return ask_feed_slowly(ask_feed_spool(&v->ask, v->kept, NULL, e), (double)v->options->max_rate,
                           e);
}

struct pages {
    struct feed *feed;
    struct batch *batch; /* owned */
    size_t next;
};

static bool next_page(void *arg, struct request_message *m, struct err *e)
{
    struct pages *p = arg;
    if (p->batch && p->next == p->batch->n) {
        batch_free(p->batch);
        p->batch = NULL;
        p->next = 0;
    }
    if (!p->batch && !feed_next(p->feed, &p->batch, e))
        return false;
    if (!p->batch)
        return true;
    m->no_rows = p->batch->no_rows;
    m->any_routing = p->batch->any_routing;
    return hand_over_page(p->batch, &p->next, &m->keys, e);
}

/* By the process that follows, if there is one: it has the dead letters. */
static bool repair_there(struct verifying *v, bool *asked, struct err *e)
{
    struct run *r = &v->ask.run;
    struct pages pages = {.feed = feed_kept(v, e)};
    struct hand_over h = {.pipeline = &r->user.pipeline,
                          .index = r->index.alias,
                          .fingerprint = r->user.fingerprint,
                          .ask = REQUEST_ASK_KEYS,
                          .allow_deletes = v->options->allow_deletes,
                          .give_up_after = r->servers.give_up_after,
                          .page = next_page,
                          .arg = &pages};
    *asked = true;
    bool ok = pages.feed && hand_over(&h, asked, e);
    batch_free(pages.batch);
    feed_free(pages.feed);
    return ok;
}

static bool repair(struct verifying *v, struct err *e)
{
    bool asked;
    if (!v->options->repair || spool_count(v->kept) == 0)
        return true;
    bool ok = repair_there(v, &asked, e);
    if (asked)
        return ok && look_at_repaired(v, e);
    struct feed *f = feed_kept(v, e);
    return f && ask_repair(&v->ask, f, v->options->allow_deletes, e) && look_at_repaired(v, e);
}

/* ---- the report ---- */

static void print_json(struct verifying *v, uint64_t unsettled)
{
    struct findings *f = collector_found(v->collector);
    printf("{\"pipeline\":");
    findings_print_string(v->ask.run.user.pipeline.name, stdout);
    printf(",\"index\":");
    findings_print_string(v->ask.run.user.pipeline.sink.index, stdout);
    printf(",\"seconds\":%.3f,\"unsettled\":%llu,\"repaired\":%llu,",
           (double)(clock_mono_us() - v->ask.run.started_us) / 1e6, (unsigned long long)unsettled,
           (unsigned long long)v->repaired);
    findings_print_json(f, stdout);
    printf("}\n");
}

static void print_kind(const struct findings *f, enum explain_kind kind, const char *text)
{
    char n[PROGRESS_TEXT];
    if (f->kinds[kind] > 0)
        printf("%12s  %s: %s\n", progress_number(f->kinds[kind], n), explain_kind(kind), text);
}

static void print_text(struct verifying *v, uint64_t unsettled)
{
    struct findings *f = collector_found(v->collector);
    char n[PROGRESS_TEXT], took[CLOCK_TEXT], found[PROGRESS_TEXT];
    const char *name = v->ask.run.user.pipeline.name;
    clock_duration(clock_mono_us() - v->ask.run.started_us, took);
    if (v->was_repaired)
        printf("%s: %s repaired, %s left, in %s\n", name,
               progress_count(v->repaired, "difference", n),
               progress_number(findings_count(f), found), took);
    else
        printf("%s: %s compared with index '%s' in %s: %s\n", name,
               progress_count(findings_checked(f), "document", n),
               pipeline_place(&v->ask.run.user.pipeline), took,
               findings_count(f) ? progress_count(findings_count(f), "difference", found)
                                 : "no difference");
    print_kind(f, EXPLAIN_MISSING, "the index has no document");
    print_kind(f, EXPLAIN_ORPHANED, "the index has a document, and the script makes none");
    print_kind(f, EXPLAIN_DIFFERENT, "fields differ");
    print_kind(f, EXPLAIN_FAILED, "the document cannot be made");
    if (unsettled > 0)
        printf("%12s  not counted: still changing after %d looks\n", progress_number(unsettled, n),
               LOOKS);
    if (findings_count(f) > 0) {
        printf("why\n");
        findings_print_reasons(f, &v->explain, stdout);
    }
    if (f->n_fields > 0) {
        printf("fields\n");
        findings_print_fields(f, stdout);
    }
    findings_print_examples(f, &v->explain, findings_want_color(), stdout);
}

static void report(struct verifying *v)
{
    uint64_t unsettled = spool_count(v->suspects);
    looks_warn_other(&v->looks);
    (v->options->json ? print_json : print_text)(v, unsettled);
}

/* ---- the whole ---- */

static bool prepare(struct verifying *v, struct err *e)
{
    v->explain = ask_explain(&v->ask, arrival_is_followed(&v->ask));
    v->looks = (struct looks){.ask = &v->ask, .rate = (double)v->options->max_rate};
    return (v->suspects = spool_open(e)) && (v->kept = spool_open(e)) &&
           (v->looks.collector = v->collector = collector_new(&v->explain, EXAMPLES, e)) &&
           ask_start(&v->ask, collector_comparer(v->collector), e);
}

static void close_all(struct verifying *v)
{
    ask_stop(&v->ask);
    ask_close(&v->ask);
    collector_free(v->collector);
    spool_close(v->suspects);
    spool_close(v->kept);
}

bool verify(const struct verify_options *o, const char *script, bool terminal, bool *clean,
            struct err *e)
{
    struct verifying v = {.options = o};
    bool ok = ask_open(&v.ask, &o->ask, script, terminal, e) && prepare(&v, e) && look(&v, e);
    ask_stop(&v.ask);
    ok = ok && repair(&v, e);
    ask_stop(&v.ask);
    if (ok) {
        *clean = findings_count(collector_found(v.collector)) == 0;
        report(&v);
    }
    close_all(&v);
    return ok;
}
