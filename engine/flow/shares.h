/* shares: how many workers of a process work at a time, where it has several pipelines.
 *
 * Uses     nothing.
 * Threads  any. One mutex for the process, never held while calling out.
 * Promise  a pipeline has one worker at work whenever it has work, whatever the others do. Further
 *          ones take turns: no more than shares_set says are out at a time, in all pipelines
 *          together, and who has waited longest is next.
 *
 *     struct share s = {.group = &group};
 *     shares_take(&s);
 *     ... one batch
 *     shares_give(&s);
 */
#pragma once
#include <pthread.h>
#include <stdbool.h>

/* How many workers there may be, besides the first one of each pipeline. Unless it is called, any
 * number. Called before any worker starts. */
void shares_set(int further);

struct share_group { /* of a pipeline; safe to zero */
    bool first_out;  /* its first worker is at work */
    bool ends;
};

struct share { /* a worker's, and it stays where it is */
    struct share_group *group;
    enum { SHARE_NONE, SHARE_FIRST, SHARE_FURTHER } has;
    pthread_cond_t given;
    struct share *next; /* that waits */
};

void shares_take(struct share *s); /* waits */
/* If it has one. */
void shares_give(struct share *s);
/* The pipeline ends: its workers, who see that there is no more work, wait no longer. */
void shares_end(struct share_group *g);
