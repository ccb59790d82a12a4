/* show: all that a process shows of itself at one moment: what status and metrics are written
 * from.
 *
 * Uses     vitals, process.
 */
#pragma once
#include "base/buf.h"
#include "http/process.h"
#include "run/vitals.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct show {
    const char *version;
    int64_t now_us, started_us; /* since 1970 */
    double max_lag;             /* seconds: how far behind a pipeline may be and still be ready */
    bool stopping;              /* a stop was asked */
    struct process process;
    size_t n;
    struct vitals_snapshot *pipelines;
};

/* Whether this pipeline has loaded and is within its lag; if not, reason says why, in a line. */
bool show_is_ready(const struct show *w, const struct vitals_snapshot *s, char reason[VITALS_TEXT]);
/* What a person should know of it: why it waits, fails or is not ready; "": nothing. */
void show_reason(const struct show *w, const struct vitals_snapshot *s, char reason[VITALS_TEXT]);
/* Whether all of them are, and no stop was asked. */
bool show_all_ready(const struct show *w);
/* Adds a text for /readyz: a line for each pipeline. */
void show_readiness(const struct show *w, struct buf *out);

/* Adds text, in which bytes that are not UTF-8 have become U+FFFD, as a JSON string. */
void show_string(struct buf *out, const char *text);
