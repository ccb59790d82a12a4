/* progress: how many documents are done, for people: a line that is redrawn on a terminal, a log
 * line from time to time elsewhere. The service manager is told, too.
 *
 * Uses     log, notify, clock, counts.
 * Threads  one, the main thread.
 */
#pragma once
#include "model/counts.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *name; /* borrowed: the pipeline's */
    int64_t expected; /* documents, approximately; 0: not known */
    int64_t started_us, shown_us;
    int64_t told_us;    /* when the service manager was told */
    uint64_t told_done; /* how many it was told of */
    bool following;     /* the load has ended */
    bool terminal;      /* stderr is one, and the user did not ask for silence */
};

/* name: borrowed. terminal: whether to redraw one line. */
void progress_start(struct progress *p, const char *name, bool terminal);
/* Shows the counts so far, if the last time was long enough ago. Cheap: call it often. */
void progress_show(struct progress *p, const struct counts *counts);
/* The load has ended: there is no more line to draw. */
void progress_follow(struct progress *p);
void progress_end(struct progress *p); /* removes the line */

enum { PROGRESS_TEXT = 64 };
/* "12,345" into out, which holds PROGRESS_TEXT bytes; returns out. */
char *progress_number(uint64_t n, char out[PROGRESS_TEXT]);
/* "1 document", "12,345 documents": noun, at most 30 bytes, is the singular. */
char *progress_count(uint64_t n, const char *noun, char out[PROGRESS_TEXT]);
