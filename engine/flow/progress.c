#include "flow/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    DRAW_US = 250 * 1000,      /* often enough to be seen moving */
    LOG_US = 60 * 1000 * 1000, /* rarely enough not to fill a journal */
    TELL_US = 2 * 1000 * 1000, /* somebody looks at it once in a while */
    TEXT = 300,
};

char *progress_number(uint64_t n, char out[PROGRESS_TEXT])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

char *progress_count(uint64_t n, const char *noun, char out[PROGRESS_TEXT])
{
    size_t len = strlen(progress_number(n, out));
    snprintf(out + len, PROGRESS_TEXT - len, " %s%s", noun, n == 1 ? "" : "s");
    return out;
}

void progress_start(struct progress *p, const char *name, bool terminal)
{
    *p = (struct progress){.name = name, .doing = "starting", .terminal = terminal};
}

void progress_begin(struct progress *p, const char *doing, bool whole)
{
    p->doing = doing;
    p->whole = whole;
    p->following = false;
    p->begun = p->logged = p->last;
    p->begun_us = p->told_us = 0;
}

void progress_follow(struct progress *p)
{
    if (!p->following)
        progress_begin(p, "following", false);
    progress_end(p);
    p->following = true;
    p->terminal = false;
    notify_status("%s: following", p->name);
}

void progress_end(struct progress *p)
{
    if (p->terminal)
        log_status(NULL);
}

/* ---- what has happened ---- */

struct happened {
    struct counts counts;
    uint64_t documents; /* of them: with, or without what was found unchanged */
    double seconds, rate;
    double left; /* seconds; negative: not known */
    double lag;  /* likewise */
};

/* What a try that failed had counted is taken back: less than before is nothing. */
static uint64_t minus(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) > 0 ? a - b : 0;
}

static struct counts since(const struct counts *now, const struct counts *then)
{
    return (struct counts){
        .indexed = minus(now->indexed, then->indexed),
        .deleted = minus(now->deleted, then->deleted),
        .superseded = minus(now->superseded, then->superseded),
        .rejected = minus(now->rejected, then->rejected),
        .dropped = minus(now->dropped, then->dropped),
        .unchanged = minus(now->unchanged, then->unchanged),
    };
}

static uint64_t sum(const struct counts *c)
{
    return c->indexed + c->deleted + c->superseded + c->rejected + c->dropped + c->unchanged;
}

static struct happened happened_until(const struct progress *p, int64_t now)
{
    struct happened h = {.counts = since(&p->last, p->following ? &p->logged : &p->begun)};
    const struct counts *c = &h.counts;
    int64_t us = now - (p->following ? p->logged_us : p->begun_us);
    /* a sweep looks at many that it leaves as they are: of changes they are none */
    h.documents = sum(c) - (p->whole ? 0 : c->unchanged);
    h.seconds = (double)us / 1e6;
    h.rate = (double)h.documents * 1e6 / (double)(us + 1);
    h.left = h.lag = -1;
    if (p->whole && p->expected > 0 && h.documents <= (uint64_t)p->expected && h.rate >= 1)
        h.left = (double)((uint64_t)p->expected - h.documents) / h.rate;
    if (p->following && p->lag && h.documents > 0)
        h.lag = p->lag(p->arg);
    return h;
}

/* ---- in words ---- */

static void add(char *line, const char *format, ...)
{
    size_t len = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + len, TEXT - len, format, args);
    va_end(args);
}

static void describe(const struct progress *p, const struct happened *h, char line[TEXT])
{
    char n[PROGRESS_TEXT], left[CLOCK_TEXT];
    snprintf(line, TEXT, "%s: %s: ", p->name, p->doing);
    if (h->left >= 0) {
        add(line, "%s of about ", progress_number(h->documents, n));
        add(line, "%s (%d %%)", progress_count((uint64_t)p->expected, "document", n),
            (int)(100 * h->documents / (uint64_t)p->expected));
    } else {
        add(line, "%s", progress_count(h->documents, "document", n));
    }
    if (p->following && h->counts.rejected > 0)
        add(line, ", %s rejected", progress_number(h->counts.rejected, n));
    if (!p->whole && h->counts.unchanged > 0)
        add(line, ", %s unchanged", progress_number(h->counts.unchanged, n));
    if (!p->following)
        add(line, ", %s/s", progress_number((uint64_t)h->rate, n));
    if (h->left >= 0)
        add(line, ", %s left", clock_duration((int64_t)(h->left * 1e6), left));
    if (h->lag >= 0)
        add(line, ", lag %.1f s", h->lag);
}

static void log_it(const struct progress *p, const struct happened *h, const char *line)
{
    const struct counts *c = &h->counts;
    log_info_with(
        LOG_FIELDS(log_text("doing", p->doing), log_int("documents", (long long)h->documents),
                   log_int("indexed", (long long)c->indexed),
                   log_int("deleted", (long long)c->deleted),
                   log_int("superseded", (long long)c->superseded),
                   log_int("unchanged", (long long)c->unchanged),
                   log_int("rejected", (long long)c->rejected),
                   log_if(c->dropped > 0, log_int("dropped", (long long)c->dropped)),
                   log_real("seconds", h->seconds), log_real("documents_per_second", h->rate),
                   log_if(h->left >= 0, log_int("expected", p->expected)),
                   log_if(h->left >= 0, log_real("seconds_left", h->left)),
                   log_if(h->lag >= 0, log_real("lag_seconds", h->lag))),
        "%s", line);
}

/* ---- when ---- */

static bool is_due(int64_t *last_us, int64_t every_us, int64_t now)
{
    if (*last_us && now - *last_us < every_us)
        return false;
    *last_us = now;
    return true;
}

static void log_minute(struct progress *p, int64_t now)
{
    struct counts delta = since(&p->last, &p->logged);
    if (sum(&delta) > 0) {
        char line[TEXT];
        struct happened h = happened_until(p, now);
        describe(p, &h, line);
        log_it(p, &h, line);
        notify_status("%s", line);
    }
    p->logged = p->last;
    p->logged_us = now;
}

/* What others have said meanwhile, of a server that is down, stays until something moves. */
static void tell(struct progress *p, int64_t now)
{
    char line[TEXT];
    uint64_t done = sum(&p->last);
    if (p->told == done || !is_due(&p->told_us, TELL_US, now))
        return;
    p->told = done;
    struct happened h = happened_until(p, now);
    describe(p, &h, line);
    notify_status("%s", line);
}

static void draw(struct progress *p, int64_t now)
{
    char line[TEXT];
    if (now - p->begun_us < DRAW_US || !is_due(&p->drawn_us, DRAW_US, now))
        return;
    struct happened h = happened_until(p, now);
    describe(p, &h, line);
    log_status(line);
}

void progress_show(struct progress *p, const struct counts *counts, int64_t now)
{
    p->last = *counts;
    if (!p->begun_us)
        p->begun_us = p->logged_us = now;
    tell(p, now);
    if (p->terminal)
        draw(p, now);
    else if (now - p->logged_us >= LOG_US)
        log_minute(p, now);
}
