#include "http/show.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- readiness ---- */

/* Whether changes were acknowledged in the last seconds. (A sweep sends documents, too.) */
static bool is_delivering(const struct vitals_snapshot *s, const struct show *w)
{
    enum { RECENT_S = 120 };
    bool changes = false;
    for (size_t i = 0; i < s->n_minutes; i++)
        changes = changes || (s->minutes[i].lag_seconds >= 0 &&
                              w->now_us / 1000000 - s->minutes[i].time_s < RECENT_S);
    return changes && s->documents_per_second > 0;
}

/* How far behind it is, as far as we know. In the middle of a long way it may be that nothing waits
 * at the moment, and more is to come: the lag of the last change tells. At its end it does not. */
static double behind(const struct vitals_snapshot *s, const struct show *w)
{
    return is_delivering(s, w) ? fmax(s->oldest_waiting_seconds, s->lag_seconds)
                               : s->oldest_waiting_seconds;
}

static double waited(const struct vitals_snapshot *s, const struct show *w)
{
    return s->phase == VITALS_WAITING ? (double)(w->now_us - s->phase_since_us) / 1e6 : 0;
}

bool show_is_ready(const struct show *w, const struct vitals_snapshot *s, char reason[VITALS_TEXT])
{
    double lag = behind(s, w);
    reason[0] = '\0';
    if (!s->ready || waited(s, w) > w->max_lag)
        snprintf(reason, VITALS_TEXT, "%s%s%.200s", vitals_phase_name(s->phase),
                 *s->reason ? ": " : "", s->reason);
    else if (s->silent_seconds > w->max_lag)
        snprintf(reason, VITALS_TEXT, "no answer from %s for %.0f s; --max-lag is %.0f",
                 s->silent_server, s->silent_seconds, w->max_lag);
    else if (lag > w->max_lag)
        snprintf(reason, VITALS_TEXT, "%.0f s behind; --max-lag is %.0f", lag, w->max_lag);
    return !reason[0];
}

void show_reason(const struct show *w, const struct vitals_snapshot *s, char reason[VITALS_TEXT])
{
    enum { SILENT_S = 10 }; /* worth a word, though it may still be ready */
    bool ready = show_is_ready(w, s, reason);
    if (*s->reason)
        snprintf(reason, VITALS_TEXT, "%s", s->reason);
    else if (ready && s->silent_seconds > SILENT_S)
        snprintf(reason, VITALS_TEXT, "no answer from %s for %.0f s", s->silent_server,
                 s->silent_seconds);
}

bool show_all_ready(const struct show *w)
{
    char reason[VITALS_TEXT];
    for (size_t i = 0; i < w->n; i++)
        if (!show_is_ready(w, &w->pipelines[i], reason))
            return false;
    return w->n > 0 && !w->stopping;
}

void show_readiness(const struct show *w, struct buf *out)
{
    char reason[VITALS_TEXT];
    if (w->stopping)
        buf_adds(out, "stopping\n");
    for (size_t i = 0; i < w->n; i++) {
        const struct vitals_snapshot *s = &w->pipelines[i];
        bool ready = show_is_ready(w, s, reason);
        buf_addf(out, "%s: %s%s\n", s->about.name, ready ? "ready" : "not ready: ", reason);
    }
}

/* ---- text ---- */

void show_string(struct buf *out, const char *text)
{
    size_t len = strlen(text), start = out->len;
    if (json_add_string(out, text, len) || out->failed)
        return;
    struct buf clean;
    buf_init(&clean, 3 * len);
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = json_character(text + i, len - i);
        if (n)
            buf_add(&clean, text + i, n);
        else
            buf_adds(&clean, "\xEF\xBF\xBD");
    }
    buf_cut(out, start);
    if (clean.failed)
        json_add_string(out, "", 0);
    else
        json_add_string(out, clean.data, clean.len);
    buf_free(&clean);
}
