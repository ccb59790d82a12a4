/* progress: what a pipeline is doing, for people: a line that is redrawn on a terminal, a line of
 * the log each minute in which something has happened. The service manager is told the same text.
 *
 * Uses     log, notify, clock, counts.
 * Threads  one, the main thread.
 * Promise  while nothing happens, nothing is logged.
 *
 * "movies: loading: 1,204,000 of about 3,000,000 documents (40 %), 41,000/s, 44 s left"
 * "movies: following: 307 documents, lag 0.4 s": since the line before
 */
#pragma once
#include "model/counts.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *name;  /* borrowed: the pipeline's */
    int64_t expected;  /* documents of the whole table, approximately; 0: not known */
    const char *doing; /* borrowed: "loading" */
    bool whole;        /* it goes over the whole table */
    bool following;    /* it goes on for ever: its lines count from one to the next */
    bool terminal;     /* stderr is one, and the user did not ask for silence */
    /* seconds, of the last change: from its commit until it was acknowledged; negative: not known.
     * NULL: nobody knows */
    double (*lag)(void *arg);
    void *arg;                   /* borrowed */
    struct counts last;          /* what it was shown last */
    struct counts begun, logged; /* when it began to do this; at the last line */
    /* when that was, and when the line was drawn, and the service manager told; clock_mono_us; 0:
     * not yet */
    int64_t begun_us, logged_us, drawn_us, told_us;
    uint64_t told; /* of how many documents it was told */
};

/* name: borrowed. terminal: whether to redraw one line. */
void progress_start(struct progress *p, const char *name, bool terminal);
/* What is done from now on. doing: borrowed, for ever; whole: it goes over the whole table. */
void progress_begin(struct progress *p, const char *doing, bool whole);
/* The load has ended: there is no more line to draw. */
void progress_follow(struct progress *p);
/* Shows the counts so far, if it is time. now: clock_mono_us. Cheap: call it often. */
void progress_show(struct progress *p, const struct counts *counts, int64_t now);
void progress_end(struct progress *p); /* removes the line */

enum { PROGRESS_TEXT = 64 };
/* "12,345" into out, which holds PROGRESS_TEXT bytes; returns out. */
char *progress_number(uint64_t n, char out[PROGRESS_TEXT]);
/* "1 document", "12,345 documents": noun, at most 30 bytes, is the singular. */
char *progress_count(uint64_t n, const char *noun, char out[PROGRESS_TEXT]);
