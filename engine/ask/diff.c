#include "ask/diff.h"

#include "ask/collector.h"
#include "ask/looks.h"
#include "base/clock.h"
#include "base/err.h"
#include "model/keylist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct comparing {
    const struct diff_options *options;
    struct ask ask;
    struct explain explain;
    struct looks looks;
};

/* ---- looking ---- */

/* "a,b" as a list. */
static bool split_keys(const char *text, struct keylist *out, struct err *e)
{
    char *copy = strdup(text), *rest = copy, *key;
    bool ok = copy || err_memory(e);
    while (ok && (key = strsep(&rest, ",")))
        ok = !*key || keylist_add(out, key) || err_memory(e);
    free(copy);
    return ok;
}

static bool look_at_keys(struct comparing *c, struct err *e)
{
    struct keylist keys = {0};
    bool ok = split_keys(c->options->keys, &keys, e) &&
              looks_at_keys(&c->looks, (const char *const *)keys.keys, keys.n, e);
    keylist_free(&keys);
    return ok;
}

static bool look(struct comparing *c, struct err *e)
{
    c->explain = ask_explain(&c->ask, false);
    c->looks = (struct looks){.ask = &c->ask, .how = {.trust = COLLECT_ALL}};
    c->looks.collector = collector_new(&c->explain, (size_t)c->options->examples, e);
    if (!c->looks.collector || !ask_start(&c->ask, collector_comparer(c->looks.collector), e))
        return false;
    if (c->options->keys)
        return look_at_keys(c, e);
    if (c->options->sample > 0)
        return looks_at_sample(&c->looks, (size_t)c->options->sample, e);
    return looks_at_all(&c->looks, e);
}

/* ---- the report ---- */

static void print_json(struct comparing *c, struct findings *f)
{
    printf("{\"pipeline\":");
    findings_print_string(c->ask.run.user.pipeline.name, stdout);
    printf(",\"index\":");
    findings_print_string(c->ask.run.user.pipeline.sink.index, stdout);
    printf(",\"same_script\":%s,", c->ask.is_older_script ? "false" : "true");
    findings_print_json(f, stdout);
    printf("}\n");
}

static void print_kind(const struct findings *f, enum explain_kind kind, const char *what)
{
    char n[PROGRESS_TEXT];
    if (f->kinds[kind] > 0)
        printf("%12s  %s\n", progress_number(f->kinds[kind], n), what);
}

static void print_text(struct comparing *c, struct findings *f)
{
    char n[PROGRESS_TEXT], took[CLOCK_TEXT];
    const struct run *r = &c->ask.run;
    printf("%s: %s compared with index '%s' in %s: %s\n", r->user.pipeline.name,
           progress_count(findings_checked(f), "document", n), pipeline_place(&r->user.pipeline),
           clock_duration(clock_mono_us() - r->started_us, took),
           findings_count(f) ? "a full load would change it" : "a full load would change nothing");
    print_kind(f, EXPLAIN_DIFFERENT, "documents would change");
    print_kind(f, EXPLAIN_MISSING, "would come");
    print_kind(f, EXPLAIN_ORPHANED, "would go, with the next sweep");
    print_kind(f, EXPLAIN_FAILED, "cannot be made");
    if (f->n_fields > 0) {
        printf("fields\n");
        findings_print_fields(f, stdout);
    }
    findings_print_examples(f, NULL, findings_want_color(), stdout);
}

static void report(struct comparing *c, struct findings *f)
{
    looks_warn_other(&c->looks);
    (c->options->json ? print_json : print_text)(c, f);
}

bool diff(const struct diff_options *o, const char *script, bool terminal, bool *same,
          struct err *e)
{
    struct comparing c = {.options = o};
    bool ok = ask_open(&c.ask, &o->ask, script, terminal, e) && look(&c, e);
    ask_stop(&c.ask);
    if (ok) {
        struct findings *f = collector_found(c.looks.collector);
        *same = findings_count(f) == 0;
        report(&c, f);
    }
    collector_free(c.looks.collector);
    ask_close(&c.ask);
    return ok;
}
