/* desk: takes requests of other processes for a run that holds the state's lock: connections, whose
 * turn it is, and what they are told. The run does the work: see run_requests.
 *
 * Uses     request_link, request, errand, tally, batch, queue, vitals, log.
 * Threads  one of its own, which waits for the connections. All functions are for the run's main
 *          thread. One mutex, never held while waiting.
 * Promise  whatever comes over a connection, and however slowly, the run is not held up, and its
 *          memory does not grow: keys are asked for a page at a time.
 *
 * Requests with keys are served together, a page of each in turn. Those for a sweep share the next
 * sweep that begins.
 */
#pragma once
#include <stdbool.h>

struct batch;
struct desk;
struct err;
struct errand;
struct queue;
struct vitals;

struct desk_about { /* what a request has to fit; copied */
    const char *state, *pipeline, *index, *script;
    struct vitals *vitals; /* borrowed: says what the run waits for; NULL: nobody does */
};

/* Begins to listen. NULL: e says why. All other functions take NULL: then nobody asks. */
struct desk *desk_open(const struct desk_about *about, struct err *e);
/* Tells all that wait that the run has ended with e (NULL: it is done). The workers have ended. */
void desk_close(struct desk *d, const struct err *why);

/* The run has another script, or index. */
void desk_renew(struct desk *d, const struct desk_about *about);
/* The queue (borrowed) that is woken when there is something to do; NULL: the run cannot do it now,
 * because of `why` (static), which those that wait are told. */
void desk_serve(struct desk *d, struct queue *queue, const char *why);
/* The workers have ended, and dropped what they had: requests that were under way end with e. */
void desk_break(struct desk *d, const struct err *e);

/* ---- keys ---- */

/* The next page of keys, owned by the caller; its errand has been entered. NULL: none for now. */
struct batch *desk_take_page(struct desk *d);
bool desk_has_page(struct desk *d);
/* Whether a request has come to its end. Once what it has rejected is saved (e: it could not be),
 * desk_finish tells those of which desk_has_ended has spoken. */
bool desk_has_ended(struct desk *d);
void desk_finish(struct desk *d, const struct err *e);

/* ---- a sweep ---- */

bool desk_wants_sweep(struct desk *d);
/* The errand of a sweep that begins now, for all that ask for one: borrowed until one of the next
 * two, or desk_break. NULL: nobody asks. */
struct errand *desk_begin_sweep(struct desk *d);
/* No batch of it is under way. e: what went wrong with it; NULL: nothing but what its errand
 * says. */
void desk_end_sweep(struct desk *d, const struct err *e);
/* It was broken off, and is wanted again. No batch of it is under way. */
void desk_want_sweep_again(struct desk *d);

/* ---- another position ---- */

/* *time: what the state shall be set to; owned by the caller. False: nobody asks. */
bool desk_begin_set(struct desk *d, char **time);
void desk_end_set(struct desk *d, const struct err *e);
