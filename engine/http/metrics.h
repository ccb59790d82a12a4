/* metrics: /metrics, what a process shows of itself as text for Prometheus.
 *
 * Uses     show, json.
 * Threads  any.
 * Promise  a valid text whatever names hold; every family is named, so that a reader learns all of
 *          them from any answer, but a number that is not known has no sample.
 */
#pragma once
#include <stdbool.h>

struct buf;
struct show;

/* Whether a client that accepts these kinds of text (the header Accept; NULL: any) knows
 * OpenMetrics. */
bool metrics_is_open(const char *accept);
/* The kind of text: of the header Content-Type. */
const char *metrics_type(bool open);
/* open: OpenMetrics 1.0.0; else the text format 0.0.4, which all others know. */
void metrics_write(const struct show *w, bool open, struct buf *out);
