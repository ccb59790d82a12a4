/* progress: how far it is, for people: a line on a terminal that is overwritten, now and then a log
 * line elsewhere.
 *
 * Uses     log, clock, counts.
 * Threads  one, the main thread.
 */
#pragma once
#include "model/counts.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *name; /* borrowed: the pipeline's */
    int64_t expected; /* documents, about; 0: not known */
    int64_t started_us, shown_us;
    bool terminal; /* stderr is one, and nobody asked for quiet */
};

/* terminal: whether to draw a line in place. */
void progress_start(struct progress *p, const char *name, bool terminal);
/* Shows the sums so far, if it is time to. Cheap: call it often. */
void progress_show(struct progress *p, const struct counts *sums);
void progress_end(struct progress *p); /* takes the line away */

enum { PROGRESS_TEXT = 64 };
/* "12,345" into out, which holds PROGRESS_TEXT bytes; returns out. */
char *progress_number(uint64_t n, char out[PROGRESS_TEXT]);
/* "1 document", "12,345 documents": noun, at most 30 bytes, is the singular. */
char *progress_count(uint64_t n, const char *noun, char out[PROGRESS_TEXT]);
