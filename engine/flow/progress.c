#include "flow/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"

#include <stdio.h>
#include <string.h>

enum {
    DRAW_US = 250 * 1000,      /* often enough to be seen moving */
    LOG_US = 30 * 1000 * 1000, /* rarely enough not to fill a journal */
    TELL_US = 2 * 1000 * 1000, /* somebody looks at it once in a while */
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
    int64_t now = clock_mono_us();
    *p = (struct progress){.name = name, .started_us = now, .shown_us = now, .terminal = terminal};
}

static void describe(const struct progress *p, uint64_t done, double rate, char *out, size_t size)
{
    char n[PROGRESS_TEXT], of[PROGRESS_TEXT], per_second[PROGRESS_TEXT], left[CLOCK_TEXT];
    progress_number(done, n);
    progress_number((uint64_t)rate, per_second);
    if (p->expected <= 0 || done > (uint64_t)p->expected || rate < 1) {
        snprintf(out, size, "%s: %s documents, %s/s", p->name, n, per_second);
        return;
    }
    double remaining = (double)((uint64_t)p->expected - done) / rate;
    snprintf(out, size, "%s: %s of about %s documents (%d %%), %s/s, %s left", p->name, n,
             progress_number((uint64_t)p->expected, of), (int)(100 * done / (uint64_t)p->expected),
             per_second, clock_duration((int64_t)(remaining * 1e6), left));
}

/* What others have said meanwhile, of a server that is down, stays until something moves. */
static void tell(struct progress *p, const struct counts *c, uint64_t done, int64_t now)
{
    char line[300], documents[PROGRESS_TEXT], deleted[PROGRESS_TEXT], rejected[PROGRESS_TEXT];
    if (now - p->told_us < TELL_US || (p->told_us && p->told_done == done))
        return;
    p->told_us = now;
    p->told_done = done;
    if (p->following)
        snprintf(line, sizeof line, "%s: following: %s indexed, %s deleted, %s rejected", p->name,
                 progress_count(c->indexed, "document", documents),
                 progress_number(c->deleted, deleted), progress_number(c->rejected, rejected));
    else
        describe(p, done, (double)done * 1e6 / (double)(now - p->started_us + 1), line,
                 sizeof line);
    notify_status("%s", line);
}

void progress_follow(struct progress *p)
{
    p->terminal = false;
    p->following = true;
    p->told_us = 0;
}

void progress_show(struct progress *p, const struct counts *counts)
{
    int64_t now = clock_mono_us();
    uint64_t done = counts->indexed + counts->deleted + counts->superseded + counts->rejected;
    tell(p, counts, done, now);
    if (now - p->shown_us < (p->terminal ? DRAW_US : LOG_US))
        return;
    p->shown_us = now;
    char line[300];
    describe(p, done, (double)done * 1e6 / (double)(now - p->started_us + 1), line, sizeof line);
    if (p->terminal)
        log_status(line);
    else
        log_info("%s", line);
}

void progress_end(struct progress *p)
{
    if (p->terminal)
        log_status(NULL);
}
